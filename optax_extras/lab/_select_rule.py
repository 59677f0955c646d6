"""Several rules as one, of which a number that may be traced says which is meant."""

from typing import Any

from optax_extras._kernel.scale_by_moments import Rule
from optax_extras._kernel.tableau import select


def select_rule(rules: list[Rule], which: Any) -> Rule:
    """The rule `rules[which]`, in a form that all of them share.

    It has the buffers of all. The scalars of all rules are computed at each step, which
    costs nothing, and those that are meant are picked; what the others carry, of an
    update that was not theirs, is never looked at.
    """
    buffers = frozenset().union(*(rule.buffers for rule in rules))

    def init():
        return tuple(rule.init() for rule in rules)

    def step(t, carry):
        pairs = [rule.step(t, c) for rule, c in zip(rules, carry, strict=True)]
        tableaus, carries = zip(*pairs, strict=True)
        if "nu_max" in buffers:  # a maximum without memory is `nu`
            tableaus = [
                tableau if "nu_max" in rule.buffers else tableau._replace(r=0)
                for rule, tableau in zip(rules, tableaus, strict=True)
            ]
        return select(which, tableaus), carries

    def after(t, carry, **seen):
        return tuple(
            c if rule.after is None else rule.after(t, c, **seen)
            for rule, c in zip(rules, carry, strict=True)
        )

    watches = any(rule.after is not None for rule in rules)
    return Rule(init, step, after if watches else None, buffers)
