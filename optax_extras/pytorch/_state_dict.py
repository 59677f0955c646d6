"""From a state to the `state_dict` of PyTorch's optimizers."""

import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import FROZEN
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refusal, refuse
from optax_extras._hyperparameters._walker import RATES, numbers_in
from optax_extras._learning_rates._source import SCHEDULE
from optax_extras._lifted import is_by_path
from optax_extras._translation.arrays import refuse_traced
from optax_extras._translation.call import Call, call_of
from optax_extras._translation.options import by_path_values, groups_by_path
from optax_extras._translation.order import (
    Order,
    Transpose,
    check_params,
    groups_in_order,
    paths_in_order,
    swap_factors,
    trained,
    transposed,
)
from optax_extras._translation.states import buffers_of, leaves_by_path, walk
from optax_extras._translation.translate import rules_of, source_of
from optax_extras._types import Params, State
from optax_extras.pytorch._buffers import SAVED_STATES, Saved

# PyTorch's options that have no effect here: their defaults, and who lacks them.
_NO_EFFECT = {
    "foreach": (None, "Muon"),
    "capturable": (False, "SGD Adagrad Adafactor Muon"),
    "differentiable": (False, "Adafactor Muon"),
    "fused": (
        None,
        "Adamax NAdam RAdam Adadelta RMSprop Rprop ASGD Adafactor Muon",
    ),
    "maximize": (False, "Muon"),
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

    With a scheduler, make a new optimizer and a new scheduler, call
    ``scheduler.step()`` as often as a run in PyTorch alone would have, and then load
    ``{**optimizer.state_dict(), "state": saved["state"]}``: the groups of that
    optimizer have the scheduler's numbers, those of `saved` do not.

    Args:
      tx: The optimizer of `oxe.pytorch` that made the state, by itself. Its options
        become those of the groups. A schedule becomes its value at the count.
      state: Its state.
      params: The params.
      order: The paths of the params in the order of PyTorch's parameters; with groups a
        list of one list for each; or a dict of them by PyTorch's names, which become
        the `param_names`. None: the order of the leaves, and a group for all params
        whose options are the same.
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
    check_params(params)
    refuse_traced(state=state)
    call = call_of(tx, "pytorch")
    if call is None:
        hint = "Translate its state by `oxe.translate(state, oxe.pytorch.AdamW(...))`."
        must = "be an optimizer of `oxe.pytorch` by itself"
        raise refusal(ValueError, "tx", must, "another transformation", hint)
    saved = SAVED_STATES[call.name]
    names = {}
    if isinstance(order, Mapping) and all(isinstance(k, str) for k in order):
        names, order = {str(x): name for name, x in order.items()}, [*order.values()]
    paths = paths_in_order(order, params)
    rates = by_path_values(call.arguments["lr"], params)
    frozen = [path for path, lr in rates.items() if lr is FROZEN]
    missing = [x for x in trained(params) if x not in paths and x not in frozen]
    if missing:
        refuse("order", "have every param", f"{len(paths)} without {missing[0]!r}")
    _check_state(tx, state, params)
    source = source_of(state, params, tx)
    made = source.count or 0
    options = _options(call, state, params, made, paths)
    numbers = _numbers_by_path(saved, call, tx, source, params)
    groups = groups_in_order(order) or _groups(paths, options)
    indices = {path: i for i, path in enumerate(p for g in groups for p in g)}
    entries = {
        i: _entry(saved, source, params, path, options[path], numbers, transpose)
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
            {
                **_named(call, options[group[0]]),
                **({"param_names": [names[path] for path in group]} if names else {}),
                "params": [indices[path] for path in group],
            }
            for group in groups
        ],
    }


def _check_state(tx: Any, state: State, params: Params) -> None:
    expected = _shapes(jax.eval_shape(tx.init, params), params)
    found = _shapes(state, params)
    for what in expected | found:
        if expected.get(what) != found.get(what):
            got = f"{found.get(what)} at {' of '.join(reversed(what))}"
            hint = f"Expected is {expected.get(what)}."
            must = "be one of `tx` for these `params`"
            raise refusal(ValueError, "state", must, got, hint)


def _shapes(state: State, params: Params) -> dict[tuple[str, ...], Any]:
    """The shapes of the buffers by the kind of their state, field and path."""
    return {
        (type(node).__name__, field, path): x.shape
        for _, node in walk(state)
        for field in buffers_of(node)
        for path, x in leaves_by_path(getattr(node, field), params).items()
    }


def _entry(
    saved: Saved,
    source: Any,
    params: Params,
    path: str,
    options: dict[str, Any],
    numbers: dict[str, dict[str, Any]],
    transpose: Transpose,
) -> dict[str, Any]:
    """What PyTorch stores for one param; {} before its first update."""
    steps = (source.count or 0) - source.missed.get(path, 0)
    if not steps and not saved.is_full:
        return {}
    entry: dict[str, Any] = {}
    if saved.counts:
        entry["step"] = _tensor(np.asarray(steps, np.float32))
    parts = [part for part in source.parts if part.buffers]
    arrays, param = {}, trained(params)[path]
    for x in saved.buffers:
        buffers = parts[x.part].buffers if x.part < len(parts) else {}
        leaf = buffers[x.holds].leaves.get(path) if x.holds in buffers else None
        if leaf is not None and not _is_placeholder(x.name, param):
            start = options[x.start] if x.start else 0
            arrays[x.name] = np.asarray(leaf) + np.asarray(start, leaf.dtype)
    for name, array in swap_factors(arrays, param, path, transpose).items():
        entry[name] = _tensor(transposed(transpose, path, array))
    if "t0" in options:
        entry["mu"] = _tensor(np.asarray(1 / max(1, steps - options["t0"])))
    return entry | numbers.get(path, {})


def _numbers_by_path(
    saved: Saved, call: Call, tx: Any, source: Any, params: Params
) -> dict[str, dict[str, Any]]:
    """The numbers that PyTorch stores for each param, ours for each group."""
    found: dict[str, dict[str, Any]] = {}
    for theirs, ours in saved.scalars.items():
        (part,) = source.parts
        if ours in part.scalars:
            by_group, lr = part.scalars[ours], call.arguments["lr"]
            groups = groups_by_path(lr, params) if is_by_path(lr) else {}
        else:
            rules = next(rules_of(tx, params))
            groups = {path: name for name, _, paths in rules for path in paths}
            by_group = part.carry
        for path in trained(params):
            group = groups.get(path)
            value = by_group[group] if isinstance(by_group, dict) else by_group
            value = getattr(value, ours, value)
            found[path] = {theirs: _tensor(np.asarray(value))}
    return found


def _is_placeholder(name: str, param: Any) -> bool:
    """Whether Adafactor stores nothing here for a param of this shape."""
    is_factored = np.ndim(param) >= 2
    return name in (("variance",) if is_factored else ("row_var", "col_var"))


def _options(
    call: Call, state: State, params: Params, made: int, paths: list[str]
) -> dict[str, dict[str, Any]]:
    """The options of each param."""
    columns = {
        option: (value, by_path_values(value, params))
        for option, value in call.arguments.items()
    }
    rates = _rates_in_state(state, call.arguments["lr"], params, paths)
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        row = {
            key: by_path.get(path, value) for key, (value, by_path) in columns.items()
        }
        if row["lr"] is FROZEN:
            row["lr"] = 0.0
        rate = rates.get(path)
        # A number that the state has rounded to float32 is given as it was.
        if rate is not None and not np.array_equal(rate, _rounded(row["lr"], rate)):
            row["lr"] = rate
        found[path] = {key: _number(key, x, made) for key, x in row.items()}
    return found


def _rates_in_state(
    state: State, lr: Any, params: Params, paths: list[str]
) -> dict[str, Any]:
    """The learning rates in the state that no schedule sets, by path."""
    values: dict[str | None, Any] = {}
    for (_, name), number in numbers_in(state).items():
        group, _, last = name.rpartition("/")
        if last in RATES and number.kind != SCHEDULE:
            values[group] = number.value
    groups = groups_by_path(lr, params) if is_by_path(lr) else dict.fromkeys(paths, "")
    return {path: values[groups[path]] for path in paths if groups[path] in values}


def _rounded(x: Any, like: Any) -> Any:
    return None if callable(x) else np.asarray(x, like.dtype)


def _number(option: str, x: Any, made: int) -> Any:
    """An option as PyTorch has it: Python numbers, schedules at the count."""
    if isinstance(x, tuple | list):
        return tuple(_number(option, item, made) for item in x)
    if callable(x):
        x = x(jnp.asarray(made, jnp.int32))
    if np.ndim(x):
        refuse("tx", f"have one `{option}` for each param, as PyTorch has", x)
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
    more: dict[str, Any] = {
        option: default
        for option, (default, lacking) in _NO_EFFECT.items()
        if call.name not in lacking.split()
    }
    if call.name == "AdamW":
        more["decoupled_weight_decay"] = True
    return {**more, **options}


def _tensor(x: np.ndarray) -> Any:
    torch = sys.modules.get("torch")
    return np.asarray(x) if torch is None else torch.from_numpy(np.array(x))
