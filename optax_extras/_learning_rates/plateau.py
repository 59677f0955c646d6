"""A rate that falls when a metric stalls."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._learning_rates.metric_schedule import (
    MetricSchedule,
    as_steps,
    check_mode,
    check_order,
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
    bad: jax.Array
    """Bad metrics since the best one, or since the rate fell."""
    cooling: jax.Array
    """How many of the next metrics cannot be bad."""
    total: jax.Array
    """The sum of the metrics that are still to be averaged."""
    seen: jax.Array
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
        seen, total = self.seen + 1, self.total + metric
        full = seen >= self.average_over
        after = self._judged(total / seen)
        waiting = self._replace(total=total, seen=seen)
        return jax.tree.map(lambda x, y: jnp.where(full, x, y), after, waiting)

    def _judged(self, metric: jax.Array) -> "PlateauState":
        """PyTorch's rule, in its order."""
        better = is_better(
            metric,
            self.best,
            maximize=self.maximize,
            relative=self.relative,
            threshold=self.threshold,
        )
        bad = jnp.where(better, 0, optax.safe_increment(self.bad))
        bad = jnp.where(self.cooling > 0, 0, bad)
        cooling = jnp.maximum(self.cooling - 1, 0)
        late = bad > self.patience
        lower = jnp.maximum(self.value * self.factor, self.min_value)
        falls = late & (self.value - lower > self.eps)
        return self._replace(
            value=jnp.where(falls, lower, self.value),
            best=jnp.where(better, metric, self.best),
            bad=jnp.where(late, 0, bad),
            cooling=jnp.where(late, self.cooldown, cooling),
            total=jnp.zeros_like(self.total),
            seen=jnp.zeros_like(self.seen),
        )


def plateau(
    init_value: ArrayLike,
    factor: ArrayLike = 0.1,
    patience: ArrayLike = 10,
    *,
    mode: str = "min",
    threshold: ArrayLike = 1e-4,
    threshold_mode: str = "rel",
    cooldown: ArrayLike = 0,
    min_value: ArrayLike = 0.0,
    eps: ArrayLike = 1e-8,
    average_over: ArrayLike = 1,
    monitor: str = "value",
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

    Raises:
      ValueError: If a number is out of range, a mode unknown, or `monitor` a name that
        ``update`` uses itself.
      TypeError: If what must be a number is not one, `monitor` no string, or, later, a
        metric no scalar.

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
    return plateau_of(
        "plateau",
        init_value,
        factor,
        patience,
        mode=mode,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_value=min_value,
        eps=eps,
        average_over=average_over,
        monitor=monitor,
    )


def plateau_of(
    rule: str,
    init_value: Any,
    factor: Any,
    patience: Any,
    *,
    mode: str,
    threshold: Any,
    threshold_mode: str,
    average_over: Any,
    monitor: str,
    cooldown: Any,
    min_value: Any,
    eps: Any,
) -> MetricSchedule:
    """The same for `rule`, which its errors name."""
    check_mode(rule, mode, threshold, threshold_mode)
    _checks.real(rule, "init_value", init_value, "[0, inf)")
    _checks.real(rule, "factor", factor, "(0, 1)")
    _checks.real(rule, "min_value", min_value, "[0, inf)")
    _checks.real(rule, "eps", eps, "[0, inf)")
    check_order(rule, "min_value", min_value, "init_value", init_value)
    steps = {
        "patience": _checks.count(rule, "patience", patience, at_least=0),
        "cooldown": _checks.count(rule, "cooldown", cooldown, at_least=0),
        "average_over": _checks.count(rule, "average_over", average_over),
    }

    def start() -> PlateauState:
        return PlateauState(
            value=as_float(init_value),
            best=worst(mode),
            bad=as_steps(0),
            cooling=as_steps(0),
            total=as_float(0),
            seen=as_steps(0),
            factor=as_float(factor),
            maximize=jnp.array(mode == "max"),
            threshold=as_float(threshold),
            relative=jnp.array(threshold_mode == "rel"),
            min_value=as_float(min_value),
            eps=as_float(eps),
            **{name: as_steps(n) for name, n in steps.items()},
        )

    return MetricSchedule(rule, monitor, start)
