"""Warm-up, a constant learning rate, decay."""

from typing import Literal

import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import is_traced
from optax_extras._checks import Real, StepCountOrZero, checked
from optax_extras._numerics import elapsed, remaining
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import Schedule

# Of the elapsed fraction x and the remaining fraction r = 1 - x. Near r = 0 both terms
# of 1 - sqrt(x) and of 2 * 2**-x - 1 cancel; these forms keep the digits.
SHAPES = {
    "linear": lambda x, r: r,
    "cosine": lambda x, r: _curve.cosine_fraction(r),
    "1-sqrt": lambda x, r: r / (1 + jnp.sqrt(x)),
    "exponential": lambda x, r: jnp.expm1(r * np.log(2)),
}


@checked
def wsd(
    peak_value: Real,
    warmup_steps: StepCountOrZero,
    stable_steps: StepCountOrZero,
    decay_steps: StepCountOrZero,
    *,
    init_value: Real = 0.0,
    end_value: Real = 0.0,
    decay: Literal["linear", "cosine", "1-sqrt", "exponential"] = "linear",
) -> Schedule:
    r"""Warm-up, a long stable phase, then decay: the "trapezoid" of language models.

    The stable phase can be extended, or a decay can branch off from any of its steps,
    without repeating the steps before. A :func:`cosine` over the whole run does not
    allow that. :func:`cooldown` adds a linear decay to any schedule.

    The three phases take :math:`W, S, D` steps. The learning rate rises linearly from
    `init_value` to :math:`\eta` until step :math:`W` and stays there until step
    :math:`W + S`. Then, with the elapsed fraction :math:`x = \min(1, (t - W - S) / D)`
    of the decay, for the values of `decay` in the order below:

    .. math::
        \eta_t = e + (\eta - e) f(x), \qquad
        f(x) = 1 - x, \quad \tfrac12 (1 + \cos \pi x), \quad 1 - \sqrt x, \quad
            2 \cdot 2^{-x} - 1

    Args:
      peak_value: The value :math:`\eta` of the stable phase.
      warmup_steps: :math:`W`.
      stable_steps: :math:`S`.
      decay_steps: :math:`D`.
      init_value: The value at step 0 of the warm-up. With 0 the first update is zero.
      end_value: The value :math:`e` from step :math:`W + S + D` on.
      decay: ``"linear"``, ``"cosine"``, ``"1-sqrt"`` (found best by Hägele et al.) or
        ``"exponential"`` (Megatron's, shifted so that it reaches the end value;
        MiniCPM's decay does not reach it).

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.wsd(1e-3, 100, 800, 100, decay="1-sqrt")
      >>> [round(float(schedule(t)), 6) for t in (0, 100, 900, 925, 1000)]
      [0.0, 0.001, 0.001, 0.0005, 0.0]

    References:
      Hu et al., `MiniCPM: Unveiling the potential of small language models with
      scalable training strategies <https://arxiv.org/abs/2404.06395>`_, 2024;
      Hägele et al., `Scaling laws and compute-optimal training beyond fixed training
      durations <https://arxiv.org/abs/2405.18392>`_, 2024
    """

    def rise(t):
        return _curve.interpolate(peak_value, init_value, remaining(t, warmup_steps))

    def fall(t):
        shape = SHAPES[decay](elapsed(t, decay_steps), remaining(t, decay_steps))
        return _curve.interpolate(end_value, peak_value, shape)

    after = _curve.in_turn([lambda t: peak_value, fall], [stable_steps])
    no_steps = all(
        not is_traced(n) and n == 0 for n in (warmup_steps, stable_steps, decay_steps)
    )
    first_value = peak_value if no_steps else None
    return _curve.in_turn([rise, after], [warmup_steps], first_value)
