"""Which axes of a leaf are the inputs and outputs of a linear map, for `muon`."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._boxes import is_none, without_boxes
from optax_extras._by_path import path_of
from optax_extras._errors import refuse, refuse_kind
from optax_extras._leaves import dtype_of, is_key
from optax_extras._types import Params

Axes = int | tuple[int, ...]


class MatrixAxes(NamedTuple):
    """What the axes of a leaf are, for the `layout` of :func:`muon`.

    The leaf is one linear map, or many of them along its batch axes. Each axis belongs
    to exactly one of the first three fields; negative axes count from the end. Axes of
    one field are flattened, in the given order.

    Examples:
      >>> import optax_extras as oxe
      >>> kernel = oxe.MatrixAxes(inputs=0, outputs=1)
      >>> scanned_layers = oxe.MatrixAxes(inputs=1, outputs=2, batch=0)
      >>> convolution = oxe.MatrixAxes(inputs=(0, 1, 2), outputs=3)

      A query kernel of shape (embed, heads, head_dim), as one matrix, and as one matrix
      for each head; queries, keys and values of width 64 side by side in one kernel:

      >>> query = oxe.MatrixAxes(inputs=0, outputs=(1, 2))
      >>> query_by_head = oxe.MatrixAxes(inputs=0, outputs=2, batch=1)
      >>> qkv = oxe.MatrixAxes(inputs=0, outputs=1, split=(64, 64, 64))
    """

    inputs: Axes
    """The axes that the map sums over."""
    outputs: Axes
    """The axes of its result."""
    batch: Axes = ()
    """Axes along which there are separate maps: scanned layers, heads, experts."""
    split: tuple[int, ...] = ()
    """Sizes of separate maps side by side along the flattened outputs; (): one map."""

    def sizes(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The number of matrices, of inputs and of outputs, before the split."""
        fields = (self.batch, self.inputs, self.outputs)
        batch, inputs, outputs = (
            math.prod(shape[axis] for axis in _as_tuple(axes)) for axes in fields
        )
        return batch, inputs, outputs

    def matrices(self, leaf: jax.Array) -> list[jax.Array]:
        """The leaf as arrays of shape (batch, inputs, outputs), one for each part."""
        flat = leaf.transpose(self._order()).reshape(self.sizes(leaf.shape))
        return [*jax.lax.split(flat, self.split, axis=2)] if self.split else [flat]

    def leaf(self, matrices: list[jax.Array], shape: tuple[int, ...]) -> jax.Array:
        """The inverse of `matrices`, for a leaf of that shape."""
        flat = jax.lax.concatenate(matrices, 2) if self.split else matrices[0]
        order = self._order()
        inverse = sorted(range(len(order)), key=order.__getitem__)
        return flat.reshape([shape[axis] for axis in order]).transpose(inverse)

    def _order(self) -> tuple[int, ...]:
        fields = (self.batch, self.inputs, self.outputs)
        return tuple(axis for axes in fields for axis in _as_tuple(axes))


class Stacks:
    """Joins the matrices of all leaves that have the same inputs and outputs.

    What is computed of the stacks takes as many operations for many layers as for one.
    """

    def __init__(self, leaves: list[Any], axes: list[MatrixAxes]):
        """The stacks for such leaves, and for others of the same batches and splits."""
        self._axes, self._groups, i = axes, {}, 0
        for leaf, of_leaf in zip(leaves, axes, strict=True):
            batch, inputs, outputs = of_leaf.sizes(leaf.shape)
            # Devices may share a batch axis: joined with another leaf, it would move.
            unjoined = i if batch > 1 and jax.device_count() > 1 else None
            for size in of_leaf.split or (outputs,):
                key = unjoined, inputs, size, leaf.dtype
                self._groups.setdefault(key, []).append(i)
                i += 1

    def join(self, leaves: list[jax.Array]) -> list[jax.Array]:
        """The stacks, each of shape (matrices, inputs, outputs)."""
        pairs = zip(self._axes, leaves, strict=True)
        parts = [part for x, leaf in pairs for part in x.matrices(leaf)]
        groups = ([parts[i] for i in group] for group in self._groups.values())
        return [x[0] if len(x) == 1 else jax.lax.concatenate(x, 0) for x in groups]

    def separate(self, stacks: Any, like: list[jax.Array]) -> list[jax.Array]:
        """The inverse of `join`, for leaves of these shapes."""
        pairs = list(zip(self._axes, like, strict=True))
        counts = [x.sizes(leaf.shape)[0] for x, leaf in pairs for _ in x.split or (0,)]
        parts: dict[int, jax.Array] = {}
        for group, stack in zip(self._groups.values(), stacks, strict=True):
            rows = jax.lax.split(stack, [counts[i] for i in group])
            parts |= dict(zip(group, rows, strict=True))
        in_order = iter([parts[i] for i in range(len(counts))])
        return [
            x.leaf([next(in_order) for _ in x.split or (0,)], leaf.shape)
            for x, leaf in pairs
        ]


_WORDS = {"in_out": MatrixAxes((0,), (1,)), "out_in": MatrixAxes((1,), (0,))}


def find_axes(
    layout: Any, tree: Params, *, may_be_others: bool = False
) -> list[tuple[Any, MatrixAxes | None]]:
    """Each leaf, None too, without boxes, with its axes; None if it is not a matrix.

    Unless there may be others, those are refused, except PRNG keys.
    """
    unboxed = without_boxes(tree)
    paths = jax.tree_util.tree_leaves_with_path(unboxed, is_leaf=is_none)
    found = [(leaf, _axes_of(layout, path, leaf)) for path, leaf in paths]
    for (path, leaf), (_, axes) in zip(paths, found, strict=True):
        is_other = axes is None and leaf is not None and not is_key(leaf)
        if is_other and not may_be_others:
            where = f"params{jax.tree_util.keystr(path)}"
            hint = "Give `oxe.muon` an optimizer for it, `others=oxe.adamw(3e-4)`."
            refuse(where, "be a matrix without `others`", describe(leaf), hint)
    return found


def describe(leaf: Any) -> str:
    """The dtype and shape of a leaf, for errors."""
    return f"{dtype_of(leaf)}{list(jnp.shape(leaf))}"


def _axes_of(layout: Any, path: Any, leaf: Any) -> MatrixAxes | None:
    if leaf is None or is_key(leaf):
        return None
    shape, name = jnp.shape(leaf), jax.tree_util.keystr(path)
    if callable(layout):
        where = path_of(path)
        axes = layout(where, leaf)
        if axes is None:
            return None
        axes = _checked_axes(axes, where, shape)
    elif len(shape) < 2:
        return None
    elif len(shape) > 2:
        must = f"be a matrix with layout={layout!r}"
        hint = (
            "`oxe.layouts` reads the axes from a model of Flax, Haiku or Equinox. Or "
            "pass a function `(path, leaf)` that returns `oxe.MatrixAxes(inputs=..., "
            "outputs=..., batch=...)`, and None for leaves that are not matrices."
        )
        refuse(f"params{name}", must, describe(leaf), hint)
    else:
        axes = _WORDS[layout]
    if jnp.issubdtype(dtype_of(leaf), jnp.complexfloating):
        refuse(f"params{name}", "be real", describe(leaf))
    if 0 in axes.sizes(shape)[1:]:
        must = "have at least one input and one output"
        refuse(f"params{name}", must, describe(leaf))
    return axes


def _checked_axes(axes: Any, path: str, shape: tuple[int, ...]) -> MatrixAxes:
    """The axes as tuples of numbers that are not negative."""
    if not isinstance(axes, MatrixAxes):
        must = f"return an `oxe.MatrixAxes` or None for {path!r}"
        refuse_kind("layout", must, axes)
    ndim = len(shape)
    fields = [_as_tuple(x) for x in axes[:3]]
    every = [axis for field in fields for axis in field]
    in_range = all(_is_size(x) and -ndim <= x < ndim for x in every)
    if not in_range or sorted(x % ndim for x in every) != list(range(ndim)):
        must = f"return each of the {ndim} axes of {path!r} exactly once"
        refuse("layout", must, axes)
    inputs, outputs, batch = (tuple(int(x) % ndim for x in y) for y in fields)
    found = MatrixAxes(inputs, outputs, batch)
    total, split = found.sizes(shape)[2], axes.split
    is_split = isinstance(split, tuple | list) and all(map(_is_size, split))
    if not is_split or (split and (min(split) < 1 or sum(split) != total)):
        must = f"return a `split` that adds up to the {total} outputs of {path!r}"
        refuse("layout", must, axes)
    return found._replace(split=tuple(map(int, split)))


def _is_size(x: Any) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool)


def _as_tuple(axes: Any) -> tuple[int, ...]:
    return tuple(axes) if isinstance(axes, tuple | list) else (axes,)
