"""Decoupled weight decay, for every optimizer in the same words."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._hyperparameters.learning_rate import learning_rate
from optax_extras._kernel._float32 import rounded_once
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by
from optax_extras._numerics import wide
from optax_extras._state._stacking import GroupedLeaves

Mask = Any | Callable[[Any], Any] | None


def descend(
    rule: str,
    direction: optax.GradientTransformation,
    rate: ArrayLike | optax.Schedule,
    weight_decay: ArrayLike,
    mask: Mask,
) -> optax.GradientTransformationExtraArgs:
    """Steps along a direction with the weights added: w -= rate (u + decay w)."""
    source = as_rate(rule, "learning_rate", rate)
    _checks.real(rule, "weight_decay", weight_decay, "[0, inf)")
    _checks.mask(rule, mask)
    decay = add_decayed_weights(weight_decay, mask, rule=rule)
    return rounded_once(optax.chain(direction, decay, scale_by(source)))


def decayed(
    rule: str,
    tx: optax.GradientTransformationExtraArgs,
    weight_decay: ArrayLike,
    mask: Mask,
) -> optax.GradientTransformationExtraArgs:
    """The same for an optimizer with the rate inside, which its state tells."""
    _checks.real(rule, "weight_decay", weight_decay, "[0, inf)")
    _checks.mask(rule, mask)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        updates, state = tx.update(updates, state, params, **extra)
        factor = -learning_rate(state) * weight_decay
        return with_decay(rule, updates, params, factor, mask), state

    return rounded_once(tx if is_zero(weight_decay) else tx._replace(update=update))


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0: what is absent then leaves no trace."""
    return not isinstance(x, jax.Array) and x == 0


def add_decayed_weights(
    weight_decay: Any, mask: Mask = None, *, rule: str = "add_decayed_weights"
) -> optax.GradientTransformation:
    """Optax's, in the updates' dtypes, and nothing at all for a decay of 0."""
    if is_zero(weight_decay):
        return optax.identity()

    def init(params: Any) -> Any:
        given = _asked(rule, mask, params)
        return optax.add_decayed_weights(weight_decay, given).init(params)

    def update(updates: Any, state: Any, params: Any = None):
        return with_decay(rule, updates, params, weight_decay, mask), state

    return optax.GradientTransformation(init, update)


def with_decay(
    rule: str, updates: Any, params: Any, weight_decay: Any, mask: Mask
) -> Any:
    if not jax.tree.leaves(updates):  # without params, too
        return updates
    if params is None:
        must = "be given to `update`, which decays them"
        _checks.refuse(rule, "params", must, params)
    if mask is not None and isinstance(params, GroupedLeaves):
        _checks.refuse("stacked", "tx", "have no mask, which knows no stacks", mask)
    adding: Any = optax.add_decayed_weights(weight_decay, _asked(rule, mask, params))
    added, _ = adding.update(updates, adding.init(updates), jax.tree.map(wide, params))
    # An array of float32 would make them so.
    return jax.tree.map(lambda x, u: x.astype(u.dtype), added, updates)


def _asked(rule: str, mask: Mask, params: Any) -> Any:
    """Of the params as they are: Optax would ask a function about the updates."""
    if mask is None or params is None:
        return mask
    given = mask(params) if callable(mask) else mask
    kinds = [getattr(x, "dtype", type(x)) for x in jax.tree.leaves(given)]
    if given is None or not all(kind in (bool,) for kind in kinds):
        _checks.refuse_kind(rule, "mask", "return a tree of bools", given)
    try:
        jax.tree.map(lambda asked, below: None, given, params)
    except ValueError:
        must = "be a tree of bools like the params, or a function to one"
        _checks.refuse(rule, "mask", must, given)
    return given
