"""Keras' optimizers: the weight decay is separate from the gradient."""

from typing import Any

import optax

from optax_extras import rules
from optax_extras._checks import (
    Decay,
    Fraction,
    LearningRate,
    NonNegative,
    StepCount,
    WeightDecay,
)
from optax_extras._kernel._assemble import (
    add_decay_with_inner_rate,
    chain_decay_and_rate,
)
from optax_extras._kernel._weight_decay import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._sources_by_path import rate_source
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._lifted import is_by_path, lift
from optax_extras._optimizers.adadelta import scale_by_adadelta
from optax_extras._optimizers.heavy_ball import heavy_ball
from optax_extras.keras import _unsupported
from optax_extras.keras._ema import with_ema


@_unsupported.optimizer
def SGD(
    learning_rate: LearningRate = 0.01,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
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
      weight_decay: Decoupled weight decay, times the learning rate. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.SGD(learning_rate=0.1, momentum=0.9)
    """
    decay = or_zero(weight_decay)
    if is_zero(momentum):
        direction = scale_by_moments(rules.sgd())
        tx = chain_decay_and_rate(direction, learning_rate, decay)
    else:
        tx = heavy_ball(learning_rate, momentum, nesterov=nesterov, weight_decay=decay)
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


@_unsupported.optimizer
def RMSprop(
    learning_rate: LearningRate = 0.001,
    rho: Decay = 0.9,
    momentum: Decay = 0.0,
    epsilon: NonNegative = 1e-7,
    centered: bool = False,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
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
      weight_decay: Decoupled weight decay, times the learning rate. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.RMSprop(learning_rate=1e-3, momentum=0.9)
    """
    rule = rules.rmsprop(
        rho, epsilon, initial="zero", centered=centered, eps_in_root=True
    )
    direction, decay = scale_by_moments(rule), or_zero(weight_decay)
    if is_zero(momentum):
        tx = chain_decay_and_rate(direction, learning_rate, decay)
    else:
        tx = _with_velocity(direction, learning_rate, momentum, decay)
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


def _with_velocity(
    direction: Any, learning_rate: Any, momentum: Any, decay: Any
) -> optax.GradientTransformationExtraArgs:
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
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adagrad``: `rules.adagrad` with `epsilon` in the root.

    Args:
      learning_rate: The learning rate.
      initial_accumulator_value: The initial sum of squares.
      epsilon: Added inside the square root.
      weight_decay: Decoupled weight decay, times the learning rate. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adagrad(learning_rate=0.01)
    """
    # Inside the root, epsilon and the initial sum are one number.
    both = {"a": initial_accumulator_value, "b": epsilon}
    rule = rules.adagrad(0.0, initial_accumulator_value=lift(lambda a, b: a + b, both))
    direction = scale_by_moments(rule)
    tx = chain_decay_and_rate(direction, learning_rate, or_zero(weight_decay))
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


@_unsupported.other_optimizer
def Adadelta(
    learning_rate: LearningRate = 0.001,
    rho: Decay = 0.95,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adadelta``: :func:`adadelta`.

    Args:
      learning_rate: The learning rate. The paper has 1; with Keras' 0.001 the steps are
        very short.
      rho: The decay of both averages.
      epsilon: Added inside both square roots.
      weight_decay: Decoupled weight decay, times the learning rate. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adadelta(learning_rate=1.0)
    """
    direction = scale_by_adadelta(rho, epsilon)
    tx = chain_decay_and_rate(direction, learning_rate, or_zero(weight_decay))
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


def or_zero(weight_decay: Any) -> Any:
    """Keras' None as a number."""
    return 0.0 if weight_decay is None else weight_decay
