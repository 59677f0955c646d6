"""Adadelta."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import (
    Fraction,
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._map_leaves import map_leaves, real_zeros
from optax_extras._numerics import above_zero, sqrt
from optax_extras._types import Params, State, Updates


class ScaleByAdadeltaState(NamedTuple):
    """State of `scale_by_adadelta`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    nu: Any
    """Like the params, real and float32 at least: the mean square of the gradients."""
    delta: Any
    """Like the params, real and float32 at least: the mean square of the directions."""

    buffers_hold = (("nu", "nu"), ("delta", "delta"))


@checked
def scale_by_adadelta(
    rho: Fraction = 0.9, eps: NonNegative = 1e-6
) -> optax.GradientTransformationExtraArgs:
    """:func:`adadelta` without learning rate and sign, with the same arguments."""

    def leaf(g, nu, delta):
        nu = rho * nu + (1 - rho) * jnp.square(jnp.abs(g))
        u = g * (sqrt(delta + eps) / above_zero(sqrt(nu + eps)))
        return u, nu, rho * delta + (1 - rho) * jnp.square(jnp.abs(u))

    def init(params: Params) -> ScaleByAdadeltaState:
        count = jnp.zeros((), jnp.int32)
        return ScaleByAdadeltaState(count, real_zeros(params), real_zeros(params))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del params, extra
        us, nu, delta = map_leaves(leaf, updates, state.nu, state.delta)
        t: Any = optax.safe_increment(state.count)
        return us, ScaleByAdadeltaState(t, nu, delta)

    return optax.GradientTransformationExtraArgs(init, update)


@checked
def adadelta(
    learning_rate: LearningRate = 1.0,
    rho: Fraction = 0.9,
    eps: NonNegative = 1e-6,
    *,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradients over their root mean square, times the root mean square of past steps.

    It was designed to need no learning rate. But its first steps are about
    :math:`\sqrt{\epsilon / (1 - \rho)}` long, 0.003 by default, and grow slowly; prefer
    Adam where that is too slow. With the same arguments ``optax.adadelta``, PyTorch's
    and Keras' compute the same numbers. The state differs from Optax's: it is float32
    for half-precision params, it is sharded like the params when it is made under
    ``jit``, and a leaf whose gradient is None keeps its state.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2, \qquad
        u_t = \frac{\sqrt{d_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}}\, g_t, \\
        d_t &= \rho d_{t-1} + (1 - \rho) u_t^2, \qquad
        w_t = w_{t-1} - \eta_t u_t

    with :math:`v_0 = d_0 = 0`. In the state they are `nu` and `delta`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`; the paper has 1.
      rho: :math:`\rho`, the decay of both averages.
      eps: :math:`\epsilon`, added to both mean squares; at 0 no weight ever moves.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adadelta(1.0)

    References:
      Zeiler, `Adadelta: An adaptive learning rate method
      <https://arxiv.org/abs/1212.5701>`_, 2012
    """
    direction = scale_by_adadelta(rho, eps)
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
