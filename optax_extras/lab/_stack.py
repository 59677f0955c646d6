"""Several rules as one, of which a number that may be traced says which is meant."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._kernel.scale_by_moments import Rule
from optax_extras._kernel.tableau import Tableau, is_constant
from optax_extras._numerics import as_float

_OPEN = {"lo": -math.inf, "hi": math.inf}  # a bound where only other rules have one


def stacked(rules: list[Rule], which: Any) -> Rule:
    """The rule `rules[which]`, in a form that all of them share.

    It has the buffers of all. The scalars of all rules are computed at each step, which
    costs nothing, and those that are meant are picked; what the others carry, of an
    update that was not theirs, is never looked at.
    """
    buffers = frozenset().union(*(rule.buffers for rule in rules))

    def init():
        return tuple(rule.init() for rule in rules)

    def step(t, carry):
        pairs = [rule.step(t, own) for rule, own in zip(rules, carry, strict=True)]
        tableaus, carries = zip(*pairs, strict=True)
        if "nu_max" in buffers:  # a maximum without memory is `nu`
            tableaus = [
                tableau if "nu_max" in rule.buffers else tableau._replace(r=0)
                for rule, tableau in zip(rules, tableaus, strict=True)
            ]
        columns = zip(Tableau._fields, *tableaus, strict=True)
        return Tableau(*(_pick(which, *column) for column in columns)), carries

    def after(t, carry, **seen):
        return tuple(
            own if rule.after is None else rule.after(t, own, **seen)
            for rule, own in zip(rules, carry, strict=True)
        )

    watches = any(rule.after is not None for rule in rules)
    return Rule(init, step, after if watches else None, buffers)


def _pick(which: Any, name: str, *coefficients: Any) -> Any:
    """One of the coefficients; one that is known, and the same in all, stays known."""
    first = coefficients[0]
    if all(x is None for x in coefficients):
        return None
    if all(is_constant(x) and x == first for x in coefficients):
        return first
    found = [as_float(_OPEN[name] if x is None else x) for x in coefficients]
    return jnp.stack(jax.tree.map(lambda x: x.reshape(()), found))[which]
