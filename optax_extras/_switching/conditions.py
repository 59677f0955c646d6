"""Conditions for `switch` and `restart`."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._check_values import function, refuse_unlike, takes_keywords
from optax_extras._checks import (
    Monitor,
    NonNegative,
    StepCount,
    StepCountOrZero,
    checked,
)
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel._after_update import after_kwargs
from optax_extras._learning_rates.plateau import plateau
from optax_extras._leaves import in_dtype_of
from optax_extras._numerics import as_uint32


class Condition(NamedTuple):
    """A condition with a state, for `oxe.switch` and `oxe.restart`.

    The state is a tree of scalars. `init` makes it; `update` takes it and returns it in
    the same shapes and dtypes. A condition without a state is a plain function, which
    gets all arguments by keyword, `count` too, and returns only the bool.
    """

    init: Callable[[], Any]
    """() -> condition_state: a tree of scalars."""
    update: Callable[..., tuple[Any, Any]]
    """``(condition_state, count, *, grads, updates, params, **extra)`` -> ``(fired,
    condition_state)``."""
    parts: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    """`update` in two steps, or None: ``(*, grads, updates, params) -> scalars`` and
    ``(condition_state, count, scalars, **extra) -> (fired, condition_state)``. With
    `per_leaf` the second then runs once for all leaves together."""


def as_condition(when: Any) -> Condition:
    """The condition that a user gave for `when`; checks what it returns."""
    if isinstance(when, optax.schedules.StatefulSchedule):
        must = "be a condition, such as `oxe.on_plateau`, and not a schedule"
        refuse_kind("when", must, when)
    if isinstance(when, Condition):
        function("when.init", when.init)
        takes_keywords("when.update", when.update, "grads updates params", before=2)
        init, update, parts = when
    else:
        takes_keywords("when", when, "count grads updates params")

        def update(condition_state, count, /, **kwargs):
            return when(**after_kwargs(kwargs, count=count)), condition_state

        init, parts = tuple, None

    def checked_update(update):
        def call(condition_state, count, /, *measured, **kwargs):
            if jax.tree.structure(condition_state) != jax.tree.structure(init()):
                must = "be of an optimizer with the same condition"
                refuse_kind("state", must, condition_state)
            result = update(condition_state, count, *measured, **kwargs)
            return _checked_result(result, condition_state)

        return call

    parts = parts and (parts[0], checked_update(parts[1]))
    return Condition(init, checked_update(update), parts)


def _checked_result(result: Any, condition_state: Any) -> tuple[Any, Any]:
    """The bool and the new state, which keeps its shapes and dtypes."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        must = "return the pair (fired, condition_state)"
        refuse_kind("when.update", must, result)
    fired, new = result
    must = "return a condition_state like the one that it was given"
    refuse_unlike("when.update", must, new, condition_state)
    if not isinstance(fired, bool | np.bool_ | np.ndarray | jax.Array):
        refuse_kind("when", "return a bool", fired)
    if jnp.shape(fired) != () or jnp.result_type(fired) != jnp.bool_:
        refuse("when", "return a bool of shape ()", fired)
    return jnp.asarray(fired), jax.tree.map(in_dtype_of, condition_state, new)


@checked
def at_step(n: StepCount) -> Callable[..., jax.Array]:
    """A condition for `switch` and `restart` that holds after exactly `n` updates.

    The first phase of a switch makes `n` updates; a restart comes once, after `n`.

    Args:
      n: The number of updates; it may be traced.

    Examples:
      >>> import optax_extras as oxe
      >>> rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(1000))
      >>> tx = oxe.scale_by_moments(rule)
    """

    def when(*, count: jax.Array, **kwargs: Any) -> jax.Array:
        del kwargs
        return as_uint32(count) == as_uint32(n)  # n may be more than int32 holds

    return when


@checked
def on_plateau(
    patience: StepCountOrZero = 10,
    *,
    mode: Literal["min", "max"] = "min",
    threshold: NonNegative = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    average_over: StepCount = 1,
    monitor: Monitor = "value",
) -> Condition:
    """A condition for `switch` and `restart`: a metric has stopped improving.

    It holds when :func:`plateau`, with the same arguments, would lower the learning
    rate. A metric is bad if it is not better than the best one so far, or NaN. Pass it
    with an update, as an extra arg, or between two updates, by :func:`observe`; then
    the condition holds at the next update. After it has held it starts over, without a
    best metric. Its state holds a `PlateauState`.

    Args:
      patience: How many bad metrics in a row change nothing; it holds at the next one.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      threshold: By how much a metric must be better; limits as in :func:`plateau`.
      threshold_mode: ``"rel"``, a fraction of the best metric, or ``"abs"``.
      average_over: How many metrics are averaged to one, which is then judged.
      monitor: The metric's name, as an extra arg of ``update`` and in :func:`observe`.

    Examples:
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(), 0.1)
      >>> when = oxe.on_plateau(patience=5, monitor="val_loss")
      >>> tx = oxe.scale_by_moments(oxe.switch(adam, sgd, when))
    """
    # One cut from 1 to 0.5 tells that the metric has stalled.
    schedule = plateau(
        1.0,
        0.5,
        patience,
        mode=mode,
        threshold=threshold,
        threshold_mode=threshold_mode,
        eps=0.0,
        average_over=average_over,
        monitor=monitor,
    )

    def update(condition_state, count, /, *, grads, updates, params, **extra):
        del count, grads, updates, params
        condition_state = schedule.update(condition_state, **extra)
        fired = schedule(condition_state) < 1
        return fired, jax.tree.map(
            lambda x, y: jnp.where(fired, x, y), schedule.init(), condition_state
        )

    # Not the bound method: code that hashes closures would find it equal to no other.
    return Condition(lambda: schedule.init(), update)
