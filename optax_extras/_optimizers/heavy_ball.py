"""Momentum with the learning rate inside the velocity."""

import optax

from optax_extras._checks import (
    Decay,
    LearningRate,
    Mask,
    WeightDecay,
    checked_by_path,
    checked_rule,
)
from optax_extras._kernel._assemble import chain_sign_and_decay
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.tableau import Tableau
from optax_extras._learning_rates._source import as_rate


@checked_rule
def heavy_ball_rule(
    learning_rate: LearningRate, momentum: Decay = 0.9, *, nesterov: bool = False
) -> Rule:
    r"""Momentum with the learning rate inside the velocity.

    Formula and arguments as in :func:`optax_extras.heavy_ball`. The rule applies the
    learning rate itself, so follow it with ``optax.scale(-1.0)``; `oxe.learning_rate`
    finds it in the state. Its buffer `mu` is :math:`-v_t`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> rule = oxe.rules.heavy_ball(0.1, momentum=0.9)
      >>> tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    """
    rate = as_rate("learning_rate", learning_rate)

    def step(t, carry):
        eta, carry = rate.value_at(t - 1, carry)
        n0, n1 = (eta, momentum) if nesterov else (0, 1)
        return Tableau(a1=momentum, c1=eta, n0=n0, n1=n1), carry

    def after(t, carry, /, *, grads, updates, params, **extra):
        del t, grads, updates, params
        return rate.observe(carry, **extra)

    observes = after if rate.needs_metric else None
    # Not the bound method: code that hashes closures would find it equal to no other.
    return Rule(lambda: rate.init(), step, observes, frozenset({"mu"}))


@checked_by_path
def heavy_ball(
    learning_rate: LearningRate,
    momentum: Decay = 0.9,
    *,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with momentum, with the learning rate inside the velocity.

    This is Polyak's form and Keras' ``SGD``. With a constant learning rate it takes the
    same steps as PyTorch's form, ``optax.sgd(learning_rate, momentum)``, which
    multiplies the velocity by the current learning rate. Here each gradient is
    multiplied by the learning rate of its update and then added to the velocity. So
    after a drop of the learning rate, steps stay long until the old velocity has
    decayed. Use this form to reproduce Keras or papers that use it, and PyTorch's form
    if a drop should act at once.

    .. math::
        v_t = \mu v_{t-1} - \eta_t g_t, \qquad w_t = w_{t-1} + v_t
        \;\text{ or, with Nesterov, }\; w_{t-1} + \mu v_t - \eta_t g_t

    with :math:`v_0 = 0`. The buffer `mu` in the state is :math:`-v_t`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      momentum: :math:`\mu`, the decay of the velocity.
      nesterov: Look ahead along the new velocity, as in the formula.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params; it does not enter the velocity. `update` then
        needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

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
    return chain_sign_and_decay(rule, weight_decay, mask)
