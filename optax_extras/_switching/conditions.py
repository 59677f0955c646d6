"""Conditions for `switch` and `restart`: when one optimizer hands over to the next."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
from optax_extras._numerics import as_phase, in_dtype_of
from optax_extras._values import function, refuse_unlike, takes_keywords


class Condition(NamedTuple):
    """A condition with a memory, for `oxe.switch` and `oxe.restart`.

    Its state is a tree of scalars, which `init` makes and `update` gets and returns, in
    the same shapes and dtypes. A condition without a state is a plain function, called
    with everything by keyword, `count` too, which returns the bool alone.
    """

    init: Callable[[], Any]
    """() -> condition_state: a tree of scalars."""
    update: Callable[..., tuple[Any, Any]]
    """``(condition_state, count, *, grads, updates, params, **extra)`` -> ``(fired,
    condition_state)``."""


def as_condition(when: Any) -> Condition:
    """What a user may write for `when`, with a check of what it returns."""
    if isinstance(when, optax.schedules.StatefulSchedule):
        must = "be a condition, such as `oxe.on_plateau`, and not a schedule"
        refuse_kind("when", must, when)
    if isinstance(when, Condition):
        function("when.init", when.init)
        keywords = "grads updates params"
        takes_keywords("when.update", when.update, keywords, before=2)
    else:
        takes_keywords("when", when, "count grads updates params")

    def update(condition_state, count, /, **kwargs):
        if isinstance(when, Condition):
            fired, condition_state = _checked_result(
                when.update(condition_state, count, **kwargs), condition_state
            )
        else:
            fired = when(**after_kwargs(kwargs, count=count))
        return _checked_bool(fired), condition_state

    return Condition(when.init if isinstance(when, Condition) else tuple, update)


def _checked_result(answer: Any, condition_state: Any) -> tuple[Any, Any]:
    """The two halves of a condition's answer; its memory keeps dtypes and shapes."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        must = "return the pair (fired, condition_state)"
        refuse_kind("when.update", must, answer)
    fired, new = answer
    must = "return a condition_state like the one that it was given"
    refuse_unlike("when.update", must, new, condition_state)
    return fired, jax.tree.map(in_dtype_of, condition_state, new)


def _checked_bool(fired: Any) -> jax.Array:
    if not isinstance(fired, bool | np.bool_ | np.ndarray | jax.Array):
        refuse_kind("when", "return a bool", fired)
    if jnp.shape(fired) != () or jnp.result_type(fired) != jnp.bool_:
        refuse("when", "return a bool of shape ()", fired)
    return jnp.asarray(fired)


@checked
def at_step(n: StepCount) -> Callable[..., jax.Array]:
    """A condition that holds after exactly so many updates.

    The first phase of a switch makes that many; a restart comes once, after them.

    Args:
      n: The number of updates, an integer of at least 1; it may be traced.

    Returns:
      A condition, a function without memory, for :func:`switch` and :func:`restart`.

    Examples:
      >>> import optax_extras as oxe
      >>> rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(1000))
      >>> tx = oxe.scale_by_moments(rule)
    """

    def when(*, count: jax.Array, **kwargs: Any) -> jax.Array:
        del kwargs
        return as_phase(count) == as_phase(n)

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
    """A condition that holds when a metric has stopped improving.

    It holds where :func:`plateau`, given the same numbers, would lower the rate. The
    metric comes with an update, as its extra argument, or between two of them, by
    :func:`observe`; then the condition holds at the next update. After it has held it
    starts anew, with no best metric.

    Args:
      patience: How many bad metrics in a row change nothing, an integer of at least 0:
        it holds at the one after them. A metric is bad if it is not better than the
        best one so far, or NaN.
      mode: ``"min"`` if small metrics are good, or ``"max"``.
      threshold: By how much a metric has to be better than the best one, at least 0;
        below 1 where it is relative and `mode` is ``"min"``.
      threshold_mode: ``"rel"``, a fraction of the best, or ``"abs"``.
      average_over: How many metrics are averaged to one, an integer of at least 1.
      monitor: The metric's name, among the extra args of ``update`` and in
        :func:`observe`.

    Returns:
      A `Condition` for :func:`switch` and :func:`restart`; its condition_state holds a
      `PlateauState`.

    Examples:
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(), 0.1)
      >>> when = oxe.on_plateau(patience=5, monitor="val_loss")
      >>> tx = oxe.scale_by_moments(oxe.switch(adam, sgd, when))
    """
    stalls = plateau(
        1.0,
        0.5,
        patience,
        mode=mode,
        threshold=threshold,
        threshold_mode=threshold_mode,
        average_over=average_over,
        monitor=monitor,
        cooldown=0,
        min_value=0.0,
        eps=0.0,
    )

    def update(condition_state, count, /, *, grads, updates, params, **extra):
        del count, grads, updates, params
        condition_state = stalls.update(condition_state, **extra)
        fired = stalls(condition_state) < 1
        fresh = stalls.init()
        return fired, jax.tree.map(
            lambda x, y: jnp.where(fired, x, y), fresh, condition_state
        )

    return Condition(stalls.init, update)
