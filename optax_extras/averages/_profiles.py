"""Which updates count how much in an average, on the host in float64.

A *mass* is a function of the number b of updates: the sum of the coefficients of the
weights after updates 1, ..., b. Differences of a mass are coefficients, and 1 minus the
mass is the factor of the learning rate of update b + 1.
"""

from collections.abc import Sequence

import numpy as np

# With more updates than this, neighboring ones share a cell.
MOST_CELLS = 20_000


def boundaries(marks: Sequence[int], start: int, end: int) -> np.ndarray:
    """The counts where one cell ends and the next begins, from 0 to the last mark.

    Half of the cells are in the decay, from `start` to `end`, where masses change most.
    """
    last = max(marks)
    if last <= MOST_CELLS:
        return np.arange(last + 1)
    grids = [np.linspace(*ends, MOST_CELLS // 2) for ends in ((0, last), (start, end))]
    return np.unique(np.concatenate([[*marks], *grids]).astype(np.int64))


def power_masses(
    steps: np.ndarray, averages: Sequence[tuple[int, float]]
) -> np.ndarray:
    """For each count t and gamma: (b / t)^(γ + 1), and 1 from t on.

    If γ is infinite, it is 0 before t: the average is of the last weights alone.
    """
    counts, gammas = np.asarray(averages, np.float64).T[..., None]
    return np.minimum(steps / counts, 1) ** (gammas + 1)


def fit(
    steps: np.ndarray, masses: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, float]:
    """The sum of masses, with coefficients of sum 1, that is nearest to one of them.

    Nearest in the coefficients of the updates, by least squares; those of one cell are
    taken to be equal. Returns the coefficients and the relative error.
    """
    root = np.sqrt(np.diff(steps))[:, None]
    columns, target = np.diff(masses.T, axis=0) / root, np.diff(wanted)[:, None] / root
    # Coefficients of sum 1 are the equal ones plus any of sum 0.
    equal = np.full((len(masses), 1), 1 / len(masses))
    of_sum_0 = np.linalg.qr(equal, mode="complete")[0][:, 1:]
    free, *_ = np.linalg.lstsq(columns @ of_sum_0, target - columns @ equal, rcond=None)
    found = equal + of_sum_0 @ free
    error = np.linalg.norm(columns @ found - target) / np.linalg.norm(target)
    return found[:, 0], float(error)
