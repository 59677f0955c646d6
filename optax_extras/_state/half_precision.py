"""Half-precision training without lost updates: master copies, or compensation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._boxes import align, fit_boxes, rebuild
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refuse
from optax_extras._leaves import as_leaf, is_half, placeholder, upcast_half, zeros_like
from optax_extras._types import Params, State, Updates

_STORES_WEIGHTS = (
    "store weights in its state",
    "Put `low_precision_state` inside the wrapper that stores them.",
)


class MasterCopyState(NamedTuple):
    """State of `with_master_copy`."""

    master: Any
    """Like the params: float32 weights; a single 0 for leaves of other dtypes."""
    inner_state: State
    """The state of the optimizer."""

    needs_float32 = _STORES_WEIGHTS


class CompensationState(NamedTuple):
    """State of `with_compensation`."""

    lost: Any
    """Like the params, in their dtypes: the rounding errors of the weights; a single 0
    for leaves of other dtypes."""
    inner_state: State
    """The state of the optimizer."""

    needs_float32 = _STORES_WEIGHTS


@checked
def with_master_copy(tx: Transformation) -> optax.GradientTransformationExtraArgs:
    r"""Updates a float32 copy of half-precision params, stored in the state.

    In bfloat16, Adam with a learning rate of 1e-3 does not move a weight of 1.0 at all:
    the numbers below 1.0 are 0.004 apart, and the sum is rounded back. Here the
    optimizer gets and updates the float32 weights :math:`w`, with float32 gradients and
    a float32 state, and the params :math:`p` follow:

    .. math::
        w \leftarrow w + \mathrm{tx}(g), \qquad u = \mathrm{round}(w) - p

    The copy costs 4 bytes for each half-precision weight, and the state of the
    optimizer is float32 too: Adam's takes 8 bytes. :func:`with_compensation` stores 2
    bytes instead of the copy, :func:`apply_updates_stochastic` none. The optimizer gets
    leaves of other dtypes unchanged. Only these updates may change the params, because
    the next update undoes any other change: put the whole chain inside, and nothing
    that changes updates behind it.

    Args:
      tx: The optimizer.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `MasterCopyState`. Updates keep
      the dtypes of the gradients. :math:`p + u` is the rounded copy where :math:`u` is
      representable in that dtype, as for every :math:`p` that changes by less than a
      factor of two; else the next update corrects the difference. A NaN or an infinity
      stays in the copy; ``optax.apply_if_finite(tx, n)`` prevents that.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.with_master_copy(optax.adam(1e-3))
      >>> params = jnp.ones(3, jnp.bfloat16)
      >>> state = tx.init(params)
      >>> for _ in range(10):
      ...     updates, state = tx.update(params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> [round(float(w), 4) for w in state.master]
      [0.99, 0.99, 0.99]

    References:
      Micikevicius et al., `Mixed precision training
      <https://arxiv.org/abs/1710.03740>`_, 2018
    """

    def step(p: jax.Array, w: jax.Array, u: jax.Array, dtype: Any):
        w = w + u.astype(w.dtype)
        return _difference(w, p).astype(dtype), w

    return _with_remainders(tx, MasterCopyState, upcast_half, lambda p, w: w, step)


@checked
def with_compensation(tx: Transformation) -> optax.GradientTransformationExtraArgs:
    r"""Stores the rounding errors of half-precision params, and adds them later.

    This is Kahan summation. It costs 2 bytes for each half-precision weight :math:`p`.
    With :math:`c = 0` at first:

    .. math::
        y = \mathrm{tx}(g) + c, \qquad u = \mathrm{round}(p + y) - p, \qquad
        c \leftarrow y - u

    The sum is computed in float32, :math:`c` is stored in the params' dtype. Small
    updates add up as in float32, except for some of the last digits;
    :func:`with_master_copy` keeps all digits at twice the memory.

    Args:
      tx: The optimizer, which gets gradients and weights in float32.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `CompensationState`. Updates
      keep the dtypes of the gradients; what that rounds away is compensated, too.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.with_compensation(optax.sgd(1e-3))
      >>> params = jnp.ones(3, jnp.bfloat16)
      >>> state = tx.init(params)
      >>> for _ in range(100):
      ...     updates, state = tx.update(jnp.ones(3), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> [round(float(p) + float(c), 3) for p, c in zip(params, state.lost)]
      [0.9, 0.9, 0.9]

    References:
      Zamirai et al., `Revisiting BFloat16 training <https://arxiv.org/abs/2010.06192>`_,
      2021
    """

    def full_weights(p: jax.Array, c: jax.Array):
        return upcast_half(p) + upcast_half(c)

    def step(p: jax.Array, c: jax.Array, u: jax.Array, dtype: Any):
        y = u.astype(jnp.float32) + upcast_half(c)
        u = _difference(upcast_half(p) + y, p).astype(dtype)
        moved = _difference(upcast_half(p) + upcast_half(u), p)
        return u, (y - moved).astype(c.dtype)

    return _with_remainders(
        tx, CompensationState, lambda p: zeros_like(p, p.dtype), full_weights, step
    )


def _difference(w: jax.Array, p: jax.Array) -> jax.Array:
    """How far `p` is from `w` rounded to its dtype, in float32."""
    return upcast_half(w.astype(p.dtype)) - upcast_half(p)


def _with_remainders(
    tx: Any,
    make_state: Callable[[Any, Any], Any],
    start: Callable[[jax.Array], jax.Array],
    full_weights: Callable[[jax.Array, jax.Array], jax.Array],
    step: Callable[..., tuple[jax.Array, jax.Array]],
) -> optax.GradientTransformationExtraArgs:
    """Wraps an optimizer of float32 weights; each half-precision leaf has a remainder.

    `start(p)` makes the remainder of a leaf, `full_weights(p, remainder)` the float32
    weights. `step(p, remainder, u, dtype)` makes the update of the leaf, in this dtype,
    and the new remainder from the optimizer's update.
    """

    def weights(params: Params, remainders: Any) -> Any:
        def leaf(p, k):
            return full_weights(p, k) if is_half(p) and k is not None else p

        return rebuild(params, [leaf(*row) for row in align(params, remainders)])

    def init(params: Params) -> Any:
        def leaf(p):
            return start(p) if is_half(p) else placeholder(p, jnp.float32)

        params = jax.tree.map(as_leaf, params)
        remainders = fit_boxes(jax.tree.map(leaf, params), params)
        return make_state(remainders, tx.init(weights(params, remainders)))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        remainders, inner_state = state
        if params is None and jax.tree.leaves(updates):
            refuse("params", "be given to `update`", params)
        grads = jax.tree.map(upcast_half, updates)
        full = weights(params, remainders)
        us, inner_state = tx.update(grads, inner_state, full, **extra)

        def leaf(p, k, u, g):
            if u is None:
                return None, k
            dtype = jnp.result_type(g)
            if is_half(p) and k is not None:
                return step(p, k, u, dtype)
            return (u.astype(dtype) if is_half(g) else u), k

        pairs = [leaf(*row) for row in align(params, remainders, us, updates)]
        us = rebuild(updates, [u for u, _ in pairs])
        remainders = rebuild(remainders, [k for _, k in pairs])
        return us, make_state(remainders, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)
