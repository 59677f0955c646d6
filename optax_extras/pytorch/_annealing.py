"""PyTorch's schedulers that anneal: along a cosine, and to the rate of SWA."""

from typing import Literal

from optax_extras import schedules
from optax_extras._checks import (
    IntegralSteps,
    NonNegative,
    Real,
    StepCount,
    StepCountOrZero,
)
from optax_extras.pytorch import _unsupported
from optax_extras.schedules._curve import RestartingSchedule, Schedule


@_unsupported.scheduler
def CosineAnnealingLR(
    lr: NonNegative, T_max: IntegralSteps, eta_min: Real = 0.0
) -> Schedule:
    r"""PyTorch's ``CosineAnnealingLR``: down to `eta_min`, and up again after `T_max`.

    .. math::
        \eta_t = \eta_{min} + \tfrac12 (\eta_0 - \eta_{min})
            \left(1 + \cos \frac{\pi t}{T}\right)

    A wave of period :math:`2 T` that goes on for ever, as PyTorch's does; what stays
    down is `oxe.schedules.cosine`. PyTorch also takes a fractional `T_max`, which is
    refused here.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      T_max: Updates :math:`T \ge 1` from the base rate to `eta_min`.
      eta_min: The rate :math:`\eta_{min}` at step :math:`T`, a real number.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.CosineAnnealingLR(0.1, T_max=10, eta_min=0.02)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20)]
      [0.1, 0.06, 0.02, 0.1]
    """
    return schedules.cosine(lr, T_max, eta_min, periodic=True)


@_unsupported.scheduler
def CosineAnnealingWarmRestarts(
    lr: NonNegative, T_0: StepCount, T_mult: StepCount = 1, eta_min: Real = 0.0
) -> RestartingSchedule:
    r"""PyTorch's ``CosineAnnealingWarmRestarts``: cosine decay that starts again.

    With :math:`p` updates made in the present cycle, which has :math:`T` of them:

    .. math::
        \eta_t = \eta_{min} + \tfrac12 (\eta_0 - \eta_{min})
            \left(1 + \cos \frac{\pi p}{T}\right)

    The numbers of PyTorch's ``step()``. Its ``step(epoch)`` finds the cycle with a
    logarithm and misses some restarts, which this does not. As there, the last step of
    a cycle is just above `eta_min`. It goes on for ever; see
    `oxe.schedules.warm_restarts` for bounds that shrink and an end.

    Args:
      lr: The rate :math:`\eta_0 \ge 0` at the start of every cycle, a number.
      T_0: Updates of the first cycle, an integer of at least 1.
      T_mult: The factor, an integer of at least 1, by which the cycles grow.
      eta_min: What a cycle falls to and just does not reach, a real number.

    Returns:
      A schedule: step count -> value. Its attribute `restarts`, step count -> bool,
      says where a cycle begins, for :func:`restart`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.CosineAnnealingWarmRestarts(0.1, T_0=10, T_mult=2)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20, 30)]
      [0.1, 0.05, 0.1, 0.05, 0.1]
    """
    return schedules.warm_restarts(lr, T_0, T_mult, eta_min)


@_unsupported.scheduler
def SWALR(
    lr: NonNegative,
    swa_lr: NonNegative,
    anneal_epochs: StepCountOrZero = 10,
    anneal_strategy: Literal["cos", "linear"] = "cos",
) -> Schedule:
    """PyTorch's ``SWALR``: to the constant rate of stochastic weight averaging.

    PyTorch's is usually begun in the midst of a run and takes the rate that it finds;
    here that rate is an argument, and ``SequentialLR([before, SWALR(...)], [start])``
    is the run. The weights themselves are averaged elsewhere, as by
    ``optax.incremental_update``.

    Args:
      lr: The rate at step 0, a number of at least 0.
      swa_lr: The rate from step `anneal_epochs` on, at least 0.
      anneal_epochs: Updates, in spite of the name, from one to the other; an integer,
        0 or more.
      anneal_strategy: The way between them, ``"cos"`` or ``"linear"``.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.SWALR(0.1, swa_lr=0.05, anneal_epochs=4)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4, 100)]
      [0.1, 0.075, 0.05, 0.05]

    References:
      Izmailov et al., `Averaging weights leads to wider optima and better
      generalization <https://arxiv.org/abs/1803.05407>`_, 2018
    """
    curve = schedules.cosine if anneal_strategy == "cos" else schedules.linear
    return curve(lr, anneal_epochs, swa_lr)
