"""The averages in a state, wherever they are in the tree."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._leaves import is_key
from optax_extras._types import State

_LOST = (
    "There is one as a dict: restore a saved state into the structure of "
    "`tx.init(params)`; in Flax NNX give the optimizer itself, or "
    "`optimizer.opt_state`, in place of its `nnx.state`."
)


def averaged_states(state: State, path: str = "") -> list[tuple[str, Any]]:
    """The states that have averages in a tree, with their paths."""
    found = []
    nodes = jax.tree_util.tree_leaves_with_path(state, is_leaf=_has_averages)
    for below, x in nodes:
        if _has_averages(x):
            place = path + jax.tree_util.keystr(below)
            found.append((place, x))
            found += averaged_states(x.inner_state, f"{place}.inner_state")
    return found


def _has_averages(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "averaged")


def in_params_dtypes(tree: Any, like: Any) -> Any:
    """An average in the dtypes of `like`, if there are any, as new arrays."""
    leaves, dtypes = jax.tree.leaves(tree), jax.tree.leaves(like)
    pairs = zip(leaves, dtypes or leaves, strict=True)
    new = [jnp.copy(x) if is_key(x) else jnp.array(x, like.dtype) for x, like in pairs]
    return jax.tree.structure(tree).unflatten(new)


def hint_if_lost(state: State) -> str:
    """What to do about averages whose state has become a dict, as in a saved file."""
    is_lost = any(map(_is_dict, jax.tree.leaves(state, is_leaf=_is_dict)))
    return _LOST if is_lost else ""


def _is_dict(x: Any) -> bool:
    return hasattr(x, "keys") and {"averages", "count"} <= {*x.keys()}
