"""Reading from a state which learning rate was applied.

The states answer by methods: `applied_rate`; `applied_factor` and `applied_scale`, what
multiplies it; `phases`, of those that have two, of which one made the last update.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras._checks import checked
from optax_extras._hyperparameters._walker import INJECTED, RATES, Path, numbers_of
from optax_extras._types import State


@checked
def learning_rate(state: State) -> jax.Array:
    """The learning rate of the last update; before any update, that of the first.

    After an :func:`observe` of a metric that it answers to, it is that of the next
    update. Found wherever it sits: in chains, masks, partitions, `MultiSteps` and other
    wrappers. Rates of :func:`scale_by_rate` and of optimizers with the rate inside
    answer, and so does Optax's ``inject_hyperparams``. Optax's own schedules do not:
    ``optax.adam(schedule)`` keeps the rate nowhere. For a :func:`switch` it
    is that of the phase that made the last update, NaN if that phase keeps none; after
    the switch of :func:`swats` the projected rate times that of the schedule. The
    factors of :func:`scale_by_metric` count.

    Args:
      state: The state of an optimizer, or any tree that holds one.

    Returns:
      The rate, shape () (batched as the state is, a vector over leaves where they
      switch one by one), float32 or float64 under x64.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.adagrad(oxe.schedules.exponential(0.1, 0.5))
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for _ in range(2):
      ...     updates, state = tx.update(params, state)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.05
    """
    found = _applied(state, ())
    if not found.rates:
        raise ValueError(
            "learning_rate: `state` must hold a rate that can be read, got none. "
            "End the chain with `oxe.scale_by_rate(schedule)` instead of "
            "`optax.scale_by_learning_rate(schedule)`."
        )
    several = found.rates if len(found.rates) > 1 else found.factors
    if len(several) > 1:
        names = ", ".join(repr(f"{x}learning_rate") for x in prefixes([*several]))
        raise ValueError(
            "learning_rate: `state` must hold a single rate, "
            f"got {len(several)} of them: {names}. Read all with "
            "`oxe.hyperparameters(state)`, or one from a part of the state."
        )
    (rate,) = found.rates.values()
    return math.prod([*found.factors.values(), *found.scales], start=rate)


class _Applied(NamedTuple):
    """What a part of a state says of the last update, by the path of who says it."""

    rates: dict[Path, jax.Array]
    factors: dict[Path, jax.Array]
    """What directions with a size of their own multiply the rate by."""
    scales: list[jax.Array]
    """What finished updates are multiplied by."""

    def add(self, other: "_Applied") -> None:
        """With what another part says."""
        self.rates.update(other.rates)
        self.factors.update(other.factors)
        self.scales.extend(other.scales)


def _applied(state: State, path: Path) -> _Applied:
    found = _Applied({}, {}, [])
    nodes, _ = jax.tree_util.tree_flatten_with_path(state, is_leaf=_has_rate_methods)
    for below, x in nodes:
        place = path + below
        if hasattr(x, "applied_rate"):
            found.rates[place] = _array(x.applied_rate())
        elif hasattr(x, "applied_factor"):
            found.factors[place] = _array(x.applied_factor())
        elif hasattr(x, "applied_scale"):
            found.scales.append(_array(x.applied_scale()))
        elif hasattr(x, "phases"):
            found.add(_of_phases(x, place))
        elif _has_rate_methods(x):
            inner = _applied(x.inner_state, (*place, _INNER))
            numbers = numbers_of(x)
            # A rate that the optimizer inside keeps too is one rate, not two.
            for name in RATES:
                if not inner.rates and name in numbers:
                    inner.rates[place] = jnp.asarray(numbers[name].value)
            found.add(inner)
    return found


_INNER = jax.tree_util.GetAttrKey("inner_state")
_METHODS = ("applied_rate", "applied_factor", "applied_scale", "phases", "with_numbers")


def _has_rate_methods(x: Any) -> bool:
    has_method = isinstance(x, tuple) and any(hasattr(x, name) for name in _METHODS)
    return has_method or isinstance(x, INJECTED)


def _of_phases(state: State, path: Path) -> _Applied:
    """What the phase says that made the last update."""
    second_made_it, *phases = state.phases()
    in_second = _array(second_made_it)
    names = ("first", "second")
    first, second = (
        _applied(phase, (*path, jax.tree_util.GetAttrKey(name)))
        for name, phase in zip(names, phases, strict=True)
    )

    def chosen(early, late, otherwise):
        both = {**early, **late}
        if not both or max(len(early), len(late)) > 1:
            return both
        dtype = jnp.result_type(*both.values())
        values = [next(iter(x.values()), otherwise) for x in (early, late)]
        return {path: jnp.where(in_second, values[1], values[0]).astype(dtype)}

    scales = []
    if first.scales or second.scales:
        products = [math.prod(x.scales, start=jnp.ones(())) for x in (first, second)]
        scales = [jnp.where(in_second, products[1], products[0])]
    return _Applied(
        chosen(first.rates, second.rates, jnp.nan),
        chosen(first.factors, second.factors, 1),
        scales,
    )


def _array(value: Any) -> jax.Array:
    (leaf,) = jax.tree.leaves(value)  # Flax NNX wraps the leaves of a state
    return jnp.asarray(leaf)


def prefixes(paths: list[Path]) -> list[str]:
    """What tells numbers of one name apart: beginnings of keys, as ``"slow/"``.

    Nothing for a single one; the names that somebody gave, of groups and in named
    chains, where they do; else whole paths.
    """
    if len(paths) == 1:
        return [""]
    named = [
        tuple(x for x in path if isinstance(x, jax.tree_util.DictKey)) for path in paths
    ]
    are_enough = all(named) and len(set(named)) == len(named)
    return [
        "".join(f"{_part(x)}/" for x in path)
        for path in (named if are_enough else paths)
    ]


def _part(key: Any) -> Any:
    """What a key of a path says, whichever kind of key it is."""
    return next(getattr(key, x) for x in ("key", "idx", "name") if hasattr(key, x))
