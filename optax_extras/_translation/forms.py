"""What a rule says of a state: its carry, and how its moments move."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._kernel.rule import Rule, step_rule
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._learning_rates._source import CONSTANT, RateState
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._numerics import as_float, in_dtype_of
from optax_extras._translation.source import SUM, Form
from optax_extras._types import Carry

LAST = 2**31 - 1


def carry_after(rule: Rule, count: int) -> Carry:
    """The carry of a rule after so many updates, none of which met a condition."""
    first = rule.init()
    if not jax.tree.leaves(first) or not count:
        return first

    def step(t: Any, carry: Carry) -> Carry:
        new = step_rule(rule, t, carry)[1]
        return jax.tree.map(in_dtype_of, carry, new)

    strong = jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), first)
    return jax.jit(
        lambda carry: jax.lax.fori_loop(1, min(count, LAST - 1) + 1, step, carry)
    )(strong)


def with_named(carry: Carry, named: Any) -> Carry:
    if not hasattr(carry, "_fields"):
        return carry
    new = {
        name: in_dtype_of(getattr(carry, name), as_float(x))
        for name, x in named.items()
        if name in carry._fields
    }
    return carry._replace(**new)


def forms_of(
    state: MomentsState, rules: Any, count: int, scale: float = 1.0
) -> dict[str, dict[str, Form]]:
    """How the moments of a state move after so many updates, by buffer and path.

    `scale`: what its updates were multiplied by before, minus the learning rate in a
    velocity that contains it.
    """
    forms: dict[str, dict[str, Form]] = {"mu": {}, "nu": {}}
    t = jnp.asarray(min(count, LAST - 1) + 1, jnp.int32)
    is_by_group = isinstance(state.carry, dict)
    for group, rule, paths in rules:
        carry = state.carry[group] if is_by_group and group else state.carry
        tableau, _ = step_rule(rule, t, carry)
        for name, fields in (("mu", ("a1", "c1")), ("nu", ("a2", "c2"))):
            decay, weight = (float(getattr(tableau, field)) for field in fields)
            form = Form(decay, weight * scale**2)
            if name == "mu":
                form = scaled(Form(decay, weight), scale)
            if name == "mu" and has_inner_rate(state):
                form = scaled(Form(decay, 1.0), weight * scale)
            forms[name] |= dict.fromkeys(paths, form)
    return forms


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


class Scales:
    """What updates were multiplied by before a place in a state.

    Learning rates in one group of a partition do not matter in another.
    """

    def __init__(self) -> None:
        self._found: list[tuple[str, float]] = []

    def add(self, place: str, scale: float) -> None:
        """Notes the scale of a transformation."""
        chain = re.sub(r"(\[[^\]]*\])+$", "", place)
        self._found.append((chain, scale))

    def before(self, place: str) -> float:
        """The product of those in the chains around a place."""
        return math.prod(x for chain, x in self._found if place.startswith(chain))


def has_inner_rate(state: MomentsState) -> bool:
    """Whether the first moment is a sum of steps, as in :func:`heavy_ball`."""
    return state.nu is None and isinstance(state.carry, RateState)


def scaled(form: Form, scale: float) -> Form:
    """The form of a moment of gradients times a learning rate and a sign."""
    if scale == 1:
        return form
    sign, weight = math.copysign(1.0, scale), form.weight
    return form._replace(weight=weight and weight * sign, rate=abs(scale))


def scale_of(state: Any, rates: Any = None) -> float:
    """What the transformation of this state multiplies updates by."""
    rate = getattr(state, "rate", None) if isinstance(state, ScaleByRateState) else None
    if not isinstance(rate, RateState):
        return 1.0
    known = {float(x) for x in (rates or {}).values()}
    if CONSTANT in (rate.source or {}) and len(known) == 1:
        return -known.pop()
    return -float(jax.tree.leaves(rate.learning_rate)[0]) or 1.0
