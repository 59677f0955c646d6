"""Reading and setting the numbers in a state."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras import _check_values
from optax_extras._checks import checked
from optax_extras._hyperparameters._walker import (
    RATES,
    Path,
    Place,
    map_numbers,
    monitored,
    numbers_in,
)
from optax_extras._hyperparameters.learning_rate import prefixes
from optax_extras._learning_rates._source import CONSTANT, STATEFUL, Number
from optax_extras._types import State


def hyperparameters(state: State) -> dict[str, jax.Array]:
    """The numbers in a state, by name: learning rates, and arguments of `scheduled`.

    A scheduled number is that of the last update; before any update that of the first,
    after an :func:`observe` that of the next. A number that a transformation has in its
    closure, such as ``b1`` of `optax.adam`, is in no state.

    Args:
      state: The state of an optimizer, or a tree that contains one. States of Optax's
        ``inject_hyperparams`` count, too.

    Returns:
      ``{name: number}``, sorted by name; empty if there is none. If a name occurs
      several times, its keys begin with labels of a partition, or with paths.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.scheduled(optax.adam)(learning_rate=1e-3, b1=0.5)
      >>> state = tx.init(jnp.ones(3))
      >>> {name: round(float(x), 4) for name, x in oxe.hyperparameters(state).items()}
      {'b1': 0.5, 'learning_rate': 0.001}
      >>> params = {"w": jnp.ones(3), "b": jnp.ones(())}
      >>> groups = {"fast": oxe.heavy_ball(0.1), "slow": oxe.adagrad(0.01)}
      >>> tx = optax.partition(groups, {"w": "slow", "b": "fast"})
      >>> list(oxe.hyperparameters(tx.init(params)))
      ['fast/learning_rate', 'slow/learning_rate']
    """
    numbers = numbers_in(state)
    places = _by_key(numbers).items()
    return {key: jnp.asarray(numbers[place].value) for key, place in places}


@checked
def set_hyperparameters(state: State, /, **values: ArrayLike) -> Any:
    """Returns the state with other numbers, which the next update uses.

    Numbers that were given as Python or NumPy numbers can be set. One that was given as
    a `jax.Array` is in the closure of the optimizer, which ignores the state: make the
    optimizer with ``float(x)``. The function is pure and may be jitted; the state keeps
    its structure, shapes and dtypes.

    Args:
      state: The state of an optimizer, or a tree that contains one.
      **values: The numbers, by the keys of :func:`hyperparameters`; of a
        :func:`plateau` or :func:`greedy` also `patience`, `factor`, `cooldown`,
        `min_value`, `eps`, which that does not list. Write a key that is
        not a Python name as ``**{"slow/learning_rate": 0.02}``. Learning rates are at
        least 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> state = oxe.adagrad(1e-3).init(jnp.ones(3))
      >>> state = oxe.set_hyperparameters(state, learning_rate=3e-4)
      >>> round(float(oxe.learning_rate(state)), 6)
      0.0003
    """
    numbers = numbers_in(state)
    found, fields = _by_key(numbers), _settable(numbers)
    new: dict[Any, dict[str, Any]] = {}
    for key, value in values.items():
        if key in fields:
            place, name, interval = fields[key]
            if interval == "count":
                _check_values.count(key, value, at_least=0)
            else:
                _check_values.real(key, value, interval)
            new.setdefault(place, {})[name] = value
            continue
        if key not in found:
            names = ", ".join(map(repr, [*found, *fields])) or "none"
            raise ValueError(
                f"set_hyperparameters: `{key}` must be a number in `state`, "
                f"got a state that holds {names}."
            )
        place, number = found[key], numbers[found[key]]
        if number.kind != CONSTANT and not monitored(number):
            raise ValueError(
                f"set_hyperparameters: `{key}` must be a constant, got one that a "
                "schedule sets at every update. Make the optimizer with a number."
            )
        is_rate = place[1].rpartition("/")[2] in RATES  # also of a group
        _check_values.real(key, value, "[0, inf)" if is_rate else "(-inf, inf)")
        new.setdefault(place, {})["value"] = value

    def visit(path: Path, name: str, number: Number) -> Number:
        return number.with_fields(new.get((path, name), {}))

    return map_numbers(state, visit)


def _by_key(numbers: dict[Place, Number]) -> dict[str, Place]:
    """The place of every number, by its key."""
    found: dict[str, Place] = {}
    for name in dict.fromkeys(name for _, name in numbers):
        found |= _with_prefixes(name, [place for place in numbers if place[1] == name])
    return dict(sorted(found.items()))


def _settable(numbers: dict[Place, Number]) -> dict[str, tuple[Place, str, str]]:
    """The place, name and range of what can be set in metric schedules, by its key."""
    places: dict[tuple[str, str], list[Place]] = {}
    for place, number in numbers.items():
        if monitored(number):
            (metric_state,) = number.source[STATEFUL].values()
            for field in getattr(metric_state, "settable", {}).items():
                places.setdefault(field, []).append(place)
    return {
        key: (place, field, interval)
        for (field, interval), found in places.items()
        for key, place in _with_prefixes(field, found).items()
    }


def _with_prefixes(name: str, places: list[Place]) -> dict[str, Place]:
    """The places of numbers of one name, by keys that differ."""
    found = prefixes([path for path, _ in places])
    return {prefix + name: place for prefix, place in zip(found, places, strict=True)}
