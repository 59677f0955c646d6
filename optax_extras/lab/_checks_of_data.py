"""Checks of arguments that only the lab has."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._errors import refuse_kind


def real_array(argument: str, xs: Any) -> Any:
    """An array of real numbers: a JAX array if `xs` holds one, else a NumPy array."""
    of_jax = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(xs))
    try:
        found = (jnp if of_jax else np).asarray(xs)
    except (TypeError, ValueError):  # rows of several lengths, for example
        found = None
    kinds = np.bool_, np.integer, np.floating
    if found is None or not any(jnp.issubdtype(found.dtype, kind) for kind in kinds):
        refuse_kind(argument, "hold real numbers", xs)
    return found


def check_returns_scalar(argument: str, value: Any) -> None:
    """Refuses a function whose value, which may be abstract, is not a real scalar."""
    is_array = hasattr(value, "dtype")
    if not is_array or value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        refuse_kind(argument, "return a real scalar", value)
