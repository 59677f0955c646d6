"""What the schedules share: the wrapper around a formula, and interpolation."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._check_values import is_traced, number_or_schedule
from optax_extras._errors import refuse_kind
from optax_extras._numerics import NEVER, as_count, as_float, as_uint32

Schedule = Callable[[ArrayLike], jax.Array]


class _Callable(Protocol):
    def __call__(self, t: ArrayLike, /) -> jax.Array:
        """The value at the count t."""
        ...


class RestartingSchedule(_Callable, Protocol):
    """A schedule with a predicate `restarts` of the count."""

    restarts: Schedule


class MomentumSchedule(_Callable, Protocol):
    """A learning-rate schedule with the schedule of the matching momentum."""

    momentum: Schedule


def schedule(
    value: Callable[[jax.Array], Any],
    *,
    restarts: Callable[[jax.Array], jax.Array] | None = None,
    momentum: Schedule | None = None,
    first_value: Any = None,
) -> Any:
    """Makes a schedule from a formula of the int32 count, with these attributes.

    `first_value` is where a decay starts that may take no steps, so that its value at
    step 0 is already the last one; a warm-up rises to it.
    """

    def rate(t: ArrayLike) -> jax.Array:
        count = as_count(t)
        return jnp.broadcast_to(as_float(value(count)), count.shape)

    if restarts is not None:
        vars(rate)["restarts"] = lambda t: restarts(as_count(t))
    if momentum is not None:
        vars(rate)["momentum"] = momentum
    if first_value is not None:
        vars(rate)["first_value"] = first_value
    return rate


def constant_or_schedule(argument: str, x: Any) -> Any:
    """Returns a schedule unchanged, and a number as a constant schedule."""
    if isinstance(x, optax.schedules.StatefulSchedule):
        must = "be a number or a function of the step count alone"
        hint = "Chain a metric schedule after the optimizer: `oxe.scale_by_metric`."
        refuse_kind(argument, must, x, hint)
    number_or_schedule(argument, x)
    return x if callable(x) else lambda t: jnp.full(jnp.shape(t), as_float(x))


def check_traceable(argument: str, function: Any, dtype: Any) -> None:
    """Refuses a function of a scalar to a scalar that JAX cannot trace."""
    try:
        found = jax.eval_shape(function, jax.ShapeDtypeStruct((), dtype))
    except jax.errors.JAXTypeError:
        must = "be traceable by JAX (`jnp.where`, not `if`; `jnp.exp`, not `math.exp`)"
        refuse_kind(argument, must, function)
    if getattr(found, "shape", None) != ():
        refuse_kind(argument, "return a scalar", function)


@contextlib.contextmanager
def renaming(**names: str) -> Iterator[None]:
    """Refusals within it name these arguments as another library does."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        for ours, theirs in names.items():
            text = text.replace(f"`{ours}`", f"`{theirs}`")
        error.args = (text,)
        raise


def first_value(schedule: Any, otherwise: Schedule | None = None) -> Any:
    """The value that a warm-up rises to, if it is not the one at step 0; else None.

    With `otherwise`, the value of that schedule at step 0 instead of None.
    """
    found = getattr(schedule, "first_value", None)
    return otherwise(0) if found is None and otherwise is not None else found


def if_no_steps(value: Any, steps: Any) -> Any:
    """The value where a decay has no steps, or a traced number of them; else None."""
    return value if is_traced(steps) or steps == 0 else None


def steps_after(start: Any, total: Any) -> Any:
    """The steps that are left of `total` after `start` of them, at least 0."""
    if isinstance(start, int) and isinstance(total, int):
        return max(total - start, 0)
    total = as_uint32(total)
    return total - jnp.minimum(total, as_uint32(start))


def reached(t: jax.Array, boundary: Any) -> jax.Array:
    """Whether t >= boundary. No count reaches a boundary past the last count."""
    return as_uint32(t) >= as_uint32(boundary)


def in_turn(
    curves: Sequence[Callable[..., Any]], boundaries: Any, first_value: Any = None
) -> Schedule:
    """Each curve from its boundary on, counting its own steps from 0.

    At every step all curves are evaluated, and one is selected. The others get a count
    clamped to their phase, since an infinity there would make the gradient NaN.
    """
    starts, ends = [0, *boundaries], [*boundaries, NEVER]
    phases = list(zip(curves, starts, ends, strict=True))

    def value(t):
        first, *later = phases
        result = as_float(first[0](_count_in_phase(t, *first[1:])))
        for curve, start, end in later:
            here = as_float(curve(_count_in_phase(t, start, end)))
            result = jnp.where(reached(t, start), here, result)
        return result

    def restarts(t):
        result = jnp.zeros(jnp.shape(t), bool)
        for curve, start, end in phases:
            if hasattr(curve, "restarts"):
                inside = reached(t, start) & ~reached(t, end)
                result |= inside & curve.restarts(_count_in_phase(t, start, end))
        return result

    any_restarts = any(hasattr(curve, "restarts") for curve in curves)
    return schedule(
        value,
        restarts=restarts if any_restarts else None,
        first_value=first_value,
    )


def _count_in_phase(t: jax.Array, start: Any, end: Any) -> jax.Array:
    """The count since `start`, clamped to the phase that stops before `end`."""
    start, last = as_uint32(start), jnp.maximum(as_uint32(end), 1) - 1
    inside = jnp.clip(as_uint32(t), start, jnp.maximum(start, last))
    return (inside - start).astype(np.int32)


def interpolate(end: Any, start: Any, fraction: jax.Array) -> jax.Array:
    """Returns end + (start - end) * fraction: exact at both ends, never past them."""
    end, start = as_float(end), as_float(start)
    return jnp.where(fraction == 1, start, end + (start - end) * fraction)


def cosine_fraction(r: jax.Array) -> jax.Array:
    """(1 + cos(pi (1 - r))) / 2, as a square, which keeps its digits near r = 0."""
    return jnp.square(jnp.sin(r * (np.pi / 2)))
