"""REX: reflected exponential decay."""

from optax_extras._checks import Real, StepCount, checked
from optax_extras._numerics import remaining
from optax_extras.schedules._curve import Schedule, if_no_steps, interpolate, schedule


@checked
def rex(init_value: Real, decay_steps: StepCount, end_value: Real = 0.0) -> Schedule:
    r"""REX, reflected exponential: above a straight line for long, then a steep fall.

    Its authors report that it is better than :func:`linear` and :func:`cosine` in short
    runs and no worse in long ones.

    .. math::
        \eta_t = \eta_T + (\eta_0 - \eta_T) \frac{r}{\frac12 + \frac12 r},
        \quad r = \max(0, T - t) / T

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_steps: The step :math:`T` that reaches the end value.
      end_value: The value :math:`\eta_T` from step :math:`T` on; 0 in the paper.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.rex(0.1, decay_steps=100)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100)]
      [0.1, 0.0667, 0.0]

    References:
      Chen et al., `REX: Revisiting budgeted training with an improved schedule
      <https://arxiv.org/abs/2107.04197>`_, 2021
    """

    def value(t):
        r = remaining(t, decay_steps)
        return interpolate(end_value, init_value, 2 * r / (1 + r))

    return schedule(value, first_value=if_no_steps(init_value, decay_steps))
