"""Keras' optimizers: the weight decay is separate from the gradient."""

from typing import Any

import optax

from optax_extras import rules
from optax_extras._by_path import is_by_path, lift
from optax_extras._checks import Decay, LearningRate, NonNegative, WeightDecay
from optax_extras._kernel._weight_decay import (
    add_decay_with_inner_rate,
    chain_decay_and_rate,
    is_zero,
)
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._sources_by_path import rate_source
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._optimizers.adadelta import scale_by_adadelta
from optax_extras._optimizers.adamax import scale_by_adamax
from optax_extras._optimizers.heavy_ball import heavy_ball
from optax_extras.keras import _unsupported


@_unsupported.optimizer
def SGD(
    learning_rate: LearningRate = 0.01,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.SGD``: :func:`heavy_ball`.

    Its velocity accumulates steps that are already multiplied by their learning rate;
    PyTorch and Optax multiply the velocity instead. The two differ once the learning
    rate changes.

    Args:
      learning_rate: The learning rate.
      momentum: The decay of the velocity. With 0 there is no velocity. A momentum of 1,
        which Keras accepts, raises a ValueError.
      nesterov: Use Nesterov momentum; without a `momentum` it changes nothing.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.SGD(learning_rate=0.1, momentum=0.9)
    """
    decay = _or_zero(weight_decay)
    if is_zero(momentum):
        direction = scale_by_moments(rules.sgd())
        return chain_decay_and_rate(direction, learning_rate, decay)
    return heavy_ball(learning_rate, momentum, nesterov=nesterov, weight_decay=decay)


@_unsupported.optimizer
def Adam(
    learning_rate: LearningRate = 0.001,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    amsgrad: bool = False,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adam``: `rules.adam` or `rules.amsgrad` with ``eps_hat``.

    Its `epsilon` acts before the bias correction, unlike `eps` of ``optax.adam``: with
    small gradients the steps differ even if both are 1e-7.

    Args:
      learning_rate: The learning rate.
      beta_1: The decay of the first moment.
      beta_2: The decay of the second moment.
      epsilon: Added to the denominator before its bias correction.
      amsgrad: Divide by the root of the largest second moment so far.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adam(learning_rate=1e-3)
    """
    factory = rules.amsgrad if amsgrad else rules.adam
    direction = scale_by_moments(factory(beta_1, beta_2, epsilon, eps_hat=True))
    return chain_decay_and_rate(direction, learning_rate, _or_zero(weight_decay))


@_unsupported.optimizer
def AdamW(
    learning_rate: LearningRate = 0.001,
    weight_decay: WeightDecay = 0.004,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    amsgrad: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.AdamW``: :func:`Adam` with weight decay by default.

    Args:
      learning_rate: The learning rate.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params.
      beta_1: The decay of the first moment.
      beta_2: The decay of the second moment.
      epsilon: Added to the denominator before its bias correction.
      amsgrad: Divide by the root of the largest second moment so far.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.AdamW(learning_rate=1e-3)
    """
    return Adam(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay)


@_unsupported.optimizer
def Nadam(
    learning_rate: LearningRate = 0.001,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Nadam``: `rules.nadam` with ``momentum_decay=1.0``.

    Its momentum is within 1 % of `beta_1` after 100 updates. PyTorch's, with 0.004, is
    after 25 000.

    Args:
      learning_rate: The learning rate.
      beta_1: The decay of the first moment.
      beta_2: The decay of the second moment.
      epsilon: Added to the denominator after its bias correction.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Nadam(learning_rate=1e-3)
    """
    rule = rules.nadam(beta_1, beta_2, epsilon, momentum_decay=1.0)
    direction = scale_by_moments(rule)
    return chain_decay_and_rate(direction, learning_rate, _or_zero(weight_decay))


@_unsupported.other_optimizer
def Adamax(
    learning_rate: LearningRate = 0.001,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adamax``: :func:`adamax` with ``eps_in_maximum=False``.

    Args:
      learning_rate: The learning rate.
      beta_1: The decay of the first moment.
      beta_2: The decay of the maximum.
      epsilon: Added to the maximum.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adamax(learning_rate=1e-3)
    """
    direction = scale_by_adamax(beta_1, beta_2, epsilon, eps_in_maximum=False)
    return chain_decay_and_rate(direction, learning_rate, _or_zero(weight_decay))


@_unsupported.optimizer
def RMSprop(
    learning_rate: LearningRate = 0.001,
    rho: Decay = 0.9,
    momentum: Decay = 0.0,
    epsilon: NonNegative = 1e-7,
    centered: bool = False,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.RMSprop``: `rules.rmsprop` with ``eps_in_root=True``.

    The second moment starts at 0. The velocity accumulates steps that are already
    multiplied by their learning rate; :func:`rmsprop` and PyTorch multiply the velocity
    instead. The two differ once the learning rate changes.

    Args:
      learning_rate: The learning rate.
      rho: The decay of the second moment.
      momentum: The decay of the velocity. With 0 there is no velocity.
      epsilon: Added inside the square root.
      centered: Divide by the root of the variance instead of the mean square.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.RMSprop(learning_rate=1e-3, momentum=0.9)
    """
    rule = rules.rmsprop(
        rho, epsilon, initial="zero", centered=centered, eps_in_root=True
    )
    direction, decay = scale_by_moments(rule), _or_zero(weight_decay)
    if is_zero(momentum):
        return chain_decay_and_rate(direction, learning_rate, decay)
    # Unlike PyTorch, Keras accumulates steps that have their learning rate already.
    rate = scale_by_source(rate_source("learning_rate", learning_rate))
    velocity = scale_by_moments(rules.momentum(momentum))
    tx = optax.chain(direction, rate, velocity)
    if not is_by_path(learning_rate):
        return add_decay_with_inner_rate(tx, decay)

    return add_decay_with_inner_rate(
        tx, decay, None, lambda state: state[1].rate.by_group(), learning_rate
    )


@_unsupported.optimizer
def Adagrad(
    learning_rate: LearningRate = 0.001,
    initial_accumulator_value: NonNegative = 0.1,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adagrad``: `rules.adagrad` with `epsilon` in the root.

    Args:
      learning_rate: The learning rate.
      initial_accumulator_value: The initial sum of squares.
      epsilon: Added inside the square root.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adagrad(learning_rate=0.01)
    """
    # Inside the root, epsilon and the initial sum are one number.
    both = {"a": initial_accumulator_value, "b": epsilon}
    rule = rules.adagrad(0.0, initial_accumulator_value=lift(lambda a, b: a + b, both))
    direction = scale_by_moments(rule)
    return chain_decay_and_rate(direction, learning_rate, _or_zero(weight_decay))


@_unsupported.other_optimizer
def Adadelta(
    learning_rate: LearningRate = 0.001,
    rho: Decay = 0.95,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adadelta``: :func:`adadelta`.

    Args:
      learning_rate: The learning rate. The paper has 1; with Keras' 0.001 the steps are
        very short.
      rho: The decay of both averages.
      epsilon: Added inside both square roots.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. None: no decay.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adadelta(learning_rate=1.0)
    """
    direction = scale_by_adadelta(rho, epsilon)
    return chain_decay_and_rate(direction, learning_rate, _or_zero(weight_decay))


def _or_zero(weight_decay: Any) -> Any:
    return 0.0 if weight_decay is None else weight_decay
