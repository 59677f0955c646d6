"""When one rule hands over to the next: conditions on what an update was seen to do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import as_phase


class Condition(NamedTuple):
    """A condition with a memory, for `oxe.switch` and `oxe.restart`.

    A plain function without memory does as well; it is called with the same keywords,
    `count` among them, and returns the bool alone.
    """

    init: Callable[[], Any]
    """() -> watch: a tree of scalars."""
    update: Callable[..., tuple[Any, Any]]
    """(watch, count, *, grads, updates, params, **extra) -> (fired, watch)."""


def as_condition(rule: str, when: Any) -> Condition:
    """What a user may write for `when`, with a check of what it returns."""
    if not isinstance(when, Condition):
        _checks.function(rule, "when", when)

    def update(watch, count, **seen):
        if isinstance(when, Condition):
            fired, watch = when.update(watch, count, **seen)
        else:
            fired = when(count=count, **seen)
        return _bool(rule, fired), watch

    return Condition(when.init if isinstance(when, Condition) else tuple, update)


def _bool(rule: str, fired: Any) -> jax.Array:
    if not isinstance(fired, bool | np.bool_ | np.ndarray | jax.Array):
        _checks.refuse_kind(rule, "when", "return a bool", fired)
    if jnp.shape(fired) != () or jnp.result_type(fired) != jnp.bool_:
        _checks.refuse(rule, "when", "return a bool of shape ()", fired)
    return jnp.asarray(fired)


def at_step(n: ArrayLike) -> Callable[..., jax.Array]:
    """A condition that lets the first phase make exactly so many updates.

    Args:
      n: The number of updates, an integer of at least 1; it may be traced.

    Returns:
      A condition for `switch` and `restart`.

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
        return as_phase(count) >= as_phase(last)

    return when
