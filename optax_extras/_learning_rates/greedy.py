"""A learning rate that rises while a metric improves, and falls otherwise."""

from functools import partial
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
from optax_extras._learning_rates._is_better import check_threshold, is_better, worst
from optax_extras._learning_rates.metric_schedule import (
    SETTABLE,
    MetricSchedule,
    as_steps,
    check_order,
)
from optax_extras._numerics import as_float

_SETTABLE = {**SETTABLE, "warmup": "count", "max_value": "[0, inf)"}


class GreedyState(NamedTuple):
    """State of `greedy`, its hyperparameters included; shapes are () but for `recent`.

    Floats are float32 (float64 under x64), counts int32.
    """

    value: jax.Array
    """The current learning rate."""
    best: jax.Array
    """The best metric so far; the worst possible one before any."""
    num_bad: jax.Array
    """Bad metrics in a row."""
    num_good: jax.Array
    """Good metrics in a row."""
    skips_left: jax.Array
    """How many of the next metrics are not judged."""
    cuts_left: jax.Array
    """How many more cuts at the lowest learning rate start it over."""
    recent: jax.Array
    """Shape (window,): the last metrics, the newest at the end."""
    num_recent: jax.Array
    """How many metrics are in `recent`."""
    init_value: jax.Array
    factor: jax.Array
    patience: jax.Array
    mode: dict
    """``{"min": ()}`` or ``{"max": ()}``: a part of the tree structure."""
    threshold: jax.Array
    threshold_mode: dict
    """``{"rel": ()}`` or ``{"abs": ()}``, likewise."""
    cooldown: jax.Array
    warmup: jax.Array
    min_value: jax.Array
    max_value: jax.Array
    eps: jax.Array
    reset_after: jax.Array

    settable = _SETTABLE

    def observed(self, metric: jax.Array) -> "GreedyState":
        """The state after one more metric."""
        # States that `vmap` made have leading axes, and `observe` gets them as well.
        newest = jnp.broadcast_to(metric, jnp.shape(self.num_recent))[..., None]
        recent = jnp.concatenate([self.recent[..., 1:], newest], axis=-1)
        num_recent = jnp.minimum(self.num_recent + 1, recent.shape[-1])
        new = self._replace(recent=recent, num_recent=num_recent)
        return new._judged(jnp.sum(recent, axis=-1) / num_recent)

    def _judged(self, metric: jax.Array) -> "GreedyState":
        better = is_better(metric, self)
        judged = self.skips_left == 0
        good = jnp.where(judged & better, optax.safe_increment(self.num_good), 0)
        bad = jnp.where(judged & ~better, optax.safe_increment(self.num_bad), 0)
        rises, falls = good > self.patience, bad > self.patience
        higher = jnp.minimum(self.value / self.factor, self.max_value)
        lower = jnp.maximum(self.value * self.factor, self.min_value)
        # At most one of `rises` and `falls` is true.
        can_rise = higher - self.value > self.eps
        value = jnp.where(rises & can_rise, higher, self.value)
        can_fall = self.value - lower > self.eps
        value = jnp.where(falls & can_fall, lower, value)
        left = self.cuts_left - (falls & (value <= self.min_value))
        left = jnp.where(rises, self.reset_after, left)
        starts_over = falls & (left <= 0)
        skips_left = jnp.maximum(self.skips_left - 1, 0)
        skips_left = jnp.where(rises, self.warmup, skips_left)
        best = jnp.where(judged & better, metric, self.best)
        return self._replace(
            value=jnp.where(starts_over, self.init_value, value),
            best=jnp.where(starts_over, worst(*self.mode), best),
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
    r"""Raises the learning rate while a metric improves, lowers it when it does not.

    This is Hugging Face's ``GreedyLR``. :func:`plateau` can only lower the learning
    rate :math:`\eta`. Here the :math:`p + 1`-th good metric in a row, each better than
    all before, raises it to :math:`\min(\eta / f, \eta_{\max})`, and the
    :math:`p + 1`-th bad one in a row cuts it to :math:`\max(f \eta, \eta_{\min})`.
    After `reset_after` cuts that end at the lowest learning rate, without a rise in
    between, it starts over: the learning rate is the first one again and the best
    metric is forgotten. This needs a `min_value` above 0. Prefer it where the
    first learning rate is a guess.

    "Better" is defined as in :func:`plateau`; for negative metrics and a relative
    threshold Hugging Face defines it differently. There the lowest learning rate is
    1e-3 by default, and `smooth` and `window_size` do what `window` does here. A metric
    takes effect in the next update. NaN is bad. All numbers but `window` may be traced;
    the state, a `GreedyState`, stores them.

    Args:
      init_value: The first learning rate :math:`\eta`.
      factor: :math:`f`, which multiplies the learning rate at a cut.
      patience: :math:`p`: the number of good or bad metrics in a row that do not cause
        a change yet; the next one does.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      threshold: By how much a metric must be better; limits as in :func:`plateau`.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      cooldown: How many metrics after a cut are not judged; they still enter the mean
        of `window`.
      warmup: How many metrics after a rise are not judged.
      min_value: The lowest learning rate :math:`\eta_{\min}`, at most `init_value`.
        With 0 it does not start over, because the cuts end above 0 (unless `eps` is 0).
      max_value: The highest learning rate :math:`\eta_{\max}`, at least `init_value`.
      eps: A rise or a cut is not made if it would change the learning rate by this much
        or less.
      window: The mean of this many last metrics is judged; the state stores them.
      reset_after: The number of cuts that end at `min_value` after which it starts
        over.
      monitor: The metric's name, as an extra arg of ``update`` and in :func:`observe`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.adagrad(oxe.greedy(0.1, factor=0.5, patience=5))
      >>> state = tx.init(jnp.ones(3))
      >>> for loss in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
      ...     state = oxe.observe(state, loss)
      >>> round(float(oxe.learning_rate(state)), 3)  # the sixth good one raises it
      0.2
      >>> for loss in (0.5, 0.5, 0.5, 0.5, 0.5, 0.5):
      ...     state = oxe.observe(state, loss)
      >>> round(float(oxe.learning_rate(state)), 3)  # the sixth bad one cuts it
      0.1

    References:
      Subramanian, Krishnamoorthy and Murthy, `Dynamic learning rate scheduling based on
      loss changes leads to faster convergence <https://arxiv.org/abs/2512.14527>`_,
      2025
    """
    check_threshold(threshold, mode, threshold_mode)
    check_order("min_value", min_value, "init_value", init_value)
    check_order("init_value", init_value, "max_value", max_value)

    numbers = (factor, patience, threshold, cooldown, warmup, min_value, max_value)
    start = partial(
        _first_state, init_value, mode, threshold_mode, *numbers,
        eps, window, reset_after,
    )  # fmt: skip
    return MetricSchedule("greedy", monitor, start)


def _first_state(
    init_value, mode, threshold_mode,
    factor, patience, threshold, cooldown, warmup, min_value, max_value,
    eps, window, reset_after,
) -> GreedyState:  # fmt: skip
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
        mode={mode: ()},
        threshold=as_float(threshold),
        threshold_mode={threshold_mode: ()},
        min_value=as_float(min_value),
        max_value=as_float(max_value),
        eps=as_float(eps),
        patience=as_steps(patience),
        cooldown=as_steps(cooldown),
        warmup=as_steps(warmup),
        reset_after=as_steps(reset_after),
    )
