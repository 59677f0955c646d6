"""PyTorch's schedulers that fall, or rise, and then stay."""

from collections.abc import Sequence

from optax_extras import schedules
from optax_extras._checks import (
    Fraction,
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    PositiveFraction,
)
from optax_extras._values import integral, is_traced, items
from optax_extras.pytorch import _unsupported
from optax_extras.schedules._curve import Schedule


@_unsupported.scheduler
def StepLR(
    lr: NonNegative, step_size: IntegralSteps, gamma: Positive = 0.1
) -> Schedule:
    r"""PyTorch's ``StepLR``: :math:`\eta_t = \eta_0 \gamma^{\lfloor t / S \rfloor}`.

    PyTorch also takes a fractional `step_size`, which then fires at its whole multiples
    alone, and a `gamma` of 0 or below; both are refused here.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      step_size: Updates :math:`S \ge 1` between two changes.
      gamma: The factor :math:`\gamma > 0`.

    Returns:
      A schedule: step count -> value.

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
    r"""PyTorch's ``MultiStepLR``: a factor at, not after, each milestone.

    PyTorch ignores fractional and negative milestones and takes a `gamma` of 0 or
    below; all of these are refused here.

    Args:
      lr: The base rate, a number of at least 0.
      milestones: Numbers of updates, 0 or more, in any order; one that is named twice
        multiplies twice.
      gamma: The factor, above 0.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.MultiStepLR(0.1, milestones=[30, 80])
      >>> [round(float(schedule(t)), 4) for t in (0, 30, 80)]
      [0.1, 0.01, 0.001]
    """
    if isinstance(milestones, set | frozenset):
        milestones = list(milestones)
    found = [
        integral(f"milestones[{i}]", x, at_least=0)
        for i, x in enumerate(items("milestones", milestones))
    ]
    traced = [x for x in found if is_traced(x)]
    known = sorted(x for x in found if not is_traced(x))
    return schedules.multistep(lr, known + traced, gamma)


@_unsupported.scheduler
def ConstantLR(
    lr: NonNegative, factor: Fraction = 1.0 / 3, total_iters: IntegralStepsOrZero = 5
) -> Schedule:
    """PyTorch's ``ConstantLR``: a fraction of the rate at first, then all of it.

    With `total_iters` = 0 PyTorch's stays at the fraction for ever, and with `factor` =
    0 it divides by it; here the whole rate comes at step `total_iters` in any case.

    Args:
      lr: The base rate, a number of at least 0, in force from step `total_iters` on.
      factor: Its fraction before that, in [0, 1].
      total_iters: Updates at the fraction, 0 or more.

    Returns:
      A schedule: step count -> value.

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
    """PyTorch's ``LinearLR``: a straight line between two fractions of the rate.

    With `total_iters` = 0 PyTorch's stays at the first fraction for ever; here it is at
    the last one at once.

    Args:
      lr: The base rate, a number of at least 0.
      start_factor: Its fraction at step 0, in (0, 1].
      end_factor: Its fraction from step `total_iters` on, in [0, 1].
      total_iters: Updates from one to the other, 0 or more.

    Returns:
      A schedule: step count -> value.

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
    r"""PyTorch's ``ExponentialLR``: :math:`\eta_t = \eta_0 \gamma^t`.

    PyTorch also takes a `gamma` of 0 or below, which is refused here.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      gamma: The factor :math:`\gamma > 0` per step.

    Returns:
      A schedule: step count -> value.

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
    r"""PyTorch's ``PolynomialLR``: down to 0 as a power of the fraction that remains.

    .. math::
        \eta_t = \eta_0 \left(1 - \frac{\min(t, T)}{T}\right)^p

    With `total_iters` = 0 or `power` = 0 PyTorch's stays at the base rate for ever, and
    a fractional `total_iters` stops short of 0; these are refused here.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      total_iters: Updates :math:`T \ge 1` until the rate is 0, which it then stays.
      power: :math:`p > 0`.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.PolynomialLR(0.1, total_iters=4, power=2.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4)]
      [0.1, 0.025, 0.0]
    """
    return schedules.polynomial(lr, total_iters, power)
