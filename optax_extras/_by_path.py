"""Values that depend on the path of a param: the groups of `oxe.by_path`.

Groups are values, not transformations: a number for each group goes as far down as a
number for all leaves would. A function of numbers, such as `rules.adam`, is lifted:
from a `ByPath` it makes the rules of the groups.
"""

import contextlib
import contextvars
import dataclasses
import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import jax
import numpy as np
import optax

from optax_extras._errors import refuse
from optax_extras._sharding import is_none, without_boxes

Leaves = list[tuple[str, Any]]
Names = list[str | None]
Selectors = Mapping[str, Callable[[str, Any], bool]]

DEFAULT, TIMES = "default", "times"
_RULE = "rule"  # the argument to which rules by path are given as they are


class Frozen:
    """The type of `FROZEN`."""

    def __repr__(self) -> str:
        return "oxe.FROZEN"

    def __reduce__(self) -> str:
        return "FROZEN"  # a copy is the same object, also from another process


FROZEN = Frozen()
"""In place of a learning rate in :func:`by_path`: the params of the group do not move,
and their moments stay as they are."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ByPath:
    """The values of groups of leaves."""

    values: Mapping[str, Any]
    """By the name of the group: its selector, or `DEFAULT`."""
    selectors: Selectors
    """By the same names, but for the default; the first that matches wins."""
    times: Any = None
    """A number or schedule that multiplies all values."""
    may_be_empty: frozenset[str] = frozenset()
    """The groups whose selector may match no leaf."""
    argument: str = _RULE
    """The argument that it was given for, for errors."""

    def _identity(self) -> tuple[Any, ...]:
        """What makes two equal: code that hashes closures compiles them once."""
        parts = [*self.values.values(), self.times]
        ids = map(_hashable, parts)
        names = (*self.values, *self.may_be_empty, self.argument)
        return (*names, *self.selectors.values(), *ids)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, ByPath) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        times = "" if self.times is None else f", times={self.times!r}"
        return f"by_path({dict(self.values)!r}{times})"

    @property
    def freezes(self) -> bool:
        """Whether a group is frozen."""
        return any(x is FROZEN for x in self.values.values())

    def names(self, tree: Any, *, strict: bool = False) -> Names:
        """The group of each leaf; None for a leaf that is None.

        `strict`: selectors that match no leaf are refused, and vectors of a wrong
        length are.
        """
        leaves = leaves_with_paths(tree)
        names = [None if x is None else self._name(path, x) for path, x in leaves]
        if strict and (hint := _no_paths.get()):
            refuse(
                self.argument, "be one number where leaves have no paths", self, hint
            )
        if strict:
            self._check_selectors(leaves, names)
            self._check_vectors(leaves, names)
            _record.get()(self, leaves, names)
        return names

    def every_name(self) -> list[str]:
        """The groups, also those without leaves."""
        return [*self.values]

    def value(self, name: str) -> Any:
        """The value of a group, multiplied by `times`."""
        value = self.values[name]
        is_alone = self.times is None or value is FROZEN
        return value if is_alone else _product(value, self.times)

    def is_frozen(self, name: str | None) -> bool:
        """Whether a group is frozen."""
        return name is not None and self.values[name] is FROZEN

    def mapped(self, argument: str, check: Callable[[str, Any], Any]) -> "ByPath":
        """With the values that a check of an argument returns for them.

        The argument is that of the function that the user called.
        """
        argument = argument if self.argument == _RULE else self.argument
        values = {
            name: x if x is FROZEN else _checked_value(f"{argument}[{name}]", x, check)
            for name, x in self.values.items()
        }
        if self.times is not None:
            check(f"{argument}[times]", self.times)
        return dataclasses.replace(self, values=values, argument=argument)

    def _refuse_arithmetic(self, *_: Any) -> NoReturn:
        raise TypeError(
            "by_path: it must be an argument of an optimizer of optax_extras, as in "
            f"`oxe.adamw(by_path)`, got used like a number: {self}. Use "
            "`optax.partition` for other optimizers."
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse_arithmetic
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = _refuse_arithmetic
    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __bool__ = _refuse_arithmetic

    def _name(self, path: str, leaf: Any) -> str:
        for name, matches in self.selectors.items():
            if matches(path, leaf):
                return name
        if DEFAULT not in self.values:
            must = f"have a selector that matches {path!r}, or a default"
            refuse(self.argument, must, list(self.values))
        return DEFAULT

    def _check_selectors(self, leaves: Leaves, names: Names) -> None:
        present = [(path, leaf) for path, leaf in leaves if leaf is not None]
        for name, matches in self.selectors.items() if present else ():
            if name in names or name in self.may_be_empty:
                continue
            # One that matches only what an earlier one took is valid.
            if not any(matches(*leaf) for leaf in present):
                near = difflib.get_close_matches(name, [x for x, _ in present], 3, 0.0)
                hint = f"Paths that come near: {', '.join(map(repr, near)) or 'none'}."
                must = "match the whole path of a param"
                refuse(f"{self.argument}[{name}]", must, name, hint)

    def _check_vectors(self, leaves: Leaves, names: Names) -> None:
        for (path, leaf), name in zip(leaves, names, strict=True):
            value: Any = None if name is None else self.values[name]
            if is_vector(value) and np.shape(leaf)[:1] != np.shape(value):
                must = f"have as many entries as {path!r} along its first axis"
                got = f"{np.shape(value)[0]} for {np.shape(leaf)}"
                refuse(f"{self.argument}[{name}]", must, got)


@dataclasses.dataclass(frozen=True, eq=False)
class Lifted:
    """The results of a function, some arguments of which depend on the path."""

    function: Callable[..., Any]
    parts: Mapping[str, Any]
    """Those arguments: of type `ByPath` or `Lifted`."""
    combinations: dict[str, tuple[str, ...]]
    """The groups of the parts, by the name that `names` gives to their combination."""

    def _identity(self) -> tuple[Any, ...]:
        call: Any = self.function
        others = map(_hashable, call.keywords.values())
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
        """Combinations that have every group of each part."""
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


def _hashable(x: Any) -> Any:
    """The value; of an array or a list, which is equal only to itself, the id."""
    return id(x) if isinstance(x, jax.Array | np.ndarray | list) else x


def is_vector(x: Any) -> bool:
    """Whether a value has an entry for each index of a first axis."""
    return isinstance(x, np.ndarray | jax.Array) and x.ndim == 1


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


def leaves_with_paths(tree: Any) -> Leaves:
    """The leaves, None included, with paths such as ``encoder/layers_0/kernel``."""
    found, _ = jax.tree_util.tree_flatten_with_path(
        without_boxes(tree), is_leaf=is_none
    )
    keystr = jax.tree_util.keystr
    return [(keystr(path, simple=True, separator="/"), leaf) for path, leaf in found]


def _checked_value(argument: str, x: Any, check: Callable[[str, Any], Any]) -> Any:
    """A value of one group: what the argument takes, or a vector of such numbers."""
    is_sequence = isinstance(x, list | tuple) and not hasattr(x, "_fields")
    if not is_sequence and not is_vector(x):
        return check(argument, x)
    numbers = [check(f"{argument}[{i}]", number) for i, number in enumerate(x)]
    if any(map(callable, numbers)):
        refuse(argument, "be a number, a schedule or a vector of numbers", x)
    return x if isinstance(x, jax.Array) else np.asarray(numbers)


def _product(value: Any, times: Any) -> Any:
    """The product of two numbers or schedules."""
    shape = np.shape(value) if is_vector(value) else ()
    for x in (value, times):
        if isinstance(x, optax.schedules.StatefulSchedule):
            must = "be a number or a schedule where the rule applies the learning rate"
            refuse("times", must, x, "Give each group a metric schedule of its own.")
    if not callable(value) and not callable(times):
        return value * times

    def schedule(count: Any) -> Any:
        a: Any = value(count) if callable(value) else value
        b: Any = times(count) if callable(times) else times
        return a * b

    schedule.shape = shape
    return schedule


Record = Callable[[ByPath, Leaves, Names], None]
_record: contextvars.ContextVar[Record] = contextvars.ContextVar(
    "record", default=lambda *_: None
)
_no_paths = contextvars.ContextVar("no_paths", default="")


@contextlib.contextmanager
def recording(record: Record) -> Iterator[None]:
    """Calls `record` for every `ByPath` that an `init` within it meets."""
    token = _record.set(record)
    try:
        yield
    finally:
        _record.reset(token)


@contextlib.contextmanager
def without_paths(hint: str) -> Iterator[None]:
    """Refuses every `ByPath` that an `init` within it meets."""
    token = _no_paths.set(hint)
    try:
        yield
    finally:
        _no_paths.reset(token)
