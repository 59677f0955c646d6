"""A small state for any optimizer: large leaves in 8 or 16 bits a number."""

import math
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from optax_extras._boxes import without_boxes
from optax_extras._check_values import dtype_name
from optax_extras._checks import Size, Transformation, checked
from optax_extras._errors import SUBTRACTS_MOMENTS, refuse
from optax_extras._leaves import cast_like, placeholder, without_weak_type
from optax_extras._state._hash import hash_bits, salt_of_count
from optax_extras._state._quantize import (
    Quantized,
    dequantize,
    from_bfloat16_bits,
    quantize,
    to_bfloat16_bits,
)
from optax_extras._types import Params, State, Updates


class LowPrecisionState(NamedTuple):
    """State of `low_precision_state`."""

    count: ArrayLike
    """Shape (), int32: the number of updates; it stops at 2**31 - 1, and from then on
    every update draws the same random numbers."""
    inner_state: State
    """The state of the optimizer; large leaves are int8, or the bits of bfloat16."""
    exponents: Any
    """A tree like `inner_state`, of plain tuples without names. It holds the int16
    exponents of the blocks for each int8 leaf; a single int16 for each bfloat16 leaf; a
    single bool for each leaf that is unchanged."""

    def full_inner_state(self) -> State:
        """The state of the optimizer, as it computes with it."""
        return self.full()[0]

    def with_full_inner_state(self, full: State) -> "LowPrecisionState":
        """This state with another one of the optimizer, rounded at random."""
        return self.after(full, *self.full(), count=self.count)

    def after(
        self, new: State, full: State, rounded: list[bool], is_int8: bool, count: Any
    ) -> "LowPrecisionState":
        """The state with a new one of the optimizer, which may have other scalars.

        The other arguments are what `full` returns.
        """
        found = jax.tree_util.tree_leaves_with_path(full)
        old = {path: (flag, x) for flag, (path, x) in zip(rounded, found, strict=True)}
        paths, treedef = jax.tree_util.tree_flatten_with_path(new)
        rows = [(*old.get(path, (False, x)), x) for path, x in paths]
        new = treedef.unflatten([cast_like(like, x) for _, like, x in rows])
        values, exponents = _rounded(new, [flag for flag, *_ in rows], is_int8, count)
        if treedef == jax.tree.structure(full):
            # Flax NNX puts its own containers into a state: keep its tree structure.
            exponents = jax.tree.structure(self.exponents).unflatten(exponents)
        else:  # of other groups
            exponents = _without_names(without_boxes(treedef.unflatten(exponents)))
        return LowPrecisionState(count, treedef.unflatten(values), exponents)

    def full(self) -> tuple[State, list[bool], bool]:
        """The full state, which of its leaves are rounded, and whether to 8 bits."""
        leaves, treedef = jax.tree.flatten(self.inner_state)
        exponents = jax.tree.leaves(self.exponents)
        rounded = [jnp.result_type(x) == jnp.int16 for x in exponents]
        rows = list(zip(rounded, leaves, exponents, strict=True))
        is_int8 = any(flag and jnp.result_type(x) == jnp.int8 for flag, x, _ in rows)
        full = [_restored(x, e, is_int8) if flag else x for flag, x, e in rows]
        return treedef.unflatten(full), rounded, is_int8


@checked
def low_precision_state(
    tx: Transformation, dtype: DTypeLike = "int8", *, min_size: Size = 4096
) -> optax.GradientTransformationExtraArgs:
    r"""Stores the state of an optimizer in 8 bits, or 16, for each number.

    Adam's state takes 8 bytes for each weight; here it takes 2.1 at most, with bfloat16
    4, in leaves of `min_size` numbers or more. The optimizer itself computes in
    float32: before each update its moments are dequantized, and after it they are
    quantized again. With 8 bits, the state is cut into blocks of 64 numbers or slightly
    more. Let :math:`M` be the largest of a block. Each number :math:`x` is replaced by
    one of its two neighbors :math:`\hat x`, drawn at random so that the mean is
    :math:`x`. The possible values are 0 and

    .. math::
        \pm (1 + j/8)\, 2^e, \quad j = 0, \dots, 7, \quad
            |x - \hat x| < \max\bigl(|x| / 8,\; 1.25 \cdot 2^{-15} M\bigr), \quad
            \mathrm{E}\, \hat x = x

    So an average with decay 0.999 keeps moving, although each of its changes is smaller
    than the distance to the next neighbor. A block without negative numbers, such as a
    block of second moments, needs no signs. Its smallest number other than 0 is at most
    :math:`2^{-31}\,1.25\,M`. Smaller numbers above 0 are rounded up to it and never
    become 0, so their mean is not :math:`x`. The roots of second moments thus have the
    same range as first moments, and rounding never makes the quotient of the two large.
    The random numbers depend only on the count, the leaf's path in the state and the
    element's index: a run that is stopped and resumed gives the same numbers.

    Float leaves of the state that follow a param are quantized: leaves whose path ends
    with the param's path and whose shape is the param's. The stored values have the
    shape and the sharding of the param. Blocks extend along the last axis, of which a
    device should have a multiple of 64 numbers. All other leaves stay unchanged, also
    those of fewer than `min_size` numbers and complex or float64 ones.

    A NaN stays NaN and an infinity infinite, with 8 bits at the cost of the other
    numbers in the block; ``optax.apply_if_finite`` around this wrapper prevents both.
    Derivatives do not pass through the quantized state from one update to the next.

    How few bits suffice depends on the optimizer:

    - Weights need more than the three bits of the mantissa. Optimizers that average
      them (:func:`asgd`, ``optax.contrib.schedule_free``) do not work with 8 bits.
    - A small difference of two moments is wrong in all its digits. So RMSProp with
      ``centered=True`` is refused: with 8 bits and with 16 its updates were NaN, or
      millions of times too large.
    - A running maximum keeps the largest number drawn. Steps of :func:`amsgrad` were
      11 % smaller than in float32 after 5000 updates, 20 % after 40 000 (with 16 bits
      1 and 3 %).
    - A state that depends on its own steps may grow. With the same gradient in every
      update, the steps of :func:`adadelta` were 2.2 times as long after 40 000 updates
      (with 16 bits 1.0).

    Args:
      tx: The optimizer. Its state must follow the params.
      dtype: ``"int8"`` or ``"bfloat16"``, which keeps 7 bits of the mantissa instead of
        three and has no blocks.
      min_size: The least number of elements of a quantized leaf.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `LowPrecisionState`. Updates
      have the dtypes of the gradients. The optimizer would square float16 gradients in
      float16, where they underflow: put :func:`with_master_copy` around the result, so
      that they become float32.

    Examples:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> params = jnp.ones((1000, 64))
      >>> tx = oxe.low_precision_state(optax.adam(1e-3))
      >>> sum(x.nbytes for x in jax.tree.leaves(tx.init(params))) / params.size
      2.062640625

    References:
      Dettmers et al., `8-bit optimizers via block-wise quantization
      <https://arxiv.org/abs/2110.02861>`_, 2022
    """
    name = dtype_name(dtype)
    if name not in ("int8", "bfloat16"):
        refuse("dtype", "be int8 or bfloat16", dtype)
    is_int8 = name == "int8"

    def init(params: Params) -> LowPrecisionState:
        state = jax.tree.map(without_weak_type, tx.init(params))
        found = _params_shaped(state, params, min_size)
        state = jax.tree.map(lambda x: _not_constant(x) if _is_float(x) else x, state)
        count = jnp.zeros((), jnp.int32)
        paths, treedef = jax.tree_util.tree_flatten_with_path(state)
        rounded = [path in found for path, _ in paths]
        values, exponents = _rounded(state, rounded, is_int8, count)
        exponents = _without_names(without_boxes(treedef.unflatten(exponents)))
        return LowPrecisionState(count, treedef.unflatten(values), exponents)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        full, rounded, _ = state.full()
        us, new = tx.update(updates, full, params, **extra)
        count: Any = optax.safe_increment(state.count)
        us = jax.tree.map(cast_like, updates, us)
        return us, state.after(new, full, rounded, is_int8, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _restored(values: jax.Array, exponents: jax.Array, is_int8: bool) -> jax.Array:
    if is_int8:
        return dequantize(Quantized(values, exponents))
    return from_bfloat16_bits(values)


def _rounded(state: State, rounded: list[bool], is_int8: bool, count: Any) -> Any:
    """The leaves of a state, the chosen ones quantized, and their exponents."""
    salt = salt_of_count(count)

    def leaf(is_rounded: bool, path: Any, x: Any) -> tuple[Any, jax.Array]:
        if not is_rounded:
            return x, placeholder(x, bool)
        place = zlib.crc32(jax.tree_util.keystr(path).encode())
        chance = hash_bits(x.shape, salt + jnp.uint32(place))
        if is_int8:
            return quantize(x, chance)
        return to_bfloat16_bits(x, chance), placeholder(x, jnp.int16)

    paths = jax.tree_util.tree_leaves_with_path(state)
    pairs = [leaf(flag, *x) for flag, x in zip(rounded, paths, strict=True)]
    return zip(*pairs, strict=True) if pairs else ((), ())


def _without_names(tree: Any) -> Any:
    """Tuples instead of NamedTuples, so that no field is found twice by name."""
    if isinstance(tree, tuple):
        return tuple(map(_without_names, tree))
    if isinstance(tree, dict):
        return {key: _without_names(x) for key, x in tree.items()}
    return tree


def _params_shaped(state: State, params: Params, least: Any) -> set[Any]:
    """The paths of the large leaves that follow the params; others are refused.

    Only paths and shapes are compared, so that containers of chains, masks and
    partitions around the leaves do not matter.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    shapes = {path: jnp.shape(p) for path, p in leaves}
    largest = max(map(math.prod, shapes.values()), default=math.inf)
    found = set()
    for path, x in jax.tree_util.tree_leaves_with_path(
        state, is_leaf=lambda x: _why_refused(x) is not None
    ):
        name = f"state{jax.tree_util.keystr(path)}"
        if reason := _why_refused(x):
            refuse("tx", f"not {reason[0]}", name, reason[1])
        if not _is_float(x) or x.ndim == 0 or x.size < least:
            continue
        if any(shapes.get(path[i:]) == x.shape for i in range(len(path) + 1)):
            found.add(path)
        elif x.size >= largest:
            must = "have a state whose large leaves follow the params"
            refuse("tx", must, f"{name} of shape {x.shape}")
    return found


def _why_refused(x: Any) -> tuple[str, str] | None:
    """What an optimizer with such a state must not do, and what to write instead."""
    if isinstance(x, optax.ScaleByRStdDevState):
        return SUBTRACTS_MOMENTS
    return getattr(x, "needs_float32", None)


def _not_constant(x: jax.Array) -> jax.Array:
    """The same value, behind a barrier, so that XLA does not fold its rounding."""
    return x + jax.lax.optimization_barrier(jnp.zeros((), x.dtype))


def _is_float(x: Any) -> bool:
    """Whether `x` is an array of floats of at most 32 bits."""
    dtype: Any = getattr(x, "dtype", np.dtype(object))
    return jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize <= 4
