"""A number of an optimizer, where it comes from, and how a state holds it.

A number is a constant, a schedule or a stateful schedule (a metric schedule). A state
holds its value and, as a dict of one entry, what kind of source it has and that
source's own state. The kind is a key, and so part of the tree's structure, because
whether a number can be set has to be known inside `jit` too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._errors import refuse
from optax_extras._numerics import as_float
from optax_extras._values import returned

CONSTANT, SCHEDULE, STATEFUL = "constant", "schedule", "stateful"


class Number(NamedTuple):
    """A number that a state holds, and its source: ``{kind: state of the source}``."""

    value: jax.Array
    source: Any

    @property
    def kind(self) -> str:
        """`CONSTANT`, `SCHEDULE` or `STATEFUL`."""
        (kind,) = self.source
        return kind

    def holding(self, value: Any) -> "Number":
        """With another value, of the same shape and dtype."""
        new = jnp.broadcast_to(as_float(value), jnp.shape(self.value))
        return self._replace(value=new.astype(jnp.result_type(self.value)))


class RateState(NamedTuple):
    """The learning rate as `learning_rate(state)` finds it."""

    learning_rate: jax.Array
    """Shape (), float32 (float64 under x64): the rate of the last update, before any
    update that of the first, after an `observe` that of the next."""
    source: Any = None
    """Where it comes from: ``{kind: state of the source}``."""

    restarted_fields = ()

    def numbers(self) -> dict[str, Number]:
        """The numbers that it holds, by name."""
        source = {SCHEDULE: ()} if self.source is None else self.source
        return {"learning_rate": Number(self.learning_rate, source)}

    def with_numbers(self, numbers: dict[str, Number]) -> "RateState":
        """With other numbers."""
        new = numbers["learning_rate"]
        source = None if self.source is None else new.source
        return RateState(new.value, source)

    def applied_rate(self) -> jax.Array:
        """The learning rate that the last update was multiplied by."""
        return self.learning_rate


class RateFactor(NamedTuple):
    """What a direction multiplies the rate by, as `learning_rate(state)` finds it.

    A direction with a size of its own, that of SWATS after the switch, carries one.
    """

    rate_factor: jax.Array
    """Shape (), float32 (float64 under x64)."""

    def applied_factor(self) -> jax.Array:
        """What the learning rate was multiplied by."""
        return self.rate_factor


class Source(NamedTuple):
    """Where a number comes from."""

    init: Callable[[], Number]
    value_at: Callable[[Any, Number], jax.Array]
    """(count, number) -> value; `count` updates were made before."""
    observe: Callable[..., Any] | None
    """(state of the source, **extra) -> state, with every extra arg of an update; None
    where no metric is monitored."""
    kind: str

    def step(self, count: Any, number: Number, /, **extra: Any) -> Number:
        """The number for an update, its source as it is after the update."""
        value = self.value_at(count, number)
        if self.observe is None:
            return Number(value, number.source)
        return Number(value, self.observe(number.source, **extra))


def source_of(argument: str, x: Any) -> Source:
    """The source behind a number, a schedule, or a stateful schedule.

    A Python or NumPy number lives in the state, where it can be set. A `jax.Array` or
    a tracer stays in the closure and wins over the state, so that
    `optax.inject_hyperparams` and `vmap` can replace it from outside.
    """
    kind = _kind(x)

    def scalar(value: Any) -> jax.Array:
        return as_float(returned(argument, value))

    def own_state(source: Any) -> Any:
        if kind not in source:
            must = f"be of an optimizer with a metric schedule for `{argument}`"
            refuse("state", must, [*source])
        return source[kind]

    def init() -> Number:
        if kind == STATEFUL:
            state = x.init()
            return Number(scalar(x(state)), {kind: state})
        first = scalar(x(jnp.zeros((), jnp.int32))) if kind == SCHEDULE else as_float(x)
        return Number(first, {kind: ()})

    def value_at(count: Any, number: Number) -> jax.Array:
        if kind == STATEFUL:
            value = scalar(x(own_state(number.source)))
        elif kind == SCHEDULE:
            value = scalar(x(count))
        else:
            value = as_float(x if isinstance(x, jax.Array) else number.value)
        return value.astype(getattr(number.value, "dtype", value.dtype))

    def observe(source: Any, /, **extra: Any) -> Any:
        return {kind: x.update(own_state(source), **extra)}

    return Source(init, value_at, observe if kind == STATEFUL else None, kind)


def _kind(x: Any) -> str:
    if isinstance(x, optax.schedules.StatefulSchedule):
        return STATEFUL
    return SCHEDULE if callable(x) else CONSTANT


class Rate(NamedTuple):
    """A source of learning rates."""

    source: Source

    def init(self) -> RateState:
        """The state before any update."""
        return RateState(*self.source.init())

    def value_at(self, count: Any, state: RateState) -> tuple[jax.Array, RateState]:
        """The rate when `count` updates were made before, and the state with it."""
        rate = self.source.value_at(count, Number(*state))
        return rate, state._replace(learning_rate=rate)

    @property
    def needs_metric(self) -> bool:
        """Whether the rate follows a metric, and `observe` has to be called."""
        return self.source.observe is not None

    def observe(self, state: RateState, /, **extra: Any) -> RateState:
        """The state after an update with these extra args."""
        observe = self.source.observe
        if observe is None:
            return state
        return state._replace(source=observe(state.source, **extra))

    def step(
        self, count: Any, state: RateState, /, **extra: Any
    ) -> tuple[jax.Array, RateState]:
        """The rate of an update, and the state after it."""
        number = self.source.step(count, Number(*state), **extra)
        return number.value, RateState(*number)


def as_rate(argument: str, x: Any) -> Rate:
    """The source behind what a user may write for a learning rate."""
    return Rate(source_of(argument, x))
