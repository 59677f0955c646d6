"""Exponential decay."""

from optax_extras._checks import Positive, Real, StepCount, checked
from optax_extras._numerics import as_float, exp_linear, log
from optax_extras.schedules._curve import Schedule, schedule


@checked
def exponential(
    init_value: Real, decay_rate: Positive, transition_steps: StepCount = 1
) -> Schedule:
    r"""Multiplies the rate by a constant at every step.

    PyTorch's ``ExponentialLR``, Keras' ``ExponentialDecay`` and Optax's
    ``exponential_decay``; their ``staircase=True`` is :func:`step`. A factor close to 1
    keeps its meaning: unless it is traced, its logarithm is taken in float64, so that
    0.999999 to the millionth power is right to the last digits, where ``pow`` in
    float32 is off by a percent.

    .. math::
        \eta_t = \eta_0\, \beta^{t / N}

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_rate: The factor :math:`\beta > 0` per `transition_steps`; above 1 the rate
        grows, as in a learning-rate range test.
      transition_steps: Steps :math:`N \ge 1` in which the rate is multiplied once.

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value; it never
      ends and has no floor.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.exponential(0.1, decay_rate=0.5, transition_steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20)]
      [0.1, 0.05, 0.025]
    """

    def value(t):
        decay = exp_linear(t, log(decay_rate), transition_steps)
        return as_float(init_value) * decay

    return schedule(value)
