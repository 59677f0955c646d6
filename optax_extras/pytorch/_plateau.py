"""PyTorch's scheduler that answers to a metric."""

from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._learning_rates.metric_schedule import (
    MetricSchedule,
    check_mode,
    check_order,
)
from optax_extras._learning_rates.plateau import plateau_of
from optax_extras.pytorch import _foreign


@_foreign.scheduler
def ReduceLROnPlateau(
    lr: ArrayLike,
    mode: str = "min",
    factor: ArrayLike = 0.1,
    patience: int = 10,
    threshold: ArrayLike = 1e-4,
    threshold_mode: str = "rel",
    cooldown: int = 0,
    min_lr: ArrayLike = 0,
    eps: ArrayLike = 1e-8,
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

    Raises:
      ValueError: If a number is out of range, or `mode` or `threshold_mode` unknown.
      TypeError: If an argument is not of the kind said above, or an option is
        given that has no meaning here, such as `verbose`.

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
    rule = "ReduceLROnPlateau"
    check_mode(rule, mode, threshold, threshold_mode)
    _checks.real(rule, "lr", lr, "[0, inf)")
    _checks.real(rule, "factor", factor, "(0, 1)")
    _checks.real(rule, "min_lr", min_lr, "[0, inf)")
    _checks.real(rule, "eps", eps, "[0, inf)")
    check_order(rule, "min_lr", min_lr, "lr", lr)
    _checks.count(rule, "patience", patience, at_least=0)
    _checks.count(rule, "cooldown", cooldown, at_least=0)
    return plateau_of(
        rule,
        lr,
        factor,
        patience,
        mode=mode,
        threshold=threshold,
        threshold_mode=threshold_mode,
        cooldown=cooldown,
        min_value=min_lr,
        eps=eps,
        average_over=1,
        monitor="value",
    )
