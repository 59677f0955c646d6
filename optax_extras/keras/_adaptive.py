"""Keras' optimizers that divide by a root of squares and average no gradient."""

import optax
from jax.typing import ArrayLike

from optax_extras import rules
from optax_extras._kernel._decay import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adadelta import scale_by_adadelta
from optax_extras.keras import _foreign
from optax_extras.keras._step import check, gathered, step

_Rate = ArrayLike | optax.Schedule


@_foreign.optimizer
def RMSprop(
    learning_rate: _Rate = 0.001,
    rho: ArrayLike = 0.9,
    momentum: ArrayLike = 0.0,
    epsilon: ArrayLike = 1e-7,
    centered: bool = False,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.RMSprop(learning_rate=1e-3, momentum=0.9)
    """
    check(
        "RMSprop",
        learning_rate,
        {"centered": centered},
        weight_decay,
        rho=rho,
        momentum=momentum,
        epsilon=epsilon,
    )
    rule = rules.rmsprop(
        rho, epsilon, initial="zero", centered=centered, eps_in_root=True
    )
    direction = scale_by_moments(rule)
    if is_zero(momentum):
        return step("RMSprop", direction, learning_rate, weight_decay)
    return gathered("RMSprop", direction, learning_rate, momentum, weight_decay)


@_foreign.optimizer
def Adagrad(
    learning_rate: _Rate = 0.001,
    initial_accumulator_value: ArrayLike = 0.1,
    epsilon: ArrayLike = 1e-7,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adagrad(learning_rate=0.01)
    """
    start = initial_accumulator_value
    check(
        "Adagrad",
        learning_rate,
        {},
        weight_decay,
        initial_accumulator_value=start,
        epsilon=epsilon,
    )
    # Inside the root the epsilon and the start of the sum are one number.
    rule = rules.adagrad(0.0, initial_accumulator_value=start + epsilon)
    return step("Adagrad", scale_by_moments(rule), learning_rate, weight_decay)


@_foreign.optimizer
def Adadelta(
    learning_rate: _Rate = 0.001,
    rho: ArrayLike = 0.95,
    epsilon: ArrayLike = 1e-7,
    weight_decay: ArrayLike | None = None,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `clipnorm`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adadelta(learning_rate=1.0)
    """
    check("Adadelta", learning_rate, {}, weight_decay, rho=rho, epsilon=epsilon)
    direction = scale_by_adadelta(rho, epsilon)
    return step("Adadelta", direction, learning_rate, weight_decay)
