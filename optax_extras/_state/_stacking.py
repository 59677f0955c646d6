"""Stacks leaves of the same shape and dtype, for `stacked`."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._errors import refuse
from optax_extras._leaves import as_leaf
from optax_extras._sharding import refuse_unlike_shardings
from optax_extras._types import Params, State
from optax_extras.averages._in_state import averaged_states


class GroupedLeaves(NamedTuple):
    """A tree like the params, as the transformation inside `stacked` gets it."""

    stacks: tuple
    """An array for each group: its leaves along a new first axis."""
    unstacked: tuple
    """The other leaves, in the order of the tree."""


class Stacks(NamedTuple):
    """Which leaves of a tree are stacked, by their indices among all leaves."""

    treedef: Any
    kinds: list[tuple[tuple[int, ...], Any]]
    """The shape and dtype of every leaf."""
    groups: list[list[int]]
    unstacked: list[int]

    def stack(self, argument: str, tree: Any) -> Any:
        """Stacks a params-shaped tree; leaves that are None become zeros."""
        if not self.groups:
            return tree
        try:
            leaves = self.treedef.flatten_up_to(tree)
        except ValueError:
            must = f"have the params' tree structure, {self.treedef}"
            refuse(argument, must, jax.tree.structure(tree))
        stacks = []
        for group in self.groups:
            present = [leaves[i] for i in group if leaves[i] is not None]
            shape, dtype = self.kinds[group[0]]
            for other in {jnp.shape(x) for x in present} - {shape}:
                must = f"have leaves of the params' shapes, here {shape}"
                refuse(argument, must, other)
            dtypes = sorted({str(jnp.result_type(x)) for x in present})
            if len(dtypes) > 1:
                must = "have one dtype where the params have one shape and dtype"
                refuse(argument, must, " and ".join(dtypes))
            nothing = jnp.zeros(shape, dtypes[0] if dtypes else dtype)
            parts = [nothing if leaves[i] is None else leaves[i] for i in group]
            refuse_unlike_shardings(argument, self.treedef, leaves, group)
            stacks.append(_stack(list(map(as_leaf, parts))))
        return GroupedLeaves(tuple(stacks), tuple(leaves[i] for i in self.unstacked))

    def unstack(self, groups: Any) -> Any:
        """The inverse of `stack`."""
        if not self.groups:
            return groups
        leaves: list[Any] = [None] * len(self.kinds)
        for i, leaf in zip(self.unstacked, groups.unstacked, strict=True):
            leaves[i] = leaf
        for group, stack in zip(self.groups, groups.stacks, strict=True):
            rows = jax.lax.split(stack, [1] * len(group))
            for i, row in zip(group, rows, strict=True):
                leaves[i] = jax.lax.squeeze(row, (0,))
        return self.treedef.unflatten(leaves)

    def missing(self, tree: Any) -> list[list[int]]:
        """For each group, which of its leaves are None in a params-shaped tree."""
        leaves = self.treedef.flatten_up_to(tree)
        return [
            [at for at, i in enumerate(group) if leaves[i] is None]
            for group in self.groups
        ]

    def is_like(self, tree: Any) -> bool:
        """Whether a tree has the structure and shapes of the params."""
        leaves, treedef = jax.tree.flatten(tree)
        shapes = [shape for shape, _ in self.kinds]
        return treedef == self.treedef and shapes == list(map(jnp.shape, leaves))


def stacks_of(params: Params, group: int, max_size: int) -> Stacks:
    """Groups of at most `group` floating leaves of the same shape and dtype.

    A leaf without a partner stays unstacked, and so does one of more than `max_size`
    elements or of none.
    """
    leaves, treedef = jax.tree.flatten(params)
    kinds = [(jnp.shape(x), jnp.result_type(x)) for x in leaves]
    of_kind: dict[Any, list[int]] = {}
    for i, (shape, dtype) in enumerate(kinds):
        if jnp.issubdtype(dtype, jnp.inexact) and 0 < math.prod(shape) <= max_size:
            of_kind.setdefault((shape, dtype), []).append(i)
    groups = [
        some[start : start + group]
        for some in of_kind.values()
        for start in range(0, len(some), group)
    ]
    groups = [members for members in groups if len(members) > 1]
    stacked = {i for members in groups for i in members}
    unstacked = [i for i in range(len(kinds)) if i not in stacked]
    return Stacks(treedef, kinds, groups, unstacked)


def restore_missing_rows(missing: list[list[int]], old: Any, new: Any) -> Any:
    """The new state, but with the old state of leaves that had no gradient."""
    if not any(missing):
        return new

    def tree(before: Any, after: Any) -> Any:
        if not isinstance(after, GroupedLeaves):
            return after
        stacks = tuple(
            jax.tree.map(partial(_keep_rows, rows), x, y) if rows else y
            for rows, x, y in zip(missing, before.stacks, after.stacks, strict=True)
        )
        return after._replace(stacks=stacks)

    return jax.tree.map(tree, old, new, is_leaf=is_grouped)


def _keep_rows(rows: list[int], old: jax.Array, new: jax.Array) -> jax.Array:
    at = jnp.array(rows)
    return new.at[at].set(old[at])


def is_stacked_as(state: State, stacks: Stacks) -> bool:
    """Whether the params-shaped trees of a state have the shapes of the stacks."""
    shapes = [(len(group), *stacks.kinds[group[0]][0]) for group in stacks.groups]
    shapes += [stacks.kinds[i][0] for i in stacks.unstacked]

    def fits(groups: GroupedLeaves) -> bool:
        parts = [*groups.stacks, *groups.unstacked]
        return len(parts) == len(shapes) and all(
            jnp.shape(x) in (shape, (1,) * len(shape))  # or a placeholder
            for part, shape in zip(parts, shapes, strict=True)
            for x in jax.tree.leaves(part)
        )

    return all(map(fits, filter(is_grouped, _parts(state))))


def why_not_elementwise(state: State, stacks: Stacks, init: Any) -> str | None:
    """Why a first state shows that an optimizer is not elementwise; None if it may be.

    The state is compared with that of a tree that has one leaf of each stack and
    another number of leaves (by `jax.eval_shape`, so nothing is computed).
    """
    if not stacks.groups:
        return None
    if any(map(_is_masked, jax.tree.leaves(state, is_leaf=_is_masked))):
        return "one with a mask or labels, which do not fit stacks"
    if averaged_states(state):
        return "one that averages the weights, which would be stacks"
    kinds = (stacks.kinds[group[0]] for group in stacks.groups)
    leaves = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in kinds]
    more = len(stacks.unstacked) + 1
    lone = GroupedLeaves((), tuple(leaves + leaves[:1] * more))
    single = jax.eval_shape(init, lone)
    if _kinds_outside(state) != _kinds_outside(single):
        return "one whose state depends on the number or sizes of the leaves"
    pairs = (list(filter(is_grouped, _parts(x))) for x in (state, single))
    of_same_dtypes = all(
        _dtypes(stack) == _dtypes(leaf)
        for x, y in zip(*pairs, strict=True)
        for stack, leaf in zip(x.stacks, y.unstacked, strict=False)
    )
    if not (is_stacked_as(state, stacks) and of_same_dtypes):
        return "one whose state for a leaf has another shape or dtype in a stack"
    return None


def _parts(state: State) -> list[Any]:
    return jax.tree.leaves(state, is_leaf=is_grouped)


def _kinds_outside(state: State) -> list[Any]:
    """The shapes and dtypes of the leaves outside of the params-shaped trees."""
    leaves = [x for x in _parts(state) if not is_grouped(x)]
    return [(jnp.shape(x), jnp.result_type(x)) for x in leaves]


def _dtypes(tree: Any) -> list[Any]:
    return [jnp.result_type(x) for x in jax.tree.leaves(tree)]


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedState | optax.MultiTransformState)


def is_grouped(x: Any) -> bool:
    return isinstance(x, GroupedLeaves)


_FUSED = 8  # operands at most: XLA compiles longer concatenations slowly on a CPU


def _stack(leaves: list[jax.Array]) -> jax.Array:
    """Leaves along a new first axis, so that they keep their sharding.

    On one device they are concatenated along their own first axis instead, and reshaped
    once: otherwise XLA would have a reshape for each leaf.
    """
    shape = leaves[0].shape
    if not shape or jax.device_count() > 1:
        leaves = [jax.lax.expand_dims(x, (0,)) for x in leaves]
    starts = range(0, len(leaves), _FUSED)
    pieces = [_joined(leaves[start : start + _FUSED]) for start in starts]
    return _joined(pieces).reshape(-1, *shape)


def _joined(parts: list[jax.Array]) -> jax.Array:
    """Concatenates behind a barrier, so that XLA does not repeat it in every reader."""
    if len(parts) == 1:
        return parts[0]
    return jax.lax.optimization_barrier(jax.lax.concatenate(parts, 0))
