"""How the moments of a state move, as its rule says."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._kernel.rule import Rule, step_rule
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import CONSTANT, RateState
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._translation.source import SUM, Form
from optax_extras._types import Carry

LAST = 2**31 - 1
_MORE = (0, 1, 1000, 10**6)  # updates after which a schedule is looked at


def forms_of(
    state: MomentsState, rules: Any, count: int, scale: float = 1.0
) -> dict[str, Mapping[str, Form] | Form]:
    """How the moments of a state move after so many updates, by buffer and path.

    `scale`: what its updates were multiplied by before, minus the learning rate in a
    velocity that contains it.
    """
    times = [_tableaus(state, rules, count + n) for n in _MORE]
    now, *later = (_forms_at(state, found, scale) for found in times)
    return {name: _with_later(x, [y[name] for y in later]) for name, x in now.items()}


def _with_later(now: Any, later: list[Any]) -> Any:
    if isinstance(now, Form):
        return now if all(x == now for x in later) else now._replace(later=(*later,))
    return {path: _with_later(x, [y[path] for y in later]) for path, x in now.items()}


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
    t = jnp.asarray(min(count, LAST - 1) + 1, jnp.int32)
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


def _forms_at(
    state: MomentsState, found: list[Any], scale: float
) -> dict[str, Mapping[str, Form] | Form]:
    forms: dict[str, Any] = {}
    for name in ("mu", "nu"):
        pairs = [
            (paths, _form(name, state.nu is None, carry, x, scale))
            for paths, carry, x in found
        ]
        # One rule is for all leaves, whatever they are called in stacks.
        forms[name] = {path: form for paths, form in pairs for path in paths}
        if len(pairs) == 1:
            forms[name] = pairs[0][1]
    return forms


def _form(
    name: str, is_alone: bool, carry: Carry, tableau: Tableau, scale: float
) -> Form:
    """`is_alone`: whether there is only a first moment."""
    if name == "nu":
        start = float(tableau.k) if float(tableau.a2) == 1 else None
        return Form(float(tableau.a2), float(tableau.c2) * scale**2, start=start)
    decay, weight = float(tableau.a1), float(tableau.c1)
    if is_alone and has_inner_rate(carry):
        return scaled(Form(decay, 1.0), weight * scale)
    return scaled(Form(decay, weight), scale)


def forms_of_optax(
    state: Any, are_steps: bool, rate: float, scale: float
) -> dict[str, Form]:
    """How the buffers of a state of Optax move, by field; averages are left out.

    `are_steps`: whether a momentum adds up steps of this learning rate.
    """
    if isinstance(state, optax.ScaleByRssState):
        return {"sum_of_squares": Form(1.0, 1.0)}
    if not isinstance(state, optax.TraceState):
        return {}
    is_plain = are_steps and scale == 1
    return {"trace": Form(None, -1.0, rate) if is_plain else scaled(SUM, scale)}


def has_inner_rate(carry: Carry) -> bool:
    """Whether a first moment alone is a sum of steps, as in :func:`heavy_ball`."""
    return isinstance(carry, RateState)


def scaled(form: Form, scale: float) -> Form:
    """The form of a moment of gradients times a learning rate and a sign."""
    if scale == 1:
        return form
    sign, weight = math.copysign(1.0, scale), form.weight
    return form._replace(weight=weight and weight * sign, rate=abs(scale))


def _is_per_leaf(rule: Rule, carry: Carry) -> bool:
    first = jax.tree.leaves(rule.init())
    return any(
        jnp.ndim(x) > jnp.ndim(y)
        for x, y in zip(jax.tree.leaves(carry), first, strict=False)
    )


def scale_of(state: Any, rates: Any = None) -> float:
    """What the transformation of this state multiplies updates by."""
    rate = getattr(state, "rate", None) if isinstance(state, ScaleByRateState) else None
    if not isinstance(rate, RateState):
        return 1.0
    known = {float(x) for x in (rates or {}).values()}
    if CONSTANT in (rate.source or {}) and len(known) == 1:
        return -known.pop()
    return -float(jax.tree.leaves(rate.learning_rate)[0]) or 1.0


def scale_at(place: str, scales: Mapping[str, float]) -> float:
    """What updates have been multiplied by before they come to this place.

    Only by states of the same chain, not by those of another group of params.
    """
    return math.prod(x for at, x in scales.items() if place.startswith(_chain_of(at)))


def _chain_of(place: str) -> str:
    return re.sub(r"(\[\d+\])+$", "", place)
