"""The carries of all leaves, stored as vectors with one entry for each leaf."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._types import Carry


def unstack(carry: Carry, leaves: int) -> list[Any]:
    """The carry of each leaf, from the vectors."""
    return [jax.tree.map(lambda x, i=i: x[i], carry) for i in range(leaves)]


def stack(carries: list[Any], empty: Any) -> Any:
    """The vectors, from the carry of each leaf; `empty` if there are no leaves."""
    return jax.tree.map(lambda *xs: jnp.stack(xs), *carries) if carries else empty
