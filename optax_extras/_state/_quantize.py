"""Eight bits for a float32: three of its mantissa, and its exponent within a block.

A float32 without all but three bits of its mantissa is an integer of 11 bits, larger
for larger numbers: 8 of them to each factor of two. A block holds a window of these,
which ends just above its largest number. Where a block has negative numbers, the window
has 127 of them and there is a sign; else it has 255. No number moves to another place
when the window does, so that what was rounded once is not rounded again.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._sharding import run_on_auto_axes, sharding_like

_BLOCK = 64
"""Numbers to a window, at least; two thirds of it at the edge of an odd shape."""
_DROPPED = 20
"""Bits of the mantissa that are not kept."""
_PER_OCTAVE, _SIGNED, _UNSIGNED = 8, 127, 255
"""Numbers to a factor of two, and in a window with signs or without."""
_MAGNITUDE, _INFINITE, _NAN = 0x7FFFFFFF, 0x7F800000, 0x7FC00000
"""As bits of a float32: all but the sign; infinity, above which NaNs are; one NaN."""


class Quantized(NamedTuple):
    """An array of floats in 8 bits each, by blocks."""

    values: jax.Array
    """Like the array, int8: the place in the window and the sign; where the window has
    no signs, the place less 128. At place 0 stands 0."""
    exponents: jax.Array
    """One number for each block, int16: where its window begins; of one with signs the
    bits inverted, so that it is negative."""


def quantize(x: jax.Array, noise: jax.Array) -> Quantized:
    """The value above or below, by chance; `noise` is uint32, of the shape of `x`."""
    out: Any = (sharding_like(x, x.shape), sharding_like(x, _counts(x.shape)))
    return run_on_auto_axes(_quantize, x, Quantized(*out))(x, noise)


def _quantize(x: jax.Array, noise: jax.Array) -> Quantized:
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
    magnitude = bits & _MAGNITUDE
    largest = _over_blocks(jnp.max, magnitude)
    signs = _over_blocks(jnp.min, jnp.where(magnitude == 0, 0, bits)) < 0
    levels = jnp.where(signs, _SIGNED, _UNSIGNED)
    first = jnp.maximum((((largest - 1) >> 23) + 1) * _PER_OCTAVE - levels, 0)
    exponents = jnp.where(signs, ~first, first).astype(jnp.int16)

    window = _to_elements(exponents, x.shape).astype(jnp.int32)
    signed, first = window < 0, jnp.maximum(window, ~window)
    # Of the dropped bits, a carry by chance. What is infinite stays so; one NaN.
    carried = magnitude + (noise >> (32 - _DROPPED)).astype(jnp.int32)
    exact = jnp.where(magnitude > _INFINITE, _NAN, carried) >> _DROPPED
    # Below the window one step of it or 0, by chance; without signs never 0.
    step = (first + 1) << _DROPPED
    chance = (noise >> 8).astype(jnp.float32) * 2.0**-24
    below = jnp.where(
        signed, chance * _floats(step) < _floats(magnitude), magnitude > 0
    )
    place = jnp.where(magnitude >= step, exact - first, below.astype(jnp.int32))
    with_sign = jnp.where(bits < 0, -place, place)
    values = jnp.where(signed, with_sign, place - 128)
    return Quantized(values.astype(jnp.int8), exponents)


def dequantize(array: Quantized) -> jax.Array:
    """The float32 numbers that are stood for."""
    values = array.values
    out = sharding_like(values, values.shape)
    return run_on_auto_axes(_dequantize, values, out)(array)


def _dequantize(array: Quantized) -> jax.Array:
    values = array.values.astype(jnp.int32)
    window = _to_elements(array.exponents, values.shape).astype(jnp.int32)
    signed, first = window < 0, jnp.maximum(window, ~window)
    place = jnp.where(signed, jnp.abs(values), values + 128)
    x = _floats(jnp.where(place == 0, 0, (place + first) << _DROPPED))
    return jnp.where(signed & (values < 0), -x, x)


def to_bfloat16_bits(x: jax.Array, noise: jax.Array) -> jax.Array:
    """The bfloat16 above or below, by chance, as uint16: NumPy could not save it."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    is_nan = (bits & _MAGNITUDE) > _INFINITE
    rounded = jnp.where(is_nan, jnp.uint32(_NAN), bits + (noise >> 16)) >> 16
    return rounded.astype(jnp.uint16)


def from_bfloat16_bits(bits: jax.Array) -> jax.Array:
    """The float32 numbers that are stood for."""
    return _floats(bits.astype(jnp.uint32) << 16)


def _block_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The extent of a block in each axis: the last ones, until it is large enough.

    Where a divisor of an axis will do, that one which leaves the most factors of two:
    over so many devices the blocks are shared out evenly.
    """
    block, wanted = [], _BLOCK
    for n in reversed(shape):
        extent = n
        if n >= 2 * wanted:
            fits = [d for d in range(wanted, 2 * wanted) if n % d == 0] or [wanted]
            extent = max(fits, key=lambda d, n=n: (n // d) & -(n // d))
        block.append(extent)
        wanted = -(-wanted // extent)
    return tuple(reversed(block))


def _counts(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How many blocks there are along each axis."""
    return tuple(-(-n // b) for n, b in zip(shape, _block_of(shape), strict=True))


def _floats(bits: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _over_blocks(reduce: Any, x: jax.Array) -> jax.Array:
    """A reduction of each block: an array of as many axes as `x` has."""
    block, counts = _block_of(x.shape), _counts(x.shape)
    pads = [(0, c * b - n) for c, b, n in zip(counts, block, x.shape, strict=True)]
    if any(after for _, after in pads):
        x = jnp.pad(x, pads)
    # In two stages of 32 at most: XLA on a CPU would first write down what a longer
    # reduction reads.
    inner = [max(d for d in range(1, 33) if b % d == 0) for b in block]
    split = [
        n for c, b, i in zip(counts, block, inner, strict=True) for n in (c, b // i, i)
    ]
    x = reduce(x.reshape(split), axis=tuple(range(2, len(split), 3)))
    return reduce(x, axis=tuple(range(1, 2 * len(block), 2)))


def _to_elements(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """To each number what its block has: the inverse of `_over_blocks`."""
    block = _block_of(shape)
    split = [n for pair in zip(x.shape, block, strict=True) for n in pair]
    wide = [n * b for n, b in zip(x.shape, block, strict=True)]
    apart = x.reshape([n for m in x.shape for n in (m, 1)])
    x = jnp.broadcast_to(apart, split).reshape(wide)
    return x[tuple(slice(n) for n in shape)]
