"""The averages in a state, wherever they are in the tree."""

from typing import Any

import jax


def averaged_states(state: Any, path: str = "") -> list[tuple[str, Any]]:
    """The states of `with_average` in a tree, with their paths."""
    found = []
    nodes = jax.tree_util.tree_leaves_with_path(state, is_leaf=_has_averages)
    for below, x in nodes:
        if _has_averages(x):
            place = path + jax.tree_util.keystr(below)
            inner = averaged_states(x.inner_state, f"{place}.inner_state")
            found += [(place, x), *inner]
    return found


def _has_averages(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "averaged")
