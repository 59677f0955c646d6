"""PyTorch's optimizers that know a matrix from a vector."""

from typing import Any

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._optimizers.adafactor import adafactor
from optax_extras._optimizers.muon import muon
from optax_extras.pytorch import _foreign
from optax_extras.pytorch._step import against, check, pair


@_foreign.optimizer
def Adafactor(
    lr: ArrayLike | optax.Schedule = 1e-2,
    beta2_decay: ArrayLike = -0.8,
    eps: tuple[ArrayLike | None, ArrayLike] = (None, 1e-3),
    d: ArrayLike = 1.0,
    weight_decay: ArrayLike = 0.0,
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

    Raises:
      ValueError: If a number is out of range, or an update is not given the params.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Adafactor(lr=1e-2)
    """
    flags = {"maximize": maximize}
    check(
        "Adafactor", lr, flags, beta2_decay=beta2_decay, d=d, weight_decay=weight_decay
    )
    power: Any = beta2_decay
    least, scale = pair("Adafactor", "eps", eps)
    tx = adafactor(
        lr,
        -power,
        eps=least,
        min_scale=scale,
        clipping_threshold=d,
        weight_decay=weight_decay,
    )
    return against(maximize, tx)


@_foreign.optimizer
def Muon(
    lr: ArrayLike | optax.Schedule = 1e-3,
    weight_decay: ArrayLike = 0.1,
    momentum: ArrayLike = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[ArrayLike, ArrayLike, ArrayLike] = (3.4445, -4.775, 2.0315),
    eps: ArrayLike = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
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

    Raises:
      ValueError: If a number is out of range, `ns_coefficients` not three,
        `adjust_lr_fn` unknown, or a leaf not a real matrix.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Muon(lr=0.02)
    """
    flags = {"nesterov": nesterov}
    check("Muon", lr, flags, momentum=momentum, eps=eps, weight_decay=weight_decay)
    if len(_checks.reals("Muon", "ns_coefficients", ns_coefficients)) != 3:
        _checks.refuse("Muon", "ns_coefficients", "have 3 items", ns_coefficients)
    if _checks.known_count("Muon", "ns_steps", ns_steps, at_least=0) >= 100:
        _checks.refuse("Muon", "ns_steps", "be below 100", ns_steps)
    if adjust_lr_fn is not None:
        options = ("original", "match_rms_adamw")
        _checks.choice("Muon", "adjust_lr_fn", adjust_lr_fn, options)
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
