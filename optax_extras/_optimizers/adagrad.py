"""AdaGrad, as in the paper and in PyTorch."""

import optax
from jax.typing import ArrayLike

from optax_extras import _checks, rules
from optax_extras._rates.scale_by_rate import scale_by_rate
from optax_extras.rules._kernel import scale_by_moments


def scale_by_adagrad(
    eps: ArrayLike = 1e-10,
) -> optax.GradientTransformationExtraArgs:
    """The direction of :func:`adagrad`, without rate and sign.

    Args:
      eps: As in :func:`adagrad`.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = optax.chain(oxe.scale_by_adagrad(), oxe.scale_by_rate(0.01))
    """
    return scale_by_moments(rules.adagrad(eps))


def adagrad(
    learning_rate: ArrayLike | optax.Schedule, eps: ArrayLike = 1e-10
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with a rate for each weight that shrinks as gradients add up.

    The rule of the paper and of PyTorch. ``optax.adagrad`` is another one of the same
    name: its sum starts at 0.1 and its epsilon stands inside the root, so that early
    steps are much shorter. Rarely met features keep a high rate: prefer it for sparse
    gradients. Where the rate must not die away, prefer a moving average, as in RMSProp
    or Adam.

    .. math::
        h_t = h_{t-1} + g_t^2, \qquad
        w_t = w_{t-1} - \eta_t \frac{g_t}{\sqrt{h_t} + \epsilon}, \qquad h_0 = 0

    The sum is kept in float32 at least: in bfloat16 it would stop growing at 256.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, or a schedule, which is called with
        the number of updates already made.
      eps: :math:`\epsilon \ge 0`, added to the root.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If a number is none.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adagrad(0.01)

    References:
      Duchi et al., `Adaptive subgradient methods for online learning and stochastic
      optimization <https://jmlr.org/papers/v12/duchi11a.html>`_, 2011
    """
    _checks.number_or_schedule("adagrad", "learning_rate", learning_rate, "[0, inf)")
    return optax.chain(scale_by_adagrad(eps), scale_by_rate(learning_rate))
