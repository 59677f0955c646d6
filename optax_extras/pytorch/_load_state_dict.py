"""From the `state_dict` of PyTorch's optimizers to a state."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from optax_extras._checks import StepCountOrZero, Transformation, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._translation.call import call_of
from optax_extras._translation.common_form import Buffer, CommonForm, Part
from optax_extras._translation.options import option_rows
from optax_extras._translation.order import (
    Order,
    Transpose,
    as_array,
    changes_orientation,
    check_params,
    groups_in_order,
    order_rows,
    paths_in_order,
    square_rows,
    swap_factors,
    trained,
    transposed,
)
from optax_extras._translation.report_types import (
    TranslationReport,
    TranslationRow,
    some_of,
)
from optax_extras._translation.write import write
from optax_extras._types import Params, Updates
from optax_extras.pytorch._buffers import (
    DERIVED,
    SAVED_STATES,
    Saved,
    find_saved,
    option_of,
)
from optax_extras.pytorch._options import optimizer_of, rate_rows


@checked
def load_state_dict(
    tx: Transformation,
    state_dict: Mapping[str, Any],
    params: Params,
    order: Order = None,
    *,
    transpose: Transpose = None,
    count: StepCountOrZero | None = None,
    gradients: Updates = None,
    strict: bool = False,
) -> tuple[Any, TranslationReport]:
    """The state with which `tx` goes on where an optimizer of PyTorch stopped.

    Convert the weights as you do now; this converts what the optimizer has stored. The
    next updates are those that PyTorch would make, to rounding. PyTorch is not
    imported. The learning rates of the groups replace a constant one of `tx`, as in
    PyTorch's ``load_state_dict``; a schedule goes on at the count.

    Args:
      tx: The optimizer of `oxe.pytorch` with the same options, also inside of a chain
        or a wrapper; or another optimizer of this library, into whose state the moments
        are translated as by :func:`translate`.
      state_dict: ``optimizer.state_dict()``, of tensors or NumPy arrays.
      params: The params, already converted.
      order: The paths of the params (such as ``"dense/kernel"``) in the order of
        PyTorch's parameters: a list, a list of one list for each group, or a dict by
        PyTorch's index; by name, if the `state_dict` has `param_names`. None: these
        names, if they are the paths of params (``dense.kernel``), else the order of the
        leaves of `params`, which for a dict is that of its sorted keys.
      transpose: A function of path and array, which turns PyTorch's array of a weight
        around: ``lambda path, x: x.T if x.ndim == 2 else x`` for kernels of shape
        (in, out). It is applied to every buffer like the params. None: nothing is
        turned around.
      count: The number of updates, for optimizers that do not store it (SGD, Muon).
      gradients: Like the params. With them, the next update of `tx` is compared with
        that of the optimizer of `oxe.pytorch` that has the options of `state_dict`, in
        a row of the report. Only so is anything known of the options of a `tx` that is
        not an optimizer of `oxe.pytorch` by itself: without, the report is not exact.
      strict: Raise a ValueError if anything is not exact.

    Returns:
      The state, and a :class:`TranslationReport` with a row for each buffer, number and
      option.

    Examples:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import optax_extras as oxe
      >>> moments = {"step": 50, "exp_avg": np.ones(3), "exp_avg_sq": np.ones(3)}
      >>> options = {"lr": 0.5, "betas": (0.9, 0.999), "eps": 1e-8, "params": [0]}
      >>> options |= {"weight_decay": 0.01, "amsgrad": False}
      >>> saved = {"state": {0: moments}, "param_groups": [options]}
      >>> params = {"w": jnp.ones(3)}
      >>> tx = oxe.pytorch.AdamW(lr=0.1)
      >>> state, report = oxe.pytorch.load_state_dict(tx, saved, params)
      >>> float(oxe.learning_rate(state)), report.exact
      (0.5, True)
    """
    check_params(params)
    groups, entries = _groups_and_entries(state_dict)
    names = [name for group in groups for name in group.get("param_names", ())]
    indices = [i for group in groups for i in group["params"]]
    paths = paths_in_order(order, params, names or None)
    leaves = trained(params)
    if len(paths) != len(indices):
        must = f"have as many parameters as `order`, or else `params`: {len(paths)}"
        refuse("state_dict", must, len(indices))
    sizes = [len(group) for group in groups_in_order(order) or ()]
    theirs = [len(group["params"]) for group in groups]
    if sizes and sizes != theirs:
        refuse("order", f"have groups of {theirs} params, as `state_dict` has", sizes)
    by_index = dict(zip(indices, paths, strict=True))
    options = {by_index[i]: group for group in groups for i in group["params"]}
    stored = {key for entry in entries.values() for key in entry}
    name = find_saved(groups[0], stored)
    if name is None:
        refuse(
            "state_dict", "have the options of an optimizer of `oxe.pytorch`", groups[0]
        )
    call = call_of(tx, "pytorch")
    is_adamw = name == "Adam" and groups[0].get("decoupled_weight_decay")
    shown = "AdamW" if is_adamw else name
    if call is not None and SAVED_STATES[call.name] != SAVED_STATES[name]:
        hint = (
            "Load it into that optimizer, and pass the state to `oxe.translate`, or "
            "load it into an optimizer of `oxe` itself, such as `oxe.adamw`."
        )
        refuse("state_dict", f"be of {call.name}, as `tx` is", shown, hint)
    found = {by_index[i]: entry for i, entry in entries.items() if i in by_index}
    source, rows = _source(SAVED_STATES[name], found, options, leaves, transpose, count)
    rows += order_rows(order, names, leaves)
    note = f"those of {shown}: give `gradients` for a trial step"
    rows += option_rows(call, options, params, "param_groups", note)
    if call is not None and name == "Muon" and changes_orientation(transpose, leaves):
        note = "its steps depend on the orientation: use `oxe.muon` with `in_out`"
        rows.append(TranslationRow("layout", "", "differs", exact=False, note=note))
    rows += rate_rows(call, options, params, source.count)
    lost = [i for i in entries if i not in by_index]
    if lost:
        must = "have only parameters that are in a group"
        refuse("state_dict", must, f"the state of {lost[0]!r}")
    old = functools.partial(optimizer_of, name, options)
    return write(tx, source, params, rows, gradients, strict, old)


def _groups_and_entries(state_dict: Any) -> tuple[list[dict], dict[Any, dict]]:
    hint = "Pass `optimizer.state_dict()`."
    if not isinstance(state_dict, Mapping):
        refuse_kind("state_dict", "be a dict", state_dict, hint)
    if not {"state", "param_groups"} <= {*state_dict}:
        must = "have the keys 'state' and 'param_groups'"
        refuse("state_dict", must, [*state_dict][:4], hint)
    state, groups = state_dict["state"], state_dict["param_groups"]
    if not isinstance(state, Mapping):
        refuse_kind("state_dict['state']", "be a dict", state, hint)
    if not isinstance(groups, Sequence) or isinstance(groups, str):
        refuse_kind("state_dict['param_groups']", "be a list", groups, hint)
    for i, x in enumerate(groups):
        if not isinstance(x, Mapping):
            refuse_kind(f"state_dict['param_groups'][{i}]", "be a dict", x, hint)
        if not {"params", "lr"} <= {*x}:
            must = "have the keys 'params' and 'lr'"
            refuse(f"state_dict['param_groups'][{i}]", must, [*x], hint)
    for i, entry in state.items():
        if not isinstance(entry, Mapping):
            refuse_kind(f"state_dict['state'][{i}]", "be a dict", entry, hint)
    entries = {_index(i): entry for i, entry in state.items()}
    groups = [{**x, "params": [_index(i) for i in x["params"]]} for x in groups]
    return groups, entries


def _index(i: Any) -> Any:
    """An index of PyTorch; JSON has it as a string."""
    return int(i) if isinstance(i, str) and i.isdigit() else i


def _source(
    saved: Saved,
    found: dict[str, Any],
    options: dict[str, Any],
    leaves: dict[str, Any],
    transpose: Transpose,
    count: Any,
) -> tuple[CommonForm, list[TranslationRow]]:
    """The common form, and rows for what has no place in it or may be wrong."""
    parts = [Part({}) for _ in range(1 + max(x.part for x in saved.buffers))]
    arrays = _arrays(saved, found, leaves, transpose)
    square = square_rows(arrays.values(), leaves, transpose)
    for path, group in options.items() if "step_size" in arrays else ():
        if path not in found:  # PyTorch's begin with the learning rate of the group
            first = np.full(np.shape(leaves[path]), as_array(group["lr"]))
            arrays["step_size"][path] = first
    for x in saved.buffers:
        new = arrays[x.name]
        if x.name == "prev":
            new = {path: np.sign(array) for path, array in new.items()}
        if x.start:
            starts = {path: as_array(option_of(options[path], x.start)) for path in new}
            new = {path: array - starts[path] for path, array in new.items()}
        recursions = {path: x.recursion(options[path]) for path in new}
        if new:
            parts[x.part].buffers[x.holds] = Buffer(x.name, new, recursions)
    made, missed = _counts(saved, found, options, leaves, count)
    parts[0] = parts[0]._replace(scalars=_scalars(saved, found, missed))
    rates = {path: float(as_array(group["lr"])) for path, group in options.items()}
    known = {*arrays, "step", *saved.scalars, *DERIVED}
    rows = [
        TranslationRow("", name, "left over", exact=False)
        for name in sorted({key for entry in found.values() for key in entry} - known)
    ]
    counted = ("step",) if saved.counts and count is None else ()
    for name in sorted({*counted, *saved.scalars} - {*DERIVED}):
        without = [path for path, entry in found.items() if name not in entry]
        if without:
            note = some_of(without)
            rows.append(TranslationRow(name, "", "missing", exact=False, note=note))
    return CommonForm(parts, made, missed, rates), rows + square


def _arrays(
    saved: Saved, found: dict[str, Any], leaves: dict[str, Any], transpose: Transpose
) -> dict[str, dict[str, np.ndarray]]:
    """The arrays by the name of the buffer and the path, in our orientation."""
    arrays: dict[str, dict[str, np.ndarray]] = {x.name: {} for x in saved.buffers}
    for path, entry in found.items():
        known = {k: x for k, x in entry.items() if k in arrays and x is not None}
        new = {name: as_array(x) for name, x in known.items()}
        for name, x in swap_factors(new, leaves[path], path, transpose).items():
            arrays[name][path] = transposed(transpose, path, x)
    return arrays


def _counts(
    saved: Saved,
    found: dict[str, Any],
    options: dict[str, Any],
    leaves: dict[str, Any],
    count: Any,
) -> tuple[int | None, dict[str, int]]:
    """The number of updates, if it is known, and how many each param has missed."""
    steps = {path: _steps(path, x["step"]) for path, x in found.items() if "step" in x}
    # Plain SGD stores nothing, not even for a param that it has updated.
    stores = [
        path
        for path, x in options.items()
        if saved.counts or option_of(x, "momentum") != 0
    ]
    made = max(steps.values(), default=count)
    if not found and (saved.counts or (made is None and stores)):
        made = 0
    if count is not None and made != count:
        refuse("count", f"be the `step` of the `state_dict`, {made}", count)
    if not made:
        return made, {}
    total = int(made)
    untrained = [path for path in leaves if path not in options]
    without = [path for path in stores if path not in found]
    missed = {path: total - n for path, n in steps.items()}
    missed |= dict.fromkeys((*untrained, *without), total)
    return total, {path: n for path, n in missed.items() if n}


def _scalars(
    saved: Saved, found: dict[str, Any], missed: dict[str, int]
) -> dict[str, dict[str, float]]:
    """The numbers of each param, first those of params that have missed no update.

    A group has one number here: the first.
    """
    latest = sorted(found, key=lambda path: missed.get(path, 0))
    scalars = {
        ours: {
            p: float(as_array(found[p][theirs])) for p in latest if theirs in found[p]
        }
        for theirs, ours in saved.scalars.items()
    }
    return {ours: x for ours, x in scalars.items() if x}


def _steps(path: str, x: Any) -> int:
    steps = float(as_array(x))
    if not (steps >= 0 and steps == int(min(steps, 2**31))):
        refuse("state_dict", f"have a whole number as the `step` of {path!r}", steps)
    return int(steps)
