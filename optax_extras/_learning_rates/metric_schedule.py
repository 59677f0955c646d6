"""A number that reacts to a metric: one pure rule (state, metric) -> state.

The rule is a method of its state, so that `observe` needs nothing but the state.
`MetricSchedule` makes an Optax `StatefulSchedule` of it.
"""

import difflib
import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from optax_extras import _check_values, _errors
from optax_extras._by_path import hashable
from optax_extras._errors import refuse
from optax_extras._leaves import in_dtype_of
from optax_extras._numerics import LAST_COUNT, as_float
from optax_extras._types import State

# The fields of a state that `set_hyperparameters` can set, and their ranges
# ("count": an integer of at least 0).
SETTABLE = {
    "factor": "(0, 1)",
    "patience": "count",
    "cooldown": "count",
    "min_value": "[0, inf)",
    "eps": "[0, inf)",
}


@runtime_checkable
class MetricState(Protocol):
    """State of a metric schedule: a NamedTuple of arrays with all hyperparameters."""

    @property
    def value(self) -> jax.Array:
        """Shape (): the current number; a field."""
        ...

    def observed(self, metric: jax.Array) -> "MetricState":
        """The rule: the state after one more metric, of shape (), which may be NaN."""
        ...


class MetricSchedule:
    """A number that reacts to a metric, used in place of a schedule.

    Made by :func:`plateau` and :func:`greedy`. Optimizers of this library take it as
    their learning rate, and :func:`scheduled` as any number of any optimizer;
    `optax.inject_hyperparams` takes it as a `StatefulSchedule`. A metric takes effect
    in the next update.

    For a rule of your own write a NamedTuple of arrays with a field `value`, the
    current number, and a method ``observed(metric)``, which returns the next state.
    ``MetricSchedule(name, monitor, start)`` makes a schedule of it; ``start()`` returns
    the first state. Schedules with the same numbers are equal; for one of your own,
    if `start` is a `functools.partial` of a function.

    Attributes:
      name: The name in errors and in `repr`.
      monitor: The name of the metric, which is an extra arg of ``update``.
    """

    def __init__(self, name: str, monitor: str, start: Callable[[], MetricState]):
        """A schedule that starts with the state that `start` returns."""
        _errors.named(name, _check_values.monitor)("monitor", monitor)
        _errors.named(name, _check_values.function)("start", start)
        self.name, self.monitor, self._start = name, monitor, start

    def renamed(self, name: str) -> "MetricSchedule":
        """The same schedule with another name."""
        return MetricSchedule(name, self.monitor, self._start)

    def __repr__(self) -> str:
        return f"{self.name}(monitor={self.monitor!r})"

    def _identity(self) -> tuple[Any, ...]:
        """What makes two schedules equal; an array is equal to itself alone."""
        start = self._start
        parts: tuple[Any, ...] = (start,)
        if isinstance(start, functools.partial):
            numbers = (*start.args, *start.keywords.values())
            parts = (start.func, *start.keywords, *map(hashable, numbers))
        return (self.name, self.monitor, *parts)

    def __eq__(self, other: Any) -> bool:
        return (
            isinstance(other, MetricSchedule) and self._identity() == other._identity()
        )

    def __hash__(self) -> int:
        return hash(self._identity())

    def init(self) -> dict[str, MetricState]:
        """The first state, as ``{monitor: state}``."""
        return {self.monitor: self._start()}

    def update(
        self, /, state: Mapping[str, MetricState], **extra: Any
    ) -> dict[str, MetricState]:
        """The state after an update; unchanged if the metric is missing or None."""
        self._check(state)
        if extra and self.monitor not in extra:
            self._check_spelling(extra)
        return _errors.named(self.name, observe_metrics)(state, extra)

    def __call__(self, /, state: State, **extra: Any) -> jax.Array:
        """The current number."""
        del extra
        self._check(state)
        (metric_state,) = state.values()
        return metric_state.value

    def _check(self, state: State) -> None:
        """Refuses the state of another kind, mode or metric, which would go on."""
        if not is_monitored(state):
            self._refuse(f"be called with its own state, got {state!r}")
        if (got := _kind_of(state)) != self._kind:
            raise ValueError(
                f"{self.name}: `state` must be of the same kind of metric schedule, "
                f"{self._kind}, got {got}."
            )

    def _check_spelling(self, extra: Mapping[str, Any]) -> None:
        for name in extra:
            if _is_misspelt(name.lower(), self.monitor.lower()):
                raise ValueError(
                    f"{self.name}: `update` must be given the metric as "
                    f"`{self.monitor}`, got `{name}`."
                )

    @functools.cached_property
    def _kind(self) -> str:
        return _kind_of(jax.eval_shape(self.init))

    # Some optimizers of Optax treat every learning rate as a number: they negate or
    # multiply it, or pass it to a function of JAX, which looks for `__jax_array__`.
    def __neg__(self) -> NoReturn:
        self._refuse("not be used as a number")

    def __mul__(self, other: Any) -> NoReturn:
        self._refuse("not be used as a number")

    __rmul__ = __mul__

    @property
    def __jax_array__(self) -> NoReturn:
        self._refuse("not be used as a number")

    def _refuse(self, must: str) -> NoReturn:
        raise TypeError(
            f"{self.name}: a metric schedule must {must}. It is not a function of the "
            "step count, so Optax's optimizers and schedules cannot take it. "
            "Instead of `optax.adam(schedule)` write "
            "`oxe.scheduled(optax.adam)(learning_rate=schedule)`, or put "
            "`oxe.scale_by_rate(schedule)` at the end of `optax.chain`. To multiply a "
            "schedule by it, put `oxe.scale_by_metric(oxe.plateau(1.0))` behind the "
            "optimizer."
        )


def _kind_of(state: Mapping[str, Any]) -> str:
    """What is fixed in a state: the metric, the type, and the keys of dicts."""
    ((metric, fields),) = state.items()
    modes = [
        f"{name}={key!r}"
        for name, x in zip(fields._fields, fields, strict=True)
        if isinstance(x, Mapping)
        for key in x
    ]
    of = f"{type(fields).__name__.removesuffix('State').lower()}({', '.join(modes)})"
    return f"{of} of {metric!r}"


def _is_misspelt(name: str, metric: str) -> bool:
    """Whether a name seems to mean the metric: an abbreviation, or nearly the same.

    Two metrics are "loss" and "val_loss", "acc1" and "acc5".
    """
    name, metric = name.strip("_"), metric.strip("_")
    short, long = sorted((name, metric), key=len)
    if sorted(name) == sorted(metric):  # letters in another order
        return True
    if len(short) >= 3 and long.startswith(short):
        return long[len(short) :].isalpha()
    if difflib.SequenceMatcher(None, metric, name).ratio() < 0.85:
        return False
    return _without_digits(name) != _without_digits(metric)


def _without_digits(name: str) -> str:
    return "".join(x for x in name if not x.isdigit())


def is_monitored(x: Any) -> bool:
    """Whether this is ``{monitor: state of a metric schedule}``."""
    return (
        isinstance(x, Mapping)
        and len(x) == 1
        and all(isinstance(y, tuple) and isinstance(y, MetricState) for y in x.values())
    )


def observe_metrics(
    state: Mapping[str, MetricState], metrics: Mapping[str, Any]
) -> dict[str, MetricState]:
    """The state after those of the metrics that it monitors, in the same dtypes."""

    def observed(name: str, old: MetricState) -> MetricState:
        if metrics.get(name) is None:
            return old
        new = old.observed(as_float(_check_values.metric(name, metrics[name])))
        return jax.tree.map(in_dtype_of, old, new)

    return {name: observed(name, old) for name, old in state.items()}


def as_steps(n: Any) -> jax.Array:
    """A count as int32, a copy, clamped to the largest int32."""
    return jnp.array(min(n, LAST_COUNT) if isinstance(n, int) else n, jnp.int32)


def check_order(low: str, x: Any, high: str, y: Any) -> None:
    """Refuses a lower bound above the upper one, where both have a concrete value."""
    if _check_values.is_traced(x) or _check_values.is_traced(y):
        return
    if _check_values.concrete(x) > _check_values.concrete(y):
        refuse(low, f"be at most `{high}`, which is {y!r}", x)
