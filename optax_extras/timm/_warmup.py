"""The warm-up of timm's schedules."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._numerics import as_float, as_phase, remaining
from optax_extras.schedules import _curve
from optax_extras.timm._epochs import Formula


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
        top = value(as_phase(warmup_t)) if to_the_curve else lr
        # At t = 0 the line is at its start or, if it takes no steps, at `lr`.
        top = jnp.where(t == 0, lr, top)
        line = _curve.interpolate(top, warmup_lr_init, remaining(t, warmup_t))
        after = as_float(value(_placed(t, warmup_t, warmup_prefix)))
        return jnp.where(_begun(t, warmup_t), after, line)

    return warm


def _placed(t: jax.Array, warmup_t: Any, warmup_prefix: bool) -> jax.Array:
    """The formula's t; during the warm-up its first one."""
    start = as_phase(warmup_t)
    inside = jnp.maximum(as_phase(t), start)
    return inside - start if warmup_prefix else inside


def after_warmup(restarts: Formula, warmup_t: Any, warmup_prefix: bool) -> Formula:
    """The restarts of a formula, of which those during the warm-up do not count."""

    def after(t):
        return _begun(t, warmup_t) & restarts(_placed(t, warmup_t, warmup_prefix))

    return after


def _begun(t: jax.Array, warmup_t: Any) -> jax.Array:
    return as_phase(t) >= jnp.maximum(as_phase(warmup_t), 1)
