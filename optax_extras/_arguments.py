"""Arguments: each is declared once, in the signature, by a type that says its range.

>>> @checked
... def rule(b1: Decay = 0.9, *, eps: NonNegative = 1e-8, nesterov: bool = False): ...
>>> rule(b1=1.0)
Traceback (most recent call last):
    ...
ValueError: rule: `b1` must be in [0, 1), got 1.0.

`checked` looks at concrete values only, so a traced hyperparameter passes. A NumPy
number arrives as Python's own, any JAX array as it is. Relations between arguments stay
as code beside their use, and raise by `refuse`; `checked` puts the name of the public
function in front, that of the outermost one.
"""

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    ParamSpec,
    TypeAlias,
    TypeVar,
)

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jax.typing import ArrayLike

P = ParamSpec("P")
R = TypeVar("R")
_ENDLESS = 2**100  # steps: more are the same as this
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


# ---- Errors --------------------------------------------------------------------------


def refuse(argument: str, must: str, got: Any, hint: str = "") -> NoReturn:
    """Raises a `ValueError`; `argument` may carry an index, as in ``betas[0]``."""
    raise _unnamed(ValueError, argument, must, repr(got), hint)


def refuse_kind(argument: str, must: str, got: Any, hint: str = "") -> NoReturn:
    """Raises a `TypeError`, which shows the type of what was given."""
    what = f"{got!r} of type {type(got).__name__}"
    raise _unnamed(TypeError, argument, must, what, hint)


def _unnamed(kind: Any, argument: str, must: str, got: str, hint: str) -> Exception:
    name, bracket, index = argument.partition("[")
    end = f" {hint}" if hint else ""
    error = kind(f"`{name}`{bracket}{index} must {must}, got {got}.{end}")
    error.unnamed = True
    return error


def _is_unnamed(error: Exception) -> bool:
    return getattr(error, "unnamed", False)


def _is_inside(frame: types.FrameType) -> bool:
    """Whether it is a function of this package that calls."""
    return frame.f_globals.get("__name__", "").partition(".")[0] == "optax_extras"


def named(name: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose refusals begin with a name; so do those of its attributes."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            if not _is_unnamed(error):
                raise
            raise type(error)(f"{name}: {error}") from None

    for key, attribute in vars(function).items():
        if isinstance(attribute, types.FunctionType) and key != "__wrapped__":
            vars(call)[key] = named(name, attribute)
    return call


def _named_result(name: str, result: Any) -> Any:
    """A transformation or a schedule that refuses in the name of its constructor."""
    if isinstance(result, optax.GradientTransformation):
        init, update = (named(name, each) for each in (result.init, result.update))
        return result._replace(init=init, update=update)
    if isinstance(result, types.FunctionType):
        result = named(name, result)
        result.__name__ = result.__qualname__ = name
    return result


# ---- The decorator -------------------------------------------------------------------


def checked(
    function: Callable[P, R], *, before: Callable[..., None] | None = None
) -> Callable[P, R]:
    """Checks the arguments of a public function by their annotations, first of all.

    What it refuses, then or later, in the transformation or schedule that it returns,
    is said in its name; where a function of this package calls it, in the name of the
    public function that the user called. A function ``<name>_rule`` is public as
    ``rules.<name>``. `before`, if given, sees the raw arguments first.
    """
    name = function.__name__.removesuffix("_rule")
    annotations = function.__annotations__.items()
    checks = {key: check for key, x in annotations if (check := _check_of(x))}
    code = function.__code__
    placed = code.co_varnames[: code.co_argcount]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if before is not None:
                before(args, kwargs)
            given = [
                checks[key](key, x) if key in checks else x
                for key, x in zip(placed, args, strict=False)
            ]
            for key in kwargs.keys() & checks.keys():
                kwargs[key] = checks[key](key, kwargs[key])
            result: Any = function(*given, *args[len(given) :], **kwargs)
        except (TypeError, ValueError) as error:
            if not _is_unnamed(error) or _is_inside(sys._getframe(1)):
                raise
            raise type(error)(f"{name}: {error}") from None
        if _is_inside(sys._getframe(1)):
            return result
        return _named_result(name, result)

    call.__name__ = call.__qualname__ = name
    return call


Check = Callable[[str, Any], Any]


def _check_of(annotation: Any) -> Check | None:
    """The check of an annotation: ours, or of what Python's own types say."""
    if isinstance(annotation, Range):
        return annotation.check
    if annotation is bool:
        return flag
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return functools.partial(choice, options=arguments)
    if origin is tuple:
        each = [_check_of(x) for x in arguments]
        return functools.partial(_tuple, checks=each) if all(each) else None
    if origin is Callable or annotation is Callable:
        return function
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        some = [x for x in arguments if x is not type(None)]
        check = _check_of(some[0]) if len(some) == 1 else None
        return check and _or_none(check)
    return None


def _or_none(check: Check) -> Check:
    return lambda argument, x: None if x is None else check(argument, x)


def _tuple(argument: str, xs: Any, checks: Sequence[Check]) -> tuple[Any, ...]:
    found = items(argument, xs)
    if len(found) != len(checks):
        refuse(argument, f"have {len(checks)} items", xs)
    pairs = enumerate(zip(checks, found, strict=True))
    return tuple(check(f"{argument}[{i}]", x) for i, (check, x) in pairs)


class Range:
    """What an argument may be: how it reads in a signature, and how it is checked."""

    def __init__(self, says: str, check: Check):
        """A type for annotations; ``| None`` makes it optional."""
        self.says, self.check = says, check

    def __repr__(self) -> str:
        return self.says

    def __or__(self, other: Any) -> "Range":
        if other is not None:
            raise TypeError(f"{self} | {other!r} has no check")
        return Range(f"{self.says} or None", _or_none(self.check))


# ---- Checks --------------------------------------------------------------------------


def is_traced(x: Any) -> bool:
    """Whether `x` has no concrete value yet (inside jit, vmap or grad)."""
    return isinstance(x, Tracer)


def _is_scalar(x: Any, *kinds: Any) -> bool:
    """Whether `x` is a number, or a 0-d array, of one of the abstract dtypes."""
    if not isinstance(x, int | float | np.generic) and not hasattr(x, "dtype"):
        return False
    if getattr(x, "shape", ()) != ():
        return False
    dtype = getattr(x, "dtype", np.dtype(type(x)))
    try:
        np.dtype(dtype)
    except TypeError:  # of another library
        return False
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def is_real(x: Any) -> bool:
    """Whether it is a real number, or a 0-d array of one."""
    return _is_scalar(x, np.integer, np.floating)


def concrete(x: Any) -> Any:
    """The Python number that a concrete scalar is.

    Inside jit an operation on a concrete `jax.Array` is traced too; on this it is not.
    """
    return x if isinstance(x, int | float) else np.asarray(x).item()


def real(argument: str, x: Any, interval: str = "(-inf, inf)") -> Any:
    """A finite real scalar in `interval`, written as in mathematics: `"[0, 1)"`."""
    if not is_real(x):
        refuse_kind(argument, "be a real number", x)
    if is_traced(x):
        return x
    value = concrete(x)
    low, high = map(float, interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    dtype = jax.dtypes.canonicalize_dtype(np.float64)
    largest = float(jnp.finfo(dtype).max)
    if not (above and below):
        must = "be finite" if interval == "(-inf, inf)" else f"be in {interval}"
        refuse(argument, must, x)
    if not -largest <= value <= largest:
        refuse(argument, f"be finite in {dtype}", x)
    return x if isinstance(x, jax.Array) else value


def number_or_schedule(argument: str, x: Any, interval: str = "(-inf, inf)") -> Any:
    """A real scalar in `interval`, or a function of the step count."""
    if callable(x):
        try:
            inspect.signature(x).bind(0)
        except TypeError:
            refuse_kind(argument, "be callable with the step count alone", x)
        except ValueError:  # its signature is not known
            pass
        return x
    if not is_real(x):
        refuse_kind(argument, "be a number or a schedule", x)
    return real(argument, x, interval)


def metric(argument: str, x: Any) -> Any:
    """A real scalar as it was measured: NaN and infinities too."""
    if not is_real(x):
        refuse_kind(argument, "be a metric, a real scalar", x)
    if isinstance(x, int) and abs(x) >= 2**1024:
        refuse(argument, "be a metric, of at most 1.8e308", x)
    return x


def count(argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps: an integer scalar; a concrete one, of any size, as an int."""
    must = f"be an integer of at least {at_least}"
    if not _is_scalar(x, np.integer):
        refuse_kind(argument, must, x)
    if is_traced(x):
        return x
    if concrete(x) < at_least:
        refuse(argument, must, x)
    return min(concrete(x), _ENDLESS)


def untraced(argument: str, x: Any) -> Any:
    """What decides structure, what is run or what is drawn, and so has a value."""
    if is_traced(x):
        refuse_kind(argument, "be known, as a shape is", x)
    return x


def static_count(argument: str, x: Any, *, at_least: int = 1) -> int:
    """The same, of what decides structure."""
    return untraced(argument, count(argument, x, at_least=at_least))


def integral(argument: str, x: Any, *, at_least: int = 1) -> Any:
    """A number of steps, of which other libraries write 2000. as well."""
    if isinstance(x, float | np.floating):
        if not (float(x).is_integer() and x >= at_least):
            refuse(argument, f"be a whole number of at least {at_least}", x)
        x = int(x)
    return count(argument, x, at_least=at_least)


def counts(argument: str, xs: Any) -> list[Any]:
    """Step numbers in non-decreasing order, from a sequence or a 1-d array."""
    found = [
        count(f"{argument}[{i}]", x, at_least=0)
        for i, x in enumerate(items(argument, xs))
    ]
    known = [x for x in found if not is_traced(x)]
    if known != sorted(known):
        refuse(argument, "be sorted", xs)
    return found


def reals(argument: str, xs: Any, interval: str = "(-inf, inf)") -> list:
    """Real numbers in `interval`, from a sequence or a 1-d array."""
    found = enumerate(items(argument, xs))
    return [real(f"{argument}[{i}]", x, interval) for i, x in found]


def items(argument: str, xs: Any) -> list[Any]:
    """The items of a sequence or of a 1-d array."""
    is_sequence = isinstance(xs, Sequence) and not isinstance(xs, str | bytes)
    if not is_sequence and getattr(xs, "ndim", None) != 1:
        refuse_kind(argument, "be a sequence", xs)
    return list(xs)


def choice(argument: str, x: Any, options: Sequence[str]) -> str:
    """One of the named options."""
    if not isinstance(x, str) or x not in options:
        refuse(argument, "be one of " + ", ".join(map(repr, options)), x)
    return x


def flag(argument: str, x: Any) -> bool:
    """True or False: what decides structure is never a traced value."""
    if not isinstance(x, bool | np.bool_):
        refuse_kind(argument, "be True or False", x)
    return bool(x)


def dtype_name(x: Any) -> str:
    """The name of a dtype, "" of anything else, an array too."""
    if hasattr(x, "shape") and not isinstance(x, type | np.dtype):
        return ""
    try:
        return jnp.dtype(x).name
    except TypeError:
        return ""


def floating(argument: str, dtype: Any) -> Any:
    """A floating dtype."""
    name = dtype_name(dtype)
    if not (name and jnp.issubdtype(jnp.dtype(name), jnp.floating)):
        refuse_kind(argument, "be a floating dtype", dtype)
    return dtype


def numbers(argument: str, x: Any) -> Any:
    """A number, or an array of them."""
    if not isinstance(x, int | float | complex) and not hasattr(x, "dtype"):
        refuse_kind(argument, "be an array of numbers", x)
    return x


def returned(argument: str, x: Any) -> Any:
    """The real scalar that a schedule has to return."""
    if not is_real(x) and getattr(x, "shape", ()) == ():
        refuse_kind(argument, "return a real number", x)
    if np.shape(x) != ():
        refuse(argument, "return a scalar", x)
    return x


def mask(argument: str, x: Any) -> Any:
    """None, a tree of bools, or a function to one."""
    leaves = [] if callable(x) else jax.tree.leaves(x)
    if not all(isinstance(leaf, bool | np.bool_) for leaf in leaves):
        refuse_kind(argument, "be a tree of bools, or a function to one", x)
    return x


def function(argument: str, x: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(x):
        refuse_kind(argument, "be callable", x)
    return x


def takes_keywords(argument: str, x: Any, names: str, *, before: int = 0) -> Any:
    """A function that can be called with these keywords, after some positions."""
    function(argument, x)
    try:
        parameters = inspect.signature(x).parameters.values()
    except (TypeError, ValueError):  # built in: to be seen when it is called
        return x
    kinds = [p.kind for p in parameters]
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, _EITHER)]
    by_name = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, _EITHER)}
    by_name -= {p.name for p in placed[:before]}
    enough = len(placed) >= before or inspect.Parameter.VAR_POSITIONAL in kinds
    left = [p for p in placed[before:] if p.kind is p.POSITIONAL_ONLY]
    all_named = inspect.Parameter.VAR_KEYWORD in kinds or by_name >= {*names.split()}
    if left or not enough or not all_named:
        how = ", ".join(f"`{name}`" for name in names.split())
        first = f"{before} arguments, then " if before else ""
        refuse_kind(argument, f"take {first}the keywords {how}", x)
    return x


def transformation(argument: str, x: Any, verb: str = "be") -> Any:
    """An Optax transformation, with extra arguments if it had none."""
    if not isinstance(x, optax.GradientTransformation):
        refuse_kind(argument, f"{verb} an optax transformation", x)
    return optax.with_extra_args_support(x)


def refuse_unlike(argument: str, must: str, got: Any, like: Any) -> None:
    """Refuses a tree of another structure, or with leaves of other shapes."""

    def kinds(tree):
        return jax.tree.structure(tree), list(map(jnp.shape, jax.tree.leaves(tree)))

    if kinds(got) != kinds(like):
        refuse(argument, must, got)


def refuse_options(
    first: str | None = None, /, **instead: str
) -> Callable[[tuple, dict], None]:
    """For `checked(before=...)`: refuses another library's options by their names.

    `instead` maps an option to the sentence that says what to write; `first` is the one
    that their constructor begins with, so that it may come without its name, as in
    ``Adam(params, 1e-3)``.
    """

    def before(args: tuple, kwargs: dict) -> None:
        given = dict(kwargs)
        twice = {"lr", "learning_rate", "base_lr", "max_lr"} & kwargs.keys()
        if first and args and (twice or not _may_be_a_rate(args[0])):
            given[first] = args[0]
        for option in filter(instead.__contains__, given):
            error = f"`{option}` must not be given, got {given[option]!r}."
            refusal: Any = TypeError(f"{error} {instead[option]}")
            refusal.unnamed = True
            raise refusal

    return before


def _may_be_a_rate(x: Any) -> bool:
    is_number = isinstance(x, int | float | str) or hasattr(x, "dtype")
    return x is None or callable(x) or is_number


# ---- Types ---------------------------------------------------------------------------


def _number(interval: str) -> Range:
    everywhere = interval == "(-inf, inf)"
    says = "real number" if everywhere else f"number in {interval}"
    return Range(says, functools.partial(real, interval=interval))


def _number_or_schedule(interval: str) -> Range:
    check = functools.partial(number_or_schedule, interval=interval)
    return Range(f"number in {interval} or schedule", check)


def _at_least(check: Callable[..., Any], n: int, what: str = "integer") -> Range:
    return Range(f"{what} >= {n}", functools.partial(check, at_least=n))


if TYPE_CHECKING:
    # To a type checker they are the types of the values.
    Real: TypeAlias = ArrayLike
    NonNegative: TypeAlias = ArrayLike
    Positive: TypeAlias = ArrayLike
    NonPositive: TypeAlias = ArrayLike
    Decay: TypeAlias = ArrayLike
    Fraction: TypeAlias = ArrayLike
    OpenFraction: TypeAlias = ArrayLike
    AtLeastOne: TypeAlias = ArrayLike
    AboveOne: TypeAlias = ArrayLike
    StepCount: TypeAlias = ArrayLike
    StepCountOrZero: TypeAlias = ArrayLike
    IntegralSteps: TypeAlias = ArrayLike
    IntegralStepsOrZero: TypeAlias = ArrayLike
    LearningRate: TypeAlias = ArrayLike | optax.Schedule
    DecayOrSchedule: TypeAlias = ArrayLike | optax.Schedule
    NumberOrSchedule: TypeAlias = ArrayLike | optax.Schedule
    Size: TypeAlias = int
    SizeOrZero: TypeAlias = int
    StepCounts: TypeAlias = Sequence[ArrayLike] | ArrayLike
    FloatingDtype: TypeAlias = Any
    Mask: TypeAlias = Any | Callable[[Any], Any]
    Transformation: TypeAlias = optax.GradientTransformation
else:
    Real = _number("(-inf, inf)")
    NonNegative = _number("[0, inf)")
    Positive = _number("(0, inf)")
    NonPositive = _number("(-inf, 0]")
    Decay = _number("[0, 1)")
    Fraction = _number("[0, 1]")
    OpenFraction = _number("(0, 1)")
    AtLeastOne = _number("[1, inf)")
    AboveOne = _number("(1, inf)")
    # A metric schedule is a function of its state, which a check takes for a count.
    LearningRate = _number_or_schedule("[0, inf)")
    DecayOrSchedule = _number_or_schedule("[0, 1)")
    NumberOrSchedule = Range("number or schedule", number_or_schedule)
    # Numbers of steps may be traced; sizes decide structure and may not.
    StepCount = _at_least(count, 1)
    StepCountOrZero = _at_least(count, 0)
    Size = _at_least(static_count, 1)
    SizeOrZero = _at_least(static_count, 0)
    IntegralSteps = _at_least(integral, 1, "whole number")
    IntegralStepsOrZero = _at_least(integral, 0, "whole number")
    StepCounts = Range("sorted integers >= 0", counts)
    FloatingDtype = Range("floating dtype", floating)
    Mask = Range("tree of bools, or a function to one", mask)
    Transformation = Range("optax.GradientTransformation", transformation)
