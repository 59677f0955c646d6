"""FTRL-Proximal."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import LearningRate, NonNegative, checked
from optax_extras._groups._freeze import freeze
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._map_leaves import (
    map_leaves,
    real_zeros,
    refuse_complex,
    require_params,
)
from optax_extras._learning_rates._sources_by_path import (
    check_groups,
    of_leaves,
    rate_source,
)
from optax_extras._leaves import along_first_axis, with_updates
from optax_extras._numerics import above_zero, sqrt
from optax_extras._types import Params, State, Updates


class FtrlState(NamedTuple):
    """State of `ftrl`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    nu: Any
    """Like the params, float32 at least: the sum of the squared gradients."""
    linear: Any
    """Like the params, float32 at least: the linear term, clipped to the penalty `l1`;
    with `from_sums` the whole of it."""
    rate: Any
    """The learning rate of the last update, as it was given."""

    buffers_hold = (("nu", "accumulator"), ("linear", "linear"))


@checked
def ftrl(
    learning_rate: LearningRate,
    beta: NonNegative = 1.0,
    l1: NonNegative = 0.0,
    l2: NonNegative = 0.0,
    *,
    power: NonNegative = 0.5,
    initial_accumulator_value: NonNegative = 0.0,
    l2_shrinkage: NonNegative = 0.0,
    from_sums: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaGrad with an L1 penalty that makes weights exactly 0.

    It is "follow the regularized leader" in its proximal form. Prefer it for linear
    models with many sparse features, and wherever weights should become 0. Without `l1`
    its steps are those of :func:`adagrad` with an epsilon of `beta` plus learning rate
    times `l2`. With an L1 penalty in the loss instead, weights only move around 0.

    .. math::
        n_t &= n_{t-1} + g_t^2, \qquad
            q_t = \frac{\beta + n_t^p}{\eta_t} + \lambda_2, \\
        z_t &= y_{t-1} + g_t - q_t w_{t-1}, \qquad
            y_t = \mathrm{clip}(z_t, -\lambda_1, \lambda_1), \qquad
            w_t = \frac{y_t - z_t}{q_t}

    with :math:`y_0 = 0`. So :math:`w_t = 0` where :math:`|z_t| \le \lambda_1`. In the
    state `nu` is :math:`n_t` and `linear` is :math:`y_t`. A weight that becomes 0 is
    exactly 0 after ``optax.apply_updates`` if gradients and params have the same dtype.

    With a constant learning rate and weights that start at 0, these are the weights of
    the paper's algorithm 1, which stores :math:`z_t` instead:

    .. math::
        z_t = z_{t-1} + g_t - \frac{n_t^p - n_{t-1}^p}{\eta_t} w_{t-1}

    The sum does not contain the initial weights, nor changes of the learning rate. With
    it, a weight whose first gradient is small jumps to almost 0, and if the learning
    rate is divided by 10, so are the weights. With the formula above, steps always
    begin at the last weights. TensorFlow and Keras have the paper's sum, which
    `from_sums` selects.

    Args:
      learning_rate: The learning rate :math:`\eta_t`, :math:`\alpha` in the paper. With
        0 no weight moves.
      beta: :math:`\beta`, added to the root; the paper advises 1.
      l1: :math:`\lambda_1`, the penalty on :math:`|w|`.
      l2: :math:`\lambda_2`, which shortens the steps. Unlike a penalty in the loss it
        counts once, not once an update.
      power: :math:`p`, the power of the sum of squares; 0: it does not count.
      initial_accumulator_value: The initial sum of squares :math:`n_0`.
      l2_shrinkage: Adds 2 `l2_shrinkage` :math:`w_{t-1}` to the gradient, but not to
        the squares: an L2 penalty in the loss.
      from_sums: Compute the weights from the sums :math:`z_t` of the paper, as in
        TensorFlow and Keras.

    Returns:
      Its `update` needs the params; :func:`learning_rate` reads :math:`\eta_t`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.ftrl(0.1, l1=1e-3)

    References:
      McMahan et al., `Ad click prediction: a view from the trenches
      <https://doi.org/10.1145/2487575.2488200>`_, 2013
    """
    rate = rate_source("learning_rate", learning_rate)
    penalty: Any = l1

    def init(params: Params) -> FtrlState:
        refuse_complex(params)
        check_groups(rate, params)

        def first(zero: jax.Array) -> jax.Array:
            # A sum with zeros, because under `jit` `full_like` has no sharding.
            return zero + jnp.asarray(initial_accumulator_value, zero.dtype)

        nu = jax.tree.map(first, real_zeros(params))
        count = jnp.zeros((), jnp.int32)
        return FtrlState(count, nu, real_zeros(params), rate.init())

    def leaf(g, nu, linear, w, eta):
        formula = of_sums if from_sums else proximal
        return formula(g, nu, linear, w, along_first_axis(eta, g))

    def proximal(g, nu, linear, w, eta):
        nu = nu + jnp.square(g)
        bottom = above_zero(beta + _power(nu, power) + eta * l2)  # eta q
        total = linear + g + 2 * l2_shrinkage * w
        # A leaf is multiplied by a reciprocal, and divided only at the end: XLA would
        # store a quotient that several results need.
        z = total - (w * bottom) * (1 / above_zero(eta))
        linear = jnp.clip(z, -penalty, penalty)
        u = jnp.where(jnp.abs(z) <= l1, -w, -eta * (total - linear) / bottom)
        return u, nu, linear

    def of_sums(g, nu, linear, w, eta):
        before, nu = _power(nu, power), nu + jnp.square(g)
        root = _power(nu, power)
        # At a learning rate of 0, or where a square has overflowed, no weight moves.
        is_moving = (eta > 0) & (root != jnp.inf)
        sigma = (root - before) / jnp.where(is_moving, eta, 1)
        total = linear + g + 2 * l2_shrinkage * w
        z = total - jnp.where(is_moving, sigma, 0) * w
        top = eta * (jnp.clip(z, -penalty, penalty) - z)
        new = top / above_zero(beta + root + eta * l2)
        return jnp.where(is_moving, new - w, 0), nu, z

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        require_params(updates, params)
        eta, rate_state = rate.step(state.count, state.rate, **extra)
        t: Any = optax.safe_increment(state.count)
        inputs = with_updates(updates, params), of_leaves(rate, eta, updates)
        us, nu, linear = map_leaves(
            leaf, updates, state.nu, state.linear, inputs=inputs
        )
        return us, FtrlState(t, nu, linear, rate_state)

    tx = optax.GradientTransformationExtraArgs(init, update)
    return freeze(in_float32(tx), learning_rate)


def _power(nu: jax.Array, power: Any) -> jax.Array:
    """The power of a sum of squares, with slope 0 at 0, as that of `sqrt`."""
    if isinstance(power, float) and power == 0.5:
        return sqrt(nu)
    is_zero = nu == 0
    power = jnp.asarray(power, nu.dtype)
    return jnp.where(
        is_zero, jnp.zeros_like(nu) ** power, jnp.where(is_zero, 1, nu) ** power
    )
