"""The position of a count in cycles whose lengths grow by a constant factor.

Finding the cycle with a logarithm is wrong at many boundaries, also in float64. A
search in a table of the exact starts is right at every count. For an integer factor
above 1 the table has at most 32 rows.
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
            return jax.tree.map(lambda a, b: jnp.where(mult == 1, a, b), equal, grown)

        return locate
    exact = Fraction(str(mult))
    if exact == 1:
        return lambda t: _equal(t, period)
    if not is_traced(period):
        rows = _exact_rows(period, exact)
        return lambda t: _look_up(t, *rows)
    if exact.denominator != 1:
        must = "be an integer when `period` is traced"
        refuse("period_mult", must, mult, hint="Pass the period as a Python int.")
    return lambda t: _look_up(t, *_traced_rows(period, exact.numerator))


def _equal(t: jax.Array, period: Any) -> Place:
    """The position in cycles of equal length."""
    cycle, place = as_phase(t) // as_phase(period), as_phase(t) % as_phase(period)
    phase = place.astype(float_dtype()) / as_float(period)
    return cycle, phase, (place == 0) & (cycle > 0)


def _look_up(t: jax.Array, starts: Any, late: Any, lengths: Any) -> Place:
    """The position in cycles that are given as rows.

    The first step of a cycle is `starts`, which is `late` steps after its exact
    beginning, and it takes `lengths` steps. `late` and `lengths` may be fractions.
    """
    starts = jnp.asarray(starts)
    late, lengths = (jnp.asarray(x, float_dtype()) for x in (late, lengths))
    begun = jnp.searchsorted(starts, as_phase(t), "right", method="scan_unrolled")
    cycle = begun.astype(np.int32) - 1
    place = as_phase(t) - starts[cycle]
    phase = (place.astype(float_dtype()) + late[cycle]) / lengths[cycle]
    return cycle.astype(np.uint32), phase, (place == 0) & (cycle > 0)


def _exact_rows(period: int, mult: Fraction) -> tuple[np.ndarray, ...]:
    """The rows of all cycles that a count can reach, for a concrete period and factor.

    Beginnings and lengths are integers in units of 2**-128 steps, rounded down: a
    beginning at a whole step, or a little below it, then rounds up to that step.
    """
    rows, start, length = [], 0, period << _FRACTION
    while start >> _FRACTION <= LAST_COUNT:
        if len(rows) == _MOST_CYCLES:
            must = f"be 1 or large enough for {_MOST_CYCLES} cycles to last 2**31 steps"
            refuse("period_mult", must, float(mult))
        step = -(-start >> _FRACTION)  # rounded up
        late = ((step << _FRACTION) - start) / 2**_FRACTION
        rows.append((step, late, length / 2**_FRACTION))
        start += length
        length = length * mult.numerator // mult.denominator
    steps, late, lengths = zip(*rows, strict=True)
    return np.array(steps, np.uint32), np.array(late), np.array(lengths)


def _traced_rows(period: Any, mult: Any):
    """The rows for a traced period or factor; the integers saturate at `NEVER`."""
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
