"""RMSProp."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import Tableau


def rmsprop(
    decay: ArrayLike = 0.99,
    eps: ArrayLike = 1e-8,
    *,
    initial: str = "first_gradient",
    centered: bool = False,
    eps_in_root: bool = False,
) -> Rule:
    r"""The gradient over the root of an average of its squares; see `oxe.rmsprop`.

    .. math::
        v \leftarrow \alpha v + (1 - \alpha) g^2, \qquad
        u = \frac{g}{\sqrt{v} + \epsilon}

    Args:
      decay: :math:`\alpha` in [0, 1).
      eps: :math:`\epsilon \ge 0`.
      initial: ``"first_gradient"``, :math:`v_1 = g_1^2`, or ``"zero"``,
        :math:`v_0 = 0`.
      centered: Whether the root is taken of :math:`v - \bar g^2`, with the average
        :math:`\bar g \leftarrow \alpha \bar g + (1 - \alpha) g`, which starts at zero.
      eps_in_root: Whether :math:`\epsilon` stands inside the root:
        :math:`\sqrt{v + \epsilon}`.

    Returns:
      An `oxe.Rule` with the buffer `nu`, and `mu` (:math:`\bar g`) where it is centred.

    Raises:
      ValueError: If a number is out of range or `initial` unknown.
      TypeError: If what must be a number is not one, or a flag no bool.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.rmsprop(0.9))
    """
    decay = _checks.real("rmsprop", "decay", decay, "[0, 1)")
    eps = _checks.real("rmsprop", "eps", eps, "[0, inf)")
    _checks.choice("rmsprop", "initial", initial, ("first_gradient", "zero"))
    centered = _checks.flag("rmsprop", "centered", centered)
    eps_in_root = _checks.flag("rmsprop", "eps_in_root", eps_in_root)

    def step(t, carry):
        gain = 1 - decay
        if initial == "first_gradient":
            gain = jnp.where(t == 1, 1, gain)
        outside, inside = (0, eps) if eps_in_root else (eps, 0)
        tableau = Tableau(a2=decay, c2=gain, n0=1, d=1, e=outside, k=inside)
        if centered:
            tableau = tableau._replace(a1=decay, c1=1 - decay, q=1)
        return tableau, carry

    buffers = {"mu", "nu"} if centered else {"nu"}
    return Rule(lambda: (), step, None, frozenset(buffers))
