"""Arrays in the dtype and sharding of others, and what the rounding costs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import is_traced
from optax_extras._errors import refuse, refuse_kind

TRANSPOSE_HINT = (
    "Say by `transpose` which arrays to transpose, and by `order` which is which."
)


def refuse_traced(**arguments: Any) -> None:
    """Refuses tracers in arguments: a report needs numbers."""
    for name, tree in arguments.items():
        for x in filter(is_traced, jax.tree.leaves(tree)):
            must = "have concrete arrays: call it outside of `jit`, between two steps"
            refuse_kind(name, must, x)


def converted(
    place: str, path: str, x: Any, factor: float, like: Any, hint: str = TRANSPOSE_HINT
) -> tuple[Any, float | None]:
    """A leaf in the dtype and sharding of `like`, and its rounding error in ulps."""
    if np.shape(x) != np.shape(like):
        refuse(
            f"state of {path!r}",
            f"have the shape {np.shape(like)} of {place}",
            np.shape(x),
            hint,
        )
    dtype = jnp.result_type(like)
    if isinstance(x, jax.Array):
        same = factor == 1 and x.dtype == dtype
        wide = jnp.promote_types(x.dtype, dtype)  # rounds once
        product = x.astype(wide) * np.asarray(factor, wide)
        new = jnp.array(x) if same else product.astype(dtype)
        ulps = 0.0 if same else None
        if wide != dtype and jnp.issubdtype(wide, jnp.inexact):
            ulps = _ulps(product, new, jnp)
    else:
        wide = np.asarray(x)
        wide = wide.astype(np.result_type(wide.dtype, np.float64)) * factor
        narrow = wide.astype(dtype)
        ulps = _ulps(wide, narrow, np)
        new = jnp.asarray(narrow)
    return placed(new, like), ulps


def placed(new: jax.Array, like: Any) -> jax.Array:
    """The array with the sharding of `like`."""
    if getattr(like, "committed", False):
        return jax.device_put(new, like.sharding)
    devices = getattr(like, "devices", new.devices)()
    # An array that is committed to other devices would take the new params there.
    return new if new.devices() == devices else jnp.asarray(np.asarray(new))


def _ulps(wide: Any, narrow: Any, xp: Any) -> float:
    """The largest difference, in units in the last place of the narrow numbers.

    `xp` is the module for the arrays, NumPy or JAX's.
    """
    if xp.iscomplexobj(wide):
        return max(_ulps(wide.real, narrow.real, xp), _ulps(wide.imag, narrow.imag, xp))
    if not wide.size:
        return 0.0
    limits, rounded = jnp.finfo(narrow.dtype), narrow.astype(wide.dtype)
    _, exponents = xp.frexp(rounded)
    unit = xp.ldexp(xp.asarray(limits.eps, wide.dtype), exponents - 1)
    unit = xp.maximum(unit, xp.asarray(limits.tiny, wide.dtype))
    return float(xp.max(xp.abs(wide - rounded) / unit))
