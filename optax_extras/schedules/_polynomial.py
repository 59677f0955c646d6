"""Decays by a power of the remaining fraction of steps."""

import jax.numpy as jnp

from optax_extras._check_values import is_traced
from optax_extras._checks import Positive, Real, StepCountOrZero, checked
from optax_extras._errors import refuse
from optax_extras._numerics import LAST_COUNT, as_float, as_uint32, remaining
from optax_extras.schedules._curve import Schedule, if_no_steps, interpolate, schedule


@checked
def polynomial(
    init_value: Real,
    transition_steps: StepCountOrZero,
    power: Positive = 1.0,
    end_value: Real = 0.0,
    *,
    cycle: bool = False,
) -> Schedule:
    r"""Falls (or rises) to an end value as a power of the fraction of steps left.

    The same as PyTorch's ``PolynomialLR`` (which has no end value), Keras'
    ``PolynomialDecay`` (whose end value is 1e-4 by default) and Optax's
    ``polynomial_schedule``. Power 1 is :func:`linear`.

    .. math::
        \eta_t = \eta_T + (\eta_0 - \eta_T)\, r^p, \quad r = \max(0, T - t) / T

    Args:
      init_value: The first value :math:`\eta_0`.
      transition_steps: The step :math:`T` that reaches the end value.
      power: The exponent :math:`p`. Above 1 the learning rate falls fastest at the
        start, below 1 at the end.
      end_value: The value :math:`\eta_T` from step :math:`T` on.
      cycle: Whether the learning rate jumps up again after every multiple of :math:`T`
        and falls to the end value again, as in Keras. In the formula, the next multiple
        :math:`T \lceil t / T \rceil` then replaces :math:`T`, so each jump is lower:
        with power 1 the jumps lead to :math:`\tfrac12, \tfrac13, \dots` of the way from
        the end value to the first value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.polynomial(0.1, transition_steps=100, power=2.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100)]
      [0.1, 0.025, 0.0]
    """
    if cycle and not is_traced(transition_steps) and transition_steps == 0:
        refuse("transition_steps", "be at least 1 with `cycle`", transition_steps)

    def value(t):
        r = remaining(t, _next_end(t, transition_steps) if cycle else transition_steps)
        return interpolate(end_value, init_value, r ** as_float(power))

    return schedule(value, first_value=if_no_steps(init_value, transition_steps))


def _next_end(t, steps):
    """The first positive multiple of `steps` that is >= t."""
    if isinstance(steps, int) and steps > LAST_COUNT:
        return steps
    count, steps = as_uint32(t), as_uint32(steps)
    begun = (count % steps > 0).astype(count.dtype)
    return steps * jnp.maximum(count // steps + begun, 1)


@checked
def linear(
    init_value: Real, transition_steps: StepCountOrZero, end_value: Real = 0.0
) -> Schedule:
    r"""Falls (or rises) to an end value along a straight line.

    The same as Optax's ``linear_schedule`` and PyTorch's ``LinearLR``, which takes both
    ends as factors of the learning rate. To zero, after a :func:`warmup`, it is "D2Z"
    (decay to zero), the decay that Bergsma et al. found best for language models.

    .. math::
        \eta_t = \eta_T + (\eta_0 - \eta_T)\, r, \quad r = \max(0, T - t) / T

    Args:
      init_value: The first value :math:`\eta_0`.
      transition_steps: The step :math:`T` that reaches the end value. 0: the end value
        from the start; PyTorch's then stays at its first value.
      end_value: The value :math:`\eta_T` from step :math:`T` on.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.linear(0.1, transition_steps=100, end_value=0.02)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100)]
      [0.1, 0.06, 0.02]

    References:
      Bergsma et al., `Straight to zero: Why linearly decaying the learning rate to zero
      works best for LLMs <https://arxiv.org/abs/2502.15938>`_, 2025
    """

    def value(t):
        return interpolate(end_value, init_value, remaining(t, transition_steps))

    return schedule(value, first_value=if_no_steps(init_value, transition_steps))
