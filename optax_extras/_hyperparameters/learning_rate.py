"""Reads from a state which learning rate was applied.

States tell it by methods: `applied_rate` is the learning rate, `applied_rates` those of
groups; `applied_factor` and `applied_scale` multiply it, and `phases` says how often
the second of two has updated.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import unboxed_array
from optax_extras._by_path import path_of
from optax_extras._checks import checked
from optax_extras._hyperparameters._walker import INJECTED, RATES, Path, numbers_of
from optax_extras._types import State


@checked
def learning_rate(state: State) -> jax.Array:
    """The learning rate of the last update; before any update, that of the first.

    After an :func:`observe` of a metric that it reacts to, it is that of the next
    update. It is found inside chains, masks, partitions, `MultiSteps` and other
    wrappers, in the states of :func:`scale_by_rate`, of this library's optimizers and
    of ``optax.inject_hyperparams``. Optax's optimizers do not store their learning
    rate: instead of ``optax.adam(schedule)`` write :func:`adam`, and for those that are
    only in Optax ``oxe.scheduled(optax.lion)(schedule)``.

    For a :func:`switch` it is the learning rate of the phase that made the last update.
    It is NaN if that phase stores none but the other one does; if neither does, an
    error is raised. For groups of :func:`by_path` it is that of `times`; without one
    :func:`hyperparameters` lists the learning rates. After the switch of :func:`swats`
    it is the projected learning rate times that of the schedule. The factors of
    :func:`scale_by_metric` and ``optax.contrib.reduce_on_plateau`` multiply it, but for
    those under a mask or in a group of a partition that holds no learning rate.

    Args:
      state: The state of an optimizer, or a tree that contains one.

    Returns:
      The learning rate, shape (), float32 (float64 under x64). In a state that ``vmap``
      made it has the same batch dimensions. If each leaf switches by itself
      (``per_leaf``), it is a vector with an entry for each leaf.

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
            "learning_rate: `state` must hold a learning rate, got none. Write "
            "`oxe.adamw(schedule)` instead of `optax.adamw(schedule)`, "
            "`oxe.scheduled(optax.lion)(learning_rate=schedule)` for optimizers that "
            "are only in Optax, and end a chain with "
            "`oxe.scale_by_rate(schedule)` instead of "
            "`optax.scale_by_learning_rate(schedule)`."
        )
    several = found.rates if len(found.rates) > 1 else found.factors
    if len(several) > 1:
        names = ", ".join(repr(f"{x}learning_rate") for x in prefixes([*several]))
        raise ValueError(
            "learning_rate: `state` must hold a single learning rate, "
            f"got {len(several)} of them: {names}. Read all with "
            "`oxe.hyperparameters(state)`, or one from a part of the state."
        )
    (rate,) = found.rates.values()
    return math.prod([*found.factors.values(), *found.scales], start=rate)


class _Applied(NamedTuple):
    """What a part of a state says about the last update, by path."""

    rates: dict[Path, jax.Array]
    factors: dict[Path, jax.Array]
    """Factors inside directions."""
    scales: list[jax.Array]
    """Factors of finished updates."""


def _applied(state: State, path: Path) -> _Applied:
    found = _Applied({}, {}, [])
    nodes = jax.tree_util.tree_leaves_with_path(state, is_leaf=_has_rate_methods)
    for below, x in nodes:
        place = path + below
        inner = _Applied({}, {}, [])
        if hasattr(x, "applied_rate"):
            inner.rates[place] = unboxed_array(x.applied_rate())
        elif hasattr(x, "applied_rates"):
            for name, rate in x.applied_rates().items():
                key = jax.tree_util.DictKey(name.removesuffix("/learning_rate"))
                inner.rates[(*place, key)] = unboxed_array(rate)
        elif hasattr(x, "applied_factor"):
            inner.factors[place] = unboxed_array(x.applied_factor())
        elif hasattr(x, "applied_scale"):
            inner.scales.append(unboxed_array(x.applied_scale()))
        elif isinstance(x, optax.contrib.ReduceLROnPlateauState):
            inner.scales.append(unboxed_array(x.scale))
        elif hasattr(x, "phases"):
            inner = _of_phases(x, place)
        elif isinstance(x, optax.MaskedState):
            inner = _of_some_leaves(x, place)
        elif hasattr(x, "inner_state"):
            inner = _applied(x.inner_state, (*place, _INNER))
            numbers = numbers_of(x)
            # If the optimizer inside stores the learning rate as well, it is one.
            for name in RATES:
                if not inner.rates and name in numbers:
                    inner.rates[place] = jnp.asarray(numbers[name].value)
        found.rates.update(inner.rates)
        found.factors.update(inner.factors)
        found.scales.extend(inner.scales)
    return found


_INNER = jax.tree_util.GetAttrKey("inner_state")
_OF_OPTAX = (optax.MaskedState, optax.contrib.ReduceLROnPlateauState)
_METHODS = (
    "applied_rate",
    "applied_rates",
    "applied_factor",
    "applied_scale",
    "phases",
    "with_numbers",
)


def _has_rate_methods(x: Any) -> bool:
    has_method = isinstance(x, tuple) and any(hasattr(x, name) for name in _METHODS)
    return has_method or isinstance(x, (*INJECTED, *_OF_OPTAX))


def _of_some_leaves(state: State, path: Path) -> _Applied:
    """What a mask or a group of a partition says: its scales are of its own leaves."""
    found = _applied(state.inner_state, (*path, _INNER))
    scale = math.prod(found.scales)
    rates = {at: rate * scale for at, rate in found.rates.items()}
    return _Applied(rates, found.factors, [])


def _of_phases(state: State, path: Path) -> _Applied:
    """What the phase says that made the last update."""
    second_count, *phases = state.phases()
    in_second = unboxed_array(second_count) > 0
    first, second = (
        _applied(phase, (*path, jax.tree_util.GetAttrKey(name)))
        for name, phase in zip(("first", "second"), phases, strict=True)
    )

    def choose(of_first, of_second, otherwise):
        both = {**of_first, **of_second}
        if not both or max(len(of_first), len(of_second)) > 1:
            return both
        a, b = (next(iter(x.values()), otherwise) for x in (of_first, of_second))
        return {path: jnp.where(in_second, b, a)}

    scales = []
    if first.scales or second.scales:
        a, b = (math.prod(x.scales) for x in (first, second))
        scales = [jnp.where(in_second, b, a)]
    return _Applied(
        choose(first.rates, second.rates, jnp.nan),
        choose(first.factors, second.factors, 1),
        scales,
    )


def prefixes(paths: list[Path]) -> list[str]:
    """Prefixes such as ``"slow/"`` that make the keys of numbers of one name differ.

    A single number has none. If the keys of dicts (the labels of partitions, the names
    in named chains) make them differ, they are the prefixes; else the full paths are.
    """
    if len(paths) == 1:
        return [""]
    named = [
        tuple(x for x in path if isinstance(x, jax.tree_util.DictKey)) for path in paths
    ]
    are_enough = all(named) and len(set(named)) == len(named)
    chosen = named if are_enough else paths
    return ["".join(path_of((key,)) + "/" for key in path) for path in chosen]
