"""Which updates an average takes into account: from when on, and how often."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import concrete, is_traced
from optax_extras._numerics import as_count, as_float, as_uint32, float_dtype
from optax_extras.averages._average import Average


def average_of(
    weight: Callable[[jax.Array], Any],
    start: Any,
    every: Any = 1,
    gamma: Any = None,
    keeps_first: bool = False,
) -> Average:
    """The average with `weight`, a function of the number n >= 1 of the snapshot.

    The snapshots are the weights after updates start + every, start + 2 every, ...
    Until the first, the average is a copy of the weights; with `keeps_first`, of those
    after update `start` and no later ones.
    """

    def weight_at(t: Any) -> jax.Array:
        since = steps_since(t, start)
        n, is_between = since // as_uint32(every), since % as_uint32(every) > 0
        c = weight(jnp.maximum(n, 1).astype(np.int32))
        c = jnp.where(is_between, 0, c)
        is_copy = since == 0 if keeps_first else n == 0
        return jnp.where(is_copy, 1, c).astype(float_dtype())

    return Average(weight_at, gamma)


def steps_since(t: Any, start: Any) -> jax.Array:
    """max(0, t - start), as uint32."""
    count = as_uint32(as_count(t))
    return count - jnp.minimum(as_uint32(start), count)


def one_minus(x: Any) -> jax.Array:
    """1 - x, of a concrete number in float64 on the host."""
    return 1 - as_float(x) if is_traced(x) else as_float(1 - concrete(x))


def one_minus_ratio_power(n: jax.Array, exponent: Any) -> jax.Array:
    """1 - (1 - 1/n)**exponent for n >= 1, without cancellation."""
    at_first = n == 1
    below = jnp.log1p(-1 / jnp.where(at_first, 2, n).astype(float_dtype()))
    return jnp.where(at_first, 1, -jnp.expm1(as_float(exponent) * below))
