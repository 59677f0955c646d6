"""Whole runs at many rates, with many schedules, optimizers and seeds."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras._checks import IntegralSteps, Key, Size, checked
from optax_extras._errors import refuse
from optax_extras._numerics import float_dtype
from optax_extras._types import Params
from optax_extras._values import function, reals, untraced
from optax_extras.lab import _runs, problems
from optax_extras.lab._chunks import in_chunks
from optax_extras.lab._minimize import minimize
from optax_extras.lab._problem import Problem
from optax_extras.lab._progress import progress
from optax_extras.lab._table import as_text


class Sweep(NamedTuple):
    """What `sweep` measured; as text, a table with a row for each run."""

    optimizers: tuple[str, ...]
    """Their names."""
    schedules: tuple[str, ...]
    """Their names; ("constant",) where none were given."""
    rates: jax.Array
    """Shape (n,): the learning rates."""
    values: jax.Array
    """Shape (optimizers, schedules, n, seeds). On a problem: of `fun`, at the last
    point of each run. Of a loss on batches: the mean of the last tenth of the run, inf
    if it met a loss not finite."""

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
    """Runs optimizers at many rates, with several schedules and seeds.

    All the runs of an optimizer with a schedule are one compiled program, or, where
    that would need more memory than `memory_limit`, as many at a time as fit in it.
    Where that takes long and tqdm is installed, a bar counts the runs.

    Args:
      problem: A `Problem`, the name of one in `oxe.lab.problems`, or a loss: traceable,
        from `params` and one of `batches` to a real scalar.
      make_tx: From a rate, which is traced, or what one of `schedules` made of it, to
        an optimizer; or a dict of such functions.
      rates: The rates, each above 0: a sequence, or an array of shape (n,).
      steps: The number of updates, at least 1.
      schedules: A dict of functions from a rate to a schedule; None: the rate itself.
      params: For a loss, as in `lr_range_test`: a tree of floating arrays, a model that
        is one, or a function from a key to one, called once for each seed.
      batches: For a loss, as there: arrays whose leading axis counts the batches, which
        are gone through again and again; or an iterable, of which up to `steps` are
        read.
      seeds: How many runs there are of each, at least 1. Those of a problem differ in
        its noise, those of a loss in the order of batches, and in params made by a
        function.
      key: A key of `jax.random`, from which those of the seeds are split; for several
        seeds, a stochastic problem, or a function as `params`.
      memory_limit: The most bytes that a program may occupy, its batches included.
        None: no limit.

    Returns:
      A :class:`Sweep`: `optimizers`, `schedules`, `rates` and `values`; ``print`` shows
      a table, `to_dict` gives its columns.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> print(oxe.lab.sweep("ditch", optax.sgd, [0.1, 0.9], steps=30))
      optimizer  schedule  rate  seed      value
      sgd        constant   0.1     0     1.3405
      sgd        constant   0.9     0  0.0085499

      Of a loss on batches, with schedules:

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
      >>> float(found.rates[found.values[0, 0, :, 0].argmin()])  # of sgd
      0.5
    """
    makers = _named("make_tx", make_tx)
    if schedules is None:
        schedules = {"constant": lambda rate: rate}
    drawn = _named("schedules", schedules)
    found = reals("rates", rates, "(0, inf)")
    if not found:
        refuse("rates", "hold a rate", rates)
    for i, rate in enumerate(found):
        untraced(f"rates[{i}]", rate)
    limit: Any = untraced("memory_limit", memory_limit)
    keys = _runs.split(key, seeds)
    if isinstance(problem, Problem | str) or not callable(problem):
        given = {"params": params, "batches": batches}
        task = _on_problem(problem, keys, steps, given)
    else:
        task = _on_batches(problem, params, batches, keys, steps)
    tried = jnp.asarray(found, float_dtype())
    points = jnp.repeat(tried, seeds), jnp.tile(jnp.arange(seeds), tried.size)
    rows = []
    with progress(len(makers) * len(drawn) * points[0].size, "run") as advance:
        for make in makers.values():
            for schedule in drawn.values():
                run, data = task(_made(make, schedule))
                row = in_chunks(run, data, points, limit, advance)
                rows.append(row)
    shape = len(makers), len(drawn), tried.size, seeds
    return Sweep(tuple(makers), tuple(drawn), tried, jnp.stack(rows).reshape(shape))


def _on_problem(problem: Any, keys: Any, steps: int, given: dict[str, Any]) -> Any:
    """From a maker of optimizers to: (keys, rate, seed) -> value, and the keys."""
    found = problems.find(problem)
    for name, x in given.items():
        if x is not None:
            refuse(name, "be left out where there is a problem", x)
    if keys is None and found.stochastic:
        refuse("key", "be given where the problem is stochastic", keys)

    def task(make):
        def run(keys, rate, seed):
            key = None if keys is None else keys[seed]
            once: Any = {"key": key, "record_every": steps}
            path = minimize(found, found.start, make(rate), steps, **once)
            return found.fun(jax.tree.map(lambda x: x[-1], path.params))

        return run, keys

    return task


def _on_batches(loss: Any, params: Params, batches: Any, keys: Any, steps: int) -> Any:
    """The same for a loss; the data are params and keys of all seeds, and batches."""
    for name, x in (("params", params), ("batches", batches)):
        if x is None:
            refuse(name, "be given where `problem` is a loss", x)
    trained, rebuild = _runs.take_apart(_runs.models(params, keys))
    batches, total = _runs.stack(batches, steps)

    def loss_of(params, batch):
        return loss(rebuild(params), batch)

    _runs.check_loss("problem", loss_of, trained[0], batches)

    def task(make):
        def run(data, rate, seed):
            trained, keys, batches = data
            every = _runs.side_by_side(trained), _runs.orders(keys, total)
            params, order = jax.tree.map(lambda x: x[seed], every)
            return _runs.Program(loss_of, make, steps).end(rate, params, batches, order)

        return run, (trained, keys, batches)

    return task


def _made(make: Any, schedule: Any) -> Callable[[Any], Any]:
    return lambda rate: _runs.optimizer_of(make, schedule(rate))


def _named(argument: str, functions: Any) -> Mapping[str, Callable[..., Any]]:
    """Functions by name; one alone is called as it calls itself."""
    if not isinstance(functions, Mapping):
        functions = {getattr(functions, "__name__", argument): functions}
    if not functions:
        refuse(argument, "hold a function", functions)
    for each in functions.values():
        function(argument, each)
    return functions
