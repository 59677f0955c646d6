"""PyTorch's schedulers composed of functions and of other schedulers."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._check_values import function, items, real
from optax_extras._checks import NonNegative, Size, StepCounts
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, float_dtype
from optax_extras.pytorch import _unsupported
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import Schedule


@_unsupported.scheduler
def LambdaLR(lr: NonNegative, lr_lambda: Callable[[Any], ArrayLike]) -> Schedule:
    r"""PyTorch's ``LambdaLR``: :math:`\eta_t = \eta_0 f(t)` with a function :math:`f`.

    Args:
      lr: The base learning rate :math:`\eta_0`.
      lr_lambda: The function :math:`f` of the updates already made, an integer array of
        any shape. JAX must be able to trace it, and it must be elementwise: `jnp.where`
        instead of ``if``, `jnp.exp` instead of `math.exp`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.LambdaLR(0.1, lambda t: 0.5 ** (t // 10))
      >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20)]
      [0.1, 0.1, 0.05, 0.025]
    """
    _curve.check_traceable("lr_lambda", lr_lambda, _widest_int())

    def factor(t):
        return as_float(lr_lambda(t.astype(_widest_int())))

    return schedules.product(lr, factor)


def _widest_int() -> np.dtype:
    """int64 under x64: there an int32 divided by a number is only a float32."""
    return jax.dtypes.canonicalize_dtype(np.int64)


@_unsupported.scheduler
def MultiplicativeLR(
    lr: NonNegative, lr_lambda: Callable[[int], float], *, total_steps: Size
) -> Schedule:
    r"""PyTorch's ``MultiplicativeLR``: another factor at every update.

    :math:`\eta_t = \eta_0 f(1) f(2) \cdots f(\min(t, T - 1))`. The function is called,
    and the products are computed in float64, when the schedule is made; later they are
    looked up. `lr` may be traced. PyTorch continues to multiply from step :math:`T` on;
    here the last value holds. As a later part of a ``SequentialLR``, PyTorch's
    continues from the current learning rate; here it starts at its own `lr`, like every
    other scheduler.

    Args:
      lr: The base learning rate :math:`\eta_0`.
      lr_lambda: The function :math:`f` to a real number, called with the Python
        integers 1 to :math:`T - 1`.
      total_steps: Updates :math:`T` in the run, not traced. PyTorch has no such
        argument.

    Examples:
      >>> import optax_extras as oxe
      >>> halve = lambda t: 0.5 if t % 10 == 0 else 1.0
      >>> schedule = oxe.pytorch.MultiplicativeLR(0.1, halve, total_steps=30)
      >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20, 100)]
      [0.1, 0.1, 0.05, 0.025, 0.025]
    """
    steps = range(1, total_steps)
    factors = [real(f"lr_lambda({t})", lr_lambda(t)) for t in steps]
    table = np.cumprod([1.0, *map(float, factors)])

    def value(t):
        products = jnp.asarray(table, float_dtype())
        return as_float(lr) * products[jnp.minimum(t, len(factors))]

    return _curve.schedule(value)


@_unsupported.scheduler
def SequentialLR(schedulers: Sequence[Schedule], milestones: StepCounts) -> Schedule:
    """PyTorch's ``SequentialLR``: one scheduler after another, each with its own count.

    Each scheduler starts at its own base learning rate. PyTorch differs: a ``CyclicLR``
    or ``OneCycleLR`` changes the learning rate of the phases before it, a
    ``MultiplicativeLR`` continues from the current learning rate, and a nested
    ``SequentialLR`` or ``ChainedScheduler`` is off by one step or raises an error. The
    schedule has the attribute `restarts` if one of the schedulers has it. It never has
    the attribute `momentum`.

    Args:
      schedulers: The schedulers, at least one, each with its own `lr`. A number in
        their place raises a TypeError.
      milestones: The updates at which the next scheduler starts, at its own step 0; one
        fewer than `schedulers`.

    Examples:
      >>> import optax_extras as oxe
      >>> warm = oxe.pytorch.LinearLR(0.1, start_factor=0.5, total_iters=4)
      >>> decay = oxe.pytorch.ExponentialLR(0.1, gamma=0.5)
      >>> schedule = oxe.pytorch.SequentialLR([warm, decay], milestones=[4])
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4, 5)]
      [0.05, 0.075, 0.1, 0.05]
    """
    curves = _curves("schedulers", schedulers)
    with _curve.renaming(schedules="schedulers", boundaries="milestones"):
        return schedules.sequence(curves, milestones)


@_unsupported.chained_scheduler
def ChainedScheduler(lr: NonNegative, factors: Sequence[Schedule]) -> Schedule:
    """PyTorch's ``ChainedScheduler``: the product of schedulers, all from step 0.

    PyTorch calls the schedulers one after another, and each changes the current
    learning rate. The result is the product if each of them multiplies it. But
    ``LambdaLR``, ``CyclicLR``, ``OneCycleLR`` and ``CosineAnnealingWarmRestarts``
    overwrite the learning rate, and ``CosineAnnealingLR`` adds to it where it rises or
    has an `eta_min`. Here the result is always the product. It has the attribute
    `restarts` if one of the schedulers has it.

    Args:
      lr: The base learning rate.
      factors: The schedulers, at least one, each made with the base learning rate 1.

    Examples:
      >>> import optax_extras as oxe
      >>> half = oxe.pytorch.ConstantLR(1.0, factor=0.5, total_iters=2)
      >>> decay = oxe.pytorch.ExponentialLR(1.0, gamma=0.5)
      >>> schedule = oxe.pytorch.ChainedScheduler(0.1, [half, decay])
      >>> [round(float(schedule(t)), 4) for t in (0, 1, 2)]
      [0.05, 0.025, 0.025]
    """
    return schedules.product(lr, *_curves("factors", factors))


def _curves(argument: str, schedulers: Sequence[Schedule]) -> list[Schedule]:
    """The schedulers as a list; raises if it is empty or, like PyTorch, for numbers."""
    curves = items(argument, schedulers)
    if not curves:
        refuse(argument, "have at least one item", schedulers)
    return [function(f"{argument}[{i}]", x) for i, x in enumerate(curves)]
