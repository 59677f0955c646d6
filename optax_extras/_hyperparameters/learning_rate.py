"""Reading from a state which learning rate was applied.

The protocol: a `RateState` answers, wherever it sits. A state with the fields
`first`, `second` and `second_count`, in a NamedTuple called as in `_PHASES`, answers
from `second` once `second_count` is not 0, before that from `first`. What a field
`rate_factor` of a `RateFactor` holds is multiplied with the rate.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def learning_rate(state: Any) -> jax.Array:
    """The learning rate of the last update; before any update, that of the first.

    After an :func:`observe` of a metric that it answers to, it is that of the next
    update. Found wherever it sits: in chains, masks, partitions, `MultiSteps` and other
    wrappers. Rates of :func:`scale_by_rate` and of optimizers with the rate inside
    answer, and so does Optax's ``inject_hyperparams``. Optax's own schedules do not:
    ``optax.adam(schedule)`` keeps the rate nowhere. Of a :func:`switch` the phase
    answers that made the last update; NaN where that one keeps no rate. After the
    switch of :func:`swats` it is the projected rate times that of the schedule.

    Args:
      state: The state of an optimizer, or any tree that holds one.

    Returns:
      The rate, shape () (batched as the state is, a vector over leaves where they
      switch one by one), float32 or float64 under x64.

    Raises:
      ValueError: If the state holds no rate, or several; they are listed then, and
        :func:`hyperparameters` reads all of them.

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
    found = _in_force(state, _answers(state), jnp.nan)
    if not found:
        raise ValueError(
            "learning_rate: `state` must hold a rate that can be read, got none. "
            "End the chain with `oxe.scale_by_rate(schedule)` instead of "
            "`optax.scale_by_learning_rate(schedule)`."
        )
    factors = optax.tree.get_all_with_path(state, "rate_factor")
    factors = [(path, x) for path, x in factors if _is_field(path[-1], "RateFactor")]
    factors = _in_force(state, factors, 1)
    several = found if len(found) > 1 else factors
    if len(several) > 1:
        places = leading_to([_place(path) for path, _ in several])
        names = ", ".join(repr(f"{place}learning_rate") for place in places)
        raise ValueError(
            "learning_rate: `state` must hold a single rate, "
            f"got {len(several)} of them: {names}. Read all with "
            "`oxe.hyperparameters(state)`, or one from a part of the state."
        )
    rate = _leaf(found[0][1])
    return rate * _leaf(factors[0][1]) if factors else rate


def _leaf(value: Any) -> jax.Array:
    (leaf,) = jax.tree.leaves(value)  # Flax NNX wraps the leaves of a state
    return jnp.asarray(leaf)


def leading_to(paths: list[tuple[Any, ...]]) -> list[str]:
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
        "".join(f"{_part(x)}/" for x in p) for p in (named if are_enough else paths)
    ]


def _part(key: Any) -> Any:
    """What a key of a path says, whichever kind of key it is."""
    return next(getattr(key, x) for x in ("key", "idx", "name") if hasattr(key, x))


def _place(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """The path of what holds a rate, without that of the rate in it."""
    if _is_injected(path):
        return path[:-2]
    return path[:-1] if _is_field(path[-1], "RateState", "RateFactor") else path


_PHASES = ("SwitchState", "PhasedRateState")

Found = list[tuple[tuple[Any, ...], Any]]


def _in_force(state: Any, found: Found, otherwise: Any) -> Found:
    """One answer for the two phases of each switch, the innermost first."""
    counts = {
        path[:-1]: _leaf(count)
        for path, count in optax.tree.get_all_with_path(state, "second_count")
        if _is_field(path[-1], *_PHASES)
    }
    for above in sorted(counts, key=len, reverse=True):
        here = len(above)
        within = [entry for entry in found if entry[0][:here] == above]
        phases: dict[str, Found] = {"first": [], "second": []}
        for entry in within:
            name = getattr(entry[0][here], "name", None)
            phases.setdefault(str(name), []).append(entry)
        sides = phases["first"], phases["second"]
        if not within or max(map(len, sides)) > 1:
            continue
        values = [_leaf(side[0][1]) if side else otherwise for side in sides]
        chosen = jnp.where(counts[above] > 0, values[1], values[0])
        dtype = jnp.result_type(*(_leaf(entry[1]).dtype for entry in within))
        found = [entry for entry in found if entry[0][:here] != above]
        found.append((above, chosen.astype(dtype)))
    return found


def _answers(state: Any) -> Found:
    """The paths and values of all rates in a state."""
    found = [x for name in RATES for x in optax.tree.get_all_with_path(state, name)]
    fields = [(path, rate) for path, rate in found if _is_field(path[-1], "RateState")]
    injected = [(path, rate) for path, rate in found if _is_injected(path)]
    # An injected rate that an optimizer inside keeps too is one rate, not two.
    alone = [
        (path, rate)
        for path, rate in injected
        if not any(inner[: len(path) - 2] == path[:-2] for inner, _ in fields)
    ]
    return fields + alone


RATES = ("learning_rate", "lr")
INJECTED = (
    "InjectHyperparamsState",
    "InjectStatefulHyperparamsState",
    "ScheduledState",
)


def _is_field(key: Any, *owners: str) -> bool:
    """Whether the key is a field of a NamedTuple of one of these names.

    By name, since params too may be a NamedTuple with a field `learning_rate`.
    """
    field = isinstance(key, optax.tree_utils.NamedTupleKey)
    return field and key.tuple_name in owners


def _is_injected(path: tuple[Any, ...]) -> bool:
    """Whether the path ends as in the state of `optax.inject_hyperparams`."""
    return (
        len(path) > 1
        and _is_field(path[-2], *INJECTED)
        and path[-2].name == "hyperparams"
        and isinstance(path[-1], jax.tree_util.DictKey)
    )
