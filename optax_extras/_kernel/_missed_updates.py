"""The updates that frozen params have missed.

Adam's bias correction goes by the number of updates of a param, as PyTorch counts it. A
state has one count. For params that are or were frozen it also holds how many of these
updates they have missed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

Missed = Mapping[str, "MissedUpdates"]


class MissedUpdates(NamedTuple):
    """The updates that some params have missed because they were frozen together."""

    count: ArrayLike
    """Shape (), int32."""
    leaves: dict
    """The paths of these params, as keys."""


def first_missed(frozen: Mapping[str, str]) -> dict[str, MissedUpdates]:
    """Before any update: 0 for each group of frozen leaves, by the leaves' paths."""
    found: dict[str, dict[str, tuple]] = {}
    for path, group in frozen.items():
        found.setdefault(group, {})[path] = ()
    return {x: MissedUpdates(jnp.zeros((), jnp.int32), y) for x, y in found.items()}


def missed_after(old: Missed, frozen: Mapping[str, str]) -> dict[str, MissedUpdates]:
    """After an update: one more for the leaves that are frozen now."""
    if not old and not frozen:
        return {}
    known = groups_of_leaves(old)
    parts: dict[tuple[str, bool, bool], dict[str, tuple]] = {}
    for path in dict.fromkeys([*known, *frozen]):
        group = known.get(path) or frozen[path]
        key = group, path in known, path in frozen
        parts.setdefault(key, {})[path] = ()
    new: dict[str, MissedUpdates] = {}
    for (group, is_known, is_frozen), leaves in parts.items():
        count: Any = old[group].count if is_known else jnp.zeros((), jnp.int32)
        name, number = group, 1
        while name in new:  # of a group only some are frozen now
            number += 1
            name = f"{group} {number}"
        count = optax.safe_increment(count) if is_frozen else jnp.asarray(count)
        new[name] = MissedUpdates(count, leaves)
    return new


def groups_of_leaves(missed: Missed) -> dict[str, str]:
    """The names of the groups by the paths of their leaves."""
    return {path: name for name, group in missed.items() for path in group.leaves}


def updates_made(t: Any, missed: Missed, name: str | None) -> Any:
    """The number of updates of the leaves of a group, this one included."""
    return t if name is None else jnp.maximum(t - missed[name].count, 1)
