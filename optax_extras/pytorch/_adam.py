"""PyTorch's Adam and its relatives."""

import optax
from jax.typing import ArrayLike

from optax_extras import rules
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.adamax import scale_by_adamax
from optax_extras.pytorch import _foreign
from optax_extras.pytorch._step import check, pair, step

_Betas = tuple[ArrayLike | optax.Schedule, ArrayLike]


@_foreign.optimizer
def Adam(
    lr: ArrayLike | optax.Schedule = 1e-3,
    betas: _Betas = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adam(lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)
    """
    decays = weight_decay, decoupled_weight_decay
    return _adam("Adam", lr, betas, eps, amsgrad, maximize, *decays)


@_foreign.optimizer
def AdamW(
    lr: ArrayLike | optax.Schedule = 1e-3,
    betas: _Betas = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 1e-2,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.AdamW(lr=oxe.pytorch.CosineAnnealingLR(1e-3, T_max=1000))
    """
    return _adam("AdamW", lr, betas, eps, amsgrad, maximize, weight_decay, True)


def _adam(rule, lr, betas, eps, amsgrad, maximize, weight_decay, decoupled):
    flags = {"amsgrad": amsgrad, "maximize": maximize}
    flags |= {"decoupled_weight_decay": decoupled}
    check(rule, lr, flags, eps=eps, weight_decay=weight_decay)
    b1, b2 = pair(rule, "betas", betas)
    factory = rules.amsgrad if amsgrad else rules.adam
    direction, way = scale_by_moments(factory(b1, b2, eps)), {"maximize": maximize}
    return step(rule, direction, lr, weight_decay, decoupled=decoupled, **way)


@_foreign.optimizer
def NAdam(
    lr: ArrayLike | optax.Schedule = 2e-3,
    betas: _Betas = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0,
    momentum_decay: ArrayLike = 4e-3,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.NAdam(lr=2e-3)
    """
    decoupled = decoupled_weight_decay
    flags = {"decoupled_weight_decay": decoupled, "maximize": maximize}
    check(
        "NAdam",
        lr,
        flags,
        eps=eps,
        weight_decay=weight_decay,
        momentum_decay=momentum_decay,
    )
    b1, b2 = pair("NAdam", "betas", betas)
    rule = rules.nadam(b1, b2, eps, momentum_decay=momentum_decay)
    direction = scale_by_moments(rule)
    return step(
        "NAdam", direction, lr, weight_decay, maximize=maximize, decoupled=decoupled
    )


@_foreign.optimizer
def RAdam(
    lr: ArrayLike | optax.Schedule = 1e-3,
    betas: _Betas = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.RAdam(lr=1e-3)
    """
    decoupled = decoupled_weight_decay
    flags = {"decoupled_weight_decay": decoupled, "maximize": maximize}
    check("RAdam", lr, flags, eps=eps, weight_decay=weight_decay)
    b1, b2 = pair("RAdam", "betas", betas)
    direction = scale_by_moments(rules.radam(b1, b2, eps, threshold=5.0))
    return step(
        "RAdam", direction, lr, weight_decay, maximize=maximize, decoupled=decoupled
    )


@_foreign.optimizer
def Adamax(
    lr: ArrayLike | optax.Schedule = 2e-3,
    betas: _Betas = (0.9, 0.999),
    eps: ArrayLike = 1e-8,
    weight_decay: ArrayLike = 0,
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

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adamax(lr=2e-3)
    """
    check("Adamax", lr, {"maximize": maximize}, eps=eps, weight_decay=weight_decay)
    b1, b2 = pair("Adamax", "betas", betas)
    direction = scale_by_adamax(b1, b2, eps)
    return step("Adamax", direction, lr, weight_decay, maximize=maximize)
