"""Keras' callback that reacts to a metric."""

from typing import Literal

from optax_extras._checks import NonNegative, OpenFraction, StepCountOrZero
from optax_extras._errors import refuse, refuse_kind
from optax_extras._learning_rates.metric_schedule import MetricSchedule, check_order
from optax_extras._learning_rates.plateau import plateau
from optax_extras.keras import _unsupported
from optax_extras.schedules._curve import steps_after


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
    """Keras' ``ReduceLROnPlateau``: :func:`plateau` with Keras' names and counts.

    Call ``state = oxe.observe(state, val_loss=...)`` at the end of each epoch.

    Keras counts differently from PyTorch and :func:`plateau`. It cuts the learning rate
    at the `patience`-th bad metric in a row, one metric earlier. The last metric of the
    `cooldown` can already count as bad. There are two differences from Keras. If the
    first metric is NaN, it stays Keras' best metric forever; here NaN is never the
    best. And Keras compares the learning rate with `min_lr` in float32, so it does not
    make a cut that changes only the last digit; here such a cut can happen.

    Args:
      learning_rate: The initial learning rate.
      monitor: The name of the metric in ``update`` and in :func:`observe`.
      factor: The learning rate is multiplied by it at every cut.
      patience: Bad metrics in a row that cause a cut; 0 acts as 1.
      mode: ``"min"`` if small metrics are good, else ``"max"``. ``"auto"`` is ``"min"``
        for ``"loss"`` and ``"val_loss"``. For other metrics, where Keras asks the
        compiled model, it raises a ValueError.
      min_delta: How much better than the best a metric must be, as an absolute
        difference.
      cooldown: After a cut, `cooldown` - 1 metrics are not counted as bad; 0 acts as 1.
      min_lr: The lowest learning rate, at most `learning_rate`.

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
        steps_after(1, patience),
        mode="max" if mode == "max" else "min",
        threshold=min_delta,
        threshold_mode="abs",
        cooldown=steps_after(1, cooldown),
        min_value=min_lr,
        eps=0.0,
        monitor=monitor,
    )
