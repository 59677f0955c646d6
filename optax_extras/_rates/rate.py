"""A learning rate as a source of one scalar: a number or a schedule, kept in a state.

Rules with the rate inside (heavy ball) and `scale_by_rate` take it from here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optax_extras import _checks
from optax_extras._numerics import as_float


class RateState(NamedTuple):
    """The rate as `learning_rate(state)` finds it."""

    learning_rate: jax.Array
    """Shape (), float32 (float64 under x64): the rate of the last update, before any
    update that of the first."""


class RateFactor(NamedTuple):
    """What a direction multiplies the rate by, as `learning_rate(state)` finds it.

    A direction with a size of its own, that of SWATS after the switch, carries one.
    """

    rate_factor: jax.Array
    """Shape (), float32 (float64 under x64)."""


class Rate(NamedTuple):
    """A source of rates; `step` gets every extra arg, a metric among them."""

    init: Callable[[], RateState]
    step: Callable[..., tuple[jax.Array, RateState]]
    """(count, state, **extra) -> (rate, state); `count` updates were made before."""


def as_rate(rule: str, argument: str, x: Any) -> Rate:
    """The source behind what a user may write for a learning rate.

    A Python or NumPy number lives in the state, where it can be set. A `jax.Array` or
    a tracer stays in the closure and wins over the state, so that
    `optax.inject_hyperparams` and `vmap` can replace it from outside.
    """
    _checks.number_or_schedule(rule, argument, x, "[0, inf)")

    def at(count):
        rate = as_float(x(count))
        if rate.shape != ():
            _checks.refuse(rule, argument, "return a scalar", rate)
        return rate

    def step(count, state, **extra):
        del extra
        if callable(x):
            rate = at(count)
        elif isinstance(x, jax.Array):
            rate = x
        else:
            rate = state.learning_rate
        rate = as_float(rate).astype(state.learning_rate.dtype)
        return rate, RateState(rate)

    def init():
        return RateState(at(jnp.zeros((), jnp.int32)) if callable(x) else as_float(x))

    return Rate(init, step)
