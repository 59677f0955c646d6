"""Shapes of a decay: as a fraction of the learning rate, and as an average.

A decay :math:`d(x)` falls from 1 at x = 0 to 0 at x = 1.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import is_traced, returned
from optax_extras._checks import Range
from optax_extras._errors import refuse, refuse_kind
from optax_extras._numerics import as_float, as_uint32, float_dtype
from optax_extras.averages._phases import one_minus_ratio_power

Word = Literal["linear", "cosine", "1-sqrt", "exponential", "power", "polynomial"]
_WORDS = f"one of {', '.join(map(repr, get_args(Word)))} or a function"


def _word_or_function(argument: str, x: Any) -> Any:
    if not callable(x) and not (isinstance(x, str) and x in get_args(Word)):
        refuse(argument, f"be {_WORDS}", x)
    return x


Shape = Annotated[Word | Callable[[Any], Any], Range(_WORDS, _word_or_function)]


def check_shape(shape: Any, power: Any) -> None:
    """Refuses an exponent that does not go with the shape, and a wrong function.

    Of a function it may be known that it is not 1 at 0, or not a decay.
    """
    needs_exponent = shape in ("power", "polynomial")
    if needs_exponent and power is None:
        refuse("power", f"be given for the shape {shape!r}", power)
    if not needs_exponent and power is not None:
        refuse("power", "be None except for 'power' and 'polynomial'", power)
    if not callable(shape):
        return
    points = [jnp.asarray(x, float_dtype()) for x in (0, 0.25, 0.5, 0.75)]
    first, *later = (returned("shape", shape, _called(shape, x)) for x in points)
    if not is_traced(first) and not abs(float(first) - 1) <= 1e-6:
        hint = "It is a fraction of the learning rate."
        refuse("shape", "return 1 at 0", float(first), hint)
    _refuse_above_one([float(x) for x in later if not is_traced(x)])


def factors(
    shape: Any, power: Any, end_fraction: float, steps: np.ndarray, start: int, end: int
) -> np.ndarray:
    """The factor of the learning rate after each number of steps, in float64.

    It is 1 until `start` and 0 from `end` on.
    """
    x = np.clip((steps - start) / (end - start), 0, 1)
    d = end_fraction + (1 - end_fraction) * _fraction(shape, power, x)
    found = np.where(steps <= start, 1, np.where(steps >= end, 0, d))
    _refuse_above_one(found)
    return found


def _fraction(shape: Any, power: Any, x: np.ndarray) -> np.ndarray:
    """d(x) on the host; of a function, in the precision that it has."""
    if callable(shape):
        d = np.asarray(_called(shape, x), np.float64)
        if d.shape != x.shape:
            refuse("shape", "return an array like its argument", d)
        return d
    return {
        "linear": lambda: 1 - x,
        "cosine": lambda: (1 + np.cos(np.pi * x)) / 2,
        "1-sqrt": lambda: 1 - np.sqrt(x),
        "exponential": lambda: 2 * np.exp2(-x) - 1,
        "power": lambda: 1 - x**power,
        "polynomial": lambda: (1 - x) ** power,
    }[shape]()


def weight(shape: Any, power: Any, i: jax.Array, steps: Any) -> jax.Array:
    """(D_i - D_{i+1}) / (1 - D_{i+1}), where D_i = d((i - 1) / n), for 1 <= i <= n.

    `i` is uint32. Each shape has a form without differences of D, which in float32
    would have lost their digits when n is large.
    """
    n, dtype = as_uint32(steps), float_dtype()
    if callable(shape):
        return _weight_of_function(shape, i, n)
    if shape == "cosine":
        return _cosine(i, n)
    if shape == "exponential":
        slope = math.log(2) / n.astype(dtype)
        return jnp.expm1(slope) / jnp.expm1(i.astype(dtype) * slope)
    if shape == "polynomial":
        return _polynomial(i, n, as_float(power))
    if shape == "power":
        return one_minus_ratio_power(i, power)
    count = i.astype(dtype)
    if shape == "linear":
        return 1 / count
    return 1 / (count + jnp.sqrt(count) * jnp.sqrt(count - 1))


def _cosine(i: jax.Array, n: jax.Array) -> jax.Array:
    """With 1 - d = sin², and sin² a - sin² b = sin(a + b) sin(a - b)."""
    dtype = float_dtype()
    quarter = np.pi / 2 / n.astype(dtype)
    # Near the end the sine of a + b is small. It is that of pi - (a + b), which is
    # small, too, and has all its digits. 2 n may be 2**32, but the difference is right.
    sum_of_both = jnp.minimum(2 * i - 1, 2 * n - 2 * i + 1)
    both = jnp.sin(sum_of_both.astype(dtype) * quarter) * jnp.sin(quarter)
    return both / jnp.square(jnp.sin(i.astype(dtype) * quarter))


def _polynomial(i: jax.Array, n: jax.Array, power: jax.Array) -> jax.Array:
    """With r = 1 - x: r_{i-1}^p (1 - (1 - 1/(n-i+1))^p) / (1 - r_i^p)."""
    left = n - i + 1
    fall = jnp.exp(power * _log_remaining(i - 1, n)) * one_minus_ratio_power(
        left, power
    )
    is_last = i == n
    below = -jnp.expm1(power * _log_remaining(jnp.where(is_last, i - 1, i), n))
    return fall / jnp.where(is_last, 1, below)


def _log_remaining(i: jax.Array, n: jax.Array) -> jax.Array:
    """log(1 - i / n) for i < n, with all digits at either end."""
    dtype = float_dtype()
    total = n.astype(dtype)
    in_first_half = 2 * i < n
    near_one = jnp.log1p(-jnp.where(in_first_half, i, 0).astype(dtype) / total)
    near_zero = jnp.log(jnp.where(in_first_half, n, n - i).astype(dtype) / total)
    return jnp.where(in_first_half, near_one, near_zero)


def _weight_of_function(shape: Any, i: jax.Array, n: jax.Array) -> jax.Array:
    """By differences: the average is exactly that of the rounded values of d."""

    def d(count: jax.Array) -> jax.Array:
        x = count.astype(float_dtype()) / n.astype(float_dtype())
        return as_float(returned("shape", shape, _called(shape, x)))

    before, after = d(i - 1), jnp.where(i == n, 0, d(i))
    fallen = 1 - after
    # Before the first fall no weights count yet: the average is a copy.
    return jnp.where(fallen > 0, (before - after) / jnp.where(fallen > 0, fallen, 1), 1)


def _called(shape: Any, x: Any) -> Any:
    """d(x) of a function, which may have been written for Python numbers."""
    try:
        return shape(x)
    except (TypeError, ValueError) as error:
        text = str(error).partition("\n")[0]
        hint = f"It gets an array: use `jnp.cos` for `math.cos`. It raised: {text}"
        refuse_kind("shape", "be a function of an array", shape, hint)


def _refuse_above_one(xs: Any) -> None:
    """Refuses factors of a decay that are NaN, or above 1 by more than a rounding."""
    factors = np.asarray(xs, np.float64)
    above = factors[~(factors <= 1 + 1e-6)]
    if above.size:
        must = "fall from 1, and never be above it"
        refuse("shape", must, above[0].item(), "It is a fraction of the learning rate.")
