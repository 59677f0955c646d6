"""PyTorch's scheduler that answers to a metric."""

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
    """PyTorch's ``ReduceLROnPlateau``: :func:`plateau`, by its names.

    ``scheduler.step(metric)`` is ``state = oxe.observe(state, metric)``. For a negative
    metric and a relative threshold PyTorch counts what is somewhat worse as better;
    here it never is. PyTorch also takes a `factor` of 0 or below, a relative
    `threshold` of 1, with which nothing is ever better, and a `min_lr` above the rate,
    which are refused here; one `min_lr` for each group is a scheduler for each group,
    in `optax.partition`.

    Args:
      lr: The base rate, a number of at least 0.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      factor: By what the rate is multiplied, in (0, 1).
      patience: How many bad metrics in a row change nothing, at least 0; the next one
        cuts the rate.
      threshold: By how much to be better than the best metric, at least 0; below 1
        where it is relative and `mode` is ``"min"``.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      cooldown: How many metrics after a cut are not counted as bad, at least 0.
      min_lr: The lowest rate, from 0 to `lr`.
      eps: Cuts by no more than this are not made, at least 0.

    Returns:
      A `MetricSchedule`, for the rate of an optimizer; its metric is ``value``.

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
