"""What timm's schedules share: the warm-up, and counts of epochs or of updates."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._errors import refuse
from optax_extras._numerics import as_phase
from optax_extras.schedules import _curve

Formula = Callable[[jax.Array], Any]
"""A value of a count t, an array of integers from 0 to 2**31 - 1."""


def counted(
    value: Formula,
    t_in_epochs: bool,
    updates_per_epoch: Any,
    *,
    restarts: Formula | None = None,
) -> Any:
    """The schedule of a formula of t, which counts epochs of so many updates."""
    if not t_in_epochs and updates_per_epoch is not None:
        must = "not be given if t counts updates (`t_in_epochs=False`)"
        refuse("updates_per_epoch", must, updates_per_epoch)
    if updates_per_epoch is None:
        return _curve.schedule(value, restarts=restarts)

    def in_epochs(t):
        return value(as_phase(t) // as_phase(updates_per_epoch))

    def begins(t, of_epochs):
        epoch, update = jnp.divmod(as_phase(t), as_phase(updates_per_epoch))
        return (update == 0) & of_epochs(epoch)

    after = restarts and partial(begins, of_epochs=restarts)
    return _curve.schedule(in_epochs, restarts=after)
