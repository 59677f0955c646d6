r"""Functions that show how an optimizer walks, each a :class:`Problem`.

Landscapes are 0 at the minimum, where nothing else is said.
Their points are NumPy arrays in float64: JAX rounds them when it sees them, and nothing
is computed on import.
"""

import difflib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._checks import checked
from optax_extras._errors import refuse
from optax_extras.lab._problem import Problem, check_problem
from optax_extras.lab._reddi import reddi_online, reddi_stochastic, reddi_theorem
from optax_extras.lab._wilson import Wilson, wilson

__all__ = [
    "Problem",
    "Wilson",
    "beale",
    "by_name",
    "ditch",
    "himmelblau",
    "monkey_saddle",
    "noisy_quadratic",
    "rastrigin",
    "reddi_online",
    "reddi_stochastic",
    "reddi_theorem",
    "rosenbrock",
    "saddle",
    "sharp_and_flat",
    "wilson",
]


@checked
def by_name(name: str) -> Problem:
    """The problem of this name.

    Args:
      name: One of the problems of this module; of `wilson`, that of its defaults.

    Returns:
      The :class:`Problem`.

    Examples:
      >>> import optax_extras as oxe
      >>> oxe.lab.problems.by_name("beale").minimum
      array([3. , 0.5])
    """
    return _named("name", name)


def find(problem: Any) -> Problem:
    """A problem as it is, or the one of that name."""
    found = _named("problem", problem) if isinstance(problem, str) else problem
    check_problem("problem", found, "be a Problem or the name of one")
    return found


def _named(argument: str, name: Any) -> Problem:
    names = [x for x in __all__ if isinstance(globals()[x], Problem)] + ["wilson"]
    if not isinstance(name, str) or name not in names:
        near = difflib.get_close_matches(str(name), names, cutoff=0.5) or names
        options = "be the name of a problem, such as " + ", ".join(map(repr, near))
        refuse(argument, options, name)
    return wilson().problem if name == "wilson" else globals()[name]


def _ditch(point: Any) -> jax.Array:
    x, y = point
    return x**2 / 20 + y**2


ditch = Problem(
    fun=_ditch,
    start=np.array([-7.0, 2.0]),
    minimum=np.zeros(2),
    bounds=((-10.0, 10.0), (-10.0, 10.0)),
)
r"""A ditch along the x axis, :math:`x^2/20 + y^2`, 20 times as steep across as along.

The slope points across the ditch nearly everywhere, hardly ever at the minimum.
"""


def _saddle(point: Any) -> jax.Array:
    x, y = point
    return x**2 / 2 - y**2 / 2 + y**4 / 4


saddle = Problem(
    fun=_saddle,
    start=np.array([1.5, 0.001]),
    minimum=np.array([0.0, 1.0]),
    bounds=((-2.0, 2.0), (-2.0, 2.0)),
)
r"""A saddle at 0 between two minima of -1/4, :math:`x^2/2 - y^2/2 + y^4/4`.

The start is a thousandth beside the ridge, on the side of the `minimum` (0, 1); the
other one is (0, -1). On the ridge itself the slope leads into the saddle for ever.
"""


def _monkey_saddle(point: Any) -> jax.Array:
    x, y = point
    return x**3 - 3 * x * y**2 + (x**2 + y**2) ** 2 / 4


monkey_saddle = Problem(
    fun=_monkey_saddle,
    start=np.array([1.0, 0.01]),
    minimum=np.array([1.5, 1.5 * np.sqrt(3)]),
    bounds=((-4.5, 4.5), (-4.5, 4.5)),
)
r"""A saddle at 0 without curvature, :math:`x^3 - 3xy^2 + (x^2 + y^2)^2/4`.

Near it the slope falls with the square of the distance, so that leaving takes much
longer than from `saddle`. There are three minima of -27/4: `minimum`, on the side of
the start, its mirror image in the x axis, and (-3, 0).
"""


def _rosenbrock(point: Any) -> jax.Array:
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


rosenbrock = Problem(
    fun=_rosenbrock,
    start=np.array([-1.2, 1.0]),
    minimum=np.ones(2),
    bounds=((-2.0, 2.0), (-1.0, 3.0)),
)
r"""Rosenbrock's bent valley, :math:`(1 - x)^2 + 100 (y - x^2)^2`.

Its floor, near :math:`y = x^2`, falls slowly to the minimum (1, 1).
"""


def _beale(point: Any) -> jax.Array:
    x, y = point
    return (
        (1.5 - x + x * y) ** 2
        + (2.25 - x + x * y**2) ** 2
        + (2.625 - x + x * y**3) ** 2
    )


beale = Problem(
    fun=_beale,
    start=np.array([1.0, 1.5]),
    minimum=np.array([3.0, 0.5]),
    bounds=((-4.5, 4.5), (-4.5, 4.5)),
)
r"""Beale's plain with cliffs at its corners, :math:`\sum_{i=1}^3 (c_i - x + xy^i)^2`.

Here :math:`c` is (1.5, 2.25, 2.625); the minimum is (3, 0.5).
"""


def _himmelblau(point: Any) -> jax.Array:
    x, y = point
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


himmelblau = Problem(
    fun=_himmelblau,
    start=np.array([-0.5, -1.0]),
    minimum=np.array([3.0, 2.0]),
    bounds=((-5.0, 5.0), (-5.0, 5.0)),
)
r"""Himmelblau's four minima, :math:`(x^2 + y - 11)^2 + (x + y^2 - 7)^2`, each of 0.

`minimum` is the only one at whole numbers; the others are near (-2.81, 3.13),
(-3.78, -3.28) and (3.58, -1.85). The start is near the hill between all four.
"""


def _rastrigin(point: Any) -> jax.Array:
    x = jnp.asarray(point)
    return jnp.sum(x**2 + 10 * (1 - jnp.cos(2 * np.pi * x)))


rastrigin = Problem(
    fun=_rastrigin,
    start=np.array([-3.3, 2.4]),
    minimum=np.zeros(2),
    bounds=((-5.12, 5.12), (-5.12, 5.12)),
)
r"""Rastrigin's egg box, :math:`\sum_i x_i^2 + 10 (1 - \cos 2 \pi x_i)`.

There is a local minimum near every point of whole numbers; `minimum` is the lowest.
"""


def _sharp_and_flat(point: Any) -> jax.Array:
    x, y = point
    sharp, flat = 25 * ((x + 2) ** 2 + y**2), (x - 2) ** 2 + y**2
    return sharp * flat / (sharp + flat) / 2


sharp_and_flat = Problem(
    fun=_sharp_and_flat,
    start=np.array([-2.3, 0.5]),
    minimum=np.array([2.0, 0.0]),
    bounds=((-4.0, 5.0), (-3.0, 3.0)),
)
r"""A sharp and a flat minimum side by side, both of 0: :math:`(1/s + 1/f)^{-1} / 2`.

Here :math:`s = 25 ((x + 2)^2 + y^2)` and :math:`f = (x - 2)^2 + y^2`. The curvature is
25 in the sharp minimum, where the start is, and 1 in the flat one, which is the
`minimum` meant. At a rate above 2/25 gradient descent finds no rest in the sharp one;
it first bounces between its walls, and at rates from 0.3 on it arrives in the flat one.
"""


def _quadratic(point: Any) -> jax.Array:
    x, y = point
    return (x**2 + 10 * y**2) / 2


def _tilted_quadratic(point: Any, i: jax.Array, key: Any) -> jax.Array:
    x, y = point
    tilt = jax.random.normal(key, (2,), jnp.result_type(x))
    return _quadratic(point) + tilt[0] * x + tilt[1] * y


noisy_quadratic = Problem(
    fun=_quadratic,
    start=np.array([-3.0, 2.0]),
    minimum=np.zeros(2),
    bounds=((-4.0, 4.0), (-3.0, 3.0)),
    sample=_tilted_quadratic,
    stochastic=True,
)
r"""The bowl :math:`(x^2 + 10 y^2) / 2`, its slope seen with normal noise of variance 1.

At a constant rate :math:`\eta` SGD ends up at a distance from the minimum: the variance
of a coordinate of curvature h tends to :math:`\eta / (h (2 - \eta h))`.
"""
