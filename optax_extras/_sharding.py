"""Meshes with explicit axes, on which JAX must know the sharding of every result."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optax_extras._check_values import is_traced


def refuse_unlike_shardings(
    argument: str, treedef: Any, leaves: list[Any], members: list[int]
) -> None:
    """Refuses leaves of one stack that are sharded differently.

    Stacking them would gather them on every device. Under `jit` the sharding of a leaf
    is known only on a mesh with explicit axes.
    """
    present = [i for i in members if leaves[i] is not None]
    known = [(i, x) for i in present if (x := _sharding(leaves[i])) is not None]
    for i, sharding in known[1:]:
        first, like = known[0]
        if not _are_equivalent(like, sharding, jnp.ndim(leaves[i])):
            named = treedef.unflatten(range(treedef.num_leaves))
            paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(named)]
            one, other = (jax.tree_util.keystr(paths[at]) for at in (i, first))
            got, wanted = (_spec_of(leaves[at]) for at in (i, first))
            raise ValueError(
                f"stacked: `{argument}`{one} must be sharded as {argument}{other}, "
                f"which is in the same stack, got {got}, not {wanted}. Wrap the leaves "
                "of each sharding in a separate `stacked`, in `optax.partition`."
            )


def _sharding(leaf: Any) -> Any:
    """How a leaf is sharded; None if that is not known or not committed."""
    if is_traced(leaf):
        spec = jax.typeof(leaf).sharding.spec
        return [(axis, names) for axis, names in enumerate(spec) if names]
    return leaf.sharding if getattr(leaf, "committed", False) else None


def _spec_of(leaf: Any) -> str:
    return str(jax.typeof(leaf).sharding.spec if is_traced(leaf) else leaf.sharding)


def _are_equivalent(one: Any, other: Any, ndim: int) -> bool:
    if isinstance(one, jax.sharding.Sharding) and not isinstance(other, list):
        return one.is_equivalent_to(other, ndim)
    return one == other


def run_on_auto_axes(function: Callable[..., Any], like: jax.Array, out: Any) -> Any:
    """The function, with the compiler choosing the shardings inside it.

    Its results are sharded by `out`, a tree of results of `sharding_like`.
    """
    mesh = jax.typeof(like).sharding.mesh
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    explicit = tuple(name for name, kind in kinds if kind == AxisType.Explicit)
    if not explicit:
        return function
    # Under jit: run op by op, jax 0.8 refuses axes that do not divide evenly.
    return jax.sharding.auto_axes(jax.jit(function), axes=explicit, out_sharding=out)


def sharding_like(like: jax.Array, shape: tuple[int, ...]) -> NamedSharding:
    """The sharding of `like` for another shape of the same rank.

    An axis that does not divide evenly is replicated.
    """
    sharding = jax.typeof(like).sharding
    spec = [
        names if n % _devices(sharding.mesh, names) == 0 else None
        for n, names in zip(shape, sharding.spec, strict=True)
    ]
    return NamedSharding(sharding.mesh, PartitionSpec(*spec))


def _devices(mesh: Any, names: Any) -> int:
    names = () if names is None else (names,) if isinstance(names, str) else names
    return math.prod(mesh.shape[name] for name in names)
