"""The options of PyTorch's groups, beside those of our optimizers."""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from optax_extras._by_path import FROZEN
from optax_extras._groups.by_path import by_path
from optax_extras._translation.call import Call
from optax_extras._translation.options import by_path_values, schedule_rows
from optax_extras._translation.order import as_array, trained
from optax_extras._translation.report_types import TranslationRow, some_of
from optax_extras._types import Params


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
    rates = {path: float(as_array(group["lr"])) for path, group in options.items()}
    return rows + schedule_rows(given, rates, params, count)
