"""The definition of a problem."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from optax_extras._check_values import flag, function, is_traced
from optax_extras._errors import refuse, refuse_kind
from optax_extras.lab._checks_of_data import real_array


class Problem(NamedTuple):
    """A function to minimize, with its start, its minimum, and the bounds of a plot.

    An online or stochastic problem has another loss, `sample`, at each step; `fun` is
    then the average of these losses.
    """

    fun: Callable[[Any], jax.Array]
    """From a point, shaped like `start`, to a scalar; traceable."""
    start: ArrayLike
    """The start of runs; of shape (2,) if the problem is plotted as a landscape."""
    minimum: ArrayLike
    """Where the function is smallest; one of these points if there are several."""
    bounds: tuple[tuple[float, float], ...] | None
    """(lowest, highest) in a plot, for each coordinate. None: it cannot be plotted."""
    sample: Callable[[Any, jax.Array, Any], jax.Array] | None = None
    """From a point, the step (0, 1, ...) and its key to the loss of that step. None:
    `fun` at every step. The key is None in a run without one."""
    stochastic: bool = False
    """Whether `sample` uses its key, so that a run needs one."""
    project: Callable[[Any], Any] | None = None
    """Projects a point onto the feasible set, after every update. None: no limits."""


def check_problem(
    argument: str, x: Any, must: str = "be an oxe.lab.problems.Problem"
) -> None:
    """Refuses an object that is not a problem, and wrong fields."""
    if not isinstance(x, Problem):
        refuse_kind(argument, must, x)
    for name in ("fun", "sample", "project"):
        field = getattr(x, name)
        if name == "fun" or field is not None:
            function(f"{argument}.{name}", field)
    for name in ("start", "minimum"):
        point = getattr(x, name)
        for leaf in jax.tree.leaves(point) or [point]:
            real_array(f"{argument}.{name}", leaf)
    flag(f"{argument}.stochastic", x.stochastic)
    if x.bounds is None:
        return
    bounds = real_array(f"{argument}.bounds", x.bounds)
    is_good = bounds.ndim == 2 and bounds.shape[1] == 2
    if is_good and not is_traced(bounds):
        low, high = np.asarray(bounds, np.float64).T
        is_good = (np.isfinite(low) & (low < high) & np.isfinite(high)).all()
    if not is_good:
        must = "be pairs of finite numbers (lowest, highest)"
        refuse(f"{argument}.bounds", must, x.bounds)
