"""Helpers for the tests of metric schedules."""

import jax
import numpy as np
from hypothesis import strategies as st

import optax_extras as oxe


def rates(schedule, metrics):
    """The value after each of the metrics, in one scan."""
    return np.asarray(_rates(schedule.init(), np.asarray(metrics, float)))


@jax.jit  # once for all schedules of a kind: their states have the hyperparameters
def _rates(state, metrics):
    (monitor,) = state

    def step(state, metric):
        state = {monitor: state[monitor].observed(metric)}
        return state, state[monitor].value

    return jax.lax.scan(step, state, metrics)[1]


def fed(state, metrics, name="value"):
    """The learning rates that `learning_rate` reads after each `observe`."""
    found = []
    for metric in metrics:
        state = oxe.observe(state, **{name: metric})
        found.append(float(oxe.learning_rate(state)))
    return found


def walk(seed, size):
    """A metric above 0 that gets better for a while, worse for a while, and stalls.

    Multiples of 2^-10, so that a mean of a few is exact; sometimes NaN or inf.
    """
    rng = np.random.default_rng(seed)
    trend = np.repeat(rng.choice([-1, 0, 1], size), rng.integers(3, 20, size))[:size]
    jumps = rng.choice([0, 0, 1e-3, -1e-3, 0.1, -0.1], size)
    logs = np.cumsum(trend * rng.choice([0.02, 0.1, 0.3], size) + jumps)
    logs = 3 - np.abs((logs % 12) - 6)  # from -3 to 3, there and back
    values = np.ceil(np.exp(logs) * 2**10) / 2**10
    special = rng.random(size)
    values[special < 0.02] = np.nan
    values[special < 0.003] = np.inf
    return values


def walks(size):
    """A strategy of such walks."""
    return st.integers(0, 2**32 - 1).map(lambda seed: walk(seed, size))
