"""One rule until a condition holds, another one from then on: the scalars change over.

Both phases are one elementwise update with two buffers; nothing of the size of the
params is copied, selected or branched on.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._kernel.scale_by_moments import Rule
from optax_extras._kernel.tableau import Tableau, is_known, select
from optax_extras._numerics import as_float, cast_like
from optax_extras._switching.conditions import as_condition
from optax_extras._values import refuse_unlike


class SwitchState(NamedTuple):
    """What `switch` keeps: the carry of a rule, or the state of a transformation."""

    first_count: Any
    """Shape (), int32: updates that the first phase has made."""
    second_count: Any
    """Shape (), int32: updates that the second phase has made."""
    switched: Any
    """Shape (), bool: whether the second phase makes the next update."""
    switch_step: Any
    """Shape (), int32: the last update of the first phase; -1 until then."""
    condition_state: Any
    """What the condition carries."""
    first: Any
    """What the first phase carries; it stays as it was at the switch."""
    second: Any
    """What the second phase carries."""

    def phases(self) -> tuple[Any, Any, Any]:
        """Whether the second phase made the last update, and the carries of both."""
        return self.second_count > 0, self.first, self.second


def init_state(condition_state: Any, first: Any, second: Any) -> SwitchState:
    """The state before any update."""
    count, never = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
    no = jnp.zeros((), bool)
    return SwitchState(
        count, jnp.array(count), no, never, condition_state, first, second
    )


def count_update(state: SwitchState) -> SwitchState:
    """With the update that is being made on the count of its phase."""
    first, second = state.first_count, state.second_count
    return state._replace(
        first_count=jnp.where(state.switched, first, optax.safe_increment(first)),
        second_count=jnp.where(state.switched, optax.safe_increment(second), second),
    )


def record_switch(state: SwitchState, fired: Any) -> SwitchState:
    """With the switch on record, where the condition has fired."""
    return state._replace(
        switched=state.switched | fired,
        switch_step=jnp.where(fired, state.first_count, state.switch_step),
    )


def _choose(second: Any, in_second: Any, in_first: Any) -> Any:
    """One of two trees of scalars, in the dtypes of the latter."""

    def pick(a, b):
        b = jnp.asarray(b)
        return jnp.where(second, jnp.asarray(a, b.dtype), b)

    return jax.tree.map(pick, in_second, in_first)


def cast_handoff(handed: Any, second: Any) -> Any:
    """What is handed over, in the dtypes of what the second phase carries."""
    must = f"return what the second phase carries, {second!r}"
    refuse_unlike("handoff", must, handed, second)
    return jax.tree.map(
        lambda old, new: cast_like(old, jnp.asarray(new)), second, handed
    )


def switch_rules(
    first: Rule,
    second: Rule,
    when: Any,
    *,
    handoff: Callable[..., Any] | None = None,
    keep_moments: bool = False,
) -> Rule:
    """`oxe.switch` of two rules: their buffers together, their scalars by phase."""
    condition = as_condition(when)
    buffers = frozenset(first.buffers | second.buffers)

    def init():
        return init_state(condition.init(), first.init(), second.init())

    def step(t, carry):
        del t
        now = count_update(carry)
        first_tableau, first_carry = first.step(now.first_count, carry.first)
        # Before the switch it is asked, too, what its first update would be.
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
        first_carry, second_carry, by_second = carry.first, carry.second, carry.switched
        if first.after is not None:
            new = first.after(carry.first_count, first_carry, **kwargs)
            first_carry = _choose(by_second, first_carry, new)
        if second.after is not None:
            count = jnp.maximum(carry.second_count, 1)
            new = second.after(count, second_carry, **kwargs)
            second_carry = _choose(by_second, new, second_carry)
        fired, condition_state = condition.update(
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
        return record_switch(
            carry._replace(
                condition_state=condition_state, first=first_carry, second=second_carry
            ),
            fired,
        )

    def needs_after(carry):
        if second.after is None:
            return ~carry.switched
        if second.needs_after is None:
            return True
        return ~carry.switched | second.needs_after(carry.second)

    return Rule(init, step, after, buffers, needs_after)


def zero_old_buffers(tableau: Tableau, is_first: Any) -> Tableau:
    """As if the buffers were zero, where this is a rule's first update.

    To put zeros into them would be a selection over all weights at every update.
    """
    return tableau._replace(
        **{
            name: c if is_known(c, 0) else jnp.where(is_first, 0, as_float(c))
            for name, c in (("a1", tableau.a1), ("a2", tableau.a2), ("r", tableau.r))
        }
    )


def _freeze_unused_buffers(tableau: Tableau, rule: Rule, buffers: frozenset) -> Tableau:
    """With the buffers that belong to the other rule alone left as they are."""
    others = buffers - rule.buffers
    if "mu" in others:
        tableau = tableau._replace(a1=1, c1=0)
    if "nu" in others:
        tableau = tableau._replace(a2=1, c2=0)
    # The kernel takes its root of the maximum; without a memory that is `nu`.
    return tableau._replace(r=0) if "nu_max" in others else tableau
