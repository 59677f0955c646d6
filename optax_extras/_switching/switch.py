"""One optimizer until a condition holds, another one from then on."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel._after_update import after_kwargs
from optax_extras._kernel.scale_by_moments import Rule
from optax_extras._numerics import strong_copy
from optax_extras._switching._switch_rules import (
    cast_handoff,
    count_update,
    init_state,
    record_switch,
    switch_rules,
)
from optax_extras._switching.conditions import Condition, as_condition
from optax_extras._types import State, Updates
from optax_extras._values import is_traced, takes_keywords

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
    """One optimizer until a condition holds once, another one from then on, for good.

    Of two rules it is a rule, and costs nothing: one set of buffers for both, and never
    more time than the slower one takes. Of two transformations it is a transformation,
    for phases that are no rules: it keeps the states of both, and an update takes two
    to three times as long as one of the slower phase alone (each phase stands in a
    conditional), under ``vmap`` as long as both. A switch may be a phase of another
    one. No extra argument may be called `count` or `grads`, as that is what the
    condition is given.

    The update after which the condition holds is still the first phase's; the second
    one begins with the next. It counts its own updates from 1, for its bias
    corrections and its own schedule; schedules around the switch go on counting.

    A transformation as second phase begins with the state of its `init` on the very
    first params. If its state has to depend on later ones, see `handoff`.

    Args:
      first: An `oxe.Rule`, or a gradient transformation.
      second: Another of the same kind.
      when: ``when(count=..., grads=..., updates=..., params=..., **extra)``, a function
        that returns a bool of shape (), or a `Condition`. `count` is the number of
        updates that the first phase has made, the present one included; `extra` are
        the extra arguments of the update, which both phases are given, too.
      handoff: ``handoff(condition_state=..., first=..., second=...)``, called when the
        condition holds, with the state of the condition and of both phases: of rules
        the scalars, of transformations the whole states. It returns what the second
        phase begins with, a tree like `second`. None: that is `second` itself.
      keep_moments: Whether the second of two rules begins with the moments of the
        first instead of zeros; only for rules.

    Returns:
      An `oxe.Rule` that carries a `SwitchState`, or an
      `optax.GradientTransformationExtraArgs` whose state is one. Its `switched` says
      which phase is next, its `switch_step` when it changed, -1 until then.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(0.9), 0.1)
      >>> rule = oxe.switch(adam, sgd, oxe.at_step(1000))
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))

      Two transformations, and a condition on an extra argument:

      >>> def low(*, value, **kwargs):
      ...     return value < 0.1
      >>> tx = oxe.switch(optax.lion(1e-4), optax.sgd(0.1), low)
    """
    if handoff is not None:
        takes_keywords("handoff", handoff, "condition_state first second")
    kinds = [_kind(name, x) for name, x in (("first", first), ("second", second))]
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"switch: `first` and `second` must be of one kind, got {kinds[0]} and "
            f"{kinds[1]}. Make a transformation of the rule with "
            "`oxe.scale_by_moments(rule)`."
        )
    if isinstance(first, Rule) and isinstance(second, Rule):
        options: dict[str, Any] = {"handoff": handoff, "keep_moments": keep_moments}
        return switch_rules(first, second, when, **options)
    if keep_moments:
        must = "be False for transformations, which have `handoff` for that"
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
        grads, before, now = updates, state.switched, count_update(state)

        def make(phase, tx):
            def made(phase_state, updates):
                new, phase_state = tx.update(updates, phase_state, params, **extra)
                _check_alike(phase, new, grads)
                return phase_state, new

            return made

        # Each leaves alone what it does not work on. XLA does that in place only where
        # leaving alone is the second branch; else it copies all, at twice the time. A
        # single conditional between both phases copies in any case.
        now_first = jnp.logical_not(before)
        first_state, u = _cond(
            now_first, make("first", first), _leave, state.first, grads
        )
        second_state, u = _cond(before, make("second", second), _leave, state.second, u)

        def asked():
            kwargs = after_kwargs(extra, grads=grads, updates=u, params=params)
            return condition.update(state.condition_state, now.first_count, **kwargs)

        not_asked = jnp.asarray(False), state.condition_state
        fired, condition_state = _cond(now_first, asked, lambda: not_asked)

        if handoff is not None:

            def handed(second_state):
                return cast_handoff(
                    handoff(
                        condition_state=condition_state,
                        first=first_state,
                        second=second_state,
                    ),
                    second_state,
                )

            second_state = _cond(fired, handed, lambda x: x, second_state)
        return u, record_switch(
            now._replace(
                condition_state=condition_state, first=first_state, second=second_state
            ),
            fired,
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _leave(state: State, updates: Updates) -> tuple[Any, Any]:
    return state, updates


def _cond(predicate: Any, yes: Any, no: Any, *operands: Any) -> Any:
    """`lax.cond`; where the predicate is known there is nothing to compile."""
    if is_traced(predicate):
        return jax.lax.cond(predicate, yes, no, *operands)
    return yes(*operands) if predicate else no(*operands)


def _check_alike(phase: str, updates: Updates, grads: Updates) -> None:
    """Refuses updates that the other phase could not have made."""

    def kinds(tree):
        leaves = [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]
        return jax.tree.structure(tree), leaves

    if kinds(updates) != kinds(grads):
        got = jax.eval_shape(lambda: updates)
        must = "return updates of the structure, shapes and dtypes of the gradients"
        refuse(phase, must, got)
