"""Weight decay and the learning rate, chained behind a direction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._by_path import is_by_path
from optax_extras._checks import LearningRate, Mask
from optax_extras._errors import refuse, refuse_kind
from optax_extras._groups._freeze import freeze
from optax_extras._hyperparameters.learning_rate import learning_rate as rate_in
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._map_leaves import require_params
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._source import Number, NumbersByPath, Source
from optax_extras._learning_rates._sources_by_path import (
    SourcesByPath,
    rate_source,
)
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._numerics import (
    along_first_axis,
    compute_dtype,
    in_dtype_of,
    real_dtype,
    upcast_half,
    with_updates,
)
from optax_extras._sharding import is_none
from optax_extras._types import Params, State, Updates


def chain_decay_and_rate(
    direction: optax.GradientTransformation,
    learning_rate: LearningRate,
    weight_decay: Any = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Steps w -= learning_rate (u + weight_decay w) along a direction u."""
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
    decay = Decay(weight_decay)

    def init(params: Params) -> Any:
        _mask_as_tree(mask, params)  # refuses another tree before the first update
        state = tx.init(params)
        return (state, decay.init(params)) if decay.is_stored else state

    if is_zero(weight_decay):
        tx = tx if mask is None else tx._replace(init=init)
        return freeze(in_float32(tx), groups)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        inner, decay_state = state if decay.is_stored else (state, ())
        us, inner = tx.update(updates, inner, params, **extra)
        value, decay_state = decay.step(decay_state, us, **extra)
        rate: Any = rate_of(inner)
        if is_by_path(groups):
            rate = [rate.get(name, 0.0) for name in groups.names(us)]
        us = _add_decay(us, params, _minus_product(rate, value), mask)
        return us, (inner, decay_state) if decay.is_stored else inner

    new = optax.GradientTransformationExtraArgs(init, update)
    return freeze(in_float32(new), groups)


def descend(
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
    rated: Callable[[State], Any],
) -> optax.GradientTransformationExtraArgs:
    """Decays the params, and then updates the decayed ones by an optimizer.

    It differs from a decay afterwards if the updates depend on the params. `rated`
    finds in the optimizer's state the one with the fields `count` and `rate`.
    """
    if is_zero(weight_decay):
        return freeze(in_float32(tx), learning_rate)
    decay, source = Decay(weight_decay), rate_source("learning_rate", learning_rate)

    def init(params: Params) -> Any:
        state = tx.init(params)
        decay_state = decay.init(params)
        return (state, decay_state) if decay.is_stored else state

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        inner, decay_state = state if decay.is_stored else (state, ())
        own = rated(inner)
        rate: Any = source.step(own.count, own.rate, **extra)[0]
        if isinstance(source, SourcesByPath):
            rate = [rate.get(name, 0.0) for name in source.given.names(updates)]
        value, decay_state = decay.step(decay_state, updates, **extra)
        require_params(updates, params)
        wide = jax.tree.map(
            lambda u, p: jnp.asarray(p, compute_dtype(jnp.result_type(u))),
            updates,
            with_updates(updates, params),
        )
        decayed = _add_decay(wide, wide, _minus_product(rate, value), None)
        us, inner = tx.update(updates, inner, decayed, **extra)
        # Where the optimizer sets a weight to 0, this sum is exactly minus the weight.
        us = jax.tree.map(lambda u, x, w: u + (x - w), us, decayed, wide)
        return us, (inner, decay_state) if decay.is_stored else inner

    new = optax.GradientTransformationExtraArgs(init, update)
    return freeze(in_float32(new), learning_rate)


class WeightDecayState(NamedTuple):
    """The weight decay of the last update, if a schedule sets it."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    number: Any
    """The weight decay and where it comes from; with `by_path` those of
    the groups."""
    mask: tuple = ()
    """The state of the mask, without a leaf."""

    restarted_fields = ()

    def numbers(self) -> dict[str, Number]:
        """The numbers in this state, by name."""
        by_path = isinstance(self.number, NumbersByPath)
        return self.number.numbers() if by_path else {"weight_decay": self.number}

    def with_numbers(self, numbers: dict[str, Number]) -> "WeightDecayState":
        """The state with other numbers."""
        by_path = isinstance(self.number, NumbersByPath)
        new = self.number.with_numbers(numbers) if by_path else numbers["weight_decay"]
        return self._replace(number=new)


class Decay(NamedTuple):
    """A weight decay: a number, a schedule, or one of them for each group."""

    given: Any

    @property
    def groups(self) -> Any:
        """The decays by path, or None."""
        return self.given if is_by_path(self.given) else None

    @property
    def is_stored(self) -> bool:
        """Whether a schedule sets it, so that a state holds it."""
        if self.groups is None:
            return callable(self.given)
        return any(map(callable, [*self.given.values.values(), self.given.times]))

    @property
    def source(self) -> Any:
        """Where the number comes from."""
        if self.groups is None:
            return Source("weight_decay", self.given)
        return SourcesByPath(self.given, "weight_decay", Number)

    def init(self, params: Params, mask: Any = ()) -> Any:
        """The state before any update: that of the mask, if no schedule sets it."""
        if self.groups is not None:
            self.groups.names(params, strict=True)
        if not self.is_stored:
            return mask
        return WeightDecayState(jnp.zeros((), jnp.int32), self.source.init(), mask)

    def step(self, state: Any, updates: Updates, /, **extra: Any) -> tuple[Any, Any]:
        """The weight decay, or a list of those of the leaves, and the next state."""
        value = self.given
        if self.is_stored:
            value, number = self.source.step(state.count, state.number, **extra)
            count: Any = optax.safe_increment(state.count)
            state = state._replace(count=count, number=number)
        if self.groups is not None:
            names = self.groups.names(updates)
            if not self.is_stored:
                value = {x: self.groups.value(x) for x in {*names} if x is not None}
            value = [None if name is None else value[name] for name in names]
        return value, state


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    if isinstance(x, jax.Array | np.ndarray) or is_by_path(x):
        return False
    return bool(x == 0)


def add_decayed_weights(
    weight_decay: Any, mask: Mask | None = None
) -> optax.GradientTransformation:
    """Optax's, with updates in their own dtypes; the identity for a decay of 0."""
    decay = Decay(weight_decay)

    def init(params: Params) -> Any:
        tree = _mask_as_tree(mask, params)
        return decay.init(params, optax.add_decayed_weights(0.0, tree).init(params))

    if is_zero(weight_decay):
        identity = optax.identity()
        return identity if mask is None else identity._replace(init=init)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        value, state = decay.step(state, updates, **extra)
        return _add_decay(updates, params, value, mask), state

    return optax.GradientTransformationExtraArgs(init, update)


def _minus_product(rate: Any, value: Any) -> Any:
    """Minus the product of two numbers, or of lists with one for each leaf."""
    if not isinstance(rate, list) and not isinstance(value, list):
        return -rate * value
    count = len(rate if isinstance(rate, list) else value)
    rates, values = (x if isinstance(x, list) else [x] * count for x in (rate, value))
    pairs = zip(rates, values, strict=True)
    return [None if y is None or is_zero(y) else -x * y for x, y in pairs]


def _add_decay(
    updates: Updates, params: Params, weight_decay: Any, mask: Mask | None
) -> Any:
    """The updates plus `weight_decay` times the params, where the mask is True."""
    if not jax.tree.leaves(updates):  # valid without params, too
        return updates
    if params is None:
        refuse("params", "be given to `update` for the weight decay", params)
    mask = _mask_as_tree(mask, params)
    if isinstance(weight_decay, list):
        return _add_decays(updates, params, weight_decay, mask)
    adding: Any = optax.add_decayed_weights(weight_decay, mask)
    wide = jax.tree.map(upcast_half, params)
    added, _ = adding.update(updates, adding.init(updates), wide)
    # A float32 array as `weight_decay` makes half-precision updates float32.
    return jax.tree.map(lambda x, u: in_dtype_of(u, x), added, updates)


def _add_decays(updates: Updates, params: Params, decays: list, mask: Any) -> Any:
    """The updates plus the params times a number for each leaf."""
    leaves, treedef = jax.tree.flatten(updates, is_leaf=is_none)
    flags = [True] * len(leaves)
    if mask is not None:

        def spread(flag: Any, below: Any) -> Any:
            return jax.tree.map(lambda _: flag, below)

        flags = treedef.flatten_up_to(jax.tree.map(spread, mask, updates))
    rows = zip(leaves, treedef.flatten_up_to(params), decays, flags, strict=True)
    return treedef.unflatten([_decayed(*row) for row in rows])


def _decayed(u: Any, param: Any, decay: Any, is_decaying: Any) -> Any:
    if u is None or decay is None or is_zero(decay) or not is_decaying:
        return u
    dtype = real_dtype(compute_dtype(u.dtype))
    factor = along_first_axis(jnp.asarray(decay, dtype), u)
    return in_dtype_of(u, u + factor * upcast_half(param))


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
        refuse("mask", "have the params' tree structure, or a prefix of it", found)
    return found
