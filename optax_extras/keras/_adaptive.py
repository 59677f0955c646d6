"""Keras' optimizers that divide by a root of squares and average no gradient."""

from typing import Any

import optax

from optax_extras import rules
from optax_extras._checks import Decay, LearningRate, NonNegative
from optax_extras._kernel._decay_and_rate import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adadelta import scale_by_adadelta
from optax_extras.keras import _unsupported
from optax_extras.keras._build import build, with_velocity


@_unsupported.optimizer
def RMSprop(
    learning_rate: LearningRate = 0.001,
    rho: Decay = 0.9,
    momentum: Decay = 0.0,
    epsilon: NonNegative = 1e-7,
    centered: bool = False,
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.RMSprop``: :func:`rmsprop` from zero, epsilon in the root.

    Its momentum gathers steps that carry their rate already, unlike that of
    :func:`rmsprop` and PyTorch: they part once the rate changes.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      rho: The decay of the mean square, in [0, 1).
      momentum: In [0, 1); at 0 there is no velocity.
      epsilon: At least 0, added inside the root.
      centered: Whether the variance takes the place of the mean square.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.RMSprop(learning_rate=1e-3, momentum=0.9)
    """
    rule = rules.rmsprop(
        rho, epsilon, initial="zero", centered=centered, eps_in_root=True
    )
    direction = scale_by_moments(rule)
    if is_zero(momentum):
        return build(direction, learning_rate, weight_decay)
    return with_velocity(direction, learning_rate, momentum, weight_decay)


@_unsupported.optimizer
def Adagrad(
    learning_rate: LearningRate = 0.001,
    initial_accumulator_value: NonNegative = 0.1,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adagrad``: `rules.adagrad` with its epsilon in the root.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      initial_accumulator_value: What the sum of squares starts with, at least 0.
      epsilon: At least 0, added inside the root.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adagrad(learning_rate=0.01)
    """
    # Inside the root the epsilon and the start of the sum are one number.
    start: Any = initial_accumulator_value
    rule = rules.adagrad(0.0, initial_accumulator_value=start + epsilon)
    return build(scale_by_moments(rule), learning_rate, weight_decay)


@_unsupported.optimizer
def Adadelta(
    learning_rate: LearningRate = 0.001,
    rho: Decay = 0.95,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adadelta``: :func:`adadelta`.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule. The paper
        has 1; with Keras' 0.001 steps are very short.
      rho: The decay of both averages, in [0, 1).
      epsilon: At least 0, added inside both roots.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adadelta(learning_rate=1.0)
    """
    direction = scale_by_adadelta(rho, epsilon)
    return build(direction, learning_rate, weight_decay)
