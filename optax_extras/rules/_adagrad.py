"""AdaGrad."""

from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import Tableau


def adagrad(eps: ArrayLike = 1e-10) -> Rule:
    r"""The gradient over the root of the sum of its squares; see `oxe.adagrad`.

    .. math::
        h \leftarrow h + g^2, \qquad u = \frac{g}{\sqrt h + \epsilon}

    Args:
      eps: :math:`\epsilon \ge 0`.

    Returns:
      An `oxe.Rule` with the buffer `nu`.

    Raises:
      ValueError: If `eps` is negative.
      TypeError: If `eps` is no real number.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.adagrad())
    """
    eps = _checks.real("adagrad", "eps", eps, "[0, inf)")
    tableau = Tableau(a2=1, c2=1, n0=1, d=1, e=eps)
    return Rule(lambda: (), lambda t, carry: (tableau, carry), None, frozenset({"nu"}))
