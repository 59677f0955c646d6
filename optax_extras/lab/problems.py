r"""Test functions that show how optimizers move, each a :class:`Problem`.

The value at the minimum is 0 unless the description says otherwise. Points are NumPy
arrays in float64, which JAX rounds when it reads them; importing computes nothing.
"""

import difflib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._checks import checked
from optax_extras._errors import refuse
from optax_extras.lab._problem import Problem, check_problem
from optax_extras.lab._wilson import Wilson as Wilson, wilson as wilson

_Point = tuple[float, float]


@checked
def by_name(name: str) -> Problem:
    """The problem of this name.

    Args:
      name: The name of a problem in this module, or "wilson" for its default problem.

    Examples:
      >>> import optax_extras as oxe
      >>> oxe.lab.problems.by_name("beale").minimum
      array([3. , 0.5])
    """
    return _named("name", name)


def find(problem: Any) -> Problem:
    """A problem as it is, or the problem of that name."""
    found = _named("problem", problem) if isinstance(problem, str) else problem
    check_problem("problem", found, "be a Problem or the name of one")
    return found


def _named(argument: str, name: Any) -> Problem:
    names = [*_PROBLEMS, "wilson"]
    if not isinstance(name, str) or name not in names:
        near = difflib.get_close_matches(str(name), names, cutoff=0.5) or names
        options = "be the name of a problem, such as " + ", ".join(map(repr, near))
        refuse(argument, options, name)
    return wilson().problem if name == "wilson" else _PROBLEMS[name]


def _landscape(
    fun: Any, start: _Point, minimum: _Point, x: _Point, y: _Point, **fields: Any
) -> Problem:
    """A problem of two coordinates; x and y are the bounds of a plot."""
    return Problem(fun, np.array(start), np.array(minimum), (x, y), **fields)


def _ditch(point: Any) -> jax.Array:
    x, y = point
    return x**2 / 20 + y**2


ditch = _landscape(
    _ditch, start=(-7.0, 2.0), minimum=(0.0, 0.0), x=(-10.0, 10.0), y=(-10.0, 10.0)
)
r"""A ditch along the x axis, :math:`x^2/20 + y^2`, with 20 times the curvature in y.

Nearly everywhere, the negative gradient points across the ditch, not to the minimum.
"""


def _saddle(point: Any) -> jax.Array:
    x, y = point
    return x**2 / 2 - y**2 / 2 + y**4 / 4


saddle = _landscape(
    _saddle, start=(1.5, 0.001), minimum=(0.0, 1.0), x=(-2.0, 2.0), y=(-2.0, 2.0)
)
r"""A saddle at 0 between two minima of -1/4, :math:`x^2/2 - y^2/2 + y^4/4`.

The start is 0.001 beside the ridge y = 0, on the side of the `minimum` (0, 1); the
other minimum is (0, -1). On the ridge itself the gradient leads into the saddle, and
a run that starts there never leaves it.
"""


def _monkey_saddle(point: Any) -> jax.Array:
    x, y = point
    return x**3 - 3 * x * y**2 + (x**2 + y**2) ** 2 / 4


monkey_saddle = _landscape(
    _monkey_saddle,
    start=(1.0, 0.01),
    minimum=(1.5, 1.5 * np.sqrt(3)),
    x=(-4.5, 4.5),
    y=(-4.5, 4.5),
)
r"""A saddle at 0 without curvature, :math:`x^3 - 3xy^2 + (x^2 + y^2)^2/4`.

Near it the gradient falls with the square of the distance, so leaving takes much longer
than from `saddle`. There are three minima of -27/4: `minimum`, on the side of the
start, its mirror image in the x axis, and (-3, 0).
"""


def _rosenbrock(point: Any) -> jax.Array:
    x, y = point
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


rosenbrock = _landscape(
    _rosenbrock, start=(-1.2, 1.0), minimum=(1.0, 1.0), x=(-2.0, 2.0), y=(-1.0, 3.0)
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


beale = _landscape(
    _beale, start=(1.0, 1.5), minimum=(3.0, 0.5), x=(-4.5, 4.5), y=(-4.5, 4.5)
)
r"""Beale's plain with cliffs at its corners, :math:`\sum_{i=1}^3 (c_i - x + xy^i)^2`.

Here :math:`c` is (1.5, 2.25, 2.625); the minimum is (3, 0.5).
"""


def _himmelblau(point: Any) -> jax.Array:
    x, y = point
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


himmelblau = _landscape(
    _himmelblau, start=(-0.5, -1.0), minimum=(3.0, 2.0), x=(-5.0, 5.0), y=(-5.0, 5.0)
)
r"""Himmelblau's four minima, :math:`(x^2 + y - 11)^2 + (x + y^2 - 7)^2`, each of 0.

`minimum` is the only one at integers; the others are near (-2.81, 3.13),
(-3.78, -3.28) and (3.58, -1.85). The start is near the hill between all four.
"""


def _rastrigin(point: Any) -> jax.Array:
    x = jnp.asarray(point)
    return jnp.sum(x**2 + 10 * (1 - jnp.cos(2 * np.pi * x)))


rastrigin = _landscape(
    _rastrigin, start=(-3.3, 2.4), minimum=(0.0, 0.0), x=(-5.12, 5.12), y=(-5.12, 5.12)
)
r"""Rastrigin's egg box, :math:`\sum_i x_i^2 + 10 (1 - \cos 2 \pi x_i)`.

Within the plot there is a local minimum near every point of integers; `minimum` is the
lowest.
"""


def _sharp_and_flat(point: Any) -> jax.Array:
    x, y = point
    sharp, flat = 25 * ((x + 2) ** 2 + y**2), (x - 2) ** 2 + y**2
    return sharp * flat / (sharp + flat) / 2


sharp_and_flat = _landscape(
    _sharp_and_flat, start=(-2.3, 0.5), minimum=(2.0, 0.0), x=(-4.0, 5.0), y=(-3.0, 3.0)
)
r"""A sharp and a flat minimum side by side, both of 0: :math:`(1/s + 1/f)^{-1} / 2`.

Here :math:`s = 25 ((x + 2)^2 + y^2)` and :math:`f = (x - 2)^2 + y^2`. The curvature is
25 in the sharp minimum, where the start is, and 1 in the flat one, which is `minimum`.
At a learning rate above 2/25 gradient descent does not converge to the sharp one, and
oscillates around it; with a learning rate from 0.3 to just below 2 it ends in the flat
one.
"""


def _quadratic(point: Any) -> jax.Array:
    x, y = point
    return (x**2 + 10 * y**2) / 2


def _tilted_quadratic(point: Any, i: jax.Array, key: Any) -> jax.Array:
    x, y = point
    tilt = jax.random.normal(key, (2,), jnp.result_type(x))
    return _quadratic(point) + tilt[0] * x + tilt[1] * y


noisy_quadratic = _landscape(
    _quadratic,
    start=(-3.0, 2.0),
    minimum=(0.0, 0.0),
    x=(-4.0, 4.0),
    y=(-3.0, 3.0),
    sample=_tilted_quadratic,
    stochastic=True,
)
r"""The bowl :math:`(x^2 + 10 y^2) / 2` with normal noise of variance 1 on its gradient.

At a constant learning rate :math:`\eta` SGD stays at a distance from the minimum: the
variance of a coordinate of curvature h tends to :math:`\eta / (h (2 - \eta h))`.
"""


def _clip(x: Any) -> jax.Array:
    return jnp.clip(x, -1, 1)


def _reddi(
    slopes: tuple[float, float],
    is_large: Callable[..., jax.Array],
    mean: float,
    *,
    start: float = 0.0,
    stochastic: bool = False,
) -> Problem:
    """Reddi et al.'s losses on [-1, 1], lines with the first slope if `is_large`."""

    def sample(x: Any, i: jax.Array, key: Any) -> jax.Array:
        return jnp.where(is_large(i, key), *slopes) * x

    return Problem(
        fun=lambda x: mean * x,
        start=np.array(start),
        minimum=np.array(-1.0),
        bounds=((-1.0, 1.0),),
        sample=sample,
        stochastic=stochastic,
        project=_clip,
    )


reddi_theorem = _reddi((3.0, -1.0), lambda i, key: i % 3 == 0, 1 / 3, start=1.0)
r"""Reddi et al.'s first theorem: a loss of 3x at steps 0, 3, 6, ..., else of -x.

Points are clipped to [-1, 1]; the start is 1. The average loss is x/3, so the minimum
is -1; Adam with ``b1=0``, ``b2=0.1`` and a learning rate :math:`\alpha / \sqrt t` goes
to 1. From
`On the convergence of Adam and beyond <https://arxiv.org/abs/1904.09237>`__, 2018.
"""

reddi_online = _reddi((1010.0, -10.0), lambda i, key: i % 101 == 0, 10 / 101)
r"""Reddi et al.'s online losses: 1010x at steps 0, 101, 202, ..., else -10x.

Points are clipped to [-1, 1]; the start is 0. The average loss is 10x/101. Section 5 of
`their paper <https://arxiv.org/abs/1904.09237>`__, 2018.
"""

reddi_stochastic = _reddi(
    (1010.0, -10.0),
    lambda i, key: jax.random.bernoulli(key, 0.01),
    1010 * 0.01 - 10 * 0.99,
    stochastic=True,
)
r"""Reddi et al.'s stochastic losses: 1010x with probability 0.01, else -10x.

Points are clipped to [-1, 1]; the start is 0. The average loss is 0.2x. Section 5 of
`their paper <https://arxiv.org/abs/1904.09237>`__, 2018.
"""

_PROBLEMS = {k: x for k, x in sorted(globals().items()) if isinstance(x, Problem)}
__all__ = sorted([*_PROBLEMS, "Problem", "Wilson", "by_name", "wilson"])
