"""Checks that snapshots are of one run."""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from optax_extras._checks import Range
from optax_extras._errors import refuse, refuse_kind
from optax_extras._values import concrete, is_real, items, static_count, untraced
from optax_extras.averages._snapshot import Snapshot
from optax_extras.averages._trees import first_unlike, shapes_of


def _snapshots(argument: str, xs: Any) -> list[Snapshot]:
    """The snapshots, with Python numbers for counts and gammas."""
    given = enumerate(items(argument, xs))
    found = [_snapshot(f"{argument}[{i}]", x) for i, x in given]
    if len(found) < 2:
        refuse(argument, "be at least two", xs)
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
    if not isinstance(x, Snapshot):
        refuse_kind(argument, "be an oxe.averages.Snapshot", x)
    if not x.averages or set(x.averages) != set(x.gammas):
        must = "have a gamma for each of its averages, at least one"
        refuse(argument, must, {"averages": [*x.averages], "gammas": [*x.gammas]})
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
    wanted = shapes_of(next(iter(first.averages.values())))
    for name, tree in x.averages.items():
        found = shapes_of(tree)
        path = first_unlike(found, wanted)
        if path is not None:
            must = f"have the leaves of the first snapshot, {path}: {wanted.get(path)}"
            refuse(f"{argument}.averages[{name}]", must, found.get(path))
