"""Keras' variables by the trainable variable that they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from optax_extras._errors import refuse, refuse_kind
from optax_extras._translation.arrays import refuse_traced
from optax_extras._translation.call import Call
from optax_extras._translation.order import as_array
from optax_extras.keras._buffers import (
    COLUMN,
    EVERY,
    ROW,
    SAVED_STATES,
    WRAPPERS,
    find_saved,
    name_in_path,
)

_HINT = "Pass `optimizer.variables`, not those of the model."


class Variables(NamedTuple):
    """The variables of an optimizer of Keras."""

    optimizer: str
    """The name of the optimizer."""
    iteration: int
    rate: float | None
    """The learning rate; None: a schedule says it."""
    arrays: dict[str, dict[int, np.ndarray]]
    """By the end of the name and the position of the trainable variable."""
    names: list[str]
    """The names of the trainable variables, in Keras' order."""
    scalar: float | None
    """A number without such a name."""
    left: list[str]
    """The names of all others."""


def read(variables: Any, call: Call | None, count: int) -> Variables:
    """Sorts the variables. `count`: how many trainable ones there are."""
    pairs = _named(variables, call, count)
    names = [path.rpartition("/")[2] for path, _ in pairs]
    if "iteration" not in names:
        refuse("variables", "have an `iteration`", names[:4], _HINT)
    named = name_in_path(pairs[names.index("iteration")][0].rpartition("/")[0])
    if named in WRAPPERS:
        must = "be those of one optimizer, not of a wrapper"
        refuse("variables", must, named, WRAPPERS[named])
    every = {x.name for saved in SAVED_STATES.values() for x in saved.stored}
    known = sorted({*every, *EVERY}, key=len, reverse=True)
    scalars: dict[str, float] = {}
    arrays: dict[str, dict[int, np.ndarray]] = {}
    order: dict[tuple[str, int], int] = {}
    seen: dict[str, int] = {}
    left: list[str] = []
    unknown: list[tuple[str, np.ndarray]] = []
    for name, (_, x) in zip(names, pairs, strict=True):
        end = next((end for end in known if name.endswith(f"_{end}")), None)
        if end is not None:
            # Two trainable variables may have the same name.
            seen[name] = seen.get(name, -1) + 1
            which = (name.removesuffix(f"_{end}"), seen[name])
            at = order.setdefault(which, len(order))
            arrays.setdefault(end, {})[at] = x
            if end == "velocity" and _are_factors(unknown, x):
                for factor, (_, mean) in zip((ROW, COLUMN), unknown, strict=True):
                    arrays.setdefault(factor, {})[at] = mean
                unknown = []
        elif name in ("iteration", "learning_rate") and name not in scalars:
            scalars[name] = float(x)
        else:
            unknown.append((name, x))
    for name, x in unknown:
        if x.ndim == 0 and name not in scalars:
            scalars[name] = float(x)
        else:
            left.append(name)
    iteration, rate = scalars.pop("iteration"), scalars.pop("learning_rate", None)
    unnamed = next((x for x in scalars if x.rstrip("_0123456789") == "variable"), None)
    scalar = None if unnamed is None else scalars.pop(unnamed)
    ends = {*arrays} - {*EVERY}
    expected = "" if call is None else call.name
    optimizer = named or find_saved(ends, scalar is not None, expected)
    if optimizer is None:
        must = f"be those of one of {', '.join(SAVED_STATES)}"
        refuse("variables", must, names[:6])
    left += scalars
    trained = [name for name, _ in order]
    return Variables(optimizer, int(iteration), rate, arrays, trained, scalar, left)


def _are_factors(unknown: list[tuple[str, np.ndarray]], x: np.ndarray) -> bool:
    """Whether they are the means of the rows and columns of a second moment.

    Where it is not a matrix, Keras has a 0 for each.
    """
    shapes = [mean.shape for _, mean in unknown]
    if x.ndim < 2:
        return shapes == [(), ()]
    return shapes == [x.shape[:-1], (*x.shape[:-2], x.shape[-1])]


def _named(variables: Any, call: Call | None, count: int) -> list[tuple[str, Any]]:
    """Paths and arrays."""
    if isinstance(variables, Mapping):
        if not all(str(key).isdigit() for key in variables):
            return [(str(key), _array(x)) for key, x in variables.items()]
        variables = [variables[key] for key in sorted(variables, key=int)]
    if isinstance(variables, str) or not isinstance(variables, Sequence):
        refuse_kind("variables", "be a list or a dict of them", variables, _HINT)
    paths: Any = [
        getattr(x, "path", None) or getattr(x, "name", None) for x in variables
    ]
    arrays = [_array(x) for x in variables]
    if not all(isinstance(path, str) for path in paths):
        paths = _paths(arrays, call, count)
    return list(zip(paths, arrays, strict=True))


def _array(variable: Any) -> np.ndarray:
    """The value of a variable, which is an array of JAX, TensorFlow or PyTorch."""
    value = getattr(variable, "value", variable)
    value = variable if callable(value) else value
    refuse_traced(variables=value)
    return as_array(value)


def _paths(arrays: list[Any], call: Call | None, count: int) -> list[str]:
    """The paths of arrays without names, in Keras' order."""
    if call is None or call.name not in SAVED_STATES:
        hint = "Pass `optimizer.variables` itself, or a dict by the names."
        must = "have names if `tx` is not an optimizer of `oxe.keras`"
        refuse("variables", must, f"{len(arrays)} arrays", hint)
    saved, options = SAVED_STATES[call.name], call.arguments
    if not saved.is_same:
        must = f"have names for {call.name}, which stores more for some params"
        refuse("variables", must, f"{len(arrays)} arrays")
    groups = [["average"]] if options.get("use_ema") else []
    groups.append([x.name for x in saved.stored if not x.option])
    # A momentum of 0 has no variable; an option by path does.
    optional = [x for x in saved.stored if x.option and _is_on(options[x.option])]
    groups += [[x.name] for x in optional]
    paths = ["iteration"]
    has_scalar = len(arrays) > 1 and arrays[1].ndim == 0
    if has_scalar and not callable(options["learning_rate"]):
        paths.append("learning_rate")
    for group in groups:
        paths += [f"{i}_{name}" for i in range(count) for name in group]
    if saved.scalar:
        paths.append("variable")
    if len(paths) != len(arrays):
        must = f"have the {len(paths)} arrays of {call.name} for {count} params"
        refuse("variables", must, f"{len(arrays)} arrays")
    return [f"{call.name.lower()}/{path}" for path in paths]


def _is_on(option: Any) -> bool:
    return not isinstance(option, int | float) or option != 0
