"""When a metric is better than the best one so far, for `plateau` and `greedy`."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras import _check_values
from optax_extras._numerics import as_float
from optax_extras._types import State


def is_better(metric: jax.Array, state: State) -> jax.Array:
    """Whether a metric is better than `state.best` by more than the threshold.

    A relative threshold is a fraction of the absolute value of the best metric, so that
    it works for negative metrics. NaN is not better than anything.
    """
    sign = -1 if "max" in state.mode else 1
    metric, best = sign * metric, sign * state.best
    if "abs" in state.threshold_mode:
        return metric < best - state.threshold
    # inf * (1 - 1) is NaN; an infinite best, as at the start, needs no threshold.
    fraction = jnp.where(jnp.isinf(best), 1, 1 - state.threshold * jnp.sign(best))
    return metric < best * fraction


def worst(mode: str) -> jax.Array:
    """The metric that every other one is better than."""
    return as_float(-jnp.inf if mode == "max" else jnp.inf)


def check_threshold(threshold: Any, mode: str, threshold_mode: str) -> None:
    """Refuses a relative threshold of 1 or more: no positive metric would be better."""
    if mode == "min" and threshold_mode == "rel":
        _check_values.real("threshold", threshold, "[0, 1)")
