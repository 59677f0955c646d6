"""Functions of two variables that show how an optimizer walks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

__all__ = ["Problem", "ditch"]


class Problem(NamedTuple):
    """A function to minimize, with where to start, where to arrive, what to draw."""

    fun: Callable[[Any], jax.Array]
    """From a point, shape (2,), to a scalar; traceable."""
    start: ArrayLike
    """Shape (2,): where runs begin."""
    minimum: ArrayLike
    """Shape (2,): where the function is smallest."""
    bounds: tuple[tuple[float, float], tuple[float, float]]
    """((lowest x, highest x), (lowest y, highest y)) of a picture."""


def _ditch(point: Any) -> jax.Array:
    x, y = point
    return x**2 / 20 + y**2


# The points are NumPy arrays in float64: JAX rounds them when it sees them, and nothing
# is computed on import.
ditch = Problem(
    fun=_ditch,
    start=np.array([-7.0, 2.0]),
    minimum=np.zeros(2),
    bounds=((-10.0, 10.0), (-10.0, 10.0)),
)
r"""A ditch along the x axis, :math:`x^2/20 + y^2`, 20 times as steep across as along.

The slope points across the ditch nearly everywhere, hardly ever at the minimum.
"""
