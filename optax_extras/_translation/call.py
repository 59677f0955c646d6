"""By which call an optimizer under another library's name was made."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import optax


class Call(NamedTuple):
    """The call of a function such as `oxe.pytorch.AdamW`."""

    name: str
    arguments: dict[str, Any]
    """All of them, defaults included."""


_signature = functools.cache(inspect.signature)


def remember_call(
    tx: Any, function: Callable[..., Any], args: tuple, kwargs: dict[str, Any]
) -> None:
    """Notes the call at the `init` of the optimizer that it returned."""
    bound = _signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    vars(tx.init)["made_by"] = Call(function.__name__, dict(bound.arguments))


def call_of(tx: optax.GradientTransformation) -> Call | None:
    """The call by which an optimizer was made; None if it has no such name."""
    return getattr(tx.init, "made_by", None)
