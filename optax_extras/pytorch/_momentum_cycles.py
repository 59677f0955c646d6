"""PyTorch's schedulers that cycle the momentum together with the learning rate."""

from collections.abc import Callable
from typing import Any, Literal

import jax
from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._check_values import count
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
    r"""PyTorch's ``CyclicLR``: linear cycles of the learning rate and the momentum.

    The height :math:`h_t` is 0 at the start of a cycle and 1 at its peak. The scale
    :math:`s_t` is 1 (``"triangular"``), :math:`2^{-c}` in cycle :math:`c = 0, 1, \dots`
    (``"triangular2"``), :math:`\gamma^t` (``"exp_range"``) or the value of `scale_fn`:

    .. math::
        \eta_t = \text{base} + (\text{max} - \text{base})\, h_t s_t, \quad
        \beta_t = \text{max}_m - (\text{max}_m - \text{base}_m)\, h_t s_t

    PyTorch sets the momentum of its optimizer itself, even a momentum of 0. Here the
    momentum is the attribute `momentum`: pass it to the optimizer, as in ``SGD(cycle,
    cycle.momentum)`` or ``Adam(cycle, (cycle.momentum, 0.999))``. PyTorch also accepts
    fractional steps and a `gamma` of 0 or below, which raise a ValueError here. See
    `oxe.schedules.cyclic` for the paper and for bounds that shrink.

    Args:
      base_lr: The learning rate at the start of every cycle.
      max_lr: The learning rate at the peak where the scale is 1.
      step_size_up: Updates from `base_lr` to `max_lr`.
      step_size_down: Updates from `max_lr` to `base_lr`; None: `step_size_up`. With 0
        the learning rate drops to `base_lr` where the peak would be.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``; ignored if
        `scale_fn` is given.
      gamma: The factor :math:`\gamma` per update, for ``"exp_range"`` only.
      scale_fn: A function that JAX can trace, from a float to the scale :math:`s_t`.
      scale_mode: The float given to `scale_fn`: the number of the cycle (1 is the
        first), or the updates already made (``"iterations"``).
      cycle_momentum: Add the attribute `momentum`, the schedule of the momentum.
      base_momentum: The momentum at the peak where the scale is 1.
      max_momentum: The momentum at the start of every cycle.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.CyclicLR(0.01, 0.1, step_size_up=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20)]
      [0.01, 0.1, 0.01]
      >>> [round(float(schedule.momentum(t)), 4) for t in (0, 10, 20)]
      [0.9, 0.8, 0.9]
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
    """PyTorch's ``OneCycleLR``: rises once, then falls to far below its first value.

    The learning rate goes from ``max_lr / div_factor`` to `max_lr` at step :math:`pT -
    1`, and to ``max_lr / div_factor / final_div_factor`` at step :math:`T - 1`; see
    `oxe.schedules.one_cycle`. Differences from PyTorch:

    * At step :math:`T` PyTorch's learning rate rises again (``"cos"``) or is negative
      (``"linear"``), and after that PyTorch raises an error. Here the last value holds.
    * PyTorch sets the momentum of its optimizer itself, even one of 0. Here pass it, as
      in ``SGD(lr=cycle, momentum=cycle.momentum)`` or ``Adam(cycle, (cycle.momentum,
      0.999))``.
    * If the rise has no length (:math:`pT = 1`), PyTorch divides by zero. Here the peak
      is at step 0.
    * With three phases and a `pct_start` above 0.5, PyTorch's last phase does not start
      where the one before ends. Here such a `pct_start` raises a ValueError.

    Args:
      max_lr: The highest learning rate.
      total_steps: Updates :math:`T` in the run; None: `epochs` times `steps_per_epoch`.
      epochs: Epochs in the run, at least 1; ignored if `total_steps` is given.
      steps_per_epoch: Updates in an epoch, at least 1; ignored if `total_steps` is
        given.
      pct_start: The fraction :math:`p` of the run in which the learning rate rises; at
        most 0.5 with three phases.
      anneal_strategy: The curve of each phase: half a cosine wave or a straight line.
      cycle_momentum: Add the attribute `momentum`, the schedule of the momentum.
      base_momentum: The momentum where the learning rate is highest.
      max_momentum: The momentum at the start and at the end.
      div_factor: `max_lr` divided by the first learning rate.
      final_div_factor: The first learning rate divided by the last.
      three_phase: Fall in two phases: to the first value in as many updates as the
        rise, then to the last value.

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
