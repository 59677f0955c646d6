"""A rate that rises while a metric improves, and falls when it does not."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import (
    Monitor,
    NonNegative,
    OpenFraction,
    Size,
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


class GreedyState(NamedTuple):
    """State of `greedy`, its hyperparameters included; shapes are () but for `recent`.

    Floats are float32 (float64 under x64), counts int32, flags bool.
    """

    value: jax.Array
    """The rate in force."""
    best: jax.Array
    """The best metric so far, the worst possible one before any."""
    num_bad: jax.Array
    """Bad metrics in a row."""
    num_good: jax.Array
    """Good metrics in a row."""
    skips_left: jax.Array
    """How many of the next metrics are not looked at."""
    cuts_left: jax.Array
    """How many cuts at the lowest rate are left until everything starts again."""
    recent: jax.Array
    """Shape (window,): the last metrics, the newest at the end."""
    num_recent: jax.Array
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
        newest = jnp.broadcast_to(metric, self.num_recent.shape)[..., None]
        recent = jnp.concatenate([self.recent[..., 1:], newest], axis=-1)
        num_recent = jnp.minimum(self.num_recent + 1, recent.shape[-1])
        new = self._replace(recent=recent, num_recent=num_recent)
        return new._judged(jnp.sum(recent, axis=-1) / num_recent)

    def _judged(self, metric: jax.Array) -> "GreedyState":
        better = is_better(
            metric,
            self.best,
            maximize=self.maximize,
            relative=self.relative,
            threshold=self.threshold,
        )
        judged = self.skips_left == 0
        good = jnp.where(judged & better, optax.safe_increment(self.num_good), 0)
        bad = jnp.where(judged & ~better, optax.safe_increment(self.num_bad), 0)
        rises, falls = good > self.patience, bad > self.patience
        higher = jnp.minimum(self.value / self.factor, self.max_value)
        lower = jnp.maximum(self.value * self.factor, self.min_value)
        value = jnp.where(
            rises & (higher - self.value > self.eps), higher, self.value
        )  # never both
        value = jnp.where(falls & (self.value - lower > self.eps), lower, value)
        left = self.cuts_left - (falls & (value <= self.min_value))
        left = jnp.where(rises, self.reset_after, left)
        starts_over = falls & (left <= 0)
        skips_left = jnp.maximum(self.skips_left - 1, 0)
        skips_left = jnp.where(rises, self.warmup, skips_left)
        best = jnp.where(judged & better, metric, self.best)
        return self._replace(
            value=jnp.where(starts_over, self.init_value, value),
            best=jnp.where(
                starts_over, jnp.where(self.maximize, -jnp.inf, jnp.inf), best
            ),
            num_bad=jnp.where(falls, 0, bad),
            num_good=jnp.where(rises, 0, good),
            skips_left=jnp.where(falls, self.cooldown, skips_left),
            cuts_left=jnp.where(starts_over, self.reset_after, left),
            recent=jnp.where(starts_over[..., None], 0, self.recent),
            num_recent=jnp.where(starts_over, 0, self.num_recent),
        )


@checked
def greedy(
    init_value: NonNegative,
    factor: OpenFraction = 0.95,
    patience: StepCountOrZero = 10,
    *,
    mode: Literal["min", "max"] = "min",
    threshold: NonNegative = 1e-6,
    threshold_mode: Literal["rel", "abs"] = "abs",
    cooldown: StepCountOrZero = 0,
    warmup: StepCountOrZero = 0,
    min_value: NonNegative = 0.0,
    max_value: NonNegative = 1.0,
    eps: NonNegative = 1e-8,
    window: Size = 1,
    reset_after: StepCount = 500,
    monitor: Monitor = "value",
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
    check_threshold(threshold, mode, threshold_mode)
    check_order("min_value", min_value, "init_value", init_value)
    check_order("init_value", init_value, "max_value", max_value)

    def start() -> GreedyState:
        return GreedyState(
            value=as_float(init_value),
            best=worst(mode),
            num_bad=as_steps(0),
            num_good=as_steps(0),
            skips_left=as_steps(0),
            cuts_left=as_steps(reset_after),
            recent=as_float([0] * window),
            num_recent=as_steps(0),
            init_value=as_float(init_value),
            factor=as_float(factor),
            maximize=jnp.array(mode == "max"),
            threshold=as_float(threshold),
            relative=jnp.array(threshold_mode == "rel"),
            min_value=as_float(min_value),
            max_value=as_float(max_value),
            eps=as_float(eps),
            patience=as_steps(patience),
            cooldown=as_steps(cooldown),
            warmup=as_steps(warmup),
            reset_after=as_steps(reset_after),
        )

    return MetricSchedule("greedy", monitor, start)
