"""Weight decay and the learning rate, chained behind a direction."""

from typing import Any

import jax
import optax

from optax_extras._checks import LearningRate, Mask
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters.learning_rate import learning_rate as rate_in
from optax_extras._kernel._float32 import in_float32
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._numerics import upcast_half
from optax_extras._types import Params, State, Updates


def chain_decay_and_rate(
    direction: optax.GradientTransformation,
    learning_rate: LearningRate,
    weight_decay: Any = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Steps w -= learning_rate (u + weight_decay w) along a direction u."""
    decay = add_decayed_weights(weight_decay, mask)
    rate = scale_by_source(as_rate("learning_rate", learning_rate))
    return in_float32(optax.chain(direction, decay, rate))


def add_decay_with_inner_rate(
    tx: optax.GradientTransformationExtraArgs,
    weight_decay: Any,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The same for an optimizer that applies the learning rate held in its state."""

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        updates, state = tx.update(updates, state, params, **extra)
        decay = -rate_in(state) * weight_decay
        return add_decay(updates, params, decay, mask), state

    return in_float32(tx if is_zero(weight_decay) else tx._replace(update=update))


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    return not isinstance(x, jax.Array) and x == 0


def add_decayed_weights(
    weight_decay: Any, mask: Mask | None = None
) -> optax.GradientTransformation:
    """Optax's, with updates in their own dtypes; the identity for a decay of 0."""
    if is_zero(weight_decay):
        return optax.identity()

    def init(params: Params) -> Any:
        decay = optax.add_decayed_weights(weight_decay, _resolved(mask, params))
        return decay.init(params)

    def update(updates: Updates, state: State, params: Params = None):
        return add_decay(updates, params, weight_decay, mask), state

    return optax.GradientTransformation(init, update)


def add_decay(
    updates: Updates, params: Params, weight_decay: Any, mask: Mask | None
) -> Any:
    """The updates plus `weight_decay` times the params, where the mask is True."""
    if not jax.tree.leaves(updates):  # valid without params, too
        return updates
    if params is None:
        refuse("params", "be given to `update` for the weight decay", params)
    adding: Any = optax.add_decayed_weights(weight_decay, _resolved(mask, params))
    added, _ = adding.update(
        updates, adding.init(updates), jax.tree.map(upcast_half, params)
    )
    # A float32 array as `weight_decay` makes half-precision updates float32.
    return jax.tree.map(lambda x, u: x.astype(u.dtype), added, updates)


def _resolved(mask: Mask | None, params: Params) -> Any:
    """The mask as a tree. Optax would call a function with the updates instead."""
    if mask is None or params is None:
        return mask
    found = mask(params) if callable(mask) else mask
    dtypes = [getattr(x, "dtype", type(x)) for x in jax.tree.leaves(found)]
    if found is None or not all(dtype in (bool,) for dtype in dtypes):
        refuse_kind("mask", "return a tree of bools", found)
    try:
        jax.tree.map(lambda flag, below: None, found, params)
    except ValueError:
        must = "have the params' tree structure, or a prefix of it"
        refuse("mask", must, found)
    return found
