"""The schedules that react to a metric."""

from typing import Literal

from optax_extras._checks import (
    NonNegative,
    OpenFraction,
    Size,
    StepCount,
    StepCountOrZero,
)
from optax_extras._learning_rates.greedy import greedy
from optax_extras._learning_rates.metric_schedule import MetricSchedule, check_order
from optax_extras._learning_rates.plateau import plateau
from optax_extras.transformers import _unsupported


@_unsupported.scheduler
def get_reduce_on_plateau_schedule(
    lr: NonNegative,
    *,
    mode: Literal["min", "max"] = "min",
    factor: OpenFraction = 0.1,
    patience: StepCountOrZero = 10,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: StepCountOrZero = 0,
    min_lr: NonNegative = 0,
    eps: NonNegative = 1e-8,
) -> MetricSchedule:
    """Transformers' ``get_reduce_on_plateau_schedule``: PyTorch's ReduceLROnPlateau.

    The same as `oxe.pytorch.ReduceLROnPlateau`, where the differences from PyTorch are
    listed. The Trainer passes its ``metric_for_best_model`` after each evaluation: call
    ``state = oxe.observe(state, metric)`` there. Then `patience` and `cooldown` count
    evaluations.

    Args:
      lr: The base learning rate.
      mode: ``"min"`` if small metrics are good, else ``"max"``. The Trainer does not
        set it from ``greater_is_better``.
      factor: The learning rate is multiplied by it at every cut.
      patience: Bad metrics in a row that change nothing; the next one causes a cut.
      threshold: How much better than the best a metric must be; below 1 if it is
        relative and `mode` is ``"min"``.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      cooldown: Metrics after a cut that are not counted as bad.
      min_lr: The lowest learning rate, at most `lr`.
      eps: A cut by no more than this is not made.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> lr = oxe.transformers.get_reduce_on_plateau_schedule(5e-5, patience=1)
      >>> tx = oxe.pytorch.AdamW(lr=lr)
      >>> state = tx.init(jnp.ones(3))
      >>> for eval_loss in (1.0, 1.0, 1.0):  # two are bad
      ...     state = oxe.observe(state, eval_loss)
      >>> round(float(oxe.learning_rate(state)), 9)
      5e-06
    """
    check_order("min_lr", min_lr, "lr", lr)
    return plateau(
        lr,
        factor,
        patience,
        mode=mode,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_value=min_lr,
        eps=eps,
    )


@_unsupported.scheduler
def get_greedy_schedule(
    lr: NonNegative,
    *,
    mode: Literal["min", "max"] = "min",
    factor: OpenFraction = 0.95,
    patience: StepCountOrZero = 10,
    threshold: NonNegative = 1e-6,
    threshold_mode: Literal["rel", "abs"] = "abs",
    cooldown: StepCountOrZero = 0,
    warmup: StepCountOrZero = 0,
    min_lr: NonNegative = 1e-3,
    max_lr: NonNegative = 1.0,
    eps: NonNegative = 1e-8,
    smooth: bool = False,
    window_size: Size = 50,
    reset_start: StepCount = 500,
) -> MetricSchedule:
    """Transformers' ``get_greedy_schedule``, its ``GreedyLR``: :func:`greedy`.

    The Trainer passes its ``metric_for_best_model`` after each evaluation: call
    ``state = oxe.observe(state, metric)`` there.

    With the default `min_lr` of 1e-3 and a smaller `lr`, such as the Trainer's 5e-5,
    transformers never lowers the learning rate. Here `min_lr` must be at most `lr`, and
    `lr` at most `max_lr`, so give a `min_lr`. With a relative threshold and a negative
    metric, transformers counts a slightly worse metric as better; here it never is.
    With `smooth`, one NaN makes all later means of transformers NaN; here it leaves the
    mean after `window_size` metrics. Instead of lists as `min_lr` and `max_lr`, give
    each group of :func:`by_path` its own schedule.

    Args:
      lr: The base learning rate.
      mode: ``"min"`` if small metrics are good, else ``"max"``.
      factor: A cut multiplies the learning rate by it, and a rise divides by it.
      patience: Good or bad metrics in a row that change nothing; the next one does.
      threshold: By how much a metric must be better than the best one.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      cooldown: How many metrics after a cut are not judged.
      warmup: How many metrics after a rise are not judged.
      min_lr: The lowest learning rate, at most `lr`.
      max_lr: The highest learning rate, at least `lr`.
      eps: A change by no more than this is not made.
      smooth: Judge the mean of the last `window_size` metrics.
      window_size: Of how many metrics, if `smooth` is set.
      reset_start: The number of cuts that end at `min_lr` after which it starts over.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> lr = oxe.transformers.get_greedy_schedule(0.1, factor=0.5, patience=1)
      >>> tx = oxe.pytorch.SGD(lr=lr)
      >>> state = tx.init(jnp.ones(3))
      >>> for eval_loss in (1.0, 0.9):  # two are good
      ...     state = oxe.observe(state, eval_loss)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.2
    """
    check_order("min_lr", min_lr, "lr", lr)
    check_order("lr", lr, "max_lr", max_lr)
    return greedy(
        lr,
        factor,
        patience,
        mode=mode,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        warmup=warmup,
        min_value=min_lr,
        max_value=max_lr,
        eps=eps,
        window=window_size if smooth else 1,
        reset_after=reset_start,
    )
