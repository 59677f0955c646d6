"""Runs and pictures: small problems, whole runs in one call, plots of both.

The plots need matplotlib, which is imported by the function that draws.
"""

from optax_extras.lab import problems as problems
from optax_extras.lab._minimize import Path as Path
from optax_extras.lab._minimize import minimize as minimize
from optax_extras.lab._plots import plot_path as plot_path
from optax_extras.lab._plots import plot_schedule as plot_schedule

__all__ = [name for name in dir() if not name.startswith("_")]
