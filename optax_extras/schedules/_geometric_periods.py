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

from optax_extras import _checks
from optax_extras._numerics import LAST_COUNT, NEVER, as_float, as_phase, float_dtype

_MOST_CYCLES = 4096
_FRACTION = 128  # bits of a fraction of a step
_DIGIT = 16  # bits of a digit in products that are longer than 32 bits

Place = tuple[jax.Array, jax.Array, jax.Array]


def growing_cycles(rule: str, period: Any, mult: Any) -> Callable[[jax.Array], Place]:
    """A function: count -> (cycle from 0, phase in [0, 1), whether it begins here)."""
    _checks.real(rule, "period_mult", mult, "[1, inf)")
    if _checks.is_traced(mult):
        _checks.count(rule, "period_mult", mult)

        def locate(t):
            equal, grown = _equal(t, period), _look_up(t, *_traced_rows(period, mult))
            pairs = zip(equal, grown, strict=True)
            cycle, phase, begins = (jnp.where(mult == 1, a, b) for a, b in pairs)
            return cycle, phase, begins

        return locate
    exact = Fraction(str(mult))
    if exact == 1:
        return lambda t: _equal(t, period)
    if _checks.is_traced(period):
        cycles = _cycles(rule, exact, 1)
        return lambda t: _look_up(t, *_scaled_rows(period, *cycles))
    rows = _exact_rows(*_cycles(rule, exact, period))
    return lambda t: _look_up(t, *rows)


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


def _cycles(rule: str, mult: Fraction, period: int) -> tuple[list[int], list[int]]:
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
            _checks.refuse(rule, "period_mult", must, float(mult))
    return starts, lengths


def _exact_rows(starts: list[int], lengths: list[int]) -> tuple[np.ndarray, ...]:
    """The rows of a concrete period and factor."""
    steps = [-(-start >> _FRACTION) for start in starts]
    late = [
        ((step << _FRACTION) - start) / 2**_FRACTION
        for step, start in zip(steps, starts, strict=True)
    ]
    return np.array(steps, np.uint32), np.array(late), _in_steps(lengths)


def _in_steps(lengths: list[int]) -> np.ndarray:
    return np.array([length / 2**_FRACTION for length in lengths])


def _traced_rows(period: Any, mult: Any):
    """The rows of a traced integer factor, in integers that stop at `NEVER`."""
    never, length, start = map(as_phase, (NEVER, period, 0))
    mult, lasts = as_phase(mult), as_float(period)
    starts, lengths = [], []
    for _ in range(32):
        starts.append(start)
        lengths.append(lasts)
        start = start + jnp.minimum(length, never - start)
        fits = length <= never // mult
        length = jnp.where(fits, length * mult, never)
        lasts = jnp.where(fits, as_float(length), lasts * as_float(mult))
    return jnp.stack(starts), jnp.zeros(32, float_dtype()), jnp.stack(lengths)


def _scaled_rows(period: Any, starts: list[int], lengths: list[int]):
    """The rows of a traced period, from the cycles of period 1, in long integers."""
    whole, fraction = 2, 4
    scaled = [start >> _FRACTION - _DIGIT * fraction for start in starts]
    digits = [
        np.array([x >> _DIGIT * i & 0xFFFF for x in scaled], np.uint32)
        for i in range(whole + fraction)
    ]
    product = _long_product(digits, as_phase(period))
    parts = [digit.astype(float_dtype()) for digit in product[:fraction]]
    part = sum(p * 2.0 ** (_DIGIT * (i - fraction)) for i, p in enumerate(parts))
    low, high, *rest = product[fraction:]
    steps = (high << _DIGIT | low) + (part > 0)
    fits = (high < NEVER >> _DIGIT) & (sum(rest) == 0)
    return (
        jnp.where(fits, steps, np.uint32(NEVER)),
        jnp.where(part > 0, 1 - part, 0),
        as_float(period) * jnp.asarray(_in_steps(lengths), float_dtype()),
    )


def _long_product(digits: list[np.ndarray], factor: jax.Array) -> list[jax.Array]:
    """The digits, least first, of a long integer times a 32-bit one."""
    product: list[Any] = [jnp.zeros(digits[0].shape, np.uint32)] * (len(digits) + 2)
    for shift, part in enumerate((factor & 0xFFFF, factor >> _DIGIT)):
        carry: Any = np.uint32(0)
        for i, digit in enumerate(digits):
            total = digit * part + product[i + shift] + carry
            product[i + shift], carry = total & 0xFFFF, total >> _DIGIT
        product[len(digits) + shift] = carry
    return product
