"""Passing a metric to a state, between two updates."""

from typing import Any

from jax.typing import ArrayLike

from optax_extras import _check_values
from optax_extras._checks import checked
from optax_extras._errors import refuse_kind
from optax_extras._hyperparameters._walker import Path, map_numbers, monitored
from optax_extras._learning_rates._source import STATEFUL, Number
from optax_extras._learning_rates.metric_schedule import observe_metrics
from optax_extras._types import State


@checked
def observe(state: State, value: ArrayLike | None = None, **metrics: ArrayLike) -> Any:
    """Passes a metric to all metric schedules and conditions that monitor it.

    Use it for a metric that is known once an epoch. If a metric is known at every step,
    pass it to ``update`` instead, by its name (``value`` by default). The next update
    applies the learning rate that follows from the metric; :func:`learning_rate` reads
    it already after `observe`. The returned state has the same structure, shapes and
    dtypes. The function is pure and may be jitted. In the state of a :func:`switch`,
    the schedules of both phases get the metric, and so does a condition such as
    :func:`on_plateau`, which then holds at the next update.

    Called after an update, in the same jitted step, it has the same effect as passing
    the metric to ``update``. Call it there if a wrapper does not forward extra args. In
    a chain, ``optax.MultiSteps`` (unlike :func:`accumulate`), ``optax.lookahead`` and
    ``optax.contrib.split_real_and_imaginary`` drop them without an error,
    ``optax.contrib.sam`` raises one, and Flax's ``TrainState`` does not take them.

    Args:
      state: The state of an optimizer, or a tree that contains one: chains, partitions,
        masks, `optax.MultiSteps`, `optax.inject_hyperparams`, Flax NNX's
        ``optimizer.opt_state``.
      value: The metric called ``"value"``, which may be NaN.
      **metrics: Metrics by other names.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> schedule = oxe.plateau(0.1, patience=0, mode="max", monitor="val_acc")
      >>> state = oxe.adagrad(schedule).init(jnp.ones(3))
      >>> for accuracy in (0.93, 0.92):
      ...     state = oxe.observe(state, val_acc=accuracy)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.01
    """
    given = metrics if value is None else {"value": value, **metrics}
    if not given:
        refuse_kind("value", "be a metric, a real scalar", value)
    for name, metric in given.items():
        _check_values.metric(name, metric)
    found = set()

    def visit(path: Path, name: str, number: Number) -> Number:
        del path, name
        metrics = monitored(number)
        found.update(metrics)
        if not given.keys() & set(metrics):
            return number
        source = observe_metrics(number.source[STATEFUL], given)
        (schedule,) = source.values()
        return Number(number.value, {STATEFUL: source}).with_value(schedule.value)

    state = map_numbers(state, visit)
    missing = [name for name in given if name not in found]
    if missing:
        names = ", ".join(map(repr, sorted(found))) or "none"
        ways = [f"`oxe.observe(state, {x}=...)`" for x in sorted(found)]
        ways += [f"`oxe.plateau(1e-3, monitor={missing[0]!r})` for the learning rate"]
        raise ValueError(
            f"observe: `{missing[0]}` must be a metric that a schedule or condition in "
            f"`state` monitors, got a state that monitors {names}. "
            f"Write {', or '.join(ways)}."
        )
    return state
