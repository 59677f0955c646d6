"""The recursions of the moments in a state, as its rule says."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._kernel._recorded_rules import RecordedRules
from optax_extras._kernel.rule import Rule, step_rule
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import RateState
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._numerics import LAST_COUNT
from optax_extras._translation.compare_recursions import SUM, Recursion, Recursions
from optax_extras._types import Carry, State

_MORE = (0, 1, 1000, 10**6)  # updates after which a schedule is looked at


def recursions_of(
    state: MomentsState, rules: Any, count: int, scale: float
) -> Mapping[str, Recursions]:
    """The recursions of the moments after so many updates, by buffer and path.

    `scale`: what its updates were multiplied by before, minus the learning rate in a
    velocity that contains it.
    """
    times = [_tableaus(state, rules, count + n) for n in _MORE]
    now, *later = (_recursions_at(state, found, scale) for found in times)
    return _with_later(now, later)


def _with_later(now: Any, later: list[Any]) -> Any:
    if isinstance(now, Recursion):
        return now if all(x == now for x in later) else now._replace(later=(*later,))
    return {key: _with_later(x, [y[key] for y in later]) for key, x in now.items()}


def depends_on_count(state: MomentsState, rules: Any, count: int) -> bool:
    """Whether the next updates would be others at another count."""
    first, *rest = (
        [x for _, _, x in _tableaus(state, rules, count + n)] for n in _MORE
    )
    return any(x != first for x in rest)


def _tableaus(
    state: MomentsState, rules: Any, count: int
) -> list[tuple[list[str], Carry, Tableau]]:
    """The next update of each group, with its paths and its carry."""
    t = jnp.asarray(min(count, LAST_COUNT - 1) + 1, jnp.int32)
    found: list[tuple[list[str], Carry, Tableau]] = []
    for group, rule, paths in rules:
        is_by_group = isinstance(state.carry, Mapping) and group
        carry = state.carry[group] if is_by_group else state.carry
        if _is_per_leaf(rule, carry):
            rows = [jax.tree.map(lambda x, i=i: x[i], carry) for i in range(len(paths))]
            for path, row in zip(paths, rows, strict=True):
                found.append(([path], row, step_rule(rule, t, row)[0]))
        else:
            found.append((paths, carry, step_rule(rule, t, carry)[0]))
    return found


def _recursions_at(
    state: MomentsState, found: list[Any], scale: float
) -> Mapping[str, Recursions]:
    pairs = [
        (paths, _recursions_of_rule(state.nu is None, carry, tableau, scale))
        for paths, carry, tableau in found
    ]
    if len(pairs) == 1:  # it is for all leaves, whatever they are called in stacks
        return pairs[0][1]
    return {
        name: {path: x[name] for paths, x in pairs for path in paths}
        for name in ("mu", "nu")
    }


def _recursions_of_rule(
    is_alone: bool, carry: Carry, tableau: Tableau, scale: float
) -> dict[str, Recursion]:
    """Those of both moments. `is_alone`: whether there is only a first one."""
    a1, c1, a2, c2 = map(float, (tableau.a1, tableau.c1, tableau.a2, tableau.c2))
    is_sum_of_steps = is_alone and has_inner_rate(carry)
    mu = Recursion(a1, 1.0 if is_sum_of_steps else c1)
    start = float(tableau.k) if a2 == 1 else None
    return {
        "mu": scaled(mu, c1 * scale if is_sum_of_steps else scale),
        "nu": Recursion(a2, c2 * scale**2, start=start),
    }


def recursions_of_optax(
    state: State, are_steps: bool, rate: float, scale: float
) -> dict[str, Recursion]:
    """The recursions of the buffers of a state of Optax; averages are left out.

    `are_steps`: whether a momentum adds up steps of this learning rate.
    """
    if isinstance(state, optax.ScaleByRssState):
        return {"sum_of_squares": Recursion(1.0, 1.0)}
    if not isinstance(state, optax.TraceState):
        return {}
    is_plain = are_steps and scale == 1
    return {"trace": Recursion(None, -1.0, rate) if is_plain else scaled(SUM, scale)}


def has_inner_rate(carry: Carry) -> bool:
    """Whether a first moment alone is a sum of steps, as in :func:`heavy_ball`."""
    return isinstance(carry, RateState)


def scaled(recursion: Recursion, scale: float) -> Recursion:
    """That of gradients times a learning rate and a sign."""
    if scale == 1:
        return recursion
    sign, weight = math.copysign(1.0, scale), recursion.weight
    return recursion._replace(weight=weight and weight * sign, rate=abs(scale))


def _is_per_leaf(rule: Rule, carry: Carry) -> bool:
    first = jax.tree.leaves(rule.init())
    return any(
        jnp.ndim(x) > jnp.ndim(y)
        for x, y in zip(jax.tree.leaves(carry), first, strict=False)
    )


def scales_before(places: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """What updates have been multiplied by before they come to each state, by place.

    Only by states of the same chain, not by those of another group of params.
    """
    found: dict[str, float] = {}
    scales: list[tuple[str, float]] = []  # with the chain of each
    for place, state in places:
        found[place] = math.prod(x for chain, x in scales if place.startswith(chain))
        rate = state.rate if isinstance(state, ScaleByRateState) else None
        if isinstance(rate, RateState):
            chain = re.sub(r"(\[\d+\])+$", "", place)
            scale = -float(jax.tree.leaves(rate.learning_rate)[0])
            scales.append((chain, scale or 1.0))
    return found


def pop_rules(records: list[RecordedRules], state: MomentsState) -> list[Any]:
    """The rules of a state: of the record that has its count, or else of the first."""
    found = (i for i, x in enumerate(records) if x.count is state.count)
    return records.pop(next(found, 0)).rules if records else []
