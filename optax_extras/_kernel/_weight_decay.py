"""Weight decay and the learning rate, chained behind a direction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import LearningRate, Mask
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters.learning_rate import learning_rate as rate_in
from optax_extras._kernel._float32 import in_float32
from optax_extras._learning_rates._source import Number, Source, as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._numerics import in_dtype_of, upcast_half
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
    rate_of: Callable[[State], jax.Array] = rate_in,
) -> optax.GradientTransformationExtraArgs:
    """Decoupled weight decay for an optimizer that applies its own learning rate."""

    def init(params: Params) -> Any:
        _mask_as_tree(mask, params)  # refuses another tree before the first update
        return tx.init(params)

    if is_zero(weight_decay):
        return in_float32(tx if mask is None else tx._replace(init=init))

    if not callable(weight_decay):

        def update(updates: Updates, state: State, params: Params = None, **extra: Any):
            updates, state = tx.update(updates, state, params, **extra)
            decay = -rate_of(state) * weight_decay
            return _add_decay(updates, params, decay, mask), state

        return in_float32(optax.GradientTransformationExtraArgs(init, update))
    source = Source("weight_decay", weight_decay)

    def scheduled_init(params: Params) -> Any:
        return init(params), WeightDecayState.first(source)

    def scheduled(updates: Updates, state: State, params: Params = None, **extra: Any):
        updates, inner_state = tx.update(updates, state[0], params, **extra)
        value, decay_state = state[1].next(source, **extra)
        decay = -rate_of(inner_state) * value
        return _add_decay(updates, params, decay, mask), (inner_state, decay_state)

    return in_float32(optax.GradientTransformationExtraArgs(scheduled_init, scheduled))


class WeightDecayState(NamedTuple):
    """The weight decay of the last update, if a schedule sets it."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    number: Number
    """The weight decay, and where it comes from."""
    mask: tuple = ()
    """The state of the mask, without a leaf."""

    restarted_fields = ()

    @classmethod
    def first(cls, source: Source, mask: Any = ()) -> "WeightDecayState":
        """The state before any update."""
        return cls(jnp.zeros((), jnp.int32), source.init(), mask)

    def next(self, source: Source, /, **extra: Any) -> tuple[Any, "WeightDecayState"]:
        """The weight decay of an update, and the state after it."""
        value, number = source.step(self.count, self.number, **extra)
        count: Any = optax.safe_increment(self.count)
        return value, self._replace(count=count, number=number)

    def numbers(self) -> dict[str, Number]:
        """The number in this state, by name."""
        return {"weight_decay": self.number}

    def with_numbers(self, numbers: dict[str, Number]) -> "WeightDecayState":
        """The state with another number."""
        return self._replace(number=numbers["weight_decay"])


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    return not isinstance(x, jax.Array) and x == 0


def add_decayed_weights(
    weight_decay: Any, mask: Mask | None = None
) -> optax.GradientTransformation:
    """Optax's, with updates in their own dtypes; the identity for a decay of 0."""

    def init(params: Params) -> Any:
        masked = optax.add_decayed_weights(0.0, _mask_as_tree(mask, params)).init(
            params
        )
        if not callable(weight_decay):
            return masked
        return WeightDecayState.first(source, masked)

    if is_zero(weight_decay):
        identity = optax.identity()
        return identity if mask is None else identity._replace(init=init)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        value = weight_decay
        if callable(weight_decay):
            value, state = state.next(source, **extra)
        return _add_decay(updates, params, value, mask), state

    source = Source("weight_decay", weight_decay)
    return optax.GradientTransformationExtraArgs(init, update)


def _add_decay(
    updates: Updates, params: Params, weight_decay: Any, mask: Mask | None
) -> Any:
    """The updates plus `weight_decay` times the params, where the mask is True."""
    if not jax.tree.leaves(updates):  # valid without params, too
        return updates
    if params is None:
        refuse("params", "be given to `update` for the weight decay", params)
    adding: Any = optax.add_decayed_weights(weight_decay, _mask_as_tree(mask, params))
    added, _ = adding.update(
        updates, adding.init(updates), jax.tree.map(upcast_half, params)
    )
    # A float32 array as `weight_decay` makes half-precision updates float32.
    return jax.tree.map(lambda x, u: in_dtype_of(u, x), added, updates)


def _mask_as_tree(mask: Mask | None, params: Params) -> Any:
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
