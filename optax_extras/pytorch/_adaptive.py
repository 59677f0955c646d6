"""PyTorch's optimizers that divide by a root of squares and average no gradient."""

import optax

from optax_extras import rules
from optax_extras._checks import Decay, Fraction, LearningRate, NonNegative
from optax_extras._kernel._decay_and_rate import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adadelta import scale_by_adadelta
from optax_extras._optimizers.rmsprop import scale_by_rmsprop
from optax_extras.pytorch import _unsupported
from optax_extras.pytorch._build import build


@_unsupported.optimizer
def Adagrad(
    lr: LearningRate = 1e-2,
    lr_decay: NonNegative = 0,
    weight_decay: NonNegative = 0,
    initial_accumulator_value: NonNegative = 0,
    eps: NonNegative = 1e-10,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adagrad``: `rules.adagrad`.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      lr_decay: At least 0: the step of update t = 1, 2, ... is divided by
        1 + (t - 1) `lr_decay`, whatever `lr` does.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      initial_accumulator_value: What the sum of squares starts with, at least 0.
      eps: At least 0, added to the root.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adagrad(lr=0.01)
    """
    rule = rules.adagrad(
        eps, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
    )
    return build(scale_by_moments(rule), lr, weight_decay, maximize=maximize)


@_unsupported.optimizer
def Adadelta(
    lr: LearningRate = 1.0,
    rho: Fraction = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: NonNegative = 0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adadelta``: :func:`adadelta`.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      rho: The decay of both averages, in [0, 1].
      eps: At least 0, added inside both roots.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adadelta(lr=1.0)
    """
    direction = scale_by_adadelta(rho, eps)
    return build(direction, lr, weight_decay, maximize=maximize)


@_unsupported.optimizer
def RMSprop(
    lr: LearningRate = 1e-2,
    alpha: Decay = 0.99,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    momentum: Decay = 0,
    centered: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.RMSprop``: :func:`rmsprop` with ``initial="zero"``.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      alpha: The decay of the average of squares, in [0, 1); PyTorch takes larger ones
        too.
      eps: At least 0, added to the root.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      momentum: In [0, 1), of the gradients after their division; the rate multiplies
        the whole velocity. PyTorch takes larger ones too.
      centered: Whether the variance takes the place of the mean square.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.RMSprop(lr=0.01, momentum=0.9)
    """
    direction = scale_by_rmsprop(
        alpha,
        eps,
        initial="zero",
        centered=centered,
        momentum=None if is_zero(momentum) else momentum,
    )
    return build(direction, lr, weight_decay, maximize=maximize)
