"""What functions take: checks of a caller's, and of what our own are given."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from optax_extras import _checks

P = ParamSpec("P")
R = TypeVar("R")
_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


def takes(rule: str, argument: str, x: Any, names: str, *, before: int = 0) -> Any:
    """A function that can be called with these keywords, after some positions."""
    _checks.function(rule, argument, x)
    try:
        parameters = inspect.signature(x).parameters.values()
    except (TypeError, ValueError):  # built in: to be seen when it is called
        return x
    kinds = [p.kind for p in parameters]
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, _EITHER)]
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, _EITHER)}
    named -= {p.name for p in placed[:before]}
    enough = len(placed) >= before or inspect.Parameter.VAR_POSITIONAL in kinds
    left = [p for p in placed[before:] if p.kind is p.POSITIONAL_ONLY]
    all_named = inspect.Parameter.VAR_KEYWORD in kinds or named >= {*names.split()}
    if left or not enough or not all_named:
        how = ", ".join(f"`{name}`" for name in names.split())
        first = f"{before} arguments, then " if before else ""
        _checks.refuse_kind(rule, argument, f"take {first}the keywords {how}", x)
    return x


def _is_no_rate(argument: str, x: Any) -> bool:
    """Whether what stands in the place of a rate is another kind of thing."""
    is_rate = argument in ("lr", "base_lr", "max_lr", "learning_rate")
    may_be = callable(x) or isinstance(x, int | float | str) or hasattr(x, "dtype")
    return is_rate and not may_be and x is not None


def takes_no(
    first: str | None = None, /, **instead: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: refuses another library's options by name; keeps the signature.

    `instead` maps an option to the sentence that says what to do; `first` is the one
    that their constructor begins with, so that it may come without its name.
    """

    def decorate(constructor: Callable[P, R]) -> Callable[P, R]:
        rule = constructor.__name__
        leading = next(iter(inspect.signature(constructor).parameters))

        @functools.wraps(constructor)
        def construct(*args: P.args, **kwargs: P.kwargs) -> R:
            given: dict[str, Any] = dict(kwargs)
            if first and args and (leading in kwargs or _is_no_rate(leading, args[0])):
                given[first] = args[0]  # as in Adam(params, 1e-3)
            for option in filter(instead.__contains__, given):
                raise TypeError(
                    f"{rule}: `{option}` must not be given, got {given[option]!r}. "
                    f"{instead[option]}"
                )
            return constructor(*args, **kwargs)

        return construct

    return decorate
