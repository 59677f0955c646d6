"""A linear ramp at the start or at the end of any schedule."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras._checks import Real, StepCountOrZero, checked
from optax_extras._numerics import as_count, as_float, as_uint32, remaining
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import Schedule


@checked
def warmup(
    steps: StepCountOrZero, then: Schedule | ArrayLike, init_value: Real = 0.0
) -> Schedule:
    r"""A linear rise to the first value of another schedule, then that schedule.

    Where a decay of 0 steps follows, it rises to the value that the decay starts from.
    After the warm-up the other schedule counts its own steps from 0, as in PyTorch's
    ``SequentialLR`` of two schedulers. In Optax's ``warmup_cosine_decay_schedule`` the
    length of the decay includes the warm-up; here it does not.

    .. math::
        \eta_t = \begin{cases}
            \eta_0 + (s(0) - \eta_0)\, t / T' & t < T' \\ s(t - T') & \text{else}
        \end{cases}

    Args:
      steps: Steps :math:`T'` of the warm-up. Step :math:`T'` is the first of `then`.
      then: The schedule :math:`s` that follows, or a number.
      init_value: The value :math:`\eta_0` at step 0. With 0 the first update is zero.

    Returns:
      A schedule. It has the attribute `restarts` if `then` has.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.warmup(10, oxe.schedules.cosine(0.1, 90))
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 55, 100)]
      [0.0, 0.05, 0.1, 0.05, 0.0]

    References:
      Goyal et al., `Accurate, large minibatch SGD: Training ImageNet in 1 hour
      <https://arxiv.org/abs/1706.02677>`_, 2017
    """
    s = _curve.constant_or_schedule("then", then)
    first = _curve.first_value(s)

    def value(t):
        # During the rise, `_since` is 0, so that the rise ends at s(0).
        left, after = remaining(t, steps), s(_since(t, steps))
        if first is None:
            return _curve.interpolate(after, init_value, left)
        rise = _curve.interpolate(first, init_value, left)
        return jnp.where(_curve.reached(t, steps), after, rise)

    def restarts(t):
        return _curve.reached(t, steps) & s.restarts(_since(t, steps))

    start = None
    if first is not None:  # the warm-up itself may have no steps
        start = jnp.where(_curve.reached(as_count(0), steps), first, init_value)
    return _curve.schedule(
        value,
        restarts=restarts if hasattr(s, "restarts") else None,
        first_value=start,
    )


@checked
def cooldown(
    schedule: Schedule | ArrayLike,
    start: StepCountOrZero,
    steps: StepCountOrZero,
    end_value: Real = 0.0,
) -> Schedule:
    r"""Any schedule up to a given step, then a linear fall from its value there.

    It ends a run that could go on forever. :func:`wsd` is warm-up, constant learning
    rate and decay in one, and offers other shapes of the decay.

    .. math::
        \eta_t = \begin{cases} s(t) & t < S \\
            e + (s(S) - e)\, r & \text{else}\end{cases}, \quad
        r = \max\left(0, \frac{S + C - t}{C}\right)

    Args:
      schedule: The schedule :math:`s` up to `start`, or a number.
      start: The step :math:`S` at which the fall begins; its value is :math:`s(S)`.
      steps: Steps :math:`C` of the fall. 0: the value is :math:`e` from `start` on.
      end_value: The value :math:`e` from step :math:`S + C` on.

    Returns:
      A schedule. It has the attribute `restarts` if `schedule` has; it is false from
      `start` on.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cooldown(0.1, start=80, steps=20)
      >>> [round(float(schedule(t)), 4) for t in (0, 80, 90, 100)]
      [0.1, 0.1, 0.05, 0.0]
    """
    s = _curve.constant_or_schedule("schedule", schedule)

    def count_until_start(t):
        return jnp.minimum(as_uint32(t), as_uint32(start)).astype(np.int32)

    def value(t):
        frozen = as_float(s(count_until_start(t)))
        fall = _curve.interpolate(end_value, frozen, remaining(_since(t, start), steps))
        return jnp.where(_curve.reached(t, start), fall, frozen)

    def restarts(t):
        return ~_curve.reached(t, start) & s.restarts(count_until_start(t))

    no_steps = all(_curve.if_no_steps(True, n) for n in (start, steps))
    return _curve.schedule(
        value,
        restarts=restarts if hasattr(s, "restarts") else None,
        first_value=_curve.first_value(s, s if no_steps else None),
    )


def _since(t, start):
    """The count since step `start`, 0 until then."""
    return _curve.steps_after(start, t).astype(np.int32)
