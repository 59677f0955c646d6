"""Applies a formula to every leaf, for the optimizers that are not a `Rule`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._boxes import align, rebuild
from optax_extras._errors import refuse
from optax_extras._leaves import (
    as_leaf,
    compute_dtype,
    dtype_of,
    is_key,
    real_dtype,
    upcast_zeros,
    zeros_like,
)
from optax_extras._types import Params, Updates


def zeros(params: Params, dtype: Any = None) -> Any:
    """A buffer like the params, in a dtype, or else float32 at least.

    That of complex params is complex.
    """
    if dtype is None:
        return jax.tree.map(upcast_zeros, params)

    def leaf(param):
        is_complex = jnp.issubdtype(dtype_of(param), jnp.complexfloating)
        of_complex = compute_dtype(dtype, np.complex64)
        return zeros_like(param, of_complex if is_complex else dtype)

    return jax.tree.map(leaf, params)


def copy_of_params(params: Params) -> Any:
    """The params as a buffer, float32 at least; a PRNG key has a placeholder."""

    def leaf(zero: jax.Array, param: Any) -> jax.Array:
        return zero if is_key(param) else zero + as_leaf(param).astype(zero.dtype)

    return jax.tree.map(leaf, zeros(params), params)


def real_zeros(params: Params, dtype: Any = None) -> Any:
    """Likewise, but real."""

    def leaf(param):
        found = compute_dtype(dtype_of(param)) if dtype is None else dtype
        return zeros_like(param, real_dtype(found))

    return jax.tree.map(leaf, params)


def map_leaves(
    formula: Callable[..., tuple[Any, ...]],
    updates: Updates,
    *buffers: Any,
    inputs: tuple[Any, ...] = (),
) -> tuple[Any, ...]:
    """Maps formula(g, *buffers, *inputs) -> (u, *buffers) over the leaves.

    The formula computes in 32 bits at least; the results are cast back to the dtypes of
    the gradient and the buffers.
    """
    trees = (updates, *buffers)
    map_row = partial(_map_row, formula, len(trees))
    new = list(map(map_row, align(*trees, *inputs)))
    columns = zip(*new, strict=True) if new else [[]] * len(trees)
    return tuple(map(rebuild, trees, columns))


def _map_row(formula: Callable[..., tuple[Any, ...]], count: int, row: Any) -> Any:
    if row[0] is None:
        return row[:count]
    row = jax.tree.map(jnp.asarray, row)
    dtype = compute_dtype(*(x.dtype for x in jax.tree.leaves(row)))

    def upcast(x):
        is_complex = jnp.issubdtype(x.dtype, jnp.complexfloating)
        return x.astype(dtype if is_complex else real_dtype(dtype))

    new = formula(*jax.tree.map(upcast, row))
    return jax.tree.map(lambda x, old: x.astype(old.dtype), new, row[:count])


def require_params(updates: Updates, params: Params) -> None:
    """Refuses an update without params."""
    if params is None and jax.tree.leaves(updates):
        refuse("params", "be given to `update`", params)


def refuse_complex(params: Params) -> None:
    """Refuses complex leaves."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(dtype_of(leaf), jnp.complexfloating):
            name = f"params{jax.tree_util.keystr(path)}"
            refuse(name, "be real", dtype_of(leaf))
