"""Cosine decay with warm restarts (SGDR)."""

import jax.numpy as jnp
import numpy as np

from optax_extras._checks import AtLeastOne, Positive, Real, StepCount, checked
from optax_extras._numerics import as_float, as_phase, power
from optax_extras.schedules._curve import RestartingSchedule, interpolate, schedule
from optax_extras.schedules._geometric_periods import growing_cycles


@checked
def warm_restarts(
    peak_value: Real,
    period: StepCount,
    period_mult: AtLeastOne = 1,
    end_value: Real = 0.0,
    *,
    peak_decay: Positive = 1.0,
    floor_decay: Positive = 1.0,
    swing_decay: Positive = 1.0,
    cycles: StepCount | None = None,
) -> RestartingSchedule:
    r"""Cosine decay that starts over again and again, if wanted for longer each time.

    PyTorch's ``CosineAnnealingWarmRestarts`` and Keras' ``CosineDecayRestarts`` (whose
    cycles double unless told). Optax's ``sgdr_schedule`` wants a list of cycles and
    evaluates all of them at every step. Implementations that find the cycle with a
    logarithm, as Keras', miss some restarts by a step; here all are exact. The restarts
    concern the rate alone; :func:`restart` has the optimizer begin anew with them.

    Cycle :math:`i` runs from :math:`\tau_i = T_0 (\kappa^i - 1)/(\kappa - 1)`
    (:math:`i T_0` for :math:`\kappa = 1`) for :math:`T_0 \kappa^i` steps, and

    .. math::
        \eta_t = e_i + \tfrac12 (p_i - e_i)\, \delta_s^i
            \left(1 + \cos \frac{\pi (t - \tau_i)}{T_0 \kappa^i}\right), \quad
        p_i = p\, \delta_p^i, \; e_i = e\, \delta_e^i

    Where :math:`\tau_i` is no integer the new cycle is first seen at step
    :math:`\lceil \tau_i \rceil`, a little past its peak.

    Args:
      peak_value: The value :math:`p` that the first cycle starts from.
      period: Steps :math:`T_0 \ge 1` of the first cycle.
      period_mult: :math:`\kappa \ge 1`, by which each cycle is longer than the one
        before: an integer, or, where neither it nor `period` is traced, a real number,
        read as the decimal that was written: 1.1 is 11/10.
      end_value: The value :math:`e` that a cycle falls towards; the step that would
        reach it is the first of the next cycle.
      peak_decay: :math:`\delta_p > 0`, by which the peak is multiplied at a restart.
      floor_decay: :math:`\delta_e > 0`, likewise for the end value.
      swing_decay: :math:`\delta_s > 0`, likewise for the distance between the two: the
        peaks come down to a floor that stays, as with Keras' `m_mul`.
      cycles: How many cycles there are, at least 1; from their end on the last end
        value holds. None: there is no end.

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value. Its
      attribute ``restarts``, step count -> bool, is true where a new cycle begins (not
      at step 0).

    Raises:
      ValueError: If a real `period_mult` is so close to 1 that more than 4096 restarts
        lie below step 2**31.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.warm_restarts(0.1, period=10, period_mult=2)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20, 30)]
      [0.1, 0.05, 0.1, 0.05, 0.1]
      >>> bool(schedule.restarts(30))
      True

    References:
      Loshchilov and Hutter, `SGDR: Stochastic gradient descent with warm restarts
      <https://arxiv.org/abs/1608.03983>`_, 2017
    """
    locate = growing_cycles(period, period_mult)

    def place(t):
        cycle, phase, begins = locate(t)
        if cycles is None:
            return cycle, phase, begins
        over = cycle >= as_phase(cycles)
        return (
            jnp.minimum(cycle, as_phase(cycles) - 1),
            jnp.where(over, 1, phase),
            begins & ~over,
        )

    def value(t):
        cycle, phase, _ = place(t)
        floor = as_float(end_value) * power(floor_decay, cycle)
        peak = as_float(peak_value) * power(peak_decay, cycle)
        wave = jnp.square(jnp.cos(phase * (np.pi / 2)))
        swing = jnp.where(phase < 1, wave, 0) * power(swing_decay, cycle)
        return interpolate(floor, peak, swing)

    return schedule(value, restarts=lambda t: place(t)[2])
