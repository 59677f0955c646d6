"""Half-precision weights that really move: by a float32 copy, or by what was lost."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import Transformation, checked
from optax_extras._errors import refuse
from optax_extras._numerics import (
    as_leaf,
    is_half,
    placeholder,
    upcast_half,
    zeros_like,
)
from optax_extras._sharding import align, fit_boxes, rebuild
from optax_extras._types import Params, State, Updates


class MasterCopyState(NamedTuple):
    """State of `with_master_copy`."""

    master: Any
    """Like the params: float32 weights; one 0 for a leaf that is not half precision."""
    inner_state: State
    """The state of the optimizer."""


class CompensationState(NamedTuple):
    """State of `with_compensation`."""

    lost: Any
    """Like the params, and of their dtypes: what rounding took from the weights; one 0
    for a leaf that is not half precision."""
    inner_state: State
    """The state of the optimizer."""


@checked
def with_master_copy(
    tx: Transformation,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps float32 weights in the state, of which half-precision params are a copy.

    In bfloat16 Adam with a rate of 1e-3 does not move a weight of 1.0 at all: numbers
    there are 0.004 apart, and the sum is rounded back. Here the optimizer sees and
    moves the float32 weights :math:`w`, with float32 gradients and a state of its own
    in float32, and the params :math:`p` follow:

    .. math::
        w \leftarrow w + \mathrm{tx}(g), \qquad u = \mathrm{round}(w) - p

    It costs 4 bytes for each half-precision weight; :func:`with_compensation` costs 2,
    :func:`apply_updates_stochastic` none. Leaves of other dtypes are left to the
    optimizer as they are. The params must be changed by these updates alone: a change
    of another kind is undone by the next one.

    Args:
      tx: The optimizer.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `MasterCopyState`. Updates of
      half-precision leaves are float32, as ``optax.apply_updates`` takes them; a cast
      of them to the params' dtype would lose what this is for. A NaN or an infinity
      stays in the weight; ``optax.apply_if_finite(tx, n)`` keeps it out. Put it inside:
      around this it wants gradients in float32, as the updates are, and so does
      ``optax.conditionally_transform``.

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

    return _keeping(tx, MasterCopyState, upcast_half, lambda p, w: w, step)


@checked
def with_compensation(
    tx: Transformation,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps what rounding takes from half-precision weights, and adds it next time.

    Kahan's summation, at 2 bytes for each half-precision weight :math:`p`, with
    :math:`c = 0` at first:

    .. math::
        y = \mathrm{tx}(g) + c, \qquad u = \mathrm{round}(p + y) - p, \qquad
        c \leftarrow y - u

    The sum is made in float32, :math:`c` is kept in the dtype of the params. Small
    steps add up, as in float32 but for some of their last digits;
    :func:`with_master_copy` keeps all of them at twice the memory.

    Args:
      tx: The optimizer, which sees gradients and weights in float32.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `CompensationState`. Its updates
      of half-precision leaves are float32, as those of :func:`with_master_copy`, and
      what is said there of ``optax.apply_if_finite`` is true here.

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

    def start(p: jax.Array):
        return zeros_like(p, p.dtype)

    def whole(p: jax.Array, c: jax.Array):
        return upcast_half(p) + upcast_half(c)

    def step(p: jax.Array, c: jax.Array, u: jax.Array, dtype: Any):
        y = u.astype(jnp.float32) + upcast_half(c)
        u = _difference(upcast_half(p) + y, p).astype(dtype)
        moved = _difference(upcast_half(p) + upcast_half(u), p)
        return u, (y - moved).astype(c.dtype)

    return _keeping(tx, CompensationState, start, whole, step)


def _difference(w: jax.Array, p: jax.Array) -> jax.Array:
    """How far `p` is from `w` rounded to its dtype, in float32."""
    return upcast_half(w.astype(p.dtype)) - upcast_half(p)


def _keeping(
    tx: Any,
    make_state: Callable[[Any, Any], Any],
    start: Callable[[jax.Array], jax.Array],
    whole: Callable[[jax.Array, jax.Array], jax.Array],
    step: Callable[..., tuple[jax.Array, jax.Array]],
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of float32 weights; of each half-precision leaf something is kept.

    `start` makes what is kept of a leaf, `whole` the float32 weights of the leaf and
    what is kept; `step` makes, of both and the optimizer's update, the update of the
    leaf and what is kept from then on.
    """
    inner = optax.with_extra_args_support(tx)

    def weights(params: Params, remainders: Any) -> Any:
        def leaf(p, k):
            return whole(p, k) if is_half(p) and k is not None else p

        return rebuild(params, [leaf(*row) for row in align(params, remainders)])

    def init(params: Params) -> Any:
        def leaf(p):
            return start(p) if is_half(p) else placeholder(p, jnp.float32)

        params = jax.tree.map(as_leaf, params)
        remainders = fit_boxes(jax.tree.map(leaf, params), params)
        return make_state(remainders, inner.init(weights(params, remainders)))

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        remainders, inner_state = state
        if params is None and jax.tree.leaves(updates):
            refuse("params", "be given to `update`", params)
        grads = jax.tree.map(upcast_half, updates)
        us, inner_state = inner.update(
            grads, inner_state, weights(params, remainders), **extra
        )

        def leaf(p, k, u, g):
            kept = is_half(p) and k is not None and u is not None
            return step(p, k, u, jnp.result_type(g)) if kept else (u, k)

        pairs = [leaf(*row) for row in align(params, remainders, us, updates)]
        us, news = map(
            rebuild,
            (updates, remainders),
            zip(*pairs, strict=True) if pairs else ((), ()),
        )
        return us, make_state(news, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)
