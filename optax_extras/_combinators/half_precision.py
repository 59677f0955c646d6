"""Half-precision weights that really move: by a float32 copy, or by what was lost."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras import _checks
from optax_extras._numerics import compute_dtype


class MasterCopyState(NamedTuple):
    """State of `with_master_copy`."""

    master: Any
    """Like the params: float32 weights, None for a leaf that is not half precision."""
    inner_state: Any
    """The state of the optimizer."""


class CompensationState(NamedTuple):
    """State of `with_compensation`."""

    lost: Any
    """Like the params, and of their dtypes: what rounding took from the weights; None
    for a leaf that is not half precision."""
    inner_state: Any
    """The state of the optimizer."""


def with_master_copy(
    tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps float32 weights in the state, of which half-precision params are a copy.

    In bfloat16 an Adam with rate 1e-3 does not move a weight of 1.0 at all. Here the
    optimizer sees and moves the float32 weights :math:`w`, with float32 gradients and a
    state of its own in float32, and the params follow:

    .. math::
        w \leftarrow w + \mathrm{tx}(g), \qquad u = \mathrm{round}(w) - p

    It costs 4 bytes for each half-precision weight; :func:`with_compensation` costs 2,
    :func:`apply_updates_stochastic` none. Leaves of other dtypes are left to the
    optimizer as they are.

    Args:
      tx: The optimizer.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `MasterCopyState`. Updates of
      half-precision leaves are float32, as ``optax.apply_updates`` takes them; a cast
      of them to the params' dtype would lose what this is for.

    Raises:
      TypeError: If `tx` is no transformation.
      ValueError: If, in `update`, there are no params.

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
    inner = _checked("with_master_copy", tx)

    def init(params: Any) -> MasterCopyState:
        master = jax.tree.map(lambda p: _wide(p) if _is_half(p) else None, params)
        return MasterCopyState(master, inner.init(_instead(params, master)))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        _need("with_master_copy", params, updates)
        weights = _instead(params, state.master)
        us, own = inner.update(_widened(updates), state.inner_state, weights, **extra)

        def step(p, w, u):
            """The update of a leaf, and its new weights."""
            if w is None or u is None:
                return u, w
            w = w + u.astype(w.dtype)
            return _wide(w.astype(p.dtype)) - _wide(p), w

        us, master = _by_leaf(step, params, state.master, us)
        return us, MasterCopyState(master, own)

    return optax.GradientTransformationExtraArgs(init, update)


def with_compensation(
    tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps what rounding takes from half-precision weights, and adds it next time.

    Kahan's summation, at 2 bytes for each half-precision weight :math:`p`:

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
      of half-precision leaves are float32, as those of :func:`with_master_copy`.

    Raises:
      TypeError: If `tx` is no transformation.
      ValueError: If, in `update`, there are no params.

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
    inner = _checked("with_compensation", tx)

    def init(params: Any) -> CompensationState:
        lost = jax.tree.map(
            lambda p: jnp.zeros_like(p) if _is_half(p) else None, params
        )
        return CompensationState(lost, inner.init(_widened(params)))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        _need("with_compensation", params, updates)
        weights = jax.tree.map(
            lambda p, c: p if c is None else _wide(p) + _wide(c), params, state.lost
        )
        us, own = inner.update(_widened(updates), state.inner_state, weights, **extra)

        def step(p, c, u):
            """The update of a leaf, and what it loses."""
            if c is None or u is None:
                return u, c
            y = _wide(u) + _wide(c)
            moved = _wide((_wide(p) + y).astype(p.dtype)) - _wide(p)
            return moved, (y - moved).astype(c.dtype)

        us, lost = _by_leaf(step, params, state.lost, us)
        return us, CompensationState(lost, own)

    return optax.GradientTransformationExtraArgs(init, update)


def _checked(rule: str, tx: Any) -> Any:
    if not isinstance(tx, optax.GradientTransformation):
        _checks.refuse_kind(rule, "tx", "be an optax transformation", tx)
    return optax.with_extra_args_support(tx)


def _need(rule: str, params: Any, updates: Any) -> None:
    if params is None and jax.tree.leaves(updates):
        _checks.refuse(rule, "params", "be given to `update`", params)


def _is_half(x: Any) -> bool:
    dtype = jnp.result_type(x)
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4


def _wide(x: Any) -> jax.Array:
    return x.astype(compute_dtype(x.dtype))


def _widened(tree: Any) -> Any:
    """With half-precision leaves in float32."""
    return jax.tree.map(lambda x: _wide(x) if _is_half(x) else x, tree)


def _instead(params: Any, master: Any) -> Any:
    """The master copy where there is one, else the params."""
    return jax.tree.map(lambda p, w: p if w is None else w, params, master)


def _by_leaf(step: Any, params: Any, kept: Any, updates: Any) -> tuple[Any, Any]:
    """Two trees, of what `step` makes of each leaf."""
    leaves, treedef = jax.tree.flatten(params, is_leaf=lambda x: x is None)
    others = treedef.flatten_up_to(kept), treedef.flatten_up_to(updates)
    pairs = [step(*each) for each in zip(leaves, *others, strict=True)]
    us, news = zip(*pairs, strict=True) if pairs else ((), ())
    return treedef.unflatten(us), treedef.unflatten(news)
