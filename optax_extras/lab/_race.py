"""Several optimizers on one problem; one optimizer at many rates."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import float_dtype
from optax_extras._rates.scale_by_rate import scale_by_rate
from optax_extras.lab import problems
from optax_extras.lab._minimize import Path, is_key, minimize
from optax_extras.lab._problem import Problem
from optax_extras.rules._kernel import Rule, scale_by_moments


class Race(NamedTuple):
    """What `race` went through; as text, a table of how each optimizer ended."""

    problem: Problem
    """The problem that was raced on."""
    paths: dict[str, Path]
    """The path of each optimizer, by its name."""

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns of the table: `optimizer`, and its last `value` and `distance`.

        The value is that of `fun`, without noise; the distance is from the minimum.
        """
        ends = {k: np.asarray(x.params[-1], np.float64) for k, x in self.paths.items()}
        goal = np.asarray(self.problem.minimum)
        value = [float(self.problem.fun(x.params[-1])) for x in self.paths.values()]
        distance = [float(np.linalg.norm(end - goal)) for end in ends.values()]
        return {
            "optimizer": np.array(list(ends)),
            "value": np.array(value),
            "distance": np.array(distance),
        }

    def __str__(self) -> str:
        return _as_text(self.to_dict())


class Sweep(NamedTuple):
    """What `sweep` measured; as text, a table with a row for each run."""

    names: tuple[str, ...]
    """The optimizers."""
    rates: jax.Array
    """Shape (n,): the learning rates."""
    values: jax.Array
    """Shape (optimizers, n, seeds): of `fun`, at the last point of each run."""

    def to_dict(self) -> dict[str, np.ndarray]:
        """The table's columns: `optimizer`, `rate`, `seed` (from 0) and `value`."""
        places = np.indices(self.values.shape).reshape(3, -1)
        return {
            "optimizer": np.array(self.names)[places[0]],
            "rate": np.asarray(self.rates)[places[1]],
            "seed": places[2],
            "value": np.asarray(self.values).ravel(),
        }

    def __str__(self) -> str:
        return _as_text(self.to_dict())


def race(
    problem: Problem | str,
    entrants: Mapping[str, optax.GradientTransformation | Rule],
    steps: int,
    *,
    learning_rate: ArrayLike | optax.Schedule | None = None,
    key: jax.Array | None = None,
) -> Race:
    """Runs several optimizers on a problem, from the same start.

    Args:
      problem: The problem, or its name in `oxe.lab.problems`.
      entrants: An optimizer for each name, or a `Rule`, which `learning_rate` is for.
      steps: The number of updates, at least 1.
      learning_rate: A number or a schedule: the rate of every `Rule` among them.
      key: A key of `jax.random` for a stochastic problem: all see the same noise.

    Returns:
      A :class:`Race`: `problem` and `paths`; ``print`` shows a table, `to_dict` gives
      its columns.

    Raises:
      ValueError: If there is no problem of that name, no entrant, a `Rule` without
        `learning_rate`, no `key` for a stochastic problem, or `steps` is below 1.
      TypeError: If an argument is of a wrong kind.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> txs = {"SGD": optax.sgd(0.5), "AdaGrad": oxe.adagrad(1.5)}
      >>> print(oxe.lab.race("ditch", txs, steps=30))
      optimizer       value  distance
      SGD           0.11287    1.5025
      AdaGrad    0.00072195   0.12016
    """
    problem = _problem("race", problem)
    if not isinstance(entrants, Mapping):
        _checks.refuse_kind("race", "entrants", "be a dict of optimizers", entrants)
    if not entrants:
        _checks.refuse("race", "entrants", "hold an optimizer", entrants)
    txs = {name: _transform(x, learning_rate) for name, x in entrants.items()}
    paths = {
        name: minimize(problem, problem.start, tx, steps, key=key)
        for name, tx in txs.items()
    }
    return Race(problem, paths)


def sweep(
    problem: Problem | str,
    make_tx: Callable[..., Any] | Mapping[str, Callable[..., Any]],
    rates: ArrayLike,
    steps: int,
    *,
    key: jax.Array | None = None,
    seeds: int = 1,
) -> Sweep:
    """Runs an optimizer on a problem at many rates, as one compiled program.

    Args:
      problem: The problem, or its name in `oxe.lab.problems`.
      make_tx: From a rate, traced, to an optimizer; or a dict of such functions, each
        then a program of its own.
      rates: Shape (n,): the rates, above 0.
      steps: The number of updates, at least 1.
      key: A key of `jax.random` for a stochastic problem.
      seeds: How many runs there are of each, at least 1, with keys split from `key`.

    Returns:
      A :class:`Sweep`: `names`, `rates` and `values`; ``print`` shows a table,
      `to_dict` gives its columns.

    Raises:
      ValueError: If there is no problem of that name, a number is out of range, or
        there is no `key` for a stochastic problem or several seeds.
      TypeError: If an argument is of a wrong kind.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> print(oxe.lab.sweep("ditch", optax.sgd, [0.1, 0.9], steps=30))
      optimizer  rate  seed      value
      sgd         0.1     0     1.3405
      sgd         0.9     0  0.0085499
    """
    problem = _problem("sweep", problem)
    makers = _makers(make_tx)
    found = _checks.reals("sweep", "rates", rates, "(0, inf)")
    if not found:
        _checks.refuse("sweep", "rates", "hold a rate", rates)
    seeds = _checks.count("sweep", "seeds", seeds)
    if key is not None and not is_key(key):
        _checks.refuse_kind("sweep", "key", "be a key of jax.random", key)
    if key is None and (seeds > 1 or problem.stochastic):
        must = "be given with several seeds, or where the problem is stochastic"
        _checks.refuse("sweep", "key", must, key)
    keys = None if key is None else jax.random.split(key, seeds)
    tried = jnp.asarray(found, float_dtype())
    values = [_ends(problem, make, tried, steps, keys) for make in makers.values()]
    return Sweep(tuple(makers), tried, jnp.stack(values))


def _ends(problem: Problem, make: Any, rates: Any, steps: int, keys: Any) -> jax.Array:
    """The value at the end of every run, (rates, seeds)."""

    def end(rate, key):
        path = minimize(problem, problem.start, make(rate), steps, key=key)
        return problem.fun(path.params[-1])

    if keys is None:
        return jax.jit(jax.vmap(lambda rate: end(rate, None)))(rates)[:, None]
    return jax.jit(jax.vmap(jax.vmap(end, (None, 0)), (0, None)))(rates, keys)


def _problem(rule: str, problem: Any) -> Problem:
    found = problems.by_name(problem) if isinstance(problem, str) else problem
    if not isinstance(found, Problem):
        _checks.refuse_kind(rule, "problem", "be a Problem or the name of one", problem)
    return found


def _makers(make_tx: Any) -> Mapping[str, Callable[..., Any]]:
    if not isinstance(make_tx, Mapping):
        make_tx = {getattr(make_tx, "__name__", "optimizer"): make_tx}
    if not make_tx:
        _checks.refuse("sweep", "make_tx", "hold a function", make_tx)
    for make in make_tx.values():
        _checks.function("sweep", "make_tx", make)
    return make_tx


def _transform(entrant: Any, rate: Any) -> optax.GradientTransformation:
    if isinstance(entrant, Rule):
        if rate is None:
            must = "be given where an entrant is a Rule"
            _checks.refuse("race", "learning_rate", must, rate)
        return optax.chain(scale_by_moments(entrant), scale_by_rate(rate))
    if not isinstance(entrant, optax.GradientTransformation):
        must = "hold optimizers or Rules"
        _checks.refuse_kind("race", "entrants", must, entrant)
    return entrant


def _as_text(columns: Mapping[str, np.ndarray]) -> str:
    """Columns of words to the left, of numbers, with five digits, to the right."""
    lines = []
    for name, column in columns.items():
        words = column.dtype.kind == "U"
        cells = [name, *(x if words else f"{x:.5g}" for x in column.tolist())]
        width = max(map(len, cells))
        align = str.ljust if words else str.rjust
        lines.append([align(cell, width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*lines, strict=True))
