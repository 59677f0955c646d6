"""A classical optimizer as a value."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from optax_extras._check_values import function, returned
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel.tableau import Tableau, is_known
from optax_extras._types import Carry

BUFFERS = ("mu", "nu", "nu_max")


class Rule(NamedTuple):
    """An optimizer described by the coefficients of its updates.

    :func:`scale_by_moments` makes a gradient transformation from a rule; :func:`switch`
    and :func:`restart` make rules from rules.

    `step` gets two arguments, `t` and the carry. `t` = 1, 2, ... (int32, shape ())
    counts the updates of this rule; in the second phase of a switch it begins at 1. The
    carry holds the scalars that the rule passes from one update to the next. `step`
    returns the coefficients of this update, a `Tableau`, and the new carry.

    `after`, if given, gets the update that was made and every extra arg, and returns
    the carry once more. If it reads `grads`, `updates` or `params`, it costs a pass
    over all leaves. A rule that needs `after` only for a while (a switch, until it has
    switched) has a `needs_after` that returns False afterwards, and the pass is
    skipped.
    """

    init: Callable[[], Any]
    """() -> carry: a NamedTuple of scalars, or ()."""
    step: Callable[[jax.Array, Any], tuple[Tableau, Any]]
    """(t, carry) -> (Tableau, carry)."""
    after: Callable[..., Any] | None = None
    """``(t, carry, *, grads, updates, params, **extra) -> carry``."""
    buffers: frozenset = frozenset({"mu", "nu"})
    """The names of the params-sized buffers that the rule needs, of "mu", "nu" and
    "nu_max", the last only with "nu"."""
    needs_after: Callable[[Any], Any] | None = None
    """carry -> bool, shape (): whether `after` is still needed; None: always."""
    after_parts: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    """`after` in two steps, or None: ``(*, grads, updates, params) -> scalars`` and
    ``(t, carry, scalars, **extra) -> carry``. With `per_leaf` the second then runs once
    for all leaves together."""
    never_zero: frozenset = frozenset()
    """The names of coefficients that are never 0. Any other one that is computed at run
    time may be 0, and 0 times infinity is NaN: its products need a selection, with
    which a step takes longer to compile."""


def check_rule(rule: Any) -> None:
    """Refuses what is not a rule, or has unknown buffers."""
    if not isinstance(rule, Rule):
        refuse_kind("rule", "be an `oxe.Rule`", rule)
    for name in ("init", "step"):
        function(f"rule.{name}", getattr(rule, name))
    names = rule.buffers
    unknown = not isinstance(names, frozenset | set) or names - {*BUFFERS}
    if unknown or ("nu_max" in names and "nu" not in names):
        must = "be a set of 'mu', 'nu' and, with 'nu', 'nu_max'"
        refuse("rule.buffers", must, names)


def step_rule(rule: Rule, t: Any, carry: Carry) -> tuple[Tableau, Any]:
    """The tableau and the new carry that `rule.step` returns, checked."""
    made = rule.step(t, carry)
    pair = isinstance(made, tuple) and len(made) == 2
    if not pair or not isinstance(made[0], Tableau):
        refuse_kind("rule.step", "return an `oxe.Tableau` and the carry", made)
    if jax.tree.structure(made[1]) != jax.tree.structure(carry):
        must = "return a carry like the one it was given"
        refuse("rule.step", must, made[1])
    return made


# The coefficients that need a buffer unless they are 0.
_COEFFICIENTS_OF = {"mu": ("a1", "c1", "n1", "q"), "nu": ("a2", "c2", "d")}


def check_tableau(rule: Rule, tableau: Tableau) -> None:
    """Refuses a coefficient without its buffer, and a division by 0."""
    for buffer in _COEFFICIENTS_OF.keys() - rule.buffers:
        for name in _COEFFICIENTS_OF[buffer]:
            if not is_known(getattr(tableau, name), 0):
                must = f"hold {buffer!r} if `{name}` is not 0"
                refuse("rule.buffers", must, set(rule.buffers))
    if is_known(tableau.e, 0) and is_known(tableau.d, 0):
        refuse("rule.step", "return an `e` other than 0 if `d` is 0", tableau.e)


def as_schedule(argument: str, x: Any) -> Callable[..., Any]:
    """A number, or a vector over groups, or a schedule as a function of the count."""
    return lambda count: returned(argument, x, x(count)) if callable(x) else x
