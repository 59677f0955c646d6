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
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _values
from optax_extras._errors import named_result, naming, refusal, refuse

P = ParamSpec("P")
R = TypeVar("R")
Check = Callable[[str, Any], Any]


def checked(
    function: Callable[P, R], *, before: Callable[..., None] | None = None
) -> Callable[P, R]:
    """Checks the arguments of a public function by their annotations.

    Errors begin with the function's name. So do later errors of the transformation or
    schedule that it returns. If another function of this package calls it, they begin
    with the name of the public function that the user called. A function
    ``<name>_rule`` is public as ``rules.<name>``.

    `before`, if given, is called first, with the name of the first argument and the
    arguments as they were given.
    """
    name = function.__qualname__.rpartition("<locals>.")[2].removesuffix("_rule")
    annotations: Any = function.__annotations__
    checks = {}
    for key, annotation in annotations.items():
        annotations[key] = _with_ranges(annotation)  # what help() shows
        checks[key] = _check_of(annotations[key])
    code = function.__code__
    positional = code.co_varnames[: code.co_argcount]
    scheduled = _scheduled(function, name)

    def check(argument: str, x: Any) -> Any:
        found = checks.get(argument)
        return found(argument, x) if found else x

    def call_checked(args: Any, kwargs: Any) -> Any:
        if before is not None:
            before(positional[0], args, kwargs)
        given = map(check, positional, args)
        more = args[len(positional) :]
        named = {key: check(key, x) for key, x in kwargs.items()}
        return function(*given, *more, **named)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if _is_inside(sys._getframe(1)):
            return call_checked(args, kwargs)
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


class Range:
    """The range of an argument: how a signature shows it, and how it is checked."""

    def __init__(self, says: str, check: Check, *, is_number: bool = False):
        """``Annotated[type, Range(...)]`` is a type for annotations."""
        self.says, self.check, self.is_number = says, check, is_number

    def __repr__(self) -> str:
        return self.says


def _with_ranges(annotation: Any) -> Any:
    """An annotation as help() shows it: ranges instead of the types of the values."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return arguments[1]
    if origin is tuple:
        return tuple[*map(_with_ranges, arguments)]
    if _is_optional(annotation):
        x = _with_ranges(arguments[0])
        if isinstance(x, Range):
            return Range(f"{x} or None", _or_none(x.check), is_number=x.is_number)
    return annotation


def _check_of(annotation: Any) -> Check | None:
    """The check of a range, or of a bool, a `Literal`, a tuple, a function."""
    if isinstance(annotation, Range):
        return annotation.check
    if annotation is bool:
        return _values.flag
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return functools.partial(_values.choice, options=arguments)
    if origin is tuple:
        return functools.partial(
            _tuple, checks=[*filter(None, map(_check_of, arguments))]
        )
    if origin is Callable or annotation is Callable:
        return _values.function
    if _is_optional(annotation):
        check = _check_of(arguments[0])
        return check and _or_none(check)
    return None


def _is_optional(annotation: Any) -> bool:
    """Whether it is ``x | None``."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    arguments = typing.get_args(annotation)
    return is_union and len(arguments) == 2 and arguments[1] is type(None)


def _or_none(check: Check) -> Check:
    return lambda argument, x: None if x is None else check(argument, x)


def _tuple(argument: str, xs: Any, checks: Sequence[Check]) -> tuple[Any, ...]:
    found = _values.items(argument, xs)
    if len(found) != len(checks):
        refuse(argument, f"have {len(checks)} items", xs)
    pairs = enumerate(zip(checks, found, strict=True))
    return tuple(check(f"{argument}[{i}]", x) for i, (check, x) in pairs)


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
        if first and args and (leading in kwargs or _is_no_rate(leading, args[0])):
            given[first] = args[0]
        for option in filter(instead.__contains__, given):
            got = repr(given[option])
            raise refusal(TypeError, option, "not be given", got, instead[option])

    return before


def _is_no_rate(argument: str, x: Any) -> bool:
    """Whether `x`, in the place of a learning rate, is of another kind."""
    is_rate = argument in ("lr", "base_lr", "max_lr", "learning_rate")
    may_be = callable(x) or isinstance(x, int | float | str) or hasattr(x, "dtype")
    return is_rate and not may_be and x is not None


def _number(interval: str) -> Range:
    is_any = interval == "(-inf, inf)"
    says = "real number" if is_any else f"number in {interval}"
    check = functools.partial(_values.real, interval=interval)
    return Range(says, check, is_number=True)


def _number_or_schedule(interval: str) -> Range:
    check = functools.partial(_values.number_or_schedule, interval=interval)
    return Range(f"number in {interval} or schedule", check, is_number=True)


def _at_least(check: Callable[..., Any], n: int, what: str = "integer") -> Range:
    is_number = check is not _values.static_count
    check = functools.partial(check, at_least=n)
    return Range(f"{what} >= {n}", check, is_number=is_number)


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
LearningRate = Annotated[_NumberOrSchedule, _number_or_schedule("[0, inf)")]
DecayOrSchedule = Annotated[_NumberOrSchedule, _number_or_schedule("[0, 1)")]
NumberOrSchedule = Annotated[
    _NumberOrSchedule,
    Range("number or schedule", _values.number_or_schedule, is_number=True),
]
# Numbers of steps may be traced. Sizes may not: they decide structure.
StepCount = Annotated[ArrayLike, _at_least(_values.count, 1)]
StepCountOrZero = Annotated[ArrayLike, _at_least(_values.count, 0)]
Size = Annotated[int, _at_least(_values.static_count, 1)]
SizeOrZero = Annotated[int, _at_least(_values.static_count, 0)]
SizeOfAtLeastTwo = Annotated[int, _at_least(_values.static_count, 2)]
IntegralSteps = Annotated[ArrayLike, _at_least(_values.integral, 1, "whole number")]
IntegralStepsOrZero = Annotated[
    ArrayLike, _at_least(_values.integral, 0, "whole number")
]
Reals = Annotated[_Array, Range("real numbers", _values.reals)]
StepCounts = Annotated[_Array, Range("sorted integers >= 0", _values.counts)]
FloatingDtype = Annotated[Any, Range("floating dtype", _values.floating)]
Monitor = Annotated[str, Range("name of an extra arg", _values.monitor)]
Mask = Annotated[Any, Range("tree of bools, or a function to one", _values.mask)]
Transformation = Annotated[
    optax.GradientTransformation,
    Range("optax.GradientTransformation", _values.transformation),
]
Key = Annotated[jax.Array, Range("key of jax.random", _values.random_key)]
