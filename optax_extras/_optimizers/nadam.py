"""NAdam, as in the paper and in PyTorch."""

import optax
from jax.typing import ArrayLike

from optax_extras import rules
from optax_extras._optimizers._decay import Mask, descend
from optax_extras.rules._kernel import scale_by_moments


def scale_by_nadam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    momentum_decay: ArrayLike = 0.004,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `nadam` and its arguments, without rate and sign."""
    return scale_by_moments(rules.nadam(b1, b2, eps, momentum_decay=momentum_decay))


def nadam(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    momentum_decay: ArrayLike = 0.004,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam with Nesterov's look-ahead, its momentum warming up.

    The rule of the paper and of PyTorch. ``optax.nadam`` is Adam with a look-ahead at a
    constant momentum, the limit of this rule for a large `momentum_decay`; with the
    default arguments its first step is 1.4 times as long. Keras' is this rule with
    :math:`\psi = 1`. Prefer it to Adam to begin with little momentum.

    .. math::
        \mu_t &= \beta_1 \big(1 - \tfrac12\, 0.96^{t \psi}\big), \qquad
            P_t = \prod_{i=1}^{t} \mu_i \\
        w_t &= w_{t-1} - \frac{\eta_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon} \Big(
            \frac{1 - \mu_t}{1 - P_t} g_t +
            \frac{\mu_{t+1}}{1 - P_t\, \mu_{t+1}} m_t \Big)

    at update :math:`t = 1, 2, \dots`, with Adam's :math:`m_t` and :math:`v_t`.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1), what the momentum :math:`\mu_t` tends to.
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`.
      momentum_decay: :math:`\psi \ge 0`, how fast :math:`\mu_t` tends to
        :math:`\beta_1`: the gap, half of :math:`\beta_1` at first, halves every
        :math:`17 / \psi` updates, with 0.004 every 4245. At 0 it never closes.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate,
      ``optax.tree.get(state, "mu")`` its :math:`m_t`, ``"nu"`` its :math:`v_t`,
      ``"product"`` its :math:`P_t`.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.nadam(2e-3)

    References:
      Dozat, `Incorporating Nesterov momentum into Adam
      <https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ>`_, 2016
    """
    direction = scale_by_nadam(b1, b2, eps, momentum_decay=momentum_decay)
    return descend("nadam", direction, learning_rate, weight_decay, mask)
