"""Exponential decay."""

from optax_extras._checks import Positive, Real, StepCount, checked
from optax_extras._numerics import as_float, exp_linear, log
from optax_extras.schedules._curve import Schedule, schedule


@checked
def exponential(
    init_value: Real, decay_rate: Positive, transition_steps: StepCount = 1
) -> Schedule:
    r"""Multiplies the learning rate by a constant factor at every step, forever.

    The same as PyTorch's ``ExponentialLR``, Keras' ``ExponentialDecay`` and Optax's
    ``exponential_decay``; for their ``staircase=True`` use :func:`step`. Factors close
    to 1 stay accurate: unless the factor is traced, its logarithm is taken in float64.
    0.999999 to the millionth power is then right to the last digits, where ``pow`` in
    float32 is off by a percent. The curve has no floor.

    .. math::
        \eta_t = \eta_0\, \beta^{t / N}

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_rate: The factor :math:`\beta` per `transition_steps`. Above 1 the learning
        rate grows, as in a learning-rate range test.
      transition_steps: The steps :math:`N` in which the factor is applied once.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.exponential(0.1, decay_rate=0.5, transition_steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20)]
      [0.1, 0.05, 0.025]
    """

    def value(t):
        return as_float(init_value) * exp_linear(t, log(decay_rate), transition_steps)

    return schedule(value)
