"""Adamax, with its epsilon in either place."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import (
    Decay,
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._map_leaves import map_leaves, real_zeros, zeros
from optax_extras._numerics import one_minus_power
from optax_extras._types import Params, State, Updates


class ScaleByAdamaxState(NamedTuple):
    """State of `scale_by_adamax`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    mu: Any
    """Like the params, float32 at least: the first moment."""
    nu: Any
    """Like the params, real and float32 at least: the decaying maximum."""

    buffers_hold = (("mu", "mu"), ("nu", "maximum"))
    shares_count = True


@checked
def scale_by_adamax(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_in_maximum: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """:func:`adamax` without learning rate and sign, with the same arguments."""

    def init(params: Params) -> ScaleByAdamaxState:
        count = jnp.zeros((), jnp.int32)
        return ScaleByAdamaxState(count, zeros(params), real_zeros(params))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del params, extra
        t: Any = optax.safe_increment(state.count)
        correction = one_minus_power(b1, t)

        def leaf(g, mu, nu):
            mu = b1 * mu + (1 - b1) * g
            nu = jnp.maximum(b2 * nu, jnp.abs(g) + (eps if eps_in_maximum else 0))
            bottom = correction * (nu if eps_in_maximum else nu + eps)
            # With no epsilon and only zero gradients so far, 0 / 0 is 0.
            return mu / jnp.maximum(bottom, jnp.finfo(nu.dtype).tiny), mu, nu

        us, mu, nu = map_leaves(leaf, updates, state.mu, state.nu)
        return us, ScaleByAdamaxState(t, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


@checked
def adamax(
    learning_rate: LearningRate,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_in_maximum: bool = True,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam with a decaying maximum of the gradients instead of their mean square.

    Prefer it for gradients that are mostly zero: its steps are hardly ever longer than
    the learning rate, while a step of Adam after many gradients of 0 can be three times
    as long. As in PyTorch, epsilon is added to each gradient before the maximum is
    taken; the paper has no epsilon. ``optax.adamax`` has this form too, but its buffers
    have the params' dtype.

    .. math::
        u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon), \qquad
        w_t = w_{t-1} - \frac{\eta_t}{1 - \beta_1^t} \frac{m_t}{u_t}

    with Adam's :math:`m_t` and :math:`u_0 = 0` (`mu` and `nu` in the state).

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, the decay of the first moment.
      b2: :math:`\beta_2`, the decay of the maximum.
      eps: :math:`\epsilon`, which keeps the denominator above 0.
      eps_in_maximum: Add :math:`\epsilon` inside the maximum. False: the denominator is
        :math:`u_t + \epsilon` and the maximum has no :math:`\epsilon`, as in Keras.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adamax(2e-3)

    References:
      Kingma and Ba, `Adam: A method for stochastic optimization
      <https://arxiv.org/abs/1412.6980>`_, 2015, section 7.1
    """
    direction = scale_by_adamax(b1, b2, eps, eps_in_maximum=eps_in_maximum)
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
