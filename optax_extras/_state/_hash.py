"""Pseudo-random bits that cost little."""

import math
from typing import Any

import jax
import jax.numpy as jnp


def salt_of_count(count: Any) -> jax.Array:
    """A salt for each count; neighbors get salts that are far apart."""
    golden = 0x9E3779B9  # 2**32 over the golden ratio
    return jnp.asarray(count, jnp.uint32) * jnp.uint32(golden)


def hash_bits(shape: tuple[int, ...], salt: Any) -> jax.Array:
    """A pseudo-random uint32 for each element of an array, from a uint32 `salt`."""
    # MurmurHash3's finalizer. XLA fuses it; `jax.random` takes many times as long.
    h = jnp.asarray(salt, jnp.uint32)
    for axis in range(len(shape)):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        h = h + along * jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = (h ^ (h >> shift)) * jnp.uint32(factor)
    return h
