"""Keras' SGD, and its Adam with its relatives."""

import optax
from jax.typing import ArrayLike

from optax_extras import _checks, rules
from optax_extras._kernel._decay import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adamax import scale_by_adamax
from optax_extras._optimizers.heavy_ball import heavy_ball
from optax_extras.keras import _foreign
from optax_extras.keras._step import check, or_zero, step

_Rate = ArrayLike | optax.Schedule


@_foreign.optimizer
def SGD(
    learning_rate: _Rate = 0.01,
    momentum: ArrayLike = 0.0,
    nesterov: bool = False,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.SGD(learning_rate=0.1, momentum=0.9)
    """
    flags = {"nesterov": nesterov}
    check("SGD", learning_rate, flags, weight_decay, momentum=momentum)
    if is_zero(momentum):
        direction = scale_by_moments(rules.sgd())
        return step("SGD", direction, learning_rate, weight_decay)
    return heavy_ball(
        learning_rate, momentum, nesterov=nesterov, weight_decay=or_zero(weight_decay)
    )


@_foreign.optimizer
def Adam(
    learning_rate: _Rate = 0.001,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
    amsgrad: bool = False,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adam(learning_rate=1e-3)
    """
    return _adam("Adam", learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay)


@_foreign.optimizer
def AdamW(
    learning_rate: _Rate = 0.001,
    weight_decay: ArrayLike = 0.004,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.AdamW(learning_rate=1e-3)
    """
    _checks.real("AdamW", "weight_decay", weight_decay, "[0, inf)")  # no None
    return _adam("AdamW", learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay)


def _adam(rule, learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay):
    check(
        rule,
        learning_rate,
        {"amsgrad": amsgrad},
        weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
    )
    factory = rules.amsgrad if amsgrad else rules.adam
    direction = scale_by_moments(factory(beta_1, beta_2, epsilon, eps_hat=True))
    return step(rule, direction, learning_rate, weight_decay)


@_foreign.optimizer
def Nadam(
    learning_rate: _Rate = 0.001,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Nadam(learning_rate=1e-3)
    """
    check(
        "Nadam",
        learning_rate,
        {},
        weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
    )
    rule = rules.nadam(beta_1, beta_2, epsilon, momentum_decay=1.0)
    return step("Nadam", scale_by_moments(rule), learning_rate, weight_decay)


@_foreign.optimizer
def Adamax(
    learning_rate: _Rate = 0.001,
    beta_1: ArrayLike = 0.9,
    beta_2: ArrayLike = 0.999,
    epsilon: ArrayLike = 1e-7,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adamax(learning_rate=1e-3)
    """
    check(
        "Adamax",
        learning_rate,
        {},
        weight_decay,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
    )
    direction = scale_by_adamax(beta_1, beta_2, epsilon, eps_in_maximum=False)
    return step("Adamax", direction, learning_rate, weight_decay)
