"""What timm's schedules share: the warm-up, and counts of epochs or of updates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._errors import refuse
from optax_extras._numerics import as_float, as_uint32, remaining
from optax_extras.schedules import _curve

Formula = Callable[[jax.Array], Any]
"""A value of a count t, an array of integers from 0 to 2**31 - 1."""


def counted(
    value: Formula, t_in_epochs: bool, updates_per_epoch: Any, restarts: Any = None
) -> Any:
    """The schedule of a formula of t, which counts epochs of so many updates."""
    if not t_in_epochs and updates_per_epoch is not None:
        must = "not be given if t counts updates (`t_in_epochs=False`)"
        refuse("updates_per_epoch", must, updates_per_epoch)
    if updates_per_epoch is None:
        return _curve.schedule(value, restarts=restarts)

    def in_epochs(t):
        return value(as_uint32(t) // as_uint32(updates_per_epoch))

    def begins(t):
        epoch, update = jnp.divmod(as_uint32(t), as_uint32(updates_per_epoch))
        return (update == 0) & restarts(epoch)

    return _curve.schedule(in_epochs, restarts=begins if restarts else None)


def warmed_up(
    value: Formula,
    lr: Any,
    warmup_t: Any,
    warmup_lr_init: Any,
    warmup_prefix: bool,
    *,
    to_the_curve: bool = False,
) -> Formula:
    """A line from `warmup_lr_init` to `lr` until `warmup_t`, then the formula.

    With `warmup_prefix` the formula counts from the end of the warm-up. With
    `to_the_curve` the line ends at the formula's value at `warmup_t`. Without a warm-up
    the value at t = 0 is `lr`: timm asks the formula for the first time at t = 1.
    """

    def warm(t):
        top = value(as_uint32(warmup_t)) if to_the_curve else lr
        # At t = 0 the line is at its start or, if it takes no steps, at `lr`.
        top = jnp.where(t == 0, lr, top)
        line = _curve.interpolate(top, warmup_lr_init, remaining(t, warmup_t))
        after = as_float(value(_placed(t, warmup_t, warmup_prefix)))
        return jnp.where(_begun(t, warmup_t), after, line)

    return warm


def _placed(t: jax.Array, warmup_t: Any, warmup_prefix: bool) -> jax.Array:
    """The formula's t; during the warm-up its first one."""
    start = as_uint32(warmup_t)
    inside = jnp.maximum(as_uint32(t), start)
    return inside - start if warmup_prefix else inside


def after_warmup(restarts: Formula, warmup_t: Any, warmup_prefix: bool) -> Formula:
    """The restarts of a formula, of which those during the warm-up do not count."""

    def after(t):
        return _begun(t, warmup_t) & restarts(_placed(t, warmup_t, warmup_prefix))

    return after


def _begun(t: jax.Array, warmup_t: Any) -> jax.Array:
    return as_uint32(t) >= jnp.maximum(as_uint32(warmup_t), 1)
