"""Checks that snapshots are of one run."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import (
    concrete,
    is_real,
    is_traced,
    items,
    static_count,
    untraced,
)
from optax_extras._checks import Range
from optax_extras._errors import refusal, refuse, refuse_kind
from optax_extras.averages._snapshot import Snapshot
from optax_extras.averages._trees import refuse_other_leaves, shapes_of


def _snapshots(argument: str, xs: Any) -> list[Snapshot]:
    """The snapshots, with Python numbers for counts and gammas."""
    given = enumerate(items(argument, xs))
    found = [_snapshot(f"{argument}[{i}]", x) for i, x in given]
    if len(found) < 2:
        refuse(argument, "be at least two", len(found))
    for i, (before, x) in enumerate(itertools.pairwise(found), 1):
        if x.count <= before.count:
            must = f"have a count above {before.count}, that of the one before"
            refuse(f"{argument}[{i}]", must, x.count)
    for i, x in enumerate(found):
        _refuse_other_averages(f"{argument}[{i}]", x, found[0])
        _refuse_other_leaves(f"{argument}[{i}]", x, found[0])
    return found


Snapshots = Annotated[
    Sequence[Snapshot], Range("Snapshots by increasing count", _snapshots)
]


def _snapshot(argument: str, x: Any) -> Snapshot:
    if isinstance(x, Mapping):
        hint = "Write `oxe.averages.Snapshot(**x)` for one that was restored as a dict."
        must, got = "be an oxe.averages.Snapshot", f"one of type {type(x).__name__}"
        raise refusal(TypeError, argument, must, got, hint)
    if not isinstance(x, Snapshot):
        refuse_kind(argument, "be an oxe.averages.Snapshot", x)
    if not x.averages or set(x.averages) != set(x.gammas):
        must = "have a gamma for each of its averages, at least one"
        refuse(argument, must, {"averages": [*x.averages], "gammas": [*x.gammas]})
    if is_real(x.count) and not is_traced(x.count) and concrete(x.count) == 0:
        hint = "Leave out the snapshot before the first update: it has no average yet."
        refuse(f"{argument}.count", "be at least 1", 0, hint)
    if isinstance(x.count, Mapping):
        hint = "Restore snapshots of Flax NNX into the structure of a snapshot."
        refuse_kind(f"{argument}.count", "be an integer", x.count, hint)
    count = static_count(f"{argument}.count", x.count)
    gammas = {key: _gamma(f"{argument}.gammas", key, x.gammas[key]) for key in x.gammas}
    return Snapshot(count, x.averages, gammas)


def _gamma(argument: str, name: str, x: Any) -> float:
    if not is_real(x):
        refuse_kind(f"{argument}[{name}]", "be a real number", x)
    value = float(concrete(untraced(f"{argument}[{name}]", x)))
    if not value >= 0:
        refuse(f"{argument}[{name}]", "be in [0, inf]", value)
    return value


def _refuse_other_averages(argument: str, x: Snapshot, first: Snapshot) -> None:
    """The weights themselves, which have no width, may be in some snapshots only."""
    found, wanted = (
        {name: gamma for name, gamma in y.gammas.items() if gamma < np.inf}
        for y in (x, first)
    )
    if found != wanted:
        refuse(argument, f"have the power averages of the first, {wanted}", found)


def _refuse_other_leaves(argument: str, x: Snapshot, first: Snapshot) -> None:
    """Other shapes or containers, or integers in the place of floats."""
    like = next(iter(first.averages.values()))
    for name, tree in x.averages.items():
        where = f"{argument}.averages[{name}]"
        refuse_other_leaves(where, tree, like, "first snapshot")
        found, wanted = map(jax.tree.structure, (tree, like))
        if found != wanted:
            must = f"have the structure of the first snapshot, {wanted}"
            refuse(where, must, found)
        leaves = map(jax.tree.leaves, (tree, like))
        for path, y, of_first in zip(shapes_of(like), *leaves, strict=True):
            if _kind(y) != _kind(of_first):
                must = f"have the leaves of the first snapshot, {path}: "
                refuse(where, must + _kind(of_first), _kind(y))


def _kind(leaf: Any) -> str:
    dtype = getattr(leaf, "dtype", None) or np.asarray(leaf).dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "complex"
    return "floating" if jnp.issubdtype(dtype, jnp.floating) else "not floating"
