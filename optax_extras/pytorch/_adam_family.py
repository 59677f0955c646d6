"""PyTorch's Adam and its relatives."""

import optax

from optax_extras import rules
from optax_extras._checks import Decay, DecayOrSchedule, LearningRate, NonNegative
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adamax import scale_by_adamax
from optax_extras.pytorch import _unsupported
from optax_extras.pytorch._build import build


@_unsupported.optimizer
def Adam(
    lr: LearningRate = 1e-3,
    betas: tuple[DecayOrSchedule, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adam``: `rules.adam`, or `rules.amsgrad` where it is asked for.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      betas: The decays of the averages of gradients and of their squares, each in
        [0, 1); the first one may be a schedule, such as the `momentum` of a
        :func:`OneCycleLR`.
      eps: At least 0, added to the root after its bias correction.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      amsgrad: Whether the largest average of squares so far is used.
      maximize: Whether to climb: gradients are negated, before any decay.
      decoupled_weight_decay: Whether the decay, times the rate, is subtracted from the
        weights instead, as in :func:`AdamW`.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adam(lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    """
    factory = rules.amsgrad if amsgrad else rules.adam
    return build(
        scale_by_moments(factory(*betas, eps)),
        lr,
        weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
    )


@_unsupported.optimizer
def AdamW(
    lr: LearningRate = 1e-3,
    betas: tuple[DecayOrSchedule, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.AdamW``: `rules.adam` or `rules.amsgrad`, with decoupled decay.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      betas: The decays of the averages of gradients and of their squares, each in
        [0, 1); the first one may be a schedule.
      eps: At least 0, added to the root after its bias correction.
      weight_decay: At least 0, decoupled: times the rate, that much of the weights is
        subtracted. Optax's default is 1e-4.
      amsgrad: Whether the largest average of squares so far is used.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.AdamW(lr=oxe.pytorch.CosineAnnealingLR(1e-3, T_max=1000))
    """
    return Adam(
        lr,
        betas,
        eps,
        weight_decay,
        amsgrad,
        maximize=maximize,
        decoupled_weight_decay=True,
    )


@_unsupported.optimizer
def NAdam(
    lr: LearningRate = 2e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.NAdam``: `rules.nadam`.

    PyTorch keeps the product of the momenta so far in its default dtype; here it is
    float32, float64 under x64.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      betas: The decays of the averages of gradients and of their squares, each in
        [0, 1).
      eps: At least 0, added to the root after its bias correction.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      momentum_decay: At least 0: how fast the momentum rises from half of its value;
        0.004 takes thousands of updates, see :func:`nadam`.
      decoupled_weight_decay: Whether the decay, times the rate, is subtracted from the
        weights instead.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.NAdam(lr=2e-3)
    """
    return build(
        scale_by_moments(rules.nadam(*betas, eps, momentum_decay=momentum_decay)),
        lr,
        weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
    )


@_unsupported.optimizer
def RAdam(
    lr: LearningRate = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.RAdam``: `rules.radam` with its threshold at 5, not the paper's 4.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      betas: The decays of the averages of gradients and of their squares, each in
        [0, 1).
      eps: At least 0, added to the root before its bias correction.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      decoupled_weight_decay: Whether the decay, times the rate, is subtracted from the
        weights instead.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.RAdam(lr=1e-3)
    """
    return build(
        scale_by_moments(rules.radam(*betas, eps, threshold=5.0)),
        lr,
        weight_decay,
        decoupled=decoupled_weight_decay,
        maximize=maximize,
    )


@_unsupported.optimizer
def Adamax(
    lr: LearningRate = 2e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adamax``: :func:`adamax`.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      betas: The decays of the average and of the maximum, each in [0, 1).
      eps: At least 0, added to each gradient before the maximum is taken.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adamax(lr=2e-3)
    """
    direction = scale_by_adamax(*betas, eps)
    return build(direction, lr, weight_decay, maximize=maximize)
