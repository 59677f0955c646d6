"""Keras' callback that answers to a metric."""

from typing import Any, Literal

import jax.numpy as jnp

from optax_extras._checks import NonNegative, OpenFraction, StepCountOrZero
from optax_extras._errors import refuse, refuse_kind
from optax_extras._learning_rates.metric_schedule import MetricSchedule, check_order
from optax_extras._learning_rates.plateau import plateau
from optax_extras.keras import _unsupported


@_unsupported.plateau
def ReduceLROnPlateau(
    learning_rate: NonNegative,
    monitor: str = "val_loss",
    factor: OpenFraction = 0.1,
    patience: StepCountOrZero = 10,
    mode: Literal["auto", "min", "max"] = "auto",
    min_delta: NonNegative = 1e-4,
    cooldown: StepCountOrZero = 0,
    min_lr: NonNegative = 0.0,
) -> MetricSchedule:
    """Keras' callback ``ReduceLROnPlateau``: :func:`plateau`, by its names.

    The end of an epoch is ``state = oxe.observe(state, val_loss=...)``. `min_delta` is
    absolute. Keras counts otherwise than PyTorch and :func:`plateau`: it cuts at the
    `patience`-th bad metric in a row, the first one if that is 0, and already counts
    the last metric of the `cooldown`, so that 1 is as 0. In Keras a NaN that comes
    first stays the best for good; here NaN never is. Keras compares the rate with
    `min_lr` in float32, and so never makes a cut in the last digit, which here it may.

    Args:
      learning_rate: The first rate, a number of at least 0.
      monitor: The metric's name in ``update`` and in :func:`observe`.
      factor: By what the rate is multiplied, in (0, 1).
      patience: At which bad metric in a row the rate is cut, at least 0; 0 is as 1.
      mode: ``"min"`` if small metrics are good, or ``"max"``; ``"auto"`` is ``"min"``
        for ``"loss"`` and ``"val_loss"``, and refused for others, of which Keras asks
        the compiled model.
      min_delta: By how much to be better than the best, at least 0.
      cooldown: One more than the metrics after a cut that are not counted as bad, at
        least 0; 0 is as 1.
      min_lr: The lowest rate, from 0 to `learning_rate`.

    Returns:
      A `MetricSchedule`, for the rate of an optimizer; its metric is `monitor`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.SGD(oxe.keras.ReduceLROnPlateau(0.1, patience=5))
      >>> state = tx.init(jnp.ones(3))
      >>> for loss in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0):  # five are bad
      ...     state = oxe.observe(state, val_loss=loss)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.01
    """
    if not isinstance(monitor, str):
        refuse_kind("monitor", "be the name of a metric", monitor)
    if mode == "auto" and monitor not in ("loss", "val_loss"):
        refuse("mode", f"be 'min' or 'max' for the metric {monitor!r}", mode)
    check_order("min_lr", min_lr, "learning_rate", learning_rate)
    return plateau(
        learning_rate,
        factor,
        _one_less(patience),
        mode="max" if mode == "max" else "min",
        threshold=min_delta,
        threshold_mode="abs",
        cooldown=_one_less(cooldown),
        min_value=min_lr,
        eps=0.0,
        monitor=monitor,
    )


def _one_less(n: Any) -> Any:
    return max(n - 1, 0) if isinstance(n, int) else jnp.maximum(n - 1, 0)
