"""The scalars of each leaf, kept as vectors over leaves."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._types import Carry


def unstack(carry: Carry, leaves: int) -> list[Any]:
    """The carry of each leaf, from vectors over leaves."""
    return [jax.tree.map(lambda x, i=i: x[i], carry) for i in range(leaves)]


def stack(carries: list[Any], empty: Any) -> Any:
    """Vectors over leaves, from the carry of each leaf."""
    return jax.tree.map(lambda *xs: jnp.stack(xs), *carries) if carries else empty
