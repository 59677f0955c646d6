"""The errors of the package: their texts, and the function's name in front.

A check raises by `refuse` or `refuse_kind`, which know the argument and the value. The
decorator `checked` puts the name of the public function that the user called in front.
`named` does the same for functions that run later, such as `init` and `update`.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, ParamSpec, TypeVar

import optax

P = ParamSpec("P")
R = TypeVar("R")


def refuse(argument: str, must: str, got: Any, hint: str = "") -> NoReturn:
    """Raises a `ValueError`; `argument` may carry an index, as in ``betas[0]``."""
    raise refusal(ValueError, argument, must, repr(got), hint)


def refuse_kind(
    argument: str, must: str, got: Any, hint: str = "", *, is_schedule: bool = False
) -> NoReturn:
    """Raises a `TypeError`, which shows the type of `got`.

    `is_schedule`: `got` may be a schedule; `naming` adds what to write for one.
    """
    what = f"{got!r} of type {type(got).__name__}"
    error = refusal(TypeError, argument, must, what, hint or getattr(got, "hint", ""))
    if is_schedule:
        name, _, index = argument.partition("[")
        is_number = index[:-1].isdigit()  # of an item of a tuple, not a group's name
        groups = "oxe.by_path(...)" if index and not is_number else "(...)"
        error.wanted = f"{name}={groups}" if index else f"{name}=schedule"
    raise error


def refusal(kind: Any, argument: str, must: str, got: str, hint: str) -> Any:
    """An error without the name of the function, which `naming` adds."""
    name, bracket, index = argument.partition("[")
    end = f" {hint}" if hint else ""
    error = kind(f"`{name}`{bracket}{index} must {must}, got {got}.{end}")
    error.unnamed = True
    return error


@contextlib.contextmanager
def naming(name: str, scheduled: str = "") -> Iterator[None]:
    """Puts `name` in front of the refusals raised within it.

    `scheduled` is the call that makes the same optimizer with schedules, if there is
    one.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if not getattr(error, "unnamed", False):
            raise
        wanted = getattr(error, "wanted", "")
        hint = f" For a schedule write `{scheduled}(..., {wanted})`."
        raise type(error)(
            f"{name}: {error}{hint if scheduled and wanted else ''}"
        ) from None


def named(name: str, function: Callable[P, R]) -> Callable[P, R]:
    """The function, with `name` in front of its refusals and of its attributes'."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with naming(name):
            return function(*args, **kwargs)

    for key, attribute in vars(function).items():
        if isinstance(attribute, types.FunctionType) and key != "__wrapped__":
            vars(call)[key] = named(name, attribute)
    return call


def named_result(name: str, result: Any) -> Any:
    """The result of a public function, with `name` in front of its later refusals."""
    if isinstance(result, optax.GradientTransformation):
        init: Any = named(name, result.init)
        return result._replace(init=init, update=named(name, result.update))
    if isinstance(result, types.FunctionType):
        has_own_name = hasattr(result, "__wrapped__")
        result = named(name, result)
        if not has_own_name:
            result.__name__ = result.__qualname__ = name
    return result.renamed(name) if hasattr(result, "renamed") else result


# What to write where a state is of another optimizer.
TRANSLATE_HINT = "Write `state, report = oxe.translate(state, tx, params)`."

# What `low_precision_state` refuses, and what to write instead.
SUBTRACTS_MOMENTS = (
    "subtract one moment from another, as centered RMSProp does",
    "Use `centered=False`, or keep its state in float32.",
)
