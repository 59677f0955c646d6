"""The states that hold numbers, found and rebuilt wherever they sit in a tree.

A holder is seen as its entries; what wraps its leaves, as Flax NNX does, is put around
the new ones again.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._hyperparameters.learning_rate import INJECTED, RATES
from optax_extras._hyperparameters.scheduled import ScheduledState
from optax_extras._learning_rates._source import (
    ARRAY,
    NUMBER,
    SCHEDULE,
    STATEFUL,
    RateState,
)
from optax_extras._learning_rates.metric_schedule import is_monitored
from optax_extras._learning_rates.scale_by_metric import ScaleByMetricState
from optax_extras._numerics import as_float


class Entry(NamedTuple):
    """A number that a state holds."""

    value: jax.Array
    kind: str
    """Its source: `NUMBER`, `ARRAY`, `SCHEDULE` or `STATEFUL`."""
    own: Any = ()
    """The state of a stateful source."""

    @property
    def monitored(self) -> tuple[str, ...]:
        """The metric that it answers to, if it is one."""
        return tuple(self.own) if is_monitored(self.own) else ()

    def holding(self, value: Any) -> "Entry":
        """With another number of the same shape and dtype."""
        new = jnp.broadcast_to(as_float(value), jnp.shape(self.value))
        return self._replace(value=new.astype(jnp.result_type(self.value)))

    def following(self, old: Any, new: Any) -> "Entry":
        """With the new number in the place of the old one."""
        old, new = as_float(old), as_float(new)
        mine = as_float(self.value)
        return self.holding(jnp.where(mine == old, new, mine))


Visit = Callable[[tuple[Any, ...], str, Entry], Entry]


def visited(state: Any, visit: Visit, path: tuple[Any, ...] = ()) -> Any:
    """The state with every number that it holds as `visit(path, name, entry)` says.

    A rate that an optimizer inside keeps too, having been handed the array, is no entry
    of its own: where it was the same number, it is so afterwards.
    """
    return _walk(state, visit, path, changes=None)


def _walk(state: Any, visit: Visit, path: tuple, changes: list | None) -> Any:
    found, treedef = jax.tree_util.tree_flatten_with_path(state, is_leaf=_is_holder)
    new = [
        _rebuilt(x, visit, path + p, changes) if _is_holder(x) else x for p, x in found
    ]
    return treedef.unflatten(new)


def _is_holder(x: Any) -> bool:
    return (
        isinstance(x, RateState | ScaleByMetricState | ScheduledState)
        or (isinstance(x, tuple) and type(x).__name__ in INJECTED)
        or is_monitored(x)
    )


def _rebuilt(node: Any, visit: Visit, path: tuple, changes: list | None) -> Any:
    """A holder with new entries, and what it holds besides."""
    if is_monitored(node):  # in a wrapper that we do not know
        (value,) = (_bare(held).value for held in node.values())
        entry = visit(path, "value", Entry(value, STATEFUL, _bare(node)))
        return _wrapped_as(node, entry.own)
    if isinstance(node, RateState | ScaleByMetricState):
        (name, field), kept = node._fields[:1] * 2, _bare(node[1])
        entry = _entry(_bare(node[0]), kept)
        if changes is not None and entry.kind == ARRAY:
            for old, new in changes:
                entry = entry.following(old, new)
        else:
            entry = visit(path, name, entry)
        kept = {STATEFUL: entry.own} if entry.kind == STATEFUL else kept
        return _wrapped_as(node, node._replace(**{field: entry.value, "source": kept}))
    entries = _entries(node)
    new = {name: visit(path, name, entry) for name, entry in entries.items()}
    values = {name: entry.value for name, entry in new.items()}
    node = node._replace(hyperparams=_wrapped_as(node.hyperparams, values))
    if isinstance(node, ScheduledState):
        kept = {
            name: {entry.kind: entry.own if entry.kind == STATEFUL else ()}
            for name, entry in new.items()
        }
        node = node._replace(sources=_wrapped_as(node.sources, kept))
    elif hasattr(node, "hyperparams_states"):
        kept = {name: new[name].own for name in node.hyperparams_states}
        kept = _wrapped_as(node.hyperparams_states, kept)
        node = node._replace(hyperparams_states=kept)
    rates = entries.keys() & set(RATES) or entries.keys()
    pairs = [(entries[name].value, values[name]) for name in rates]
    key = jax.tree_util.GetAttrKey("inner_state")
    inner = _walk(node.inner_state, visit, (*path, key), (changes or []) + pairs)
    return node._replace(inner_state=inner)


def _entry(value: Any, kept: Any) -> Entry:
    """From what our own states keep: {kind: state of the source}."""
    ((kind, own),) = kept.items() if kept else [(SCHEDULE, ())]
    return Entry(value, kind, own)


def _entries(node: Any) -> dict[str, Entry]:
    """Those of a state with several numbers, ours or of `optax.inject_hyperparams`."""
    values = _bare(node.hyperparams)
    if isinstance(node, ScheduledState):
        kept = _bare(node.sources)
        return {name: _entry(value, kept[name]) for name, value in values.items()}
    owns = _bare(getattr(node, "hyperparams_states", {}))
    return {
        name: Entry(
            value,
            STATEFUL if name in owns else NUMBER,
            owns.get(name, ()),
        )
        for name, value in values.items()
    }


def _bare(x: Any) -> Any:
    """Tuples and dicts of arrays, without what wraps the arrays."""
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*map(_bare, x))
    if isinstance(x, Mapping):
        return {key: _bare(held) for key, held in x.items()}
    if isinstance(x, tuple | list):
        return type(x)(map(_bare, x))
    leaves = jax.tree.leaves(x)
    return leaves[0] if len(leaves) == 1 else x


def _wrapped_as(node: Any, new: Any) -> Any:
    """The new leaves in the structure of the old ones, wrappers included."""
    return jax.tree.unflatten(jax.tree.structure(node), jax.tree.leaves(new))
