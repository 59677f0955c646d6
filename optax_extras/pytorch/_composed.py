"""PyTorch's schedulers made of schedulers, and those made of functions."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras import _checks, schedules
from optax_extras._numerics import as_float, float_dtype
from optax_extras.pytorch import _foreign
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import Schedule, renamed


@_foreign.scheduler
def LambdaLR(lr: ArrayLike, lr_lambda: Callable[[Any], ArrayLike]) -> Schedule:
    r"""PyTorch's ``LambdaLR``: :math:`\eta_t = \eta_0 f(t)`.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      lr_lambda: The function :math:`f` of the number of updates made, an integer array
        of any shape. It must be traceable by JAX and work elementwise: `jnp.where` in
        the place of ``if``, `jnp.exp` in the place of `math.exp`.

    Returns:
      A schedule: step count -> value.

    Raises:
      ValueError: If `lr` is below 0.
      TypeError: If `lr_lambda` cannot be traced or does not return a scalar, `lr` is no
        number, or an option is given that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.LambdaLR(0.1, lambda t: 0.5 ** (t // 10))
      >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20)]
      [0.1, 0.1, 0.05, 0.025]
    """
    rule = "LambdaLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    lr_lambda = _checks.function(rule, "lr_lambda", lr_lambda)
    try:
        found = jax.eval_shape(lr_lambda, jax.ShapeDtypeStruct((), _widest_int()))
    except jax.errors.JAXTypeError:
        must = "be traceable by JAX (`jnp.where`, not `if`; `jnp.exp`, not `math.exp`)"
        _checks.refuse_kind(rule, "lr_lambda", must, lr_lambda)
    if getattr(found, "shape", None) != ():
        _checks.refuse_kind(rule, "lr_lambda", "return a scalar", lr_lambda)

    def factor(t):
        return as_float(lr_lambda(t.astype(_widest_int())))

    return renamed(rule, schedules.product(lr, factor))


def _widest_int() -> np.dtype:
    """int64 under x64, where the quotient of an int32 and a number is a float32."""
    return jax.dtypes.canonicalize_dtype(np.int64)


@_foreign.scheduler
def MultiplicativeLR(
    lr: ArrayLike, lr_lambda: Callable[[int], float], *, total_steps: int
) -> Schedule:
    r"""PyTorch's ``MultiplicativeLR``: a factor for every step.

    .. math::
        \eta_t = \eta_0 \prod_{i=1}^{\min(t, T - 1)} f(i)

    The function is called, and the products are made in float64, when the schedule is
    made; later they are looked up. `lr` may be traced. From step :math:`T` on PyTorch's
    goes on multiplying; here the last value holds. As a later part of a
    ``SequentialLR`` PyTorch's goes on from the rate it finds; ours begins at its own
    `lr`, as all the others do.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      lr_lambda: The function :math:`f`, to a real number, called with the Python
        integers from 1 to :math:`T - 1`.
      total_steps: Updates :math:`T \ge 1` of the run, a concrete integer. PyTorch has
        no such argument.

    Returns:
      A schedule: step count -> value.

    Raises:
      ValueError: If `lr` is below 0, `total_steps` below 1, or a factor not finite.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> halve = lambda t: 0.5 if t % 10 == 0 else 1.0
      >>> schedule = oxe.pytorch.MultiplicativeLR(0.1, halve, total_steps=30)
      >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20, 100)]
      [0.1, 0.1, 0.05, 0.025, 0.025]
    """
    rule = "MultiplicativeLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    lr_lambda = _checks.function(rule, "lr_lambda", lr_lambda)
    total_steps = _checks.count(rule, "total_steps", total_steps)
    if _checks.is_traced(total_steps):
        _checks.refuse_kind(rule, "total_steps", "be concrete", total_steps)
    factors = [
        _checks.real(rule, f"lr_lambda({t})", lr_lambda(t))
        for t in range(1, total_steps)
    ]
    table = np.cumprod([1.0, *map(float, factors)])

    def value(t):
        products = jnp.asarray(table, float_dtype())
        return as_float(lr) * products[jnp.minimum(t, total_steps - 1)]

    return _curve.schedule(rule, value)


@_foreign.scheduler
def SequentialLR(schedulers: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """PyTorch's ``SequentialLR``: one scheduler after another, each with its own count.

    Each begins at its own base rate when its turn comes. In PyTorch a ``CyclicLR`` or
    ``OneCycleLR`` changes the rate of the phases before it, a ``MultiplicativeLR`` goes
    on from the rate it finds, and a ``SequentialLR`` or ``ChainedScheduler`` inside is
    a step off or not possible; none of this is so here.

    Args:
      schedulers: The schedulers, at least one, each with its own `lr`. No numbers.
      milestones: The sorted numbers of updates, 0 or more, at which the next one
        begins: its step 0. One fewer than `schedulers`.

    Returns:
      A schedule: step count -> value. It carries `restarts` if one of them does.

    Raises:
      ValueError: If there is no scheduler, or `milestones` are unsorted, below 0 or not
        one fewer.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> warm = oxe.pytorch.LinearLR(0.1, start_factor=0.5, total_iters=4)
      >>> decay = oxe.pytorch.ExponentialLR(0.1, gamma=0.5)
      >>> schedule = oxe.pytorch.SequentialLR([warm, decay], milestones=[4])
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4, 5)]
      [0.05, 0.075, 0.1, 0.05]
    """
    rule = "SequentialLR"
    curves = _schedulers(rule, "schedulers", schedulers)
    milestones = _checks.counts(rule, "milestones", milestones)
    if len(milestones) != len(curves) - 1:
        must = f"have one item fewer than the {len(curves)} `schedulers`"
        _checks.refuse(rule, "milestones", must, milestones)
    return renamed(rule, schedules.sequence(curves, milestones))


@_foreign.scheduler
def ChainedScheduler(lr: ArrayLike, factors: Sequence[Schedule]) -> Schedule:
    """PyTorch's ``ChainedScheduler``: the product of schedulers, all from step 0.

    PyTorch lets every one of them step on the rate in turn. That is their product where
    each multiplies the rate it finds; but ``LambdaLR``, ``CyclicLR``, ``OneCycleLR``
    and ``CosineAnnealingWarmRestarts`` overwrite it, and ``CosineAnnealingLR`` adds to
    it where it climbs or has an `eta_min`. Here it is the product of all.

    Args:
      lr: The base rate, a number of at least 0.
      factors: The schedulers, at least one, each made with the base rate 1.

    Returns:
      A schedule: step count -> value. It carries `restarts` if one of them does.

    Raises:
      ValueError: If `lr` is below 0, or there is no scheduler.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> half = oxe.pytorch.ConstantLR(1.0, factor=0.5, total_iters=2)
      >>> decay = oxe.pytorch.ExponentialLR(1.0, gamma=0.5)
      >>> schedule = oxe.pytorch.ChainedScheduler(0.1, [half, decay])
      >>> [round(float(schedule(t)), 4) for t in (0, 1, 2)]
      [0.05, 0.025, 0.025]
    """
    rule = "ChainedScheduler"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    return renamed(rule, schedules.product(lr, *_schedulers(rule, "factors", factors)))


def _schedulers(rule: str, argument: str, found: Sequence[Schedule]) -> list[Schedule]:
    """At least one scheduler; a number is none, as in PyTorch."""
    curves = _checks.items(rule, argument, found)
    if not curves:
        _checks.refuse(rule, argument, "have at least one item", found)
    return [_checks.function(rule, f"{argument}[{i}]", x) for i, x in enumerate(curves)]
