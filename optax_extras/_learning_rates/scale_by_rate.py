"""Applying a learning rate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import LearningRate, checked
from optax_extras._groups._freeze import freeze
from optax_extras._learning_rates._source import Source
from optax_extras._learning_rates._sources_by_path import (
    SourcesByPath,
    check_groups,
    of_leaves,
    rate_source,
)
from optax_extras._leaves import along_first_axis
from optax_extras._types import Params


class ScaleByRateState(NamedTuple):
    """State of `scale_by_rate`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    rate: Any
    """The learning rate of the last update, a `RateState`; with `by_path` the learning
    rates of the groups, a `NumbersByPath`."""

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
    source = rate_source("rate", rate)
    return freeze(scale_by_source(source, -1 if flip_sign else 1), rate)


def scale_by_source(
    source: Source | SourcesByPath, sign: int = -1
) -> optax.GradientTransformationExtraArgs:
    """`scale_by_rate` with a learning rate that another function has checked."""

    def init(params: Params) -> ScaleByRateState:
        check_groups(source, params)
        return ScaleByRateState(jnp.zeros((), jnp.int32), source.init())

    def update(updates, state, params=None, **extra):
        del params
        rate: Any
        rate, rate_state = source.step(state.count, state.rate, **extra)
        factors = of_leaves(source, jax.tree.map(lambda x: sign * x, rate), updates)
        scaled = jax.tree.map(multiply_leaf, factors, updates)
        return scaled, ScaleByRateState(optax.safe_increment(state.count), rate_state)

    return optax.GradientTransformationExtraArgs(init, update)


def multiply_leaf(factor: jax.Array, leaf: ArrayLike) -> jax.Array:
    """The product with a number from `in_compute_dtype`, rounded once to the leaf's."""
    leaf = jnp.asarray(leaf)
    # JAX refuses the mixed product if `jax_numpy_dtype_promotion` is "strict".
    upcast = leaf.astype(factor.dtype) if leaf.dtype.itemsize < 4 else leaf
    return (along_first_axis(factor, leaf) * upcast).astype(leaf.dtype)
