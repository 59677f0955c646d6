"""What a problem is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.typing import ArrayLike


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
