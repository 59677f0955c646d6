"""Applying a learning rate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import LearningRate, checked
from optax_extras._learning_rates._source import RateState, Source, as_rate
from optax_extras._numerics import compute_dtype, real_dtype
from optax_extras._types import Params


class ScaleByRateState(NamedTuple):
    """State of `scale_by_rate`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    rate: RateState
    """The learning rate of the last update."""

    restarted_fields = ()


@checked
def scale_by_rate(
    rate: LearningRate, *, flip_sign: bool = True
) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies updates by minus the learning rate, and stores it in the state.

    Put it at the end of a chain, in place of ``optax.scale_by_learning_rate``, which
    does not store the learning rate. Here :func:`learning_rate` reads it from the
    state. Updates keep their dtypes, and half-precision ones are multiplied in float32.
    Optax first rounds the learning rate to their dtype: 1e-8 becomes 0 in float16.

    .. math::
        u_t \leftarrow -\eta_t\, u_t

    Args:
      rate: The learning rate :math:`\eta_t`. A schedule is called with the number of
        updates already made; the sign of its value is not checked.
      flip_sign: Whether to multiply by minus the learning rate, to minimize. False:
        multiply by the learning rate itself.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cosine(1e-3, decay_steps=1000)
      >>> tx = optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(schedule))
      >>> state = tx.init(jnp.ones(3))
      >>> round(float(oxe.learning_rate(state)), 6)
      0.001
    """
    return scale_by_source(as_rate("rate", rate), -1 if flip_sign else 1)


def scale_by_source(
    source: Source, sign: int = -1
) -> optax.GradientTransformationExtraArgs:
    """`scale_by_rate` with a learning rate that another function has checked."""

    def init(params: Params) -> ScaleByRateState:
        del params
        return ScaleByRateState(jnp.zeros((), jnp.int32), source.init())

    def update(updates, state, params=None, **extra):
        del params
        rate, rate_state = source.step(state.count, state.rate, **extra)
        updates = jax.tree.map(lambda u: multiply_in_float32(sign * rate, u), updates)
        return updates, ScaleByRateState(optax.safe_increment(state.count), rate_state)

    return optax.GradientTransformationExtraArgs(init, update)


def multiply_in_float32(factor: jax.Array, leaf: ArrayLike) -> jax.Array:
    """The product in 32 bits at least, rounded once to the dtype of the leaf."""
    leaf = jnp.asarray(leaf)
    dtype = compute_dtype(leaf.dtype)
    return (factor.astype(real_dtype(dtype)) * leaf.astype(dtype)).astype(leaf.dtype)
