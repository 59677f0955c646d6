"""Where a count falls among cycles of which each is so many times the one before.

Finding the cycle with a logarithm is wrong at many boundaries, in float64 too. A
table of the exact starts (at most 32 rows for an integer factor above 1) and a search
in it is right at every count.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._errors import refuse
from optax_extras._numerics import LAST_COUNT, NEVER, as_float, as_phase, float_dtype
from optax_extras._values import count, is_traced

_MOST_CYCLES = 4096
_FRACTION = 128  # bits of a fraction of a step

Place = tuple[jax.Array, jax.Array, jax.Array]


def growing_cycles(period: Any, mult: Any) -> Callable[[jax.Array], Place]:
    """A function: count -> (cycle from 0, phase in [0, 1), whether it begins here)."""
    if is_traced(mult):
        count("period_mult", mult)

        def locate(t):
            equal, grown = _equal(t, period), _look_up(t, *_traced_rows(period, mult))
            pairs = zip(equal, grown, strict=True)
            cycle, phase, begins = (jnp.where(mult == 1, a, b) for a, b in pairs)
            return cycle, phase, begins

        return locate
    exact = Fraction(str(mult))
    if exact == 1:
        return lambda t: _equal(t, period)
    if not is_traced(period):
        rows = _exact_rows(*_cycles(exact, period))
        return lambda t: _look_up(t, *rows)
    if exact.denominator != 1:
        must = "be an integer where the period is traced"
        refuse("period_mult", must, mult, hint="Pass the period as a Python int.")
    return lambda t: _look_up(t, *_traced_rows(period, exact.numerator))


def _equal(t: jax.Array, period: Any) -> Place:
    """The place among cycles of one length."""
    cycle, place = as_phase(t) // as_phase(period), as_phase(t) % as_phase(period)
    phase = place.astype(float_dtype()) / as_float(period)
    return cycle, phase, (place == 0) & (cycle > 0)


def _look_up(t: jax.Array, starts: Any, late: Any, lengths: Any) -> Place:
    """The place among cycles given as rows.

    A cycle is seen from step `starts`, `late` steps after its real beginning, and
    takes `lengths` steps; `late` and `lengths` need not be whole.
    """
    starts = jnp.asarray(starts)
    late, lengths = (jnp.asarray(x, float_dtype()) for x in (late, lengths))
    begun = jnp.searchsorted(starts, as_phase(t), "right", method="scan_unrolled")
    cycle = begun.astype(np.int32) - 1
    place = as_phase(t) - starts[cycle]
    phase = (place.astype(float_dtype()) + late[cycle]) / lengths[cycle]
    return cycle.astype(np.uint32), phase, (place == 0) & (cycle > 0)


def _cycles(mult: Fraction, period: int) -> tuple[list[int], list[int]]:
    """The real beginnings and lengths of all cycles that a count can reach.

    In units of 2**-128 steps, rounded down: what begins on a whole step then rounds up
    to that step, and so does whatever begins up to a step before.
    """
    starts, lengths, start, length = [], [], 0, period << _FRACTION
    while start >> _FRACTION <= LAST_COUNT:
        starts.append(start)
        lengths.append(length)
        start += length
        length = length * mult.numerator // mult.denominator
        if len(starts) > _MOST_CYCLES:
            must = f"be 1 or so large that at most {_MOST_CYCLES} restarts come"
            refuse("period_mult", must, float(mult))
    return starts, lengths


def _exact_rows(starts: list[int], lengths: list[int]) -> tuple[np.ndarray, ...]:
    """The rows of a concrete period and factor."""
    steps = [-(-start >> _FRACTION) for start in starts]
    late = [
        ((step << _FRACTION) - start) / 2**_FRACTION
        for step, start in zip(steps, starts, strict=True)
    ]
    durations = [length / 2**_FRACTION for length in lengths]
    return np.array(steps, np.uint32), np.array(late), np.array(durations)


def _traced_rows(period: Any, mult: Any):
    """The rows of a traced period or factor, in integers that stop at `NEVER`."""
    never, whole, start = map(as_phase, (NEVER, period, 0))
    factor, length = as_phase(mult), as_float(period)
    starts, lengths = [], []
    for _ in range(32):
        starts.append(start)
        lengths.append(length)
        start = start + jnp.minimum(whole, never - start)
        whole = jnp.where(whole <= never // factor, whole * factor, never)
        length = jnp.where(whole < never, as_float(whole), length * as_float(mult))
    return jnp.stack(starts), jnp.zeros(32, float_dtype()), jnp.stack(lengths)
