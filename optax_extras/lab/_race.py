"""Several optimizers on one problem."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._checks import Key, LearningRate, Size, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._hyperparameters.hyperparameters import hyperparameters
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras.lab import problems
from optax_extras.lab._minimize import Trajectory, minimize
from optax_extras.lab._problem import Problem, check_problem
from optax_extras.lab._select_rule import select_rule
from optax_extras.lab._table import as_text


class Comparison(NamedTuple):
    """What `race` went through; as text, a table of how each optimizer ended."""

    problem: Problem
    """The problem that was raced on."""
    paths: dict[str, Trajectory]
    """The path of each optimizer, by its name."""

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns of the table: `optimizer`, and its last `value` and `distance`.

        The value is that of `fun`, without noise; the distance is from `minimum`.
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
        return as_text(self.to_dict())


def check_race(race: Any) -> None:
    """Refuses what is not from `race`, or is without a path."""
    if not isinstance(race, Comparison):
        refuse_kind("race", "be what `race` returned", race)
    check_problem("race.problem", race.problem)
    if not isinstance(race.paths, Mapping):
        refuse_kind("race.paths", "be a dict of paths", race.paths)
    if not race.paths:
        refuse("race.paths", "hold a path", race.paths)
    for path in race.paths.values():
        if not isinstance(path, Trajectory):
            refuse_kind("race.paths", "hold paths", path)


@checked
def race(
    problem: Problem | str,
    optimizers: Mapping[str, optax.GradientTransformation | Rule],
    steps: Size,
    *,
    learning_rate: LearningRate | None = None,
    key: Key | None = None,
    record_every: Size = 1,
) -> Comparison:
    """Runs several optimizers on a problem, from the same start.

    All the rules among them run side by side in one program, as they differ in scalars
    only; a transformation, or a rule that has its rate inside, is a program of its own.
    The numbers are those of each one alone, but for rounding.

    Args:
      problem: The problem, or its name in `oxe.lab.problems`.
      optimizers: An optimizer or a `Rule` for each name.
      steps: The number of updates, at least 1.
      learning_rate: A number of at least 0 or a schedule: the rate of every `Rule`
        among them that has none inside, as `rules.heavy_ball` has.
      key: A key of `jax.random` for a stochastic problem: all see the same noise.
      record_every: Which points of the paths are kept, as in `minimize`.

    Returns:
      A :class:`Comparison`: `problem` and `paths`; ``print`` shows a table, `to_dict`
      gives its columns.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> txs = {"SGD": optax.sgd(0.5), "AdaGrad": oxe.adagrad(1.5)}
      >>> print(oxe.lab.race("ditch", txs, steps=30))
      optimizer       value  distance
      SGD           0.11287    1.5025
      AdaGrad    0.00072195   0.12016
    """
    found = problems.find(problem)
    if not isinstance(optimizers, Mapping):
        refuse_kind("optimizers", "be a dict of optimizers", optimizers)
    if not optimizers:
        refuse("optimizers", "hold an optimizer", optimizers)
    given = learning_rate is not None
    rate = as_rate("learning_rate", learning_rate) if given else None

    def run(tx):
        start, every = found.start, record_every
        return minimize(found, start, tx, steps, key=key, record_every=every)

    rules: dict[str, Any] = {}
    rules |= {k: x for k, x in optimizers.items() if _is_bare(x, rate)}
    rules = rules if len(rules) > 1 else {}
    txs = {k: _alone(x, rate) for k, x in optimizers.items() if k not in rules}
    paths = _together(run, rules, rate) if rules else {}
    paths |= {name: run(tx) for name, tx in txs.items()}
    return Comparison(found, {name: paths[name] for name in optimizers})


def _alone(optimizer: Any, rate: Any) -> optax.GradientTransformation:
    """An optimizer, or a rule, as a transformation."""
    if isinstance(optimizer, Rule):
        has_rate = hyperparameters(optimizer.init())
        last = optax.scale(-1.0) if has_rate else scale_by_source(rate)
        return optax.chain(scale_by_moments(optimizer), last)
    if not isinstance(optimizer, optax.GradientTransformation):
        refuse_kind("optimizers", "hold optimizers or Rules", optimizer)
    return optimizer


def _is_bare(optimizer: Any, rate: Any) -> bool:
    """Whether it is a rule without a rate inside."""
    bare = isinstance(optimizer, Rule) and not hyperparameters(optimizer.init())
    if bare and rate is None:
        refuse("learning_rate", "be given where an optimizer is a Rule", rate)
    return bare


def _together(run: Any, rules: dict[str, Rule], rate: Any) -> dict[str, Trajectory]:
    """The paths of several rules, from one program."""
    members = list(rules.values())

    def one(i):
        return run(_alone(select_rule(members, i), rate))

    paths = jax.jit(jax.vmap(one))(jnp.arange(len(members)))
    return {
        name: jax.tree.map(lambda x, i=i: x[i], paths) for i, name in enumerate(rules)
    }
