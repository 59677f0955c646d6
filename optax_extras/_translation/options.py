"""The options of another library's optimizer, beside those of ours."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import FROZEN, leaves_with_paths
from optax_extras._learning_rates.metric_schedule import MetricSchedule
from optax_extras._lifted import is_by_path
from optax_extras._translation.call import Call
from optax_extras._translation.order import as_array
from optax_extras._translation.report_types import NOT_COMPARED, TranslationRow
from optax_extras._types import Params

# Options that change no numbers, and learning rates, which are in the state.
_IGNORED = ("params", "param_names", "lr", "initial_lr", "foreach", "fused")
_IGNORED += ("capturable", "differentiable", "max_lr", "min_lr", "max_momentum")
_IGNORED += ("base_momentum", "swa_lr", "learning_rate")


def option_rows(
    call: Call | None,
    options: Mapping[str, Any],
    params: Params,
    source: str,
    advice: str,
) -> list[TranslationRow]:
    """The options of a param's group in the source, by path, beside those of `tx`.

    `advice`: what to give where they cannot be compared.
    """
    if call is None or not options:
        return [TranslationRow("options", source, NOT_COMPARED, False, note=advice)]
    given = dict(call.arguments)
    if call.name == "AdamW":
        given["decoupled_weight_decay"] = True
    rows = []
    for option, value in given.items():
        if option in _IGNORED:
            continue
        if not all(option in x for x in options.values()):
            # An older version has no such flag; a number it must have.
            if not isinstance(value, bool | str | None):
                rows.append(TranslationRow(option, "", "missing", exact=False))
            continue
        ours = by_path_values(value, params)
        for path, group in options.items():
            here, theirs = ours.get(path, value), group[option]
            if here is FROZEN or _is_schedule(here) or _same(here, theirs):
                continue
            note = f"{theirs} there, {here} in `tx`, for {path}"
            row = TranslationRow(option, option, "differs", exact=False, note=note)
            rows.append(row)
            break
    if not rows:
        rows.append(TranslationRow("options", source, "equal"))
    return rows


def schedule_rows(
    given: Any, rates: Mapping[str, float], params: Params, count: int
) -> list[TranslationRow]:
    """A row where a schedule of `tx` has another value than the source's state."""
    ours = by_path_values(given, params)
    for path, theirs in rates.items():
        lr: Any = ours.get(path, given)
        if not callable(lr) or isinstance(lr, MetricSchedule):
            continue
        # The scheduler was called before or after the state was saved.
        counts = (count, max(count - 1, 0))
        near = [np.asarray(lr(jnp.asarray(t, jnp.int32))) for t in counts]
        if not any(np.allclose(x, theirs, rtol=1e-5, atol=0) for x in near):
            note = f"{theirs:g} there, {float(np.max(near[0])):g} here, for {path}"
            how = "the schedule differs"
            return [TranslationRow("lr", "lr", how, exact=False, note=note)]
    return []


def by_path_values(value: Any, params: Params) -> dict[str, Any]:
    """A value, or a tuple of values, for each param, if it depends on the path."""
    if is_by_path(value):
        pairs = groups_by_path(value, params).items()
        return {path: value.value(name) for path, name in pairs if name is not None}
    if isinstance(value, tuple) and any(map(is_by_path, value)):
        columns = [(by_path_values(x, params), x) for x in value]
        return {
            path: tuple(column.get(path, x) for column, x in columns)
            for path, _ in leaves_with_paths(params)
        }
    return {}


def groups_by_path(value: Any, params: Params) -> dict[str, str | None]:
    """The group of each param in a value that depends on the path."""
    paths = [path for path, _ in leaves_with_paths(params)]
    return dict(zip(paths, value.names(params), strict=True))


def _is_schedule(value: Any) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return any(map(callable, items))


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) or isinstance(theirs, tuple | list):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(_same(*pair) for pair in pairs)
    if isinstance(ours, bool | str | None) or theirs is None:
        return ours == theirs
    return bool(np.isclose(float(ours), float(as_array(theirs)), rtol=1e-6, atol=0))
