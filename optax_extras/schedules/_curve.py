"""What the schedules share: the wrapper around a formula, and the decay shapes."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._errors import refuse_kind
from optax_extras._numerics import NEVER, as_count, as_float, as_phase
from optax_extras._values import number_or_schedule

Schedule = Callable[[ArrayLike], jax.Array]


class RestartingSchedule(Protocol):
    """A schedule that says where it starts again."""

    restarts: Schedule
    """t -> bool, of the shape of t."""

    def __call__(self, t: ArrayLike, /) -> jax.Array:
        """The value at the count t."""
        ...


class MomentumSchedule(Protocol):
    """A schedule of the rate with the momentum that goes with it."""

    momentum: Schedule

    def __call__(self, t: ArrayLike, /) -> jax.Array:
        """The value at the count t."""
        ...


def schedule(
    value: Callable[[jax.Array], Any],
    *,
    restarts: Callable[[jax.Array], jax.Array] | None = None,
    momentum: Schedule | None = None,
) -> Any:
    """Makes a schedule of a formula of the int32 count.

    `restarts` (a predicate of the count) and `momentum` (a schedule) become function
    attributes where they are given.
    """

    def rate(t: ArrayLike) -> jax.Array:
        count = as_count(t)
        return jnp.broadcast_to(as_float(value(count)), count.shape)

    if restarts is not None:
        vars(rate)["restarts"] = lambda t: restarts(as_count(t))
    if momentum is not None:
        vars(rate)["momentum"] = momentum
    return rate


def constant_or_schedule(argument: str, x: Any) -> Any:
    """A schedule as it is; a number as the schedule that never moves."""
    if isinstance(x, optax.schedules.StatefulSchedule):
        must = "be a number or a function of the step count, with no state of its own"
        refuse_kind(argument, must, x)
    number_or_schedule(argument, x)
    return x if callable(x) else lambda t: jnp.full(jnp.shape(t), as_float(x))


def reached(t: jax.Array, boundary: Any) -> jax.Array:
    """Whether t >= boundary; a boundary past all counts never is."""
    return as_phase(t) >= as_phase(boundary)


def since(t: jax.Array, start: Any) -> jax.Array:
    """The count that begins at `start`, 0 until then."""
    return (as_phase(t) - jnp.minimum(as_phase(t), as_phase(start))).astype(np.int32)


def follow_restarts(curve: Any, count: Callable, where: Callable) -> Callable | None:
    """`curve.restarts(count(t))`, restricted to steps where `where(t)` is true."""
    if not hasattr(curve, "restarts"):
        return None
    return lambda t: where(t) & curve.restarts(count(t))


def in_turn(curves: Sequence[Callable[..., Any]], boundaries: Any) -> Schedule:
    """Each curve from its boundary on, with a count of its own that starts at 0.

    All curves are evaluated, the ones not in force at a step within their phase, so
    that neither their values nor their slopes can spoil the result.
    """
    starts, ends = [0, *boundaries], [*boundaries, NEVER]
    phases = list(zip(curves, starts, ends, strict=True))

    def value(t):
        first, *later = phases
        result = as_float(first[0](_within(t, *first[1:])))
        for curve, start, end in later:
            here = as_float(curve(_within(t, start, end)))
            result = jnp.where(reached(t, start), here, result)
        return result

    def restarts(t):
        result = jnp.zeros(jnp.shape(t), bool)
        for curve, start, end in phases:
            if hasattr(curve, "restarts"):
                inside = reached(t, start) & ~reached(t, end)
                result |= inside & curve.restarts(_within(t, start, end))
        return result

    any_restarts = any(hasattr(curve, "restarts") for curve in curves)
    return schedule(value, restarts=restarts if any_restarts else None)


def _within(t: jax.Array, start: Any, end: Any) -> jax.Array:
    """The count since `start`, kept inside a phase that is over at `end`."""
    start, last = as_phase(start), jnp.maximum(as_phase(end), 1) - 1
    inside = jnp.clip(as_phase(t), start, jnp.maximum(start, last))
    return (inside - start).astype(np.int32)


def interpolate(end: Any, start: Any, fraction: jax.Array) -> jax.Array:
    """The value end + (start - end) fraction: exact at the ends and never past them."""
    end, start = as_float(end), as_float(start)
    return jnp.where(fraction == 1, start, end + (start - end) * fraction)


# The shapes of a decay, in the fraction r that remains: 1 at r = 1 and 0 at r = 0.


def cosine_fraction(r: jax.Array) -> jax.Array:
    """(1 + cos(pi (1 - r))) / 2, as a square, which keeps its digits near 0."""
    return jnp.square(jnp.sin(r * (np.pi / 2)))


def one_minus_sqrt_fraction(r: jax.Array, elapsed: jax.Array) -> jax.Array:
    """1 - sqrt(elapsed), elapsed = 1 - r, without the difference."""
    return r / (1 + jnp.sqrt(elapsed))


def halving_fraction(r: jax.Array) -> jax.Array:
    """2 (1/2)^(1 - r) - 1."""
    return jnp.expm1(r * np.log(2))
