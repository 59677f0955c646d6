"""Functions of numbers that depend on the path: the rules of the groups.

A function of numbers, such as `rules.adam`, is lifted: from a `ByPath` it makes the
rules of the groups.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from optax_extras._by_path import FROZEN, ByPath, Names, hashable


@dataclasses.dataclass(frozen=True, eq=False)
class Lifted:
    """The results of a function, some arguments of which depend on the path."""

    function: Callable[..., Any]
    parts: Mapping[str, Any]
    """Those arguments: of type `ByPath` or `Lifted`."""
    combinations: dict[str, tuple[str, ...]]
    """The groups of the parts, by the name of their combination: those that `names` or
    `every_name` have met so far."""

    def _identity(self) -> tuple[Any, ...]:
        call: Any = self.function
        others = map(hashable, call.keywords.values())
        return (call.func, *call.keywords, *others, *self.parts, *self.parts.values())

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Lifted) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def freezes(self) -> bool:
        """Whether a group is frozen."""
        return any(x.freezes for x in self.parts.values())

    def names(self, tree: Any, *, strict: bool = False) -> Names:
        """The combination of groups of each leaf; None for a leaf that is None."""
        columns = [x.names(tree, strict=strict) for x in self.parts.values()]
        return [
            None if None in row else self._name(row)
            for row in zip(*columns, strict=True)
        ]

    def every_name(self) -> list[str]:
        """Enough combinations for every group of each part to be in one."""
        columns = {key: part.every_name() for key, part in self.parts.items()}
        first = {key: names[0] for key, names in columns.items()}
        return [
            self._name(tuple({**first, key: name}.values()))
            for key, names in columns.items()
            for name in names
        ]

    def is_frozen(self, name: str | None) -> bool:
        """Whether a combination of groups is frozen."""
        if name is None:
            return False
        pairs = zip(self.parts.values(), self.combinations[name], strict=True)
        return any(part.is_frozen(x) for part, x in pairs)

    def value(self, name: str) -> Any:
        """The function's result for a combination; `FROZEN` if a part is frozen."""
        names = zip(self.parts.items(), self.combinations[name], strict=True)
        if self.is_frozen(name):
            return FROZEN
        return self.function(**{key: part.value(x) for (key, part), x in names})

    def together(self, names: Names) -> Any:
        """The function's result for vectors with an entry for each combination.

        None if some argument is not a Python or NumPy number in each of them.
        """
        rows = [self.combinations[name] for name in names if name is not None]
        columns = zip(self.parts.items(), zip(*rows, strict=True), strict=True)
        given = {key: [part.value(x) for x in row] for (key, part), row in columns}
        numbers = (int, float, np.generic)
        if not all(isinstance(x, numbers) for row in given.values() for x in row):
            return None
        return self.function(**{key: np.asarray(row) for key, row in given.items()})

    def _name(self, row: Any) -> str:
        pairs = zip(self.parts, row, strict=True)
        same = len({*row}) == 1
        name = row[0] if same else ", ".join(f"{key}={x}" for key, x in pairs)
        self.combinations[name] = row
        return name


def is_by_path(x: Any) -> bool:
    """Whether a value depends on the path."""
    return isinstance(x, ByPath | Lifted)


def lift(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """The result of a function, `Lifted` if an argument depends on the path."""
    parts = {name: x for name, x in arguments.items() if is_by_path(x)}
    if not parts:
        return function(**arguments)
    others = {name: x for name, x in arguments.items() if name not in parts}
    lifted = Lifted(functools.partial(function, **others), parts, {})
    # Refuses arguments that do not go together before there are any leaves.
    if all(isinstance(x, ByPath) for x in parts.values()):
        for name in lifted.every_name():
            lifted.value(name)
    return lifted
