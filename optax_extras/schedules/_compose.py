"""Schedules made of schedules. A number is accepted as a constant schedule."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from optax_extras._check_values import is_traced, items
from optax_extras._checks import StepCount, StepCounts, checked
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, as_uint32
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import RestartingSchedule, Schedule


@checked
def sequence(
    schedules: Sequence[Schedule | ArrayLike], boundaries: StepCounts
) -> Schedule:
    r"""One schedule after another, each counting its own steps from 0.

    Like Optax's ``join_schedules``, except that boundaries that are unsorted or of the
    wrong number are refused (there a schedule is skipped), and that an inactive
    schedule cannot make a gradient NaN. PyTorch's ``SequentialLR`` is meant to do the
    same, but some of its schedulers, such as ``OneCycleLR``, disturb the others. For a
    linear rise before one schedule use :func:`warmup`.

    .. math::
        \eta_t = s_k(t - b_k), \quad k = \#\{i \ge 1 : b_i \le t\}, \quad b_0 = 0

    Args:
      schedules: The schedules :math:`s_0 \dots s_m`, at least one. A number is a
        constant schedule. The last one goes on forever.
      boundaries: The steps :math:`b_1 \le \dots \le b_m` at which :math:`s_1 \dots s_m`
        begin. A schedule between equal boundaries is skipped.

    Returns:
      A schedule. It has the attribute `restarts` if one of the schedules has. A
      boundary itself is not a restart.

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
    skipped = [not is_traced(x) and x == 0 for x in boundaries]
    first = curves[skipped.index(False)] if False in skipped else curves[-1]
    return _curve.in_turn(curves, boundaries, _curve.first_value(first))


@checked
def product(*schedules: Schedule | ArrayLike) -> Schedule:
    r"""The product of schedules: one gives the learning rate, the others scale it.

    PyTorch's ``ChainedScheduler`` is meant for this, but works only for schedulers that
    multiply the current learning rate; others overwrite it.

    .. math::
        \eta_t = \prod_i s_i(t)

    Args:
      *schedules: The schedules :math:`s_i`, at least one. A number is a constant one.

    Returns:
      A schedule. It has the attribute `restarts` if one of the schedules has; it is
      true where any of them restarts.

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
        return functools.reduce(operator.mul, (as_float(curve(t)) for curve in curves))

    def restarts(t):
        return functools.reduce(operator.or_, (each(t) for each in restarting))

    first_value = None
    if any(_curve.first_value(curve) is not None for curve in curves):
        firsts = [_curve.first_value(curve, curve) for curve in curves]
        first_value = functools.reduce(operator.mul, map(as_float, firsts))
    return _curve.schedule(
        value, restarts=restarts if restarting else None, first_value=first_value
    )


@checked
def repeat(schedule: Schedule | ArrayLike, period: StepCount) -> RestartingSchedule:
    r"""The first steps of a schedule, repeated forever.

    Works for any shape. :func:`cyclic` and :func:`warm_restarts` are for triangles and
    cosines, and can also shrink or grow from cycle to cycle.

    .. math::
        \eta_t = s(t \bmod P)

    Args:
      schedule: The schedule :math:`s`, used from step 0 to :math:`P - 1`, or a number.
      period: The period :math:`P`, in steps.

    Returns:
      A schedule. Its attribute `restarts` is true at :math:`P, 2P, \dots` (not at 0)
      and wherever the repeated schedule restarts.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.repeat(oxe.schedules.linear(0.1, 10), period=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 15)]
      [0.1, 0.05, 0.1, 0.05]
    """
    curve = _curve.constant_or_schedule("schedule", schedule)

    def place(t):
        return (as_uint32(t) % as_uint32(period)).astype(np.int32)

    def restarts(t):
        again = (t > 0) & (place(t) == 0)
        return again | curve.restarts(place(t)) if hasattr(curve, "restarts") else again

    return _curve.schedule(
        lambda t: curve(place(t)),
        restarts=restarts,
        first_value=_curve.first_value(curve),
    )


def _curves(schedules: Any) -> list[Schedule]:
    """The schedules to compose, at least one; numbers become constant schedules."""
    found = items("schedules", schedules)
    if not found:
        refuse("schedules", "have at least one item", schedules)
    return [
        _curve.constant_or_schedule(f"schedules[{i}]", x) for i, x in enumerate(found)
    ]
