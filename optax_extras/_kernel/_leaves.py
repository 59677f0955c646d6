"""What the optimizers outside the tableau family share: a formula for one leaf."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras import _checks
from optax_extras._numerics import compute_dtype, real_dtype, wide_zeros, zeros_like


def real_zeros(params: Any) -> Any:
    """A buffer like the params, real and float32 at least."""

    def leaf(param):
        return zeros_like(param, real_dtype(compute_dtype(jnp.asarray(param).dtype)))

    return jax.tree.map(leaf, params)


def zeros(params: Any) -> Any:
    """A buffer like the params, float32 at least."""
    return jax.tree.map(wide_zeros, params)


def by_leaf(
    formula: Callable[..., tuple[Any, ...]], updates: Any, *buffers: Any
) -> tuple[Any, ...]:
    """The updates and the buffers of formula(g, *buffers) -> (u, *buffers).

    Each leaf is worked on in 32 bits at least and leaves in the dtype that it had. A
    buffer may hold a tree of its own in the place of a leaf.
    """
    grads, treedef = jax.tree.flatten(updates, is_leaf=lambda x: x is None)
    rows = zip(grads, *map(treedef.flatten_up_to, buffers), strict=True)
    new = [_one(formula, *row) for row in rows]
    columns = zip(*new, strict=True) if new else [[]] * (1 + len(buffers))
    return tuple(treedef.unflatten(column) for column in columns)


def _one(formula: Callable[..., tuple[Any, ...]], g: Any, *buffers: Any) -> Any:
    if g is None:
        return (None, *buffers)
    row = jax.tree.map(jnp.asarray, (g, *buffers))
    dtype = compute_dtype(*(x.dtype for x in jax.tree.leaves(row)))

    def wide(x):
        is_complex = jnp.issubdtype(x.dtype, jnp.complexfloating)
        return x.astype(dtype if is_complex else real_dtype(dtype))

    new = formula(*jax.tree.map(wide, row))
    return jax.tree.map(lambda x, old: x.astype(old.dtype), new, row)


def needs_params(rule: str, updates: Any, params: Any) -> None:
    """Refuses an update that was not given the params."""
    if params is None and jax.tree.leaves(updates):
        _checks.refuse(rule, "params", "be given to `update`", params)


def refuse_complex(rule: str, params: Any) -> None:
    """Refuses a complex leaf, by its path."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.complexfloating):
            where, must = f"params{jax.tree_util.keystr(path)}", "be real"
            _checks.refuse(rule, where, must, jnp.asarray(leaf).dtype)
