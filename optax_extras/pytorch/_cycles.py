"""PyTorch's schedulers that cycle the momentum with the rate."""

from collections.abc import Callable

import jax
from jax.typing import ArrayLike

from optax_extras import _checks, schedules
from optax_extras.pytorch import _foreign
from optax_extras.schedules._curve import MomentumSchedule, renamed
from optax_extras.schedules._cyclic import foreign_scale


@_foreign.scheduler
def CyclicLR(
    base_lr: ArrayLike,
    max_lr: ArrayLike,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: ArrayLike = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: str = "cycle",
    cycle_momentum: bool = True,
    base_momentum: ArrayLike = 0.8,
    max_momentum: ArrayLike = 0.9,
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

    Raises:
      ValueError: If a number is out of range, a number of updates not whole, or `mode`
        or `scale_mode` unknown.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

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
    rule = "CyclicLR"
    base_lr = _checks.real(rule, "base_lr", base_lr, "[0, inf)")
    max_lr = _checks.real(rule, "max_lr", max_lr, "[0, inf)")
    up = _checks.whole(rule, "step_size_up", step_size_up)
    down = step_size_down
    if down is not None:
        down = _checks.whole(rule, "step_size_down", down, at_least=0)
    scale = foreign_scale(rule, mode, gamma, scale_fn, scale_mode)
    cycle_momentum = _checks.flag(rule, "cycle_momentum", cycle_momentum)
    base_momentum = _checks.real(rule, "base_momentum", base_momentum)
    max_momentum = _checks.real(rule, "max_momentum", max_momentum)
    momentum = None
    if cycle_momentum:
        momentum = schedules.cyclic(max_momentum, base_momentum, up, down, **scale)
        momentum = renamed(rule, momentum)
    rate = schedules.cyclic(base_lr, max_lr, up, down, **scale)
    return renamed(rule, rate, momentum=momentum)


@_foreign.scheduler
def OneCycleLR(
    max_lr: ArrayLike,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: ArrayLike = 0.3,
    anneal_strategy: str = "cos",
    cycle_momentum: bool = True,
    base_momentum: ArrayLike = 0.85,
    max_momentum: ArrayLike = 0.95,
    div_factor: ArrayLike = 25.0,
    final_div_factor: ArrayLike = 1e4,
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

    Raises:
      ValueError: If a number is out of range, `anneal_strategy` unknown, or neither
        `total_steps` nor both of `epochs` and `steps_per_epoch` given.
      TypeError: If an argument is not of the kind said above, or an option is given
        that has no meaning here, such as `last_epoch`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.OneCycleLR(1.0, epochs=5, steps_per_epoch=2)
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 9)]
      [0.04, 1.0, 0.0]
      >>> [round(float(schedule.momentum(t)), 4) for t in (0, 2, 9)]
      [0.95, 0.85, 0.95]
    """
    rule = "OneCycleLR"
    steps = _run_length(rule, total_steps, epochs, steps_per_epoch)
    three_phase = _checks.flag(rule, "three_phase", three_phase)
    most = "[0, 0.5]" if three_phase else "[0, 1]"
    cycle_momentum = _checks.flag(rule, "cycle_momentum", cycle_momentum)
    ways = ("cos", "linear")
    curve = schedules.one_cycle(
        _checks.real(rule, "max_lr", max_lr, "[0, inf)"),
        steps,
        pct_start=_checks.real(rule, "pct_start", pct_start, most),
        div_factor=_checks.real(rule, "div_factor", div_factor, "(0, inf)"),
        final_div_factor=_checks.real(
            rule, "final_div_factor", final_div_factor, "(0, inf)"
        ),
        anneal=_checks.choice(rule, "anneal_strategy", anneal_strategy, ways),
        three_phase=three_phase,
        base_momentum=_checks.real(rule, "base_momentum", base_momentum),
        max_momentum=_checks.real(rule, "max_momentum", max_momentum),
    )
    momentum = renamed(rule, curve.momentum) if cycle_momentum else None
    return renamed(rule, curve, momentum=momentum)


def _run_length(rule, total_steps, epochs, steps_per_epoch):
    if total_steps is not None:
        return _checks.count(rule, "total_steps", total_steps)
    if epochs is None or steps_per_epoch is None:
        must = "be given, or `epochs` and `steps_per_epoch`"
        _checks.refuse(rule, "total_steps", must, total_steps)
    epochs = _checks.count(rule, "epochs", epochs)
    return epochs * _checks.count(rule, "steps_per_epoch", steps_per_epoch)
