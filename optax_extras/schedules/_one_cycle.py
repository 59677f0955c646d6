"""The one-cycle policy."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._checks import Fraction, Positive, Real, StepCount, checked
from optax_extras._numerics import LAST_COUNT, as_float, float_dtype
from optax_extras._values import is_traced, real
from optax_extras.schedules._curve import (
    MomentumSchedule,
    cosine_fraction,
    interpolate,
    schedule,
)


@checked
def one_cycle(
    peak_value: Real,
    total_steps: StepCount,
    *,
    pct_start: Fraction = 0.3,
    div_factor: Positive = 25.0,
    final_div_factor: Positive = 1e4,
    anneal: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
    base_momentum: Real = 0.85,
    max_momentum: Real = 0.95,
) -> MomentumSchedule:
    r"""One rise to a high rate and one long fall to far below where it began.

    PyTorch's ``OneCycleLR``, step for step; past the run PyTorch's goes on along its
    curve for a step and then raises, this one holds. Optax's
    ``cosine_onecycle_schedule`` has its peak one step later and its last value at step
    `total_steps`, which a run of that many steps never uses. For cycles without end see
    :func:`cyclic`.

    The rate goes through these values at these steps, along half a cosine wave or a
    straight line between them:

    .. math::
        \eta_0 = \eta / D \;\text{ at } 0, \quad \eta \;\text{ at } p\,T - 1, \quad
        \eta_0 / F \;\text{ at } T - 1

    and with three phases through :math:`\eta_0` again at :math:`2\,p\,T - 2`, before
    the end. The turns need not be whole steps.

    Args:
      peak_value: The highest rate :math:`\eta`.
      total_steps: Steps :math:`T \ge 1` of the run.
      pct_start: The fraction :math:`p` of the run in which the rate rises, in [0, 1]
        (no percentage); at most 0.5 with three phases. Below :math:`1/T` the peak would
        lie before the first step; 1 leaves no fall.
      div_factor: :math:`D > 0`, peak over first rate.
      final_div_factor: :math:`F > 0`, first over last rate.
      anneal: ``"cos"`` or ``"linear"``.
      three_phase: Whether the fall first mirrors the rise, as in the paper, before it
        goes far below.
      base_momentum: The momentum where the rate is highest, any real number.
      max_momentum: The momentum at the start and at the end, any real number.

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value, counts past
      :math:`T - 1` the last. Its attribute `momentum` is another schedule: the momentum
      that goes with the rate, high where that is low. :func:`scheduled` applies both.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.one_cycle(1.0, total_steps=100)
      >>> [round(float(schedule(t)), 4) for t in (0, 29, 99)]
      [0.04, 1.0, 0.0]
      >>> [round(float(schedule.momentum(t)), 4) for t in (0, 29, 99)]
      [0.95, 0.85, 0.95]

    References:
      Smith and Topin, `Super-convergence: Very fast training of neural networks using
      large learning rates <https://arxiv.org/abs/1708.07120>`_, 2018
    """
    if three_phase:
        real("pct_start", pct_start, "[0, 0.5]")

    def along(values: Callable[[], list[Any]]) -> Callable[[jax.Array], jax.Array]:
        """The curve through the values, one more than there are phases."""

        def value(t):
            ends = _ends(total_steps, pct_start, three_phase)
            t = jnp.minimum(t, _reachable(ends[-1][0]))  # the end holds
            fractions = [_remaining(t, *leg) for leg in pairwise([(0, 0.0), *ends])]
            if anneal == "cos":
                fractions = [cosine_fraction(r) for r in fractions]
            *legs, last = (
                interpolate(end, start, r)
                for (start, end), r in zip(pairwise(values()), fractions, strict=True)
            )
            return jnp.select(
                [t <= _reachable(whole) for whole, _ in ends[:-1]], legs, last
            )

        return value

    def rates():
        peak = as_float(peak_value)
        first = peak / as_float(div_factor)
        back = [first] if three_phase else []
        return [first, peak, *back, first / as_float(final_div_factor)]

    def momenta():
        back = [max_momentum] if three_phase else []
        return [max_momentum, base_momentum, *back, max_momentum]

    return schedule(along(rates), momentum=schedule(along(momenta)))


def _ends(total_steps, pct_start, three_phase) -> list[tuple[Any, Any]]:
    """The ends of the phases: their whole steps, and the fraction of a step beyond."""
    if is_traced(pct_start) or is_traced(total_steps):
        turn = as_float(pct_start) * as_float(total_steps)
    else:
        turn = float(pct_start) * total_steps  # PyTorch's own float64 expression
    turns = [turn - 1, 2 * turn - 2] if three_phase else [turn - 1]
    if is_traced(total_steps):  # of whatever integer dtype
        total_steps = total_steps.astype(np.int32)
    return [*map(_split, turns), (total_steps - 1, 0.0)]


def _split(end: Any) -> tuple[Any, Any]:
    """The whole and the fractional part of a number of steps."""
    if isinstance(end, float):
        return math.floor(end), end - math.floor(end)
    whole = jax.lax.stop_gradient(jnp.floor(end))
    return whole.astype(np.int32), end - whole


def _reachable(whole: Any) -> Any:
    """A number of steps, at most the last count where it is concrete."""
    return min(whole, LAST_COUNT) if isinstance(whole, int) else whole


def _remaining(t: jax.Array, start: tuple[Any, Any], end: tuple[Any, Any]) -> jax.Array:
    """The fraction of the phase that remains at t; 0 in a phase of no length."""
    dtype = float_dtype()
    (first, before), (last, beyond) = start, end
    length = as_float(last - first) + (beyond - before)
    if isinstance(last, int) and last > LAST_COUNT:
        left = as_float(last) - t.astype(dtype)
    else:
        left = jnp.maximum(jnp.maximum(last, -1) - t, 0).astype(dtype)
    left = left + beyond
    fraction = left / jnp.where(length > 0, length, 1)
    return jnp.where(length > 0, jnp.where(left == length, 1, fraction), 0)
