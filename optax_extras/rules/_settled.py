"""The second phase of a switch alone, for `oxe.settle`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras import _checks
from optax_extras._numerics import as_float
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import is_constant


class SettledCarry(NamedTuple):
    """What the second phase carries when the first one is gone."""

    second_count: jax.Array
    """Shape (), int32: updates that the phase has made."""
    present: jax.Array
    """Shape (), bool: true. What the switch learns at run time stays unknown to the
    compiler: it rounds known numbers together with others, in other places."""
    second: Any
    """What the second phase itself carries."""


def check_over(switched: Any) -> None:
    """Refuses a state that has not switched, or not everywhere."""
    if not jnp.all(switched):
        must = "have switched, in all leaves"
        _checks.refuse("settle", "state", must, switched)


def rest(
    rule: Rule, state: Any, known: set[str], afresh: Callable[..., Any] | None
) -> tuple[Rule, SettledCarry]:
    """The rule and what it carries; `known` coefficients are those of the switch."""
    check_over(state.switched)

    def init():
        zero = jnp.zeros((), jnp.int32)
        return SettledCarry(zero, jnp.ones((), bool), rule.init())

    def step(t, carry):
        del t
        count: Any = optax.safe_increment(carry.second_count)
        tableau, own = rule.step(count, carry.second)
        if afresh is not None:
            tableau = afresh(tableau, count <= 1)
        found = {
            name: jnp.where(carry.present, as_float(c), 2)
            for name, c in tableau._asdict().items()
            if name not in known and is_constant(c) and c != 0
        }
        return tableau._replace(**found), SettledCarry(count, carry.present, own)

    def after(t, carry, /, **seen):
        del t
        own: Any = rule.after
        new = own(carry.second_count, carry.second, **seen)
        return carry._replace(second=new)

    def awake(carry):
        own: Any = rule.awake
        return own(carry.second)

    def settle(carry):
        own: Any = rule.settle
        return own(carry.second)

    left = Rule(
        init,
        step,
        None if rule.after is None else after,
        rule.buffers,
        None if rule.awake is None else awake,
        None if rule.settle is None else settle,
    )
    present = jnp.array(state.switched)
    return left, SettledCarry(state.second_count, present, state.second)
