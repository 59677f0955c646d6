"""Layer-wise decay of the learning rate."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras import _check_values
from optax_extras._by_path import ByPath
from optax_extras._checks import Fraction, PositiveFraction, Size, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._groups._by_name import by_name


@checked
def layerwise(
    decay: PositiveFraction,
    depth: Callable[[str, Any], Any],
    layers: Size,
    *,
    stacks: Sequence[Sequence[int]] | None = None,
    min_scale: Fraction = 0.0,
    times: Any = None,
) -> ByPath:
    r"""A learning rate that gets smaller from the head of a model to its embeddings.

    Fine-tuning BEiT, ELECTRA and other pretrained Transformers uses it: layers close to
    the input are general and move less. It is a :func:`by_path` whose groups are the
    layers, so it stands where that stands, also as the default of one.

    The embeddings are layer 0, the blocks are layers 1 to :math:`L` (`layers`), the
    head is layer :math:`L + 1`. Layer :math:`l` has the multiple

    .. math::
        \max(s,\; d^{\,L + 1 - l})

    with the `decay` :math:`d` and the `min_scale` :math:`s`. These are the numbers of
    timm and BEiT. ELECTRA's code gives the head the number :math:`L + 2`, which makes
    all other layers slower by one more factor :math:`d`: for its numbers count one
    block more.

    Args:
      decay: :math:`d`, the ratio of the learning rates of two neighboring layers.
      depth: A function ``(path, leaf) -> number of the layer``, the path as in
        :func:`by_path`; of the leaf only the shape should be asked. For a leaf of
        scanned layers it returns their numbers along the first axis, such as
        ``range(1, 13)``.
      layers: :math:`L`, the number of blocks.
      stacks: The sequences that `depth` may return. None: all blocks in order,
        ``[range(1, layers + 1)]``. If there are two stacks in a model of 12 blocks,
        ``[range(1, 7), range(7, 13)]``.
      min_scale: :math:`s`, the smallest multiple.
      times: The learning rate of the head: a number or a schedule that multiplies all
        values. None: the values are the multiples, for the default of a
        :func:`by_path`, which has `times` of its own.

    Returns:
      A value to give to an optimizer as its learning rate. The groups are called
      ``"layer 3"`` and, for scanned layers, ``"layers 1 to 12"``.

    Raises:
      ValueError: At `init`, with the path, if `depth` returns a number out of range, or
        a sequence that is none of `stacks` or has not the length of the first axis.

    Examples:
      >>> import optax_extras as oxe
      >>> def depth_of(path, leaf):
      ...     first = path.split("/")[0]  # embed, block_0, ..., block_11, head
      ...     if first.startswith("block_"):
      ...         return int(first.removeprefix("block_")) + 1
      ...     return {"embed": 0, "head": 13}[first]
      >>> schedule = oxe.schedules.cosine(1e-3, 1000)
      >>> tx = oxe.adamw(oxe.layerwise(0.75, depth_of, layers=12, times=schedule))

      Blocks that are scanned, and groups with other values:

      >>> def depth_of(path, leaf):
      ...     return range(1, 13) if path.startswith("blocks/") else 0
      >>> multiples = oxe.layerwise(0.75, depth_of, layers=12, min_scale=0.01)
      >>> groups = {"head/.*": 10.0, "stem/.*": oxe.FROZEN}
      >>> tx = oxe.adamw(oxe.by_path(groups, default=multiples, times=schedule))

    References:
      Clark et al., `ELECTRA <https://arxiv.org/abs/2003.10555>`_, 2020.

      Bao et al., `BEiT <https://arxiv.org/abs/2106.08254>`_, 2021.
    """
    _check_values.of_path_and_leaf("depth", depth)
    if times is not None:
        _check_values.number_or_schedule("times", times)
    given = [range(1, layers + 1)] if stacks is None else stacks
    must = f"hold integers from 0 to {layers + 1}"
    vectors = [
        _layers(f"stacks[{i}]", must, _check_values.items(f"stacks[{i}]", ids), layers)
        for i, ids in enumerate(_check_values.items("stacks", given))
    ]
    is_known = not any(isinstance(x, jax.Array) for x in (decay, min_scale))
    maximum: Any
    maximum, vector = (max, np.asarray) if is_known else (jnp.maximum, jnp.stack)
    scales = [maximum(decay**n, min_scale) for n in range(layers + 1, -1, -1)]
    values = {_name(i): x for i, x in enumerate(scales)}
    values |= {_name(ids): vector([scales[i] for i in ids]) for ids in vectors}

    def name_of(path: str, leaf: Any) -> str:
        ids = depth(path, leaf)
        must = f"return integers from 0 to {layers + 1} for {path!r}"
        if not isinstance(ids, Sequence | np.ndarray) or isinstance(ids, str):
            return _name(*_layers("depth", must, [ids], layers))
        name = _name(_layers("depth", must, ids, layers))
        if name not in values:
            hint = (
                "Name each such sequence, as in `stacks=[range(1, 7), range(7, 13)]`."
            )
            refuse(
                "depth", f"return a layer or one of `stacks` for {path!r}", ids, hint
            )
        return name

    return by_name("layerwise", name_of, values, times)


def _layers(argument: str, must: str, ids: Any, layers: int) -> tuple[int, ...]:
    """The numbers of layers."""
    for x in ids:
        if not isinstance(x, int | np.integer) or isinstance(x, bool):
            refuse_kind(argument, must, x)
        if not 0 <= x <= layers + 1:
            refuse(argument, must, x)
    return tuple(map(int, ids))


def _name(ids: int | tuple[int, ...]) -> str:
    """The name of the group of a layer, or of scanned layers."""
    if isinstance(ids, int):
        return f"layer {ids}"
    is_range = ids and ids == tuple(range(ids[0], ids[-1] + 1))
    return f"layers {ids[0]} to {ids[-1]}" if is_range else f"layers {[*ids]}"
