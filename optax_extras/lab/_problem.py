"""What a problem is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras.lab._arguments import reals


class Problem(NamedTuple):
    """A function to minimize, with where to start, where to arrive, what to draw.

    In an online or a stochastic problem a run sees a loss of its own at each step:
    `sample`. Then `fun` is what these are on average.
    """

    fun: Callable[[Any], jax.Array]
    """From a point, shaped as `start`, to a scalar; traceable."""
    start: ArrayLike
    """Where runs begin: shape (2,), if the problem is to be drawn as a landscape."""
    minimum: ArrayLike
    """Where the function is smallest; of several such points the one that is meant."""
    bounds: tuple[tuple[float, float], ...] | None
    """(lowest, highest) of a picture, for each coordinate; None: not to be drawn."""
    sample: Callable[[Any, jax.Array, Any], jax.Array] | None = None
    """From a point, the step (0, 1, ...) and its key to the loss that is seen there;
    None: `fun` at every step. The key is None in a run without one."""
    stochastic: bool = False
    """Whether `sample` uses its key, so that a run needs one."""
    project: Callable[[Any], Any] | None = None
    """Brings a point back to where it may be, after every update; None: anywhere."""


def checked(
    rule: str, argument: str, x: Any, must: str = "be an oxe.lab.problems.Problem"
) -> Problem:
    """A problem whose fields are what they are said to be, for the `rule` that asks."""
    if not isinstance(x, Problem):
        _checks.refuse_kind(rule, argument, must, x)
    for name in ("fun", "sample", "project"):
        function = getattr(x, name)
        if name == "fun" or function is not None:
            _checks.function(rule, f"{argument}.{name}", function)
    for name in ("start", "minimum"):
        point = getattr(x, name)
        for leaf in jax.tree.leaves(point) or [point]:
            reals(rule, f"{argument}.{name}", leaf)
    _checks.flag(rule, f"{argument}.stochastic", x.stochastic)
    if x.bounds is not None:
        _check_bounds(rule, f"{argument}.bounds", x.bounds)
    return x


def _check_bounds(rule: str, argument: str, bounds: Any) -> None:
    found = reals(rule, argument, bounds)
    must = "be pairs of finite numbers (lowest, highest)"
    if found.ndim != 2 or found.shape[1] != 2:
        _checks.refuse(rule, argument, must, bounds)
    if _checks.is_traced(found):
        return
    low, high = np.asarray(found, np.float64).T
    if not (np.isfinite(low) & (low < high) & np.isfinite(high)).all():
        _checks.refuse(rule, argument, must, bounds)
