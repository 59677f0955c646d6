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
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import select
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._table import as_text
from optax_extras.lab import problems
from optax_extras.lab._minimize import Trajectory, minimize
from optax_extras.lab._problem import Problem, check_problem


class Comparison(NamedTuple):
    """What `race` returned; ``print`` shows a table of how each optimizer ended."""

    problem: Problem
    """The problem."""
    paths: dict[str, Trajectory]
    """The path of each optimizer, by its name."""

    def to_dict(self) -> dict[str, np.ndarray]:
        """The columns of the table: `optimizer`, and its last `value` and `distance`.

        The value is that of `fun`, without noise; the distance is from `minimum`.
        """
        ends = [path.params[-1] for path in self.paths.values()]
        value = [float(self.problem.fun(end)) for end in ends]
        goal = np.asarray(self.problem.minimum)
        away = [np.linalg.norm(np.asarray(end, np.float64) - goal) for end in ends]
        return {
            "optimizer": np.array(list(self.paths)),
            "value": np.array(value),
            "distance": np.array(away),
        }

    def __str__(self) -> str:
        return as_text(self.to_dict())


def check_race(race: Any) -> None:
    """Refuses what is not from `race`, or has no path."""
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

    Rules differ in scalars only, so all of them run side by side in one program. A
    transformation, or a rule that contains its learning rate, has its own program. The
    numbers are those of :func:`minimize` for each optimizer, except for rounding.

    Args:
      problem: The problem, or its name in `oxe.lab.problems`.
      optimizers: An optimizer or a `Rule` for each name.
      steps: The number of updates.
      learning_rate: The learning rate of each `Rule` that does not contain one, as
        `rules.heavy_ball` does.
      key: A key of `jax.random` for a stochastic problem: the noise is the same for all
        optimizers.
      record_every: Which points of the paths are recorded, as in `minimize`.

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
    rate = None if learning_rate is None else as_rate("learning_rate", learning_rate)

    def run(tx):
        start, every = found.start, record_every
        return minimize(found, start, tx, steps, key=key, record_every=every)

    rules = {k: x for k, x in optimizers.items() if isinstance(x, Rule)}
    rules = {k: x for k, x in rules.items() if not hyperparameters(x.init())}
    if rules and rate is None:
        refuse("learning_rate", "be given where an optimizer is a Rule", rate)
    txs = {k: as_transformation(x, rate) for k, x in optimizers.items()}
    paths: dict[str, Trajectory] = {}
    if len(rules) > 1:

        def run_rule(i):
            rule = _select_rule(list(rules.values()), i)
            return run(as_transformation(rule, rate))

        rows = jax.jit(jax.vmap(run_rule))(jnp.arange(len(rules)))
        for i, name in enumerate(rules):
            paths[name] = jax.tree.map(lambda x, i=i: x[i], rows)
    paths |= {name: run(tx) for name, tx in txs.items() if name not in paths}
    return Comparison(found, {name: paths[name] for name in optimizers})


def as_transformation(optimizer: Any, rate: Any) -> optax.GradientTransformation:
    """An optimizer as it is; a rule chained with `rate`, if it contains none."""
    if isinstance(optimizer, Rule):
        has_rate = hyperparameters(optimizer.init())
        last = optax.scale(-1.0) if has_rate else scale_by_source(rate)
        return optax.chain(scale_by_moments(optimizer), last)
    if not isinstance(optimizer, optax.GradientTransformation):
        refuse_kind("optimizers", "hold optimizers or Rules", optimizer)
    return optimizer


def _select_rule(rules: list[Rule], which: Any) -> Rule:
    """The rule `rules[which]`, in a form that all of them share.

    It has the buffers and the carries of all rules. Each step computes the scalars of
    all rules, which costs nothing, and selects those of one. The carries of the others
    come from updates that they did not make, and are never used.
    """
    buffers = frozenset().union(*(rule.buffers for rule in rules))

    def init():
        return tuple(rule.init() for rule in rules)

    def step(t, carry):
        pairs = [rule.step(t, c) for rule, c in zip(rules, carry, strict=True)]
        tableaus, carries = zip(*pairs, strict=True)
        if "nu_max" in buffers:  # with r = 0 the maximum is `nu` itself
            tableaus = [
                tableau if "nu_max" in rule.buffers else tableau._replace(r=0)
                for rule, tableau in zip(rules, tableaus, strict=True)
            ]
        return select(which, tableaus), carries

    def after(t, carry, **observed):
        return tuple(
            c if rule.after is None else rule.after(t, c, **observed)
            for rule, c in zip(rules, carry, strict=True)
        )

    has_after = any(rule.after is not None for rule in rules)
    return Rule(init, step, after if has_after else None, buffers)
