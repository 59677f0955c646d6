"""Cosine decays after a warm-up."""

from typing import Any

import jax.numpy as jnp

from optax_extras import schedules
from optax_extras._checks import IntegralSteps, IntegralStepsOrZero, NonNegative
from optax_extras._errors import refuse
from optax_extras._numerics import LAST_COUNT, as_float, as_uint32, elapsed, remaining
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import (
    RestartingSchedule,
    Schedule,
    interpolate,
    steps_after,
)
from optax_extras.transformers import _unsupported
from optax_extras.transformers._waves import at_least_one, cycle_step, wave


@_unsupported.scheduler
def get_cosine_schedule_with_warmup(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps,
    num_cycles: NonNegative = 0.5,
) -> Schedule:
    r"""Transformers' ``get_cosine_schedule_with_warmup``: a wave after a warm-up.

    .. math::
        \eta_t = \eta\, t / W \;\; (t < W), \qquad
        \eta_t = \eta\, \tfrac12 \left(1 + \cos \frac{2 \pi n (t - W)}{T - W}\right)
            \;\; (t \ge W)

    As in transformers, the wave **continues** after step :math:`T`: with the default
    half wave the learning rate rises again, and is :math:`\eta` at step
    :math:`2 T - W`. `oxe.schedules.cosine` stays at its end value. With a warm-up of
    `num_training_steps` or more, :math:`T - W` counts as 1.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up.
      num_training_steps: Updates :math:`T` of the run, the warm-up included.
      num_cycles: The number :math:`n` of waves until step :math:`T`, 0.5 for half a
        wave.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_cosine_schedule_with_warmup(0.1, 10, 110)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110)]
      [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, 0.0)


@_unsupported.scheduler
def get_cosine_with_min_lr_schedule_with_warmup(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps,
    num_cycles: NonNegative = 0.5,
    min_lr: NonNegative | None = None,
    min_lr_rate: NonNegative | None = None,
) -> Schedule:
    r"""Transformers' cosine wave with a lowest learning rate, after a warm-up.

    The wave of :func:`get_cosine_schedule_with_warmup` between `lr` and a lowest
    learning rate :math:`m`:

    .. math::
        \eta_t = \eta\, t / W \;\; (t < W), \qquad
        \eta_t = m + (\eta - m)\, \tfrac12
            \left(1 + \cos \frac{2 \pi n (t - W)}{T - W}\right) \;\; (t \ge W)

    The warm-up starts at 0, not at :math:`m`. The wave continues after step :math:`T`:
    with the default half wave the learning rate rises again.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up.
      num_training_steps: Updates :math:`T` of the run, the warm-up included.
      num_cycles: The number :math:`n` of waves until step :math:`T`.
      min_lr: The lowest learning rate :math:`m`.
      min_lr_rate: The same as a fraction of `lr`. Give exactly one of the two.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_cosine_with_min_lr_schedule_with_warmup(
      ...     0.1, 10, 110, min_lr=0.02
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110)]
      [0.0, 0.05, 0.1, 0.06, 0.02]
    """
    low = _lowest(lr, min_lr, min_lr_rate)
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, low)


@_unsupported.scheduler
def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps,
    num_cycles: NonNegative = 0.5,
    min_lr: NonNegative | None = None,
    min_lr_rate: NonNegative | None = None,
    warmup_lr_rate: NonNegative | None = None,
) -> Schedule:
    r"""Transformers' cosine wave after a warm-up that starts above 0.

    Unlike :func:`get_cosine_with_min_lr_schedule_with_warmup`, the first update has a
    learning rate above 0, and everything is one update earlier: the peak is at step
    :math:`W - 1`, and the lowest learning rate :math:`m` at :math:`T - 1`.

    .. math::
        \eta_t = \eta \left(q + (1 - q) \frac{t}{\max(1, W - 1)}\right)
            \;\; (t < W), \qquad
        \eta_t = m + (\eta - m)\, \tfrac12
            \left(1 + \cos \frac{2 \pi n (t + 1 - W)}{T - W}\right) \;\; (t \ge W)

    The wave continues after step :math:`T - 1`: with the default half wave the learning
    rate rises again.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up. With 0 the learning rate is
        never `lr`, because the decay starts with its second value.
      num_training_steps: Updates :math:`T` of the run, the warm-up included.
      num_cycles: The number :math:`n` of waves.
      min_lr: The lowest learning rate :math:`m`.
      min_lr_rate: The same as a fraction of `lr`. Give exactly one of the two.
      warmup_lr_rate: The first learning rate of the warm-up as a fraction :math:`q` of
        `lr`. None: :math:`1 / W`.

    Examples:
      >>> import optax_extras as oxe
      >>> make = oxe.transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
      >>> schedule = make(0.1, 10, 110, min_lr=0.02)
      >>> [round(float(schedule(t)), 4) for t in (0, 4, 9, 59, 109)]
      [0.01, 0.05, 0.1, 0.06, 0.02]
    """
    low = _lowest(lr, min_lr, min_lr_rate)
    first = warmup_lr_rate
    if first is None:
        first = 1 / as_float(at_least_one(num_warmup_steps))
    rises = at_least_one(steps_after(1, num_warmup_steps))
    length = at_least_one(steps_after(num_warmup_steps, num_training_steps))

    def rise(t):
        return interpolate(lr, as_float(lr) * first, remaining(t, rises))

    def fall(t):
        return interpolate(low, lr, wave(as_uint32(t) + 1, length, num_cycles))

    return _curve.in_turn([rise, fall], [num_warmup_steps])


@_unsupported.scheduler
def get_cosine_with_hard_restarts_schedule_with_warmup(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps,
    num_cycles: IntegralSteps = 1,
) -> RestartingSchedule:
    r"""Transformers' half cosine waves with hard restarts, after a warm-up.

    After the linear warm-up, several equal half waves lead from `lr` to 0. Their number
    is an argument; `oxe.schedules.warm_restarts` takes their length.

    .. math::
        \eta_t = \eta\, t / W \;\; (t < W), \qquad
        \eta_t = \eta\, \tfrac12 \left(1 + \cos\left(\pi \left(
            n \frac{t - W}{T - W} \bmod 1\right)\right)\right) \;\; (W \le t < T)

    From step :math:`T` on the learning rate is 0. Transformers computes the remainder
    in floats and with 22 or more cycles misses some restarts: the step at which a cycle
    should start has a learning rate of 0 there. Here every restart is exact.
    Transformers also accepts a fractional `num_cycles`, which raises a ValueError here.
    The attribute `restarts` of the schedule, step count -> bool, is true where a cycle
    begins, for :func:`restart`.

    Args:
      lr: The learning rate :math:`\eta` at the start of every cycle.
      num_warmup_steps: Updates :math:`W` of the warm-up.
      num_training_steps: Updates :math:`T` of the run, the warm-up included.
      num_cycles: The number :math:`n` of half waves, at most a million.

    Examples:
      >>> import optax_extras as oxe
      >>> make = oxe.transformers.get_cosine_with_hard_restarts_schedule_with_warmup
      >>> schedule = make(0.1, 10, 110, num_cycles=2)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 35, 60, 85, 110)]
      [0.0, 0.1, 0.05, 0.1, 0.05, 0.0]
    """
    if isinstance(num_cycles, int) and num_cycles > 10**6:
        refuse("num_cycles", "be at most a million", num_cycles)
    length = at_least_one(steps_after(num_warmup_steps, num_training_steps))
    endless = isinstance(length, int) and length > LAST_COUNT

    def step(t):
        last = as_uint32(length) - 1
        return cycle_step(jnp.minimum(as_uint32(t), last), length, num_cycles)

    def value(t):
        if endless:
            x = as_float(num_cycles) * elapsed(t, length)
            left = 1 - (x - jnp.minimum(jnp.floor(x), num_cycles - 1))
        else:
            left = remaining(step(t), length)
        factor = jnp.where(_curve.reached(t, length), 0, _curve.cosine_fraction(left))
        return as_float(lr) * factor

    def restarts(t):
        inside = (t > 0) & ~_curve.reached(t, length)
        return inside & (step(t) < as_uint32(num_cycles))

    decay = _curve.schedule(value, restarts=restarts)
    found: Any = schedules.warmup(num_warmup_steps, decay)
    return found


def _cosine(lr: Any, warmup: Any, total: Any, cycles: Any, low: Any) -> Schedule:
    length = at_least_one(steps_after(warmup, total))

    def value(t):
        return interpolate(low, lr, wave(t, length, cycles))

    return schedules.warmup(warmup, _curve.schedule(value))


def _lowest(lr: Any, min_lr: Any, min_lr_rate: Any) -> Any:
    """The lowest learning rate, from exactly one of the two arguments."""
    if min_lr is None and min_lr_rate is None:
        refuse("min_lr", "be given, or `min_lr_rate`", min_lr)
    if min_lr is not None and min_lr_rate is not None:
        refuse("min_lr_rate", "be None if `min_lr` is given", min_lr_rate)
    return as_float(lr) * min_lr_rate if min_lr_rate is not None else min_lr
