"""A rate that falls when a metric stalls."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import (
    Monitor,
    NonNegative,
    OpenFraction,
    StepCount,
    StepCountOrZero,
    checked,
)
from optax_extras._learning_rates.metric_schedule import (
    MetricSchedule,
    as_steps,
    check_order,
    check_threshold,
    is_better,
    worst,
)
from optax_extras._numerics import as_float


class PlateauState(NamedTuple):
    """State of `plateau`, its hyperparameters included; every shape is ().

    Floats are float32 (float64 under x64), counts int32, flags bool.
    """

    value: jax.Array
    """The rate in force."""
    best: jax.Array
    """The best metric so far, the worst possible one before any."""
    num_bad: jax.Array
    """Bad metrics since the best one, or since the rate fell."""
    cooldown_left: jax.Array
    """How many of the next metrics cannot be bad."""
    metric_sum: jax.Array
    """The sum of the metrics that are still to be averaged."""
    num_averaged: jax.Array
    """Their number."""
    factor: jax.Array
    patience: jax.Array
    maximize: jax.Array
    """Whether larger is better."""
    threshold: jax.Array
    relative: jax.Array
    """Whether the threshold is a fraction of the best metric."""
    cooldown: jax.Array
    min_value: jax.Array
    eps: jax.Array
    average_over: jax.Array

    def observed(self, metric: jax.Array) -> "PlateauState":
        """The state after one more metric."""
        count, total = self.num_averaged + 1, self.metric_sum + metric
        full = count >= self.average_over
        after = self._judged(total / count)
        incomplete = self._replace(metric_sum=total, num_averaged=count)
        return jax.tree.map(lambda x, y: jnp.where(full, x, y), after, incomplete)

    def _judged(self, metric: jax.Array) -> "PlateauState":
        """PyTorch's rule, in its order."""
        better = is_better(
            metric,
            self.best,
            maximize=self.maximize,
            relative=self.relative,
            threshold=self.threshold,
        )
        bad = jnp.where(better, 0, optax.safe_increment(self.num_bad))
        bad = jnp.where(self.cooldown_left > 0, 0, bad)
        cooling = jnp.maximum(self.cooldown_left - 1, 0)
        out_of_patience = bad > self.patience
        lower = jnp.maximum(self.value * self.factor, self.min_value)
        falls = out_of_patience & (self.value - lower > self.eps)
        return self._replace(
            value=jnp.where(falls, lower, self.value),
            best=jnp.where(better, metric, self.best),
            num_bad=jnp.where(out_of_patience, 0, bad),
            cooldown_left=jnp.where(out_of_patience, self.cooldown, cooling),
            metric_sum=jnp.zeros_like(self.metric_sum),
            num_averaged=jnp.zeros_like(self.num_averaged),
        )


@checked
def plateau(
    init_value: NonNegative,
    factor: OpenFraction = 0.1,
    patience: StepCountOrZero = 10,
    *,
    mode: Literal["min", "max"] = "min",
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: StepCountOrZero = 0,
    min_value: NonNegative = 0.0,
    eps: NonNegative = 1e-8,
    average_over: StepCount = 1,
    monitor: Monitor = "value",
) -> MetricSchedule:
    r"""A rate that is cut whenever a metric has not improved for a while.

    PyTorch's ``ReduceLROnPlateau``, except that a relative threshold also works for
    negative metrics. Keras' callback and ``optax.contrib.reduce_on_plateau`` act one
    bad metric earlier: their patience is ours plus 1. Optax's also multiplies finished
    updates, needs the metric in every one of them, knows no ``"max"``, and keeps the
    metric in the dtype of the params. :func:`greedy` can raise the rate, too.

    A metric :math:`m` is better than the best one :math:`b` so far if

    .. math::
        m < b\,(1 - \theta\, \mathrm{sign}\, b) \;\text{ (relative)}, \qquad
        m < b - \theta \;\text{ (absolute)}

    or, for ``mode="max"``, :math:`m > b\,(1 + \theta\, \mathrm{sign}\, b)` or
    :math:`m > b + \theta`; it is the best one then. Any other metric is bad. At the
    :math:`p + 1`-th bad one in a row the rate :math:`\eta` becomes
    :math:`\max(f \eta, \eta_{\min})`, if that is more than `eps` below, and the next
    `cooldown` metrics are not counted as bad. NaN is bad and never the best, so that a
    run recovers from it.

    A metric acts from the next update on. Patience and cooldown count metrics: updates,
    where one comes with each of them, or epochs, where :func:`observe` shows one after
    each. For a warm-up or another schedule times a plateau put
    ``scale_by_metric(plateau(1.0))`` behind the optimizer.

    Args:
      init_value: The first rate :math:`\eta`, at least 0.
      factor: :math:`f` in (0, 1).
      patience: :math:`p \ge 0`, an integer: how many bad metrics in a row change
        nothing.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      threshold: :math:`\theta \ge 0`; below 1 where it is relative and `mode` is
        ``"min"``.
      threshold_mode: ``"rel"`` or ``"abs"``.
      cooldown: How many metrics after a cut are not counted as bad, an integer of at
        least 0.
      min_value: The lowest rate :math:`\eta_{\min}`, from 0 to `init_value`.
      eps: A cut by no more than that is not made, at least 0.
      average_over: How many metrics are averaged to one, which is then judged, an
        integer of at least 1.
      monitor: The metric's name, among the extra args of ``update`` and in
        :func:`observe`.

    Returns:
      A `MetricSchedule`, for the rate of an optimizer, :func:`scale_by_metric` or
      :func:`scheduled`. Its state is a `PlateauState`. All numbers may be traced, and
      are kept in it.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.adagrad(oxe.plateau(0.1, factor=0.5, patience=5))
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9):  # the last five are bad
      ...     updates, state = tx.update(params, state, value=loss)
      >>> round(float(oxe.learning_rate(state)), 3)  # of the last update
      0.1
      >>> state = oxe.observe(state, 0.9)
      >>> round(float(oxe.learning_rate(state)), 3)  # of the next one
      0.05
      >>> tx = oxe.adagrad(oxe.plateau(0.1, mode="max", monitor="val_acc"))
    """
    check_threshold(threshold, mode, threshold_mode)
    check_order("min_value", min_value, "init_value", init_value)

    def start() -> PlateauState:
        return PlateauState(
            value=as_float(init_value),
            best=worst(mode),
            num_bad=as_steps(0),
            cooldown_left=as_steps(0),
            metric_sum=as_float(0),
            num_averaged=as_steps(0),
            factor=as_float(factor),
            maximize=jnp.array(mode == "max"),
            threshold=as_float(threshold),
            relative=jnp.array(threshold_mode == "rel"),
            min_value=as_float(min_value),
            eps=as_float(eps),
            patience=as_steps(patience),
            cooldown=as_steps(cooldown),
            average_over=as_steps(average_over),
        )

    return MetricSchedule("plateau", monitor, start)
