"""PyTorch's schedulers that follow a formula of the count."""

from collections.abc import Sequence
from typing import Literal

from optax_extras import schedules
from optax_extras._check_values import is_traced
from optax_extras._checks import (
    Fraction,
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    PositiveFraction,
    Real,
    StepCount,
    StepCountOrZero,
)
from optax_extras.pytorch import _unsupported
from optax_extras.schedules._curve import RestartingSchedule, Schedule
from optax_extras.schedules._piecewise import whole_steps


@_unsupported.scheduler
def StepLR(
    lr: NonNegative, step_size: IntegralSteps, gamma: Positive = 0.1
) -> Schedule:
    r"""PyTorch's ``StepLR``: multiplies by `gamma` every `step_size` updates.

    :math:`\eta_t = \eta_0 \gamma^{\lfloor t / S \rfloor}`. PyTorch also accepts a
    fractional `step_size`, with which it acts only at the multiples that are whole
    numbers, and a `gamma` of 0 or below; both raise a ValueError here.

    Args:
      lr: The base learning rate :math:`\eta_0`.
      step_size: Updates :math:`S` between two changes.
      gamma: The factor :math:`\gamma`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.StepLR(0.1, step_size=30)
      >>> [round(float(schedule(t)), 4) for t in (0, 29, 30, 60)]
      [0.1, 0.1, 0.01, 0.001]
    """
    return schedules.step(lr, step_size, gamma)


@_unsupported.scheduler
def MultiStepLR(
    lr: NonNegative, milestones: Sequence[int], gamma: Positive = 0.1
) -> Schedule:
    """PyTorch's ``MultiStepLR``: multiplies by `gamma` at, not after, each milestone.

    PyTorch ignores fractional and negative milestones and accepts a `gamma` of 0 or
    below; all of these raise a ValueError here.

    Args:
      lr: The base learning rate.
      milestones: Numbers of updates, 0 or more, in any order; a number given twice
        multiplies twice.
      gamma: The factor.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.MultiStepLR(0.1, milestones=[30, 80])
      >>> [round(float(schedule(t)), 4) for t in (0, 30, 80)]
      [0.1, 0.01, 0.001]
    """
    if isinstance(milestones, set | frozenset):
        milestones = list(milestones)
    found = whole_steps("milestones", milestones)
    traced = [x for x in found if is_traced(x)]
    known = sorted(x for x in found if not is_traced(x))
    return schedules.multistep(lr, known + traced, gamma)


@_unsupported.scheduler
def ConstantLR(
    lr: NonNegative, factor: Fraction = 1.0 / 3, total_iters: IntegralStepsOrZero = 5
) -> Schedule:
    """PyTorch's ``ConstantLR``: a fraction of the learning rate first, then all of it.

    With ``total_iters=0`` PyTorch stays at the fraction forever, and with ``factor=0``
    it divides by zero. Here the learning rate is `lr` from step `total_iters` on in any
    case.

    Args:
      lr: The base learning rate, in full from step `total_iters` on.
      factor: The fraction before that step.
      total_iters: Updates at the fraction.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.ConstantLR(0.1, factor=0.5, total_iters=4)
      >>> [round(float(schedule(t)), 4) for t in (0, 3, 4)]
      [0.05, 0.05, 0.1]
    """
    fraction = schedules.piecewise_constant([factor, 1.0], [total_iters])
    return schedules.product(lr, fraction)


@_unsupported.scheduler
def LinearLR(
    lr: NonNegative,
    start_factor: PositiveFraction = 1.0 / 3,
    end_factor: Fraction = 1.0,
    total_iters: IntegralStepsOrZero = 5,
) -> Schedule:
    """PyTorch's ``LinearLR``: a line between two fractions of the learning rate.

    With ``total_iters=0`` PyTorch stays at the first fraction forever; here it is the
    last fraction from step 0 on.

    Args:
      lr: The base learning rate.
      start_factor: The fraction at step 0.
      end_factor: The fraction from step `total_iters` on.
      total_iters: Updates from the first fraction to the last.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.LinearLR(0.1, start_factor=0.5, total_iters=4)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4)]
      [0.05, 0.075, 0.1]
    """
    fraction = schedules.linear(start_factor, total_iters, end_factor)
    return schedules.product(lr, fraction)


@_unsupported.scheduler
def ExponentialLR(lr: NonNegative, gamma: Positive) -> Schedule:
    r"""PyTorch's ``ExponentialLR``: multiplies by `gamma` at every update.

    :math:`\eta_t = \eta_0 \gamma^t`. PyTorch also accepts a `gamma` of 0 or below,
    which raises a ValueError here.

    Args:
      lr: The base learning rate :math:`\eta_0`.
      gamma: The factor :math:`\gamma`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.ExponentialLR(0.1, gamma=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 1, 2)]
      [0.1, 0.05, 0.025]
    """
    return schedules.exponential(lr, gamma)


@_unsupported.scheduler
def PolynomialLR(
    lr: NonNegative, total_iters: IntegralSteps = 5, power: Positive = 1.0
) -> Schedule:
    r"""PyTorch's ``PolynomialLR``: decay to 0, a power of the remaining fraction.

    :math:`\eta_t = \eta_0 (1 - \min(t, T) / T)^p`. PyTorch stays at the base learning
    rate forever with ``total_iters=0`` or ``power=0``, and stops above 0 with a
    fractional `total_iters`; all of these raise a ValueError here.

    Args:
      lr: The base learning rate :math:`\eta_0`.
      total_iters: Updates :math:`T` until the learning rate is 0, where it stays.
      power: The power :math:`p`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.PolynomialLR(0.1, total_iters=4, power=2.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4)]
      [0.1, 0.025, 0.0]
    """
    return schedules.polynomial(lr, total_iters, power)


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
    `T_max`, which raises a ValueError here.

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

    A cycle of :math:`T` updates has the first :math:`T` values of
    :func:`CosineAnnealingLR` with ``T_max`` = :math:`T`. These are the numbers of
    PyTorch's ``step()``. For PyTorch's ``step(epoch + i / n)``, with n updates in an
    epoch, give ``T_0 * n``. PyTorch then computes the cycle with a logarithm and misses
    some restarts; here none is missed. As in PyTorch, the last step of a cycle is just
    above `eta_min`. The cycles continue forever;
    `oxe.schedules.warm_restarts` also has bounds that shrink and an end. The attribute
    `restarts` of the schedule, step count -> bool, is true where a cycle begins, for
    :func:`restart`.

    Args:
      lr: The learning rate at the start of every cycle.
      T_0: Updates in the first cycle.
      T_mult: The factor by which each cycle is longer than the one before.
      eta_min: The learning rate that a cycle approaches but does not reach.

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
    """PyTorch's ``SWALR``: anneals to the learning rate of stochastic weight averaging.

    PyTorch's scheduler usually starts in the middle of a run, from the learning rate it
    finds. Here that learning rate is the argument `lr`, and the schedule of the whole
    run is ``SequentialLR([before, SWALR(...)], [start])``. :func:`with_average`
    averages the weights.

    Args:
      lr: The learning rate at step 0.
      swa_lr: The constant learning rate from step `anneal_epochs` on.
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
