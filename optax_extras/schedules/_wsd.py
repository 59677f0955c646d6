"""Warm-up, stable, decay."""

from typing import Literal

from optax_extras._checks import Real, StepCountOrZero, checked
from optax_extras._numerics import elapsed, remaining
from optax_extras.schedules._curve import (
    Schedule,
    cosine_fraction,
    halving_fraction,
    in_turn,
    interpolate,
    one_minus_sqrt_fraction,
)

_SHAPES = {
    "linear": lambda r, x: r,
    "cosine": lambda r, x: cosine_fraction(r),
    "1-sqrt": one_minus_sqrt_fraction,
    "exponential": lambda r, x: halving_fraction(r),
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
    r"""Warm-up, a long stable phase, and a decay: the "trapezoid" of language models.

    The stable phase can be prolonged, or a decay branched off from any of its steps,
    without redoing what came before, which a :func:`cosine` over the whole run does not
    allow. :func:`cooldown` puts a linear decay behind any schedule.

    With :math:`W, S, D` the steps of the three phases, a linear rise from `init_value`
    to :math:`\eta` ends at step :math:`W`, the rate stays until step :math:`W + S`, and
    then, with the elapsed fraction :math:`x = \min(1, (t - W - S) / D)` of the decay,

    .. math::
        \eta_t = e + (\eta - e) f(x), \qquad
        f(x) = 1 - x, \quad \tfrac12 (1 + \cos \pi x), \quad 1 - \sqrt x, \quad
            2 \cdot 2^{-x} - 1

    for `decay` as listed below, in that order.

    Args:
      peak_value: The value :math:`\eta` of the stable phase.
      warmup_steps: :math:`W \ge 0`.
      stable_steps: :math:`S \ge 0`.
      decay_steps: :math:`D \ge 0`.
      init_value: The value at step 0, if there is a warm-up. With 0 the first update
        does nothing.
      end_value: The value :math:`e` at step :math:`W + S + D` and after it.
      decay: ``"linear"``, ``"cosine"``, ``"1-sqrt"`` (found best by Hägele et al.) or
        ``"exponential"`` (Megatron's, shifted so that it reaches the end value, which
        MiniCPM's own does not).

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value, counts past
      the decay the end value.

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
    shape = _SHAPES[decay]

    def rise(t):
        return interpolate(peak_value, init_value, remaining(t, warmup_steps))

    def fall(t):
        left, gone = remaining(t, decay_steps), elapsed(t, decay_steps)
        return interpolate(end_value, peak_value, shape(left, gone))

    after = in_turn([lambda t: peak_value, fall], [stable_steps])
    return in_turn([rise, after], [warmup_steps])
