"""Several optimizers on one problem."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._hyperparameters.hyperparameters import hyperparameters
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by
from optax_extras.lab import problems
from optax_extras.lab._minimize import Path, follow
from optax_extras.lab._problem import Problem, checked
from optax_extras.lab._stack import stacked
from optax_extras.lab._table import as_text


class Race(NamedTuple):
    """What `race` went through; as text, a table of how each optimizer ended."""

    problem: Problem
    """The problem that was raced on."""
    paths: dict[str, Path]
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


def check_race(rule: str, race: Any) -> Race:
    """What `race` returned, with a path at least, for the `rule` that draws it."""
    if not isinstance(race, Race):
        _checks.refuse_kind(rule, "race", "be what `race` returned", race)
    checked(rule, "race.problem", race.problem)
    if not isinstance(race.paths, Mapping):
        _checks.refuse_kind(rule, "race.paths", "be a dict of paths", race.paths)
    if not race.paths:
        _checks.refuse(rule, "race.paths", "hold a path", race.paths)
    for path in race.paths.values():
        if not isinstance(path, Path):
            _checks.refuse_kind(rule, "race.paths", "hold paths", path)
    return race


def race(
    problem: Problem | str,
    entrants: Mapping[str, optax.GradientTransformation | Rule],
    steps: int,
    *,
    learning_rate: ArrayLike | optax.Schedule | None = None,
    key: jax.Array | None = None,
    record_every: int = 1,
) -> Race:
    """Runs several optimizers on a problem, from the same start.

    All the rules among them run side by side in one program, as they differ in scalars
    only; a transformation, or a rule that has its rate inside, is a program of its own.
    The numbers are those of each one alone, but for rounding.

    Args:
      problem: The problem, or its name in `oxe.lab.problems`.
      entrants: An optimizer or a `Rule` for each name.
      steps: The number of updates, at least 1.
      learning_rate: A number of at least 0 or a schedule: the rate of every `Rule`
        among them that has none inside, as `rules.heavy_ball` has.
      key: A key of `jax.random` for a stochastic problem: all see the same noise.
      record_every: Which points of the paths are kept, as in `minimize`.

    Returns:
      A :class:`Race`: `problem` and `paths`; ``print`` shows a table, `to_dict` gives
      its columns.

    Raises:
      ValueError: If there is no problem of that name, no entrant, a `Rule` without
        `learning_rate`, no `key` for a stochastic problem, or a number is out of range.
      TypeError: If an argument, or a field of the problem, is not of the kind said.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> txs = {"SGD": optax.sgd(0.5), "AdaGrad": oxe.adagrad(1.5)}
      >>> print(oxe.lab.race("ditch", txs, steps=30))
      optimizer       value  distance
      SGD           0.11287    1.5025
      AdaGrad    0.00072195   0.12016
    """
    problem = problems.find("race", problem)
    if not isinstance(entrants, Mapping):
        _checks.refuse_kind("race", "entrants", "be a dict of optimizers", entrants)
    if not entrants:
        _checks.refuse("race", "entrants", "hold an optimizer", entrants)
    given = learning_rate is not None
    rate = as_rate("race", "learning_rate", learning_rate) if given else None

    def run(tx):
        return follow("race", problem, problem.start, tx, steps, key, record_every)

    rules: dict[str, Any] = {}
    rules |= {k: x for k, x in entrants.items() if _is_bare(x, rate)}
    rules = rules if len(rules) > 1 else {}
    txs = {k: _alone(x, rate) for k, x in entrants.items() if k not in rules}
    paths = _together(run, rules, rate) if rules else {}
    paths |= {name: run(tx) for name, tx in txs.items()}
    return Race(problem, {name: paths[name] for name in entrants})


def _alone(entrant: Any, rate: Any) -> optax.GradientTransformation:
    """An entrant as a transformation."""
    if isinstance(entrant, Rule):
        own = hyperparameters(entrant.init())
        last = optax.scale(-1.0) if own else scale_by(rate)
        return optax.chain(scale_by_moments(entrant), last)
    if not isinstance(entrant, optax.GradientTransformation):
        must = "hold optimizers or Rules"
        _checks.refuse_kind("race", "entrants", must, entrant)
    return entrant


def _is_bare(entrant: Any, rate: Any) -> bool:
    """Whether it is a rule without a rate inside."""
    bare = isinstance(entrant, Rule) and not hyperparameters(entrant.init())
    if bare and rate is None:
        must = "be given where an entrant is a Rule"
        _checks.refuse("race", "learning_rate", must, rate)
    return bare


def _together(run: Any, rules: dict[str, Rule], rate: Any) -> dict[str, Path]:
    """The paths of several rules, from one program."""
    members = list(rules.values())

    def one(i):
        return run(_alone(stacked(members, i), rate))

    paths = jax.jit(jax.vmap(one))(jnp.arange(len(members)))
    return {
        name: jax.tree.map(lambda x, i=i: x[i], paths) for i, name in enumerate(rules)
    }
