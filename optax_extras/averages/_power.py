"""Averages over a fixed fraction of the training so far."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import concrete, is_traced
from optax_extras._checks import (
    NonNegative,
    Positive,
    PositiveFraction,
    StepCountOrZero,
    checked,
)
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, float_dtype
from optax_extras.averages._average import Average
from optax_extras.averages._phases import average_of, one_minus_ratio_power

_SIGMA_OF_UNIFORM = math.sqrt(1 / 12)


@checked
def power(
    gamma: NonNegative | None = None,
    *,
    sigma_rel: Positive | None = None,
    start: StepCountOrZero = 0,
) -> Average:
    r"""The power average of Karras et al.: its width is a fraction of the training.

    The last part of the training counts most, the same fraction of it at any time, and
    the initial params have no weight: there is nothing to tune when the training gets
    longer. :func:`ema` averages over a fixed number of updates instead. Two of them, of
    widths 0.05 and 0.10, are what :func:`rebuild` needs to give any other average, and
    the result of any decay, after the training.

    With :math:`\gamma` (`gamma`), after :math:`t` updates the weights :math:`w_i` have
    a weight in proportion to :math:`i^{\gamma+1} - (i-1)^{\gamma+1}`, exactly:

    .. math::
        c_t = 1 - \left(1 - \frac1t\right)^{\gamma+1}

    0 is :func:`uniform`. It is also the average that a decay
    :math:`1 - x^{\gamma+1}` over the whole training would have ended in
    (:func:`decay` with ``"power"``). ema-pytorch's ``KarrasEMA`` copies the first
    weights, too, but uses :math:`t + 1` for :math:`t` afterwards.

    Args:
      gamma: :math:`\gamma`. Either this or `sigma_rel` is needed.
      sigma_rel: :math:`\sigma_{rel}`, the standard deviation of the update's index
        under these weights, as a fraction of :math:`t`; at most 0.2886, the uniform
        average. 0.05 means :math:`\gamma = 16.97`, 0.10 means 6.94.
      start: The number of updates before the average begins; until then it is a copy of
        the weights, and :math:`t` counts from there. :func:`rebuild` needs 0.

    Returns:
      An :class:`Average`, for ``oxe.with_average``.

    Examples:
      >>> import optax_extras as oxe
      >>> average = oxe.averages.power(sigma_rel=0.10)
      >>> round(average.gamma, 3)
      6.937
      >>> [round(float(average.weight(t)), 3) for t in (1, 2, 100)]
      [1.0, 0.996, 0.077]

    References:
      Karras et al., `Analyzing and improving the training dynamics of diffusion models
      <https://arxiv.org/abs/2312.02696>`_, 2024
    """
    if (gamma is None) == (sigma_rel is None):
        got = None if gamma is None else (gamma, sigma_rel)
        refuse("gamma", "be given, or `sigma_rel`, but not both", got)
    exponent: Any = gamma if sigma_rel is None else _gamma_of(sigma_rel)
    # Snapshots of an average that begins later have other weights than `rebuild` takes.
    starts_at_0 = not is_traced(start) and start == 0
    return average_of(
        lambda n: one_minus_ratio_power(n, exponent + 1),
        start,
        gamma=exponent if starts_at_0 else None,
    )


def _gamma_of(sigma_rel: Any) -> Any:
    """The largest root of (γ + 2)² (γ + 3) = (γ + 1) / σ², by Viète's cosine."""
    xp: Any = jnp if is_traced(sigma_rel) else np
    sigma = as_float(sigma_rel) if is_traced(sigma_rel) else concrete(sigma_rel)
    if xp is np and sigma > _SIGMA_OF_UNIFORM * (1 + 1e-12):
        hint = "The largest, sqrt(1 / 12), is the uniform average."
        refuse("sigma_rel", "be in (0, 0.2886]", sigma_rel, hint)
    s = sigma**-2
    p, q = -(1 / 3 + s), 2 / 27 + 4 * s / 3  # of (γ + 7/3)³ + p (γ + 7/3) + q = 0
    angle = xp.arccos(3 * q / (2 * p) * xp.sqrt(-3 / p)) / 3
    gamma = 2 * xp.sqrt(-p / 3) * xp.cos(angle) - 7 / 3
    return gamma if xp is jnp else max(0.0, float(gamma))


@checked
def half_life_fraction(
    fraction: PositiveFraction, *, start: StepCountOrZero = 0
) -> Average:
    r"""The EMA of torchtitan: its half-life is a fraction of the updates so far.

    Nearly the :func:`power` average with :math:`\gamma + 1 = \ln 2 / f`. That one has
    weights in closed form, and snapshots of it can be combined by :func:`rebuild`.

    With :math:`f` (`fraction`), :math:`t = 1, 2, \dots`:

    .. math::
        c_t = 1 - 2^{-1 / (f t)}

    The first weights are not copied: the initial params keep a weight, which is 1e-6
    after the first update for :math:`f = 0.05` and falls like a power of :math:`1 / t`.

    Args:
      fraction: :math:`f`; torchtitan's default is 0.05.
      start: The number of updates before the average begins; until then it is a copy of
        the weights, and :math:`t` counts from there.

    Returns:
      An :class:`Average`, for ``oxe.with_average``.

    Examples:
      >>> import optax_extras as oxe
      >>> average = oxe.averages.half_life_fraction(0.05)
      >>> [round(float(average.weight(t)), 3) for t in (1, 20, 100)]
      [1.0, 0.5, 0.129]
    """

    def weight(n: jax.Array) -> jax.Array:
        half_life = as_float(fraction) * n.astype(float_dtype())
        return -jnp.expm1(-math.log(2) / half_life)

    return average_of(weight, start)
