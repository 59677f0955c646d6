"""Half-precision updates that are rounded once, at the end of an optimizer."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras.rules._kernel import settling


def rounded_once(tx: Any) -> Any:
    """The optimizer in 32 bits at least from the gradients to the updates.

    Each link of a chain would else round what it hands to the next: a direction, the
    decayed one, the step. On a CPU that takes longer than the arithmetic.
    """

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        us, state = tx.update(jax.tree.map(wide, updates), state, params, **extra)
        return jax.tree.map(_short_again, updates, us), state

    def settle(state: Any):
        left, state = tx.update.settle(state)
        return rounded_once(left), state

    outer = tx._replace(update=update)
    return settling(outer, settle) if hasattr(tx.update, "settle") else outer


def wide(leaf: Any) -> Any:
    """A floating leaf of 32 bits at least; anything else as it is."""
    return jnp.asarray(leaf, jnp.float32) if _is_short(leaf) else leaf


def _short_again(before: Any, after: Any) -> Any:
    return after.astype(jnp.result_type(before)) if _is_short(before) else after


def _is_short(leaf: Any) -> bool:
    dtype = jnp.result_type(leaf)
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4
