"""Applies a formula to every leaf, for the optimizers that are not a `Rule`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._boxes import align, rebuild
from optax_extras._errors import refuse
from optax_extras._leaves import (
    compute_dtype,
    dtype_of,
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
        least = np.complex64 if is_complex else dtype
        return zeros_like(param, jnp.result_type(dtype, least))

    return jax.tree.map(leaf, params)


def real_zeros(params: Params, dtype: Any = None) -> Any:
    """Likewise, but real."""

    def leaf(param):
        own = compute_dtype(dtype_of(param)) if dtype is None else dtype
        return zeros_like(param, real_dtype(own))

    return jax.tree.map(leaf, params)


def map_leaves(
    formula: Callable[..., tuple[Any, ...]], updates: Updates, *buffers: Any
) -> tuple[Any, ...]:
    """Maps formula(g, *buffers) -> (u, *buffers) over the leaves.

    The formula computes in 32 bits at least; the results are cast back to the dtypes of
    the arguments. A buffer may have a subtree in the place of a leaf.
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
    """Refuses an update without params."""
    if params is None and jax.tree.leaves(updates):
        refuse("params", "be given to `update`", params)


def refuse_complex(params: Params) -> None:
    """Refuses complex leaves."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(dtype_of(leaf), jnp.complexfloating):
            name = f"params{jax.tree_util.keystr(path)}"
            refuse(name, "be real", dtype_of(leaf))
