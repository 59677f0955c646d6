"""Float32 arithmetic for half-precision gradients, rounded once, at the end."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._leaves import upcast_half
from optax_extras._types import Params, State, Updates


def in_float32(tx: Any) -> Any:
    """The optimizer, computing in 32 bits at least from the gradients to the updates.

    Otherwise each link of a chain would round its result: the direction, the decayed
    direction, the step. On a CPU this takes longer than the arithmetic.
    """

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        us, state = tx.update(
            jax.tree.map(upcast_half, updates), state, params, **extra
        )
        cast = jax.tree.map(lambda g, u: u.astype(jnp.result_type(g)), updates, us)
        return cast, state

    return tx._replace(update=update)
