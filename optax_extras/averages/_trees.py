"""Where two trees differ."""

from typing import Any

import jax
import numpy as np

from optax_extras._errors import refuse


def shapes_of(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the leaves by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}


def refuse_other_leaves(argument: str, tree: Any, like: Any, whose: str) -> None:
    """Refuses a tree in which a leaf is missing, or has another shape."""
    found, wanted = shapes_of(tree), shapes_of(like)
    for path in {**wanted, **found}:
        if found.get(path) != wanted.get(path):
            must = f"have the leaves of the {whose}, {path}: {wanted.get(path)}"
            refuse(argument, must, found.get(path))
