"""Checks of arguments that only the lab has."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras import _checks


def reals(rule: str, argument: str, xs: Any) -> Any:
    """An array of real numbers: of NumPy, or of JAX where it came from there."""
    ours = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(xs))
    try:
        found = (jnp if ours else np).asarray(xs)
    except (TypeError, ValueError):  # rows of several lengths, for example
        found = None
    kinds = np.bool_, np.integer, np.floating
    if found is None or not any(jnp.issubdtype(found.dtype, kind) for kind in kinds):
        _checks.refuse_kind(rule, argument, "hold real numbers", xs)
    return found
