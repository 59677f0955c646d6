"""Groups of leaves, each updated by the rule that `by_path` gives to its group."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import leaves_with_paths
from optax_extras._kernel._missed_updates import Missed, groups_of_leaves, updates_made
from optax_extras._kernel.rule import Rule, check_rule, step_rule
from optax_extras._kernel.tableau import Tableau, varying_scalars
from optax_extras._learning_rates._source import RateState
from optax_extras._leaves import strong_copy
from optax_extras._lifted import Lifted, is_by_path
from optax_extras._numerics import as_float
from optax_extras._operands import row_indices, row_of
from optax_extras._types import Carry


class Unit(NamedTuple):
    """Leaves that are updated by the same tableau."""

    rule: Rule
    leaves: list[int]
    group: str | None = None
    """The name of the group; None if the rule does not depend on the path."""
    missed: str | None = None
    """The name of their `MissedUpdates`; None if they were never frozen."""


def units_of(rule: Any, tree: Any, count: int, *, strict: bool = False) -> list[Unit]:
    """The units of a tree of so many leaves, in the order of their first leaves."""
    if not is_by_path(rule):
        return [Unit(rule, [*range(count)])]
    names, units = rule.names(tree, strict=strict), {}
    for i, name in enumerate(names):
        if name is None or rule.is_frozen(name):
            continue
        if name not in units:
            of_group = rule.value(name)
            check_rule(of_group)
            units[name] = Unit(of_group, [], name)
        units[name].leaves.append(i)
    return [*units.values()]


def rules_of_groups(rule: Any) -> list[Rule]:
    """The rules of all groups that are not frozen, also of those without leaves."""
    names = (name for name in rule.every_name() if not rule.is_frozen(name))
    return [rule.value(name) for name in names]


def split_units(units: list[Unit], tree: Any, missed: Missed) -> list[Unit]:
    """The units, but leaves apart that have missed updates.

    Those of a rule whose `after` reads all leaves stay together.
    """
    if not missed:
        return units
    groups = groups_of_leaves(missed)
    names = [groups.get(path) for path, _ in leaves_with_paths(tree)]
    split = []
    for unit in units:
        parts: dict[str | None, list[int]] = {}
        for i in unit.leaves if unit.rule.after is None else ():
            parts.setdefault(names[i], []).append(i)
        # Those that were never frozen first: their carry is that of the group.
        for name in sorted(parts, key=lambda x: x is not None):
            split.append(unit._replace(leaves=parts[name], missed=name))
        split += [] if parts else [unit]
    return split


class UnitStep(NamedTuple):
    """What a unit does in an update."""

    tableau: Tableau
    carry: Any
    never_zero: frozenset[str]
    """The coefficients that are arrays, but known not to be 0."""


def step_units(
    rule: Any, units: list[Unit], t: Any, missed: Missed, carries: list[Any]
) -> list[UnitStep]:
    """The tableau of each unit and its new carry."""
    in_groups = is_by_path(rule) and bool(units)
    if in_groups and all(unit.missed is None for unit in units):
        together = _step_together(rule, units, t)
        if together is not None:
            return _steps_from_vectors(together, t, units, carries)
    steps = []
    for unit, carry in zip(units, carries, strict=True):
        made = step_rule(unit.rule, updates_made(t, missed, unit.missed), carry)
        steps.append(UnitStep(*made, unit.rule.never_zero))
    return _from_a_table(steps, t) if in_groups else steps


def _from_a_table(steps: list[UnitStep], t: Any) -> list[UnitStep]:
    """The steps with the scalars that differ between them as rows of a table."""
    tableaus = [_without_vectors_of_numpy(step.tableau) for step in steps]
    names = varying_scalars(tableaus)
    rows = [[as_float(getattr(tableau, x)) for x in names] for tableau in tableaus]
    scalars = [x for row in rows for x in row]
    if scalars and not any(x.ndim for x in scalars):
        table = jnp.stack(scalars).reshape(len(steps), len(names))
        rows = [row_of(table, i) for i in row_indices(len(steps), t)]
    return [
        step._replace(tableau=tableau._replace(**dict(zip(names, row, strict=True))))
        for step, tableau, row in zip(steps, tableaus, rows, strict=True)
    ]


def _step_together(rule: Any, units: list[Unit], t: Any) -> Tableau | None:
    """The tableaus of groups whose rule carries nothing, as vectors over groups.

    XLA compiles a kernel for every scalar; of vectors there are a few for all groups.
    None if that is not possible.
    """
    names = [unit.group for unit in units]
    every = rule.together(names) if isinstance(rule, Lifted) else None
    if every is None or every.after is not None or jax.tree.leaves(every.init()):
        return None
    return step_rule(every, t, every.init())[0]


def _steps_from_vectors(
    tableau: Tableau, t: Any, units: list[Unit], carries: list[Any]
) -> list[UnitStep]:
    """The tableau of each group from vectors over groups."""
    fields = tableau._asdict().items()
    vectors = {name: x for name, x in fields if x is not None and np.ndim(x) == 1}
    known = {name: x for name, x in vectors.items() if isinstance(x, np.ndarray)}
    # A 0 or 1 that is known while tracing saves its group a term.
    apart = {x for x, column in known.items() if np.isin(column, (0, 1)).any()}
    names = [name for name in vectors if name not in apart]
    never_zero = frozenset(
        name
        for name in names
        if name in known and (np.abs(known[name]) > np.finfo(np.float32).tiny).all()
    )

    rows: list[Any] = [()] * len(carries)
    if names:
        table = jnp.stack([as_float(vectors[name]) for name in names], 1)
        rows = [row_of(table, i) for i in row_indices(len(carries), t)]
    steps = []
    for k, (unit, row) in enumerate(zip(units, rows, strict=True)):
        scalars = {name: known[name][k] for name in apart}
        scalars |= dict(zip(names, row, strict=True))
        never = never_zero | unit.rule.never_zero
        steps.append(UnitStep(tableau._replace(**scalars), carries[k], never))
    return steps


def _without_vectors_of_numpy(tableau: Tableau) -> Tableau:
    """With arrays of JAX, which can be compared with None and with numbers."""
    vectors = {
        name: jnp.asarray(x)
        for name, x in tableau._asdict().items()
        if isinstance(x, np.ndarray)
    }
    return tableau._replace(**vectors)


def first_carry(rule: Rule) -> Any:
    """The carry before any update, of vectors if the first step makes vectors."""
    carry = jax.tree.map(strong_copy, rule.init())
    if not jax.tree.leaves(carry):
        return carry
    t = jnp.ones((), jnp.int32)
    new = jax.eval_shape(lambda x: step_rule(rule, t, x)[1], carry)
    return jax.tree.map(
        lambda x, y: jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, y.shape)),
        carry,
        new,
    )


def carry_of(unit: Unit, carry: Carry) -> Any:
    """The carry of a unit, from a state that may be of another grouping."""
    by_group = isinstance(carry, Mapping)
    if unit.group is None and not by_group:
        return carry
    first = unit.rule.init()
    is_own = jax.tree.structure(carry) == jax.tree.structure(first)
    if unit.group is None and is_own:
        return carry
    if by_group and unit.group in carry:
        old = carry[unit.group]
        is_same = jax.tree.structure(old) == jax.tree.structure(first)
        return old if is_same else _with_own_numbers(old, first)
    other = next(iter(carry.values()), first) if by_group and not is_own else carry
    return _with_own_numbers(other, first)


def _with_own_numbers(carry: Carry, first: Any) -> Any:
    """The carry of another group, but with the learning rate of this one.

    The first carry, if that of the other group is of another rule.
    """

    def is_rate(x: Any) -> bool:
        return isinstance(x, RateState)

    trees = [jax.tree.structure(x, is_leaf=is_rate) for x in (carry, first)]
    if trees[0] != trees[1]:
        return first
    return jax.tree.map(
        lambda x, y: y if is_rate(x) else x, carry, first, is_leaf=is_rate
    )


def joined_carries(units: list[Unit], carries: list[Any], old: Any) -> Any:
    """What a state holds of the carries: with groups a dict, by group.

    A rule that carries nothing has the same state whatever the groups are.
    """
    if not carries or not jax.tree.leaves(carries):
        return carries[0] if carries else old
    if units[0].group is None:
        return carries[0]
    # The last entry of a key wins: of a split group that of the leaves never frozen.
    others = old if isinstance(old, Mapping) else {}
    pairs = [*zip(units, carries, strict=True)]
    return {**others, **{unit.group: carry for unit, carry in reversed(pairs)}}


def tree_of(treedef: Any, unit: Unit, values: list[Any]) -> Any:
    """A tree with the values at the leaves of a unit, and None at all others."""
    row: list[Any] = [None] * treedef.num_leaves
    for i, value in zip(unit.leaves, values, strict=True):
        row[i] = value
    return treedef.unflatten(row)


def part_of(treedef: Any, unit: Unit, tree: Any) -> Any:
    """The tree with None at the leaves of other units."""
    if tree is None:
        return None
    leaves = treedef.flatten_up_to(tree)
    return tree_of(treedef, unit, [leaves[i] for i in unit.leaves])
