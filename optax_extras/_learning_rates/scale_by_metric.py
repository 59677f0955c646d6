"""A factor that answers to a metric, behind a finished optimizer."""

from typing import Any, NamedTuple

import jax
import optax

from optax_extras import _checks
from optax_extras._learning_rates._source import source_of
from optax_extras._learning_rates.metric_schedule import MetricSchedule
from optax_extras._learning_rates.scale_by_rate import times


class ScaleByMetricState(NamedTuple):
    """State of `scale_by_metric`."""

    scale: jax.Array
    """Shape (), float32 (float64 under x64): the factor of the last update, before any
    update that of the first, after an `observe` that of the next."""
    source: Any
    """Where it comes from: ``{kind: {monitor: state of the schedule}}``."""


def scale_by_metric(schedule: MetricSchedule) -> optax.GradientTransformationExtraArgs:
    r"""Multiplies updates by a metric schedule: the last link, behind any optimizer.

    For a warm-up or another schedule times a plateau, and for optimizers that cannot
    take a metric schedule. Where the optimizer takes one itself (ours do) and nothing
    else is scheduled, hand it that instead: :func:`learning_rate` then reads the rate
    that is applied. Here the sign stays, and the rate that is applied is the
    optimizer's times :math:`s_t`; :func:`hyperparameters` reads that factor, as
    ``scale``. ``optax.contrib.reduce_on_plateau`` has the same place.

    .. math::
        u_t \leftarrow s_t\, u_t

    Args:
      schedule: The factor :math:`s_t`: :func:`plateau` or :func:`greedy`, whose first
        value is usually 1, or another `MetricSchedule`.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `ScaleByMetricState`, whose
      update takes the metric by its name. Without it the factor stays as it is. Updates
      keep their dtypes.

    Raises:
      TypeError: If `schedule` is no metric schedule.

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
        must = "be a metric schedule, as `oxe.plateau(1.0)`"
        _checks.refuse_kind("scale_by_metric", "schedule", must, schedule)
    source = source_of("scale_by_metric", "schedule", schedule)

    def init(params: Any) -> ScaleByMetricState:
        del params
        return ScaleByMetricState(*source.init())

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        del params
        scale = source.now(0, state.scale, state.source)
        updates = jax.tree.map(lambda u: times(scale, u), updates)
        return updates, ScaleByMetricState(scale, source.after(state.source, **extra))

    return optax.GradientTransformationExtraArgs(init, update)
