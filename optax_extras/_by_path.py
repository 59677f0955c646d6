"""Values that depend on the path of a param: the groups of `oxe.by_path`.

Groups are values, not transformations: a number for each group goes as far down as a
number for all leaves would. (`_lifted` has what functions make of them.)
"""

import contextlib
import contextvars
import dataclasses
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._boxes import is_none, without_boxes
from optax_extras._errors import refuse, refuse_kind

Leaves = list[tuple[str, Any]]
Names = list[str | None]
Selectors = Mapping[str, Callable[[str, Any], bool]]

DEFAULT, TIMES = "default", "times"
_RULE = "rule"  # the argument to which rules by path are given as they are


class Expression(NamedTuple):
    """A selector of the leaves whose whole path matches."""

    pattern: re.Pattern[str]

    def __call__(self, path: str, leaf: Any) -> bool:
        """Whether it matches; the leaf is not asked."""
        del leaf
        return self.pattern.fullmatch(path) is not None


class Frozen:
    """The type of `FROZEN`."""

    hint = (
        "Freeze a group by its learning rate, `oxe.by_path({...: oxe.FROZEN}, 1e-3)`; "
        "an entry of a vector can be 0.0."
    )

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
        ids = map(hashable, parts)
        names = (*self.values, self.may_be_empty, self.argument)
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

    def names(
        self, tree: Any, *, strict: bool = False, masked: list[bool] | None = None
    ) -> Names:
        """The group of each leaf; None for a leaf that is None.

        `strict`: selectors that match no leaf are refused, and vectors of a wrong
        length are. `masked` are the leaves that the number does not change.
        """
        leaves = leaves_with_paths(tree)
        names = [None if x is None else self._name(path, x) for path, x in leaves]
        if not strict:
            return names
        if hint := _no_paths.get():
            must = "be one number where leaves have no paths"
            refuse(self.argument, must, self, hint)
        self._check_selectors(leaves, names, _masked_paths(tree))
        self._check_vectors(leaves, names)
        pairs = zip(names, masked or [False] * len(names), strict=True)
        shown = [None if is_masked else name for name, is_masked in pairs]
        _record.get()(self, leaves, shown)
        return names

    def every_name(self) -> list[str]:
        """The groups, also those without leaves."""
        return [*self.values]

    def value(self, name: str) -> Any:
        """The value of a group, multiplied by `times`."""
        value = self.values[name]
        if self.times is None or value is FROZEN:
            return value
        return _product(value, self.times)

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

    def _matches(self, name: str, path: str, leaf: Any) -> bool:
        found = self.selectors[name](path, leaf)
        if not isinstance(found, bool | np.bool_ | re.Match | None):
            must = "be a selector that returns a bool"
            refuse_kind(f"{self.argument}[{name}]", must, found)
        return bool(found)

    def _name(self, path: str, leaf: Any) -> str:
        for name in self.selectors:
            if self._matches(name, path, leaf):
                return name
        if DEFAULT not in self.values:
            must = f"have a selector that matches {path!r}, or a default"
            refuse(self.argument, must, list(self.values))
        return DEFAULT

    def _check_selectors(self, leaves: Leaves, names: Names, masked: list[str]) -> None:
        """Refuses selectors that match nothing.

        They may match what an earlier one took, or what belongs to another transform.
        """
        present = [(path, leaf) for path, leaf in leaves if leaf is not None]
        for name, selector in self.selectors.items() if present else ():
            if name in names or name in self.may_be_empty:
                continue
            if masked and not isinstance(selector, Expression):
                continue  # it may ask for a shape that is not known here
            if not any(self._matches(name, *leaf) for leaf in present) and not any(
                self._matches(name, path, None) for path in masked
            ):
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


def hashable(x: Any) -> Any:
    """The value; of an array or a list, which is equal only to itself, the id."""
    return id(x) if isinstance(x, jax.Array | np.ndarray | list) else x


def is_vector(x: Any) -> bool:
    """Whether a value has an entry for each index of a first axis."""
    return isinstance(x, np.ndarray | jax.Array) and x.ndim == 1


def leaves_with_paths(tree: Any) -> Leaves:
    """The leaves, None included, with paths such as ``encoder/layers_0/kernel``."""
    unboxed = without_boxes(tree)
    found = jax.tree_util.tree_leaves_with_path(unboxed, is_leaf=is_none)
    return [(path_of(keys), leaf) for keys, leaf in found]


def path_of(keys: Any) -> str:
    """The path of a leaf as we write it, from the keys that JAX gives."""
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _masked_paths(tree: Any) -> list[str]:
    """The paths of leaves that `optax.masked` and `optax.partition` leave to others."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_masked)
    return [path_of(keys) for keys, x in found if _is_masked(x)]


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)


def _checked_value(argument: str, x: Any, check: Callable[[str, Any], Any]) -> Any:
    """A value of one group: what the argument takes, or a vector of such numbers."""
    is_sequence = isinstance(x, list | tuple) and not hasattr(x, "_fields")
    if not is_sequence and not is_vector(x):
        return check(argument, x)
    numbers = [check(f"{argument}[{i}]", number) for i, number in enumerate(x)]
    if any(map(callable, numbers)):
        refuse(argument, "be a number, a schedule or a vector of numbers", x)
    if isinstance(x, jax.Array):
        return x
    is_known = not any(isinstance(number, jax.Array) for number in numbers)
    return np.asarray(numbers) if is_known else jnp.asarray(numbers)


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


def recording(record: Record) -> Any:
    """Calls `record` for every `ByPath` that an `init` within it meets."""
    return within(_record, record)


def without_paths(hint: str) -> Any:
    """Refuses every `ByPath` that an `init` within it meets."""
    return within(_no_paths, hint)


@contextlib.contextmanager
def within(variable: contextvars.ContextVar, value: Any) -> Iterator[None]:
    """Gives a variable this value within the block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
