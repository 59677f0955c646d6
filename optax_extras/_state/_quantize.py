"""Floats in 8 bits: three bits of the mantissa, and an exponent relative to a block.

A float32 with only three bits of its mantissa is an integer of 11 bits, which grows
with the number: 8 integers for each factor of two. Each block stores a window of these
integers that ends just above its largest number. If the block has negative numbers, its
window has 127 integers and each number a sign; else it has 255. The integers do not
depend on the window, so a number that was rounded once is not rounded again when the
window moves.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._sharding import run_on_auto_axes, sharding_like

_BLOCK = 64
"""Numbers in a block, at least; for an odd shape two thirds of it on average."""
_DROPPED = 20
"""Bits of the mantissa that are dropped."""
_PER_OCTAVE, _SIGNED, _UNSIGNED = 8, 127, 255
"""Integers for each factor of two, and in a window with or without signs."""
_MAGNITUDE, _INFINITE, _NAN = 0x7FFFFFFF, 0x7F800000, 0x7FC00000
"""Bits of a float32: all but the sign; infinity (larger ones are NaN); one NaN."""


class Quantized(NamedTuple):
    """An array of floats, quantized in blocks to 8 bits each."""

    values: jax.Array
    """int8, of the array's shape: the place in the window, with the sign; for a window
    without signs, the place minus 128. Place 0 is the number 0."""
    exponents: jax.Array
    """int16, one for each block: where its window begins. For a window with signs the
    bits are inverted, so that it is negative."""


def quantize(x: jax.Array, noise: jax.Array) -> Quantized:
    """Rounds up or down at random; `noise` is random uint32 in the shape of `x`."""
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
    # The dropped bits carry at random. Infinities stay infinite, NaNs become one NaN.
    carried = magnitude + (noise >> (32 - _DROPPED)).astype(jnp.int32)
    exact = jnp.where(magnitude > _INFINITE, _NAN, carried) >> _DROPPED
    # Below the window: its first number or 0, at random; without signs never 0.
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
    """The numbers as float32."""
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
    """Rounds to bfloat16 up or down at random; as uint16, which NumPy can save."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    is_nan = (bits & _MAGNITUDE) > _INFINITE
    rounded = jnp.where(is_nan, jnp.uint32(_NAN), bits + (noise >> 16)) >> 16
    return rounded.astype(jnp.uint16)


def from_bfloat16_bits(bits: jax.Array) -> jax.Array:
    """The numbers as float32."""
    return _floats(bits.astype(jnp.uint32) << 16)


def _block_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The size of a block along each axis: it extends over the last axes first.

    If a divisor of an axis is large enough, it takes the divisor that leaves the most
    factors of two: so many devices can share the blocks evenly.
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
    """The number of blocks along each axis."""
    return tuple(-(-n // b) for n, b in zip(shape, _block_of(shape), strict=True))


def _floats(bits: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def _over_blocks(reduce: Any, x: jax.Array) -> jax.Array:
    """Reduces each block to one number, in an array of the rank of `x`."""
    block, counts = _block_of(x.shape), _counts(x.shape)
    pads = [(0, c * b - n) for c, b, n in zip(counts, block, x.shape, strict=True)]
    if any(after for _, after in pads):
        x = jnp.pad(x, pads)
    # In two stages of 32 at most: before a longer reduction, XLA on a CPU writes its
    # operand to memory.
    inner = [max(d for d in range(1, 33) if b % d == 0) for b in block]
    split = [
        n for c, b, i in zip(counts, block, inner, strict=True) for n in (c, b // i, i)
    ]
    x = reduce(x.reshape(split), axis=tuple(range(2, len(split), 3)))
    return reduce(x, axis=tuple(range(1, 2 * len(block), 2)))


def _to_elements(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Broadcasts the number of each block to its elements."""
    block = _block_of(shape)
    split = [n for pair in zip(x.shape, block, strict=True) for n in pair]
    wide = [n * b for n, b in zip(x.shape, block, strict=True)]
    apart = x.reshape([n for m in x.shape for n in (m, 1)])
    x = jnp.broadcast_to(apart, split).reshape(wide)
    return x[tuple(slice(n) for n in shape)]
