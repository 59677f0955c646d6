"""Finds the numeric arguments of a factory call; rebuilds the call with new values."""

import dataclasses
import inspect
import re
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._by_path import ByPath
from optax_extras._check_values import is_real
from optax_extras._learning_rates._source import Source


def sources_in(
    name: str, parameter: inspect.Parameter, given: Any
) -> dict[str, Source]:
    """The numbers in an argument, by name; empty if it is passed on unchanged."""
    default, takes_numbers = parameter.default, _takes_numbers(parameter)
    if parameter.kind is parameter.VAR_KEYWORD:
        parts = {key: x for key, x in given.items() if not _is_integer(x)}
        takes_numbers = False
    elif isinstance(given, ByPath):
        if "schedule" in str(parameter.annotation):  # the optimizer takes them itself
            return {}
        parts = {f"{name}[{group}]": x for group, x in given.values.items()}
        takes_numbers = True
    elif isinstance(given, tuple | list) and not hasattr(given, "_fields"):
        parts = {f"{name}[{i}]": x for i, x in enumerate(given)}
        defaults = default if isinstance(default, tuple | list) else ()
        takes_numbers = takes_numbers or any(map(_is_number, defaults))
    else:
        is_required = default is parameter.empty and takes_numbers
        may_be_count = not (isinstance(default, float) or is_required)
        parts = {} if may_be_count and _is_integer(given) else {name: given}
    return {
        key: Source(key, x) for key, x in parts.items() if _is_stored(x, takes_numbers)
    }


def _is_stored(x: Any, takes_numbers: bool) -> bool:
    if isinstance(x, optax.schedules.StatefulSchedule):
        return True
    return _is_number(x) or (callable(x) and takes_numbers)


def _is_number(x: Any) -> bool:
    if isinstance(x, bool | type):  # `jnp.float32` has a dtype, too
        return False
    return isinstance(x, int | float) or is_real(x)


def _is_integer(x: Any) -> bool:
    dtype = getattr(x, "dtype", type(x))
    return _is_number(x) and jnp.issubdtype(dtype, np.integer)


def _takes_numbers(parameter: inspect.Parameter) -> bool:
    """Whether a function given for it is a schedule: by its default and annotation."""
    if _is_number(parameter.default):
        return True
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return parameter.default is inspect.Parameter.empty
    if isinstance(annotation, str):
        return bool(re.search("float|Schedule|ArrayLike|Numeric", annotation))
    kinds = (annotation, *typing.get_args(annotation))
    return any(x is float or getattr(x, "is_number", False) for x in kinds)


def with_new_numbers(
    signature: inspect.Signature,
    arguments: tuple[tuple[str, Any], ...],
    num_positional: int,
    numbers: dict[str, jax.Array],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with new numbers, positional or by name as they were given."""
    words: Any = {
        name: {key: numbers.get(key, x) for key, x in given.items()}
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        else _with_numbers(name, given, numbers)
        for name, given in arguments
    }
    full = inspect.BoundArguments(signature, words)
    named = zip(list(words)[num_positional:], full.args[num_positional:], strict=False)
    return full.args[:num_positional], dict(named) | full.kwargs


def _with_numbers(name: str, given: Any, numbers: dict[str, jax.Array]) -> Any:
    """An argument with new numbers."""
    if name in numbers:
        return numbers[name]
    if isinstance(given, ByPath):
        values = {
            group: numbers.get(f"{name}[{group}]", x)
            for group, x in given.values.items()
        }
        return dataclasses.replace(given, values=values)
    if isinstance(given, tuple | list) and any(
        f"{name}[{i}]" in numbers for i in range(len(given))
    ):
        return type(given)(numbers.get(f"{name}[{i}]", x) for i, x in enumerate(given))
    return given
