"""A rule with its rate inside."""

from typing import Any, NamedTuple

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel.scale_by_moments import Rule
from optax_extras._kernel.tableau import is_known
from optax_extras._learning_rates._source import RateState, as_rate
from optax_extras._numerics import as_float


class LearningRateCarry(NamedTuple):
    """What `with_learning_rate` carries."""

    rate: RateState
    """The rate of the last update."""
    rule: Any
    """What the rule itself carries."""


def with_learning_rate(rule: Rule, learning_rate: ArrayLike | optax.Schedule) -> Rule:
    r"""A rule whose direction is multiplied by a rate of its own.

    For the phases of a switch, each of which may have another one. The rate is inside:
    chain a change of sign behind the direction, and no rate.

    .. math::
        u \leftarrow \eta_t u

    Args:
      rule: Any rule without a rate of its own.
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates that the rule has made before (in a second phase from 0),
        or a metric schedule.

    Returns:
      An `oxe.Rule` with the buffers of `rule`, that carries its rate, for
      `oxe.learning_rate` to read.

    Raises:
      ValueError: If the rate is out of range.
      TypeError: If it is neither a number nor a schedule, or `rule` no `Rule`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(0.9), 0.1)
      >>> rule = oxe.switch(adam, sgd, oxe.at_step(1000))
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    if not isinstance(rule, Rule):
        _checks.refuse_kind("with_learning_rate", "rule", "be an `oxe.Rule`", rule)
    rate = as_rate("with_learning_rate", "learning_rate", learning_rate)

    def step(t, carry):
        eta, kept = rate.now(t - 1, carry.rate)
        c, inner = rule.step(t, carry.rule)
        n0, n1 = (x if is_known(x, 0) else eta * as_float(x) for x in (c.n0, c.n1))
        return c._replace(n0=n0, n1=n1), LearningRateCarry(kept, inner)

    def after(t, carry, /, *, grads, updates, params, **extra):
        own, kept = carry.rule, carry.rate
        if rule.after is not None:
            seen = {"grads": grads, "updates": updates, "params": params}
            own = rule.after(t, own, **seen, **extra)
        if rate.after is not None:  # at a metric
            kept = rate.after(kept, **extra)
        return LearningRateCarry(kept, own)

    def needs_after(carry):
        inner: Any = rule.needs_after
        return inner(carry.rule)

    return Rule(
        lambda: LearningRateCarry(rate.init(), rule.init()),
        step,
        None if rule.after is None and rate.after is None else after,
        rule.buffers,
        None if rule.needs_after is None or rate.after is not None else needs_after,
    )
