"""Runs at many learning rates, with many schedules, optimizers and seeds."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras._check_values import function, reals, untraced
from optax_extras._checks import IntegralSteps, Key, Size, checked
from optax_extras._errors import refuse
from optax_extras._numerics import float_dtype
from optax_extras._table import as_text
from optax_extras._types import Params
from optax_extras.lab import _runs, problems
from optax_extras.lab._minimize import minimize
from optax_extras.lab._problem import Problem


class Sweep(NamedTuple):
    """What `sweep` measured; ``print`` shows a table with a row for each run."""

    optimizers: tuple[str, ...]
    """Their names."""
    schedules: tuple[str, ...]
    """Their names; ("constant",) if none were given."""
    rates: jax.Array
    """Shape (n,): the learning rates."""
    values: jax.Array
    """Shape (optimizers, schedules, n, seeds). Problem: `fun` at the last point of each
    run. Loss on batches: the mean of the last tenth of the run, inf if one of its
    losses was not finite."""

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns: `optimizer`, `schedule`, `rate`, `seed` (from 0) and `value`."""
        places = np.indices(self.values.shape).reshape(4, -1)
        return {
            "optimizer": np.array(self.optimizers)[places[0]],
            "schedule": np.array(self.schedules)[places[1]],
            "rate": np.asarray(self.rates)[places[2]],
            "seed": places[3],
            "value": np.asarray(self.values).ravel(),
        }

    def __str__(self) -> str:
        return as_text(self.to_dict())


@checked
def sweep(
    problem: Problem | str | Callable[[Any, Any], jax.Array],
    make_tx: Callable[..., Any] | Mapping[str, Callable[..., Any]],
    rates: ArrayLike,
    steps: Size,
    *,
    schedules: Mapping[str, Callable[..., Any]] | None = None,
    params: Params = None,
    batches: Any = None,
    seeds: Size = 1,
    key: Key | None = None,
    memory_limit: IntegralSteps | None = None,
) -> Sweep:
    """Runs optimizers at many learning rates, with several schedules and seeds.

    All runs of an optimizer with a schedule are one compiled program, or, under a
    `memory_limit`, as many runs at a time as fit. In a long sweep a bar counts the runs
    if tqdm is installed.

    Args:
      problem: A `Problem`, the name of one in `oxe.lab.problems`, or a loss: traceable,
        from `params` and one of `batches` to a real scalar.
      make_tx: A function that returns an optimizer for a learning rate, which is
        traced, or for the schedule that one of `schedules` returns. Or a dict of such
        functions, by the names of the optimizers.
      rates: The learning rates, each above 0: a sequence, or an array of shape (n,).
      steps: The number of updates.
      schedules: A dict of functions from a learning rate to a schedule. None: the
        learning rate itself.
      params: For a loss: its params, or a function from a key to them, as in
        :func:`lr_range_test`.
      batches: For a loss: a tree of arrays whose leading axis counts the batches, or a
        list or iterable of batches, as in :func:`lr_range_test`.
      seeds: The number of runs of each. On a problem they differ in its noise; with a
        loss, in the order of batches, and in params made by a function.
      key: A key of `jax.random`, which is split into one for each seed. Needed for
        several seeds, a stochastic problem, or a function as `params`.
      memory_limit: The most bytes that a program may occupy, including its batches.
        None: no limit.

    Returns:
      A `Sweep`, whose `values` have the axes (optimizers, schedules, rates, seeds).

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> print(oxe.lab.sweep("ditch", optax.sgd, [0.1, 0.9], steps=30))
      optimizer  schedule  rate  seed      value
      sgd        constant   0.1     0     1.3405
      sgd        constant   0.9     0  0.0085499

      A loss on batches, with a schedule:

      >>> import jax.numpy as jnp
      >>> def loss(w, batch):
      ...     return jnp.sum((w - batch) ** 2)
      >>> found = oxe.lab.sweep(
      ...     loss,
      ...     {"sgd": optax.sgd, "adam": optax.adam},
      ...     [0.01, 0.1, 0.5],
      ...     steps=20,
      ...     schedules={"cosine": lambda rate: oxe.schedules.cosine(rate, 20)},
      ...     params=jnp.zeros(2),
      ...     batches=jnp.ones((4, 2)),
      ...     memory_limit=2**20,
      ... )
      >>> found.values.shape
      (2, 1, 3, 1)
      >>> float(found.rates[found.values[0, 0, :, 0].argmin()])  # SGD
      0.5
    """
    makers = _named("make_tx", make_tx)
    if schedules is None:
        schedules = {"constant": lambda rate: rate}
    schedules = _named("schedules", schedules)
    found = reals("rates", rates, "(0, inf)")
    if not found:
        refuse("rates", "hold a learning rate", rates)
    for i, rate in enumerate(found):
        untraced(f"rates[{i}]", rate)
    limit: Any = untraced("memory_limit", memory_limit)
    keys = _runs.split(key, seeds)
    is_problem = not callable(problem)
    for name, x in (("params", params), ("batches", batches)):
        if is_problem and x is not None:
            refuse(name, "be left out where there is a problem", x)
        if not is_problem and x is None:
            refuse(name, "be given where `problem` is a loss", x)
    if is_problem:
        run, data = _on_problem(problems.find(problem), steps), keys
    else:
        run, data = _on_batches(problem, params, batches, keys, steps)
    tried = jnp.asarray(found, float_dtype())
    points = jnp.repeat(tried, seeds), jnp.tile(jnp.arange(seeds), tried.size)
    rows = []
    shape = len(makers), len(schedules), tried.size, seeds
    with _runs.progress(math.prod(shape), "run") as advance:
        for make in makers.values():
            for schedule in schedules.values():
                measure = partial(run, partial(_optimizer_of, make, schedule))
                rows.append(_in_chunks(measure, data, points, limit, advance))
    values = jnp.stack(rows).reshape(shape)
    return Sweep(tuple(makers), tuple(schedules), tried, values)


def _optimizer_of(make: Any, schedule: Any, rate: Any) -> Any:
    return _runs.optimizer_of(make, schedule(rate))


def _on_problem(problem: Problem, steps: int) -> Callable[..., jax.Array]:
    """Returns `run(make, keys, rate, seed)`, the last value of a run on a problem."""

    def run(make, keys, rate, seed):
        key = None if keys is None else keys[seed]
        start, tx = problem.start, make(rate)
        path = minimize(problem, start, tx, steps, key=key, record_every=steps)
        return problem.fun(jax.tree.map(lambda x: x[-1], path.params))

    return run


def _on_batches(loss: Any, params: Params, batches: Any, keys: Any, steps: int) -> Any:
    """Returns `run(make, data, rate, seed)`, the loss of a run, and these data."""
    loss_at, trained, batches = _runs.prepare(
        "problem", loss, params, batches, keys, steps
    )

    def run(make, data, rate, seed):
        trained, keys, batches = data
        seeds = _runs.stack_seeds(trained, keys, batches, steps)
        params, places = jax.tree.map(lambda x: x[seed], seeds)
        loss = partial(loss_at, batches)
        return _runs.measure_end(make(rate), loss, params, places)

    return run, (trained, keys, batches)


def _named(argument: str, functions: Any) -> Mapping[str, Callable[..., Any]]:
    """Functions by name; a single function goes by its `__name__`."""
    if not isinstance(functions, Mapping):
        functions = {getattr(functions, "__name__", argument): functions}
    if not functions:
        refuse(argument, "hold a function", functions)
    for each in functions.values():
        function(argument, each)
    return functions


def _in_chunks(
    fun: Callable[..., jax.Array],
    data: Any,
    points: tuple[jax.Array, ...],
    limit: int | None,
    advance: Callable[[int], object],
) -> jax.Array:
    """The values of `fun(data, *point)`, (n,), from one compiled program.

    It evaluates as many points at a time as `limit`, in bytes, permits; `points` has an
    array (n,) for each coordinate, and `advance` receives the size of each chunk.
    """
    program = jax.jit(lambda data, *points: jax.vmap(lambda *x: fun(data, *x))(*points))
    total = size = points[0].size
    compiled = _compile(program, data, points, size)
    while limit is not None and (needed := _bytes(compiled)) > limit:
        if size == 1:
            must = f"be at least {needed}, the bytes that one run needs"
            refuse("memory_limit", must, limit)
        fixed = sum(x.nbytes for x in jax.tree.leaves(data))
        fitting = size * max(limit - fixed, 0) // max(needed - fixed, 1)
        size = min(max(fitting, 1), size - 1)
        compiled = _compile(program, data, points, size)
    found = []
    for begin in range(0, total, size):
        # The last chunk repeats the last point, so that it fits the same program.
        places = np.minimum(np.arange(begin, begin + size), total - 1)
        values = compiled(data, *(x[places] for x in points))
        found.append(jax.block_until_ready(values))
        advance(min(size, total - begin))
    return jnp.concatenate(found)[:total]


def _compile(program: Any, data: Any, points: tuple[jax.Array, ...], size: int) -> Any:
    return program.lower(data, *(x[:size] for x in points)).compile()


def _bytes(compiled: Any) -> int:
    memory = compiled.memory_analysis()
    if memory is None:
        must = "be None where the compiler does not report the memory of a program"
        refuse("memory_limit", must, "a number")
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
    )
