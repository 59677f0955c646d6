"""A learning rate for each phase of a direction that switches."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._boxes import is_none
from optax_extras._learning_rates._source import RateState, as_rate
from optax_extras._learning_rates.scale_by_rate import multiply_leaf
from optax_extras._leaves import in_compute_dtype
from optax_extras._types import Params


class PhasedRateState(NamedTuple):
    """Learning rates of both phases; `learning_rate` reads the applied one."""

    count: Any
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    second_count: Any
    """Shape () or a vector over leaves, int32: updates of the second phase."""
    first: RateState
    """The learning rate of the first phase, which goes on after the switch."""
    second: RateState
    """The learning rate of the second phase."""
    direction: Any
    """The state of the direction, a `MomentsState` that carries a `SwitchState`."""

    restarted_fields = ("second_count", "direction")

    def phases(self) -> tuple[Any, Any, Any]:
        """The updates made by the second phase; both learning rates."""
        return self.second_count, self.first, self.second


def scale_by_phase_rate(
    direction: Any,
    learning_rate: ArrayLike | optax.Schedule,
    second_learning_rate: ArrayLike | optax.Schedule,
) -> optax.GradientTransformationExtraArgs:
    """Multiplies by minus the phase's learning rate."""
    first = as_rate("learning_rate", learning_rate)
    second = as_rate("second_rate", second_learning_rate)

    def init(params):
        inner: Any = direction.init(params)
        count, second_count = jnp.zeros((), jnp.int32), inner.carry.second_count
        second_count = jnp.array(second_count)  # donation: no array twice
        return PhasedRateState(count, second_count, first.init(), second.init(), inner)

    def update(updates, state, params: Params = None, **extra):
        us, inner = direction.update(updates, state.direction, params, **extra)
        second_count = inner.carry.second_count
        first_rate, first_state = first.step(state.count, state.first, **extra)
        # With a count for each leaf the second learning rate is a constant.
        per_leaf = second_count.ndim
        start = jnp.zeros((), jnp.int32)
        start = start if per_leaf else jnp.maximum(second_count - 1, 0)
        second_rate, second_state = second.step(start, state.second, **extra)
        rate = jnp.where(second_count > 0, second_rate, first_rate)

        leaves, treedef = jax.tree.flatten(us, is_leaf=is_none)
        rates = rate if per_leaf else [rate] * len(leaves)
        pairs = zip(rates, leaves, strict=True)
        us = treedef.unflatten(
            [
                None if u is None else multiply_leaf(in_compute_dtype(-rate, u), u)
                for rate, u in pairs
            ]
        )
        count = optax.safe_increment(state.count)
        second_count = jnp.array(second_count)
        return us, PhasedRateState(
            count, second_count, first_state, second_state, inner
        )

    return optax.GradientTransformationExtraArgs(init, update)
