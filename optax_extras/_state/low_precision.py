"""Small state for any optimizer: large leaves in 8 or 16 bits a number."""

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from optax_extras import _checks
from optax_extras._numerics import like, noise, strong
from optax_extras._state._quantize import (
    Codes,
    Halves,
    decoded,
    encoded,
    halved,
)
from optax_extras._state.half_precision import CompensationState, MasterCopyState

_RULE = "low_precision_state"
_ROUNDINGS = {"int8": encoded, "bfloat16": halved}


class LowPrecisionState(NamedTuple):
    """State of `low_precision_state`."""

    count: ArrayLike
    """Shape (), int32: the number of updates made; it stops at 2**31 - 1, and what is
    drawn then changes no more."""
    inner_state: Any
    """The state of the optimizer; in the place of each large leaf what is kept of it,
    `codes` and `windows`, or `halves`."""


def low_precision_state(
    tx: optax.GradientTransformation,
    dtype: DTypeLike = "int8",
    *,
    min_size: int = 4096,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps the state of an optimizer in 8 bits, or 16, for each number.

    Adam's state takes 8 bytes for each weight; here it is 2.1 at most, with bfloat16 4.
    The optimizer itself works in float32: before each update its moments are read from
    their codes, and after it they are rounded again. In 8 bits a number :math:`x` of a
    block of 64 or some more, the largest being :math:`M`, becomes one of its two
    neighbours :math:`\hat x` among 0 and

    .. math::
        \pm (1 + j/8)\, 2^e, \quad j = 0, \dots, 7, \quad
            |x - \hat x| < \max\bigl(|x| / 8,\; 1.25 \cdot 2^{-15} M\bigr), \quad
            \mathrm{E}\, \hat x = x

    drawn at random so that its mean is :math:`x`: an average with decay 0.999, which
    changes by less than the gap to the next neighbour each time, does not stand still.
    A block without negative numbers, as of second moments, needs no sign and reaches
    down to :math:`2^{-31}\,1.25\,M`; what is smaller becomes this number, and never 0.
    So the root of a second moment goes as far down as a first moment does, and no
    rounding makes their quotient large. What is drawn depends on the count, the leaf's
    place in the state and the number's place in the leaf alone: a run that is stopped
    and resumed gives the same numbers.

    What is kept so are the float leaves of the state that follow a param: the path ends
    as that of the param, and the shape is the same. The codes have this shape too, and
    lie on the devices as the param does; blocks lie along the last axis, of which a
    device should have a multiple of 64 numbers. All other leaves stay as they are, also
    those of fewer than `min_size` numbers and of complex or float64 ones.

    A NaN stays NaN and an infinity infinite, in 8 bits at the cost of the numbers in
    the same block; ``optax.apply_if_finite`` around it keeps both out. Derivatives do
    not pass through the codes from one update to the next.

    How few bits will do depends on what the optimizer does with its state:

    - Weights need more than three bits. Optimizers that average them (:func:`asgd`,
      ``optax.contrib.schedule_free``) are not for 8 bits.
    - A difference of two moments loses all its bits. Where gradients agree, RMSProp
      with ``centered=True`` made NaN, or steps millions of times too large, with 8 bits
      and with 16; nothing refuses it.
    - A running maximum keeps the largest number drawn. Steps of :func:`amsgrad` were
      11 % smaller than in float32 after 5000 updates, 20 % after 40 000 (with 16 bits
      1 and 3 %).
    - What depends on its own steps may grow. With one gradient for ever the steps of
      :func:`adadelta` were 2.2 times as long after 40 000 updates (with 16 bits 1.0).

    Args:
      tx: The optimizer; one whose state follows the params.
      dtype: ``"int8"`` or ``"bfloat16"``; the latter keeps 7 bits of the mantissa
        instead of three, and has no blocks.
      min_size: How many numbers a leaf must have to be kept in few bits, at least 1.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `LowPrecisionState`. Updates
      have the dtypes of the gradients. Those of float16 the optimizer would square in
      float16, where they vanish: :func:`with_master_copy` around it makes them float32.

    Raises:
      TypeError: If `tx` is no transformation or `min_size` no integer.
      ValueError: If `dtype` is another, or `min_size` below 1; in `init`, if the state
        has a float leaf as large as the largest param that does not follow any (the
        memory of ``optax.lbfgs``, the vector of ``optax.flatten``), or one of
        :func:`with_master_copy` or :func:`with_compensation`; the leaf is named.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> params = jnp.ones((1000, 64))
      >>> tx = oxe.low_precision_state(optax.adam(1e-3))
      >>> sum(x.nbytes for x in jax.tree.leaves(tx.init(params))) / params.size
      2.062625

    References:
      Dettmers et al., `8-bit optimizers via block-wise quantization
      <https://arxiv.org/abs/2110.02861>`_, 2022
    """
    inner = _checks.transformation(_RULE, "tx", tx)
    rounding = _rounding(dtype)
    least = _checks.known_count(_RULE, "min_size", min_size)

    def init(params: Any) -> LowPrecisionState:
        state = jax.tree.map(strong, inner.init(params))
        found = _following(state, params, least)
        still = jax.tree.map(lambda x: _unknown(x) if _is_float(x) else x, state)
        count = jnp.zeros((), jnp.int32)
        small = _small(still, lambda path, x: path in found, rounding, count)
        return LowPrecisionState(count, small)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        found, wide = set(_records(state.inner_state)), _wide(state.inner_state)
        us, new = inner.update(updates, wide, params, **extra)
        count: Any = optax.safe_increment(state.count)
        new = jax.tree.map(like, wide, new)
        small = _small(new, lambda path, x: path in found, rounding, count)
        # In the containers of the state, which NNX exchanges for its own.
        small = jax.tree.structure(state.inner_state).unflatten(jax.tree.leaves(small))
        return jax.tree.map(like, updates, us), LowPrecisionState(count, small)

    return optax.GradientTransformationExtraArgs(init, update)


def _rounding(dtype: Any) -> Callable[[jax.Array, jax.Array], Codes | Halves]:
    name = _checks.dtype_name(dtype)
    if name not in _ROUNDINGS:
        _checks.refuse(_RULE, "dtype", "be int8 or bfloat16", dtype)
    return _ROUNDINGS[name]


def _following(state: Any, params: Any, least: Any) -> set[Any]:
    """The paths of the large leaves that follow the params; what is amiss is refused.

    By path and shape alone, so that what chains, masks and partitions put around the
    leaves does not matter.
    """
    shapes = dict(jax.tree_util.tree_leaves_with_path(params))
    shapes = {path: jnp.shape(p) for path, p in shapes.items()}
    largest = max(map(math.prod, shapes.values()), default=math.inf)
    found = set()
    holders = MasterCopyState | CompensationState
    for path, x in jax.tree_util.tree_leaves_with_path(
        state, is_leaf=lambda x: isinstance(x, holders)
    ):
        name = f"state{jax.tree_util.keystr(path)}"
        if isinstance(x, holders):
            must = (
                "hold no weights in its state (put the wrapper that does around this)"
            )
            _checks.refuse(_RULE, "tx", must, name)
        if not _is_float(x) or x.ndim == 0 or x.size < least:
            continue
        if any(shapes.get(path[i:]) == x.shape for i in range(len(path) + 1)):
            found.add(path)
        elif x.size >= largest:
            must = "have a state whose large leaves follow the params"
            _checks.refuse(_RULE, "tx", must, f"{name} of shape {x.shape}")
    return found


def _unknown(x: jax.Array) -> jax.Array:
    """The same, but no constant, whose codes XLA would make while it compiles."""
    return x + jax.lax.optimization_barrier(jnp.zeros((), x.dtype))


def _is_float(x: Any) -> bool:
    """Whether it is an array of floats that a float32 holds."""
    dtype: Any = getattr(x, "dtype", np.dtype(object))
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize <= 4


def _record(x: Any) -> Codes | Halves | None:
    """What is kept of a leaf; of `flax.nnx.Optimizer` it comes back as a mapping."""
    if isinstance(x, Codes | Halves):
        return x
    if isinstance(x, Mapping):
        dtypes = {key: str(getattr(y, "dtype", "")) for key, y in x.items()}
        if dtypes == {"codes": "int8", "windows": "int16"}:
            return Codes(x["codes"], x["windows"])
        if dtypes == {"halves": "uint16"}:
            return Halves(x["halves"])
    return None


def _is_record(x: Any) -> bool:
    return _record(x) is not None


def _records(state: Any) -> dict[Any, Codes | Halves]:
    """What is kept in few bits, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(state, is_leaf=_is_record)
    return {path: kept for path, x in leaves if (kept := _record(x)) is not None}


def _wide(state: Any) -> Any:
    """The state as the optimizer knows it, in float32."""

    def leaf(x: Any) -> Any:
        return x if (kept := _record(x)) is None else decoded(kept)

    return jax.tree.map(leaf, state, is_leaf=_is_record)


def _small(state: Any, chosen: Any, rounding: Any, count: Any) -> Any:
    """The state with the chosen leaves, by path and leaf, in few bits."""
    turn = jnp.asarray(count, jnp.uint32) * jnp.uint32(0x9E3779B9)

    def leaf(path: Any, x: Any) -> Any:
        if not chosen(path, x):
            return x
        place = zlib.crc32(jax.tree_util.keystr(path).encode())
        return rounding(x, noise(x.shape, turn + jnp.uint32(place)))

    return jax.tree_util.tree_map_with_path(leaf, state)
