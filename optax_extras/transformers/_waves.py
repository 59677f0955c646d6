"""What the schedules share: cosine waves."""

from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import concrete, is_traced
from optax_extras._numerics import LAST_COUNT, NEVER, as_float, as_uint32
from optax_extras.schedules import _curve


def at_least_one(n: Any) -> Any:
    """A number of steps, 1 if it is 0."""
    return max(n, 1) if isinstance(n, int) else jnp.maximum(n, 1)


def wave(t: jax.Array, length: Any, cycles: Any) -> jax.Array:
    """(1 + cos(2 pi n t / D)) / 2 for n waves in D steps, also past them."""
    x = as_uint32(_folded(t, length, cycles)).astype(as_float(0).dtype)
    waves = as_float(cycles) * (x / as_float(length))
    # Of the nearest crest: the cosine of a large angle has few digits.
    return _curve.cosine_fraction(1 - 2 * jnp.abs(waves - jnp.round(waves)))


def _folded(t: jax.Array, length: Any, cycles: Any) -> jax.Array:
    """The count modulo the smallest multiple of `length` with a whole number of waves.

    The number of waves is read as the decimal that was written: 0.1 is 1/10.
    """
    if is_traced(cycles):
        return t
    times = Fraction(str(concrete(cycles))).denominator
    if isinstance(length, int):
        period = length * times
        return t if period > LAST_COUNT else as_uint32(t) % as_uint32(period)
    if times > LAST_COUNT:
        return t
    length, times = as_uint32(length), np.uint32(times)
    fits = length <= np.uint32(NEVER) // times
    period = jnp.where(fits, length * times, np.uint32(NEVER))
    return as_uint32(t) % jnp.maximum(period, 1)


def cycle_step(t: jax.Array, length: Any, cycles: Any) -> jax.Array:
    """Exactly n t mod D, though n t may not fit into 32 bits: 0 <= t < D < 2^31."""
    t, length, cycles = as_uint32(t), as_uint32(length), as_uint32(cycles)
    fraction = t.astype(as_float(0).dtype) / as_float(length)
    cycle = jnp.floor(as_float(cycles) * fraction).astype(np.uint32)
    # The difference wraps around as its terms do. Where rounding gave the cycle before
    # or after, it is a little above D, or a little below 0.
    step = cycles * t - cycle * length
    below = step > length // 2 + np.uint32(NEVER)
    return jnp.where(
        below, step + length, jnp.where(step >= length, step - length, step)
    )
