"""What is saved of a run, so that its averages can be combined later."""

from typing import Any, NamedTuple


class Snapshot(NamedTuple):
    """The averages of a run after one update, for :func:`rebuild`."""

    count: Any
    """Shape (), int32: the number of updates that the averages have seen."""
    averages: dict[str, Any]
    """By name: a tree like the params, float32 at least."""
    gammas: dict[str, Any]
    """By the same names: the exponent of the power average; infinity for the weights
    themselves."""
