"""Maps a function over the numbers in a state, wherever they are in the tree.

States of this library have the methods `numbers` and `with_numbers`; those of
`optax.inject_hyperparams` are read here. Leaves in boxes of Flax NNX are taken out of
them first, and the new leaves are put into them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import rebuild, without_boxes
from optax_extras._learning_rates._source import CONSTANT, STATEFUL, Number
from optax_extras._learning_rates.metric_schedule import is_monitored
from optax_extras._numerics import as_float
from optax_extras._types import State

RATES = ("learning_rate", "lr")
INJECTED = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)

Path = tuple[Any, ...]
Place = tuple[Path, str]
"""The path of the state that holds a number, and the number's name in it."""
Visit = Callable[[Path, str, Number], Number]
RateChanges = list[tuple[Any, Any]]


def monitored(number: Number) -> tuple[str, ...]:
    """The metric that a number follows, or ()."""
    state = number.source.get(STATEFUL)
    return tuple(state) if is_monitored(state) else ()


def map_numbers(state: State, visit: Visit) -> Any:
    """The state with `visit(path, name, number)` in place of every number.

    If `scheduled` or `inject_hyperparams` passes a learning rate to an optimizer that
    stores it as well, both are one number: that of the optimizer inside is updated with
    it and not visited.
    """
    return _walk(state, visit, (), [])


def numbers_in(state: State) -> dict[Place, Number]:
    """Every number in a state, by its place."""
    found: dict[Place, Number] = {}

    def visit(path: Path, name: str, number: Number) -> Number:
        found[path, name] = number
        return number

    map_numbers(state, visit)
    return found


def _walk(state: State, visit: Visit, path: Path, changes: RateChanges) -> Any:
    found, treedef = jax.tree_util.tree_flatten_with_path(state, is_leaf=_holds_numbers)
    new = [
        _map_node(x, visit, path + below, changes) if _holds_numbers(x) else x
        for below, x in found
    ]
    return treedef.unflatten(new)


def _holds_numbers(x: Any) -> bool:
    has_methods = isinstance(x, tuple) and hasattr(x, "with_numbers")
    return has_methods or isinstance(x, INJECTED) or is_monitored(x)


def _map_node(node: Any, visit: Visit, path: Path, changes: RateChanges) -> Any:
    old, new = numbers_of(node), {}
    for name, number in old.items():
        if changes and name in RATES and number.kind == CONSTANT:
            new[name] = _copy_changed_rate(number, changes)
        else:
            new[name] = visit(path, name, number)
    node = rebuild(node, _with_numbers(node, new))
    if not hasattr(node, "inner_state"):
        return node
    changed = [(old[name].value, new[name].value) for name in old.keys() & set(RATES)]
    key = jax.tree_util.GetAttrKey("inner_state")
    state = _walk(node.inner_state, visit, (*path, key), changes + changed)
    return node._replace(inner_state=state)


def _copy_changed_rate(number: Number, changes: RateChanges) -> Number:
    """The new learning rate, if the number was equal to the old one."""
    for old, new in changes:
        value, old, new = map(as_float, (number.value, old, new))
        number = number.with_value(jnp.where(value == old, new, value))
    return number


def numbers_of(node: Any) -> dict[str, Number]:
    """The numbers in one state, by name, without boxes."""
    if is_monitored(node):  # a metric schedule's state by itself, as in a condition
        node = without_boxes(node)
        (state,) = node.values()
        return {"value": Number(state.value, {STATEFUL: node})}
    if not isinstance(node, INJECTED):
        return without_boxes(node.numbers())
    states = without_boxes(getattr(node, "hyperparams_states", {}))
    return {
        name: Number(x, {STATEFUL: states[name]} if name in states else {CONSTANT: ()})
        for name, x in without_boxes(node.hyperparams).items()
    }


def _with_numbers(node: Any, numbers: dict[str, Number]) -> Any:
    if is_monitored(node):
        return numbers["value"].source[STATEFUL]
    if not isinstance(node, INJECTED):
        return node.with_numbers(numbers)
    node = node._replace(hyperparams={name: x.value for name, x in numbers.items()})
    if not hasattr(node, "hyperparams_states"):
        return node
    states = {name: numbers[name].source[STATEFUL] for name in node.hyperparams_states}
    return node._replace(hyperparams_states=states)
