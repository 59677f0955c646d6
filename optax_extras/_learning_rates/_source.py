"""A learning rate as a source of one scalar, kept in a state.

Rules with the rate inside (heavy ball) and `scale_by_rate` take it from here. What a
state keeps beside the scalar is a dict of one entry: what kind of source it has, and
that source's own state. The kind is a key, and so part of the structure, because
whether a number can be set has to be known inside `jit` too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras import _checks
from optax_extras._numerics import as_float

NUMBER, ARRAY, SCHEDULE, STATEFUL = "number", "array", "schedule", "stateful"


class RateState(NamedTuple):
    """The rate as `learning_rate(state)` finds it."""

    learning_rate: jax.Array
    """Shape (), float32 (float64 under x64): the rate of the last update, before any
    update that of the first, after an `observe` that of the next."""
    source: Any = None
    """Where it comes from: ``{kind: state of the source}``."""


class Source(NamedTuple):
    """Where a number comes from."""

    init: Callable[[], tuple[jax.Array, Any]]
    """() -> (value, kept)."""
    now: Callable[[Any, Any, Any], jax.Array]
    """(count, value, kept) -> value; `count` updates were made before."""
    after: Callable[..., Any]
    """(kept, **extra) -> kept, after an update with these extra args."""
    kind: str


class RateFactor(NamedTuple):
    """What a direction multiplies the rate by, as `learning_rate(state)` finds it.

    A direction with a size of its own, that of SWATS after the switch, carries one.
    """

    rate_factor: jax.Array
    """Shape (), float32 (float64 under x64)."""


class Rate(NamedTuple):
    """A source of learning rates."""

    init: Callable[[], RateState]
    now: Callable[[Any, RateState], tuple[jax.Array, RateState]]
    """(count, state) -> (rate, state); `count` updates were made before."""
    after: Callable[..., RateState] | None
    """(state, **extra) -> state, with every extra arg of the update; None where no
    metric is looked at."""

    def step(
        self, count: Any, state: RateState, /, **extra: Any
    ) -> tuple[jax.Array, RateState]:
        """The rate of an update, and the state after it."""
        rate, state = self.now(count, state)
        return rate, state if self.after is None else self.after(state, **extra)


def as_rate(rule: str, argument: str, x: Any) -> Rate:
    """The source behind what a user may write for a learning rate."""
    _checks.number_or_schedule(rule, argument, x, "[0, inf)")
    source = source_of(rule, argument, x)

    def now(count: Any, state: RateState) -> tuple[jax.Array, RateState]:
        rate = source.now(count, state.learning_rate, state.source)
        return rate, state._replace(learning_rate=rate)

    def after(state: RateState, /, **extra: Any) -> RateState:
        return state._replace(source=source.after(state.source, **extra))

    looks = source.kind == STATEFUL
    return Rate(lambda: RateState(*source.init()), now, after if looks else None)


def source_of(rule: str, argument: str, x: Any) -> Source:
    """The source behind a number, a schedule, or a stateful schedule.

    A Python or NumPy number lives in the state, where it can be set. A `jax.Array` or
    a tracer stays in the closure and wins over the state, so that
    `optax.inject_hyperparams` and `vmap` can replace it from outside.
    """
    kind = _kind(x)

    def scalar(value: Any) -> jax.Array:
        return as_float(_checks.returned(rule, argument, value))

    def own_state(kept: Any) -> Any:
        if kind not in kept:
            must = f"be of an optimizer with a metric schedule for `{argument}`"
            _checks.refuse(rule, "state", must, [*kept])
        return kept[kind]

    def init() -> tuple[jax.Array, Any]:
        if kind == STATEFUL:
            own = x.init()
            return scalar(x(own)), {kind: own}
        count = jnp.zeros((), jnp.int32)
        return scalar(x(count)) if kind == SCHEDULE else as_float(x), {kind: ()}

    def now(count: Any, value: jax.Array, kept: Any) -> jax.Array:
        if kind == STATEFUL:
            new = scalar(x(own_state(kept)))
        elif kind == SCHEDULE:
            new = scalar(x(count))
        else:
            new = as_float(x if kind == ARRAY else value)
        return new.astype(value.dtype)

    def after(kept: Any, /, **extra: Any) -> Any:
        if kind != STATEFUL:
            return kept
        return {kind: x.update(own_state(kept), **extra)}

    return Source(init, now, after, kind)


def _kind(x: Any) -> str:
    if isinstance(x, optax.schedules.StatefulSchedule):
        return STATEFUL
    if callable(x):
        return SCHEDULE
    return ARRAY if isinstance(x, jax.Array) else NUMBER
