"""The state of a switch, between rules and between transformations."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._check_values import refuse_unlike
from optax_extras._leaves import cast_like


class SwitchState(NamedTuple):
    """State of `switch`: the carry of a rule, or the state of a transformation."""

    first_count: Any
    """Shape (), int32: updates made by the first phase."""
    second_count: Any
    """Shape (), int32: updates made by the second phase."""
    switched: Any
    """Shape (), bool: whether the second phase makes the next update."""
    switch_step: Any
    """Shape (), int32: the last update of the first phase; -1 until then."""
    condition_state: Any
    """The state of the condition."""
    first: Any
    """The carry or state of the first phase, which no longer changes after the
    switch."""
    second: Any
    """The carry or state of the second phase."""

    def phases(self) -> tuple[Any, Any, Any]:
        """The updates made by the second phase; the carries of both."""
        return self.second_count, self.first, self.second


def init_state(condition_state: Any, first: Any, second: Any) -> SwitchState:
    """The state before any update."""
    count, never = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
    no = jnp.zeros((), bool)
    return SwitchState(
        count, jnp.array(count), no, never, condition_state, first, second
    )


def count_update(state: SwitchState) -> SwitchState:
    """Counts this update for the phase that makes it."""
    first, second = state.first_count, state.second_count
    return state._replace(
        first_count=jnp.where(state.switched, first, optax.safe_increment(first)),
        second_count=jnp.where(state.switched, optax.safe_increment(second), second),
    )


def record_switch(state: SwitchState, fired: Any) -> SwitchState:
    """Records the switch, where the condition has fired."""
    return state._replace(
        switched=state.switched | fired,
        switch_step=jnp.where(fired, state.first_count, state.switch_step),
    )


def cast_handoff(handed: Any, second: Any) -> Any:
    """The result of `handoff`, in the dtypes of the second phase's state."""
    must = f"return a state like that of the second phase, {second!r}"
    refuse_unlike("handoff", must, handed, second)
    return jax.tree.map(
        lambda old, new: cast_like(old, jnp.asarray(new)), second, handed
    )
