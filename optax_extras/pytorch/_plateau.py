"""PyTorch's scheduler that reacts to a metric."""

from typing import Literal

from optax_extras._checks import NonNegative, OpenFraction, StepCountOrZero
from optax_extras._learning_rates.metric_schedule import MetricSchedule, check_order
from optax_extras._learning_rates.plateau import plateau
from optax_extras.pytorch import _unsupported


@_unsupported.scheduler
def ReduceLROnPlateau(
    lr: NonNegative,
    mode: Literal["min", "max"] = "min",
    factor: OpenFraction = 0.1,
    patience: StepCountOrZero = 10,
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: StepCountOrZero = 0,
    min_lr: NonNegative = 0,
    eps: NonNegative = 1e-8,
) -> MetricSchedule:
    """PyTorch's ``ReduceLROnPlateau``: :func:`plateau` with PyTorch's argument names.

    ``scheduler.step(metric)`` becomes ``state = oxe.observe(state, metric)`` or, in
    each update, ``tx.update(grads, state, params, value=metric)``, in which case
    `patience` and `cooldown` count updates.

    With a relative threshold and a negative metric, PyTorch counts a slightly worse
    metric as better; here it never is. PyTorch also accepts a `factor` of 0 or below, a
    relative `threshold` of 1 (nothing is ever better) and a `min_lr` above `lr`; these
    raise a ValueError here. Instead of a list as `min_lr`, give each group of
    `optax.partition` its own scheduler.

    Args:
      lr: The base learning rate.
      mode: ``"min"`` if small metrics are good, else ``"max"``.
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
      >>> tx = oxe.pytorch.SGD(lr=oxe.pytorch.ReduceLROnPlateau(0.1, patience=5))
      >>> state = tx.init(jnp.ones(3))
      >>> for loss in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):  # six are bad
      ...     state = oxe.observe(state, loss)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.01
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
