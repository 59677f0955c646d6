"""Integer phases, stable powers and dtype rules, for several packages.

Counts are integers and become floats last: float32 cannot tell 2**24 from 2**24 + 1.
Counts stop at 2**31 - 1, so that uint32 holds the sum of any two of them. A concrete
horizon may be larger. In comparisons and divisions it then counts as 2**31.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras import _check_values, _errors

LAST_COUNT = 2**31 - 1
NEVER = 2**31


def float_dtype() -> np.dtype:
    """float32, or float64 under x64: for learning rates and running scalars."""
    return jax.dtypes.canonicalize_dtype(np.float64)


def as_float(x: Any) -> jax.Array:
    """A hyperparameter as a strongly typed float of `float_dtype()`, always a copy.

    If a state shared its array with a closure, donating the state would delete the
    closure's array.
    """
    return jnp.array(x, float)


def as_count(t: Any) -> jax.Array:
    """The number of updates made, as int32 in [0, 2**31 - 1], of the shape of `t`."""
    if isinstance(t, int) and not isinstance(t, bool):
        t = np.int32(min(max(t, 0), LAST_COUNT))
    dtype: Any = getattr(t, "dtype", np.dtype(object))
    if not jnp.issubdtype(dtype, np.integer):
        _errors.refuse_kind("t", "be an integer or an array of integers", t)
    if np.iinfo(dtype).max > LAST_COUNT:  # before the cast to int32, which would wrap
        t = (jnp if isinstance(t, jax.Array) else np).clip(t, 0, LAST_COUNT)
    return jnp.maximum(jnp.asarray(t, np.int32), 0)


def as_uint32(n: Any) -> jax.Array:
    """A step count as uint32; a concrete one beyond all counts becomes `NEVER`."""
    if isinstance(n, int):
        return jnp.asarray(min(n, NEVER), np.uint32)
    return jnp.maximum(n, 0).astype(np.uint32)


def remaining(t: jax.Array, horizon: Any) -> jax.Array:
    """The remaining fraction max(0, horizon - t) / horizon, in [0, 1].

    Decays use this fraction and not the elapsed one: near the end it is small and keeps
    all its digits, while 1 - elapsed has lost them.
    """
    dtype = float_dtype()
    if isinstance(horizon, int) and horizon > LAST_COUNT:
        # The difference may not fit into uint32; that of the quotients does.
        beyond = (horizon - LAST_COUNT) / horizon
        left = beyond + (LAST_COUNT - t).astype(dtype) / as_float(horizon)
        return jnp.where(t == 0, 1, left)
    total = as_uint32(horizon)
    return _ratio(total - jnp.minimum(as_uint32(t), total), total)


def elapsed(t: jax.Array, horizon: Any) -> jax.Array:
    """The elapsed fraction min(t, horizon) / horizon, in [0, 1]."""
    if isinstance(horizon, int) and horizon > LAST_COUNT:
        return t.astype(float_dtype()) / as_float(horizon)
    total = as_uint32(horizon)
    return _ratio(jnp.minimum(as_uint32(t), total), total)


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """The quotient of two counts, 0 <= part <= whole; exactly 1 if they are equal.

    XLA turns a division by a constant into a multiplication, and then 107 / 107 is
    not 1. 0 / 0 is 0: a phase of no steps is over.
    """
    dtype = float_dtype()
    quotient = part.astype(dtype) / jnp.maximum(whole, 1).astype(dtype)
    return jnp.where((part == whole) & (whole > 0), 1, quotient)


def log(base: Any) -> Any:
    """The natural logarithm, of concrete numbers in float64 on the host."""
    if _check_values.is_traced(base):
        return jnp.log(as_float(base))
    if np.ndim(base) == 0:
        return math.log(_check_values.concrete(base))
    with np.errstate(divide="ignore"):  # that of 0 is -inf
        return np.log(np.asarray(base, np.float64))


def exp_linear(n: jax.Array, slope: Any, divisor: Any = 1) -> jax.Array:
    """exp(n * slope / divisor) for counts n, to a few ulps of the result.

    The float32 product n * slope has an error of half an ulp. If the product is large,
    this is an error of many ulps in the exponential. So a concrete slope is split into
    a head of 8 bits, whose products with either half of n are exact, and a small tail.
    Both have the same sign, so that no factor is inf while another is 0. A result that
    overflows becomes the largest number of the dtype, so that 0 times it is 0.
    """
    dtype, count = float_dtype(), as_uint32(n)
    largest = jnp.finfo(dtype).max
    if _check_values.is_traced(slope) or _check_values.is_traced(divisor):
        exponent = count.astype(dtype) * slope / jnp.asarray(divisor, dtype)
        return jnp.minimum(jnp.exp(exponent), largest)
    rate = slope / divisor
    mantissa, exponent = math.frexp(rate)
    head = math.ldexp(math.trunc(mantissa * 2**8), exponent - 8)
    high, low = count & np.uint32(0xFFFF0000), count & np.uint32(0xFFFF)
    parts = (high, head), (low, head), (count, rate - head)
    factors = [jnp.exp(part.astype(dtype) * c) for part, c in parts]
    # Without the barrier XLA merges the three into one exponential again.
    high, low, tail = jax.lax.optimization_barrier(factors)
    return jnp.minimum(high * low * tail, largest)


def power(base: Any, n: jax.Array) -> jax.Array:
    """The powers base**n, base > 0, for counts n; a Python 1 needs no arithmetic."""
    if isinstance(base, int | float) and base == 1:
        return jnp.ones(jnp.shape(n), float_dtype())
    return exp_linear(n, log(base))


def one_minus_power(base: Any, t: jax.Array) -> Any:
    """1 - base**t for base in [0, 1) and t >= 1, without cancellation.

    In float32 the subtraction 1 - 0.999 is already wrong in the fifth digit.
    """
    if _check_values.is_traced(base):
        return _one_minus_power(as_float(base), t.astype(float_dtype()))
    if np.ndim(base) == 0:
        base = base if isinstance(base, int | float) else _check_values.concrete(base)
        if base == 0:
            return 1.0
    return -jnp.expm1(t.astype(float_dtype()) * log(base))


@jax.custom_jvp
def _one_minus_power(base: jax.Array, t: jax.Array) -> jax.Array:
    return -jnp.expm1(t * jnp.log(base))


@_one_minus_power.defjvp
def _one_minus_power_jvp(primals, tangents):
    """The slope -t * base**(t - 1); at base 0 the chain rule would give 0 * inf."""
    (base, t), (d_base, _) = primals, tangents
    slope = jnp.where(t == 1, 1.0, t * jnp.exp((t - 1) * jnp.log(base)))
    return _one_minus_power(base, t), -slope * d_base


def above_zero(x: jax.Array) -> jax.Array:
    """A divisor, raised to the root of the least normal number if it is less.

    It is a root of squares. With no epsilon and only zero gradients 0 / 0 is then 0.
    """
    return jnp.maximum(x, jnp.finfo(x.dtype).tiny ** 0.5)


@jax.custom_jvp
def _sqrt(x: jax.Array) -> jax.Array:
    """The square root with slope 0 at 0: an infinite slope would give 0 * inf."""
    return jnp.sqrt(x)


@_sqrt.defjvp
def _sqrt_jvp(primals, tangents):
    (x,), (d_x,) = primals, tangents
    root = jnp.sqrt(x)
    return root, jnp.where(x == 0, 0, d_x / (2 * jnp.where(x == 0, 1, root)))


sqrt = jax.jit(_sqrt, inline=True)  # traced once for all leaves of a shape
