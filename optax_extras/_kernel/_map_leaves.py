"""What the optimizers outside the tableau family share: a formula for one leaf."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._errors import refuse
from optax_extras._numerics import (
    compute_dtype,
    dtype_of,
    real_dtype,
    upcast_zeros,
    zeros_like,
)
from optax_extras._sharding import align, rebuild
from optax_extras._types import Params, Updates


def real_zeros(params: Params) -> Any:
    """A buffer like the params, real and float32 at least."""

    def leaf(param):
        return zeros_like(param, real_dtype(compute_dtype(dtype_of(param))))

    return jax.tree.map(leaf, params)


def zeros(params: Params) -> Any:
    """A buffer like the params, float32 at least."""
    return jax.tree.map(upcast_zeros, params)


def map_leaves(
    formula: Callable[..., tuple[Any, ...]], updates: Updates, *buffers: Any
) -> tuple[Any, ...]:
    """The updates and the buffers of formula(g, *buffers) -> (u, *buffers).

    Each leaf is worked on in 32 bits at least and leaves in the dtype that it had. A
    buffer may hold a tree of its own in the place of a leaf.
    """
    trees = (updates, *buffers)
    new = [_map_leaf(formula, *row) for row in align(*trees)]
    columns = zip(*new, strict=True) if new else [[]] * len(trees)
    return tuple(map(rebuild, trees, columns))


def _map_leaf(formula: Callable[..., tuple[Any, ...]], g: Any, *buffers: Any) -> Any:
    if g is None:
        return (None, *buffers)
    row = jax.tree.map(jnp.asarray, (g, *buffers))
    dtype = compute_dtype(*(x.dtype for x in jax.tree.leaves(row)))

    def wide(x):
        is_complex = jnp.issubdtype(x.dtype, jnp.complexfloating)
        return x.astype(dtype if is_complex else real_dtype(dtype))

    new = formula(*jax.tree.map(wide, row))
    return jax.tree.map(lambda x, old: x.astype(old.dtype), new, row)


def require_params(updates: Updates, params: Params) -> None:
    """Refuses an update that was not given the params."""
    if params is None and jax.tree.leaves(updates):
        refuse("params", "be given to `update`", params)


def refuse_complex(params: Params) -> None:
    """Refuses a complex leaf, by its path."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(dtype_of(leaf), jnp.complexfloating):
            where, must = f"params{jax.tree_util.keystr(path)}", "be real"
            refuse(where, must, dtype_of(leaf))
