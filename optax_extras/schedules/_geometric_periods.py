"""The position of a count in cycles whose lengths grow by a constant factor.

Finding the cycle with a logarithm is wrong at many boundaries, also in float64. A
search in a table of the exact starts is right at every count. For an integer factor
above 1 the table has at most 32 rows. The warm restarts use it, also those of PyTorch
and Keras, and the cycles of timm.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import count, is_traced
from optax_extras._errors import refuse
from optax_extras._numerics import (
    LAST_COUNT,
    NEVER,
    as_float,
    as_uint32,
    float_dtype,
    remaining,
)

_MOST_CYCLES = 4096
_FRACTION = 128  # bits of a fraction of a step
_LAST_END = 2**32 - 1  # the largest uint32


class Place(NamedTuple):
    """Where a count is."""

    cycle: jax.Array
    """The number of the cycle, from 0."""
    phase: jax.Array
    """The elapsed fraction of the cycle, in [0, 1)."""
    left: jax.Array
    """The remaining fraction, in (0, 1], which keeps its digits near the end."""
    begins: jax.Array
    """Whether a cycle begins here; not at count 0."""


def growing_cycles(period: Any, mult: Any) -> Callable[[jax.Array], Place]:
    """A function of the count: its place in the cycles."""
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
    cycle, place = as_uint32(t) // as_uint32(period), as_uint32(t) % as_uint32(period)
    phase = place.astype(float_dtype()) / as_float(period)
    begins = (place == 0) & (cycle > 0)
    return Place(cycle, phase, remaining(place, period), begins)


def _look_up(
    t: jax.Array, starts: Any, delays: Any, lengths: Any, ends: Any, beyond: Any
) -> Place:
    """The position in cycles that are given as rows.

    The first step of a cycle is `starts`, which is `delays` steps after its exact
    beginning, and it takes `lengths` steps, up to `beyond` steps after step `ends`.
    `starts` and `ends` are integers, the others may have fractions.
    """
    starts, ends = jnp.asarray(starts), jnp.asarray(ends)
    delays, lengths, beyond = (
        jnp.asarray(x, float_dtype()) for x in (delays, lengths, beyond)
    )
    begun = jnp.searchsorted(starts, as_uint32(t), "right", method="scan_unrolled")
    cycle = begun.astype(np.int32) - 1
    place = as_uint32(t) - starts[cycle]
    phase = (place.astype(float_dtype()) + delays[cycle]) / lengths[cycle]
    steps_left = (ends[cycle] - as_uint32(t)).astype(float_dtype()) + beyond[cycle]
    begins = (place == 0) & (cycle > 0)
    return Place(cycle.astype(np.uint32), phase, steps_left / lengths[cycle], begins)


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
        step, end = _rounded_up(start), min(_rounded_up(start + length), _LAST_END)
        delay = (step << _FRACTION) - start
        beyond = start + length - (end << _FRACTION)
        row = (step, *(x / 2**_FRACTION for x in (delay, length)), end)
        rows.append((*row, beyond / 2**_FRACTION))
        start += length
        length = length * mult.numerator // mult.denominator
    dtypes = (np.uint32, np.float64, np.float64, np.uint32, np.float64)
    return tuple(map(np.array, zip(*rows, strict=True), dtypes))


def _rounded_up(x: int) -> int:
    """The first whole step that is not before `x`, in units of 2**-128 steps."""
    return -(-x >> _FRACTION)


def _traced_rows(period: Any, mult: Any):
    """The rows for a traced period or factor; the integers saturate at `NEVER`."""
    never, whole, start = map(as_uint32, (NEVER, period, 0))
    factor, length = as_uint32(mult), as_float(period)
    starts, lengths, ends, beyond = [], [], [], []
    for _ in range(32):
        starts.append(start)
        lengths.append(length)
        end = as_float(start) + length
        start = start + jnp.minimum(whole, never - start)
        ends.append(start)
        beyond.append(jnp.where(start < never, 0, end - as_float(NEVER)))
        whole = jnp.where(whole <= never // factor, whole * factor, never)
        length = jnp.where(whole < never, as_float(whole), length * as_float(mult))
    delays = jnp.zeros(32, float_dtype())
    return tuple(map(jnp.stack, (starts, delays, lengths, ends, beyond)))
