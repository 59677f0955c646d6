"""A number that answers to a metric: one pure rule (state, metric) -> state.

The rule is a method of its state, so that `observe` needs nothing but the state; around
it, `MetricSchedule` is an Optax `StatefulSchedule`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from optax_extras import _errors, _values
from optax_extras._errors import refuse
from optax_extras._numerics import LAST_COUNT, as_float
from optax_extras._types import State


@runtime_checkable
class MetricState(Protocol):
    """What a metric schedule keeps: a NamedTuple of arrays, hyperparameters and all."""

    @property
    def value(self) -> jax.Array:
        """Shape (): the number that is in force; a field."""
        ...

    def observed(self, metric: jax.Array) -> "MetricState":
        """The rule: the state after one more metric, shape (), which may be NaN."""
        ...


class MetricSchedule:
    """A number that answers to a metric, wherever a schedule may stand.

    Made by :func:`plateau` and :func:`greedy`. Optimizers of this library take it for
    their rate, :func:`scheduled` for any number of any optimizer; with
    `optax.inject_hyperparams` it is a `StatefulSchedule`. A metric acts from the next
    update on.

    For a rule of your own write a NamedTuple of arrays with a field `value`, the number
    in force, and a method ``observed(metric)``, which returns the next one;
    ``MetricSchedule(name, monitor, start)`` makes a schedule of it, where ``start()``
    returns the first.

    Attributes:
      name: What errors and `repr` call it.
      monitor: The name of the extra arg that it answers to.
    """

    def __init__(self, name: str, monitor: str, start: Callable[[], MetricState]):
        """A schedule that starts with the state that `start` returns."""
        for check, argument, x in (
            (_values.monitor, "monitor", monitor),
            (_values.function, "start", start),
        ):
            _errors.named(name, check)(argument, x)
        self.name, self.monitor, self._start = name, monitor, start

    def renamed(self, name: str) -> "MetricSchedule":
        """The same by another name."""
        return MetricSchedule(name, self.monitor, self._start)

    def __repr__(self) -> str:
        return f"{self.name}(monitor={self.monitor!r})"

    def init(self) -> dict[str, MetricState]:
        """The first state, under the name of the metric."""
        return {self.monitor: self._start()}

    def update(
        self, /, state: Mapping[str, MetricState], **extra: Any
    ) -> dict[str, MetricState]:
        """The state after an update; without the metric, or with None, the same."""
        return _errors.named(self.name, observe_metrics)(state, extra)

    def __call__(self, /, state: State, **extra: Any) -> jax.Array:
        """The number in force."""
        del extra
        if not is_monitored(state):
            self._refuse(f"be called with its own state, got {state!r}")
        (held,) = state.values()
        return held.value

    # Some of Optax's optimizers take every rate for a number: they negate or multiply
    # it, or hand it to a function of JAX, which looks for `__jax_array__`.
    def __neg__(self) -> NoReturn:
        self._refuse("not stand for a number")

    def __mul__(self, other: Any) -> NoReturn:
        self._refuse("not stand for a number")

    __rmul__ = __mul__

    @property
    def __jax_array__(self) -> NoReturn:
        self._refuse("not stand for a number")

    def _refuse(self, must: str) -> NoReturn:
        raise TypeError(
            f"{self.name}: a metric schedule must {must}. It is no function of the "
            "step count, so Optax's optimizers and schedules cannot take it. "
            "Instead of `optax.adam(schedule)` write "
            "`oxe.scheduled(optax.adam)(learning_rate=schedule)`, or put "
            "`oxe.scale_by_rate(schedule)` at the end of `optax.chain`. To multiply a "
            "schedule by it, put `oxe.scale_by_metric(oxe.plateau(1.0))` behind the "
            "optimizer."
        )


def _is_metric_state(x: Any) -> bool:
    """Whether this is the state of a metric schedule."""
    return isinstance(x, tuple) and isinstance(x, MetricState)


def is_monitored(x: Any) -> bool:
    """Whether this is a metric's name with the state of what answers to it."""
    return (
        isinstance(x, Mapping)
        and len(x) == 1
        and all(_is_metric_state(held) for held in x.values())
    )


def observe_metrics(
    state: Mapping[str, MetricState], metrics: Mapping[str, Any]
) -> dict[str, MetricState]:
    """The state after those of the metrics that it answers to; dtypes stay."""
    return {
        name: held
        if metrics.get(name) is None
        else _moved(held, as_float(_values.metric(name, metrics[name])))
        for name, held in state.items()
    }


def _moved(held: Any, metric: jax.Array) -> Any:
    new = held.observed(metric)
    return jax.tree.map(lambda old, x: jnp.asarray(x, old.dtype), held, new)


def is_better(
    metric: jax.Array,
    best: jax.Array,
    *,
    maximize: jax.Array,
    relative: jax.Array,
    threshold: jax.Array,
) -> jax.Array:
    """Whether a metric lies beyond the best one by more than the threshold.

    A relative threshold is a fraction of the size of the best, so that it works for
    negative ones. NaN is not better than anything.
    """
    sign = jnp.where(maximize, -1, 1)
    metric, best = sign * metric, sign * best
    # inf * (1 - 1) is NaN; an infinite best, as at the start, needs no threshold.
    fraction = jnp.where(relative, 1 - threshold * jnp.sign(best), 1)
    fraction = jnp.where(jnp.isinf(best), 1, fraction)
    return metric < best * fraction - jnp.where(relative, 0, threshold)


def worst(mode: str) -> jax.Array:
    """What every metric is better than."""
    return as_float(-jnp.inf if mode == "max" else jnp.inf)


def as_steps(n: Any) -> jax.Array:
    """A count as int32, a copy; one that is never reached as the largest."""
    return jnp.array(min(n, LAST_COUNT) if isinstance(n, int) else n, jnp.int32)


def check_threshold(threshold: Any, mode: str, threshold_mode: str) -> None:
    """Nothing is less than the best by all of itself."""
    if mode == "min" and threshold_mode == "rel":
        _values.real("threshold", threshold, "[0, 1)")


def check_order(low: str, x: Any, high: str, y: Any) -> None:
    """Refuses a lower bound above what it bounds, where both are known."""
    both_known = not (_values.is_traced(x) or _values.is_traced(y))
    if both_known and _values.concrete(x) > _values.concrete(y):
        refuse(low, f"be at most `{high}`, which is {y!r}", x)
