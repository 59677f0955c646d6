"""Where the numbers of groups come from."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._boxes import align, rebuild, unboxed_array
from optax_extras._by_path import FROZEN, TIMES, ByPath, is_vector
from optax_extras._learning_rates._source import (
    STATEFUL,
    NumbersByPath,
    RateState,
    Source,
    as_rate,
)
from optax_extras._leaves import in_compute_dtype
from optax_extras._lifted import is_by_path
from optax_extras._numerics import as_float
from optax_extras._operands import row_indices, row_of
from optax_extras._types import Params, State


class SourcesByPath(NamedTuple):
    """The sources of a number that depends on the path, for a `NumbersByPath`."""

    given: ByPath
    name: str
    """The name of the number in a state."""
    state_type: Callable[[jax.Array, Any], Any]

    def init(self) -> NumbersByPath:
        """The state before any update."""
        count = jnp.zeros((), jnp.int32)
        empty = NumbersByPath.empty()
        return self._step(count, empty, lambda source, _: source.init())[1]

    def step(
        self, count: Any, state: State, /, **extra: Any
    ) -> tuple[dict[str, jax.Array], NumbersByPath]:
        """The numbers of the groups for an update, and the state after it.

        The state may be that of other groups: those that it lacks begin now.
        """
        if not isinstance(state, NumbersByPath):
            state = NumbersByPath.empty()._replace(times={self._key(TIMES): state})
        if state.times and self.given.times is None:  # what it holds are multiples
            groups = {k: x for k, x in state.groups.items() if STATEFUL in x[1]}
            state = NumbersByPath.empty()._replace(groups=groups)

        def step(source: Source, old: Any) -> Any:
            first = source.init()
            is_own = old is not None and [*old[1]] == [*first[1]]
            return source.step(count, old if is_own else first, **extra)[1]

        return self._step(count, state, step)

    def _step(self, count: Any, old: NumbersByPath, step: Any) -> Any:
        times, factor, groups = {}, 1, {}
        if self.given.times is not None:
            key = self._key(TIMES)
            times[key] = step(
                self._of_group(TIMES, self.given.times), old.times.get(key)
            )
            factor = times[key][0]
        constants = {}
        for name, given in self.given.values.items():
            if given is FROZEN:
                continue
            key = self._key(name)
            if callable(given) or is_vector(given):
                groups[key] = step(self._of_group(name, given), old.groups.get(key))
            else:
                constants[key] = given
        row = self._row(constants, old)

        rows = row * factor
        indices = row_indices(len(constants), count)
        values = {key: x[0] * factor for key, x in groups.items()}
        values |= {
            key: row_of(rows, i)
            for key, i in zip(sorted(constants), indices, strict=True)
        }
        values = {key.rpartition("/")[0]: x for key, x in values.items()}
        return values, NumbersByPath(groups, times, dict.fromkeys(constants, ()), row)

    def _row(self, constants: dict[str, Any], old: NumbersByPath) -> jax.Array:
        """The constants as a vector: those of the state if they can be set there."""
        names = sorted(constants)
        given = [constants[name] for name in names]
        stored = sorted(old.constants)
        if self.given.times is not None or not stored:  # the multiples of this program
            return _as_row(given)
        values = unboxed_array(old.values)
        if names != stored:
            at = np.array([stored.index(x) if x in stored else 0 for x in names], int)
            values = values[at]
        wins = [isinstance(x, jax.Array) for x in given]
        wins = [x or name not in stored for x, name in zip(wins, names, strict=True)]
        if not any(wins):
            return values
        return jnp.where(np.array(wins), _as_row(given), values)

    def _key(self, group: str) -> str:
        return f"{group}/{self.name}"

    def _of_group(self, group: str, given: Any) -> Source:
        return Source(f"{self.given.argument}[{group}]", given, self.state_type)


def of_leaves(source: Any, values: Any, tree: Any) -> Any:
    """A tree with the number of each leaf, from what `step` of a source returns.

    Each is of the dtype in which its leaf is computed; 0 where it is frozen.
    """
    if not isinstance(source, SourcesByPath):
        return jax.tree.map(partial(in_compute_dtype, values), tree)
    rows = zip(source.given.names(tree), align(tree), strict=True)
    return rebuild(
        tree,
        [
            None if name is None else in_compute_dtype(values.get(name, 0), leaf)
            for name, (leaf,) in rows
        ],
    )


def _as_row(numbers: list[Any]) -> jax.Array:
    """A vector of numbers; one array if none is traced."""
    if any(isinstance(x, jax.Array) for x in numbers):
        return jnp.stack([as_float(x) for x in numbers])
    return as_float(np.array(numbers, np.float64))


def check_groups(source: Any, params: Params) -> None:
    """Refuses selectors that match no param, and the like."""
    if isinstance(source, SourcesByPath):
        source.given.names(params, strict=True)


def rate_source(argument: str, x: Any) -> Source | SourcesByPath:
    """The source of a learning rate, which may depend on the path."""
    if not is_by_path(x):
        return as_rate(argument, x)
    return SourcesByPath(x, "learning_rate", RateState)
