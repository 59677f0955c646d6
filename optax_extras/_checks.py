"""Types of arguments with their ranges, and the decorator that checks them.

Each argument is declared once, in the signature, by a type that states its range::

    @checked
    def rule(b1: Decay = 0.9, *, eps: NonNegative = 1e-8, nesterov: bool = False): ...


    rule(b1=1.0)  # ValueError: rule: `b1` must be in [0, 1), got 1.0.

Only concrete values are checked, so a traced hyperparameter passes. A NumPy number is
passed on as a Python number, a JAX array as it is. Relations between arguments are
checked in the function, by `refuse`; `checked` puts the function's name in front of
those errors, too.
"""

import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _check_values
from optax_extras._by_path import FROZEN, ByPath
from optax_extras._errors import named_result, naming, refusal, refuse, refuse_kind
from optax_extras._lifted import is_by_path, lift

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[str, Any], Any]


def checked(
    function: Callable[P, R],
    *,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
    by_path: bool = False,
    lifts: bool = False,
) -> Callable[P, R]:
    """Checks the arguments of a public function by their annotations.

    Errors begin with the function's name. So do later errors of the transformation or
    schedule that it returns. If another function of this package calls it, they begin
    with the name of the public function that the user called. A function
    ``<name>_rule`` is public as ``rules.<name>``.

    `before`, if given, is called first, with the name of the first argument and the
    arguments as they were given. `after`, if given, is called last, with the result,
    the function and its checked arguments. With `by_path` a `ByPath` of numbers may
    stand for a number. With `lifts` the function gets the numbers of one group at a
    time.
    """
    name = function.__qualname__.rpartition("<locals>.")[2].removesuffix("_rule")
    arguments = {**function.__annotations__}
    arguments.pop("return", None)
    ranges = {key: x for key, y in arguments.items() if (x := _range_of(y, by_path))}
    function.__annotations__.update(ranges)  # help() shows them
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    scheduled = _scheduled(function, name)
    unchecked: Any = function

    def check(argument: str, x: Any) -> Any:
        return ranges[argument].check(argument, x) if argument in ranges else x

    def call_inside(args: Any, kwargs: Any) -> Any:
        # A vector over groups was checked as the `ByPath` that it comes from.
        numbers = (np.ndarray, jax.Array)
        given = (x for x in (*args, *kwargs.values()) if isinstance(x, numbers))
        if lifts and any(np.ndim(x) == 1 for x in given):
            return unchecked(*args, **kwargs)
        return call_checked(args, kwargs)

    def call_checked(args: Any, kwargs: Any) -> Any:
        if before is not None:
            before(positional[0], args, kwargs)
        given = map(check, positional, args)
        more = args[len(positional) :]
        named = {key: check(key, x) for key, x in kwargs.items()}
        if lifts:
            return lift(function, dict(zip(positional, given, strict=False)) | named)
        if after is None:
            return function(*given, *more, **named)
        given = (*given, *more)
        result = function(*given, **named)
        after(result, function, given, named)
        return result

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # The caller's own frame: no wrapper of this package may stand in between.
        if _is_inside(sys._getframe(1)):
            return call_inside(args, kwargs)
        with naming(name, scheduled):
            return named_result(name, call_checked(args, kwargs))

    call.__name__, call.__qualname__ = name.rpartition(".")[2], name
    return call


def _is_inside(caller: types.FrameType) -> bool:
    """Whether the calling function belongs to this package."""
    return caller.f_globals.get("__name__", "").partition(".")[0] == "optax_extras"


def _scheduled(function: Any, name: str) -> str:
    """The call by which an optimizer takes schedules; "" for other functions."""
    kind = function.__annotations__.get("return")
    if not (isinstance(kind, type) and issubclass(kind, optax.GradientTransformation)):
        return ""
    package = function.__module__.split(".")[1]
    prefix = "" if package.startswith("_") else f"{package}."
    return f"oxe.scheduled(oxe.{prefix}{name})"


class Range(NamedTuple):
    """The range of an argument, in ``Annotated[type, Range(...)]``."""

    says: str
    """How a signature shows it."""
    check: Check
    is_number: bool = False
    """Whether a schedule may stand in its place inside of `scheduled`."""
    takes_paths: bool = False
    """Whether the check takes numbers by path."""

    def __repr__(self) -> str:
        return self.says


def _range_of(annotation: Any, by_path: bool = False) -> Range | None:
    """The range of an annotated type, a bool, a `Literal`, a tuple, a function."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        found = arguments[1]
        if not found.is_number or found.takes_paths:
            return found
        wrap = _or_by_path if by_path else _not_by_path
        return found._replace(check=wrap(found.check))
    if annotation is bool:
        return Range("bool", _check_values.flag)
    if origin is Literal:
        check = functools.partial(_check_values.choice, options=arguments)
        return Range(f"Literal{[*arguments]}", check)
    if origin is Callable or annotation is Callable:
        return Range("function", _check_values.function)
    if origin is tuple:
        items = [x for y in arguments if (x := _range_of(y, by_path))]
        check = functools.partial(_tuple, checks=[x.check for x in items])
        is_number = any(x.is_number for x in items)
        return Range(f"tuple{items}", check, is_number)
    is_union = origin in (typing.Union, types.UnionType)
    if is_union and arguments[1:] == (type(None),):
        x = _range_of(arguments[0], by_path)
        return x and Range(f"{x} or None", _or_none(x.check), x.is_number)
    return None


def _or_none(check: Check) -> Check:
    return lambda argument, x: None if x is None else check(argument, x)


def _or_by_path(check: Check, may_freeze: bool = False) -> Check:
    """The check of an argument that may depend on the path."""

    def check_values(argument: str, x: Any) -> Any:
        if not isinstance(x, ByPath):
            return x if is_by_path(x) else check(argument, x)
        if x.freezes and not may_freeze:
            frozen = next(name for name in x.values if x.is_frozen(name))
            hint = "Freeze a group by its learning rate."
            refuse(f"{argument}[{frozen}]", "be a number", FROZEN, hint)
        return x.mapped(argument, check)

    return check_values


def _not_by_path(check: Check) -> Check:
    """The check of an argument that may not depend on the path."""

    def check_one(argument: str, x: Any) -> Any:
        if is_by_path(x):
            hint = (
                "By path can be the learning rate and the weight decay of an optimizer,"
                " and all numbers of one that is a rule (`oxe.rules`). A schedule of "
                "groups is `oxe.by_path({...}, 1, times=schedule)`."
            )
            refuse_kind(argument, "be one number", x, hint)
        return check(argument, x)

    return check_one


def _tuple(argument: str, xs: Any, checks: Sequence[Check]) -> tuple[Any, ...]:
    found = _check_values.items(argument, xs)
    if len(found) != len(checks):
        refuse(argument, f"have {len(checks)} items", xs)
    pairs = enumerate(zip(checks, found, strict=True))
    return tuple(check(f"{argument}[{i}]", x) for i, (check, x) in pairs)


checked_by_path = functools.partial(checked, by_path=True)
"""`checked`, for a function whose every number may be given by path."""
checked_rule = functools.partial(checked, by_path=True, lifts=True)
"""`checked`, for a function that returns a rule."""


def refuse_options(
    first: str | None = None, /, **instead: str
) -> Callable[[str, tuple, dict], None]:
    """For `checked(before=...)`: refuses options that only another library has.

    `instead` maps such an option to a sentence that says what to write. `first` is the
    option that the other library's constructor begins with, so that it is refused
    without its name, too, as in ``Adam(params, 1e-3)``.
    """

    def before(leading: str, args: tuple, kwargs: dict) -> None:
        given = dict(kwargs)
        if first and args and (leading in kwargs or _is_not_a_rate(leading, args[0])):
            given[first] = args[0]
        for option in filter(instead.__contains__, given):
            got = _shown(given[option])
            raise refusal(TypeError, option, "not be given", got, instead[option])

    return before


def _shown(x: Any) -> str:
    """Its repr, or its type if that is long, as of an optimizer of PyTorch."""
    is_short = len(text := repr(x)) <= 60 and "\n" not in text
    return text if is_short else f"an object of type {type(x).__name__}"


def _is_not_a_rate(argument: str, x: Any) -> bool:
    """Whether `x`, in the place of a learning rate, is of another kind."""
    is_rate = argument in ("lr", "base_lr", "max_lr", "learning_rate")
    may_be = callable(x) or isinstance(x, int | float | str) or hasattr(x, "dtype")
    return is_rate and not (may_be or is_by_path(x)) and x is not None


def _number(interval: str, check: Any = _check_values.real, end: str = "") -> Range:
    says = "real number" if interval == "(-inf, inf)" else f"number in {interval}"
    return Range(says + end, functools.partial(check, interval=interval), True)


def _number_or_schedule(interval: str) -> Range:
    return _number(interval, _check_values.number_or_schedule, " or schedule")


def _at_least(check: Callable[..., Any], n: int, what: str = "integer") -> Range:
    is_number = check is not _check_values.static_count
    check = functools.partial(check, at_least=n)
    return Range(f"{what} >= {n}", check, is_number)


_Array = Sequence[ArrayLike] | jax.Array | np.ndarray
_NumberOrSchedule = ArrayLike | optax.Schedule

# A type checker reads the first type, `checked` and help() the range.
Real = Annotated[ArrayLike, _number("(-inf, inf)")]
NonNegative = Annotated[ArrayLike, _number("[0, inf)")]
Positive = Annotated[ArrayLike, _number("(0, inf)")]
NonPositive = Annotated[ArrayLike, _number("(-inf, 0]")]
Decay = Annotated[ArrayLike, _number("[0, 1)")]
Fraction = Annotated[ArrayLike, _number("[0, 1]")]
PositiveFraction = Annotated[ArrayLike, _number("(0, 1]")]
OpenFraction = Annotated[ArrayLike, _number("(0, 1)")]
AtLeastOne = Annotated[ArrayLike, _number("[1, inf)")]
AboveOne = Annotated[ArrayLike, _number("(1, inf)")]
AtLeastFour = Annotated[ArrayLike, _number("[4, inf)")]
# A metric schedule passes: it is a function of one argument, its state.
_RATE = _number_or_schedule("[0, inf)")._replace(takes_paths=True)
_DECAY_CHECK, _RATE_CHECK = _or_by_path(_RATE.check), _or_by_path(_RATE.check, True)
LearningRate = Annotated[_NumberOrSchedule, _RATE._replace(check=_RATE_CHECK)]
WeightDecay = Annotated[_NumberOrSchedule, _RATE._replace(check=_DECAY_CHECK)]
DecayOrSchedule = Annotated[_NumberOrSchedule, _number_or_schedule("[0, 1)")]
NumberOrSchedule = Annotated[_NumberOrSchedule, _number_or_schedule("(-inf, inf)")]
# Numbers of steps may be traced. Sizes may not: they decide structure.
StepCount = Annotated[ArrayLike, _at_least(_check_values.count, 1)]
StepCountOrZero = Annotated[ArrayLike, _at_least(_check_values.count, 0)]
Size = Annotated[int, _at_least(_check_values.static_count, 1)]
SizeOrZero = Annotated[int, _at_least(_check_values.static_count, 0)]
SizeOfAtLeastTwo = Annotated[int, _at_least(_check_values.static_count, 2)]
IntegralSteps = Annotated[
    ArrayLike, _at_least(_check_values.integral, 1, "whole number")
]
IntegralStepsOrZero = Annotated[
    ArrayLike, _at_least(_check_values.integral, 0, "whole number")
]
Reals = Annotated[_Array, Range("real numbers", _check_values.reals)]
StepCounts = Annotated[_Array, Range("sorted integers >= 0", _check_values.counts)]
FloatingDtype = Annotated[Any, Range("floating dtype", _check_values.floating)]
Monitor = Annotated[str, Range("name of an extra arg", _check_values.monitor)]
MatrixLayout = Annotated[
    Any, Range("'in_out', 'out_in' or function of path and leaf", _check_values.layout)
]
Paths = Annotated[
    str | Sequence[str] | Callable[[str, Any], bool],
    Range("regular expressions or function of path and leaf", _check_values.paths),
]
AxesByPath = Annotated[
    Mapping[str, Any],
    Range("dict of regular expressions and MatrixAxes", _check_values.by_path),
]
Mask = Annotated[
    Any, Range("tree of bools or function of the params", _check_values.mask)
]
Transformation = Annotated[
    optax.GradientTransformation,
    Range("optax.GradientTransformation", _check_values.transformation),
]
Key = Annotated[jax.Array, Range("key of jax.random", _check_values.random_key)]
