"""PyTorch's optimizers with a second moment."""

from typing import Any

import optax

from optax_extras import rules
from optax_extras._checks import (
    AtLeastOne,
    Decay,
    DecayOrSchedule,
    Fraction,
    LearningRate,
    NonNegative,
    NonPositive,
    WeightDecay,
)
from optax_extras._kernel._weight_decay import is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adadelta import scale_by_adadelta
from optax_extras._optimizers.adafactor import adafactor
from optax_extras._optimizers.adamax import scale_by_adamax
from optax_extras._optimizers.rmsprop import scale_by_rmsprop
from optax_extras.pytorch import _unsupported
from optax_extras.pytorch._build import build, maximized


@_unsupported.optimizer
def Adam(
    lr: LearningRate = 1e-3,
    betas: tuple[DecayOrSchedule, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adam``: `rules.adam`, or `rules.amsgrad` with ``amsgrad=True``.

    Args:
      lr: The learning rate.
      betas: The decays of both moments; the first may be a schedule, such as the
        `momentum` of a :func:`OneCycleLR`.
      eps: Added to the denominator after its bias correction.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      amsgrad: Divide by the root of the largest second moment so far.
      maximize: Negate the gradients first.
      decoupled_weight_decay: Make the weight decay decoupled, as in :func:`AdamW`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adam(lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    """
    factory = rules.amsgrad if amsgrad else rules.adam
    direction = scale_by_moments(factory(*betas, eps))
    return build(direction, lr, weight_decay, decoupled_weight_decay, maximize)


@_unsupported.optimizer
def AdamW(
    lr: LearningRate = 1e-3,
    betas: tuple[DecayOrSchedule, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.AdamW``: :func:`Adam` with decoupled weight decay.

    Args:
      lr: The learning rate.
      betas: The decays of both moments; the first may be a schedule.
      eps: Added to the denominator after its bias correction.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. The default of ``optax.adamw`` is 1e-4.
      amsgrad: Divide by the root of the largest second moment so far.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.AdamW(lr=oxe.pytorch.CosineAnnealingLR(1e-3, T_max=1000))
    """
    factory = rules.amsgrad if amsgrad else rules.adam
    direction = scale_by_moments(factory(*betas, eps))
    return build(direction, lr, weight_decay, decoupled=True, maximize=maximize)


@_unsupported.optimizer
def NAdam(
    lr: LearningRate = 2e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 0,
    momentum_decay: NonNegative = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.NAdam``: `rules.nadam`.

    PyTorch stores the product of all momenta so far in its default dtype; here it is
    float32 (float64 under x64). To compare the two in float64, call
    ``torch.set_default_dtype(torch.float64)``.

    Args:
      lr: The learning rate.
      betas: The decays of both moments.
      eps: Added to the denominator after its bias correction.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      momentum_decay: How fast the momentum rises from half of ``betas[0]`` to all of
        it: with 0.004 the gap halves every 4245 updates; see :func:`nadam`.
      decoupled_weight_decay: Make the weight decay decoupled, as in :func:`AdamW`.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.NAdam(lr=2e-3)
    """
    rule = rules.nadam(*betas, eps, momentum_decay=momentum_decay)
    direction = scale_by_moments(rule)
    return build(direction, lr, weight_decay, decoupled_weight_decay, maximize)


@_unsupported.optimizer
def RAdam(
    lr: LearningRate = 1e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.RAdam``: `rules.radam` with a threshold of 5; the paper has 4.

    Args:
      lr: The learning rate.
      betas: The decays of both moments.
      eps: Added to the denominator before its bias correction.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      decoupled_weight_decay: Make the weight decay decoupled, as in :func:`AdamW`.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.RAdam(lr=1e-3)
    """
    direction = scale_by_moments(rules.radam(*betas, eps, threshold=5.0))
    return build(direction, lr, weight_decay, decoupled_weight_decay, maximize)


@_unsupported.other_optimizer
def Adamax(
    lr: LearningRate = 2e-3,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    eps: NonNegative = 1e-8,
    weight_decay: WeightDecay = 0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adamax``: :func:`adamax`.

    Args:
      lr: The learning rate.
      betas: The decays of the first moment and of the maximum.
      eps: Added to the size of each gradient before the maximum is taken.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adamax(lr=2e-3)
    """
    direction = scale_by_adamax(*betas, eps)
    return build(direction, lr, weight_decay, maximize=maximize)


@_unsupported.optimizer
def Adagrad(
    lr: LearningRate = 1e-2,
    lr_decay: NonNegative = 0,
    weight_decay: WeightDecay = 0,
    initial_accumulator_value: NonNegative = 0,
    eps: NonNegative = 1e-10,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adagrad``: `rules.adagrad`.

    Args:
      lr: The learning rate.
      lr_decay: Divides the step of update t = 1, 2, ... by 1 + (t - 1) `lr_decay`, in
        addition to any schedule in `lr`.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      initial_accumulator_value: The initial sum of squares.
      eps: Added to the denominator.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adagrad(lr=0.01)
    """
    rule = rules.adagrad(
        eps, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
    )
    return build(scale_by_moments(rule), lr, weight_decay, maximize=maximize)


@_unsupported.other_optimizer
def Adadelta(
    lr: LearningRate = 1.0,
    rho: Fraction = 0.9,
    eps: NonNegative = 1e-6,
    weight_decay: WeightDecay = 0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adadelta``: :func:`adadelta`.

    Args:
      lr: The learning rate.
      rho: The decay of both averages.
      eps: Added inside both square roots.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      maximize: Negate the gradients first.

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
    weight_decay: WeightDecay = 0,
    momentum: Decay = 0,
    centered: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.RMSprop``: :func:`rmsprop` with ``initial="zero"``.

    PyTorch also accepts an `alpha` or `momentum` of 1 or more; both raise a
    ValueError here.

    Args:
      lr: The learning rate; it multiplies the whole velocity.
      alpha: The decay of the second moment.
      eps: Added to the denominator.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      momentum: The decay of the velocity, which accumulates the divided gradients.
      centered: Divide by the root of the variance instead of the mean square.
      maximize: Negate the gradients first.

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


@_unsupported.other_optimizer
def Adafactor(
    lr: LearningRate = 1e-2,
    beta2_decay: NonPositive = -0.8,
    eps: tuple[NonNegative | None, NonNegative] = (None, 1e-3),
    d: AtLeastOne = 1.0,
    weight_decay: WeightDecay = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adafactor``: :func:`adafactor`; ``update`` needs the params.

    Args:
      lr: The learning rate, relative to the size of the weights; at most ``t ** -0.5``
        at update t = 1, 2, ...
      beta2_decay: The weight of new squares in the average is ``t ** beta2_decay``.
      eps: Two numbers: the smallest divisor (None: the machine epsilon of the leaf's
        dtype), and the smallest root mean square of a leaf's weights that scales its
        step, so that weights of 0 move too.
      d: The largest root mean square of an update before `lr` multiplies it.
      weight_decay: Decoupled weight decay, times the learning rate.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adafactor(lr=1e-2)
    """
    power: Any = beta2_decay
    epsilon, min_scale = eps
    tx = adafactor(
        lr,
        -power,
        eps=epsilon,
        min_scale=min_scale,
        clipping_threshold=d,
        weight_decay=weight_decay,
    )
    return maximized(tx, maximize)
