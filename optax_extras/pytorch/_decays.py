"""PyTorch's schedulers that fall, or rise, and then stay."""

from collections.abc import Sequence

from jax.typing import ArrayLike

from optax_extras import _checks, schedules
from optax_extras.pytorch import _foreign
from optax_extras.schedules._curve import Schedule, renamed


@_foreign.scheduler
def StepLR(lr: ArrayLike, step_size: int, gamma: ArrayLike = 0.1) -> Schedule:
    r"""PyTorch's ``StepLR``: :math:`\eta_t = \eta_0 \gamma^{\lfloor t / S \rfloor}`.

    PyTorch also takes a fractional `step_size`, which then fires at its whole multiples
    alone, and a `gamma` of 0 or below; both are refused here.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      step_size: Updates :math:`S \ge 1` between two changes.
      gamma: The factor :math:`\gamma > 0`.

    Returns:
      A schedule: step count -> value.

    Raises:
      ValueError: If a number is out of range, or `step_size` not whole.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.StepLR(0.1, step_size=30)
      >>> [round(float(schedule(t)), 4) for t in (0, 29, 30, 60)]
      [0.1, 0.1, 0.01, 0.001]
    """
    rule = "StepLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    step_size = _checks.whole(rule, "step_size", step_size)
    gamma = _checks.real(rule, "gamma", gamma, "(0, inf)")
    return renamed(rule, schedules.step(lr, step_size, gamma))


@_foreign.scheduler
def MultiStepLR(
    lr: ArrayLike, milestones: Sequence[int], gamma: ArrayLike = 0.1
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

    Raises:
      ValueError: If a number is out of range, or a milestone not whole.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.MultiStepLR(0.1, milestones=[30, 80])
      >>> [round(float(schedule(t)), 4) for t in (0, 30, 80)]
      [0.1, 0.01, 0.001]
    """
    rule = "MultiStepLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    if isinstance(milestones, set | frozenset):
        milestones = list(milestones)
    found = [
        _checks.whole(rule, f"milestones[{i}]", x, at_least=0)
        for i, x in enumerate(_checks.items(rule, "milestones", milestones))
    ]
    gamma = _checks.real(rule, "gamma", gamma, "(0, inf)")
    traced = [x for x in found if _checks.is_traced(x)]
    known = sorted(x for x in found if not _checks.is_traced(x))
    return renamed(rule, schedules.multistep(lr, known + traced, gamma))


@_foreign.scheduler
def ConstantLR(
    lr: ArrayLike, factor: ArrayLike = 1.0 / 3, total_iters: int = 5
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

    Raises:
      ValueError: If a number is out of range, or `total_iters` not whole.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.ConstantLR(0.1, factor=0.5, total_iters=4)
      >>> [round(float(schedule(t)), 4) for t in (0, 3, 4)]
      [0.05, 0.05, 0.1]
    """
    rule = "ConstantLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    factor = _checks.real(rule, "factor", factor, "[0, 1]")
    total_iters = _checks.whole(rule, "total_iters", total_iters, at_least=0)
    share = schedules.piecewise_constant([factor, 1.0], [total_iters])
    return renamed(rule, schedules.product(lr, share))


@_foreign.scheduler
def LinearLR(
    lr: ArrayLike,
    start_factor: ArrayLike = 1.0 / 3,
    end_factor: ArrayLike = 1.0,
    total_iters: int = 5,
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

    Raises:
      ValueError: If a number is out of range, or `total_iters` not whole.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.LinearLR(0.1, start_factor=0.5, total_iters=4)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4)]
      [0.05, 0.075, 0.1]
    """
    rule = "LinearLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    start_factor = _checks.real(rule, "start_factor", start_factor, "(0, 1]")
    end_factor = _checks.real(rule, "end_factor", end_factor, "[0, 1]")
    total_iters = _checks.whole(rule, "total_iters", total_iters, at_least=0)
    share = schedules.linear(start_factor, total_iters, end_factor)
    return renamed(rule, schedules.product(lr, share))


@_foreign.scheduler
def ExponentialLR(lr: ArrayLike, gamma: ArrayLike) -> Schedule:
    r"""PyTorch's ``ExponentialLR``: :math:`\eta_t = \eta_0 \gamma^t`.

    PyTorch also takes a `gamma` of 0 or below, which is refused here.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      gamma: The factor :math:`\gamma > 0` per step.

    Returns:
      A schedule: step count -> value.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.ExponentialLR(0.1, gamma=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 1, 2)]
      [0.1, 0.05, 0.025]
    """
    rule = "ExponentialLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    gamma = _checks.real(rule, "gamma", gamma, "(0, inf)")
    return renamed(rule, schedules.exponential(lr, gamma))


@_foreign.scheduler
def PolynomialLR(
    lr: ArrayLike, total_iters: int = 5, power: ArrayLike = 1.0
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

    Raises:
      ValueError: If a number is out of range, or `total_iters` not whole.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.PolynomialLR(0.1, total_iters=4, power=2.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4)]
      [0.1, 0.025, 0.0]
    """
    rule = "PolynomialLR"
    lr = _checks.real(rule, "lr", lr, "[0, inf)")
    total_iters = _checks.whole(rule, "total_iters", total_iters)
    power = _checks.real(rule, "power", power, "(0, inf)")
    return renamed(rule, schedules.polynomial(lr, total_iters, power))
