"""What low precision has rounded in a new state."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from optax_extras._state.low_precision import LowPrecisionState
from optax_extras._translation.report_types import TranslationRow
from optax_extras._translation.states import buffers_of, leaves_by_path, walk
from optax_extras._types import Params, State

_NOTE = "large leaves are then rounded to few bits"


def with_rounding(
    rows: list[TranslationRow],
    state: State,
    written: Mapping[str, Mapping[str, Any]],
    params: Params,
) -> list[TranslationRow]:
    """The rows; those of buffers that do not hold what was written are not exact."""
    rounded = {*_rounded(list(walk(state)), written, params)}
    return [
        row._replace(exact=False, note=_NOTE)
        if row.exact and row.target in rounded
        else row
        for row in rows
    ]


def _rounded(
    places: list[Any], written: Mapping[str, Mapping[str, Any]], params: Params
) -> Iterable[str]:
    within = tuple(at for at, x in places if isinstance(x, LowPrecisionState))
    for place, node in places if within else ():
        for field in buffers_of(node) if place.startswith(within) else ():
            leaves = written.get(f"{place}.{field}", {})
            stored = leaves_by_path(getattr(node, field), params) if leaves else {}
            if not all(np.array_equal(stored[path], x) for path, x in leaves.items()):
                yield f"{place}.{field}"
