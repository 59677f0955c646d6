"""The one-cycle policy."""

import math
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import is_traced, real
from optax_extras._checks import Fraction, Positive, Real, StepCount, checked
from optax_extras._numerics import LAST_COUNT, as_float, float_dtype
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import MomentumSchedule


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
    r"""One rise to a high learning rate, then one long fall to far below the start.

    The same as PyTorch's ``OneCycleLR`` at every step of the run. After the run this
    one holds its last value; PyTorch's follows its curve for one more step, then raises
    an error. Optax's ``cosine_onecycle_schedule`` peaks one step later and has its last
    value at step `total_steps`, which a run of that many steps never uses. For endless
    cycles use :func:`cyclic`.

    The learning rate passes through these values at these steps, along half a cosine
    wave or a straight line between them:

    .. math::
        \eta_0 = \eta / D \;\text{ at } 0, \quad \eta \;\text{ at } p\,T - 1, \quad
        \eta_0 / F \;\text{ at } T - 1

    With `three_phase` it also passes through :math:`\eta_0` at :math:`2\,p\,T - 2`. The
    peak and this point need not be at whole steps.

    Args:
      peak_value: The highest learning rate :math:`\eta`.
      total_steps: Steps :math:`T` of the run.
      pct_start: The fraction :math:`p` of the run in which the learning rate rises, not
        a percentage; at most 0.5 with `three_phase`. Below :math:`1/T` there is no
        rise, because the peak is before the first step; at 1 there is no fall.
      div_factor: :math:`D`, the highest learning rate divided by the first.
      final_div_factor: :math:`F`, the first learning rate divided by the last.
      anneal: ``"cos"`` or ``"linear"``.
      three_phase: Whether the learning rate, after its peak, falls to its first value
        in as many steps as it rose, as in the paper, and then to its last value.
      base_momentum: The momentum where the learning rate is highest.
      max_momentum: The momentum at the start and at the end.

    Returns:
      A schedule. Its attribute `momentum` is the schedule of the momentum, which is
      high where the learning rate is low. :func:`scheduled` applies both.

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

    def along(t, first, peak, last):
        """The curve through these values at the ends of the phases."""
        values = [first, peak, first, last] if three_phase else [first, peak, last]
        ends = _ends(total_steps, pct_start, three_phase)
        t = jnp.minimum(t, _reachable(ends[-1][0]))  # the last value holds
        fractions = [_remaining(t, *leg) for leg in pairwise([(0, 0.0), *ends])]
        if anneal == "cos":
            fractions = [_curve.cosine_fraction(r) for r in fractions]
        *legs, final = (
            _curve.interpolate(end, start, r)
            for (start, end), r in zip(pairwise(values), fractions, strict=True)
        )
        return jnp.select([t <= _reachable(end) for end, _ in ends[:-1]], legs, final)

    def rate(t):
        peak = as_float(peak_value)
        first = peak / as_float(div_factor)
        return along(t, first, peak, first / as_float(final_div_factor))

    def momentum(t):
        return along(t, max_momentum, base_momentum, max_momentum)

    return _curve.schedule(rate, momentum=_curve.schedule(momentum))


def _ends(total_steps, pct_start, three_phase) -> list[tuple[Any, Any]]:
    """The end of each phase as (whole steps, fraction of a step beyond)."""
    if is_traced(pct_start) or is_traced(total_steps):
        turn = as_float(pct_start) * as_float(total_steps)
    else:
        turn = float(pct_start) * total_steps  # as in PyTorch, in float64
    turns = [turn - 1, 2 * turn - 2] if three_phase else [turn - 1]
    if is_traced(total_steps):  # of any integer dtype: an unsigned one could wrap
        total_steps = total_steps.astype(np.int32)
    return [*map(_split, turns), (total_steps - 1, 0.0)]


def _split(end: Any) -> tuple[Any, Any]:
    """(Whole, fractional) part of a number of steps."""
    if isinstance(end, float):
        return math.floor(end), end - math.floor(end)
    whole = jax.lax.stop_gradient(jnp.floor(end))
    return whole.astype(np.int32), end - whole


def _reachable(whole: Any) -> Any:
    """A number of steps that int32 holds: a concrete one is cut to the last count."""
    return min(whole, LAST_COUNT) if isinstance(whole, int) else whole


def _remaining(t: jax.Array, start: tuple[Any, Any], end: tuple[Any, Any]) -> jax.Array:
    """The fraction of the phase that remains at t; 0 if the phase has no length."""
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
