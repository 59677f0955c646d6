"""Leaves of params and of states: their dtypes, zeros like them, casts."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._boxes import is_none
from optax_extras._types import Params, Updates


def compute_dtype(*dtypes: Any) -> np.dtype:
    """The dtype to compute in with leaves of these dtypes: 32 bits at least."""
    with jax.numpy_dtype_promotion("standard"):  # also if the user has set "strict"
        return np.dtype(jnp.result_type(*dtypes, np.float32))


def real_dtype(dtype: Any) -> np.dtype:
    """The real dtype that belongs to a floating or complex dtype."""
    return np.dtype(jnp.finfo(dtype).dtype)


def in_compute_dtype(x: Any, leaf: Any) -> jax.Array:
    """A number in the real dtype in which a leaf is computed."""
    return jnp.asarray(x, real_dtype(compute_dtype(dtype_of(leaf))))


def machine_epsilon(leaf: Any) -> Any:
    """That of a leaf's dtype; of an integer that of float32."""
    dtype = dtype_of(leaf)
    is_inexact = jnp.issubdtype(dtype, jnp.inexact)
    return jnp.finfo(dtype if is_inexact else compute_dtype(dtype)).eps


def dtype_of(leaf: Any) -> np.dtype:
    """The dtype of a leaf of the params; float32 for a PRNG key."""
    return np.dtype(np.float32) if is_key(leaf) else np.dtype(jnp.result_type(leaf))


def is_half(x: Any) -> bool:
    """Whether `x` is an array of floats of fewer than 32 bits."""
    dtype = getattr(x, "dtype", None)
    return (
        dtype is not None and jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
    )


def is_key(leaf: Any) -> bool:
    """Whether it is a typed PRNG key, of which nothing is updated."""
    dtype = getattr(leaf, "dtype", np.dtype(object))
    return jnp.issubdtype(dtype, jax.dtypes.prng_key)


def is_array_like(leaf: Any) -> bool:
    """Whether it is an array or a number: a model may hold functions, too."""
    return hasattr(leaf, "dtype") or isinstance(leaf, int | float | complex)


def zeros_like(leaf: Any, dtype: Any) -> jax.Array:
    """Zeros of a leaf's shape and sharding; real ones of a complex leaf if `dtype` is.

    They are a selection from the leaf, because `jnp.zeros_like` under `jit` makes
    zeros on one device. A `jax.ShapeDtypeStruct` gives zeros too, a PRNG key a
    placeholder.
    """
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.zeros_like(leaf, dtype)
    if is_key(leaf):
        return placeholder(leaf, dtype)
    leaf = jnp.asarray(leaf)
    if not jnp.issubdtype(dtype, jnp.complexfloating):
        leaf = leaf.real
    return jnp.where(False, leaf.astype(dtype), jnp.zeros((), dtype))


def upcast_zeros(leaf: Any) -> jax.Array:
    """Zeros of a leaf's shape and sharding, of 32 bits at least."""
    return zeros_like(leaf, compute_dtype(dtype_of(leaf)))


def as_leaf(leaf: Any) -> Any:
    """A leaf of the params as an array: zeros for a `jax.ShapeDtypeStruct`."""
    is_shape = isinstance(leaf, jax.ShapeDtypeStruct)
    return jnp.zeros_like(leaf) if is_shape else jnp.asarray(leaf)


def placeholder(like: Any, dtype: Any) -> jax.Array:
    """The entry of a params-shaped tree for a leaf that needs no entry.

    It has one element, in the leaf's rank. None or a container would break Flax NNX and
    `optax.tree.map_params`, and Orbax does not save empty arrays.
    """
    if jnp.ndim(like) == 0 and not is_key(like):
        return zeros_like(like, dtype)  # with the leaf's sharding
    return jnp.zeros((1,) * jnp.ndim(like), dtype)


def is_placeholder_of_optax(params: Params) -> bool:
    """Whether `optax.tree.map_params` asks for the parts of a state like the params."""
    of_optax = type(params).__module__.split(".")[0] == "optax"
    is_masked = isinstance(params, optax.MaskedNode)
    return of_optax and not is_masked and not jax.tree.leaves(params)


def along_first_axis(x: Any, leaf: Any) -> Any:
    """A scalar, or a vector along the first axis of a leaf, to multiply the leaf."""
    return x if jnp.ndim(x) == 0 else x.reshape((-1,) + (1,) * (jnp.ndim(leaf) - 1))


def with_updates(updates: Updates, params: Params) -> Any:
    """The params that have an update, None for the others.

    Training code of Equinox makes the state of a part of a model and gives `update` all
    of it, with None in the updates of the rest.
    """

    def leaf(u: Any, p: Any) -> Any:
        return None if u is None else p

    return jax.tree.map(leaf, updates, params, is_leaf=is_none)


def upcast_half(x: Any) -> Any:
    """Half precision as float32; anything else unchanged."""
    return jnp.asarray(x, jnp.float32) if is_half(x) else x


def without_weak_type(x: Any) -> Any:
    """An array made strongly typed; anything else unchanged."""
    return jnp.asarray(x, x.dtype) if getattr(x, "weak_type", False) else x


def cast_like(old: Any, new: Any) -> Any:
    """`new` in the dtype of `old`, if both are arrays; else `new` unchanged."""
    both = isinstance(new, jax.Array) and hasattr(old, "dtype")
    weak = getattr(new, "weak_type", False)  # keys of jax.random have no `weak_type`
    changed = both and (new.dtype != old.dtype or weak)
    return new.astype(old.dtype) if changed else new


def in_dtype_of(old: Any, new: Any) -> jax.Array:
    """The new value of an entry of a state; both may be Python numbers."""
    return jnp.asarray(new, jnp.result_type(old))


def strong_copy(x: Any) -> jax.Array:
    """A strongly typed copy, so that a state shares no array with a closure."""
    return jnp.array(x, jnp.result_type(x))
