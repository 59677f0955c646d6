"""Sums over leaves that are sharded, inside `jax.shard_map`."""

from typing import Any

import jax
from jax.sharding import PartitionSpec

from optax_extras._errors import refuse, refuse_kind


def check_axes(x: Any, *, trees: bool = True) -> Any:
    """Refuses all but None, names of mesh axes and, with `trees`, PartitionSpecs."""
    if x is None or _is_names(x):
        return x
    leaves = jax.tree.leaves(x, is_leaf=_is_spec)
    if trees and leaves and all(map(_is_spec, leaves)):
        return x
    must = "be None, a name, a tuple of names"
    if trees:
        must += ", or a tree of `jax.sharding.PartitionSpec`"
    refuse_kind("axis_name", must, x)


def sum_of_leaves(axis_name: Any, leaves: Any, like: Any) -> Any:
    """The sum of `leaves`, a list with a tree of numbers for each leaf of `like`."""
    by_axes: dict[tuple[str, ...], list[Any]] = {}
    for axes, leaf in zip(_axes(axis_name, like), leaves, strict=True):
        by_axes.setdefault(axes, []).append(leaf)
    sums = [
        jax.lax.psum(_sum(some), axes) if axes else _sum(some)
        for axes, some in by_axes.items()
    ]
    return _sum(sums)


def _sum(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *xs: sum(xs[1:], xs[0]), *trees)


def _axes(axis_name: Any, like: Any) -> list[tuple[str, ...]]:
    """The mesh axes over which each leaf is sharded."""
    if axis_name is None or _is_names(axis_name):
        names = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name or ())
        return [names] * len(jax.tree.leaves(like))
    try:
        specs = jax.tree.broadcast(axis_name, like, is_leaf=_is_spec)
    except ValueError as error:
        must = f"be a prefix of the params' tree ({error})"
        refuse("axis_name", must, axis_name)
    return [_names(spec) for spec in jax.tree.leaves(specs, is_leaf=_is_spec)]


def _names(spec: PartitionSpec) -> tuple[str, ...]:
    entries = [(x,) if isinstance(x, str) else x for x in spec if x is not None]
    return tuple(name for names in entries for name in names)


def _is_names(x: Any) -> bool:
    names = (x,) if isinstance(x, str) else x
    return isinstance(names, tuple) and all(isinstance(n, str) for n in names)


def _is_spec(x: Any) -> bool:
    return isinstance(x, PartitionSpec)
