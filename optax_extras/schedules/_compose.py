"""Schedules made of schedules. Where one is expected, a number is a constant one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from optax_extras._checks import StepCount, StepCounts, checked
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, as_phase
from optax_extras._values import items
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import (
    RestartingSchedule,
    Schedule,
    constant_or_schedule,
    in_turn,
)


@checked
def sequence(
    schedules: Sequence[Schedule | ArrayLike], boundaries: StepCounts
) -> Schedule:
    r"""One schedule after another, each with a step count of its own that starts at 0.

    Optax's ``join_schedules``, but boundaries that are unsorted or of the wrong number
    are refused instead of skipping a schedule, and a schedule that is not in force
    cannot make a gradient NaN. PyTorch's ``SequentialLR`` means the same; there some
    schedulers, such as ``OneCycleLR``, disturb the others. For two with a straight rise
    first see :func:`warmup`.

    .. math::
        \eta_t = s_k(t - b_k), \quad k = \#\{i \ge 1 : b_i \le t\}, \quad b_0 = 0

    Args:
      schedules: The schedules :math:`s_0 \dots s_m`, at least one; a number is a
        constant one.
      boundaries: The steps :math:`b_1 \le \dots \le b_m`, integers >= 0: step
        :math:`b_k` is the first of schedule :math:`s_k`. One fewer than schedules.
        Between two equal ones a schedule is left out.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0; the last schedule
      goes on for ever. It has the attribute `restarts` if one of them has; a boundary
      itself is no restart.

    Examples:
      >>> import optax_extras as oxe
      >>> s = oxe.schedules
      >>> schedule = s.sequence([0.1, s.linear(0.1, 10), 0.01], [20, 30])
      >>> [round(float(schedule(t)), 4) for t in (0, 25, 30)]
      [0.1, 0.05, 0.01]
    """
    curves = _curves(schedules)
    if len(boundaries) != len(curves) - 1:
        must = f"have one item fewer than the {len(curves)} `schedules`"
        refuse("boundaries", must, boundaries)
    return in_turn(curves, boundaries)


@checked
def product(*schedules: Schedule | ArrayLike) -> Schedule:
    r"""The product of schedules: one gives the rate, the others are factors around 1.

    What PyTorch's ``ChainedScheduler`` is meant for; that is a product only of
    schedulers which multiply the present rate, and others overwrite it.

    .. math::
        \eta_t = \prod_i s_i(t)

    Args:
      *schedules: The schedules :math:`s_i`, at least one; a number is a constant one.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0. It has the
      attribute `restarts` if one of them has, true wherever one of theirs is.

    Examples:
      >>> import optax_extras as oxe
      >>> s = oxe.schedules
      >>> schedule = s.product(s.cyclic(0.01, 0.1, 10), s.linear(1.0, 100))
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 30)]
      [0.01, 0.09, 0.07]
    """
    curves = _curves(schedules)
    restarting = [c.restarts for c in curves if hasattr(c, "restarts")]

    def value(t):
        result = as_float(curves[0](t))
        for curve in curves[1:]:
            result = result * as_float(curve(t))
        return result

    def restarts(t):
        result = restarting[0](t)
        for other in restarting[1:]:
            result |= other(t)
        return result

    return _curve.schedule(value, restarts=restarts if restarting else None)


@checked
def repeat(schedule: Schedule | ArrayLike, period: StepCount) -> RestartingSchedule:
    r"""The first steps of a schedule, over and over.

    For any shape; :func:`cyclic` and :func:`warm_restarts` are made for triangles and
    cosines, and can also shrink or grow from cycle to cycle.

    .. math::
        \eta_t = s(t \bmod P)

    Args:
      schedule: The schedule :math:`s`, of which the steps 0 to :math:`P - 1` are used,
        or a number.
      period: The period :math:`P \ge 1` in steps.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0; it never ends. Its
      attribute `restarts` is true at :math:`P, 2P, \dots` (not at 0), and wherever the
      repeated schedule restarts.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.repeat(oxe.schedules.linear(0.1, 10), period=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 15)]
      [0.1, 0.05, 0.1, 0.05]
    """
    curve = constant_or_schedule("schedule", schedule)

    def place(t):
        return (as_phase(t) % as_phase(period)).astype(np.int32)

    def restarts(t):
        again = (t > 0) & (place(t) == 0)
        return again | curve.restarts(place(t)) if hasattr(curve, "restarts") else again

    return _curve.schedule(lambda t: curve(place(t)), restarts=restarts)


def _curves(schedules: Any) -> list[Schedule]:
    """The parts of a composition, of which there has to be one."""
    found = items("schedules", schedules)
    if not found:
        refuse("schedules", "have at least one item", schedules)
    return [constant_or_schedule(f"schedules[{i}]", x) for i, x in enumerate(found)]
