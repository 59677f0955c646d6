"""PyTorch's optimizers without a second moment."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras import rules
from optax_extras._check_values import concrete, is_traced
from optax_extras._checks import (
    AboveOne,
    Decay,
    DecayOrSchedule,
    Fraction,
    LearningRate,
    NonNegative,
    OpenFraction,
    Positive,
    Real,
    SizeOrZero,
    WeightDecay,
)
from optax_extras._errors import refuse
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._weight_decay import add_decayed_weights, is_zero
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._lifted import is_by_path, lift
from optax_extras._optimizers.asgd import asgd
from optax_extras._optimizers.muon import muon
from optax_extras._optimizers.rprop import check_first_value, rprop
from optax_extras.pytorch import _unsupported
from optax_extras.pytorch._build import build, maximized


@_unsupported.optimizer
def SGD(
    lr: LearningRate = 1e-3,
    momentum: DecayOrSchedule = 0,
    dampening: Fraction = 0,
    weight_decay: WeightDecay = 0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.SGD``: `rules.sgd`, or `rules.momentum` if there is a momentum.

    The learning rate multiplies the whole velocity. As in PyTorch, the first velocity
    is the full gradient for any `dampening`, and without a momentum `dampening` has no
    effect. PyTorch also accepts a `momentum` of 1 or more and any number as
    `dampening`; here these raise a ValueError.

    Args:
      lr: The learning rate.
      momentum: The decay of the velocity: a number or a schedule, such as the
        `momentum` of :func:`OneCycleLR`.
      dampening: Every gradient after the first is multiplied by 1 - `dampening` before
        it is added to the velocity.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      nesterov: Use Nesterov momentum; needs a `momentum` above 0 and a `dampening` of
        0.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> cycle = oxe.pytorch.OneCycleLR(0.1, total_steps=1000)
      >>> tx = oxe.pytorch.SGD(lr=cycle, momentum=cycle.momentum, weight_decay=1e-4)
    """
    if nesterov and _is_known(momentum) and concrete(momentum) == 0:
        refuse("momentum", "be above 0 with `nesterov`", momentum)
    if nesterov and _is_known(dampening) and concrete(dampening) != 0:
        refuse("dampening", "be 0 with `nesterov`", dampening)
    # With a momentum of 0, which may be traced, PyTorch ignores the dampening.
    may_be_zero = isinstance(momentum, jax.Array) or is_by_path(momentum)
    if may_be_zero and not is_zero(dampening):
        both = {"momentum": momentum, "dampening": dampening}
        dampening = lift(_dampening_with_momentum, both)
    rule = rules.sgd()
    if not is_zero(momentum):
        rule = rules.momentum(momentum, dampening=dampening, nesterov=nesterov)
    return build(scale_by_moments(rule), lr, weight_decay, maximize=maximize)


def _dampening_with_momentum(momentum: Any, dampening: Any) -> Any:
    arrays = any(isinstance(x, jax.Array) for x in (momentum, dampening))
    where: Any = jnp.where if arrays else np.where
    return where(momentum == 0, 0, dampening)[()]


def _is_known(x: Any) -> bool:
    return not callable(x) and not is_traced(x) and not is_by_path(x)


@_unsupported.other_optimizer
def ASGD(
    lr: LearningRate = 1e-2,
    lambd: NonNegative = 1e-4,
    alpha: NonNegative = 0.75,
    t0: NonNegative = 1e6,
    weight_decay: WeightDecay = 0,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.ASGD``: :func:`asgd`, with the averaged weights in its state.

    As in PyTorch, the first two updates use the first learning rate, and each later
    update uses the learning rate of the update before. ``optax.tree.get(state,
    "average")`` reads the averaged weights. ``update`` always needs the params.

    Args:
      lr: The learning rate.
      lambd: How fast the learning rate and the weights decay.
      alpha: The power of the learning rate's decay.
      t0: The averaging starts at update `t0` + 2.
      weight_decay: L2 weight decay: this times the params is added to the gradient.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.ASGD(lr=0.01, t0=1000)
    """
    tx = optax.chain(add_decayed_weights(weight_decay), asgd(lr, lambd, alpha, t0))
    return maximized(in_float32(tx), maximize)


@_unsupported.other_optimizer
def Rprop(
    lr: LearningRate = 1e-2,
    etas: tuple[OpenFraction, AboveOne] = (0.5, 1.2),
    step_sizes: tuple[NonNegative, Positive] = (1e-6, 50),
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Rprop``: :func:`rprop`.

    As in PyTorch, only the first value of a schedule is used. Use it only with
    gradients of the whole data set. Complex leaves raise a ValueError in ``init``.

    Args:
      lr: The first step size.
      etas: The factors of a step size where the gradient's sign changes, and where it
        stays.
      step_sizes: The smallest and the largest step size.
      maximize: Negate the gradients first.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Rprop(lr=0.01)
    """
    check_first_value("lr", lr)
    return maximized(rprop(lr, *etas, *step_sizes), maximize)


@_unsupported.other_optimizer
def Muon(
    lr: LearningRate = 1e-3,
    weight_decay: WeightDecay = 0.1,
    momentum: Decay = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[Real, Real, Real] = (3.4445, -4.775, 2.0315),
    eps: NonNegative = 1e-7,
    ns_steps: SizeOrZero = 5,
    adjust_lr_fn: Literal["original", "match_rms_adamw", "spectral_unclamped"]
    | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Muon``: :func:`muon`, for matrices of shape (out, in) only.

    For Flax' kernels, of shape (in, out), use :func:`muon`. PyTorch rounds to bfloat16
    before it orthogonalizes. Here the iteration runs in the
    dtype of the leaf, float32 at least. For PyTorch's rounding, write ``oxe.muon(lr,
    layout="out_in", weight_decay=0.1, ns_dtype=jnp.bfloat16)``. PyTorch also accepts a
    `momentum` of 1 or more, which raises a ValueError here.

    Args:
      lr: The learning rate.
      weight_decay: Decoupled weight decay, times the learning rate.
      momentum: The decay of the first moment.
      nesterov: Use Nesterov momentum.
      ns_coefficients: The three coefficients of the Newton-Schulz iteration.
      eps: The smallest norm to divide by.
      ns_steps: The number of iterations, at most 99.
      adjust_lr_fn: The factor of the step for the shape of a matrix, as `scale` of
        :func:`muon`, where ``"spectral_unclamped"`` (PyTorch 2.14) is ``"unit_rms"``.
        None: ``"original"``.

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
        layout="out_in",
        ns_coefficients=[ns_coefficients] * ns_steps,
        eps=eps,
        scale=_SCALES.get(adjust_lr_fn, "original"),
        weight_decay=weight_decay,
    )


_SCALES: dict[Any, Any] = {
    "match_rms_adamw": "match_rms_adamw",
    "spectral_unclamped": "unit_rms",
}
