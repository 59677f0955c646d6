"""Scalars as operands of XLA's loops over leaves, which are then compiled once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras import _check_values


def as_operands(make: Callable[[], Any], count: Any) -> Any:
    """What `make` returns, a tree of scalars, as operands of the loops over leaves.

    XLA compiles the loops of leaves of one shape once if they differ in an operand, but
    leaf by leaf if they differ in a constant or in arithmetic that it fuses. The result
    of a conditional is an operand, and XLA keeps this one because it does not know that
    a count is never negative.
    """
    if not _check_values.is_traced(count):
        return make()

    def zeros():
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(make))

    return jax.lax.cond(count >= 0, make, zeros)


def row_indices(n: int, count: Any) -> list[Any]:
    """0, 1, ..., n - 1 to index the rows of a table with, inside the loops over leaves.

    A slice of a table is a loop of its own, which takes XLA 12 ms to compile.
    """
    return as_operands(lambda: [jnp.asarray(i, jnp.int32) for i in range(n)], count)


def row_of(table: jax.Array, index: Any) -> jax.Array:
    """A row of a table, or an entry of a vector."""
    return jax.lax.dynamic_index_in_dim(
        table, index, keepdims=False, allow_negative_indices=False
    )
