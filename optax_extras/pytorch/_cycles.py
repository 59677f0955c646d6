"""PyTorch's schedulers that cycle the momentum with the rate."""

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._checks import (
    Fraction,
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    Real,
    StepCount,
)
from optax_extras._errors import refuse
from optax_extras._values import count
from optax_extras.pytorch import _unsupported
from optax_extras.schedules._curve import MomentumSchedule, schedule
from optax_extras.schedules._cyclic import scale_options


@_unsupported.scheduler
def CyclicLR(
    base_lr: NonNegative,
    max_lr: NonNegative,
    step_size_up: IntegralSteps = 2000,
    step_size_down: IntegralStepsOrZero | None = None,
    mode: str = "triangular",
    gamma: Positive = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
    cycle_momentum: bool = True,
    base_momentum: Real = 0.8,
    max_momentum: Real = 0.9,
) -> MomentumSchedule:
    r"""PyTorch's ``CyclicLR``: triangles of the rate, and of the momentum upside down.

    With the height :math:`h_t` of the triangle, 0 at the start of a cycle and 1 at its
    peak, and the scale :math:`s_t`, which is 1 (``"triangular"``), :math:`2^{-c}` in
    cycle :math:`c = 0, 1, \dots` (``"triangular2"``), :math:`\gamma^t`
    (``"exp_range"``), or what `scale_fn` returns:

    .. math::
        \eta_t = \text{base} + (\text{max} - \text{base})\, h_t s_t, \quad
        \beta_t = \text{max}_m - (\text{max}_m - \text{base}_m)\, h_t s_t

    PyTorch sets the momentum of its optimizer itself, even one of 0; here it is the
    attribute `momentum`, to be given to the optimizer, as in
    ``SGD(cycle, cycle.momentum)`` or ``Adam(cycle, (cycle.momentum, 0.999))``. PyTorch
    also takes fractional steps and a `gamma` of 0 or below, which are refused here. For
    bounds that shrink see `oxe.schedules.cyclic`.

    Args:
      base_lr: The rate at the start of every cycle, at least 0.
      max_lr: The rate at the peak where the scale is 1, at least 0.
      step_size_up: Updates from base to peak, at least 1.
      step_size_down: Updates from peak to base, at least 0; as many as up when None.
        With 0 the rate drops to base where the peak would be.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``; not looked at where
        `scale_fn` is given.
      gamma: :math:`\gamma > 0` per update, for ``"exp_range"`` alone.
      scale_fn: A function, traceable, to the scale :math:`s_t`; it is given a float,
        the number of the cycle, 1 in the first, or the number of updates made.
      scale_mode: Which of the two `scale_fn` is given: ``"cycle"`` or
        ``"iterations"``.
      cycle_momentum: Whether there is the attribute `momentum`.
      base_momentum: The momentum at the peak where the scale is 1, a real number.
      max_momentum: The momentum at the start of every cycle, a real number.

    Returns:
      A schedule: step count -> value. Its attribute `momentum` is the schedule of the
      momentum, unless `cycle_momentum` is False.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.CyclicLR(0.01, 0.1, step_size_up=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20)]
      [0.01, 0.1, 0.01]
      >>> [round(float(schedule.momentum(t)), 4) for t in (0, 10, 20)]
      [0.9, 0.8, 0.9]

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017
    """
    scale = scale_options(mode, gamma, scale_fn, scale_mode)

    def cycles(base, peak):
        return schedules.cyclic(base, peak, step_size_up, step_size_down, **scale)

    momentum = cycles(max_momentum, base_momentum) if cycle_momentum else None
    return schedule(cycles(base_lr, max_lr), momentum=momentum)


@_unsupported.scheduler
def OneCycleLR(
    max_lr: NonNegative,
    total_steps: StepCount | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: Fraction = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    cycle_momentum: bool = True,
    base_momentum: Real = 0.85,
    max_momentum: Real = 0.95,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
    three_phase: bool = False,
) -> MomentumSchedule:
    r"""PyTorch's ``OneCycleLR``: one rise, and one fall far below where it began.

    From ``max_lr / div_factor`` to `max_lr` at step :math:`pT - 1`, and down to
    ``max_lr / div_factor / final_div_factor`` at step :math:`T - 1`; see
    `oxe.schedules.one_cycle`. At step :math:`T` PyTorch's climbs again, or is negative
    if linear, and then raises; here the last value holds. Where the rise has no length
    (:math:`pT = 1`) PyTorch divides by it; here the peak is at step 0. With three
    phases PyTorch takes a `pct_start` above 0.5, whose last phase does not begin where
    the one before ends; it is refused here.

    Args:
      max_lr: The highest rate, at least 0.
      total_steps: Updates :math:`T \ge 1` of the run; where it is given, the next two
        are not looked at.
      epochs: At least 1; times `steps_per_epoch` it makes `total_steps`.
      steps_per_epoch: Updates in an epoch, at least 1.
      pct_start: The fraction :math:`p` of the run in which the rate rises, in [0, 1];
        at most 0.5 with three phases.
      anneal_strategy: ``"cos"`` or ``"linear"``.
      cycle_momentum: Whether there is the attribute `momentum`.
      base_momentum: The momentum where the rate is highest, a real number.
      max_momentum: The momentum at the start and at the end, a real number.
      div_factor: Highest over first rate, above 0.
      final_div_factor: First over last rate, above 0.
      three_phase: Whether the fall first mirrors the rise, back to where it began, and
        then goes on down to the end.

    Returns:
      A schedule: step count -> value. Its attribute `momentum` is the schedule of the
      momentum, unless `cycle_momentum` is False.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.OneCycleLR(1.0, epochs=5, steps_per_epoch=2)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 9)]
      [0.04, 1.0, 0.0]
      >>> [round(float(schedule.momentum(t)), 4) for t in (0, 2, 9)]
      [0.95, 0.85, 0.95]
    """
    curve = schedules.one_cycle(
        max_lr,
        _run_length(total_steps, epochs, steps_per_epoch),
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        anneal=anneal_strategy,
        three_phase=three_phase,
        base_momentum=base_momentum,
        max_momentum=max_momentum,
    )
    return curve if cycle_momentum else schedule(curve)


def _run_length(total_steps: Any, epochs: Any, steps_per_epoch: Any) -> Any:
    if total_steps is not None:
        return total_steps
    if epochs is None or steps_per_epoch is None:
        refuse("total_steps", "be given, or `epochs` and `steps_per_epoch`", None)
    return count("epochs", epochs) * count("steps_per_epoch", steps_per_epoch)
