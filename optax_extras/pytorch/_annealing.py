"""PyTorch's cosine annealing, with and without restarts, and SWALR."""

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

    As in PyTorch, this is a wave of period :math:`2 T` that continues forever;
    `oxe.schedules.cosine` stays at its end value. PyTorch also accepts a fractional
    `T_max`, which is refused here.

    Args:
      lr: The base learning rate :math:`\eta_0`.
      T_max: Updates :math:`T` from the base learning rate to `eta_min`.
      eta_min: The learning rate :math:`\eta_{min}` at step :math:`T`.

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

    At update :math:`p = 0, 1, \dots` of a cycle of :math:`T` updates:

    .. math::
        \eta_t = \eta_{min} + \tfrac12 (\eta_0 - \eta_{min})
            \left(1 + \cos \frac{\pi p}{T}\right)

    These are the numbers of PyTorch's ``step()``. Its ``step(epoch)`` computes the
    cycle with a logarithm and misses some restarts; here none is missed. As in PyTorch,
    the last step of a cycle is just above `eta_min`. The cycles continue forever;
    `oxe.schedules.warm_restarts` also has bounds that shrink and an end.

    Args:
      lr: The learning rate :math:`\eta_0` at the start of every cycle.
      T_0: Updates in the first cycle.
      T_mult: The factor by which each cycle is longer than the one before.
      eta_min: The learning rate :math:`\eta_{min}` that a cycle falls to but never
        reaches.

    Returns:
      A schedule with the attribute `restarts`, step count -> bool: true where a cycle
      begins, for :func:`restart`.

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
    """PyTorch's ``SWALR``: down to the learning rate of stochastic weight averaging.

    PyTorch's scheduler usually starts in the middle of a run, from the learning rate it
    finds. Here that learning rate is the argument `lr`; the schedule of the whole run
    is ``SequentialLR([before, SWALR(...)], [start])``. Average the weights separately,
    for instance with ``optax.incremental_update``.

    Args:
      lr: The learning rate at step 0.
      swa_lr: The learning rate from step `anneal_epochs` on.
      anneal_epochs: Updates (despite the name) from `lr` to `swa_lr`.
      anneal_strategy: The curve between them: half a cosine wave or a straight line.

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
