"""A factor that reacts to a metric, behind a finished optimizer."""

from typing import Any, NamedTuple

import jax
import optax

from optax_extras._checks import checked
from optax_extras._errors import refuse_kind
from optax_extras._learning_rates._source import Number, Source
from optax_extras._learning_rates._sources_by_path import of_leaves
from optax_extras._learning_rates.metric_schedule import MetricSchedule
from optax_extras._learning_rates.scale_by_rate import multiply_leaf
from optax_extras._types import Params, State, Updates


class ScaleByMetricState(NamedTuple):
    """State of `scale_by_metric`."""

    scale: jax.Array
    """Shape (), float32 (float64 under x64): the factor of the last update; before any
    update that of the first, after an `observe` that of the next."""
    source: Any
    """Where it comes from: ``{kind: {monitor: state of the schedule}}``."""

    restarted_fields = ()

    def numbers(self) -> dict[str, Number]:
        """The number in this state, by name."""
        return {"scale": Number(*self)}

    def with_numbers(self, numbers: dict[str, Number]) -> "ScaleByMetricState":
        """The state with another number."""
        return ScaleByMetricState(*numbers["scale"])

    def applied_scale(self) -> jax.Array:
        """The factor of the last update, and so of its learning rate."""
        return self.scale


@checked
def scale_by_metric(schedule: MetricSchedule) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies updates by a metric schedule: the last link, behind any optimizer.

    Use it to combine a plateau with a warm-up or another schedule, and behind
    optimizers that cannot take a metric schedule. An optimizer of this library without
    another schedule takes the metric schedule itself: prefer that. Here sign and dtype
    of the updates stay, and without the metric the factor does not change. The applied
    learning rate is the optimizer's times :math:`s_t`; :func:`learning_rate` reads that
    product, and :func:`hyperparameters` reads the factor, as ``scale``.
    ``optax.contrib.reduce_on_plateau`` takes the same place.

    .. math::
        u_t \leftarrow s_t\, u_t

    Args:
      schedule: The factor :math:`s_t`: :func:`plateau` or :func:`greedy`, whose first
        value is usually 1, or another `MetricSchedule`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> scale = oxe.scale_by_metric(oxe.plateau(1.0, factor=0.5, patience=0))
      >>> tx = optax.chain(optax.adam(1e-3), scale)
      >>> state = tx.init(jnp.ones(3))
      >>> for loss in (1.0, 1.0):
      ...     state = oxe.observe(state, loss)
      >>> {name: float(x) for name, x in oxe.hyperparameters(state).items()}
      {'scale': 0.5}
    """
    if not isinstance(schedule, optax.schedules.StatefulSchedule):
        must = "be a metric schedule, such as `oxe.plateau(1.0)`"
        refuse_kind("schedule", must, schedule)
    source = Source("schedule", schedule, ScaleByMetricState)

    def init(params: Params) -> ScaleByMetricState:
        del params
        return source.init()

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del params
        scale, state = source.step(0, state, **extra)
        scales = of_leaves(source, scale, updates)
        updates = jax.tree.map(multiply_leaf, scales, updates)
        return updates, state

    return optax.GradientTransformationExtraArgs(init, update)
