"""What a rule says of a state: its carry, and how its moments move."""

import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._hyperparameters._walker import map_numbers
from optax_extras._kernel.rule import Rule, step_rule
from optax_extras._kernel.scale_by_moments import MomentsState
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import CONSTANT, STATEFUL, Number, RateState
from optax_extras._learning_rates.scale_by_rate import ScaleByRateState
from optax_extras._numerics import as_float, in_dtype_of
from optax_extras._optimizers.adabound import AdaBoundState
from optax_extras._translation.rates import numbers_in
from optax_extras._translation.source import Form
from optax_extras._translation.states import kinds_of
from optax_extras._types import Carry

LAST = 2**31 - 1
_WALKED = 2**22  # about a second; NAdam's product is 0 long before


def carry_after(rule: Rule, count: int) -> Carry:
    """The carry of a rule after so many updates, none of which met a condition."""
    first = rule.init()
    if not jax.tree.leaves(first) or not count:
        return first
    count = min(count, LAST - 1)
    walked = min(count, _WALKED)

    def step(t: Any, carry: Carry) -> Carry:
        new = step_rule(rule, t, carry)[1]
        return jax.tree.map(in_dtype_of, carry, new)

    def skip(x: Any, last: Any) -> Any:
        """An integer counts updates; any other number has reached its limit."""
        moves = jnp.issubdtype(x.dtype, jnp.integer)
        return x + (x - last) * (count - walked - 1) if moves else x

    @jax.jit
    def walk(carry: Carry) -> Carry:
        last = jax.lax.fori_loop(1, walked, step, carry)
        new = step(jnp.int32(walked), last)
        return (
            new
            if walked == count
            else step(jnp.int32(count), jax.tree.map(skip, new, last))
        )

    return walk(jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), first))


def may_be_copied(old: Carry, carry: Carry) -> bool:
    """Whether the old carry is of the same kind, and more than a learning rate."""
    if old is None or kinds_of(old) != kinds_of(carry):
        return False
    is_rate = isinstance(old, (RateState, AdaBoundState))
    return not is_rate or any(x.kind == STATEFUL for x in numbers_in(old).values())


def with_constants_of(old: Carry, carry: Carry) -> Carry:
    """A copy of a carry with the constant learning rates of another one."""
    new = numbers_in(carry)

    def visit(path: Any, name: str, number: Number) -> Number:
        is_constant = number.kind == CONSTANT
        return number.with_value(new[path, name].value) if is_constant else number

    return jax.tree.map(jnp.array, map_numbers(old, visit))


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
) -> dict[str, Mapping[str, Form] | Form]:
    """How the moments of a state move after so many updates, by buffer and path.

    `scale`: what its updates were multiplied by before, as in a velocity that
    contains the learning rate.
    """
    t = jnp.asarray(min(count, LAST - 1) + 1, jnp.int32)
    found: list[tuple[list[str], Tableau]] = []
    for group, rule, paths in rules:
        is_by_group = isinstance(state.carry, Mapping) and group
        carry = state.carry[group] if is_by_group else state.carry
        if _is_per_leaf(rule, carry):
            rows = [jax.tree.map(lambda x, i=i: x[i], carry) for i in range(len(paths))]
            for path, row in zip(paths, rows, strict=True):
                found.append(([path], step_rule(rule, t, row)[0]))
        else:
            found.append((paths, step_rule(rule, t, carry)[0]))
    forms: dict[str, Any] = {}
    for name, a, c, factor in (("mu", "a1", "c1", scale), ("nu", "a2", "c2", scale**2)):
        pairs = [
            (paths, Form(float(getattr(x, a)), factor * float(getattr(x, c))))
            for paths, x in found
        ]
        # One rule is for all leaves, whatever they are called in stacks.
        forms[name] = {path: form for paths, form in pairs for path in paths}
        if len(pairs) == 1:
            forms[name] = pairs[0][1]
    return forms


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
