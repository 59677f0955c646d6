"""Arrays in the dtype and sharding of others, and what the rounding costs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._errors import refuse


def converted(
    place: str, path: str, x: Any, factor: float, like: Any
) -> tuple[Any, float | None]:
    """A leaf in the dtype and sharding of `like`, and its rounding error in ulps."""
    if np.shape(x) != np.shape(like):
        refuse(
            f"state of {path!r}",
            f"have the shape {np.shape(like)} of {place}",
            np.shape(x),
            "Say by `transpose` which arrays to transpose, and by `order` which is "
            "which.",
        )
    dtype = jnp.result_type(like)
    if isinstance(x, jax.Array):
        same = factor == 1 and x.dtype == dtype
        wide = jnp.promote_types(x.dtype, dtype)  # rounds once
        times = np.asarray(factor, wide)
        new = jnp.array(x) if same else (x.astype(wide) * times).astype(dtype)
        ulps = 0.0 if same else None
    else:
        wide = np.asarray(x)
        wide = wide.astype(np.result_type(wide.dtype, np.float64)) * factor
        narrow = wide.astype(dtype)
        ulps = _ulps(wide, narrow)
        new = jnp.asarray(narrow)
    if getattr(like, "committed", False):
        new = jax.device_put(new, like.sharding)
    return new, ulps


def _ulps(wide: Any, narrow: Any) -> float:
    """The largest difference, in units in the last place of the narrow numbers."""
    if np.iscomplexobj(wide):
        return max(_ulps(wide.real, narrow.real), _ulps(wide.imag, narrow.imag))
    if not wide.size:
        return 0.0
    limits, rounded = jnp.finfo(narrow.dtype), narrow.astype(np.float64)
    _, exponents = np.frexp(rounded)
    unit = np.maximum(np.ldexp(float(limits.eps), exponents - 1), float(limits.tiny))
    return float(np.max(np.abs(wide - rounded) / unit))
