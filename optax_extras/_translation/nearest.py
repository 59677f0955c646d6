"""What a buffer may be made from if the source does not hold just that."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from optax_extras._translation.common_form import Part
from optax_extras._translation.compare_recursions import Recursion


class Nearest(NamedTuple):
    """A buffer that stands for another one."""

    holds: str
    """What the source holds."""
    map: Callable[[Any, Recursion, int], Any] = lambda x, recursion, count: x
    """From a leaf, the recursion of the new second moment and the number of updates."""
    shift: Callable[[Recursion, Recursion], float] = lambda source, target: 0.0
    """What is added, from the recursions on both sides; the sum is at least 0."""
    how: str = ""
    note: str = ""
    exact: bool = True

    def made(
        self, x: Any, source: Recursion, target: Recursion, count: int
    ) -> tuple[Any, str, str]:
        """From a leaf what stands for it, how, and what is lost."""
        shift = self.shift(source, target)
        if not shift:
            return self.map(x, target, count), self.how, ""
        is_below = bool(jnp.any(x + shift < -1e-6 * abs(shift)))
        lost = "some sums are below where that of `tx` starts" if is_below else ""
        how = f"{'plus' if shift > 0 else 'minus'} {abs(shift):g}"
        return jnp.maximum(x + shift, 0), how, lost


_CORRECTED = "optax.amsgrad takes the maximum of the corrected moment"
# `optax.adagrad` has its start in the sum, and adds epsilon to it.
_EPSILON, _START = 1e-7, 0.1 + 1e-7
_STARTED = "epsilon taken to be 1e-7, as in `optax.adagrad`"


def _correction(recursion: Recursion, count: int) -> float:
    """1 - b2^t, or 1 if the decay is not known."""
    decay = recursion.decay
    return 1.0 if not decay or not count else -math.expm1(count * math.log(decay))


NEAREST: dict[str, tuple[Nearest, ...]] = {
    "nu": (
        Nearest("adam_nu"),
        Nearest(
            "sum_of_squares",
            shift=lambda source, target: _EPSILON - (target.start or 0.0),
            note=_STARTED,
        ),
    ),
    "adam_nu": (Nearest("nu"), Nearest("maximum")),
    "maximum": (Nearest("adam_nu", note="taken to be that of `optax.adamax`"),),
    "nu_max": (
        Nearest(
            "corrected_nu_max",
            lambda x, recursion, count: x * _correction(recursion, count),
            how="times 1 - b2^t",
            note=_CORRECTED,
            exact=False,
        ),
    ),
    "corrected_nu_max": (
        Nearest(
            "nu_max",
            lambda x, recursion, count: x / _correction(recursion, count),
            how="over 1 - b2^t",
            note=_CORRECTED,
            exact=False,
        ),
    ),
    "sum_of_squares": (
        Nearest(
            "nu",
            shift=lambda source, target: (
                (_START if source.start is None else source.start) - _EPSILON
            ),
            note=_STARTED,
        ),
    ),
    "previous": (
        Nearest("previous_step", lambda x, recursion, count: jnp.sign(x), how="sign"),
    ),
}


def nearest(part: Part, holds: str) -> Nearest | None:
    """Which buffer of a part becomes the one that holds this, and how."""
    every = (Nearest(holds), *NEAREST.get(holds, ()))
    return next((x for x in every if x.holds in part.buffers), None)
