"""The states that a translation reads and writes, found in any tree."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import rebuild
from optax_extras._by_path import leaves_with_paths
from optax_extras._errors import refuse
from optax_extras._hyperparameters._walker import INJECTED, numbers_in, numbers_of
from optax_extras._hyperparameters.scheduled import ScheduledState
from optax_extras._kernel._weight_decay import WeightDecayState
from optax_extras._learning_rates._source import STATEFUL
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._optimizers.adafactor import AdafactorState
from optax_extras._state._stacking import GroupedLeaves, Stacks
from optax_extras._state.low_precision import LowPrecisionState
from optax_extras._switching._rate_of_each_phase import PhasedRateState
from optax_extras._switching._switch_state import SwitchState
from optax_extras._translation import optax_states
from optax_extras._types import Params, State

# The states whose leaves have a number for each entry, or for each row and column.
FACTORED = (AdafactorState,)
# The states whose `count` is the number of updates, beside those with buffers.
COUNTED = (
    ScaleByRateState,
    LowPrecisionState,
    ScheduledState,
    WeightDecayState,
    PhasedRateState,
    *optax_states.COUNTED,
)
# Of other wrappers, the fields with the states of optimizers; by default those called
# `inner...`.
_INSIDE: dict[type, tuple[str, ...]] = {
    SwitchState: ("first", "second"),
    PhasedRateState: ("direction",),
    optax.LookaheadState: ("fast_state",),
}


def buffers_of(state: State) -> dict[str, str]:
    """What the buffers of a state hold, by its fields; empty if it has none.

    Buffers that hold the same quantity have the same name in all states.
    """
    if not isinstance(state, tuple):
        return {}
    ours = getattr(type(state), "buffers_hold", None)
    return optax_states.buffers_of_optax(state) if ours is None else dict(ours)


def shares_count(state: State) -> bool:
    """Whether its updates depend on a count that all params share."""
    ours = getattr(type(state), "shares_count", False)
    return ours or isinstance(state, optax_states.BY_COUNT)


def walk(state: State, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every state that has arrays, with its place; those inside come after it.

    A place is such as ``[0].inner_state``; "" for the tree itself. Low-precision states
    are read in full. An array that is in no state stands for itself.
    """
    for path, x in jax.tree_util.tree_leaves_with_path(state, is_leaf=_is_state):
        if not jax.tree.leaves(x):
            continue
        here = place + jax.tree_util.keystr(path)
        yield here, x
        for name in fields_inside(x):
            yield from walk(_field_inside(x, name), f"{here}.{name}")


def map_states(
    state: State, change: Callable[[str, Any], Any], place: str = ""
) -> State:
    """The tree with `change(place, state)` for each state, from outside to inside."""

    def visit(path: Any, x: Any) -> Any:
        if not jax.tree.leaves(x):
            return x
        here = place + jax.tree_util.keystr(path)
        x = change(here, x)
        for name in fields_inside(x):
            inside = map_states(_field_inside(x, name), change, f"{here}.{name}")
            x = _with_field_inside(x, name, inside)
        return x

    return jax.tree_util.tree_map_with_path(visit, state, is_leaf=_is_state)


def _is_state(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")


def fields_inside(x: Any) -> tuple[str, ...]:
    """The fields of a state in which there are states of optimizers."""
    if not _is_state(x) or buffers_of(x):
        return ()
    by_name = tuple(name for name in x._fields if name.startswith("inner"))
    return _INSIDE.get(type(x), by_name)


def own_fields(x: Any) -> dict[str, Any]:
    """The other fields, if they have arrays; "" for an array that is in no state."""
    if not _is_state(x):
        return {"": x}
    inside = fields_inside(x)
    fields = {name: getattr(x, name) for name in x._fields if name not in inside}
    return {name: y for name, y in fields.items() if jax.tree.leaves(y)}


def place_of(place: str, name: str) -> str:
    """The place of a field in the state at a place."""
    return f"{place}.{name}" if name else place


def _field_inside(x: Any, name: str) -> State:
    """A state inside of another one, in full precision."""
    is_low = isinstance(x, LowPrecisionState)
    return x.full_inner_state() if is_low else getattr(x, name)


def _with_field_inside(x: Any, name: str, new: Any) -> Any:
    """The state with another one inside."""
    if isinstance(x, LowPrecisionState):
        return x.with_full_inner_state(new)
    if isinstance(x, PhasedRateState):
        x = x._replace(second_count=jnp.array(new.carry.second_count))
    return x._replace(**{name: new})


def with_count(state: State, changed: Callable[[Any], Any]) -> Any:
    """A state with another count, and those of its schedules of Optax."""
    state = state._replace(count=changed(state.count))
    schedules = getattr(state, "hyperparams_states", {})
    if not any(map(_is_count, schedules.values())):
        return state
    new = {
        name: x._replace(count=changed(x.count)) if _is_count(x) else x
        for name, x in schedules.items()
    }
    return state._replace(hyperparams_states=new)


def _is_count(state: State) -> bool:
    """Whether it is the state of a schedule in `optax.inject_hyperparams`."""
    return getattr(state, "_fields", ()) == ("count",)


def with_counts(state: State, changed: Callable[[Any], Any]) -> State:
    """The state with other counts of updates."""

    def change(x: Any) -> Any:
        has_buffers = bool(buffers_of(x)) and "count" in x._fields
        if has_buffers or isinstance(x, COUNTED):
            x = with_count(x, changed)
        for name in fields_inside(x):
            x = x._replace(**{name: with_counts(getattr(x, name), changed)})
        return x

    return jax.tree.map(change, state, is_leaf=_is_state)


def follows_a_metric(x: Any) -> bool:
    """Whether a number in this state, not in those inside of it, follows a metric."""
    has_numbers = hasattr(x, "with_numbers") or isinstance(x, INJECTED)
    fields = tuple(own_fields(x).values())
    found = numbers_of(x) if has_numbers else numbers_in(fields)
    sources = [x.source[STATEFUL] for x in found.values() if x.kind == STATEFUL]
    return not all(map(_is_count, sources))


def is_placeholder(x: Any) -> bool:
    """Whether a leaf of a factored state is empty: its other form is in use."""
    return jnp.shape(x) == (1, 1)


def kinds_of(tree: Any) -> Any:
    """The structure and the shapes of a tree."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef, [jnp.shape(x) for x in leaves]


def leaves_by_path(tree: Any, params: Params) -> dict[str, Any]:
    """The leaves of a tree like the params by their paths, also of stacked ones."""
    if isinstance(tree, GroupedLeaves):
        tree = _stacks_of(tree, params).unstack(tree)
    return {path: x for path, x in leaves_with_paths(tree) if hasattr(x, "dtype")}


def with_leaves(tree: Any, params: Params, new: dict[str, Any]) -> Any:
    """The tree with new leaves, some of them or all."""
    if isinstance(tree, GroupedLeaves):
        stacks = _stacks_of(tree, params)
        whole = with_leaves(stacks.unstack(tree), params, new)
        return stacks.stack("state", whole)
    leaves = [new.get(path, x) for path, x in leaves_with_paths(tree)]
    return rebuild(tree, leaves)


def _stacks_of(stacks: GroupedLeaves, params: Params) -> Stacks:
    """Which leaves are in which stack: those of one kind fill their stacks in order."""
    leaves, treedef = jax.tree.flatten(params)
    kinds = [(jnp.shape(x), jnp.result_type(x)) for x in leaves]
    of_kind: dict[Any, list[int]] = {}
    for i, kind in enumerate(kinds):
        of_kind.setdefault(kind, []).append(i)
    shapes, groups = [jnp.shape(x) for x in stacks.stacks], []
    for (shape, _), members in of_kind.items():
        start = 0
        while shapes and shapes[0][1:] == shape:
            size = shapes[0][0]
            if size > len(members) - start:
                break
            groups.append(members[start : start + size])
            start += size
            shapes.pop(0)
    taken = {i for group in groups for i in group}
    unstacked = [i for i in range(len(kinds)) if i not in taken]
    if shapes or len(unstacked) != len(stacks.unstacked):
        refuse("params", "be those that the stacks of the state were made of", params)
    return Stacks(treedef, kinds, groups, unstacked)
