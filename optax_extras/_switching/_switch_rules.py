"""One rule until a condition holds, another one from then on.

Only scalars switch. Both phases are one elementwise update with shared buffers; nothing
of the size of the params is copied, selected or branched on.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._kernel.rule import Rule
from optax_extras._kernel.tableau import Tableau, is_known, select
from optax_extras._numerics import as_float
from optax_extras._switching._switch_state import (
    cast_handoff,
    count_update,
    init_state,
    record_switch,
)
from optax_extras._switching.conditions import as_condition


def _choose(predicate: Any, if_true: Any, if_false: Any) -> Any:
    """One of two trees of scalars, in the dtypes of `if_false`."""

    def pick(a, b):
        b = jnp.asarray(b)
        return jnp.where(predicate, jnp.asarray(a, b.dtype), b)

    return jax.tree.map(pick, if_true, if_false)


def switch_rules(
    first: Rule,
    second: Rule,
    when: Any,
    *,
    handoff: Callable[..., Any] | None = None,
    keep_moments: bool = False,
) -> Rule:
    """`oxe.switch` of two rules: all buffers of both, the scalars of one phase."""
    condition = as_condition(when)
    buffers = frozenset(first.buffers | second.buffers)

    def init():
        return init_state(condition.init(), first.init(), second.init())

    def step(t, carry):
        del t
        now = count_update(carry)
        first_tableau, first_carry = first.step(now.first_count, carry.first)
        # Before the switch these are the coefficients of its first update: not used.
        count = jnp.maximum(now.second_count, 1)
        second_tableau, second_carry = second.step(count, carry.second)
        if not keep_moments:
            second_tableau = zero_old_buffers(second_tableau, now.second_count <= 1)
        tableaus = (
            _freeze_unused_buffers(first_tableau, first, buffers),
            _freeze_unused_buffers(second_tableau, second, buffers),
        )
        tableau = select(carry.switched, tableaus)
        first_carry = _choose(carry.switched, carry.first, first_carry)
        second_carry = _choose(carry.switched, second_carry, carry.second)
        return tableau, now._replace(first=first_carry, second=second_carry)

    def after(t, carry, /, **kwargs):
        del t
        return finish(carry, (first.after, second.after, condition.update), kwargs)

    def finish(carry, afters, kwargs):
        """The carry after both phases and the condition have seen the update."""
        after_first, after_second, update_condition = afters
        first_carry, second_carry, by_second = carry.first, carry.second, carry.switched
        if after_first is not None:
            new = after_first(carry.first_count, first_carry, **kwargs)
            first_carry = _choose(by_second, first_carry, new)
        if after_second is not None:
            count = jnp.maximum(carry.second_count, 1)
            new = after_second(count, second_carry, **kwargs)
            second_carry = _choose(by_second, new, second_carry)
        fired, condition_state = update_condition(
            carry.condition_state, carry.first_count, **kwargs
        )
        condition_state = _choose(by_second, carry.condition_state, condition_state)
        fired = fired & ~by_second
        if handoff is not None:
            handed = handoff(
                condition_state=condition_state, first=first_carry, second=second_carry
            )
            handed = cast_handoff(handed, second_carry)
            second_carry = _choose(fired, handed, second_carry)
        carry = carry._replace(
            condition_state=condition_state, first=first_carry, second=second_carry
        )
        return record_switch(carry, fired)

    def needs_after(carry):
        if second.after is None:
            return ~carry.switched
        if second.needs_after is None:
            return True
        return ~carry.switched | second.needs_after(carry.second)

    afters = (first.after, second.after, condition.update)
    parts = (first.after_parts, second.after_parts, condition.parts)
    after_parts = _in_parts(finish, afters, parts)
    return Rule(init, step, after, buffers, needs_after, after_parts)


def _in_parts(finish: Callable[..., Any], afters: Any, parts: Any) -> Any:
    """`after` in two steps, as in `Rule`; None if one of `afters` has no such parts."""
    pairs = zip(afters, parts, strict=True)
    if any(after is not None and part is None for after, part in pairs):
        return None

    def measure(**trees):
        return tuple(part[0](**trees) if part else () for part in parts)

    def decide(t, carry, measured, /, **extra):
        del t
        pairs = zip(parts, measured, strict=True)
        decides = [part and _with_measured(part[1], x) for part, x in pairs]
        return finish(carry, decides, extra)

    return measure, decide


def _with_measured(decide: Callable[..., Any], measured: Any) -> Callable[..., Any]:
    """`decide` as a function of two arguments and the extra args."""

    def call(first: Any, second: Any, /, **extra: Any) -> Any:
        # A rule's is (t, carry, measured), a condition's (state, count, measured).
        return decide(first, second, measured, **extra)

    return call


def zero_old_buffers(tableau: Tableau, is_first: Any) -> Tableau:
    """Ignores the old buffers at a rule's first update, as if they were zero.

    The coefficients become 0, which costs nothing. Writing zeros into the buffers would
    be a selection over all weights at every update.
    """
    return tableau._replace(
        **{
            name: c if is_known(c, 0) else jnp.where(is_first, 0, as_float(c))
            for name, c in (("a1", tableau.a1), ("a2", tableau.a2), ("r", tableau.r))
        }
    )


def _freeze_unused_buffers(tableau: Tableau, rule: Rule, buffers: frozenset) -> Tableau:
    """Keeps the `mu` and `nu` that only the other rule uses; `nu_max` becomes `nu`."""
    others = buffers - rule.buffers
    if "mu" in others:
        tableau = tableau._replace(a1=1, c1=0)
    if "nu" in others:
        tableau = tableau._replace(a2=1, c2=0)
    # The kernel takes the root of max(r * nu_max, nu); with r = 0 that is nu.
    return tableau._replace(r=0) if "nu_max" in others else tableau
