"""Whether a transformation made an update, or refused or postponed it."""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._types import State

_OF_OPTAX = (
    optax.MultiStepsState,
    optax.ApplyIfFiniteState,
    optax.MultiTransformState,
)


def made_update(old: State, new: State) -> Any:
    """Whether the call that led from one state to the other made an update.

    Wrappers that refuse or postpone updates are found in the states. If there is none,
    it is a Python True, else shape (), bool. A state of ours answers by a method.
    """
    before, after = (
        dict(jax.tree_util.tree_leaves_with_path(x, is_leaf=_knows)) for x in (old, new)
    )
    answers = (_answer(before[path], x) for path, x in after.items() if _knows(x))
    return functools.reduce(operator.and_, answers, True)


def _knows(x: Any) -> bool:
    has_method = hasattr(x, "made_update") or hasattr(x, "phases")
    return isinstance(x, _OF_OPTAX) or (isinstance(x, tuple) and has_method)


def _answer(old: Any, new: Any) -> Any:
    if isinstance(new, optax.MultiTransformState):
        # One group is enough, but not a frozen one.
        moving = {k: x for k, x in new.inner_states.items() if not _is_frozen(x)}
        answers = (made_update(old.inner_states[k], x) for k, x in moving.items())
        return functools.reduce(operator.or_, answers, not moving)
    if hasattr(new, "phases"):
        return _of_phases(old, new)
    if isinstance(new, optax.MultiStepsState):
        itself = new.gradient_step != old.gradient_step
        return itself & made_update(old.inner_opt_state, new.inner_opt_state)
    is_ours = hasattr(new, "made_update")
    itself = new.made_update(old) if is_ours else new.last_finite
    return itself & made_update(old.inner_state, new.inner_state)


def _is_frozen(group: Any) -> bool:
    """Whether this is the state of `optax.set_to_zero` in a group of a partition."""
    return isinstance(getattr(group, "inner_state", group), optax.EmptyState)


def _of_phases(old: Any, new: Any) -> Any:
    """The answer of the phase that made the last update."""
    (_, *before), (second_count, *after) = old.phases(), new.phases()
    first, second = map(made_update, before, after)
    if first is True and second is True:
        return True
    return jnp.where(jnp.any(second_count > 0), second, first)
