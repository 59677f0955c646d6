"""A warm-up before a metric schedule, which counts metrics as the schedule does."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._learning_rates.metric_schedule import MetricSchedule, as_steps
from optax_extras._numerics import as_float, remaining
from optax_extras.schedules._curve import interpolate


class MetricWarmupState(NamedTuple):
    """State of a metric schedule that begins after a linear warm-up; shapes are ().

    Floats are float32 (float64 under x64), counts int32.
    """

    value: jax.Array
    """The current learning rate."""
    num_metrics: jax.Array
    """The number of metrics so far."""
    warmup_steps: jax.Array
    """How many of them the warm-up takes; they are not judged."""
    init_value: jax.Array
    """The learning rate before the first metric."""
    then: Any
    """The state of the metric schedule."""

    def observed(self, metric: jax.Array) -> "MetricWarmupState":
        """The state after one more metric."""
        count = jnp.asarray(optax.safe_increment(self.num_metrics))
        warms = count <= self.warmup_steps
        # After the warm-up `value` may have been set.
        is_over = self.num_metrics >= self.warmup_steps
        value = jnp.where(is_over, self.value, self.then.value)
        old = self.then._replace(value=value)
        then = jax.tree.map(partial(jnp.where, warms), old, old.observed(metric))
        left = remaining(count, self.warmup_steps)
        line = interpolate(then.value, self.init_value, left)
        value = jnp.where(warms, line, then.value)
        return self._replace(value=value, num_metrics=count, then=then)


def after_metric_warmup(
    schedule: MetricSchedule, steps: Any, init_value: Any
) -> MetricSchedule:
    """The schedule after a line from `init_value` to its first value."""
    start = partial(_first_state, schedule, steps, init_value)
    return MetricSchedule(schedule.name, schedule.monitor, start)


def _first_state(
    schedule: MetricSchedule, steps: Any, init_value: Any
) -> MetricWarmupState:
    (then,) = schedule.init().values()
    steps, first = as_steps(steps), as_float(init_value)
    return MetricWarmupState(
        value=jnp.where(steps > 0, first, then.value),
        num_metrics=as_steps(0),
        warmup_steps=steps,
        init_value=first,
        then=then,
    )
