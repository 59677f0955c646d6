"""Constant learning rates, linear, polynomial and inverse square-root decay."""

import jax.numpy as jnp

from optax_extras import schedules
from optax_extras._check_values import concrete, is_traced
from optax_extras._checks import (
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
)
from optax_extras._errors import refuse
from optax_extras._numerics import as_float
from optax_extras.schedules._curve import Schedule, steps_after
from optax_extras.transformers import _unsupported


@_unsupported.scheduler
def get_constant_schedule(lr: NonNegative) -> Schedule:
    """Transformers' ``get_constant_schedule``: the base learning rate, forever.

    There is no warm-up; :func:`get_constant_schedule_with_warmup` has one.

    Args:
      lr: The learning rate.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_constant_schedule(5e-5)
      >>> [round(float(schedule(t)), 6) for t in (0, 1000)]
      [5e-05, 5e-05]
    """
    return schedules.product(lr)


@_unsupported.scheduler
def get_constant_schedule_with_warmup(
    lr: NonNegative, num_warmup_steps: IntegralStepsOrZero
) -> Schedule:
    r"""Transformers' ``get_constant_schedule_with_warmup``: constant after a warm-up.

    :math:`\eta_t = \eta \min(1, t / W)`, forever.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_constant_schedule_with_warmup(0.1, 10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 100)]
      [0.0, 0.05, 0.1, 0.1]
    """
    return schedules.warmup(num_warmup_steps, lr)


@_unsupported.scheduler
def get_linear_schedule_with_warmup(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps,
) -> Schedule:
    r"""Transformers' ``get_linear_schedule_with_warmup``: up to `lr`, then down to 0.

    The Trainer's default. The decay ends at the last training step; its length is
    `num_training_steps` minus the warm-up, while `oxe.schedules.linear` behind
    `oxe.schedules.warmup` takes the length of the decay alone.

    .. math::
        \eta_t = \eta\, t / W \;\; (t < W), \qquad
        \eta_t = \eta \max\left(0, \frac{T - t}{T - W}\right) \;\; (t \ge W)

    After step :math:`T` the learning rate stays 0.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up. If it is
        `num_training_steps` or more, the learning rate is 0 after the warm-up.
      num_training_steps: Updates :math:`T` of the run, the warm-up included.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_linear_schedule_with_warmup(0.1, 10, 110)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110, 200)]
      [0.0, 0.05, 0.1, 0.05, 0.0, 0.0]
    """
    steps = steps_after(num_warmup_steps, num_training_steps)
    return schedules.warmup(num_warmup_steps, schedules.linear(lr, steps))


@_unsupported.scheduler
def get_polynomial_decay_schedule_with_warmup(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    num_training_steps: IntegralSteps,
    lr_end: NonNegative = 1e-7,
    power: Positive = 1.0,
) -> Schedule:
    r"""Transformers' polynomial decay after a warm-up.

    After the linear warm-up, a power of the fraction of steps that remains.

    .. math::
        \eta_t = \eta\, t / W \;\; (t < W), \qquad
        \eta_t = e + (\eta - e) \left(1 - \frac{t - W}{T - W}\right)^p
            \;\; (W \le t \le T)

    After step :math:`T` the learning rate stays :math:`e`. With a warm-up of all
    `num_training_steps`, transformers divides by 0 at step :math:`T`; here the learning
    rate is :math:`e` from there on. Transformers also accepts a negative `lr_end`, and
    a `power` of 0 or below, which raise a ValueError here. With several parameter
    groups, transformers scales `lr_end` with the learning rate of each.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up.
      num_training_steps: Updates :math:`T` of the run, the warm-up included.
      lr_end: The last learning rate :math:`e`, below `lr`.
      power: The power :math:`p`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_polynomial_decay_schedule_with_warmup(
      ...     0.1, 10, 110, power=2.0
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 60, 110)]
      [0.0, 0.05, 0.1, 0.025, 0.0]
    """
    known = not is_traced(lr) and not is_traced(lr_end)
    if known and concrete(lr_end) >= concrete(lr):
        refuse("lr_end", f"be below `lr`, which is {lr!r}", lr_end)
    steps = steps_after(num_warmup_steps, num_training_steps)
    decay = schedules.polynomial(lr, steps, power, lr_end)
    return schedules.warmup(num_warmup_steps, decay)


@_unsupported.scheduler
def get_inverse_sqrt_schedule(
    lr: NonNegative,
    num_warmup_steps: IntegralStepsOrZero,
    timescale: Positive | None = None,
) -> Schedule:
    r"""Transformers' ``get_inverse_sqrt_schedule``: one over the root of the time.

    .. math::
        \eta_t = \eta\, t / W \;\; (t < W), \qquad
        \eta_t = \eta \sqrt{\frac{\tau}{t - W + \tau}} \;\; (t \ge W)

    It continues forever. `oxe.schedules.inverse_sqrt` is the decay without the warm-up.

    Args:
      lr: The learning rate :math:`\eta` after the warm-up.
      num_warmup_steps: Updates :math:`W` of the warm-up.
      timescale: :math:`\tau`, in updates. None: `num_warmup_steps`, or 10000 if that is
        0.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.transformers.get_inverse_sqrt_schedule(0.1, 100)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100, 400)]
      [0.0, 0.05, 0.1, 0.05]
    """
    if timescale is None:
        timescale = _warmup_or_10000(num_warmup_steps)
    decay = schedules.inverse_sqrt(lr, timescale)
    return schedules.warmup(num_warmup_steps, decay)


def _warmup_or_10000(steps):
    if isinstance(steps, int):
        return steps or 10_000
    return jnp.where(steps == 0, 10_000, as_float(steps))
