"""Meshes with explicit axes, on which JAX wants to know how every result is split."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optax_extras._values import is_traced


def refuse_unlike_shardings(
    argument: str, treedef: Any, leaves: list[Any], members: list[int]
) -> None:
    """Refuses leaves in one stack that are sharded in different ways.

    They would be gathered on every device. Under `jit` this is seen where a mesh has
    explicit axes; else a leaf does not know there how it lies.
    """
    present = [i for i in members if leaves[i] is not None]
    seen = [(i, x) for i in present if (x := _sharding(leaves[i])) is not None]
    for i, sharding in seen[1:]:
        first, like = seen[0]
        if not _are_equivalent(like, sharding, jnp.ndim(leaves[i])):
            named = treedef.unflatten(range(treedef.num_leaves))
            paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(named)]
            one, other = (jax.tree_util.keystr(paths[at]) for at in (i, first))
            got, wanted = (_spec_of(leaves[at]) for at in (i, first))
            raise ValueError(
                f"stacked: `{argument}`{one} must be sharded as {argument}{other} is, "
                f"with which it would be in one stack, got {got}, not {wanted}. Give "
                "leaves of each sharding a `stacked` of their own, in "
                "`optax.partition`."
            )


def _sharding(leaf: Any) -> Any:
    """How a leaf lies, where that is known and does not follow from the others."""
    if is_traced(leaf):
        spec = jax.typeof(leaf).sharding.spec
        return [(axis, names) for axis, names in enumerate(spec) if names]
    return leaf.sharding if getattr(leaf, "committed", False) else None


def _spec_of(leaf: Any) -> str:
    known = is_traced(leaf)
    return str(jax.typeof(leaf).sharding.spec if known else leaf.sharding)


def _are_equivalent(one: Any, other: Any, ndim: int) -> bool:
    if isinstance(one, jax.sharding.Sharding) and not isinstance(other, list):
        return one.is_equivalent_to(other, ndim)
    return one == other


def run_on_auto_axes(function: Callable[..., Any], like: jax.Array, out: Any) -> Any:
    """The function, within which the compiler settles how arrays are split.

    What it returns is split as `out` says: a tree of what `sharding_like` returns.
    """
    mesh = jax.typeof(like).sharding.mesh
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
    if not explicit:
        return function
    # As one program: by operation, jax 0.8 refuses arrays that come out uneven.
    return jax.sharding.auto_axes(jax.jit(function), axes=explicit, out_sharding=out)


def sharding_like(like: jax.Array, shape: tuple[int, ...]) -> NamedSharding:
    """Axis by axis as `like` is, which has as many; whole where it comes out uneven."""
    sharding = jax.typeof(like).sharding
    spec = [
        names if n % _devices(sharding.mesh, names) == 0 else None
        for n, names in zip(shape, sharding.spec, strict=True)
    ]
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def without_boxes(tree: Any) -> Any:
    """A tree with arrays in the place of Flax' boxes, which say how these are sharded.

    Boxes are `Variable`s of Flax NNX and the `Partitioned` of Linen. A buffer whose
    shape is not the param's cannot stay in the param's box: its spec does not fit.
    """
    return jax.tree.map(_unboxed, tree, is_leaf=_is_box)


def align(tree: Any, *others: Any) -> list[tuple[Any, ...]]:
    """The leaves of a tree, None included, each with those of the other trees there."""
    bare, *rest = map(without_boxes, (tree, *others))
    leaves, treedef = jax.tree.flatten(bare, is_leaf=lambda x: x is None)
    return list(zip(leaves, *map(treedef.flatten_up_to, rest), strict=True))


def rebuild(tree: Any, leaves: Any) -> Any:
    """A tree like this one, boxes included, of other leaves, without the Nones."""
    return jax.tree.structure(tree).unflatten(jax.tree.leaves(leaves))


def fit_boxes(buffer: Any, params: Any) -> Any:
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


def _devices(mesh: Any, names: Any) -> int:
    names = () if names is None else (names,) if isinstance(names, str) else names
    return math.prod(mesh.shape[name] for name in names)
