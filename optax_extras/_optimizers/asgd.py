"""Averaged SGD, as in PyTorch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import LearningRate, NonNegative, checked
from optax_extras._groups._freeze import freeze
from optax_extras._kernel._map_leaves import copy_of_params, map_leaves, require_params
from optax_extras._learning_rates._sources_by_path import (
    check_groups,
    of_leaves,
    rate_source,
)
from optax_extras._leaves import along_first_axis, with_updates
from optax_extras._numerics import as_float
from optax_extras._types import Params, State, Updates


class AsgdState(NamedTuple):
    """State of `asgd`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    average: Any
    """Like the params, float32 at least: the averaged weights, for evaluation."""
    eta: Any
    """Shape (), float32 (float64 under x64): the step size of the next update; with
    `by_path` a dict, by group."""
    rate: Any
    """The learning rate of the last update, before its decay, a `RateState`; with
    `by_path` those of the groups, a `NumbersByPath`."""

    buffers_hold = (("average", "average"),)
    shares_count = True


@checked
def asgd(
    learning_rate: LearningRate,
    decay: NonNegative = 1e-4,
    power: NonNegative = 0.75,
    start: NonNegative = 1e6,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with a decaying learning rate and an average of the weights.

    Prefer it if the last weights are too noisy for an evaluation: evaluate
    ``state.average`` instead. It is the mean of the weights from update
    :math:`t_0 + 2` on, where :math:`t_0` is `start`; before that it equals the current
    weights. The default `start` is PyTorch's, a million updates. The average
    of any other optimizer's weights is :func:`with_average`.

    This is PyTorch's form. Each update computes the step size :math:`\eta` of the next
    one, so a schedule acts one update late: the first two updates use the first
    learning rate, and the second of them also the first decay.

    .. math::
        w_t = (1 - \lambda \eta_t)\, w_{t-1} - \eta_t\, g_t, \qquad
        \bar w_t = \bar w_{t-1} + \frac{w_t - \bar w_{t-1}}{\max(1, t - 1 - t_0)} \\
        \eta_1 = \eta^{(0)}, \qquad
        \eta_{t+1} = \frac{\eta^{(t-1)}}{(1 + \lambda \eta^{(t-1)} t)^\alpha}

    at update :math:`t = 1, 2, \dots`, with the learning rate :math:`\eta^{(s)}` that is
    given after s updates.

    Args:
      learning_rate: The learning rate :math:`\eta^{(s)}`.
      decay: :math:`\lambda`, PyTorch's ``lambd``: both the decay of the step size and
        an L2 penalty on the weights.
      power: :math:`\alpha`, PyTorch's ``alpha``, the exponent of the decay.
      start: :math:`t_0`, PyTorch's ``t0``: averaging starts at update :math:`t_0 + 2`.

    Returns:
      Its `update` needs the params. :func:`learning_rate` reads the given learning
      rate, :math:`\eta^{(s)}`; ``state.eta`` is the step size of the next update.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.asgd(1e-2, start=1000)

    References:
      Polyak and Juditsky, `Acceleration of stochastic approximation by averaging
      <https://doi.org/10.1137/0330046>`_, 1992;
      Bottou, `Stochastic gradient descent tricks
      <https://doi.org/10.1007/978-3-642-35289-8_25>`_, 2012
    """
    rate = rate_source("learning_rate", learning_rate)

    def init(params: Params) -> AsgdState:
        check_groups(rate, params)
        first, count = rate.init(), jnp.zeros((), jnp.int32)
        average = copy_of_params(params)
        eta = jax.tree.map(as_float, rate.step(count, first)[0])
        return AsgdState(count, average, eta, first)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        require_params(updates, params)
        given, rate_state = rate.step(state.count, state.rate, **extra)
        t: Any = optax.safe_increment(state.count)
        same = jax.tree.structure(given) == jax.tree.structure(state.eta)
        eta = (
            given
            if not same
            else jax.tree.map(
                lambda x, y: jnp.where(state.count == 0, x, y), given, state.eta
            )
        )
        weight = 1 / jnp.maximum(1, as_float(state.count) - as_float(start))

        def leaf(g, average, w, eta):
            real = average.real.dtype
            u = -along_first_axis(eta, g).astype(real) * (g + decay * w)
            return u, average + weight.astype(real) * (w + u - average)

        inputs = with_updates(updates, params), of_leaves(rate, eta, updates)
        us, average = map_leaves(leaf, updates, state.average, inputs=inputs)

        def shrunk(x: jax.Array) -> jax.Array:
            return (x / (1 + decay * x * as_float(t)) ** power).astype(x.dtype)

        return us, AsgdState(t, average, jax.tree.map(shrunk, given), rate_state)

    return freeze(optax.GradientTransformationExtraArgs(init, update), learning_rate)
