"""PyTorch's optimizers without a second moment."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _checks, rules
from optax_extras._kernel._decay import add_decayed_weights, is_zero
from optax_extras._kernel._float32 import rounded_once
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._optimizers.asgd import asgd
from optax_extras._optimizers.rprop import rprop
from optax_extras.pytorch import _foreign
from optax_extras.pytorch._step import against, check, pair, step


@_foreign.optimizer
def SGD(
    lr: ArrayLike | optax.Schedule = 1e-3,
    momentum: ArrayLike | optax.Schedule = 0,
    dampening: ArrayLike = 0,
    weight_decay: ArrayLike = 0,
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

    Raises:
      ValueError: If a number is out of range, or `nesterov` without a momentum or with
        a dampening.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> cycle = oxe.pytorch.OneCycleLR(0.1, total_steps=1000)
      >>> tx = oxe.pytorch.SGD(lr=cycle, momentum=cycle.momentum, weight_decay=1e-4)
    """
    flags = {"nesterov": nesterov, "maximize": maximize}
    check(
        "SGD",
        lr,
        flags,
        momentum=momentum,
        dampening=dampening,
        weight_decay=weight_decay,
    )
    if nesterov:
        if not callable(momentum) and _is_known(momentum, 0):
            _checks.refuse("SGD", "momentum", "be above 0 with `nesterov`", momentum)
        if not _checks.is_traced(dampening) and not _is_known(dampening, 0):
            _checks.refuse("SGD", "dampening", "be 0 with `nesterov`", dampening)
    rule = rules.sgd()
    if isinstance(momentum, jax.Array) and not is_zero(dampening):
        dampening = jnp.where(momentum == 0, 0, dampening)
    if not is_zero(momentum):
        rule = rules.momentum(momentum, dampening=dampening, nesterov=nesterov)
    return step("SGD", scale_by_moments(rule), lr, weight_decay, maximize=maximize)


def _is_known(x: Any, value: float) -> bool:
    return not _checks.is_traced(x) and _checks.known(x) == value


@_foreign.optimizer
def ASGD(
    lr: ArrayLike | optax.Schedule = 1e-2,
    lambd: ArrayLike = 1e-4,
    alpha: ArrayLike = 0.75,
    t0: ArrayLike = 1e6,
    weight_decay: ArrayLike = 0,
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

    Raises:
      ValueError: If a number is out of range, or an update is not given the params.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.ASGD(lr=0.01, t0=1000)
    """
    check(
        "ASGD",
        lr,
        {"maximize": maximize},
        lambd=lambd,
        alpha=alpha,
        t0=t0,
        weight_decay=weight_decay,
    )
    tx = optax.chain(add_decayed_weights(weight_decay), asgd(lr, lambd, alpha, t0))
    return against(maximize, rounded_once(tx))


@_foreign.optimizer
def Rprop(
    lr: ArrayLike | optax.Schedule = 1e-2,
    etas: tuple[ArrayLike, ArrayLike] = (0.5, 1.2),
    step_sizes: tuple[ArrayLike, ArrayLike] = (1e-6, 50),
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
      ValueError: If a number is out of range, or, in `init`, a leaf complex.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `foreach`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.Rprop(lr=0.01)
    """
    check("Rprop", lr, {"maximize": maximize})
    factors = pair("Rprop", "etas", etas)
    tx = rprop(lr, *factors, *pair("Rprop", "step_sizes", step_sizes))
    return against(maximize, tx)
