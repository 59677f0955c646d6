"""A whole run of an optimizer on a function, as one compiled scan."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._checks import Key, Size, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters.learning_rate import learning_rate
from optax_extras._numerics import float_dtype
from optax_extras._types import Params, State
from optax_extras._values import function
from optax_extras.lab._problem import Problem, check_problem


class Trajectory(NamedTuple):
    """What a run of `minimize` went through."""

    params: Params
    """The tree of x0, each leaf of shape (n + 1, ...) and of x0's dtype: the start, and
    the point after every update, or those of them that `record_every` keeps."""
    values: jax.Array
    """Shape (n + 1,), the dtype of the function: its value at each of `params`, as the
    run saw it: with the noise of that step, where there is any."""
    rates: jax.Array | None
    """Shape (n,), float32 (float64 under x64): the rate of the update that led to each
    of `params` but the start. None where `oxe.learning_rate` finds no single rate in
    the state of the optimizer."""
    counts: jax.Array
    """Shape (n + 1,), int32: how many updates had been made at each of `params`."""


@checked
def minimize(
    fun: Callable[..., jax.Array] | Problem,
    x0: Any,
    tx: optax.GradientTransformation,
    steps: Size,
    *,
    key: Key | None = None,
    record_every: Size = 1,
) -> Trajectory:
    """Follows an optimizer down a function, and keeps every point, or some.

    The run is one `lax.scan`, compiled at the first call with these `fun`, `tx` and
    `steps` and these shapes of `x0`; later calls with the same objects compile nothing
    (``jax.clear_caches`` forgets them). It may be `vmap`ped over `x0`, over `key`, and
    over a rate of which `tx` is made. Each update is handed `value`, `grad` and
    `value_fn`, so rates that follow a metric and Optax's line searches work. This is
    for problems to look at; `lr_range_test` and `sweep` train models on batches.

    Args:
      fun: A traceable function from a tree like `x0` to a real scalar; with `key`, of
        such a tree and a key. Or a `Problem`: then step :math:`i` sees its `sample`,
        where it has one, and its `project` follows every update.
      x0: The start: an array, or a tree of them, of real numbers. Floats keep their
        dtype, integers become floats. A tuple or a list is a tree of its items.
      tx: The optimizer.
      steps: The number of updates, at least 1, not traced.
      key: A key of `jax.random` for a stochastic `fun`. Point :math:`i`, counted from
        0, is evaluated with ``jax.random.fold_in(key, i)``: a longer run begins as a
        shorter one did.
      record_every: Which points are kept, and with them values and rates: the start,
        the one after every so many updates, and always the last. At least 1, which
        keeps all. With `steps`, or more, only start and end are kept: then a run of any
        length takes the memory of a short one.

    Returns:
      A :class:`Trajectory`: `params`, `values`, `rates` and `counts`.

    Examples:
      >>> import optax_extras as oxe
      >>> ditch = oxe.lab.problems.ditch
      >>> path = oxe.lab.minimize(ditch.fun, ditch.start, oxe.adagrad(1.5), steps=30)
      >>> path.params.shape, path.values.shape, path.rates.shape
      ((31, 2), (31,), (30,))
      >>> round(float(path.values[-1]), 4)
      0.0007
      >>> tx = oxe.adagrad(1.5)
      >>> path = oxe.lab.minimize(ditch, ditch.start, tx, 1000, record_every=300)
      >>> path.counts.tolist()
      [0, 300, 600, 900, 1000]

      Whole runs, side by side:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> def end(rate):
      ...     tx = oxe.adagrad(rate)
      ...     return oxe.lab.minimize(ditch.fun, ditch.start, tx, 30).values[-1]
      >>> rates = jnp.array([0.1, 0.5, 1.5])
      >>> float(rates[jnp.argmin(jax.vmap(end)(rates))])
      1.5
    """
    seen, drawn, project = _what_is_seen(fun, key)
    if not isinstance(tx, optax.GradientTransformation):
        refuse_kind("tx", "be an optax.GradientTransformation", tx)
    start = jax.tree.map(_as_real, x0)
    if not jax.tree.leaves(start):
        refuse_kind("x0", "hold real numbers", x0)
    if isinstance(fun, Problem) and _size(start) != _size(fun.start):
        must = f"have as many coordinates as the problem, {_size(fun.start)}"
        refuse("x0", must, x0)
    return _run(seen, project, start, tx, steps, min(record_every, steps), drawn)


class _Stream(NamedTuple):
    """A loss that is a function of the step, too."""

    sample: Callable[..., jax.Array]


def _what_is_seen(fun: Any, key: Any) -> tuple[Any, Any, Any]:
    """What is evaluated, the key of it, and what follows an update."""
    if not isinstance(fun, Problem):
        return function("fun", fun), key, None
    check_problem("fun", fun)
    if fun.stochastic and key is None:
        refuse("key", "be given where the problem is stochastic", key)
    if fun.sample is None:  # such a problem has no use for a key
        return fun.fun, None, fun.project
    return _Stream(fun.sample), key, fun.project


def _size(tree: Any) -> int:
    """How many numbers there are."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def _as_real(leaf: Any) -> jax.Array:
    """A strongly typed float array; a float keeps its dtype."""
    dtype = jnp.result_type(leaf) if _is_number(leaf) else None
    if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
        return jnp.asarray(leaf, dtype)
    if dtype is not None and jnp.issubdtype(dtype, jnp.integer):
        return jnp.asarray(leaf, float_dtype())
    refuse_kind("x0", "hold real numbers", leaf)


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float) or hasattr(leaf, "dtype")


@partial(jax.jit, static_argnames=("fun", "project", "tx", "steps", "every"))
def _run(fun, project, x0, tx, steps, every, key) -> Trajectory:
    def at(i):
        fresh = None if key is None else jax.random.fold_in(key, i)
        if isinstance(fun, _Stream):
            return lambda x: fun.sample(x, i, fresh)
        return fun if key is None else lambda x: fun(x, fresh)

    check_value("fun", jax.eval_shape(at(0), x0))
    tx = optax.with_extra_args_support(tx)
    state = tx.init(x0)
    has_rate = _has_rate(state)

    def step(params, state, i):
        value, grads = jax.value_and_grad(at(i))(params)
        updates, state = tx.update(
            grads, state, params, value=value, grad=grads, value_fn=at(i)
        )
        moved = optax.apply_updates(params, updates)
        moved = moved if project is None else project(moved)
        return moved, state, value, learning_rate(state) if has_rate else None

    def block(length, carry, first):
        """So many updates: the point and value before them, the rate of the last."""
        params, state = carry
        if length == 1:
            moved, state, value, rate = step(params, state, first)
            return (moved, state), (params, value, rate)

        def one(i, carry):
            moved, state, before, _ = carry
            moved, state, value, rate = step(moved, state, first + i)
            return moved, state, jnp.where(i == 0, value, before), rate

        like = jax.eval_shape(step, params, state, first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like[2:])
        moved, state, value, rate = jax.lax.fori_loop(
            0, length, one, (params, state, *zeros)
        )
        return (moved, state), (params, value, rate)

    counts = np.append(np.arange(0, steps, every, dtype=np.int32), np.int32(steps))
    whole, left = divmod(steps, every)
    carry, rows = jax.lax.scan(partial(block, every), (x0, state), counts[:whole])
    if left:
        carry, row = block(left, carry, counts[whole])
        rows = jax.tree.map(_append, rows, row)
    points, values, rates = rows
    points = jax.tree.map(_append, points, carry[0])
    values = _append(values, at(steps)(carry[0]))
    return Trajectory(points, values, rates, jnp.asarray(counts))


def _has_rate(state: State) -> bool:
    """Whether the state answers to `learning_rate`; seen from its structure alone."""
    try:
        learning_rate(state)
    except ValueError:
        return False
    return True


def check_value(argument: str, value: Any) -> None:
    """Refuses a function whose (abstract) value is no real scalar."""
    is_array = hasattr(value, "dtype")
    if not is_array or value.shape or not jnp.issubdtype(value.dtype, jnp.floating):
        refuse_kind(argument, "return a real scalar", value)


def _append(rows: jax.Array, row: jax.Array) -> jax.Array:
    return jnp.concatenate([rows, jnp.asarray(row)[None]])
