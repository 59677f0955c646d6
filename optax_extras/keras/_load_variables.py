"""From the variables of Keras' optimizers to a state."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from optax_extras._checks import StepCountOrZero, Transformation, checked
from optax_extras._errors import refuse
from optax_extras._leaves import in_dtype_of
from optax_extras._lifted import is_by_path
from optax_extras._state.with_average import WithAverageState
from optax_extras._translation.arrays import converted
from optax_extras._translation.call import Call, call_of
from optax_extras._translation.common_form import Buffer, CommonForm, Part
from optax_extras._translation.compare_recursions import AVERAGE, SUM
from optax_extras._translation.options import by_path_values
from optax_extras._translation.order import (
    Order,
    Transpose,
    check_params,
    order_rows,
    paths_in_order,
    square_rows,
    swap_factors,
    trained,
    transposed,
)
from optax_extras._translation.report_types import TranslationReport, TranslationRow
from optax_extras._translation.states import walk, with_leaves
from optax_extras._translation.write import write
from optax_extras._types import Params, State, Updates
from optax_extras.keras._buffers import (
    COLUMN,
    ROW,
    SAVED_STATES,
    STARTS,
    Stored,
)
from optax_extras.keras._options import (
    check_config,
    optimizer_of,
    rows_of_options,
    rows_of_rates,
)
from optax_extras.keras._variables import Variables, read


@checked
def load_variables(
    tx: Transformation,
    variables: Any,
    params: Params,
    order: Order = None,
    *,
    transpose: Transpose = None,
    config: Any = None,
    count: StepCountOrZero | None = None,
    gradients: Updates = None,
    strict: bool = False,
) -> tuple[Any, TranslationReport]:
    """The state with which `tx` goes on where an optimizer of Keras stopped.

    Convert the weights as you do now; this converts what the optimizer has stored. The
    next updates are those that Keras would make, to rounding. Keras is not imported.
    Its learning rate replaces a constant one of `tx`; a schedule of `tx` goes on at
    Keras' `iteration`. The variables do not hold the other options: give `tx` the same,
    and `config`, with which they are compared.

    Args:
      tx: The optimizer of `oxe.keras` with the same options, also inside of a chain or
        a wrapper; or another optimizer of this library, into whose state the moments
        are translated as by :func:`translate`.
      variables: ``optimizer.variables``; or a dict of arrays by their names or paths;
        or a list of arrays in Keras' order, for an optimizer of `oxe.keras`.
      params: The params, already converted.
      order: The paths of the params (such as ``"dense/kernel"``) in the order of
        Keras' trainable variables: a list, or a dict by the name that Keras' variables
        begin with, such as ``"sequential_dense_kernel"``. None: the names, if they are
        the paths of params, else the order of the leaves of `params`, which for a dict
        is that of its sorted keys.
      transpose: A function of path and array, which turns Keras' array of a weight
        around. It is applied to every variable like the params. None: nothing is
        turned around; Keras' kernels have the shape (in, out), as those of Flax.
      config: ``optimizer.get_config()``, Keras' options. Without it they are not
        compared, which the report says.
      count: The number of updates, if it is not `iteration`: with
        `gradient_accumulation_steps`, `iteration` counts batches.
      gradients: Like the params. With them and `config`, the next update of `tx` is
        compared with that of the optimizer of `oxe.keras` that has these options, in a
        row of the report. Only so is anything known of the options of a `tx` that is
        not an optimizer of `oxe.keras` by itself.
      strict: Raise a ValueError if anything is not exact.

    Returns:
      The state, and a :class:`TranslationReport` with a row for each variable.

    Examples:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> import optax_extras as oxe
      >>> names = ["iteration", "learning_rate", "dense_momentum", "dense_velocity"]
      >>> values = [np.int32(50), np.float32(0.5), np.ones(3), np.ones(3)]
      >>> params = {"w": jnp.ones(3)}
      >>> tx = oxe.keras.Adam(learning_rate=0.1)
      >>> variables = dict(zip(names, values))
      >>> state, report = oxe.keras.load_variables(tx, variables, params)
      >>> float(oxe.learning_rate(state)), report.exact, report.rows[-1].how
      (0.5, True, 'not compared')
    """
    check_params(params)
    if gradients is not None and config is None:
        refuse("config", "be given with `gradients`", config)
    call, leaves = call_of(tx, "keras"), trained(params)
    found = read(variables, call, len(leaves))
    if call is not None and _is_other(call.name, found.optimizer):
        hint = (
            "Load them into that optimizer, and pass the state to `oxe.translate`, or "
            "into an optimizer of `oxe` itself, such as `oxe.adamw`."
        )
        refuse("variables", f"be of {call.name}, as `tx` is", found.optimizer, hint)
    name = found.optimizer if call is None else call.name
    if config is not None:
        check_config(config, name)
    paths = paths_in_order(order, params, found.names)
    if found.names and len(paths) != len(found.names):
        must = f"be for as many params as `order`, or else `params`: {len(paths)}"
        refuse("variables", must, len(found.names))
    arrays, rows = _arrays(found.arrays, paths, leaves, transpose)
    square = square_rows(arrays.values(), leaves, transpose)
    made: Any = found.iteration if count is None else count
    first = tx.init(params)
    average, left = _average(first, params, arrays.pop("average", {}), made)
    rows += left
    accumulated = arrays.pop("gradient_accumulator", {})
    if accumulated:
        rows.append(_row_of_accumulators(accumulated, count))
    z = arrays.get("momentum", {})
    parts = _parts(found, arrays, call, params)
    if found.optimizer == "ScheduleFreeAdamW":
        parts[0].buffers.update(_averaged(params, z, call))
    rates = {} if found.rate is None else dict.fromkeys(leaves, found.rate)
    source = CommonForm(parts, made, rates=rates, states=average)
    rows += [TranslationRow("", x, "left over", exact=False) for x in found.left]
    rows += order_rows(order, found.names, leaves)
    rows += rows_of_options(call, config, params)
    rows += rows_of_rates(call, found.rate, config, first, params, int(made))
    rows += square
    old = functools.partial(optimizer_of, name, config)
    return write(tx, source, params, rows, gradients, strict, old)


def _is_other(ours: str, theirs: str) -> bool:
    return ours in SAVED_STATES and SAVED_STATES[ours] != SAVED_STATES[theirs]


def _arrays(
    found: dict[str, dict[int, np.ndarray]],
    paths: list[str],
    leaves: dict[str, Any],
    transpose: Transpose,
) -> tuple[dict[str, dict[str, np.ndarray]], list[TranslationRow]]:
    """The variables by the ends of their names and by path, and rows for some."""
    arrays: dict[str, dict[str, np.ndarray]] = {}
    matrices = [i for i, x in found.get(ROW, {}).items() if x.ndim]
    for i, path in enumerate(paths):
        entry = {end: some[i] for end, some in found.items() if i in some}
        if i in matrices:
            del entry["velocity"]
            entry[ROW] = entry[ROW][..., None]
            entry[COLUMN] = entry[COLUMN][..., None, :]
        else:
            entry = {end: x for end, x in entry.items() if end not in (ROW, COLUMN)}
        for end, x in swap_factors(entry, leaves[path], path, transpose).items():
            arrays.setdefault(end, {})[path] = transposed(transpose, path, x)
    note = "that of a matrix follows from the means of its rows and columns"
    row = TranslationRow("", "velocity", "not needed", note=note)
    return arrays, [row] if matrices else []


def _parts(
    found: Variables, arrays: dict[str, Any], call: Call | None, params: Params
) -> list[Part]:
    saved = SAVED_STATES[found.optimizer]
    parts = [Part({}) for _ in range(1 + max(x.part for x in saved.stored))]
    averaged = arrays.get("velocity", {})
    for x in saved.stored:
        if x.name not in arrays:
            continue
        leaves, note = _without_start(x, arrays.pop(x.name), call, params)
        rate = math.nan if found.rate is None else found.rate
        recursions: Any = x.recursion._replace(rate=rate) if x.has_rate else x.recursion
        if found.optimizer == "Muon" and x.name == "momentum":
            # Adam's is an average, that of a matrix a sum.
            recursions = {path: AVERAGE if path in averaged else SUM for path in leaves}
        parts[x.part].buffers[x.holds] = Buffer(x.name, leaves, recursions, note)
    if saved.scalar and found.scalar is not None:
        parts[0] = parts[0]._replace(scalars={saved.scalar: found.scalar})
    # Another optimizer's: `write` says that they are left over.
    parts += [Part({name: Buffer(name, x)}) for name, x in arrays.items()]
    return parts


def _without_start(
    stored: Stored, arrays: Mapping[str, Any], call: Call | None, params: Params
) -> tuple[dict[str, Any], str]:
    """The arrays without what they started at, and what is assumed about it."""
    if not stored.start:
        return {**arrays}, ""
    given = (call.arguments if call else STARTS).get(stored.start)
    starts, rest = by_path_values(given, params), 0.0 if is_by_path(given) else given
    new = {
        path: np.maximum(np.asarray(x, np.float64) - float(starts.get(path, rest)), 0)
        for path, x in arrays.items()
    }
    return new, "" if call else f"taken to have started at {given}, Keras' default"


def _average(
    first: State, params: Params, arrays: Mapping[str, Any], count: int
) -> tuple[tuple[tuple[str, Any], ...], list[TranslationRow]]:
    """Keras' average of the weights in a state of `with_average`, if `tx` has one."""
    if not arrays:
        return (), []
    for place, state in walk(first):
        if isinstance(state, WithAverageState) and len(state.averages) == 1:
            ((name, tree),) = state.averages.items()
            new = {
                path: converted(f"averages[{name!r}]", path, arrays[path], 1.0, x)[0]
                for path, x in trained(tree).items()
                if path in arrays
            }
            averages = {name: with_leaves(tree, params, new)}
            counted = in_dtype_of(state.count, np.int32(count))
            new_state = state._replace(count=counted, averages=averages)
            return ((place, new_state),), []
    return (), [TranslationRow("", "average", "left over", exact=False)]


def _averaged(
    params: Params, z: Mapping[str, Any], call: Call | None
) -> dict[str, Buffer]:
    """The average x of `ScheduleFreeAdamW`, computed from the params y and from z."""
    if call is None or call.name != "ScheduleFreeAdamW":
        return {}
    b1 = float(call.arguments["beta_1"])
    ys = {path: np.asarray(y, np.float64) for path, y in trained(params).items()}
    xs = {
        f"schedule_free/{path}": (y - (1 - b1) * z[path]) / b1
        for path, y in ys.items()
        if path in z
    }
    return {"averages": Buffer("params and momentum", xs)}


def _row_of_accumulators(arrays: Mapping[str, Any], count: Any) -> TranslationRow:
    is_empty = not any(np.any(x) for x in arrays.values())
    note = "" if count is not None else "`iteration` counts batches: give `count`"
    return TranslationRow(
        "", "gradient_accumulator", "left over", is_empty and not note, note=note
    )
