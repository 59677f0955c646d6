"""Arguments: each is declared once, in the signature, by a type that says its range.

::

    @checked
    def rule(b1: Decay = 0.9, *, eps: NonNegative = 1e-8, nesterov: bool = False): ...


    rule(b1=1.0)  # ValueError: rule: `b1` must be in [0, 1), got 1.0.

`checked` looks at concrete values only, so a traced hyperparameter passes. A NumPy
number arrives as Python's own, any JAX array as it is. Relations between arguments stay
as code beside their use, and raise by `refuse`; `checked` puts the name of the public
function in front, that of the outermost one.
"""

import functools
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    ParamSpec,
    TypeAlias,
    TypeVar,
)

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _values
from optax_extras._errors import is_inside, is_unnamed, named_result, refusal, refuse

P = ParamSpec("P")
R = TypeVar("R")


def checked(
    function: Callable[P, R], *, before: Callable[..., None] | None = None
) -> Callable[P, R]:
    """Checks the arguments of a public function by their annotations, first of all.

    What it refuses, then or later, in the transformation or schedule that it returns,
    is said in its name; where a function of this package calls it, in the name of the
    public function that the user called. A function ``<name>_rule`` is public as
    ``rules.<name>``. `before`, if given, is called first, with the name of the leading
    argument and the arguments as they came.
    """
    name = function.__qualname__.rpartition("<locals>.")[2].removesuffix("_rule")
    annotations = function.__annotations__.items()
    checks = {key: check for key, x in annotations if (check := _check_of(x))}
    code = function.__code__
    placed = code.co_varnames[: code.co_argcount]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if before is not None:
                before(placed[0], args, kwargs)
            given = [
                checks[key](key, x) if key in checks else x
                for key, x in zip(placed, args, strict=False)
            ]
            for key, x in kwargs.items():
                kwargs[key] = checks[key](key, x) if key in checks else x
            left: Any = (*given, *args[len(given) :])
            result: Any = function(*left, **kwargs)
        except (TypeError, ValueError) as error:
            if not is_unnamed(error) or is_inside(sys._getframe(1)):
                raise
            raise type(error)(f"{name}: {error}") from None
        if is_inside(sys._getframe(1)):
            return result
        return named_result(name, result)

    call.__name__, call.__qualname__ = name.rpartition(".")[2], name
    return call


Check = Callable[[str, Any], Any]


def _check_of(annotation: Any) -> Check | None:
    """The check of an annotation: ours, or of what Python's own types say."""
    if isinstance(annotation, Range):
        return annotation.check
    if annotation is bool:
        return _values.flag
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return functools.partial(_values.choice, options=arguments)
    if origin is tuple:
        each = [check for x in arguments if (check := _check_of(x))]
        return functools.partial(_tuple, checks=each)
    if origin is Callable or annotation is Callable:
        return _values.function
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        some = [x for x in arguments if x is not type(None)]
        check = _check_of(some[0]) if len(some) == 1 else None
        return check and _or_none(check)
    return None


def _or_none(check: Check) -> Check:
    return lambda argument, x: None if x is None else check(argument, x)


def _tuple(argument: str, xs: Any, checks: Sequence[Check]) -> tuple[Any, ...]:
    found = _values.items(argument, xs)
    if len(found) != len(checks):
        refuse(argument, f"have {len(checks)} items", xs)
    pairs = enumerate(zip(checks, found, strict=True))
    return tuple(check(f"{argument}[{i}]", x) for i, (check, x) in pairs)


class Range:
    """What an argument may be: how it reads in a signature, and how it is checked."""

    def __init__(self, says: str, check: Check, *, is_number: bool = False):
        """A type for annotations; ``| None`` makes it optional."""
        self.says, self.check, self.is_number = says, check, is_number

    def __repr__(self) -> str:
        return self.says

    def __or__(self, other: Any) -> "Range":
        if other is not None:
            raise TypeError(f"{self} | {other!r} has no check")
        says, check = f"{self.says} or None", _or_none(self.check)
        return Range(says, check, is_number=self.is_number)


def refuse_options(
    first: str | None = None, /, **instead: str
) -> Callable[[str, tuple, dict], None]:
    """For `checked(before=...)`: refuses another library's options by their names.

    `instead` maps an option to the sentence that says what to write; `first` is the one
    that their constructor begins with, so that it may come without its name, as in
    ``Adam(params, 1e-3)``.
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
    """Whether what stands in the place of a rate is another kind of thing."""
    is_rate = argument in ("lr", "base_lr", "max_lr", "learning_rate")
    may_be = callable(x) or isinstance(x, int | float | str) or hasattr(x, "dtype")
    return is_rate and not may_be and x is not None


def _number(interval: str) -> Range:
    everywhere = interval == "(-inf, inf)"
    says = "real number" if everywhere else f"number in {interval}"
    check = functools.partial(_values.real, interval=interval)
    return Range(says, check, is_number=True)


def _number_or_schedule(interval: str) -> Range:
    check = functools.partial(_values.number_or_schedule, interval=interval)
    return Range(f"number in {interval} or schedule", check, is_number=True)


def _at_least(check: Callable[..., Any], n: int, what: str = "integer") -> Range:
    is_number = check is not _values.static_count
    check = functools.partial(check, at_least=n)
    return Range(f"{what} >= {n}", check, is_number=is_number)


if TYPE_CHECKING:
    # To a type checker they are the types of the values.
    Real: TypeAlias = ArrayLike
    NonNegative: TypeAlias = ArrayLike
    Positive: TypeAlias = ArrayLike
    NonPositive: TypeAlias = ArrayLike
    Decay: TypeAlias = ArrayLike
    Fraction: TypeAlias = ArrayLike
    PositiveFraction: TypeAlias = ArrayLike
    OpenFraction: TypeAlias = ArrayLike
    AtLeastOne: TypeAlias = ArrayLike
    AboveOne: TypeAlias = ArrayLike
    AtLeastFour: TypeAlias = ArrayLike
    StepCount: TypeAlias = ArrayLike
    StepCountOrZero: TypeAlias = ArrayLike
    IntegralSteps: TypeAlias = ArrayLike
    IntegralStepsOrZero: TypeAlias = ArrayLike
    LearningRate: TypeAlias = ArrayLike | optax.Schedule
    DecayOrSchedule: TypeAlias = ArrayLike | optax.Schedule
    NumberOrSchedule: TypeAlias = ArrayLike | optax.Schedule
    Size: TypeAlias = int
    SizeOrZero: TypeAlias = int
    SizeOfAtLeastTwo: TypeAlias = int
    Reals: TypeAlias = Sequence[ArrayLike] | jax.Array | np.ndarray
    StepCounts: TypeAlias = Sequence[ArrayLike] | jax.Array | np.ndarray
    FloatingDtype: TypeAlias = Any
    Monitor: TypeAlias = str
    Mask: TypeAlias = Any | Callable[[Any], Any]
    Transformation: TypeAlias = optax.GradientTransformation
    Key: TypeAlias = jax.Array
else:
    Real = _number("(-inf, inf)")
    NonNegative = _number("[0, inf)")
    Positive = _number("(0, inf)")
    NonPositive = _number("(-inf, 0]")
    Decay = _number("[0, 1)")
    Fraction = _number("[0, 1]")
    PositiveFraction = _number("(0, 1]")
    OpenFraction = _number("(0, 1)")
    AtLeastOne = _number("[1, inf)")
    AboveOne = _number("(1, inf)")
    AtLeastFour = _number("[4, inf)")
    # A metric schedule is a function of its state, which a check takes for a count.
    LearningRate = _number_or_schedule("[0, inf)")
    DecayOrSchedule = _number_or_schedule("[0, 1)")
    NumberOrSchedule = Range(
        "number or schedule", _values.number_or_schedule, is_number=True
    )
    # Numbers of steps may be traced; sizes decide structure and may not.
    StepCount = _at_least(_values.count, 1)
    StepCountOrZero = _at_least(_values.count, 0)
    Size = _at_least(_values.static_count, 1)
    SizeOrZero = _at_least(_values.static_count, 0)
    SizeOfAtLeastTwo = _at_least(_values.static_count, 2)
    IntegralSteps = _at_least(_values.integral, 1, "whole number")
    IntegralStepsOrZero = _at_least(_values.integral, 0, "whole number")
    Reals = Range("real numbers", _values.reals)
    StepCounts = Range("sorted integers >= 0", _values.counts)
    FloatingDtype = Range("floating dtype", _values.floating)
    Monitor = Range("name of an extra arg", _values.monitor)
    Mask = Range("tree of bools, or a function to one", _values.mask)
    Transformation = Range("optax.GradientTransformation", _values.transformation)
    Key = Range("key of jax.random", _values.random_key)
