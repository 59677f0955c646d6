"""PyTorch's optimizers that treat matrices as matrices: Adafactor and Muon."""

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

    ``update`` always needs the params.

    Args:
      lr: The learning rate, relative to the size of the weights; at update t = 1, 2,
        ... it is at most t ** -0.5.
      beta2_decay: At update t new squares enter the average with weight t **
        `beta2_decay`.
      eps: The least denominator (None: the machine epsilon of the leaf's dtype), and
        the least size that the weights of a leaf count with.
      d: The largest root mean square of an update before `lr` multiplies it.
      weight_decay: Decoupled weight decay: subtracted from the params, times `lr`.
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

    PyTorch rounds to bfloat16 before it orthogonalizes. Here the iteration runs in the
    dtype of the leaf, float32 at least; for PyTorch's rounding see `ns_dtype` of
    :func:`muon`. PyTorch also accepts a `momentum` of 1 or more.

    Args:
      lr: The learning rate.
      weight_decay: Decoupled weight decay: subtracted from the params, times `lr`.
      momentum: The decay of the first moment.
      nesterov: Use Nesterov momentum.
      ns_coefficients: The three coefficients of the Newton-Schulz iteration.
      eps: The least norm to divide by.
      ns_steps: The number of iterations, at most 99.
      adjust_lr_fn: How steps depend on the shape, see :func:`muon`; None:
        ``"original"``.

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
