"""A straight ramp at the start or at the end of any schedule."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras._checks import Real, StepCountOrZero, checked
from optax_extras._numerics import as_float, as_phase, remaining
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import (
    Schedule,
    constant_or_schedule,
    follow_restarts,
    interpolate,
    reached,
    since,
)


@checked
def warmup(
    steps: StepCountOrZero, then: Schedule | ArrayLike, init_value: Real = 0.0
) -> Schedule:
    r"""A straight rise to where another schedule begins, then that schedule.

    The other schedule counts its own steps from 0, after the warm-up, as in PyTorch's
    ``SequentialLR`` of two. In Optax's ``warmup_cosine_decay_schedule`` the length of
    the decay includes the warm-up; here it does not.

    .. math::
        \eta_t = \begin{cases}
            \eta_0 + (s(0) - \eta_0)\, t / T' & t < T' \\ s(t - T') & \text{else}
        \end{cases}

    Args:
      steps: Steps :math:`T' \ge 0` of the warm-up; step :math:`T'` is the first of
        `then`.
      then: The schedule :math:`s` that follows, or a number.
      init_value: The value :math:`\eta_0` at step 0. With 0 the first update does
        nothing.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0; past the warm-up
      it is `then`. It has the attribute `restarts` if `then` has.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.warmup(10, oxe.schedules.cosine(0.1, 90))
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 55, 100)]
      [0.0, 0.05, 0.1, 0.05, 0.0]

    References:
      Goyal et al., `Accurate, large minibatch SGD: Training ImageNet in 1 hour
      <https://arxiv.org/abs/1706.02677>`_, 2017
    """
    follow = constant_or_schedule("then", then)

    def value(t):
        # Held at its own step 0 until then, it is also what the rise aims at.
        return interpolate(follow(since(t, steps)), init_value, remaining(t, steps))

    return _curve.schedule(
        value,
        restarts=follow_restarts(
            follow, lambda t: since(t, steps), lambda t: reached(t, steps)
        ),
    )


@checked
def cooldown(
    schedule: Schedule | ArrayLike,
    start: StepCountOrZero,
    steps: StepCountOrZero,
    end_value: Real = 0.0,
) -> Schedule:
    r"""Any schedule up to a step, then a straight fall from the value it has there.

    It ends a run that might as well go on; :func:`wsd` is the whole of warm-up,
    constant rate and decay, with other shapes of the fall.

    .. math::
        \eta_t = \begin{cases} s(t) & t < S \\
            e + (s(S) - e)\, r & \text{else}\end{cases}, \quad
        r = \max\left(0, \frac{S + C - t}{C}\right)

    Args:
      schedule: The schedule :math:`s` up to `start`, or a number.
      start: The step :math:`S \ge 0` at which the fall begins, still at :math:`s(S)`.
      steps: Steps :math:`C \ge 0` of the fall; with 0 the rate is :math:`e` from
        `start` on.
      end_value: The value :math:`e` at step :math:`S + C` and after it.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0; after the fall the
      end value holds. It has the attribute `restarts` if `schedule` has, false from
      `start` on.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cooldown(0.1, start=80, steps=20)
      >>> [round(float(schedule(t)), 4) for t in (0, 80, 90, 100)]
      [0.1, 0.1, 0.05, 0.0]
    """
    before = constant_or_schedule("schedule", schedule)

    def held(t):
        """The count, that stops at the start of the fall."""
        return jnp.minimum(as_phase(t), as_phase(start)).astype(np.int32)

    def value(t):
        frozen = as_float(before(held(t)))
        fall = interpolate(end_value, frozen, remaining(since(t, start), steps))
        return jnp.where(reached(t, start), fall, frozen)

    return _curve.schedule(
        value,
        restarts=follow_restarts(before, held, lambda t: ~reached(t, start)),
    )
