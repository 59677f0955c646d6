"""The learning rates in a translated state."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._hyperparameters._walker import RATES, map_numbers, numbers_in
from optax_extras._learning_rates._source import (
    CONSTANT,
    SCHEDULE,
    STATEFUL,
    Number,
)
from optax_extras._translation.states import with_counts
from optax_extras._types import Params, State


def has_schedule(state: State) -> bool:
    """Whether a number in the state follows a schedule."""
    return any(number.kind == SCHEDULE for number in numbers_in(state).values())


def with_rates(
    state: State,
    rates: Mapping[str, Any],
    paths_of: Callable[[str], list[str]],
    applied: Mapping[Any, Any],
    say: Callable[..., None] = lambda *row, **more: None,
) -> State:
    """The state with the source's learning rates in place of constants.

    `rates` are by the path of the param, and `paths_of` says for which params a group
    is. `applied` has the values of schedules in the last update.
    """

    def visit(path: Any, name: str, number: Number) -> Number:
        place = f"{jax.tree_util.keystr(path)}.{name}"
        group, _, last = name.rpartition("/")
        if last not in RATES or group == "times":
            return number
        if number.kind == SCHEDULE:
            say(place, "count", "that of the schedule of `tx`")
            if any(getattr(key, "name", "") == "carry" for key in path):
                return number  # of the last update already
            return number.with_value(applied.get((path, name), number.value))
        if not rates:
            say(place, "", "that of `tx`")
            return number
        found = sorted({float(rates[p]) for p in paths_of(group) if p in rates})
        if number.kind != CONSTANT:
            states = number.source[STATEFUL].values()
            note = "what it knows of its metric starts as `init` makes it"
            is_set = len(found) == 1 and all(hasattr(x, "value") for x in states)
            how = "copied" if is_set else "that of `tx`"
            say(place, "learning rate", how, exact=False, note=note)
            return number.with_fields({"value": found[0]}) if is_set else number
        if len(found) == 1:
            say(place, "learning rate", "copied")
            return number.with_value(found[0])
        if found:
            note = f"the source has {', '.join(f'{x:g}' for x in found)}"
            say(place, "learning rate", "not copied", exact=False, note=note)
        return number

    return map_numbers(state, visit)


def constant_rate(state: State) -> float:
    """The constant learning rate in a state; NaN if there is none, or several."""
    found = {
        float(number.value)
        for (_, name), number in numbers_in(state).items()
        if number.kind == CONSTANT and name.rpartition("/")[2] in RATES
    }
    return found.pop() if len(found) == 1 else math.nan


def applied_values(tx: Any, state: State, params: Params) -> dict[Any, Any]:
    """The values of the schedules in the last update, by their places in the state.

    The update is made once more, of gradients of 0; only its scalars are computed.
    """
    places: list[Any] = []
    before = with_counts(state, lambda n: jnp.maximum(n - 1, 0))

    def scalars(state: State, params: Params) -> list[Any]:
        zeros = jax.tree.map(jnp.zeros_like, params)
        _, new = tx.update(zeros, state, params)
        found = {k: x for k, x in numbers_in(new).items() if x.kind == SCHEDULE}
        places.extend(found)
        return [x.value for x in found.values()]

    try:
        values = jax.jit(scalars)(before, params)
    except (TypeError, ValueError):  # it needs a metric
        return {}
    return dict(zip(places, values, strict=True))
