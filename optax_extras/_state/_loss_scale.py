"""A loss scale that follows whether gradients are finite."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._leaves import cast_like, upcast_half, without_weak_type
from optax_extras._numerics import LAST_COUNT
from optax_extras._types import Params, State, Updates


class LossScaleState(NamedTuple):
    """State of `keras.LossScaleOptimizer`."""

    step_counter: jax.Array
    """Shape (), int32: updates made since the scale has changed."""
    dynamic_scale: jax.Array
    """Shape (), float32: what to multiply the loss by before the next update."""
    inner_state: Any
    """An ``optax.ApplyIfFiniteState``, with the optimizer's state inside."""

    restarted_fields = ("inner_state",)


def with_loss_scale(
    tx: Any, initial_scale: Any, growth_steps: Any
) -> optax.GradientTransformationExtraArgs:
    """The optimizer for gradients of a loss that is multiplied by `dynamic_scale`."""
    inner: Any = optax.apply_if_finite(_with_fixed_dtypes(tx), LAST_COUNT)

    def init(params: Params) -> LossScaleState:
        scale = jnp.array(initial_scale, jnp.float32)
        return LossScaleState(jnp.zeros((), jnp.int32), scale, inner.init(params))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        scale = state.dynamic_scale
        # In float16 the quotient could be 0.
        grads = jax.tree.map(lambda g: upcast_half(g) / scale, updates)
        us, inner_state = inner.update(grads, state.inner_state, params, **extra)
        us = jax.tree.map(cast_like, updates, us)

        finite = inner_state.last_finite
        count: Any = optax.safe_increment(state.step_counter)
        grows = count >= growth_steps
        limits = jnp.finfo(jnp.float32)
        # Keras' scale may become 0 or infinite, and then it stays so.
        grown = jnp.where(grows & (scale <= limits.max / 2), 2 * scale, scale)
        scale = jnp.where(finite, grown, jnp.maximum(scale / 2, limits.tiny))
        count = jnp.where(finite & ~grows, count, 0)
        return us, LossScaleState(count, scale, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _with_fixed_dtypes(tx: Any) -> Any:
    """The optimizer, with updates and states of one dtype, as a condition needs it."""

    def init(params: Params) -> State:
        return jax.tree.map(without_weak_type, tx.init(params))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        us, new = tx.update(updates, state, params, **extra)
        us = jax.tree.map(cast_like, updates, us)
        return us, jax.tree.map(cast_like, state, new)

    return optax.GradientTransformationExtraArgs(init, update)
