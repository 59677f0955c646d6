"""Telling a state about a metric, between two updates."""

from typing import Any

from jax.typing import ArrayLike

from optax_extras import _values
from optax_extras._checks import checked
from optax_extras._errors import refuse_kind
from optax_extras._hyperparameters._walker import Path, map_numbers, monitored
from optax_extras._learning_rates._source import STATEFUL, Number
from optax_extras._learning_rates.metric_schedule import observe_metrics
from optax_extras._types import State


@checked
def observe(state: State, value: ArrayLike | None = None, **metrics: ArrayLike) -> Any:
    """Shows a metric to every metric schedule in a state that monitors it.

    For metrics that are known once an epoch; where one is known at every step, hand it
    to ``update`` instead, by its name, which is ``value`` unless said otherwise. The
    next update feels it, and :func:`learning_rate` reads the rate of that update. The
    state is all it needs; it is pure, and may be jitted. In the state of a
    :func:`switch` the schedules of both phases see the metric.

    After an update, in the same jitted step, it does what handing the metric to
    ``update`` does. That is the way where something hands no metric on: in a chain
    ``optax.MultiSteps`` (:func:`accumulate` does not), ``optax.lookahead`` and
    ``optax.contrib.split_real_and_imaginary`` drop it without a word,
    ``optax.contrib.sam`` raises, and Flax's ``TrainState`` has no place for it.

    Args:
      state: The state of an optimizer, or any tree that holds one: chains, partitions,
        masks, `optax.MultiSteps`, `optax.inject_hyperparams`, Flax NNX's
        ``optimizer.opt_state``.
      value: The metric called ``"value"``, a real scalar, which may be NaN.
      **metrics: Metrics by other names.

    Returns:
      The new state, of the same structure, shapes and dtypes.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> rate = oxe.plateau(0.1, patience=0, mode="max", monitor="val_acc")
      >>> state = oxe.adagrad(rate).init(jnp.ones(3))
      >>> for accuracy in (0.93, 0.92):
      ...     state = oxe.observe(state, val_acc=accuracy)
      >>> round(float(oxe.learning_rate(state)), 4)
      0.01
    """
    given = {} if value is None else {"value": value}
    given |= metrics
    if not given:
        refuse_kind("value", "be a metric, a real scalar", value)
    for name, metric in given.items():
        _values.metric(name, metric)
    found = set()

    def visit(path: Path, name: str, number: Number) -> Number:
        del path, name
        metrics = monitored(number)
        found.update(metrics)
        if not given.keys() & set(metrics):
            return number
        source = observe_metrics(number.source[STATEFUL], given)
        (schedule,) = source.values()
        return Number(number.value, {STATEFUL: source}).holding(schedule.value)

    state = map_numbers(state, visit)
    missing = [name for name in given if name not in found]
    if missing:
        names = ", ".join(map(repr, sorted(found))) or "none"
        ways = [f"`oxe.observe(state, {x}=...)`" for x in sorted(found)]
        ways += [f"`oxe.plateau(1e-3, monitor={missing[0]!r})` for the learning rate"]
        raise ValueError(
            f"observe: `{missing[0]}` must be a metric that something in `state` "
            f"monitors, got a state that monitors {names}. Write {', or '.join(ways)}."
        )
    return state
