"""Cycles of straight lines."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras._check_values import choice, concrete, is_traced
from optax_extras._checks import Positive, Real, StepCount, StepCountOrZero, checked
from optax_extras._errors import refuse
from optax_extras._numerics import (
    LAST_COUNT,
    as_float,
    as_uint32,
    elapsed,
    exp_linear,
    log,
    power,
    remaining,
)
from optax_extras.schedules._curve import Schedule, interpolate, schedule


@checked
def cyclic(
    base_value: Real,
    peak_value: Real,
    up_steps: StepCount,
    down_steps: StepCountOrZero | None = None,
    *,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: Positive = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
    peak_decay: Positive = 1.0,
    floor_decay: Positive = 1.0,
) -> Schedule:
    r"""Rises and falls between two bounds along straight lines, forever.

    The same as PyTorch's ``CyclicLR`` and the Keras callback of that name; Optax has
    none. Lengths are whole steps here, and the position in a cycle is computed with
    integers, so that a peak after a billion steps is still exact. Use
    :func:`warm_restarts` for cosine cycles and :func:`one_cycle` for a single cycle.

    With :math:`P` = `up_steps` + `down_steps`, cycle :math:`c = \lfloor t/P \rfloor`
    (the first is 0) and position in the cycle :math:`p = t - cP`:

    .. math::
        \eta_t = b_c + (m_c - b_c)\, h\, s, \quad
        h = \begin{cases} p / \text{up} & p \le \text{up} \\
            (P - p) / \text{down} & \text{else}\end{cases}, \quad
        b_c = b\, \delta_b^c, \; m_c = m\, \delta_m^c

    The scale :math:`s` is 1 (``"triangular"``), :math:`2^{-c}` (``"triangular2"``),
    :math:`\gamma^t` (``"exp_range"``) or what `scale_fn` returns.

    Args:
      base_value: The bound :math:`b` at which every cycle begins. It may be above
        `peak_value`: every cycle then falls first, as is usual for a momentum.
      peak_value: The bound :math:`m` that is reached `up_steps` into a cycle.
      up_steps: Steps from base to peak.
      down_steps: Steps from peak to base. None: `up_steps`. 0: a sawtooth, which jumps
        back to the base at the step where it would reach the peak.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
      gamma: :math:`\gamma`, the factor per step of ``"exp_range"``.
      scale_fn: A traceable function that returns the scale :math:`s`, in place of
        `mode`. It is called with the number of the cycle, a float that is 1 in the
        first cycle, or as `scale_mode` says.
      scale_mode: What `scale_fn` is called with: ``"cycle"``, the number of the cycle,
        or ``"iterations"``, the step count :math:`t` as a float.
      peak_decay: :math:`\delta_m`, the factor of `peak_value` from cycle to cycle.
      floor_decay: :math:`\delta_b`, the factor of `base_value` from cycle to cycle. If
        it is not 1, the learning rate jumps where a cycle begins.

    Raises:
      ValueError: If an option would have no effect: `gamma` without ``"exp_range"``,
        `scale_mode` without `scale_fn`, or `mode` with it.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cyclic(0.001, 0.006, 2000, mode="triangular2")
      >>> [round(float(schedule(t)), 4) for t in (0, 2000, 4000, 6000)]
      [0.001, 0.006, 0.001, 0.0035]

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017
    """
    down_steps = up_steps if down_steps is None else down_steps
    scale = _scale(mode, gamma, scale_fn, scale_mode)

    def value(t):
        up = as_uint32(up_steps)
        period = up + jnp.minimum(as_uint32(down_steps), LAST_COUNT)
        cycle, place = as_uint32(t) // period, as_uint32(t) % period
        falling = remaining(jnp.maximum(place, up) - up, down_steps)
        height = jnp.where(place <= up, elapsed(place, up_steps), falling)
        floor = as_float(base_value) * power(floor_decay, cycle)
        peak = as_float(peak_value) * power(peak_decay, cycle)
        return interpolate(floor, peak, height * scale(t, cycle))

    return schedule(value)


def _scale(mode, gamma, scale_fn, scale_mode):
    """The scale s as a function of (count, cycle from 0)."""
    if mode != "exp_range" and not is_traced(gamma) and concrete(gamma) != 1:
        refuse("gamma", "be 1 unless `mode` is 'exp_range'", gamma)
    if scale_fn is not None:
        if mode != "triangular":
            refuse("mode", "be left out when `scale_fn` is given", mode)
        if scale_mode == "iterations":
            return lambda t, cycle: as_float(scale_fn(as_float(t)))
        return lambda t, cycle: as_float(scale_fn(as_float(cycle) + 1))
    if scale_mode != "cycle":
        refuse("scale_mode", "be left out when `scale_fn` is None", scale_mode)
    return {
        "triangular": lambda t, cycle: 1.0,
        "triangular2": lambda t, cycle: power(0.5, cycle),
        "exp_range": lambda t, cycle: exp_linear(t, log(gamma)),
    }[mode]


def scale_options(mode, gamma, scale_fn, scale_mode) -> dict[str, Any]:
    """The options of `cyclic` for a library that ignores options without effect."""
    if scale_fn is not None:
        return {"scale_fn": scale_fn, "scale_mode": scale_mode}
    choice("mode", mode, ("triangular", "triangular2", "exp_range"))
    return {"mode": mode, "gamma": gamma if mode == "exp_range" else 1.0}
