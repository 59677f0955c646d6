"""What a buffer may be made from if the source does not hold just that."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from optax_extras._translation.source import Buffer, Form, Part


class Nearest(NamedTuple):
    """A buffer that stands for another one."""

    holds: str
    """What the source holds."""
    map: Callable[[Any, Form, int], Any] = lambda x, form, count: x
    """From a leaf, the form of the second moment and the number of updates."""
    how: str = ""
    note: str = ""
    exact: bool = True


_CORRECTED = "optax.amsgrad takes the maximum of the corrected moment"
_STARTED = "taken to have started at 0.1, as in `optax.adagrad`"


def _correction(form: Form, count: int) -> float:
    """1 - b2^t, or 1 if the decay is not known."""
    decay = form.decay
    return 1.0 if not decay or not count else -math.expm1(count * math.log(decay))


NEAREST: dict[str, tuple[Nearest, ...]] = {
    "nu": (
        Nearest("adam_nu"),
        Nearest(
            "sum_of_squares",
            lambda x, form, count: jnp.maximum(x - 0.1, 0),
            "minus 0.1",
            _STARTED,
        ),
    ),
    "adam_nu": (Nearest("nu"), Nearest("maximum")),
    "maximum": (Nearest("adam_nu", note="taken to be that of `optax.adamax`"),),
    "nu_max": (
        Nearest(
            "corrected_nu_max",
            lambda x, form, count: x * _correction(form, count),
            "times 1 - b2^t",
            _CORRECTED,
            exact=False,
        ),
    ),
    "corrected_nu_max": (
        Nearest(
            "nu_max",
            lambda x, form, count: x / _correction(form, count),
            "over 1 - b2^t",
            _CORRECTED,
            exact=False,
        ),
    ),
    "sum_of_squares": (
        Nearest("nu", lambda x, form, count: x + 0.1, "plus 0.1", _STARTED),
    ),
    "previous": (Nearest("previous_step", lambda x, form, count: jnp.sign(x), "sign"),),
}


def buffer_for(part: Part, holds: str) -> tuple[str, Buffer | None, Nearest]:
    """What holds it in a part, and how it becomes what is wanted."""
    for near in (Nearest(holds), *NEAREST.get(holds, ())):
        if near.holds in part.buffers:
            return near.holds, part.buffers[near.holds], near
    return holds, None, Nearest(holds)
