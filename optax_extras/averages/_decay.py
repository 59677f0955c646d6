"""The average that a decay of the learning rate would have ended in."""

import jax.numpy as jnp

from optax_extras._checks import (
    Fraction,
    Positive,
    StepCount,
    StepCountOrZero,
    checked,
)
from optax_extras._numerics import as_float, as_uint32, float_dtype
from optax_extras.averages import _shapes
from optax_extras.averages._average import Average
from optax_extras.averages._phases import steps_since


@checked
def decay(
    shape: _shapes.Shape,
    start: StepCountOrZero,
    steps: StepCount,
    *,
    power: Positive | None = None,
    end_fraction: Fraction = 0.0,
) -> Average:
    r"""The average in which a decay of the learning rate would have ended.

    Train at a constant learning rate, and read the weights that a decay over the last
    `steps` updates would have given, while the training itself goes on. For fixed
    updates it is an identity; in training, where the gradients depend on the weights,
    an approximation. ``"linear"`` is :func:`uniform`, ``"power"`` over the whole
    training :func:`power`. To choose the decay after the training, see :func:`rebuild`.

    With :math:`n` (`steps`), a decay :math:`d(x)` that falls from 1 at :math:`x = 0`,
    and the learning rate of update :math:`i = 1, \dots, n` after `start` multiplied by
    :math:`D_i = d((i-1)/n)`, where :math:`D_{n+1} = 0`, the weights end in

    .. math::
        \sum_{i=1}^n (D_i - D_{i+1})\, w_i, \qquad \text{so}\quad
        c_i = \frac{D_i - D_{i+1}}{1 - D_{i+1}}

    Read earlier, the sum is divided by the sum of its coefficients so far. After update
    ``start + steps`` the average does not change any more.

    Args:
      shape: :math:`d(x)`: ``"linear"`` (:math:`1 - x`), ``"cosine"``
        (:math:`(1 + \cos \pi x) / 2`), ``"1-sqrt"`` (:math:`1 - \sqrt x`),
        ``"exponential"`` (:math:`2 \cdot 2^{-x} - 1`), ``"power"`` (:math:`1 - x^p`) or
        ``"polynomial"`` (:math:`(1 - x)^p`, as in ``schedules.polynomial``); the first
        four are those of ``schedules.wsd``. Or a function of :math:`x` that is 1 at 0
        and never rises: its values are rounded to float32 (float64 under x64), and the
        average is exactly that of the rounded values. Those of the words are right to a
        few units in the last place for any `steps`.
      start: The number of updates before the decay begins; until then the average is a
        copy of the weights.
      steps: The number of updates :math:`n` of the decay.
      power: :math:`p`, for ``"power"`` and ``"polynomial"`` only.
      end_fraction: The fraction :math:`m` of the learning rate that the decay ends in:
        :math:`m + (1 - m)\, d(x)` in place of :math:`d(x)`.

    Returns:
      An :class:`Average`, for ``oxe.with_average``.

    Examples:
      >>> import optax_extras as oxe
      >>> average = oxe.averages.decay("1-sqrt", start=900, steps=100)
      >>> [round(float(average.weight(t)), 3) for t in (900, 901, 902, 1000, 1001)]
      [1.0, 1.0, 0.293, 0.005, 0.0]

    References:
      Sandler et al., `Training trajectories, mini-batch losses and the curious role of
      the learning rate <https://arxiv.org/abs/2301.02312>`_, 2023; Tian et al., `WSM:
      Decay-free learning rate schedule via checkpoint merging for LLM pre-training
      <https://arxiv.org/abs/2507.17634>`_, 2025
    """
    _shapes.check_shape(shape, power)

    def weight(t):
        n, since = as_uint32(steps), steps_since(t, start)
        i = jnp.clip(since, 1, jnp.maximum(n, 1))
        c = _shapes.weight(shape, power, i, steps)
        m = as_float(end_fraction)
        c = jnp.where(i == n, m + (1 - m) * c, c)
        c = jnp.where(since > n, 0, c)
        return jnp.where(since == 0, 1, c).astype(float_dtype())

    return Average(weight)
