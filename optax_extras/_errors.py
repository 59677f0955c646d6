"""Errors: what they say, and in whose name.

A check raises by `refuse` or `refuse_kind`, which know the argument and the value. The
name in front is that of the public function that the user called: `checked` and `named`
add it, where the call comes from outside of this package.
"""

import functools
import types
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

import optax

P = ParamSpec("P")
R = TypeVar("R")


def refuse(argument: str, must: str, got: Any, hint: str = "") -> NoReturn:
    """Raises a `ValueError`; `argument` may carry an index, as in ``betas[0]``."""
    raise refusal(ValueError, argument, must, repr(got), hint)


def refuse_kind(argument: str, must: str, got: Any, hint: str = "") -> NoReturn:
    """Raises a `TypeError`, which shows the type of what was given."""
    what = f"{got!r} of type {type(got).__name__}"
    raise refusal(TypeError, argument, must, what, hint)


def refusal(kind: Any, argument: str, must: str, got: str, hint: str) -> Exception:
    """The error, to be raised; the name of the function is still to come."""
    name, bracket, index = argument.partition("[")
    end = f" {hint}" if hint else ""
    error = kind(f"`{name}`{bracket}{index} must {must}, got {got}.{end}")
    error.unnamed = True
    return error


def is_unnamed(error: Exception) -> bool:
    """Whether it is a refusal that has no function's name in front yet."""
    return getattr(error, "unnamed", False)


def is_inside(frame: types.FrameType) -> bool:
    """Whether it is a function of this package that calls."""
    return frame.f_globals.get("__name__", "").partition(".")[0] == "optax_extras"


def named(name: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose refusals begin with a name; so do those of its attributes."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            if not is_unnamed(error):
                raise
            raise type(error)(f"{name}: {error}") from None

    for key, attribute in vars(function).items():
        if isinstance(attribute, types.FunctionType) and key != "__wrapped__":
            vars(call)[key] = named(name, attribute)
    return call


def named_result(name: str, result: Any) -> Any:
    """What a constructor returns, which refuses in its name from now on."""
    if isinstance(result, optax.GradientTransformation):
        init: Any = named(name, result.init)
        return result._replace(init=init, update=named(name, result.update))
    if isinstance(result, types.FunctionType):
        own_name = hasattr(result, "__wrapped__")
        result = named(name, result)
        if not own_name:
            result.__name__ = result.__qualname__ = name
    return result.renamed(name) if hasattr(result, "renamed") else result
