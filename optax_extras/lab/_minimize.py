"""A run of an optimizer on a function, as one compiled scan."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._check_values import function, transformation
from optax_extras._checks import Key, Size, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters.learning_rate import learning_rate
from optax_extras._numerics import float_dtype
from optax_extras._types import Params, State
from optax_extras.lab._checks_of_data import check_returns_scalar
from optax_extras.lab._problem import Problem, check_problem
from optax_extras.lab._runs import update


class Trajectory(NamedTuple):
    """The points, values and learning rates of a run of `minimize`."""

    params: Params
    """The tree of x0, each leaf of shape (n + 1, ...) and of x0's dtype: the start, and
    the point after each update, or after those that `record_every` selects."""
    values: jax.Array
    """Shape (n + 1,), the dtype of the function: its value at each of `params`, with
    the noise of that step if the function is stochastic."""
    rates: jax.Array | None
    """Shape (n,), float32 (float64 under x64): the learning rate of the update that led
    to each of `params` after the start. None if `oxe.learning_rate` does not find
    exactly one learning rate in the optimizer's state."""
    counts: jax.Array
    """Shape (n + 1,), int32: the number of updates made before each of `params`."""


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
    """Runs an optimizer on a function, and returns the points of its path.

    This is for small functions whose path you want to see; :func:`lr_range_test` and
    :func:`sweep` train models on batches. The run is one `lax.scan`. It is compiled at
    the first call with these `fun`, `tx` and `steps` and these shapes of `x0`; later
    calls with the same objects compile nothing (``jax.clear_caches`` drops the
    program). You can `vmap` over `x0`, over `key`, and over a learning rate from which
    `tx` is made. Each update receives `value`, `grad` and `value_fn`, so metric
    schedules and Optax's line searches work.

    Args:
      fun: A traceable function from a tree like `x0` to a real scalar; if `key` is
        given, from such a tree and a key. Or a `Problem`: step :math:`i` then evaluates
        its `sample`, if it has one, and its `project` is applied after every update.
      x0: The start: an array or a tree of arrays, of real numbers. Floats keep their
        dtype, integers become floats. A tuple or a list is a tree of its items.
      tx: The optimizer.
      steps: The number of updates, not traced.
      key: A key of `jax.random` for a stochastic `fun`. Point :math:`i`, counted from
        0, is evaluated with ``jax.random.fold_in(key, i)``: a longer run begins as a
        shorter one did.
      record_every: How often a point is recorded: the start, the point after every
        `record_every` updates, and the last one, with their values and learning rates.
        With `steps` or more, only the start and the end are recorded, so the memory
        does not grow with the length of the run.

    Returns:
      A `Trajectory` of the recorded points.

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

      Several runs side by side:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> def end(learning_rate):
      ...     tx = oxe.adagrad(learning_rate)
      ...     return oxe.lab.minimize(ditch.fun, ditch.start, tx, 30).values[-1]
      >>> rates = jnp.array([0.1, 0.5, 1.5])
      >>> float(rates[jnp.argmin(jax.vmap(end)(rates))])
      1.5
    """
    if isinstance(fun, Problem):
        check_problem("fun", fun)
        if fun.stochastic and key is None:
            refuse("key", "be given where the problem is stochastic", key)
        loss, sample, project = fun.fun, fun.sample, fun.project
        if sample is None:  # then there is no noise for which a key could be used
            key = None
    else:
        loss, sample, project = function("fun", fun), None, None
    transformation("tx", tx)  # not its result: a new object would be compiled again
    start = jax.tree.map(_as_real, x0)
    if not jax.tree.leaves(start):
        refuse_kind("x0", "hold real numbers", x0)
    if isinstance(fun, Problem) and _size(start) != _size(fun.start):
        must = f"have as many coordinates as the problem, {_size(fun.start)}"
        refuse("x0", must, x0)
    return _run(loss, sample, project, start, tx, steps, min(record_every, steps), key)


def _size(tree: Any) -> int:
    """The number of scalars in a tree."""
    return sum(np.size(leaf) for leaf in jax.tree.leaves(tree))


def _as_real(leaf: Any) -> jax.Array:
    """A strongly typed float array; a float keeps its dtype."""
    if isinstance(leaf, int | float) or hasattr(leaf, "dtype"):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.floating):
            return jnp.asarray(leaf, dtype)
        if jnp.issubdtype(dtype, jnp.integer):
            return jnp.asarray(leaf, float_dtype())
    refuse_kind("x0", "hold real numbers", leaf)


@partial(jax.jit, static_argnames=("fun", "sample", "project", "tx", "steps", "every"))
def _run(fun, sample, project, x0, tx, steps, every, key) -> Trajectory:
    def at(i):
        """The function that step i evaluates."""
        step_key = None if key is None else jax.random.fold_in(key, i)
        if sample is not None:
            return lambda x: sample(x, i, step_key)
        return fun if key is None else lambda x: fun(x, step_key)

    of_start = jax.eval_shape(at(0), x0)
    check_returns_scalar("fun", of_start)

    def block(length, carry, first):
        """Makes some updates; records the first point and value, the last rate."""

        def step(i, carry_and_value):
            carry, first_value = carry_and_value
            (params, state), value = update(tx, at(first + i), *carry)
            params = params if project is None else project(params)
            return (params, state), jnp.where(i == 0, value, first_value)

        start = carry, jnp.zeros((), of_start.dtype)
        if length == 1:  # compiles faster than a loop
            moved, value = step(0, start)
        else:
            moved, value = jax.lax.fori_loop(0, length, step, start)
        return moved, (carry[0], value, _rate_of(moved[1]))

    counts = np.append(np.arange(0, steps, every, dtype=np.int32), np.int32(steps))
    blocks, left = divmod(steps, every)
    start = x0, tx.init(x0)
    carry, rows = jax.lax.scan(partial(block, every), start, counts[:blocks])
    if left:
        carry, row = block(left, carry, counts[blocks])
        rows = jax.tree.map(_append, rows, row)
    points, values, rates = rows
    points = jax.tree.map(_append, points, carry[0])
    values = _append(values, at(steps)(carry[0]))
    return Trajectory(points, values, rates, jnp.asarray(counts))


def _rate_of(state: State) -> jax.Array | None:
    """The learning rate in a state, None if there is none or more than one."""
    try:
        return learning_rate(state)
    except ValueError:
        return None


def _append(rows: jax.Array, row: jax.Array) -> jax.Array:
    return jnp.concatenate([rows, jnp.asarray(row)[None]])
