"""How leaves lie over the devices: alike, or not to be put into one stack."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras import _checks


def refuse_unlike_shardings(
    rule: str, argument: str, treedef: Any, leaves: list[Any], members: list[int]
) -> None:
    """Refuses leaves in one stack that lie over the devices in different ways.

    They would be gathered on every device. Under `jit` this is seen where a mesh has
    explicit axes; else a leaf does not know there how it lies.
    """
    there = [i for i in members if leaves[i] is not None]
    seen = [(i, x) for i in there if (x := _sharding(leaves[i])) is not None]
    for i, sharding in seen[1:]:
        first, like = seen[0]
        if not _lie_alike(like, sharding, jnp.ndim(leaves[i])):
            named = treedef.unflatten(range(treedef.num_leaves))
            paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(named)]
            one, other = (jax.tree_util.keystr(paths[at]) for at in (i, first))
            got, wanted = (_spelled(leaves[at]) for at in (i, first))
            raise ValueError(
                f"{rule}: `{argument}`{one} must be sharded as {argument}{other} is, "
                f"with which it would be in one stack, got {got}, not {wanted}. Give "
                f"leaves of each sharding a `{rule}` of their own, in "
                "`optax.partition`."
            )


def _sharding(leaf: Any) -> Any:
    """How a leaf lies, where that is known and does not follow from the others."""
    if _checks.is_traced(leaf):
        spec = jax.typeof(leaf).sharding.spec
        return [(axis, names) for axis, names in enumerate(spec) if names]
    return leaf.sharding if getattr(leaf, "committed", False) else None


def _spelled(leaf: Any) -> str:
    known = _checks.is_traced(leaf)
    return str(jax.typeof(leaf).sharding.spec if known else leaf.sharding)


def _lie_alike(one: Any, other: Any, ndim: int) -> bool:
    if isinstance(one, jax.sharding.Sharding) and not isinstance(other, list):
        return one.is_equivalent_to(other, ndim)
    return one == other
