"""Restarts an optimizer whenever a condition holds."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import checked
from optax_extras._errors import refuse_kind
from optax_extras._hyperparameters._walker import INJECTED
from optax_extras._kernel._after_update import after_kwargs
from optax_extras._kernel.rule import Rule
from optax_extras._leaves import in_dtype_of, strong_copy, with_updates
from optax_extras._lifted import is_by_path, lift
from optax_extras._switching._switch_rules import zero_old_buffers
from optax_extras._switching.conditions import Condition, as_condition
from optax_extras._types import Params, State, Updates


class RestartState(NamedTuple):
    """State of `restart`: the carry of a rule, or the state of a transformation."""

    count: Any
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    count_since_restart: Any
    """Shape (), int32: updates made since the last restart, which a rule counts."""
    condition_state: Any
    """The state of the condition."""
    inner: Any
    """The carry of the rule, or the state of the transformation."""


def _restart_rule(inner: Rule, when: Any) -> Rule:
    """`oxe.restart` of a rule: resets its coefficients and scalars to the first."""
    condition = as_condition(when)

    def init():
        zero = jnp.zeros((), jnp.int32)
        return RestartState(zero, jnp.array(zero), condition.init(), inner.init())

    def step(t, carry):
        del t
        since: Any = optax.safe_increment(carry.count_since_restart)
        count: Any = optax.safe_increment(carry.count)
        tableau, inner_carry = inner.step(since, carry.inner)
        # At the very first update the buffers are zero anyway.
        tableau = zero_old_buffers(tableau, since <= 1)
        return tableau, RestartState(count, since, carry.condition_state, inner_carry)

    def after(t, carry, /, **kwargs):
        del t
        inner_carry = carry.inner
        if inner.after is not None:
            inner_carry = inner.after(carry.count_since_restart, inner_carry, **kwargs)
        fired, condition_state = condition.update(
            carry.condition_state, carry.count, **kwargs
        )

        def scalar(old, new):
            return jnp.where(fired, in_dtype_of(old, new), old)

        inner_carry = _restarted(inner_carry, inner.init(), scalar)
        since = jnp.where(fired, 0, carry.count_since_restart)
        return RestartState(carry.count, since, condition_state, inner_carry)

    return Rule(init, step, after, inner.buffers)


Direction = TypeVar("Direction", Rule, optax.GradientTransformationExtraArgs)

# States of Optax with a schedule, which goes on, and the fields of each that are reset.
# States of this library have an attribute `restarted_fields` for that.
_OPTAX_FIELDS = {
    optax.ScaleByScheduleState: (),
    optax.contrib.ReduceLROnPlateauState: (),
    **dict.fromkeys(INJECTED, ("inner_state",)),
}


@checked
def restart(inner: Direction, when: Callable[..., Any] | Condition) -> Direction:
    """Restarts an optimizer whenever a condition holds, or when a schedule restarts.

    A restart resets the moments and the step number of their bias correction together,
    as if the optimizer had just been made. (If only the moments were reset, Adam's next
    steps would be several times too long: nothing would correct the bias of the zeros.)

    These continue and are not reset:

    * schedules around the restarted optimizer;
    * inside a transformation the step counts of :func:`scale_by_rate`,
      :func:`scheduled`, ``optax.scale_by_schedule`` and ``optax.inject_hyperparams``,
      and the factor of ``optax.contrib.reduce_on_plateau``;
    * metric schedules, also in :func:`scale_by_metric`, and numbers set by
      :func:`set_hyperparameters`.

    Everything else is reset. That includes the schedule of an optimizer or rule with
    its learning rate inside (:func:`asgd`, :func:`adafactor`, :func:`heavy_ball`,
    :func:`adabound`, `rules.with_learning_rate`): such a schedule is called with the
    number of updates since the restart. If it has to go on, pass it by
    :func:`scheduled`, or put :func:`scale_by_rate` behind a rule without a learning
    rate.

    Restarting a rule gives a rule and adds no time, unless the condition reads all
    weights. Restarting a transformation gives
    a transformation, which makes its state again in a conditional, with two temporaries
    of the params' size; its `init` gets the params before the update. The carry or the
    state is a `RestartState`. No extra arg may be called `count` or `grads`: the
    condition gets its arguments by these names.

    Args:
      inner: An `oxe.Rule`, or a gradient transformation.
      when: ``when(count=..., grads=..., updates=..., params=..., **extra)``, a function
        that returns a bool of shape (), or a `Condition`. `count` is the number of
        updates made, this one included. After an update at which it holds, the
        optimizer starts over. Or a schedule with the attribute `restarts`, such as
        ``schedules.warm_restarts(...)``.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.warm_restarts(1e-3, period=1000, period_mult=2)
      >>> direction = oxe.scale_by_moments(oxe.restart(oxe.rules.adam(), schedule))
      >>> tx = optax.chain(direction, oxe.scale_by_rate(schedule))
    """
    restarts = getattr(when, "restarts", None)
    if restarts is not None:
        when = _at_restarts(restarts)
    if isinstance(inner, Rule) or is_by_path(inner):
        return lift(_restart_rule, {"inner": inner, "when": when})
    if not isinstance(inner, optax.GradientTransformation):
        must = "be an `oxe.Rule` or a gradient transformation"
        refuse_kind("inner", must, inner)
    return _restart_transformation(inner, when)


def _restart_transformation(
    inner: Any, when: Any
) -> optax.GradientTransformationExtraArgs:
    condition = as_condition(when)
    inner = optax.with_extra_args_support(inner)

    def init(params):
        condition_state = jax.tree.map(strong_copy, condition.init())
        zero = jnp.zeros((), jnp.int32)
        return RestartState(zero, jnp.array(zero), condition_state, inner.init(params))

    def update(updates, state, params=None, **extra):
        u, inner_state = inner.update(updates, state.inner, params, **extra)
        count: Any = optax.safe_increment(state.count)
        since: Any = optax.safe_increment(state.count_since_restart)
        kwargs = after_kwargs(extra, grads=updates, updates=u, params=params)
        fired, condition_state = condition.update(
            state.condition_state, count, **kwargs
        )

        def restarted(inner_state, like):
            new = _in_structure_of(inner_state, inner.init(like))
            return _restarted(inner_state, new, in_dtype_of)

        like = _params_of_init(inner.init, inner_state, updates, params)
        # As an operand: what is closed over outside of `jit` loses its sharding.
        inner_state = jax.lax.cond(fired, restarted, lambda x, _: x, inner_state, like)
        return u, RestartState(
            count, jnp.where(fired, 0, since), condition_state, inner_state
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _in_structure_of(state: State, new: State) -> Any:
    """The leaves of a new state in the structure of this one.

    Flax NNX wraps the leaves of a state: the wrappers stay.
    """
    found, treedef = jax.tree_util.tree_flatten_with_path(state)
    leaves = jax.tree.leaves(new)
    if len(leaves) != len(found):
        # The state has been that of other groups, which left scalars in it. A wrapper
        # adds a key to the path.
        first = dict(jax.tree_util.tree_leaves_with_path(new))
        leaves = [
            first.get(path, first.get(path[:-1], jnp.zeros_like(leaf)))
            for path, leaf in found
        ]
    return treedef.unflatten(leaves)


def _params_of_init(init: Any, state: State, updates: Updates, params: Params) -> Any:
    """The params from which `init` made a state like this one."""
    if params is None:
        return updates
    trained = with_updates(updates, params)
    if jax.tree.structure(trained) == jax.tree.structure(params):
        return params
    # Training code of Equinox makes a state of all params, of the arrays among them, or
    # of those that are trained, and gives `update` the complete model.
    arrays = jax.tree.map(lambda p: p if hasattr(p, "dtype") else None, params)
    for like in (params, arrays):
        with contextlib.suppress(TypeError):  # a leaf may be a function
            first = jax.eval_shape(init, like)
            if len(jax.tree.leaves(first)) == len(jax.tree.leaves(state)):
                return like
    return trained


def _at_restarts(restarts: Callable[[Any], Any]) -> Callable[..., Any]:
    def when(*, count: Any, **kwargs: Any) -> Any:
        del kwargs
        return restarts(count)

    return when


def _restarted_fields(state: State) -> tuple[str, ...] | None:
    """The fields that are reset; None: all of them."""
    default = _OPTAX_FIELDS.get(type(state))
    return getattr(state, "restarted_fields", default)


def _restarted(old: Any, new: Any, leaf: Callable[[Any, Any], Any]) -> Any:
    """`leaf(old, new)` for every leaf, except in fields that go on."""

    def node(old, new):
        fields = _restarted_fields(old)
        if fields is None:
            return leaf(jnp.asarray(old), new)
        parts = {x: _restarted(getattr(old, x), getattr(new, x), leaf) for x in fields}
        return old._replace(**parts)

    return jax.tree.map(
        node, old, new, is_leaf=lambda x: _restarted_fields(x) is not None
    )
