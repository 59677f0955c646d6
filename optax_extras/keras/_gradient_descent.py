"""Keras' gradient descent."""

import optax

from optax_extras import rules
from optax_extras._checks import Decay, LearningRate, NonNegative
from optax_extras._kernel._decay_and_rate import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.heavy_ball import heavy_ball
from optax_extras.keras import _unsupported
from optax_extras.keras._build import build, or_zero


@_unsupported.optimizer
def SGD(
    learning_rate: LearningRate = 0.01,
    momentum: Decay = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.SGD``: :func:`heavy_ball`, the rate inside the velocity.

    Args:
      learning_rate: At least 0: a number, a schedule or a metric schedule.
      momentum: In [0, 1); Keras takes 1 too. At 0 there is no velocity.
      nesterov: Whether to look ahead; without a momentum it changes nothing.
      weight_decay: None or at least 0, decoupled: times the rate, that much of the
        weights is subtracted.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.SGD(learning_rate=0.1, momentum=0.9)
    """
    if is_zero(momentum):
        return build(scale_by_moments(rules.sgd()), learning_rate, weight_decay)
    return heavy_ball(
        learning_rate, momentum, nesterov=nesterov, weight_decay=or_zero(weight_decay)
    )
