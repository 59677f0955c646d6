"""Adam."""

import jax.numpy as jnp

from optax_extras._checks import Decay, DecayOrSchedule, NonNegative, checked
from optax_extras._kernel.scale_by_moments import Rule, as_schedule
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import one_minus_power


@checked
def adam_rule(
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    eps_hat: bool = False,
) -> Rule:
    r"""Adam, to combine with other rules; for Adam alone use `optax.scale_by_adam`.

    .. math::
        m \leftarrow \beta_1 m + (1 - \beta_1) g, \quad
        v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \quad
        u = \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    With `eps_hat`, the second form in the paper, :math:`\epsilon` is added to the root
    before the bias correction:

    .. math::
        u = \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m}{\sqrt v + \hat\epsilon}

    Args:
      b1: :math:`\beta_1`, the decay of the first moment. A schedule is called with the
        number of updates that this rule has already made; its values are not checked.
        The bias correction is :math:`1 - \beta_1^t` with the current :math:`\beta_1`,
        as in PyTorch.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon` (or :math:`\hat\epsilon`), added to the denominator.
      eps_hat: Use the second form, as in Keras.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.adam(b1=0.9, b2=0.95))

    References:
      Kingma and Ba, `Adam: A method for stochastic optimization
      <https://arxiv.org/abs/1412.6980>`_, 2015
    """
    at = as_schedule("b1", b1)

    def step(t, carry):
        b1 = at(t - 1)
        root = jnp.sqrt(one_minus_power(b2, t))
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2, n1=1 / one_minus_power(b1, t),
            s=root, d=1, e=eps if eps_hat else eps * root,
        ), carry  # fmt: skip

    return Rule(lambda: (), step)
