"""Trees whose leaves may be in boxes of Flax, or None."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._types import Params


def is_none(x: Any) -> bool:
    """Keeps None as a leaf: a param without a gradient, or of another group."""
    return x is None


def without_boxes(tree: Any) -> Any:
    """A tree with arrays in the place of Flax' boxes, which say how these are sharded.

    Boxes are `Variable`s of Flax NNX and the `Partitioned` of Linen. A buffer whose
    shape is not the param's cannot stay in the param's box: its spec does not fit.
    """
    return jax.tree.map(_unboxed, tree, is_leaf=_is_box)


def unboxed_array(x: Any) -> jax.Array:
    """The array in a box, or the array itself."""
    (leaf,) = jax.tree.leaves(x)
    return jnp.asarray(leaf)


def align(tree: Any, *others: Any) -> list[tuple[Any, ...]]:
    """The leaves of a tree, None included, each with those of the other trees there."""
    first, *rest = map(without_boxes, (tree, *others))
    leaves, treedef = jax.tree.flatten(first, is_leaf=is_none)
    return list(zip(leaves, *map(treedef.flatten_up_to, rest), strict=True))


def rebuild(tree: Any, leaves: Any) -> Any:
    """A tree like this one, boxes included, of other leaves, without the Nones."""
    return jax.tree.structure(tree).unflatten(jax.tree.leaves(leaves))


def fit_boxes(buffer: Any, params: Params) -> Any:
    """A buffer made of the params, without the boxes of leaves of another shape."""

    def leaf(new: Any, old: Any) -> Any:
        same = list(map(jnp.shape, jax.tree.leaves(new))) == list(
            map(jnp.shape, jax.tree.leaves(old))
        )
        return new if same else _unboxed(new)

    return jax.tree.map(leaf, buffer, params, is_leaf=_is_box)


def _is_box(x: Any) -> bool:
    return hasattr(x, "unbox") or hasattr(x, "get_metadata")


def _unboxed(x: Any) -> Any:
    # Not by a method: those of NNX have had several names.
    return next(iter(jax.tree.leaves(x)), None) if _is_box(x) else x
