"""From a state to the `state_dict` of PyTorch's optimizers."""

import sys
from typing import Any

import jax
import numpy as np

from optax_extras._by_path import FROZEN
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refusal, refuse
from optax_extras._hyperparameters._walker import map_numbers
from optax_extras._learning_rates._source import SCHEDULE, Number
from optax_extras._translation.call import Call, call_of
from optax_extras._translation.order import (
    Order,
    Transpose,
    groups_in_order,
    paths_in_order,
    swap_factors,
    trained,
    transposed,
)
from optax_extras._translation.translate import source_of
from optax_extras._types import Params, State
from optax_extras.pytorch._buffers import LAYOUTS, Layout
from optax_extras.pytorch._load_state_dict import layout_of
from optax_extras.pytorch._options import by_path_values

# PyTorch's options that have no effect here, at their defaults.
_DEFAULTS = {
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "maximize": False,
}
_WITHOUT = {
    "SGD": ("capturable",),
    "Adamax": ("fused",),
    "NAdam": ("fused",),
    "RAdam": ("fused",),
    "Adadelta": ("fused",),
    "RMSprop": ("fused",),
    "Rprop": ("fused",),
    "ASGD": ("fused",),
    "Adagrad": ("capturable",),
    "Adafactor": ("capturable", "differentiable", "fused"),
    "Muon": tuple(_DEFAULTS),
}


@checked
def state_dict(
    tx: Transformation,
    state: State,
    params: Params,
    order: Order = None,
    *,
    transpose: Transpose = None,
) -> dict[str, Any]:
    """The ``state_dict`` with which PyTorch goes on where `tx` stopped.

    It is the inverse of :func:`load_state_dict`: give it to the ``load_state_dict`` of
    PyTorch's optimizer. Translate the state of another optimizer by :func:`translate`
    first. PyTorch is not imported: arrays are tensors if your program has imported
    ``torch``, else NumPy arrays.

    Args:
      tx: The optimizer of `oxe.pytorch` that made the state, by itself. Its options
        become those of the groups. A schedule becomes its value at the count.
      state: Its state.
      params: The params.
      order: The paths of the params in the order of PyTorch's parameters; with groups a
        list of one list for each. None: the order of the leaves, and a group for all
        params whose options are the same.
      transpose: A function of path and array, which turns an array around to PyTorch's
        orientation. None: nothing is turned around.

    Returns:
      A dict with "state" and "param_groups".

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.pytorch.AdamW(lr=0.1)
      >>> params = {"w": jnp.ones(3)}
      >>> _, state = tx.update(params, tx.init(params), params)
      >>> saved = oxe.pytorch.state_dict(tx, state, params)
      >>> float(saved["state"][0]["step"]), saved["param_groups"][0]["betas"]
      (1.0, (0.9, 0.999))
    """
    call = call_of(tx)
    if call is None:
        hint = "Translate its state by `oxe.translate(state, oxe.pytorch.AdamW(...))`."
        must = "be an optimizer of `oxe.pytorch` by itself"
        raise refusal(ValueError, "tx", must, "another transformation", hint)
    name = layout_of(call)
    layout = LAYOUTS[name]
    paths = paths_in_order(order, params)
    missing = [path for path in trained(params) if path not in paths]
    if missing:
        refuse("order", "have every param", f"{len(paths)} without {missing[0]!r}")
    source = source_of(state, params, tx)
    made = source.count or 0
    options = _options(call, state, params, made, paths)
    groups = groups_in_order(order) or _groups(paths, options)
    indices = {path: i for i, path in enumerate(p for g in groups for p in g)}
    entries = {
        i: _entry(layout, call, source, params, path, made, transpose)
        for path, i in indices.items()
    }
    for group in groups:
        for path in group[1:]:
            if options[path] != options[group[0]]:
                must = "have params of the same options in a group"
                refuse("order", must, [group[0], path])
    return {
        "state": {i: entry for i, entry in entries.items() if entry},
        "param_groups": [
            {**_named(call, options[group[0]]), "params": [indices[p] for p in group]}
            for group in groups
        ],
    }


def _entry(
    layout: Layout,
    call: Call,
    source: Any,
    params: Params,
    path: str,
    made: int,
    transpose: Transpose,
) -> dict[str, Any]:
    """What PyTorch stores for one param; {} before its first update."""
    steps = made - source.missed.get(path, 0)
    if not steps:
        return {}
    entry: dict[str, Any] = {}
    if layout.counts:
        entry["step"] = _tensor(np.asarray(steps, np.float32))
    parts = [part for part in source.parts if part.buffers]
    arrays = {}
    for x in layout.buffers:
        buffers = parts[x.part].buffers if x.part < len(parts) else {}
        leaf = buffers[x.holds].leaves.get(path) if x.holds in buffers else None
        if leaf is not None and not _is_placeholder(
            x.holds, trained(params)[path], call
        ):
            arrays[x.name] = np.asarray(leaf)
    swapped = swap_factors(arrays, trained(params)[path], path, transpose)
    for name, array in swapped.items():
        entry[name] = _tensor(transposed(transpose, path, array))
    for part in source.parts:
        for theirs, ours in layout.scalars.items():
            holder = part.scalars if ours in part.scalars else part.carry
            value = (
                holder[ours]
                if isinstance(holder, dict)
                else getattr(holder, ours, None)
            )
            if value is not None:
                entry[theirs] = _tensor(np.asarray(jax.tree.leaves(value)[0]))
    if call.name == "ASGD":
        start = float(call.arguments["t0"])
        entry["mu"] = _tensor(np.asarray(1 / max(1, steps - start)))
    return entry


def _is_placeholder(holds: str, param: Any, call: Call) -> bool:
    """Whether Adafactor stores nothing here for a param of this shape."""
    is_factored = np.ndim(param) >= 2
    return call.name == "Adafactor" and (holds == "nu") == is_factored


def _options(
    call: Call, state: State, params: Params, made: int, paths: list[str]
) -> dict[str, dict[str, Any]]:
    """The options of each param."""
    columns = {
        option: (value, by_path_values(value, params))
        for option, value in call.arguments.items()
    }
    rate = _rate_in_state(state)
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        row = {key: own.get(path, value) for key, (value, own) in columns.items()}
        if row["lr"] is FROZEN:
            row["lr"] = 0.0
        elif rate is not None and not callable(row["lr"]):
            row["lr"] = rate
        found[path] = {key: _number(x, made) for key, x in row.items()}
        if found[path]["lr"] is None:
            found[path]["lr"] = rate
    return found


def _rate_in_state(state: State) -> float | None:
    """The one learning rate in the state that no schedule sets."""
    values = []

    def visit(path: Any, name: str, number: Number) -> Number:
        del path
        if name in ("learning_rate", "lr") and number.kind != SCHEDULE:
            values.append(float(number.value))
        return number

    map_numbers(state, visit)
    return values[0] if len(values) == 1 else None


def _number(x: Any, made: int) -> Any:
    """An option as PyTorch has it: Python numbers, schedules at the count."""
    if isinstance(x, tuple | list):
        return tuple(_number(item, made) for item in x)
    if callable(x):
        try:
            return float(x(made))
        except (TypeError, AttributeError):  # a metric schedule
            return None
    if isinstance(x, bool | str | int) or x is None:
        return x
    number: Any = x
    return float(number)


def _groups(paths: list[str], options: dict[str, Any]) -> list[list[str]]:
    """Params of the same options together, in the order of the first of each group."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(repr(options[path]), []).append(path)
    return [*groups.values()]


def _named(call: Call, options: dict[str, Any]) -> dict[str, Any]:
    name = layout_of(call)
    more = {k: x for k, x in _DEFAULTS.items() if k not in _WITHOUT.get(name, ())}
    if call.name == "AdamW":
        more["decoupled_weight_decay"] = True
    return {**more, **options}


def _tensor(x: np.ndarray) -> Any:
    torch = sys.modules.get("torch")
    return np.asarray(x) if torch is None else torch.from_numpy(np.array(x))
