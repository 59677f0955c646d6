"""Weight decay: a number, a schedule or a value by path, and a mask."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._boxes import is_none
from optax_extras._checks import Mask
from optax_extras._errors import TRANSLATE_HINT, refuse, refuse_kind
from optax_extras._learning_rates._source import Number, NumbersByPath, Source
from optax_extras._learning_rates._sources_by_path import SourcesByPath
from optax_extras._leaves import (
    along_first_axis,
    compute_dtype,
    in_dtype_of,
    real_dtype,
    upcast_half,
)
from optax_extras._lifted import is_by_path
from optax_extras._types import Params, State, Updates


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


class DecaySource(NamedTuple):
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

    def init(self, params: Params, mask: Any = None) -> Any:
        """The state before any update: that of the mask, if no schedule sets it.

        The mask is a tree.
        """
        of_mask: Any = optax.add_decayed_weights(0.0, mask).init(params)
        if self.groups is not None:
            masked = [not x for x in _flags(mask, params)]
            self.groups.names(params, strict=True, masked=masked)
        if not self.is_stored:
            return of_mask
        return WeightDecayState(jnp.zeros((), jnp.int32), self.source.init(), of_mask)

    def step(self, state: State, updates: Updates, /, **extra: Any) -> tuple[Any, Any]:
        """The weight decay, or a list of those of the leaves, and the next state."""
        value = self.given
        if self.is_stored:
            if not isinstance(state, WeightDecayState):
                must = "hold a weight decay that a schedule sets"
                refuse("state", must, type(state).__name__, TRANSLATE_HINT)
            value, number = self.source.step(state.count, state.number, **extra)
            count: Any = optax.safe_increment(state.count)
            state = state._replace(count=count, number=number)
        if self.groups is not None:
            names = self.groups.names(updates)
            if not self.is_stored:
                value = {x: self.groups.value(x) for x in {*names} if x is not None}
            value = [None if name is None else value[name] for name in names]
        return value, state

    def join(self, state: State, decay_state: Any) -> Any:
        """The optimizer's state, with that of a stored decay beside it."""
        return (state, decay_state) if self.is_stored else state

    def split(self, joined: Any) -> tuple[State, Any]:
        """The optimizer's state and that of the decay, or ()."""
        return joined if self.is_stored else (joined, ())


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0, so that its term can be left out."""
    if isinstance(x, jax.Array | np.ndarray) or is_by_path(x):
        return False
    return bool(x == 0)


def add_decayed_weights(
    weight_decay: Any, mask: Mask | None = None
) -> optax.GradientTransformation:
    """Optax's, with updates in their own dtypes; the identity for a decay of 0."""
    decay = DecaySource(weight_decay)

    def init(params: Params) -> Any:
        return decay.init(params, mask_as_tree(mask, params))

    if is_zero(weight_decay):
        identity = optax.identity()
        return identity if mask is None else identity._replace(init=init)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        value, state = decay.step(state, updates, **extra)
        return add_decay(updates, params, value, mask), state

    return optax.GradientTransformationExtraArgs(init, update)


def add_decay(
    updates: Updates, params: Params, weight_decay: Any, mask: Mask | None
) -> Any:
    """The updates plus `weight_decay` times the params, where the mask is True."""
    if not jax.tree.leaves(updates):  # valid without params, too
        return updates
    if params is None:
        refuse("params", "be given to `update` for the weight decay", params)
    mask = mask_as_tree(mask, params)
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
    flags = _flags(mask, updates)
    rows = zip(leaves, treedef.flatten_up_to(params), decays, flags, strict=True)
    return treedef.unflatten([_decayed(*row) for row in rows])


def _flags(mask: Any, tree: Any) -> list[bool]:
    """The mask for each leaf, None included."""
    leaves, treedef = jax.tree.flatten(tree, is_leaf=is_none)
    if mask is None:
        return [True] * len(leaves)

    def spread(flag: Any, below: Any) -> Any:
        return jax.tree.map(lambda _: flag, below)

    return treedef.flatten_up_to(jax.tree.map(spread, mask, tree))


def _decayed(u: Any, param: Any, decay: Any, is_decaying: Any) -> Any:
    if u is None or decay is None or is_zero(decay) or not is_decaying:
        return u
    dtype = real_dtype(compute_dtype(u.dtype))
    factor = along_first_axis(jnp.asarray(decay, dtype), u)
    return in_dtype_of(u, u + factor * upcast_half(param))


def mask_as_tree(mask: Mask | None, params: Params) -> Any:
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
