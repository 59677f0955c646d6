"""Optimizers from a direction, a weight decay and a learning rate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import LearningRate, Mask
from optax_extras._groups._freeze import freeze
from optax_extras._hyperparameters.learning_rate import learning_rate as rate_in
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._map_leaves import require_params
from optax_extras._kernel._weight_decay import (
    DecaySource,
    add_decay,
    add_decayed_weights,
    is_zero,
    mask_as_tree,
)
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._sources_by_path import SourcesByPath, rate_source
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._leaves import compute_dtype, with_updates
from optax_extras._lifted import is_by_path
from optax_extras._types import Params, State, Updates


def chain_decay_and_rate(
    direction: optax.GradientTransformation,
    learning_rate: LearningRate,
    weight_decay: Any = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Steps w -= learning_rate (u + weight_decay w) along a direction u."""
    # L2 decay comes before the direction: PyTorch's order, in `pytorch/_build.py`.
    decay = add_decayed_weights(weight_decay, mask)
    rate = scale_by_source(rate_source("learning_rate", learning_rate))
    return freeze(in_float32(optax.chain(direction, decay, rate)), learning_rate)


def add_decay_with_inner_rate(
    tx: optax.GradientTransformationExtraArgs,
    weight_decay: Any,
    mask: Mask | None = None,
    rate_of: Callable[[State], Any] = rate_in,
    groups: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Decoupled weight decay for an optimizer that applies its own learning rate.

    If that depends on the path, `groups` says how, and `rate_of` returns the learning
    rate of each group.
    """
    decay = DecaySource(weight_decay)

    def init(params: Params) -> Any:
        # Refuses other groups and another mask before the first update.
        decay_state = decay.init(params, mask_as_tree(mask, params))
        state = tx.init(params)
        return decay.join(state, decay_state)

    if is_zero(weight_decay):
        tx = tx if mask is None else tx._replace(init=init)
        return freeze(in_float32(tx), groups)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        inner, decay_state = decay.split(state)
        us, inner = tx.update(updates, inner, params, **extra)
        value, decay_state = decay.step(decay_state, us, **extra)
        rate: Any = rate_of(inner)
        if is_by_path(groups):
            rate = _of_leaves(rate, groups, us)
        us = add_decay(us, params, _minus_product(rate, value), mask)
        return us, decay.join(inner, decay_state)

    new = optax.GradientTransformationExtraArgs(init, update)
    return freeze(in_float32(new), groups)


def chain_sign_and_decay(
    rule: Any, weight_decay: Any = 0.0, mask: Mask | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a rule that has its learning rate inside."""
    tx = optax.chain(scale_by_moments(rule), optax.scale(-1.0))
    if not is_by_path(rule):
        return add_decay_with_inner_rate(tx, weight_decay, mask)

    def rates(state: State) -> dict[str, jax.Array]:
        by_group = dict(state[0].carry)  # without groups that move, it is ()
        return {group: rate_in(carry) for group, carry in by_group.items()}

    return add_decay_with_inner_rate(tx, weight_decay, mask, rates, rule)


def decay_before(
    tx: optax.GradientTransformationExtraArgs,
    learning_rate: LearningRate,
    weight_decay: Any,
    find_rate_state: Callable[[State], Any],
) -> optax.GradientTransformationExtraArgs:
    """Decays the params, and then updates the decayed ones by an optimizer.

    It differs from a decay afterwards if the updates depend on the params.
    `find_rate_state` finds, in the optimizer's state, that with the fields `count` and
    `rate`.
    """
    if is_zero(weight_decay):
        return freeze(in_float32(tx), learning_rate)
    decay = DecaySource(weight_decay)
    source = rate_source("learning_rate", learning_rate)

    def init(params: Params) -> Any:
        state = tx.init(params)
        decay_state = decay.init(params)
        return decay.join(state, decay_state)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        inner, decay_state = decay.split(state)
        rate_state = find_rate_state(inner)
        rate: Any = source.step(rate_state.count, rate_state.rate, **extra)[0]
        if isinstance(source, SourcesByPath):
            rate = _of_leaves(rate, source.given, updates)
        value, decay_state = decay.step(decay_state, updates, **extra)
        require_params(updates, params)
        wide = jax.tree.map(
            lambda u, p: jnp.asarray(p, compute_dtype(jnp.result_type(u))),
            updates,
            with_updates(updates, params),
        )
        decayed = add_decay(wide, wide, _minus_product(rate, value), None)
        us, inner = tx.update(updates, inner, decayed, **extra)
        # Where the optimizer sets a weight to 0, this sum is exactly minus the weight.
        us = jax.tree.map(lambda u, x, w: u + (x - w), us, decayed, wide)
        return us, decay.join(inner, decay_state)

    new = optax.GradientTransformationExtraArgs(init, update)
    return freeze(in_float32(new), learning_rate)


def _of_leaves(numbers: dict[str, Any], groups: Any, tree: Any) -> list[Any]:
    """The numbers of the groups for each leaf; 0 where it is frozen."""
    return [numbers.get(name, 0.0) for name in groups.names(tree)]


def _minus_product(rate: Any, value: Any) -> Any:
    """Minus the product of two numbers, or of lists with one for each leaf."""
    if not isinstance(rate, list) and not isinstance(value, list):
        return -rate * value
    count = len(rate if isinstance(rate, list) else value)
    rates, values = (x if isinstance(x, list) else [x] * count for x in (rate, value))
    pairs = zip(rates, values, strict=True)
    return [None if y is None or is_zero(y) else -x * y for x, y in pairs]
