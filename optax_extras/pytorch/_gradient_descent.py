"""PyTorch's optimizers without a second moment."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras import rules
from optax_extras._checks import (
    AboveOne,
    DecayOrSchedule,
    Fraction,
    LearningRate,
    NonNegative,
    OpenFraction,
    Positive,
)
from optax_extras._errors import refuse
from optax_extras._kernel._decay_and_rate import add_decayed_weights, is_zero
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.asgd import asgd
from optax_extras._optimizers.rprop import rprop
from optax_extras._values import concrete, is_traced
from optax_extras.pytorch import _unsupported
from optax_extras.pytorch._build import build, maximized


@_unsupported.optimizer
def SGD(
    lr: LearningRate = 1e-3,
    momentum: DecayOrSchedule = 0,
    dampening: Fraction = 0,
    weight_decay: NonNegative = 0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.SGD``: `rules.sgd`, or `rules.momentum` with the rate outside.

    As there, the first velocity is the whole gradient, whatever `dampening` says, and
    without a momentum there is no dampening either.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      momentum: In [0, 1); PyTorch takes larger ones too. A number or a schedule, such
        as the `momentum` of a :func:`OneCycleLR`.
      dampening: In [0, 1]: gradients after the first join the velocity times 1 minus
        this. PyTorch takes any number.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      nesterov: Whether to look ahead; it needs a momentum and takes no dampening.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax_extras as oxe
      >>> cycle = oxe.pytorch.OneCycleLR(0.1, total_steps=1000)
      >>> tx = oxe.pytorch.SGD(lr=cycle, momentum=cycle.momentum, weight_decay=1e-4)
    """
    if nesterov and _is_known(momentum) and concrete(momentum) == 0:
        refuse("momentum", "be above 0 with `nesterov`", momentum)
    if nesterov and _is_known(dampening) and concrete(dampening) != 0:
        refuse("dampening", "be 0 with `nesterov`", dampening)
    if isinstance(momentum, jax.Array) and not is_zero(dampening):
        dampening = jnp.where(momentum == 0, 0, dampening)
    rule = rules.sgd()
    if not is_zero(momentum):
        rule = rules.momentum(momentum, dampening=dampening, nesterov=nesterov)
    return build(scale_by_moments(rule), lr, weight_decay, maximize=maximize)


def _is_known(x: Any) -> bool:
    return not callable(x) and not is_traced(x)


@_unsupported.optimizer
def ASGD(
    lr: LearningRate = 1e-2,
    lambd: NonNegative = 1e-4,
    alpha: NonNegative = 0.75,
    t0: NonNegative = 1e6,
    weight_decay: NonNegative = 0,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.ASGD``: :func:`asgd`, the averaged weights in its state.

    As there, a rate acts one update late, and the first one twice.

    Args:
      lr: The rate, at least 0: a number, a schedule or a metric schedule.
      lambd: How fast the rate and the weights decay, at least 0.
      alpha: The power of the rate's decay, at least 0.
      t0: After how many updates the averaging starts, at least 0.
      weight_decay: At least 0. L2: that much of the weights joins the gradient.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`, whose update needs the params.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.ASGD(lr=0.01, t0=1000)
    """
    tx = optax.chain(add_decayed_weights(weight_decay), asgd(lr, lambd, alpha, t0))
    return maximized(in_float32(tx), maximize)


@_unsupported.optimizer
def Rprop(
    lr: LearningRate = 1e-2,
    etas: tuple[OpenFraction, AboveOne] = (0.5, 1.2),
    step_sizes: tuple[NonNegative, Positive] = (1e-6, 50),
    *,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """``torch.optim.Rprop``: :func:`rprop`.

    As there, of any schedule only the first value is used. For gradients of the whole
    data only.

    Args:
      lr: The first step size, at least 0: a number, a schedule or a metric schedule.
      etas: By what a step size is multiplied where the gradient's sign turns, in
        (0, 1), and where it stays, above 1.
      step_sizes: The least that a step size may be, at least 0, and the largest, above
        0.
      maximize: Whether to climb: gradients are negated, before any decay.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Raises:
      ValueError: In `init`, if a leaf is complex.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Rprop(lr=0.01)
    """
    return maximized(rprop(lr, *etas, *step_sizes), maximize)
