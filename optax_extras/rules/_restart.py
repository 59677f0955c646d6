"""A rule that begins anew whenever a condition holds."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._rates.rate import RateState
from optax_extras.rules._conditions import as_condition
from optax_extras.rules._kernel import Rule
from optax_extras.rules._switch import afresh


class RestartState(NamedTuple):
    """What `restart` keeps: the carry of a rule, or the state of a transformation."""

    count: Any
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    since: Any
    """Shape (), int32: updates made since the last restart, which the rule counts."""
    watch: Any
    """What the condition carries."""
    inner: Any
    """What the rule carries, or the state of the transformation."""


def restart_rule(inner: Rule, when: Any) -> Rule:
    """`oxe.restart` of a rule: its first coefficients again, its scalars anew."""
    condition = as_condition("restart", when)

    def init():
        zero = jnp.zeros((), jnp.int32)
        return RestartState(zero, jnp.array(zero), condition.init(), inner.init())

    def step(t, carry):
        del t
        since: Any = optax.safe_increment(carry.since)
        count: Any = optax.safe_increment(carry.count)
        tableau, own = inner.step(since, carry.inner)
        # At the very first update the buffers are zero anyway.
        tableau = afresh(tableau, since <= 1)
        return tableau, RestartState(count, since, carry.watch, own)

    def after(t, carry, /, **seen):
        del t
        own = carry.inner
        if inner.after is not None:
            own = inner.after(carry.since, own, **seen)
        fired, watch = condition.update(carry.watch, carry.count, **seen)

        def anew(old, new):  # the rate of the last update stays to be read
            return old if isinstance(old, RateState) else _choose(fired, new, old)

        own = jax.tree.map(
            anew, own, inner.init(), is_leaf=lambda x: isinstance(x, RateState)
        )
        since = jnp.where(fired, 0, carry.since)
        return RestartState(carry.count, since, watch, own)

    return Rule(init, step, after, inner.buffers)


def _choose(fired: Any, new: Any, old: Any) -> jax.Array:
    old = jnp.asarray(old)
    return jnp.where(fired, jnp.asarray(new, old.dtype), old)
