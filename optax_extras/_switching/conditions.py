"""When one rule hands over to the next: conditions on what an update was seen to do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _checks, _signatures
from optax_extras._kernel._after import given
from optax_extras._learning_rates.plateau import plateau_of
from optax_extras._numerics import as_phase, in_dtype_of


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


def as_condition(rule: str, when: Any) -> Condition:
    """What a user may write for `when`, with a check of what it returns."""
    if isinstance(when, optax.schedules.StatefulSchedule):
        must = "be a condition, such as `oxe.on_plateau`, and not a schedule"
        _checks.refuse_kind(rule, "when", must, when)
    if isinstance(when, Condition):
        _checks.function(rule, "when.init", when.init)
        seen = "grads updates params"
        _signatures.takes(rule, "when.update", when.update, seen, before=2)
    else:
        _signatures.takes(rule, "when", when, "count grads updates params")

    def update(condition_state, count, /, **seen):
        if isinstance(when, Condition):
            fired, condition_state = _answer(
                rule, when.update(condition_state, count, **seen), condition_state
            )
        else:
            fired = when(**given(rule, seen, count=count))
        return _bool(rule, fired), condition_state

    return Condition(when.init if isinstance(when, Condition) else tuple, update)


def _answer(rule: str, answer: Any, condition_state: Any) -> tuple[Any, Any]:
    """The two halves of a condition's answer; its memory keeps dtypes and shapes."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        must = "return the pair (fired, condition_state)"
        _checks.refuse_kind(rule, "when.update", must, answer)
    fired, new = answer
    must = "return a condition_state like the one that it was given"
    _checks.alike(rule, "when.update", must, new, condition_state)
    return fired, jax.tree.map(in_dtype_of, condition_state, new)


def _bool(rule: str, fired: Any) -> jax.Array:
    if not isinstance(fired, bool | np.bool_ | np.ndarray | jax.Array):
        _checks.refuse_kind(rule, "when", "return a bool", fired)
    if jnp.shape(fired) != () or jnp.result_type(fired) != jnp.bool_:
        _checks.refuse(rule, "when", "return a bool of shape ()", fired)
    return jnp.asarray(fired)


def at_step(n: ArrayLike) -> Callable[..., jax.Array]:
    """A condition that holds after exactly so many updates.

    The first phase of a switch makes that many; a restart comes once, after them.

    Args:
      n: The number of updates, an integer of at least 1; it may be traced.

    Returns:
      A condition, a function without memory, for :func:`switch` and :func:`restart`.

    Raises:
      ValueError: If `n` is below 1.
      TypeError: If `n` is no integer.

    Examples:
      >>> import optax_extras as oxe
      >>> rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(1000))
      >>> tx = oxe.scale_by_moments(rule)
    """
    last = _checks.count("at_step", "n", n)

    def when(*, count: jax.Array, **seen: Any) -> jax.Array:
        del seen
        return as_phase(count) == as_phase(last)

    return when


def on_plateau(
    patience: ArrayLike = 10,
    *,
    mode: str = "min",
    threshold: ArrayLike = 1e-4,
    threshold_mode: str = "rel",
    average_over: ArrayLike = 1,
    monitor: str = "value",
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

    Raises:
      ValueError: If a number is out of range, a word unknown, or `monitor` a name that
        ``update`` uses itself.
      TypeError: If what must be a number is not one, or `monitor` no string.

    Examples:
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(), 0.1)
      >>> when = oxe.on_plateau(patience=5, monitor="val_loss")
      >>> tx = oxe.scale_by_moments(oxe.switch(adam, sgd, when))
    """
    stalls = plateau_of(
        "on_plateau",
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
