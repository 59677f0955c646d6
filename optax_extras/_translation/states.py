"""The states that a translation reads and writes, found in any tree."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._by_path import leaves_with_paths
from optax_extras._errors import refuse
from optax_extras._hyperparameters.scheduled import ScheduledState
from optax_extras._kernel._weight_decay import WeightDecayState
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._optimizers.adadelta import ScaleByAdadeltaState
from optax_extras._optimizers.adafactor import AdafactorState
from optax_extras._optimizers.adamax import ScaleByAdamaxState
from optax_extras._optimizers.asgd import AsgdState
from optax_extras._optimizers.muon import NormalizedState
from optax_extras._optimizers.rprop import RpropState
from optax_extras._sharding import rebuild
from optax_extras._state._stacking import GroupedLeaves, Layout
from optax_extras._state.accumulate import AccumulateState
from optax_extras._state.half_precision import CompensationState, MasterCopyState
from optax_extras._state.low_precision import LowPrecisionState
from optax_extras._state.with_average import WithAverageState
from optax_extras._translation import optax_states
from optax_extras._types import Params, State

# What the buffers of a state hold, under the same name wherever it is the same.
BUFFERS: dict[type, dict[str, str]] = {
    MomentsState: {"mu": "mu", "nu": "nu", "nu_max": "nu_max"},
    ScaleByAdamaxState: {"mu": "mu", "nu": "maximum"},
    ScaleByAdadeltaState: {"nu": "nu", "delta": "delta"},
    AdafactorState: {"nu": "nu", "nu_row": "nu_row", "nu_column": "nu_column"},
    AsgdState: {"average": "average"},
    RpropState: {"step_sizes": "step_sizes", "previous": "previous"},
    NormalizedState: {"nu": "nu_neuron"},
    **optax_states.BUFFERS,
}
# Their leaves have either one number for each entry, or one for each row and column.
FACTORED = (AdafactorState,)
# Their `count` is the number of updates, as that of the states with buffers.
COUNTED = (
    ScaleByRateState,
    LowPrecisionState,
    ScheduledState,
    WeightDecayState,
    *optax_states.COUNTED,
)
# Copied to a state of the same type, but for what is inside; else they begin.
KEPT = (WithAverageState, MasterCopyState, CompensationState, AccumulateState)
_INNER = ("inner_state", "inner_opt_state")  # the second is that of `MultiSteps`


def buffers_of(state: Any) -> dict[str, str]:
    """What the buffers of a state hold, by its fields; empty if it has none."""
    kind = type(state)
    if kind in BUFFERS or not isinstance(state, tuple):
        return BUFFERS.get(kind, {})
    is_of_optax = kind.__module__.partition(".")[0] == "optax"
    return optax_states.corrected_buffers().get(kind, {}) if is_of_optax else {}


class Found(NamedTuple):
    """A state in a tree."""

    place: str
    """Where, as ``[0].inner_state``; "" for the tree itself."""
    state: Any


def walk(state: State, more: tuple[type, ...] = (), place: str = "") -> Iterator[Found]:
    """Every state with buffers, with a count, or with another state inside.

    Those inside of another come after it. Low-precision ones are read in full.
    """

    def is_ours(x: Any) -> bool:
        return isinstance(x, (*COUNTED, *more)) or bool(buffers_of(x)) or is_wrapper(x)

    for path, x in jax.tree_util.tree_leaves_with_path(state, is_leaf=is_ours):
        if is_ours(x):
            here = place + jax.tree_util.keystr(path)
            yield Found(here, x)
            if is_wrapper(x):
                yield from walk(inner_state(x), more, f"{here}.{inner_field(x)}")


def is_wrapper(x: Any) -> bool:
    """Whether a state has that of an optimizer inside."""
    return isinstance(x, tuple) and any(hasattr(x, name) for name in _INNER)


def inner_field(x: Any) -> str:
    """The field that has the state inside."""
    return next(name for name in _INNER if hasattr(x, name))


def inner_state(x: Any) -> State:
    """The state inside, in full precision."""
    if isinstance(x, LowPrecisionState):
        return x.full_inner_state()
    return getattr(x, inner_field(x))


def with_inner_state(x: Any, new: State) -> Any:
    """The state with another one inside."""
    if isinstance(x, LowPrecisionState):
        return x.with_full_inner_state(new)
    return x._replace(**{inner_field(x): new})


def leaves_by_path(tree: Any, params: Params) -> dict[str, Any]:
    """The leaves of a tree like the params by their paths, also of stacked ones."""
    if isinstance(tree, GroupedLeaves):
        tree = _layout(tree, params).unstack(tree)
    return {path: x for path, x in leaves_with_paths(tree) if hasattr(x, "dtype")}


def with_leaves(tree: Any, params: Params, new: dict[str, Any]) -> Any:
    """The tree with new leaves, some of them or all."""
    if isinstance(tree, GroupedLeaves):
        layout = _layout(tree, params)
        whole = with_leaves(layout.unstack(tree), params, new)
        return layout.stack("state", whole)
    leaves = [new.get(path, x) for path, x in leaves_with_paths(tree)]
    return rebuild(tree, leaves)


def _layout(stacks: GroupedLeaves, params: Params) -> Layout:
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
    return Layout(treedef, kinds, groups, unstacked)
