"""Wilson et al.'s least squares, on which adaptive methods learn only the majority."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import real, untraced
from optax_extras._checks import SizeOfAtLeastTwo, SizeOrZero, checked
from optax_extras._errors import refuse
from optax_extras.lab._problem import Problem


class Wilson(NamedTuple):
    """The data of `wilson`, in NumPy's float64, and the least-squares problem on it."""

    problem: Problem
    """Half the mean squared residual on the training data; runs start at weights 0."""
    x: np.ndarray
    """Shape (n, 3 + 5 (n + n_test)): the training points."""
    y: np.ndarray
    """Shape (n,): their labels, 1 or -1."""
    x_test: np.ndarray
    """Shape (n_test, 3 + 5 (n + n_test)): the test points, with private features."""
    y_test: np.ndarray
    """Shape (n_test,): their labels, alternately 1 and -1."""


@checked
def wilson(
    n: SizeOfAtLeastTwo = 20,
    p: float = 0.7,
    *,
    n_test: SizeOfAtLeastTwo | None = None,
    seed: SizeOrZero = 0,
) -> Wilson:
    r"""Least squares: the weights that SGD finds predict test data, Adam's do not.

    .. math::
        \frac{1}{2n} \sum_{i=1}^n (x_i \cdot w - y_i)^2

    The first feature of a point :math:`x_i` is its label :math:`y_i`. The next two are
    always 1. Each of the remaining features is 1 in a single point and 0 in all others:
    one of them is 1 if the label is 1, and five are if it is -1. Gradient descent, with
    or without momentum, converges to the weights of least norm (`problem.minimum`),
    with which the sign of :math:`x \cdot w` is right for every test point. AdaGrad,
    RMSProp and Adam give every feature a weight of the same size, and predict that
    every test point is positive: half of them are negative, so half of the predictions
    are wrong.

    Args:
      n: The number of training points.
      p: The probability of the label 1, in (0.5, 1). More labels must be 1 than -1.
      n_test: The number of test points. None: as many as `n`.
      seed: The seed of the labels, for ``numpy.random.default_rng``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> data = oxe.lab.problems.wilson()
      >>> for tx in (optax.sgd(0.1), optax.adam(0.001)):
      ...     path = oxe.lab.minimize(data.problem, data.problem.start, tx, 5000)
      ...     wrong = jnp.sign(data.x_test @ path.params[-1]) != data.y_test
      ...     print(float(wrong.mean()))
      0.0
      0.5

    References:
      Wilson et al., `The marginal value of adaptive gradient methods in machine
      learning <https://arxiv.org/abs/1705.08292>`_, 2017
    """
    p = untraced("p", real("p", p, "(0.5, 1)"))
    y = np.where(np.random.default_rng(seed).random(n) < p, 1.0, -1.0)
    if not 0 < y.sum() < n:
        refuse("seed", "draw more labels 1 than -1, and both", seed)
    y_test = np.where(np.arange(n if n_test is None else n_test) % 2, -1.0, 1.0)
    points = _points(np.concatenate([y, y_test]))
    x, x_test = points[:n], points[n:]
    problem = Problem(
        fun=_half_mean_square(x, y),
        start=np.zeros(x.shape[1]),
        minimum=np.linalg.lstsq(x, y, rcond=None)[0],
        bounds=None,
    )
    return Wilson(problem, x, y, x_test, y_test)


def _points(labels: np.ndarray) -> np.ndarray:
    points = np.zeros((len(labels), 3 + 5 * len(labels)))
    points[:, 0], points[:, 1:3] = labels, 1
    for i, label in enumerate(labels):
        points[i, 3 + 5 * i :][: 1 if label > 0 else 5] = 1
    return points


def _half_mean_square(x: np.ndarray, y: np.ndarray) -> Any:
    def loss(w: Any) -> jax.Array:
        w = jnp.asarray(w)
        return jnp.mean(jnp.square(jnp.asarray(x, w.dtype) @ w - y.astype(w.dtype))) / 2

    return loss
