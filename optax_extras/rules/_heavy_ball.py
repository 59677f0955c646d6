"""Momentum with the rate inside the velocity."""

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._rates.rate import as_rate
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import Tableau


def heavy_ball(
    learning_rate: ArrayLike | optax.Schedule,
    momentum: ArrayLike = 0.9,
    *,
    nesterov: bool = False,
) -> Rule:
    r"""Momentum with the rate inside the velocity; see `oxe.heavy_ball`.

    The rate is inside: chain a change of sign behind the direction, and no rate.

    .. math::
        v \leftarrow \mu v + \eta_t g, \qquad
        u = v \;\text{ or, with Nesterov, }\; \eta_t g + \mu v

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates that the rule has made before, or a metric schedule.
      momentum: :math:`\mu` in [0, 1).
      nesterov: Whether the direction looks ahead along the new velocity.

    Returns:
      An `oxe.Rule` with the buffer `mu` (here :math:`v`), that carries its rate, for
      `oxe.learning_rate` to read.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If `learning_rate` is neither number nor schedule, `momentum` no
        number, or `nesterov` no bool.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.heavy_ball(0.1, momentum=0.9)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    rate = as_rate("heavy_ball", "learning_rate", learning_rate)
    momentum = _checks.real("heavy_ball", "momentum", momentum, "[0, 1)")
    nesterov = _checks.flag("heavy_ball", "nesterov", nesterov)

    def step(t, carry):
        eta, carry = rate.now(t - 1, carry)
        n0, n1 = (eta, momentum) if nesterov else (0, 1)
        return Tableau(a1=momentum, c1=eta, n0=n0, n1=n1), carry

    def after(t, carry, /, *, grads, updates, params, **extra):
        del t, grads, updates, params
        return rate.after(carry, **extra) if rate.after else carry

    looks = after if rate.after else None  # at a metric
    return Rule(rate.init, step, looks, frozenset({"mu"}))
