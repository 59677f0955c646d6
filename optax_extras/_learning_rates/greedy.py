"""A rate that rises while a metric improves, and falls when it does not."""

from typing import NamedTuple

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


class GreedyState(NamedTuple):
    """State of `greedy`, its hyperparameters included; shapes are () but for `recent`.

    Floats are float32 (float64 under x64), counts int32, flags bool.
    """

    value: jax.Array
    """The rate in force."""
    best: jax.Array
    """The best metric so far, the worst possible one before any."""
    bad: jax.Array
    """Bad metrics in a row."""
    good: jax.Array
    """Good metrics in a row."""
    waiting: jax.Array
    """How many of the next metrics are not looked at."""
    left: jax.Array
    """How many cuts at the lowest rate are left until everything starts again."""
    recent: jax.Array
    """Shape (window,): the last metrics, the newest at the end."""
    seen: jax.Array
    """How many of them there are."""
    init_value: jax.Array
    factor: jax.Array
    patience: jax.Array
    maximize: jax.Array
    """Whether larger is better."""
    threshold: jax.Array
    relative: jax.Array
    """Whether the threshold is a fraction of the best metric."""
    cooldown: jax.Array
    warmup: jax.Array
    min_value: jax.Array
    max_value: jax.Array
    eps: jax.Array
    reset_after: jax.Array

    def observed(self, metric: jax.Array) -> "GreedyState":
        """The state after one more metric."""
        newest = jnp.broadcast_to(metric, self.seen.shape)[..., None]
        recent = jnp.concatenate([self.recent[..., 1:], newest], axis=-1)
        seen = jnp.minimum(self.seen + 1, recent.shape[-1])
        new = self._replace(recent=recent, seen=seen)
        return new._judged(jnp.sum(recent, axis=-1) / seen)

    def _judged(self, metric: jax.Array) -> "GreedyState":
        better = is_better(
            metric,
            self.best,
            maximize=self.maximize,
            relative=self.relative,
            threshold=self.threshold,
        )
        looks = self.waiting == 0
        good = jnp.where(looks & better, optax.safe_increment(self.good), 0)
        bad = jnp.where(looks & ~better, optax.safe_increment(self.bad), 0)
        rises, falls = good > self.patience, bad > self.patience
        higher = jnp.minimum(self.value / self.factor, self.max_value)
        lower = jnp.maximum(self.value * self.factor, self.min_value)
        value = jnp.where(
            rises & (higher - self.value > self.eps), higher, self.value
        )  # never both
        value = jnp.where(falls & (self.value - lower > self.eps), lower, value)
        left = self.left - (falls & (value <= self.min_value))
        left = jnp.where(rises, self.reset_after, left)
        again = falls & (left <= 0)
        waiting = jnp.maximum(self.waiting - 1, 0)
        waiting = jnp.where(rises, self.warmup, waiting)
        best = jnp.where(looks & better, metric, self.best)
        return self._replace(
            value=jnp.where(again, self.init_value, value),
            best=jnp.where(again, jnp.where(self.maximize, -jnp.inf, jnp.inf), best),
            bad=jnp.where(falls, 0, bad),
            good=jnp.where(rises, 0, good),
            waiting=jnp.where(falls, self.cooldown, waiting),
            left=jnp.where(again, self.reset_after, left),
            recent=jnp.where(again[..., None], 0, self.recent),
            seen=jnp.where(again, 0, self.seen),
        )


def greedy(
    init_value: ArrayLike,
    factor: ArrayLike = 0.95,
    patience: ArrayLike = 10,
    *,
    mode: str = "min",
    threshold: ArrayLike = 1e-6,
    threshold_mode: str = "abs",
    cooldown: ArrayLike = 0,
    warmup: ArrayLike = 0,
    min_value: ArrayLike = 0.0,
    max_value: ArrayLike = 1.0,
    eps: ArrayLike = 1e-8,
    window: int = 1,
    reset_after: ArrayLike = 500,
    monitor: str = "value",
) -> MetricSchedule:
    r"""A rate that rises while a metric improves, and falls when it does not.

    Hugging Face's ``GreedyLR``. Where :func:`plateau` can only cut, here the
    :math:`p + 1`-th good metric in a row, each better than all before, makes the rate
    :math:`\min(\eta / f, \eta_{\max})`, and the :math:`p + 1`-th bad one in a row makes
    it :math:`\max(f \eta, \eta_{\min})`. After `reset_after` cuts at the lowest rate,
    without a rise in between, the rate is the first one again and the best metric is
    forgotten. Prefer it where the first rate is a guess.

    What is better is defined as in :func:`plateau`; for negative metrics and a relative
    threshold that is not Hugging Face's definition. There the lowest rate is 1e-3
    unless told, and `window` stands for `smooth` and `window_size`. A metric acts from
    the next update on; NaN is bad.

    Args:
      init_value: The first rate :math:`\eta`, at least 0.
      factor: :math:`f` in (0, 1).
      patience: :math:`p \ge 0`, an integer: how many good or bad metrics in a row
        change nothing.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      threshold: By how much to be better, at least 0; below 1 where it is relative and
        `mode` is ``"min"``.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      cooldown: How many metrics after a cut are not judged, at least 0; they still
        enter the mean of `window`.
      warmup: How many metrics after a rise are not judged, at least 0.
      min_value: The lowest rate :math:`\eta_{\min}`, from 0 to `init_value`. At 0,
        which no cut reaches, it never starts over.
      max_value: The highest rate :math:`\eta_{\max}`, finite, at least `init_value`.
      eps: A change by no more than that is not made, at least 0.
      window: The mean of how many of the last metrics is judged, at least 1; they are
        kept in the state.
      reset_after: How many cuts that end at `min_value` bring back the first rate and
        forget the best metric, at least 1.
      monitor: The metric's name, among the extra args of ``update`` and in
        :func:`observe`.

    Returns:
      A `MetricSchedule`, for the rate of an optimizer, :func:`scale_by_metric` or
      :func:`scheduled`. Its state is a `GreedyState`. All numbers but `window` may be
      traced, and are kept in it.

    Raises:
      ValueError: If a number is out of range, a mode unknown, or `monitor` a name that
        ``update`` uses itself.
      TypeError: If what must be a number is not one, `window` is traced, `monitor` no
        string, or, later, a metric no scalar.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.adagrad(oxe.greedy(0.1, factor=0.5, patience=5))
      >>> state = tx.init(jnp.ones(3))
      >>> for loss in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
      ...     state = oxe.observe(state, loss)
      >>> round(float(oxe.learning_rate(state)), 3)  # the sixth good one acts
      0.2
      >>> for loss in (0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
      ...     state = oxe.observe(state, loss)
      >>> round(float(oxe.learning_rate(state)), 3)  # and the sixth bad one
      0.1

    References:
      Subramanian, Krishnamoorthy and Murthy, `Dynamic learning rate scheduling based on
      loss changes leads to faster convergence <https://arxiv.org/abs/2512.14527>`_,
      2025
    """
    rule = "greedy"
    check_mode(rule, mode, threshold, threshold_mode)
    _checks.real(rule, "init_value", init_value, "[0, inf)")
    _checks.real(rule, "factor", factor, "(0, 1)")
    _checks.real(rule, "min_value", min_value, "[0, inf)")
    _checks.real(rule, "max_value", max_value, "[0, inf)")
    _checks.real(rule, "eps", eps, "[0, inf)")
    check_order(rule, "min_value", min_value, "init_value", init_value)
    check_order(rule, "init_value", init_value, "max_value", max_value)
    length = _checks.known_count(rule, "window", window)
    steps = {
        "patience": _checks.count(rule, "patience", patience, at_least=0),
        "cooldown": _checks.count(rule, "cooldown", cooldown, at_least=0),
        "warmup": _checks.count(rule, "warmup", warmup, at_least=0),
        "reset_after": _checks.count(rule, "reset_after", reset_after),
    }

    def start() -> GreedyState:
        return GreedyState(
            value=as_float(init_value),
            best=worst(mode),
            bad=as_steps(0),
            good=as_steps(0),
            waiting=as_steps(0),
            left=as_steps(reset_after),
            recent=as_float([0] * length),
            seen=as_steps(0),
            init_value=as_float(init_value),
            factor=as_float(factor),
            maximize=jnp.array(mode == "max"),
            threshold=as_float(threshold),
            relative=jnp.array(threshold_mode == "rel"),
            min_value=as_float(min_value),
            max_value=as_float(max_value),
            eps=as_float(eps),
            **{name: as_steps(n) for name, n in steps.items()},
        )

    return MetricSchedule(rule, monitor, start)
