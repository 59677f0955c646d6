"""The scalars of each leaf, kept as vectors over leaves."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def unstack(carry: Any, leaves: int) -> list[Any]:
    """The carry of each leaf, from vectors over leaves."""
    return [jax.tree.map(lambda x, i=i: x[i], carry) for i in range(leaves)]


def stack(carries: list[Any], empty: Any) -> Any:
    """Vectors over leaves, from the carry of each leaf."""
    return jax.tree.map(lambda *xs: jnp.stack(xs), *carries) if carries else empty


def with_the_others(carry: Any, buffer: Any) -> Any:
    """Vectors in which a leaf that holds nothing has the scalars of one that does.

    There is nothing to be seen in it, and so it would never switch.
    """
    leaves = jax.tree.leaves(buffer, is_leaf=lambda x: x is None)
    full = [i for i, x in enumerate(leaves) if x is not None and x.size]
    per_leaf = all(x.shape == (len(leaves),) for x in jax.tree.leaves(carry))
    if len(full) in (0, len(leaves)) or not per_leaf:
        return carry
    index = np.array([i if i in full else full[0] for i in range(len(leaves))])
    return jax.tree.map(lambda x: x[index], carry)
