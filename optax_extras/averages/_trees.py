"""Where two trees differ."""

from typing import Any

import jax
import numpy as np

Shapes = dict[str, tuple[int, ...]]


def shapes_of(tree: Any) -> Shapes:
    """The shapes of the leaves by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in leaves}


def first_unlike(found: Shapes, wanted: Shapes) -> str | None:
    """The path of the first leaf that is missing, or has another shape."""
    paths = {**wanted, **found}
    return next((p for p in paths if found.get(p) != wanted.get(p)), None)
