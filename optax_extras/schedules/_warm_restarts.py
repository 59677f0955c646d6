"""Cosine decay with warm restarts (SGDR)."""

import jax.numpy as jnp
import numpy as np

from optax_extras._checks import AtLeastOne, Positive, Real, StepCount, checked
from optax_extras._numerics import as_float, as_uint32, power
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
    r"""Cosine decay that starts over again and again, with equal or growing cycles.

    The curve of PyTorch's ``CosineAnnealingWarmRestarts`` and of Keras'
    ``CosineDecayRestarts`` (whose cycles double by default). Optax's ``sgdr_schedule``
    needs a list of cycles and evaluates all of them at every step. Implementations that
    find the cycle with a logarithm, such as Keras', miss some restarts by one step;
    here all are exact. Only the learning rate restarts; use :func:`restart` to restart
    the optimizer at the same steps.

    Cycle :math:`i` runs from :math:`\tau_i = T_0 (\kappa^i - 1)/(\kappa - 1)`
    (:math:`i T_0` for :math:`\kappa = 1`) for :math:`T_0 \kappa^i` steps, and

    .. math::
        \eta_t = e_i + \tfrac12 (p_i - e_i)\, \delta_s^i
            \left(1 + \cos \frac{\pi (t - \tau_i)}{T_0 \kappa^i}\right), \quad
        p_i = p\, \delta_p^i, \; e_i = e\, \delta_e^i

    If :math:`\tau_i` is not an integer, the first step of the new cycle is
    :math:`\lceil \tau_i \rceil`, a little past its peak.

    Args:
      peak_value: The value :math:`p` at the start of the first cycle.
      period: Steps :math:`T_0` of the first cycle.
      period_mult: :math:`\kappa`, the length of a cycle divided by that of the one
        before: an integer, or, if neither it nor `period` is traced, a real number,
        read as the decimal that was written: 1.1 is 11/10.
      end_value: The value :math:`e` that a cycle falls toward. The step that would
        reach it is the first of the next cycle.
      peak_decay: :math:`\delta_p`, multiplies the peak at every restart.
      floor_decay: :math:`\delta_e`, multiplies the end value at every restart.
      swing_decay: :math:`\delta_s`, multiplies the distance between the two at every
        restart: the peaks sink toward the end value, as with Keras' `m_mul`.
      cycles: The number of cycles, after which the last end value holds. None: no end.

    Returns:
      A schedule. Its attribute `restarts` (step count -> bool) is true where a new
      cycle begins, but not at step 0.

    Raises:
      ValueError: If `period_mult` is so close to 1 that more than 4096 cycles begin
        before step 2**31.

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
        cycle, phase, _, begins = locate(t)
        if cycles is not None:
            over = cycle >= as_uint32(cycles)
            cycle = jnp.minimum(cycle, as_uint32(cycles) - 1)
            phase, begins = jnp.where(over, 1, phase), begins & ~over
        return cycle, phase, begins

    def value(t):
        cycle, phase, _ = place(t)
        floor = as_float(end_value) * power(floor_decay, cycle)
        peak = as_float(peak_value) * power(peak_decay, cycle)
        wave = jnp.square(jnp.cos(phase * (np.pi / 2)))
        swing = jnp.where(phase < 1, wave, 0) * power(swing_decay, cycle)
        return interpolate(floor, peak, swing)

    return schedule(value, restarts=lambda t: place(t)[2])
