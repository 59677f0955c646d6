"""Rectified Adam."""

import jax
import jax.numpy as jnp

from optax_extras._checks import AtLeastFour, Decay, NonNegative, checked_rule
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import as_float, log, one_minus_power
from optax_extras._operands import as_operands


@checked_rule
def radam_rule(
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    threshold: AtLeastFour = 5.0,
) -> Rule:
    r"""Adam that steps by plain momentum until its second moment is reliable.

    The first updates do not divide by the root of :math:`v`, a noisy average of few
    gradients. The next ones are damped by :math:`r_t`, which grows toward 1. This
    replaces a warm-up of the learning rate. As in PyTorch, :math:`\epsilon` is added to
    the uncorrected root; `optax.scale_by_radam` adds it after the correction.

    With the :math:`m` and :math:`v` of :func:`adam`,

    .. math::
        \rho_\infty = \frac{2}{1 - \beta_2} - 1, \quad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t}, \quad
        r_t = \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\,\rho_\infty}
            {(\rho_\infty - 4)(\rho_\infty - 2)\,\rho_t}}

    .. math::
        u = \frac{m}{1 - \beta_1^t} \cdot \begin{cases}
            r_t \sqrt{1 - \beta_2^t} / (\sqrt v + \epsilon) & \rho_t > \rho \\
            1 & \text{else} \end{cases}

    Args:
      b1: :math:`\beta_1`, the decay of the first moment.
      b2: :math:`\beta_2`, the decay of the second moment. Where :math:`\rho_\infty \le
        \rho` no update ever divides: for :math:`\beta_2` up to 2/3 with the default
        threshold, up to 0.6 with the paper's.
      eps: :math:`\epsilon`, added to the denominator.
      threshold: :math:`\rho`: 4 in the paper, 5 in PyTorch and Optax. With
        :math:`\beta_2 = 0.999` the first four or five updates do not divide.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.radam(threshold=4.0))

    References:
      Liu et al., `On the variance of the adaptive learning rate and beyond
      <https://arxiv.org/abs/1908.03265>`_, 2020
    """

    def scalars(t):
        rho, limit = _degrees_of_freedom(b2, t)
        ready = (rho > threshold) & (limit > 4)
        rho, limit = jnp.where(ready, rho, 5), jnp.where(ready, limit, 5)
        r_squared = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
        corrected = jnp.sqrt(r_squared * one_minus_power(b2, t))
        return {
            "s": jnp.where(ready, corrected, 1),
            "d": as_float(jnp.where(ready, 1, 0)),
            "e": jnp.where(ready, eps, 1),
        }

    def step(t, carry):
        # As operands, or XLA computes them again in the loop over each leaf.
        computed = as_operands(lambda: scalars(t), t)
        return Tableau(
            a1=b1, c1=1 - b1, a2=b2, c2=1 - b2, n1=1 / one_minus_power(b1, t),
            **computed,
        ), carry  # fmt: skip

    return Rule(lambda: (), step, never_zero=frozenset({"s", "n1"}))


def _degrees_of_freedom(b2, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """rho_t and rho_inf, to full precision.

    For small t the textbook form subtracts two numbers of the size of rho_inf. With
    h = -ln b2 and C(x) = (x/2) coth(x/2) - 1 it equals t - (2/h) (C(t h) - C(h)), where
    C has a quickly converging series. In float32 at t = 6 and b2 = 0.999 the error is
    1.5e-7 instead of 1e-4. Beyond t h = 1/4 the textbook form is accurate.
    """
    if isinstance(b2, int | float) and b2 == 0:
        return as_float(1), as_float(1)
    h = as_float(-log(b2))
    time = t.astype(h.dtype)
    # Subtracted before the cast: in float32 1 - 0.999 is wrong in the fifth digit.
    limit = as_float(1 + b2) / as_float(1 - b2)
    x = time * h
    textbook = limit - 2 * time * (1 - one_minus_power(b2, t)) / one_minus_power(b2, t)
    near = jnp.minimum(x, 0.25)
    from_series = time - (2 / h) * (_coth_excess(near) - _coth_excess(h))
    return jnp.where(x < 0.25, from_series, textbook), limit


def _coth_excess(x: jax.Array) -> jax.Array:
    """(x/2) coth(x/2) - 1 for small x, by its series of Bernoulli numbers."""
    terms = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
    y = jnp.square(x)
    total = jnp.zeros_like(x)
    for term in reversed(terms):
        total = y * (term + total)
    return total
