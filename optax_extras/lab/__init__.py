"""Runs and pictures: small problems, whole runs in one call, plots of both.

The plots need matplotlib, which is imported by the function that draws.
"""

from optax_extras.lab import problems as problems
from optax_extras.lab._animation import animate_race as animate_race
from optax_extras.lab._check_elementwise import (
    check_elementwise as check_elementwise,
)
from optax_extras.lab._digits import Digits as Digits, digits as digits
from optax_extras.lab._minimize import Trajectory as Trajectory, minimize as minimize
from optax_extras.lab._plot_runs import (
    plot_race as plot_race,
    plot_range_test as plot_range_test,
)
from optax_extras.lab._plots import (
    plot_path as plot_path,
    plot_rate as plot_rate,
    plot_schedule as plot_schedule,
)
from optax_extras.lab._race import Comparison as Comparison, race as race
from optax_extras.lab._range_test import (
    RangeTest as RangeTest,
    lr_range_test as lr_range_test,
)
from optax_extras.lab._suggestions import (
    suggest_minimum as suggest_minimum,
    suggest_slide as suggest_slide,
    suggest_steep as suggest_steep,
    suggest_valley as suggest_valley,
)
from optax_extras.lab._sweep import Sweep as Sweep, sweep as sweep

__all__ = [name for name in dir() if not name.startswith("_")]
