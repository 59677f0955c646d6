"""What the tests of metric schedules share."""

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
    """The rates that `learning_rate` reads after each `observe`."""
    found = []
    for metric in metrics:
        state = oxe.observe(state, **{name: metric})
        found.append(float(oxe.learning_rate(state)))
    return found


# Metrics that move by steps and stall, so that all branches are taken.
LEVELS = st.sampled_from(
    [0.0, 0.5, 0.999, 0.99995, 1.0, 1.00005, 1.001, 1.5, 2.0, 7.25]
)
SPECIAL = st.sampled_from([float("nan"), float("inf")])
# XLA has no subnormal numbers, and takes them for 0.
NORMAL = st.floats(0, 1e6, allow_subnormal=False)
POSITIVE = st.one_of(LEVELS, LEVELS, LEVELS, NORMAL, SPECIAL)
