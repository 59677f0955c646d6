"""Keras' Adam and its relatives."""

import optax

from optax_extras import rules
from optax_extras._checks import Decay, LearningRate, NonNegative
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adamax import scale_by_adamax
from optax_extras.keras import _unsupported
from optax_extras.keras._build import build


@_unsupported.optimizer
def Adam(
    learning_rate: LearningRate = 0.001,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    amsgrad: bool = False,
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adam``: `rules.adam`, or `rules.amsgrad`, with ``eps_hat``.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      beta_1: The decay of the average gradient, in [0, 1).
      beta_2: The decay of the average of squares, in [0, 1).
      epsilon: At least 0, added to the root before its bias correction.
      amsgrad: Whether the largest average of squares so far is used.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adam(learning_rate=1e-3)
    """
    factory = rules.amsgrad if amsgrad else rules.adam
    direction = scale_by_moments(factory(beta_1, beta_2, epsilon, eps_hat=True))
    return build(direction, learning_rate, weight_decay)


@_unsupported.optimizer
def AdamW(
    learning_rate: LearningRate = 0.001,
    weight_decay: NonNegative = 0.004,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    amsgrad: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.AdamW``: :func:`Adam`, with weight decay by default.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      weight_decay: At least 0, decoupled: times the rate, that much of the
        weights is subtracted.
      beta_1: The decay of the average gradient, in [0, 1).
      beta_2: The decay of the average of squares, in [0, 1).
      epsilon: At least 0, added to the root before its bias correction.
      amsgrad: Whether the largest average of squares so far is used.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

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
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Nadam``: `rules.nadam` with ``momentum_decay=1.0``.

    Its momentum rises to `beta_1` in about a hundred updates; PyTorch's, with 0.004,
    takes thousands.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      beta_1: The decay of the average gradient, in [0, 1).
      beta_2: The decay of the average of squares, in [0, 1).
      epsilon: At least 0, added to the root after its bias correction.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Nadam(learning_rate=1e-3)
    """
    rule = rules.nadam(beta_1, beta_2, epsilon, momentum_decay=1.0)
    return build(scale_by_moments(rule), learning_rate, weight_decay)


@_unsupported.optimizer
def Adamax(
    learning_rate: LearningRate = 0.001,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adamax``: :func:`adamax` with ``eps_in_maximum=False``.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      beta_1: The decay of the average gradient, in [0, 1).
      beta_2: The decay of the maximum, in [0, 1).
      epsilon: At least 0, added to the maximum.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adamax(learning_rate=1e-3)
    """
    direction = scale_by_adamax(beta_1, beta_2, epsilon, eps_in_maximum=False)
    return build(direction, learning_rate, weight_decay)
