"""Momentum with the rate inside the velocity."""

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel._decay import Mask, decayed
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import as_rate


def heavy_ball_rule(
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


def heavy_ball(
    learning_rate: ArrayLike | optax.Schedule,
    momentum: ArrayLike = 0.9,
    *,
    nesterov: bool = False,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with momentum, the rate inside the velocity.

    Polyak's form and Keras' ``SGD``. With a constant rate it takes the same steps as
    ``optax.sgd(learning_rate, momentum)``, PyTorch's form, which multiplies the whole
    velocity by the present rate. Once the rate changes they differ: here what has been
    gathered keeps the rate that it was gathered with, so that after a drop of the rate
    the old speed has to wear off first. Prefer this form to reproduce Keras or the
    papers of that school, the other one where a drop is to act at once.

    .. math::
        v_t = \mu v_{t-1} - \eta_t g_t, \qquad w_t = w_{t-1} + v_t
        \;\text{ or, with Nesterov, }\; w_{t-1} + \mu v_t - \eta_t g_t

    with :math:`v_0 = 0`.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      momentum: :math:`\mu` in [0, 1).
      nesterov: Whether to look ahead along the new velocity, as in the formula.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params, and does not enter the
        velocity.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate,
      ``optax.tree.get(state, "mu")`` its velocity with the opposite sign, :math:`-v_t`.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.heavy_ball(oxe.schedules.step(0.1, 30), momentum=0.9)

    References:
      Polyak, `Some methods of speeding up the convergence of iteration methods
      <https://doi.org/10.1016/0041-5553(64)90137-5>`_, 1964;
      Sutskever et al., `On the importance of initialization and momentum in deep
      learning <https://proceedings.mlr.press/v28/sutskever13.html>`_, 2013
    """
    rule = heavy_ball_rule(learning_rate, momentum, nesterov=nesterov)
    tx = optax.chain(scale_by_moments(rule), optax.scale(-1.0))
    return decayed("heavy_ball", tx, weight_decay, mask)
