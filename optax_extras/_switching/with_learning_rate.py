"""A rule with its learning rate inside."""

from typing import Any, NamedTuple

from optax_extras._checks import LearningRate, checked_rule
from optax_extras._errors import refuse_kind
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.tableau import is_known
from optax_extras._learning_rates._source import RateState, as_rate
from optax_extras._numerics import as_float


class LearningRateCarry(NamedTuple):
    """The carry of `with_learning_rate`."""

    rate: RateState
    """The learning rate of the last update."""
    rule: Any
    """The carry of the rule."""


@checked_rule
def with_learning_rate(rule: Rule, learning_rate: LearningRate) -> Rule:
    r"""A rule whose direction is multiplied by its own learning rate.

    Use it for the phases of a switch, so that each has its own learning rate. The
    learning rate is applied inside: follow the direction with ``optax.scale(-1.0)``,
    not with a learning rate. The rule has the buffers of `rule`; its carry holds the
    learning rate, which `oxe.learning_rate` reads.

    .. math::
        u \leftarrow \eta_t u

    Args:
      rule: A rule without a learning rate.
      learning_rate: :math:`\eta_t`. A schedule is called with the number of updates
        that the rule has made before, in a second phase from 0.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> adam = oxe.rules.with_learning_rate(oxe.rules.adam(), 1e-3)
      >>> sgd = oxe.rules.with_learning_rate(oxe.rules.momentum(0.9), 0.1)
      >>> rule = oxe.switch(adam, sgd, oxe.at_step(1000))
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    if not isinstance(rule, Rule):
        refuse_kind("rule", "be an `oxe.Rule`", rule)
    rate = as_rate("learning_rate", learning_rate)

    def step(t, carry):
        eta, rate_state = rate.value_at(t - 1, carry.rate)
        # Not s, which is inside of the clip. A learning rate may be 0: these factors
        # are not among those that are never 0.
        c, inner = rule.step(t, carry.rule)
        n0, n1 = (x if is_known(x, 0) else eta * as_float(x) for x in (c.n0, c.n1))
        return c._replace(n0=n0, n1=n1), LearningRateCarry(rate_state, inner)

    def after(t, carry, /, *, grads, updates, params, **extra):
        inner = carry.rule
        if rule.after is not None:
            kwargs = {"grads": grads, "updates": updates, "params": params}
            inner = rule.after(t, inner, **kwargs, **extra)
        return LearningRateCarry(rate.observe(carry.rate, **extra), inner)

    def needs_after(carry):
        inner: Any = rule.needs_after
        return inner(carry.rule)

    always = rule.needs_after is None or rate.needs_metric
    return Rule(
        lambda: LearningRateCarry(rate.init(), rule.init()),
        step,
        None if rule.after is None and not rate.needs_metric else after,
        rule.buffers,
        None if always else needs_after,
    )
