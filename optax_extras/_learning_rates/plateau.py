"""A learning rate that falls when a metric stops improving."""

from functools import partial
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
from optax_extras._learning_rates._is_better import check_threshold, is_better, worst
from optax_extras._learning_rates.metric_schedule import (
    SETTABLE,
    MetricSchedule,
    as_steps,
    check_order,
)
from optax_extras._numerics import as_float


class PlateauState(NamedTuple):
    """State of `plateau`, its hyperparameters included; every shape is ().

    Floats are float32 (float64 under x64), counts int32.
    """

    value: jax.Array
    """The current learning rate."""
    best: jax.Array
    """The best metric so far; the worst possible one before any."""
    num_bad: jax.Array
    """Bad metrics since the best one, or since the last cut."""
    cooldown_left: jax.Array
    """How many of the next metrics are not counted as bad."""
    metric_sum: jax.Array
    """The sum of the metrics of the next average so far."""
    num_averaged: jax.Array
    """The number of metrics in that sum."""
    factor: jax.Array
    patience: jax.Array
    mode: dict
    """``{"min": ()}`` or ``{"max": ()}``: a part of the tree structure."""
    threshold: jax.Array
    threshold_mode: dict
    """``{"rel": ()}`` or ``{"abs": ()}``, likewise."""
    cooldown: jax.Array
    min_value: jax.Array
    eps: jax.Array
    average_over: jax.Array

    settable = SETTABLE

    def observed(self, metric: jax.Array) -> "PlateauState":
        """The state after one more metric."""
        count, total = self.num_averaged + 1, self.metric_sum + metric
        full = count >= self.average_over
        after = self._judged(total / count)
        incomplete = self._replace(metric_sum=total, num_averaged=count)
        return jax.tree.map(lambda x, y: jnp.where(full, x, y), after, incomplete)

    def _judged(self, metric: jax.Array) -> "PlateauState":
        """PyTorch's rule, in the order of its code."""
        better = is_better(metric, self)
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
    r"""Lowers the learning rate whenever a metric has not improved for a while.

    This is PyTorch's ``ReduceLROnPlateau``, except that a relative threshold also works
    for negative metrics. Keras' callback and ``optax.contrib.reduce_on_plateau`` cut
    one bad metric earlier at the same patience: give them the patience of this function
    plus 1. Optax's also multiplies finished updates, needs the metric in every update,
    has no ``"max"``, and stores the metric in the dtype of the params. :func:`greedy`
    can raise the learning rate, too.

    A metric :math:`m` is better than the best one :math:`b` so far if

    .. math::
        m < b\,(1 - \theta\, \mathrm{sign}\, b) \;\text{ (relative)}, \qquad
        m < b - \theta \;\text{ (absolute)}

    or, for ``mode="max"``, :math:`m > b\,(1 + \theta\, \mathrm{sign}\, b)` or
    :math:`m > b + \theta`; it is then the new best. Any other metric is bad. At the
    :math:`p + 1`-th bad metric in a row the learning rate :math:`\eta` is cut to
    :math:`\max(f \eta, \eta_{\min})`, if that is lower by more than `eps`, and the next
    `cooldown` metrics are not counted as bad. NaN is bad and never the best, so a run
    recovers from it.

    A metric takes effect in the next update. Patience and cooldown count metrics:
    updates, if every update gets a metric, or epochs, if :func:`observe` passes one
    after each epoch. To multiply a warm-up or another schedule by a plateau, put
    ``scale_by_metric(plateau(1.0))`` behind the optimizer. All numbers may be traced;
    the state, a `PlateauState`, stores them.

    Args:
      init_value: The first learning rate :math:`\eta`.
      factor: :math:`f`, which multiplies the learning rate at a cut.
      patience: :math:`p`: the number of bad metrics in a row that do not cause a cut
        yet; the next bad one does.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      threshold: :math:`\theta`: by how much a metric must be better than the best one.
        Below 1 if it is relative and `mode` is ``"min"``.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      cooldown: How many metrics after a cut are not counted as bad.
      min_value: The lowest learning rate :math:`\eta_{\min}`, at most `init_value`.
      eps: A cut is not made if it would lower the learning rate by this much or less.
      average_over: How many metrics are averaged to one, which is then judged.
      monitor: The metric's name, as an extra arg of ``update`` and in :func:`observe`.

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

    numbers = (factor, patience, threshold, cooldown, min_value, eps, average_over)
    start = partial(_first_state, init_value, mode, threshold_mode, *numbers)
    return MetricSchedule("plateau", monitor, start)


def _first_state(
    init_value, mode, threshold_mode,
    factor, patience, threshold, cooldown, min_value, eps, average_over,
) -> PlateauState:  # fmt: skip
    return PlateauState(
        value=as_float(init_value),
        best=worst(mode),
        num_bad=as_steps(0),
        cooldown_left=as_steps(0),
        metric_sum=as_float(0),
        num_averaged=as_steps(0),
        factor=as_float(factor),
        mode={mode: ()},
        threshold=as_float(threshold),
        threshold_mode={threshold_mode: ()},
        min_value=as_float(min_value),
        eps=as_float(eps),
        patience=as_steps(patience),
        cooldown=as_steps(cooldown),
        average_over=as_steps(average_over),
    )
