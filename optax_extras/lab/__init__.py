"""Compare optimizers on test functions, find a learning rate, and plot the results.

:func:`race` and :func:`minimize` run optimizers on the test functions in ``problems``;
:func:`lr_range_test` and :func:`sweep` try learning rates on your model. Plots need
matplotlib, which is imported only when you call a function that draws. From a shell:
``python -m optax_extras.lab``.
"""

from optax_extras.lab import problems as problems
from optax_extras.lab._check_elementwise import (
    check_elementwise as check_elementwise,
)
from optax_extras.lab._digits import Digits as Digits, digits as digits
from optax_extras.lab._minimize import Trajectory as Trajectory, minimize as minimize
from optax_extras.lab._plot_curves import (
    plot_path as plot_path,
    plot_rate as plot_rate,
    plot_schedule as plot_schedule,
)
from optax_extras.lab._plot_race import (
    animate_race as animate_race,
    plot_race as plot_race,
)
from optax_extras.lab._plot_range_test import plot_range_test as plot_range_test
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
