"""Reading from a state which learning rate was applied.

The protocol: an `oxe.RateState` answers, wherever it sits.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def learning_rate(state: Any) -> jax.Array:
    """The learning rate of the last update; before any update, that of the first.

    Found wherever it sits: in chains, masks, partitions, `MultiSteps` and other
    wrappers. Rates of :func:`scale_by_rate` and of optimizers with the rate inside
    answer, and so does Optax's ``inject_hyperparams``. Optax's own schedules do not:
    ``optax.adam(schedule)`` keeps the rate nowhere.

    Args:
      state: The state of an optimizer, or any tree that holds one.

    Returns:
      The rate, shape () (batched as the state is), float32 or float64 under x64.

    Raises:
      ValueError: If the state holds no rate, or several; their paths are listed then.

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
    found = _answers(state)
    if not found:
        raise ValueError(
            "learning_rate: `state` must hold a rate that can be read, got none. "
            "End the chain with `oxe.scale_by_rate(schedule)` instead of "
            "`optax.scale_by_learning_rate(schedule)`."
        )
    if len(found) > 1:
        paths = ", ".join(jax.tree_util.keystr(path) for path, _ in found)
        raise ValueError(
            "learning_rate: `state` must hold a single rate, "
            f"got {len(found)} of them: {paths}. Read a part of the state instead."
        )
    (_, value), *_ = found
    (leaf,) = jax.tree.leaves(value)  # Flax NNX wraps the leaves of a state
    return jnp.asarray(leaf)


def _answers(state: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """The paths and values of all rates in a state."""
    found = optax.tree.get_all_with_path(state, "learning_rate")
    fields = [(path, rate) for path, rate in found if _is_field(path[-1], "RateState")]
    injected = [(path, rate) for path, rate in found if _is_injected(path)]
    # An injected rate that an optimizer inside keeps too is one rate, not two.
    alone = [
        (path, rate)
        for path, rate in injected
        if not any(inner[: len(path) - 2] == path[:-2] for inner, _ in fields)
    ]
    return fields + alone


_INJECTED = (
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
        and _is_field(path[-2], *_INJECTED)
        and path[-2].name == "hyperparams"
        and isinstance(path[-1], jax.tree_util.DictKey)
    )
