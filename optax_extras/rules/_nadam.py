"""NAdam with its momentum schedule."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import as_float, one_minus_power
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import Tableau


class NadamCarry(NamedTuple):
    """What `nadam` carries."""

    product: jax.Array
    """Shape (), float32 at least: the product of the momenta so far."""


def nadam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    momentum_decay: ArrayLike = 0.004,
) -> Rule:
    r"""Adam with Nesterov's look-ahead and a momentum that warms up; see `oxe.nadam`.

    With :math:`\mu_t = \beta_1 (1 - \frac12 0.96^{t \psi})`,
    :math:`P_t = \prod_{i \le t} \mu_i`, and the :math:`m` and :math:`v` of
    :func:`adam`:

    .. math::
        u = \frac{1}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} \Big(
            \frac{1 - \mu_t}{1 - P_t} g + \frac{\mu_{t+1}}{1 - P_t \mu_{t+1}} m \Big)

    Args:
      b1: :math:`\beta_1` in [0, 1).
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`.
      momentum_decay: :math:`\psi \ge 0`, how fast the momentum approaches
        :math:`\beta_1`.

    Returns:
      An `oxe.Rule` with the buffers `mu` and `nu`, that carries :math:`P_t`.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If what must be a number is not one.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.nadam())
    """
    b1 = _checks.real("nadam", "b1", b1, "[0, 1)")
    b2 = _checks.real("nadam", "b2", b2, "[0, 1)")
    eps = _checks.real("nadam", "eps", eps, "[0, inf)")
    momentum_decay = _checks.real("nadam", "momentum_decay", momentum_decay, "[0, inf)")

    def step(t, carry):
        time = as_float(t)
        slope = as_float(momentum_decay) * math.log(0.96)
        now, then = (
            as_float(b1) * (1 - 0.5 * jnp.exp(s * slope)) for s in (time, time + 1)
        )
        product = carry.product * now
        root = jnp.sqrt(one_minus_power(b2, t))
        return Tableau(
            a1=b1,
            c1=1 - b1,
            a2=b2,
            c2=1 - b2,
            n0=(1 - now) / (1 - product),
            n1=then / (1 - product * then),
            s=root,
            d=1,
            e=eps * root,
        ), NadamCarry(product)

    return Rule(lambda: NadamCarry(as_float(1)), step)
