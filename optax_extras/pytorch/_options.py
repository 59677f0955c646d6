"""The options of PyTorch's groups, beside those of our optimizers."""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import FROZEN, is_by_path, leaves_with_paths
from optax_extras._groups.by_path import by_path
from optax_extras._learning_rates.metric_schedule import MetricSchedule
from optax_extras._translation.call import Call
from optax_extras._translation.order import as_array, trained
from optax_extras._translation.report import TranslationReport, TranslationRow, some_of
from optax_extras._types import Params

_UNKNOWN = "not compared"
# Options that change no numbers.
_IGNORED = ("params", "param_names", "lr", "initial_lr", "foreach", "fused")
_IGNORED += ("capturable", "differentiable", "max_lr", "min_lr", "max_momentum")
_IGNORED += ("base_momentum", "swa_lr")


def optimizer_of(name: str, options: Mapping[str, Any]) -> Any:
    """The optimizer of `oxe.pytorch` with the options of PyTorch's groups, by path."""
    package: Any = sys.modules[__package__ or ""]
    make = getattr(package, name)
    arguments = {}
    for option in inspect.signature(make).parameters:
        if not all(option in group for group in options.values()):
            continue
        values = {path: _plain(group[option]) for path, group in options.items()}
        first = next(iter(values.values()))
        if all(x == first for x in values.values()):
            arguments[option] = first
        elif isinstance(first, tuple):
            columns = zip(*values.values(), strict=True)
            arguments[option] = tuple(_by_paths(values, x) for x in columns)
        else:
            arguments[option] = _by_paths(values, values.values())
    return make(**arguments)


def _by_paths(paths: Iterable[str], values: Iterable[Any]) -> Any:
    return by_path({re.escape(p): x for p, x in zip(paths, values, strict=True)})


def _plain(x: Any) -> Any:
    """A number, which may be a tensor, as Python has it."""
    if isinstance(x, tuple | list):
        return tuple(map(_plain, x))
    return x if isinstance(x, bool | str) or x is None else as_array(x).item()


def option_rows(
    call: Call | None, options: dict[str, Any], params: Params, name: str
) -> list[TranslationRow]:
    """The options of PyTorch's groups beside those of `tx`."""
    if call is None:
        note = f"those of {name}: give `gradients` for a trial step"
        return [TranslationRow("options", "param_groups", _UNKNOWN, False, note=note)]
    given = dict(call.arguments)
    if call.name == "AdamW":
        given["decoupled_weight_decay"] = True
    rows = []
    for option, value in given.items():
        if option in _IGNORED or not all(option in x for x in options.values()):
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
        rows.append(TranslationRow("options", "param_groups", "equal"))
    return rows


def after_trial(report: TranslationReport) -> TranslationReport:
    """The report; options that were not compared do not matter if the trial agrees."""
    *rows, trial = report.rows
    if not trial.exact:
        return report
    note = "the trial step agrees"
    rows = [
        row._replace(exact=True, note=note) if row.how == _UNKNOWN else row
        for row in rows
    ]
    return TranslationReport((*rows, trial))


def rate_rows(
    call: Call | None, options: dict[str, Any], params: Params, count: int | None
) -> list[TranslationRow]:
    """Rows for what is trained otherwise than in PyTorch."""
    given = None if call is None else call.arguments["lr"]
    ours = by_path_values(given, params)
    frozen = [path for path, lr in ours.items() if lr is FROZEN]
    new = [x for x in trained(params) if x not in options and x not in frozen]
    rest = [x for x in frozen if x in options and float(as_array(options[x]["lr"]))]
    rows = [
        TranslationRow("lr", "", how, exact=False, note=some_of(paths))
        for how, paths in (("new here", new), ("frozen here", rest))
        if paths
    ]
    if call is None or count is None or call.name == "Rprop":
        return rows
    for path, group in options.items():
        lr: Any = ours.get(path, given)
        theirs = float(as_array(group["lr"]))
        if not callable(lr) or isinstance(lr, MetricSchedule):
            continue
        # It was saved before or after ``scheduler.step()``.
        counts = (count, max(count - 1, 0))
        near = [np.asarray(lr(jnp.asarray(t, jnp.int32))) for t in counts]
        if not any(np.allclose(x, theirs, rtol=1e-5, atol=0) for x in near):
            note = f"{theirs:g} there, {float(np.max(near[0])):g} here, for {path}"
            how = "the schedule differs"
            return [*rows, TranslationRow("lr", "lr", how, exact=False, note=note)]
    return rows


def by_path_values(value: Any, params: Params) -> dict[str, Any]:
    """A value, or a tuple of values, for each param, if it depends on the path."""
    paths = [path for path, _ in leaves_with_paths(params)]
    if is_by_path(value):
        names = value.names(params)
        pairs = zip(paths, names, strict=True)
        return {path: value.value(name) for path, name in pairs if name is not None}
    if isinstance(value, tuple) and any(map(is_by_path, value)):
        columns = [by_path_values(x, params) for x in value]
        return {
            path: tuple(
                column.get(path, x) for column, x in zip(columns, value, strict=True)
            )
            for path in paths
        }
    return {}


def _is_schedule(value: Any) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return any(map(callable, items))


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, tuple) or isinstance(theirs, tuple | list):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(_same(*pair) for pair in pairs)
    if isinstance(ours, bool | str | None.__class__) or theirs is None:
        return ours == theirs
    return bool(np.isclose(float(ours), float(as_array(theirs)), rtol=1e-6, atol=0))
