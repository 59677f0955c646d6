"""Reading and setting the numbers that a state holds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._hyperparameters._numbers import Entry, visited
from optax_extras._hyperparameters.learning_rate import RATES, leading_to
from optax_extras._learning_rates._source import ARRAY, NUMBER


class _Found(NamedTuple):
    path: tuple[Any, ...]
    name: str
    entry: Entry


def hyperparameters(state: Any) -> dict[str, jax.Array]:
    """The numbers that a state holds, by name: rates, and what `scheduled` was given.

    A scheduled number is that of the last update, before any update that of the first,
    after an :func:`observe` that of the next. Numbers that a transformation keeps in
    its closure, as ``b1`` of `optax.adam`, are in no state.

    Args:
      state: The state of an optimizer, or any tree that holds one, of Optax's
        ``inject_hyperparams`` too.

    Returns:
      ``{name: number}``, sorted by name, empty where there is none. Where a name occurs
      several times, the keys begin with what leads there: labels of a partition, or
      paths.

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
    return {key: jnp.asarray(x.entry.value) for key, x in _found(state).items()}


def set_hyperparameters(state: Any, /, **values: ArrayLike) -> Any:
    """A state with other numbers, which the next update uses.

    Numbers that were given as Python or NumPy numbers can be set. It is pure, and may
    be jitted.

    Args:
      state: The state of an optimizer, or any tree that holds one.
      **values: The numbers, by the keys of :func:`hyperparameters`; a key that is no
        Python name as ``**{"slow/learning_rate": 0.02}``. Rates are at least 0.

    Returns:
      The new state, of the same structure, shapes and dtypes.

    Raises:
      ValueError: If the state holds no number of this name, if it is scheduled or was
        given as a `jax.Array`, or if a rate is negative or a value not finite.
      TypeError: If a value is no real number.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> state = oxe.adagrad(1e-3).init(jnp.ones(3))
      >>> state = oxe.set_hyperparameters(state, learning_rate=3e-4)
      >>> round(float(oxe.learning_rate(state)), 6)
      0.0003
    """
    rule, found = "set_hyperparameters", _found(state)
    for key, value in values.items():
        if key not in found:
            names = ", ".join(map(repr, found)) or "none"
            raise ValueError(
                f"{rule}: `{key}` must be a number that `state` holds, got a state "
                f"that holds {names}."
            )
        entry = found[key].entry
        if entry.kind != NUMBER:
            raise ValueError(
                f"{rule}: `{key}` must be held as a number, got one that "
                + _why_not(entry)
            )
        is_rate = found[key].name in RATES
        _checks.real(rule, key, value, "[0, inf)" if is_rate else "(-inf, inf)")
    places = {(found[key].path, found[key].name): x for key, x in values.items()}

    def visit(path: tuple[Any, ...], name: str, entry: Entry) -> Entry:
        place = (path, name)
        return entry.holding(places[place]) if place in places else entry

    return visited(state, visit)


def _why_not(entry: Entry) -> str:
    if entry.kind == ARRAY:
        return (
            "was given as a `jax.Array`, which stays in the closure of the optimizer "
            "and wins over its state. Make the optimizer with `float(x)`."
        )
    if entry.monitored:
        return (
            f"answers to the metric {entry.monitored[0]!r}. Use `oxe.observe`, or make "
            "the optimizer with a number."
        )
    return "a schedule sets at every update. Make the optimizer with a number."


def _found(state: Any) -> dict[str, _Found]:
    """Every number by its key."""
    found: list[_Found] = []

    def visit(path: tuple[Any, ...], name: str, entry: Entry) -> Entry:
        found.append(_Found(path, name, entry))
        return entry

    visited(state, visit)
    keys = {}
    for name in dict.fromkeys(x.name for x in found):
        several = [x for x in found if x.name == name]
        places = leading_to([x.path for x in several])
        keys |= {place + name: x for place, x in zip(places, several, strict=True)}
    return dict(sorted(keys.items()))
