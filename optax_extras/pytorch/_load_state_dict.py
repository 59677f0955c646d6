"""From the `state_dict` of PyTorch's optimizers to a state."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from optax_extras._checks import StepCountOrZero, Transformation, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._translation.call import Call, call_of
from optax_extras._translation.order import (
    Order,
    Transpose,
    Turned,
    as_array,
    paths_in_order,
    swap_factors,
    trained,
)
from optax_extras._translation.report import TranslationReport, TranslationRow
from optax_extras._translation.source import Buffer, Part, Source
from optax_extras._translation.trial import with_trial
from optax_extras._translation.write import write
from optax_extras._types import Params
from optax_extras.pytorch._buffers import DERIVED, LAYOUTS, Layout, layout_name
from optax_extras.pytorch._options import optimizer_of, option_rows


@checked
def load_state_dict(
    tx: Transformation,
    state_dict: Mapping[str, Any],
    params: Params,
    order: Order = None,
    *,
    transpose: Transpose = None,
    count: StepCountOrZero | None = None,
    gradients: Any = None,
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
        PyTorch's index; by name, if the `state_dict` has `param_names`. None: the order
        of the leaves of `params`, which for a dict is that of its sorted keys.
      transpose: A function of path and array, which turns PyTorch's array of a weight
        around: ``lambda path, x: x.T if x.ndim == 2 else x`` for kernels of shape
        (in, out). It is applied to every buffer like the params. None: nothing is
        turned around.
      count: The number of updates, for optimizers that do not store it (SGD, Muon).
      gradients: Like the params. With them, the next update of `tx` is compared with
        that of the optimizer of `oxe.pytorch` that has the options of `state_dict`, in
        a row of the report.
      strict: Raise a ValueError if anything is not exact.

    Returns:
      The state, and a :class:`TranslationReport` with a row for each buffer, number and
      option.

    Examples:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import optax_extras as oxe
      >>> moments = {"step": 50, "exp_avg": np.ones(3), "exp_avg_sq": np.ones(3)}
      >>> options = {"lr": 0.5, "betas": (0.9, 0.999), "amsgrad": False, "params": [0]}
      >>> saved = {"state": {0: moments}, "param_groups": [options]}
      >>> params = {"w": jnp.ones(3)}
      >>> tx = oxe.pytorch.AdamW(lr=0.1)
      >>> state, report = oxe.pytorch.load_state_dict(tx, saved, params)
      >>> float(oxe.learning_rate(state)), report.exact
      (0.5, True)
    """
    groups, entries = _parts_of(state_dict)
    names = [name for group in groups for name in group.get("param_names", ())]
    indices = [i for group in groups for i in group["params"]]
    paths = paths_in_order(order, params, names or None)
    leaves = trained(params)
    if len(paths) != len(indices):
        must = f"have as many parameters as `order`, or else `params`: {len(paths)}"
        refuse("state_dict", must, len(indices))
    by_index = dict(zip(indices, paths, strict=True))
    options = {by_index[i]: group for group in groups for i in group["params"]}
    stored = {key for entry in entries.values() for key in entry}
    name = layout_name(groups[0], stored)
    if name is None:
        refuse(
            "state_dict", "have the options of one of PyTorch's optimizers", groups[0]
        )
    call = call_of(tx)
    _refuse_other_optimizer(call, name)
    found = {by_index[i]: entry for i, entry in entries.items() if i in by_index}
    rows = option_rows(call, options, params, name)
    source, more = _source(LAYOUTS[name], found, options, leaves, transpose, count)
    lost = [i for i in entries if i not in by_index]
    if lost:
        must = "have only parameters that are in a group"
        refuse("state_dict", must, f"the state of {lost[0]!r}")
    state, report = write(tx, source, params)
    report = TranslationReport((*report.rows, *more, *rows))
    if gradients is not None:
        predicting = optimizer_of(name, options)
        pairs = (predicting, write(predicting, source, params)[0]), (tx, state)
        report = with_trial(report, *pairs, params, gradients)
    return state, report.checked(strict)


def _parts_of(state_dict: Any) -> tuple[list[dict], dict[Any, dict]]:
    hint = "Pass `optimizer.state_dict()`."
    if not isinstance(state_dict, Mapping):
        refuse_kind("state_dict", "be a dict", state_dict, hint)
    if not {"state", "param_groups"} <= {*state_dict}:
        must = "have the keys 'state' and 'param_groups'"
        refuse("state_dict", must, [*state_dict][:4], hint)
    entries = {
        int(i) if isinstance(i, str) and i.isdigit() else i: entry
        for i, entry in state_dict["state"].items()
    }
    return [*state_dict["param_groups"]], entries


def _refuse_other_optimizer(call: Call | None, name: str) -> None:
    if call is None or name == layout_of(call):
        return
    hint = (
        "Load it into that optimizer, and pass the state to `oxe.translate`, or load "
        "it into an optimizer of `oxe` itself, such as `oxe.adamw`."
    )
    refuse("state_dict", f"be of {call.name}, as `tx` is", name, hint)


def layout_of(call: Call) -> str:
    """The name of the layout of an optimizer's buffers."""
    return "Adam" if call.name == "AdamW" else call.name


def _source(
    layout: Layout,
    found: dict[str, Any],
    options: dict[str, Any],
    leaves: dict[str, Any],
    transpose: Transpose,
    count: Any,
) -> tuple[Source, list[TranslationRow]]:
    rows: list[TranslationRow] = []
    parts = [Part({}, {}) for _ in range(1 + max(x.part for x in layout.buffers))]
    turned = Turned(leaves, transpose)
    known = {x.name for x in layout.buffers}
    arrays_of = {
        path: swap_factors(
            {k: as_array(x) for k, x in entry.items() if k in known and x is not None},
            leaves[path],
            path,
            transpose,
        )
        for path, entry in found.items()
    }
    for x in layout.buffers:
        arrays = {
            path: turned(path, row[x.name])
            for path, row in arrays_of.items()
            if x.name in row
        }
        if x.name == "prev":
            arrays = {path: np.sign(array) for path, array in arrays.items()}
        if arrays:
            forms = {path: x.form(options[path]) for path in arrays}
            parts[x.part].buffers[x.holds] = Buffer(x.name, arrays, forms)
    steps = {
        path: int(as_array(entry["step"]))
        for path, entry in found.items()
        if "step" in entry
    }
    made: Any = max(steps.values(), default=None)
    if layout.counts and made is None:
        made = 0 if not found else count
    made = count if made is None else made
    if count is not None and made != count:
        refuse("count", f"be the `step` of the `state_dict`, {made}", count)
    # Plain SGD stores nothing, not even for a param that it has updated.
    stores = {p for p, x in options.items() if layout.counts or x["momentum"] != 0}
    if made is None and stores and not found:
        made = 0
    missed: dict[str, int] = {}
    for path in stores if made else ():
        here = steps.get(path, made if path in found and not layout.counts else 0)
        if here != made:
            missed[path] = int(made) - here
    scalars = {
        ours: float(as_array(entry[theirs]))
        for theirs, ours in layout.scalars.items()
        for entry in [next((x for x in found.values() if theirs in x), None)]
        if entry is not None
    }
    parts[0] = parts[0]._replace(scalars=scalars)
    known |= {"step", *layout.scalars, *DERIVED}
    for name in sorted({key for entry in found.values() for key in entry} - known):
        rows.append(TranslationRow("", name, "left over", exact=False))
    rates = {path: float(as_array(group["lr"])) for path, group in options.items()}
    rows += turned.rows()
    return Source(parts, made, missed, rates), rows
