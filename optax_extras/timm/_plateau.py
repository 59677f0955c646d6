"""timm's scheduler that reacts to a metric."""

from typing import Literal

from optax_extras._checks import (
    IntegralStepsOrZero,
    NonNegative,
    OpenFraction,
    StepCountOrZero,
)
from optax_extras._learning_rates._warmup import after_metric_warmup
from optax_extras._learning_rates.metric_schedule import MetricSchedule, check_order
from optax_extras._learning_rates.plateau import plateau
from optax_extras.timm import _unsupported


@_unsupported.scheduler
def PlateauLRScheduler(
    lr: NonNegative,
    decay_rate: OpenFraction = 0.1,
    patience_t: StepCountOrZero = 10,
    threshold: NonNegative = 1e-4,
    cooldown_t: StepCountOrZero = 0,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    lr_min: NonNegative = 0.0,
    mode: Literal["min", "max"] = "max",
) -> MetricSchedule:
    """The ``PlateauLRScheduler`` of timm: :func:`plateau` after a linear warm-up.

    ``scheduler.step(epoch + 1, metric)`` becomes ``state = oxe.observe(state, metric)``
    after each epoch. All lengths count metrics, so pass one metric for each epoch, and
    none to `update`. Large metrics are good by default; for a loss write
    ``mode="min"``.

    The learning rate is on a line from `warmup_lr_init`, before the first metric, to
    `lr` after `warmup_t` metrics, which are not judged. From then on this is PyTorch's
    ``ReduceLROnPlateau`` with a relative threshold.

    With a negative metric timm, like PyTorch, counts a slightly worse one as better;
    here it never is. timm also accepts a `decay_rate` of 0 or below, a `threshold` of 1
    with ``mode="min"`` and an `lr_min` above `lr`, which raise a ValueError here. timm
    does not save this scheduler with a run; here it is part of the optimizer's state.

    Args:
      lr: The base learning rate, in place of timm's `optimizer`.
      decay_rate: The learning rate is multiplied by it at every cut.
      patience_t: Bad metrics in a row that change nothing; the next one causes a cut.
      threshold: How much better than the best a metric must be, as a fraction of it.
      cooldown_t: Metrics after a cut that are not counted as bad.
      warmup_t: The number of metrics of the warm-up.
      warmup_lr_init: The learning rate before the first of them.
      lr_min: The lowest learning rate after the warm-up, at most `lr`.
      mode: ``"max"`` if large metrics are good, else ``"min"``.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.PlateauLRScheduler(
      ...     0.1, patience_t=2, warmup_t=2, mode="min"
      ... )
      >>> state = oxe.adam(schedule).init(jnp.ones(3))
      >>> for loss in (3.0, 2.0, 1.0, 1.0, 1.0):  # the last two are bad
      ...     state = oxe.observe(state, loss)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.1
      >>> state = oxe.observe(state, 1.5)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.01
    """
    check_order("lr_min", lr_min, "lr", lr)
    schedule = plateau(
        lr,
        decay_rate,
        patience_t,
        mode=mode,
        threshold=threshold,
        cooldown=cooldown_t,
        min_value=lr_min,
    )
    return after_metric_warmup(schedule, warmup_t, warmup_lr_init)
