"""By which call an optimizer under another library's name was made."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import optax


class Call(NamedTuple):
    """The call of a function such as `oxe.pytorch.AdamW`."""

    package: str
    """That of the function, such as "pytorch"."""
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
    package = function.__module__.split(".")[1]
    vars(tx.init)["made_by"] = Call(package, function.__name__, dict(bound.arguments))


def call_of(tx: optax.GradientTransformation, package: str) -> Call | None:
    """The call by which an optimizer of a package was made; None if it is another."""
    call = getattr(tx.init, "made_by", None)
    return call if call is not None and call.package == package else None
