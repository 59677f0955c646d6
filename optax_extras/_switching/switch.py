"""Switches from one optimizer to another when a condition holds."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from optax_extras._check_values import is_traced, takes_keywords
from optax_extras._checks import checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._groups._freeze import check_structure
from optax_extras._kernel._after_update import after_kwargs
from optax_extras._kernel.rule import Rule
from optax_extras._leaves import strong_copy
from optax_extras._lifted import is_by_path, lift
from optax_extras._switching._switch_rules import switch_rules
from optax_extras._switching._switch_state import (
    cast_handoff,
    count_update,
    init_state,
    record_switch,
)
from optax_extras._switching.conditions import Condition, as_condition
from optax_extras._types import State, Updates

Phase = TypeVar("Phase", Rule, optax.GradientTransformationExtraArgs)


@checked
def switch(
    first: Phase,
    second: Phase,
    when: Callable[..., Any] | Condition,
    *,
    handoff: Callable[..., Any] | None = None,
    keep_moments: bool = False,
) -> Phase:
    """Switches once, for good, from one optimizer to another when a condition holds.

    Two rules make a rule, and the switch adds no time to an update, unless its
    condition reads all weights (then it is one more pass over them until the switch):
    both rules share one set of buffers and one update of each leaf. They also share the
    learning rate that follows them in a chain. To give each its own, use
    :func:`rules.with_learning_rate`.

    Two transformations make a transformation, for phases that are not rules. Its state
    contains the states of both. Because each phase is in a conditional, an update takes
    two to three times as long as with the slower phase alone; under ``vmap`` both
    phases are computed at every update. A switch may be a phase of another one. No
    extra arg may be called `count` or `grads`: the condition gets its arguments by
    these names.

    The update after which the condition holds is still the first phase's; the second
    phase begins with the next one. It counts its own updates from 1, for its bias
    corrections and its own schedule. Schedules around the switch go on counting.

    If the second phase is a transformation, it begins with the state that its `init`
    made from the very first params. If the state has to depend on later params, use
    `handoff`.

    Args:
      first: An `oxe.Rule`, or a gradient transformation.
      second: Another of the same kind.
      when: ``when(count=..., grads=..., updates=..., params=..., **extra)``, a function
        that returns a bool of shape (), or a `Condition`. `count` is the number of
        updates made by the first phase, this one included. `extra` are the extra args
        of the update, which both phases also get.
      handoff: A function that returns the state with which the second phase begins, a
        tree like `second`. It is called as ``handoff(condition_state=..., first=...,
        second=...)``, with the state of the condition and the states of both phases.
        Of transformations it is computed at the switch alone. Of rules it gets the
        carries, without the buffers, and is computed at every update up to the switch,
        perhaps also later; only the result at the switch is used. None: the second
        phase begins with `second` itself.
      keep_moments: Whether the second of two rules begins with the moments of the first
        instead of zeros. Only for rules.

    Returns:
      A rule that carries a `SwitchState`, or a transformation whose state is one.
      `switched` says which phase makes the next update; `switch_step` is the last
      update of the first phase, -1 until then.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(0.9), 0.1)
      >>> rule = oxe.switch(adam, sgd, oxe.at_step(1000))
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))

      Two transformations; the second one begins with the moment of the first:

      >>> tx = oxe.switch(
      ...     optax.scale_by_adam(b1=0.9),
      ...     optax.ema(0.9, debias=False),
      ...     oxe.at_step(1000),
      ...     handoff=lambda condition_state, first, second: second._replace(
      ...         ema=first.mu
      ...     ),
      ... )

      A condition on an extra argument:

      >>> def low(*, value, **kwargs):
      ...     return value < 0.1
      >>> tx = oxe.switch(optax.lion(1e-4), optax.sgd(0.1), low)
    """
    if handoff is not None:
        takes_keywords("handoff", handoff, "condition_state first second")
    if is_by_path(first) or is_by_path(second):
        options = {"when": when, "handoff": handoff, "keep_moments": keep_moments}
        return lift(switch_rules, {"first": first, "second": second, **options})
    kind, other = _kind("first", first), _kind("second", second)
    if kind != other:
        raise TypeError(
            f"switch: `first` and `second` must be of the same kind, got {kind} and "
            f"{other}. Make a transformation of the rule: `oxe.scale_by_moments(rule)`."
        )
    if isinstance(first, Rule) and isinstance(second, Rule):
        return switch_rules(
            first, second, when, handoff=handoff, keep_moments=keep_moments
        )
    if keep_moments:
        must = "be False for transformations: use `handoff` for their moments"
        refuse("keep_moments", must, keep_moments)
    return _switch_transformations(first, second, when, handoff)


def _kind(name: str, x: Any) -> str:
    if isinstance(x, Rule):
        return "a rule"
    if not isinstance(x, optax.GradientTransformation):
        must = "be an `oxe.Rule` or a gradient transformation"
        refuse_kind(name, must, x)
    return "a transformation"


def _switch_transformations(
    first: Any, second: Any, when: Any, handoff: Any
) -> optax.GradientTransformationExtraArgs:
    condition = as_condition(when)
    first, second = map(optax.with_extra_args_support, (first, second))

    def init(params):
        condition_state = jax.tree.map(strong_copy, condition.init())
        return init_state(condition_state, first.init(params), second.init(params))

    def update(updates, state, params=None, **extra):
        grads, now = updates, count_update(state)
        in_second, in_first = state.switched, jnp.logical_not(state.switched)

        def update_with(phase, tx):
            def update_phase(phase_state, updates):
                new, after = tx.update(updates, phase_state, params, **extra)
                _check_alike(phase, new, grads)
                if is_traced(state.switched):
                    check_structure(phase_state, after)
                return after, new

            return update_phase

        # One conditional for each phase, which updates its state or leaves it alone.
        # XLA leaves it alone in place only if that is the second branch; else it copies
        # everything, at twice the time. One conditional between both phases copies in
        # any case. In the first phase `u` is its update, which the second conditional
        # leaves alone; in the second phase `u` is still the gradients.
        first_state, u = _cond(
            in_first, update_with("first", first), _leave, state.first, grads
        )
        second_state, u = _cond(
            in_second, update_with("second", second), _leave, state.second, u
        )

        def check_condition():
            kwargs = after_kwargs(extra, grads=grads, updates=u, params=params)
            return condition.update(state.condition_state, now.first_count, **kwargs)

        unchanged = jnp.asarray(False), state.condition_state
        fired, condition_state = _cond(in_first, check_condition, lambda: unchanged)

        if handoff is not None:

            def handed_off(second_state):
                states = {"first": first_state, "second": second_state}
                handed = handoff(condition_state=condition_state, **states)
                return cast_handoff(handed, second_state)

            second_state = _cond(fired, handed_off, lambda x: x, second_state)
        now = now._replace(
            condition_state=condition_state, first=first_state, second=second_state
        )
        return u, record_switch(now, fired)

    return optax.GradientTransformationExtraArgs(init, update)


def _leave(state: State, updates: Updates) -> tuple[Any, Any]:
    return state, updates


def _cond(predicate: Any, yes: Any, no: Any, *operands: Any) -> Any:
    """`lax.cond`; a concrete predicate needs no conditional."""
    if is_traced(predicate):
        return jax.lax.cond(predicate, yes, no, *operands)
    return yes(*operands) if predicate else no(*operands)


def _check_alike(phase: str, updates: Updates, grads: Updates) -> None:
    """Refuses updates unlike the gradients: both phases must return the same kind."""

    def kinds(tree):
        leaves = [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]
        return jax.tree.structure(tree), leaves

    if kinds(updates) != kinds(grads):
        got = jax.eval_shape(lambda: updates)
        must = "return updates of the structure, shapes and dtypes of the gradients"
        refuse(phase, must, got)
