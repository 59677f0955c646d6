"""Columns as text."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def as_text(columns: Mapping[str, Any]) -> str:
    """A table: words aligned left, numbers with five digits aligned right."""
    lines = []
    for name, column in columns.items():
        column = np.asarray(column)
        words = column.dtype.kind == "U"
        cells = [name, *(x if words else f"{x:.5g}" for x in column.tolist())]
        width = max(map(len, cells))
        align = str.ljust if words else str.rjust
        lines.append([align(cell, width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*lines, strict=True))
