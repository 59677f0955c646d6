"""A classical optimizer as a value, and the transformation made from it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._checks import FloatingDtype, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel._after_update import UpdatedLeaf, after_kwargs, run_after
from optax_extras._kernel.leaf_update import LeafUpdater
from optax_extras._kernel.tableau import Tableau, check_buffers
from optax_extras._numerics import (
    compute_dtype,
    dtype_of,
    in_dtype_of,
    real_dtype,
    strong_copy,
    zeros_like,
)
from optax_extras._types import Carry
from optax_extras._values import function, returned

_BUFFERS = ("mu", "nu", "nu_max")


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


class MomentsState(NamedTuple):
    """State of `scale_by_moments`."""

    count: ArrayLike
    """Shape (), int32: the number of updates; it stops at 2**31 - 1."""
    mu: Any
    """Like the params, in `mu_dtype` or `moments_dtype`, or else float32 at least; None
    in a rule without it."""
    nu: Any
    """Likewise, but real; None in a rule without it."""
    carry: Carry
    """The rule's scalars; with `per_leaf`, vectors with an entry for each leaf."""
    nu_max: Any = None
    """The running maximum of `nu`, in its dtype; None in a rule without it."""


@checked
def scale_by_moments(
    rule: Rule,
    *,
    moments_dtype: FloatingDtype | None = None,
    mu_dtype: FloatingDtype | None = None,
    per_leaf: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Makes a gradient transformation from a rule.

    Its updates are the direction :math:`u` of `Tableau`. They are not multiplied by -1,
    nor by a learning rate, unless the rule itself contains one. It computes in float32
    at least. Updates have the dtypes of the gradients; if these are integers, the
    fractions of the updates are cut off.

    Args:
      rule: A rule from `oxe.rules` or your own.
      moments_dtype: The dtype of all buffers. None: that of the params, but float32 for
        half-precision params. Complex params keep complex first moments.
      mu_dtype: The dtype of `mu`, if it is another one.
      per_leaf: Whether every leaf of the params has a carry of its own: `step` and
        `after` then run once for each leaf, and each leaf switches by itself.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `MomentsState`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> direction = oxe.scale_by_moments(oxe.rules.adam(b1=0.95))
      >>> tx = optax.chain(direction, oxe.scale_by_rate(1e-3))

      Your own rule, an average of the gradients, and Signum, which takes its sign:

      >>> def average(beta):
      ...     step = lambda t, carry: (oxe.Tableau(a1=beta, c1=1 - beta, n1=1), carry)
      ...     return oxe.Rule(lambda: (), step, buffers=frozenset({"mu"}))
      >>> direction = oxe.scale_by_moments(average(0.9))
      >>> tx = optax.chain(direction, optax.scale_by_sign(), oxe.scale_by_rate(1e-3))
    """
    if not isinstance(rule, Rule):
        refuse_kind("rule", "be an `oxe.Rule`", rule)
    for name in ("init", "step"):
        function(f"rule.{name}", getattr(rule, name))
    names = rule.buffers
    unknown = not isinstance(names, frozenset | set) or names - {*_BUFFERS}
    if unknown or ("nu_max" in names and "nu" not in names):
        must = "be a set of 'mu', 'nu' and, with 'nu', 'nu_max'"
        refuse("rule.buffers", must, names)

    def init(params):
        buffers: dict[str, Any] = dict.fromkeys(_BUFFERS)
        for name in filter(rule.buffers.__contains__, _BUFFERS):
            dtype = mu_dtype if name == "mu" and mu_dtype is not None else moments_dtype
            buffers[name] = jax.tree.map(partial(_zeros, dtype, name), params)
        carry = jax.tree.map(strong_copy, rule.init())
        if per_leaf:
            leaves = len(jax.tree.leaves(params, is_leaf=_is_none))
            carry = jax.tree.map(lambda x: jnp.full((leaves,), x, x.dtype), carry)
        count = jnp.zeros((), jnp.int32)
        return MomentsState(count, carry=carry, **buffers)

    def update(updates, state, params=None, **extra):
        t: Any = optax.safe_increment(state.count)
        grads, treedef = jax.tree.flatten(updates, is_leaf=_is_none)

        def leaves(tree):
            return [None] * len(grads) if tree is None else treedef.flatten_up_to(tree)

        carries = [state.carry]
        if per_leaf:
            carries = [_entry(state.carry, i) for i in range(len(grads))]
        steps = [_stepped(rule, t, carry) for carry in carries]
        check_buffers(rule.buffers, [tableau for tableau, _ in steps])
        updaters = [LeafUpdater(tableau) for tableau, _ in steps]
        updaters = updaters if per_leaf else updaters * len(grads)
        olds = [getattr(state, name) for name in _BUFFERS]
        rows = zip(updaters, grads, *map(leaves, olds), strict=True)
        moved = [updater.update(g, *buffers) for updater, g, *buffers in rows]
        us, *news = zip(*moved, strict=True) if grads else ((), (), (), ())
        directions = treedef.unflatten(us)

        carries = [
            jax.tree.map(in_dtype_of, old, new)
            for old, (_, new) in zip(carries, steps, strict=True)
        ]
        if rule.after is not None:
            buffers = zip(*news, strict=True)
            made = list(map(UpdatedLeaf, updaters, grads, us, buffers))

            def after(carry, made, as_tree, g, p):
                kwargs = after_kwargs(extra, grads=g, params=p)
                return run_after(rule, t, carry, made, as_tree, kwargs)

            if per_leaf:
                carries = [
                    carry if one.g is None else after(carry, [one], _only, one.g, p)
                    for carry, one, p in zip(carries, made, leaves(params), strict=True)
                ]
            else:
                as_tree = treedef.unflatten
                carries = [after(carries[0], made, as_tree, updates, params)]
        carry = carries[0] if carries else state.carry  # without leaves none
        if per_leaf and carries:
            carry = jax.tree.map(lambda *xs: jnp.stack(xs), *carries)
        buffers = {
            name: None if old is None else treedef.unflatten(new)
            for name, old, new in zip(_BUFFERS, olds, news, strict=True)
        }
        return directions, MomentsState(t, carry=carry, **buffers)

    return optax.GradientTransformationExtraArgs(init, update)


def _stepped(rule: Rule, t: Any, carry: Carry) -> tuple[Tableau, Any]:
    made = rule.step(t, carry)
    pair = isinstance(made, tuple) and len(made) == 2
    if not pair or not isinstance(made[0], Tableau):
        refuse_kind("rule.step", "return an `oxe.Tableau` and the carry", made)
    if jax.tree.structure(made[1]) != jax.tree.structure(carry):
        must = "return a carry like the one it was given"
        refuse("rule.step", must, made[1])
    return made


def _entry(carry: Carry, leaf: int) -> Any:
    """The carry of a leaf, from vectors over leaves."""
    return jax.tree.map(lambda x: x[leaf], carry)


def _only(items: Any) -> Any:
    (item,) = items
    return item


def as_schedule(argument: str, x: Any) -> Callable[..., Any]:
    """A number or a schedule as a function of the count."""
    if not callable(x):
        return lambda count: x
    return lambda count: returned(argument, x(count))


def _is_none(x: Any) -> bool:
    return x is None


def _zeros(moments_dtype: Any, buffer: str, param: Any) -> jax.Array:
    """A zero moment for a leaf."""
    dtype = compute_dtype(dtype_of(param))
    if moments_dtype is not None:
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        least = np.complex64 if is_complex else moments_dtype
        dtype = jnp.result_type(moments_dtype, least)
    return zeros_like(param, dtype if buffer == "mu" else real_dtype(dtype))
