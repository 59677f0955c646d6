"""Other averages of a run, from snapshots of a few."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import concrete, untraced
from optax_extras._checks import Fraction, Positive, Size, checked
from optax_extras._errors import refuse
from optax_extras.averages import _profiles, _shapes
from optax_extras.averages._check_snapshots import Snapshots
from optax_extras.averages._snapshot import Snapshot

Column = tuple[Snapshot, str]
"""A snapshot, and the name of one of its averages."""


class Rebuilt(NamedTuple):
    """What :func:`rebuild` returns: params, and how near they are to those wanted."""

    params: Any
    """Like the averages."""
    steps: np.ndarray
    """The numbers of updates for which the two factors are given: all from 0 to the
    last snapshot used, or 20,000 of them."""
    wanted: np.ndarray
    """The factor of the learning rate after each of these numbers of updates, as in a
    schedule: 1 before the decay, 0 after it."""
    achieved: np.ndarray
    """The factors of the decay that ends in `params`, exactly."""
    largest_difference: float
    """The largest difference between the two."""
    relative_error: float
    """Of the coefficients of the weights: the norm of their error, over their norm."""
    coefficients: dict[str, np.ndarray]
    """By the name of the average: the coefficient of each snapshot used, 0 for one
    without this average. They sum to 1; the sum of their magnitudes is how much larger
    the rounding errors of the averages can become."""


@checked
def rebuild(
    snapshots: Snapshots,
    shape: _shapes.Shape,
    *,
    at: Size,
    steps: Size,
    power: Positive | None = None,
    end_fraction: Fraction = 0.0,
) -> Rebuilt:
    r"""The weights that a decay would have ended in, chosen after the training.

    Train at a constant learning rate with two :func:`power` averages beside each other,
    and save a snapshot of them every 20th or 40th part of the run. From these come,
    afterwards and without training, the weights of decays of any shape and length that
    end at any step. :func:`decay` gives one of them, exactly, during the training, and
    needs no snapshots.

    A snapshot of a power average after update :math:`t_k` has the known coefficients
    :math:`p_k(i) = (i / t_k)^{\gamma+1} - ((i-1) / t_k)^{\gamma+1}`. Those wanted are
    :math:`c(i) = D_i - D_{i+1}`, as in :func:`decay`. Of all combinations of the
    snapshots up to the first at or after `at`, this is the nearest:

    .. math::
        \min_a \Big\| \sum_k a_k\, p_k - c \Big\|_2, \qquad \sum_k a_k = 1

    It is computed in float64 on the host; with more than 20,000 updates, several are
    taken together. The decay that was achieved is returned beside the one wanted: look
    at `largest_difference`. With the widths 0.05 and 0.10, a snapshot every 20th part
    of the run (40th in parentheses), and decays of the last 10 to 40 % of all updates:

    - Of a decay that begins and ends at a snapshot, the relative error is 1 to 2 % (0.3
      to 0.5 %) for ``"linear"``, 2 to 10 % (0.5 to 3 %) for ``"cosine"``, and the
      factors of the learning rate are off by less than 0.02.
    - If it begins or ends between snapshots, the errors are larger, most for short
      decays: up to 32 % (22 %) for ``"linear"``, whose coefficients jump there, and
      factors off by up to 0.05 (0.02); up to 17 % (6 %) for ``"cosine"``, and factors
      off by up to 0.03 (0.006).
    - ``"1-sqrt"`` is singular at its start: the error is 60 to 70 %, the factors are
      off by 0.04 to 0.1. The weights themselves, from after the first update of the
      decay, reduce the error to 30 to 40 %. :func:`decay` is exact.

    It is the number of snapshots before `at` that counts. Of 20 in 10,000 updates, 10
    are before update 5000: a ``"cosine"`` over 1000 updates that ends there has an
    error of 14 %, and factors off by 0.03. With 5 before update 2500 it is 25 % and
    0.05. A decay that is shorter than the distance of the snapshots is not found: over
    250 updates before 2500, ``"linear"`` has 43 % and 0.20.

    The columns :math:`p_k`, scaled to one length, then have a condition number of 40
    (160), so that float64 keeps all but two or three of its digits.

    Args:
      snapshots: In the order of their counts, none before the first update;
        ``snapshot(state)`` makes one. All have the same averages; averages with
        :math:`\gamma = \infty`, the weights themselves, may be in some only.
      shape: The shape of the decay, as in :func:`decay`. A function gets an array.
      at: The number of updates after which the decay ends: above the count of the
        first snapshot, at most that of the last.
      steps: The number of updates of the decay, the last before `at`.
      power: The exponent of the shapes ``"power"`` and ``"polynomial"``.
      end_fraction: The fraction of the learning rate that the decay ends in.

    Returns:
      A :class:`Rebuilt`. Its params have the dtypes of the averages, float32 at least;
      leaves that are not numbers of floating point are those of the nearest snapshot.

    Examples:
      With weights :math:`w_i = i`, a linear decay over updates 701 to 900 ends in their
      mean, 800.5:

      >>> import numpy as np
      >>> import optax_extras as oxe
      >>> gammas = {"narrow": 16.97, "wide": 6.94}
      >>> def averaged(t, gamma):
      ...     i = np.arange(t + 1.0)
      ...     return {"w": np.sum(np.diff((i / t) ** (gamma + 1)) * i[1:])}
      >>> snapshots = [
      ...     oxe.averages.Snapshot(
      ...         t,
      ...         {name: averaged(t, gamma) for name, gamma in gammas.items()},
      ...         gammas,
      ...     )
      ...     for t in range(50, 1001, 50)
      ... ]
      >>> rebuilt = oxe.averages.rebuild(snapshots, "linear", at=900, steps=200)
      >>> round(float(rebuilt.params["w"]), 1), round(rebuilt.largest_difference, 3)
      (800.5, 0.001)

    References:
      Karras et al., `Analyzing and improving the training dynamics of diffusion models
      <https://arxiv.org/abs/2312.02696>`_, 2024 (post-hoc EMA)
    """
    _shapes.check_shape(shape, power)
    used = _up_to(snapshots, at)
    if steps > at:
        refuse("steps", f"be at most `at`, {at}", steps)
    columns = [(x, name) for x in used for name in x.averages]
    grid = _profiles.boundaries(_marks(columns, at - steps, at), at - steps, at)
    masses = _profiles.power_masses(
        grid, [(x.count, x.gammas[name]) for x, name in columns]
    )
    exponent, m = _static("power", power), _static("end_fraction", end_fraction)
    wanted = _shapes.factors(shape, exponent, m, grid, at - steps, at)
    found, error = _profiles.fit(grid, masses, 1 - wanted)
    achieved = 1 - found @ masses
    return Rebuilt(
        _combine(found, columns, at),
        grid,
        wanted,
        achieved,
        float(np.max(np.abs(achieved - wanted))),
        error,
        _by_name(found, columns, used),
    )


def _static(argument: str, x: Any) -> Any:
    """A number for the host; None stays."""
    return x if x is None else float(concrete(untraced(argument, x)))


def _up_to(snapshots: Sequence[Snapshot], at: int) -> Sequence[Snapshot]:
    """The snapshots up to the first at or after `at`."""
    counts = [x.count for x in snapshots]
    if not counts[0] < at <= counts[-1]:
        must = (
            f"be above {counts[0]} and at most {counts[-1]}, the first and last count"
        )
        refuse("at", must, at)
    return snapshots[: int(np.searchsorted(counts, at)) + 1]


def _marks(columns: Sequence[Column], start: int, at: int) -> list[int]:
    """The counts that must be among the boundaries of the cells."""
    counts = [x.count for x, _ in columns]
    # Of the weights themselves, and at both ends of a decay, single updates count.
    single = [x.count - 1 for x, name in columns if x.gammas[name] == np.inf]
    return [*counts, *single, start, start + 1, at - 1, at]


def _by_name(
    found: np.ndarray, columns: Sequence[Column], used: Sequence[Snapshot]
) -> dict[str, np.ndarray]:
    by_column = {
        (x.count, name): a for (x, name), a in zip(columns, found, strict=True)
    }
    names = dict.fromkeys(name for _, name in columns)
    return {
        name: np.asarray([by_column.get((x.count, name), 0.0) for x in used])
        for name in names
    }


def _combine(found: np.ndarray, columns: Sequence[Column], at: int) -> Any:
    """The sum of the averages, leaf by leaf.

    As coefficients sum to 1, it is one average plus differences from it. These are
    small, and so are their rounding errors.
    """
    near = min(range(len(columns)), key=lambda k: abs(columns[k][0].count - at))

    def leaf(*xs: Any) -> Any:
        ys = [x if hasattr(x, "dtype") else np.asarray(x) for x in xs]
        if not jnp.issubdtype(ys[near].dtype, jnp.inexact):
            return xs[near]
        dtype = np.promote_types(ys[near].dtype, np.float32)
        base = ys[near].astype(dtype)
        total = 0 * base
        for a, y in zip(found, ys, strict=True):
            total = total + float(a) * (y.astype(dtype) - base)
        return base + total

    return jax.tree.map(leaf, *(x.averages[name] for x, name in columns))
