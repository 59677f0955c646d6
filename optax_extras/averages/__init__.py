"""Averages of the weights, for `oxe.with_average`."""

from optax_extras.averages._average import Average as Average
from optax_extras.averages._snapshot import Snapshot as Snapshot, snapshot as snapshot

__all__ = [name for name in dir() if not name.startswith("_")]
