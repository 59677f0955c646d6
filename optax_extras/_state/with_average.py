"""Averages of the weights, kept beside an optimizer."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from optax_extras._boxes import align, fit_boxes, rebuild
from optax_extras._check_values import dtype_name, is_real
from optax_extras._checks import StepCount, Transformation, checked
from optax_extras._errors import refusal, refuse, refuse_kind
from optax_extras._leaves import (
    as_leaf,
    dtype_of,
    in_dtype_of,
    is_half,
    is_key,
    is_placeholder_of_optax,
    placeholder,
    real_dtype,
    upcast_half,
    without_weak_type,
)
from optax_extras._numerics import LAST_COUNT, as_float, float_dtype
from optax_extras._operands import as_operands, row_indices, row_of
from optax_extras._state._hash import hash_bits, salt_of_count
from optax_extras._state._made_update import made_update
from optax_extras._state._quantize import to_bfloat16_bits
from optax_extras._types import Params, State, Updates
from optax_extras.averages._average import Average
from optax_extras.averages._in_state import in_params_dtypes

_NEEDS_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
)
_ONE = "average"  # the name of one that has none
_RESUME = (
    "To go on with other averages, write `tx.init(params)._replace(inner_state={})`."
)


class WithAverageState(NamedTuple):
    """State of `with_average`."""

    count: ArrayLike
    """Shape (), int32: the updates that were made; it stops at 2**31 - 1."""
    inner_state: State
    """The state of the optimizer."""
    averages: dict[str, Any]
    """By name, like the params: the averages, float32 at least or bfloat16; leaves
    other than floats are those of the params. A single one is ``"average"``."""
    gammas: dict[str, jax.Array]
    """By name, shape (): the exponents of the averages that are power averages."""
    like: Any
    """As many leaves as the params: a single 0 of each param's dtype, so that
    :func:`averaged` knows it; () if the averages have the params' dtypes."""

    restarted_fields = ("inner_state",)
    needs_float32 = (
        "store averages of the weights",
        "Write `oxe.with_average(oxe.low_precision_state(tx), average)`.",
    )

    def averaged(self, name: str) -> Any:
        """The average of this name in the params' dtypes, as new arrays."""
        return in_params_dtypes(self.averages[name], self.like)


def first_average(params: Params, is_bfloat16: bool = False) -> tuple[Any, Any]:
    """A copy of the params as an average, and `like` for `in_params_dtypes`.

    `like` is a tree that tells the params' dtypes, () if the average has the same.
    """
    leaves = jax.tree.map(as_leaf, params)
    average = jax.tree.map(
        lambda p: jnp.array(p, _stored_dtype(p, is_bfloat16)), leaves
    )
    if is_placeholder_of_optax(params):
        # A leaf for any tree, which is not like the params.
        return average, jnp.zeros(())
    pairs = zip(jax.tree.leaves(average), jax.tree.leaves(leaves), strict=True)
    if all(a.dtype == p.dtype for a, p in pairs):
        return average, ()
    like = jax.tree.map(lambda p: placeholder(p, dtype_of(p)), leaves)
    return average, fit_boxes(like, params)


@checked
def with_average(
    tx: Transformation,
    average: Average | Mapping[str, Average],
    *,
    dtype: DTypeLike | None = None,
    overwrite_every: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps an average of the weights, which often does better than the last weights.

    :func:`averaged` reads it from the state. ``optax.ema`` averages the updates
    instead; for weights it needs a state of its own and the params after the update.
    Here the average is of the weights :math:`w_t` *after* each update, in float32 at
    least, whatever the params are:

    .. math::
        a_0 = w_0, \qquad a_t = a_{t-1} + c_t\, (w_t - a_{t-1})

    :math:`c_t` is that of `average`, and :math:`t` counts the updates that were made.
    Those that ``optax.apply_if_finite``, ``optax.MultiSteps`` or :func:`accumulate`
    refuse or postpone, inside or around, leave the average as it is. Put everything
    that changes updates inside, and add the updates by ``optax.apply_updates``: after
    :func:`apply_updates_stochastic`, the weights of one update are seen with the next.
    Params that change otherwise, such as batch statistics, are not averaged.

    Each average costs 4 bytes for each weight. A step reads and writes it once, and
    reads the new weights once more: with Adam it takes about 1.3 times as long.
    Inside of :func:`with_master_copy` or :func:`with_compensation` it is the average of
    the float32 weights, and :func:`averaged` is float32; around them, it is that of the
    rounded weights. Inside of ``optax.masked`` it is an average of a part of the
    params. Put it around :func:`stacked`, :func:`low_precision_state` and
    ``optax.partition``.

    Args:
      tx: The optimizer.
      average: An average of :mod:`optax_extras.averages`, or a dict of names and
        averages, which are kept side by side.
      dtype: ``"bfloat16"`` stores averages of real weights in 2 bytes, rounded up or
        down at random so that the mean is exact; rounded to nearest, an average with
        :math:`c_t = 10^{-4}` would not move at all. A single weight of the average is
        off by about a rounding, 0.4 % of itself, and by up to 8 % if the weights are
        far from their average; ``oxe.averages.rebuild`` needs float32. The random
        numbers depend only on the count and the place in the tree.
      overwrite_every: :math:`k`: every :math:`k`-th update makes the params a copy of
        the average, up to the rounding of one sum. This makes every update slower, and
        takes memory like the params while it runs. None: the average never changes the
        params.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `WithAverageState`. Its updates
      are those of ``tx`` but for `overwrite_every`; ``update`` needs the params.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.with_average(optax.sgd(1.0), oxe.averages.uniform())
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> for _ in range(3):
      ...     updates, state = tx.update(-jnp.ones(2), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params.tolist(), oxe.averaged(state).tolist()
      ([3.0, 3.0], [2.0, 2.0])

    References:
      Izmailov et al., `Averaging weights leads to wider optima and better
      generalization <https://arxiv.org/abs/1803.05407>`_, 2018
    """
    averages = _named(average)
    is_bfloat16 = _is_bfloat16(dtype)
    if overwrite_every is not None and len(averages) > 1:
        hint = "Wrap twice: the outer `with_average` keeps the others."
        refuse(
            "overwrite_every", "be None beside several averages", len(averages), hint
        )

    def init(params: Params) -> WithAverageState:
        starts = {name: first_average(params, is_bfloat16) for name, _ in averages}
        return WithAverageState(
            jnp.zeros((), jnp.int32),
            jax.tree.map(without_weak_type, tx.init(params)),
            {name: start for name, (start, _) in starts.items()},
            {name: as_float(x.gamma) for name, x in averages if x.gamma is not None},
            next(like for _, like in starts.values()),
        )

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        if params is None and jax.tree.leaves(updates):
            refuse("params", "be given to `update`", params)
        _refuse_other_state(state, [name for name, _ in averages], is_bfloat16)
        us, inner_state = tx.update(updates, state.inner_state, params, **extra)
        made = made_update(state.inner_state, inner_state)
        count = jnp.where(made, optax.safe_increment(state.count), state.count)
        changes = as_operands(lambda: _changes(averages, count, made), count)
        new = {
            name: _averaged(name, tree, us, params, changes[name], count)
            for name, tree in state.averages.items()
        }
        if overwrite_every is not None:
            (tree,) = new.values()
            every: Any = overwrite_every
            every = min(every, LAST_COUNT) if isinstance(every, int) else every
            us = _overwriting(us, tree, params, made & (count % every == 0))
        return us, state._replace(count=count, inner_state=inner_state, averages=new)

    return optax.GradientTransformationExtraArgs(init, update)


def _named(average: Any) -> tuple[tuple[str, Average], ...]:
    """The averages with their names, in a form that can be hashed."""
    must = "be an average of `oxe.averages`, or a dict of names and averages"
    named = average if isinstance(average, Mapping) else {_ONE: average}
    for name, x in named.items():
        if not (isinstance(name, str) and isinstance(x, Average)):
            refuse_kind("average", must, average)
        if not callable(x.weight):
            refuse_kind(_weight_of(name), "be a function of the count", x.weight)
    if not named:
        refuse("average", "hold at least one average", average)
    return tuple(sorted(named.items()))


def _is_bfloat16(dtype: Any) -> bool:
    if dtype is not None and dtype_name(dtype) != "bfloat16":
        hint = "The default stores float32, and float64 for float64 params."
        refuse("dtype", "be bfloat16 or None", dtype, hint)
    return dtype is not None


def _refuse_other_state(state: State, names: list[str], is_bfloat16: bool) -> None:
    """Refuses a state without the averages, or with them in other dtypes."""
    if not hasattr(state, "averages"):
        got, hint = type(state).__name__, _RESUME.format("state")
        raise refusal(TypeError, "state", "be one of `with_average`", got, hint)
    hint = _RESUME.format("state.inner_state")
    if sorted(state.averages) != names:
        must = f"have the averages {', '.join(map(repr, names))}"
        got = ", ".join(map(repr, sorted(state.averages)))
        raise refusal(ValueError, "state", must, got, hint)
    for x in jax.tree.leaves(state.averages):
        if _stored_dtype(x, is_bfloat16) != x.dtype:
            wanted = "bfloat16" if is_bfloat16 else "float32 or wider"
            refuse("state", f"have averages of dtype {wanted}", x.dtype.name, hint)


def _stored_dtype(p: jax.Array, is_bfloat16: bool) -> Any:
    if is_bfloat16 and jnp.issubdtype(p.dtype, jnp.floating):
        return jnp.bfloat16
    return np.dtype(np.float32) if is_half(p) else p.dtype


def _changes(averages: Any, count: Any, made: Any) -> dict[str, jax.Array]:
    """c_t of each average; 0 if no update was made."""
    t = jnp.maximum(count, 1)

    def change(name: str, average: Average) -> Any:
        c = jnp.asarray(_weight(name, average, t), float_dtype())
        return c if made is True else jnp.where(made, c, 0)

    return {name: change(name, average) for name, average in averages}


def _weight(name: str, average: Average, t: jax.Array) -> Any:
    """c_t, by a function that may have been written for Python numbers."""
    try:
        c = average.weight(t)
    except _NEEDS_NUMBERS:
        hint = "It gets an array, inside `jit` too: use `jnp.where` for `if`."
        must = "be a function of a traced count"
        refuse_kind(_weight_of(name), must, average.weight, hint)
    if not (is_real(c) or str(getattr(c, "dtype", "")) == "bool"):
        refuse_kind(_weight_of(name), "return a real number", c)
    return c


def _weight_of(name: str) -> str:
    return "average.weight" if name == _ONE else f"average[{name}].weight"


def _averaged(name: str, tree: Any, us: Updates, params: Params, c: Any, count: Any):
    """An average after one more update."""
    rows = align(params, us, tree)
    salts = _salts(name, rows, count)

    def leaf(p: Any, u: Any, a: Any) -> Any:
        if a is None or p is None:
            return a
        return _moved(a, _new_weight(p, u), c, next(salts) if is_half(a) else None)

    return rebuild(tree, [leaf(*row) for row in rows])


def _salts(name: str, rows: Any, count: Any) -> Iterator[jax.Array]:
    """A number for the random rounding of each half-precision average."""
    places = [str(i) for i, (*_, a) in enumerate(rows) if is_half(a)]
    if not places:
        return iter(())
    hashes = [zlib.crc32((name + i).encode()) for i in places]
    salts = salt_of_count(count) + np.array(hashes, np.uint32)
    return (row_of(salts, i) for i in row_indices(len(places), count))


def _new_weight(p: Any, u: Any) -> Any:
    """The weight that the user will get."""
    if u is None or is_key(p):
        return p
    w: Any = optax.apply_updates(p, u)
    # In one program XLA leaves out the rounding of a sum that becomes float32 again.
    is_bfloat16 = is_half(w) and w.dtype == jnp.bfloat16
    return jax.lax.reduce_precision(w.astype(jnp.float32), 8, 7) if is_bfloat16 else w


def _moved(a: Any, w: Any, c: Any, salt: Any) -> jax.Array:
    """The average: exactly `a` if c is 0, even if `w` is NaN, and `w` if c is 1."""
    if is_key(a) or not jnp.issubdtype(a.dtype, jnp.inexact):
        return jnp.where(c == 0, a, w)
    x = upcast_half(a)
    w, c = jnp.asarray(w, x.dtype), c.astype(real_dtype(x.dtype))
    new = jnp.where(c == 0, x, jnp.where(c == 1, w, x + c * (w - x)))
    if not is_half(a):
        return in_dtype_of(a, new)
    bits = to_bfloat16_bits(new, hash_bits(a.shape, salt))
    return jax.lax.bitcast_convert_type(bits, jnp.bfloat16)


def _overwriting(us: Updates, tree: Any, params: Params, now: Any) -> Updates:
    """The updates, or those that lead to the average."""

    def leaf(p: Any, u: Any, a: Any) -> Any:
        if u is None or a is None or not jnp.issubdtype(a.dtype, jnp.inexact):
            return u
        difference = upcast_half(a) - upcast_half(p)
        return jnp.where(now, difference.astype(u.dtype), u)

    return rebuild(us, [leaf(*row) for row in align(params, us, tree)])
