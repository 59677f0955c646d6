"""PyTorch's optimizers that know a matrix from a vector."""

from typing import Any, Literal

import optax

from optax_extras._checks import (
    AtLeastOne,
    Decay,
    LearningRate,
    NonNegative,
    NonPositive,
    Real,
    SizeOrZero,
)
from optax_extras._errors import refuse
from optax_extras._optimizers.adafactor import adafactor
from optax_extras._optimizers.muon import muon
from optax_extras.pytorch import _unsupported
from optax_extras.pytorch._build import maximized


@_unsupported.optimizer
def Adafactor(
    lr: LearningRate = 1e-2,
    beta2_decay: NonPositive = -0.8,
    eps: tuple[NonNegative | None, NonNegative] = (None, 1e-3),
    d: AtLeastOne = 1.0,
    weight_decay: NonNegative = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Adafactor``: :func:`adafactor`.

    Args:
      lr: The rate relative to the size of the weights, at least 0: a number, a schedule
        or a metric schedule. It is never above one over the root of t.
      beta2_decay: At most 0: at update t = 1, 2, ... new squares enter the average with
        the weight t to this power.
      eps: What is divided by at least (None: the machine epsilon of the leaf's dtype),
        and the least size that the weights of a leaf count with; each at least 0.
      d: How large the root mean square of an update may be before the rate multiplies
        it, at least 1.
      weight_decay: At least 0, decoupled: times `lr`, that much of the weights is
        subtracted.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`, whose update needs the params.

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


@_unsupported.optimizer
def Muon(
    lr: LearningRate = 1e-3,
    weight_decay: NonNegative = 0.1,
    momentum: Decay = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[Real, Real, Real] = (3.4445, -4.775, 2.0315),
    eps: NonNegative = 1e-7,
    ns_steps: SizeOrZero = 5,
    adjust_lr_fn: Literal["original", "match_rms_adamw"] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Muon``: :func:`muon`, for matrices only.

    PyTorch rounds to bfloat16 before it orthogonalises; here that is done in the dtype
    of the leaf, float32 at least. For PyTorch's rounding see `ns_dtype` of
    :func:`muon`.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      weight_decay: At least 0, decoupled: times the rate, that much of the weights is
        subtracted.
      momentum: In [0, 1); PyTorch takes larger ones too.
      nesterov: Whether to look ahead.
      ns_coefficients: The three coefficients of the Newton-Schulz iteration.
      eps: The least norm to divide by, at least 0.
      ns_steps: How many iterations, 0 to 99.
      adjust_lr_fn: How steps depend on the shape: ``"original"``, which None stands
        for, or ``"match_rms_adamw"``.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Muon(lr=0.02)
    """
    if ns_steps >= 100:
        refuse("ns_steps", "be below 100", ns_steps)
    return muon(
        lr,
        momentum,
        nesterov=nesterov,
        ns_coefficients=ns_coefficients,
        ns_steps=ns_steps,
        eps=eps,
        adjust=adjust_lr_fn or "original",
        weight_decay=weight_decay,
    )
