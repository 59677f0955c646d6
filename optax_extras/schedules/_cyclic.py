"""Triangular cycles."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras._checks import Positive, Real, StepCount, StepCountOrZero, checked
from optax_extras._errors import refuse
from optax_extras._numerics import (
    LAST_COUNT,
    as_float,
    as_phase,
    elapsed,
    exp_linear,
    log,
    power,
    remaining,
)
from optax_extras._values import choice, concrete, is_traced
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
    r"""Rises and falls between two bounds along straight lines, for ever.

    PyTorch's ``CyclicLR`` and the Keras callback of the same name; Optax has none. Here
    the lengths are whole steps, and the place in a cycle is found with integers, so
    that a peak after a billion steps is still the peak. For cosine cycles see
    :func:`warm_restarts`, for a single cycle :func:`one_cycle`.

    With :math:`P` = `up_steps` + `down_steps`, cycle :math:`c = \lfloor t/P \rfloor`
    (0 is the first) and place in the cycle :math:`p = t - cP`:

    .. math::
        \eta_t = b_c + (m_c - b_c)\, h\, s, \quad
        h = \begin{cases} p / \text{up} & p \le \text{up} \\
            (P - p) / \text{down} & \text{else}\end{cases}, \quad
        b_c = b\, \delta_b^c, \; m_c = m\, \delta_m^c

    and the scale :math:`s` is 1 (``"triangular"``), :math:`2^{-c}`
    (``"triangular2"``), :math:`\gamma^t` (``"exp_range"``) or what `scale_fn` returns.

    Args:
      base_value: The bound :math:`b` at which every cycle begins. It may lie above
        `peak_value`: the cycles then hang upside down, as a cycled momentum does.
      peak_value: The bound :math:`m` that is reached `up_steps` into a cycle.
      up_steps: Steps from base to peak, at least 1.
      down_steps: Steps from peak to base, at least 0; None: as many as up. With 0 it is
        a saw that rises and jumps back; the jump comes where the peak would.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
      gamma: :math:`\gamma > 0`, a factor per step; only with ``"exp_range"``.
      scale_fn: In the place of `mode`: a function from the number of the cycle, a float
        that is 1 in the first, to the scale :math:`s`. It is traced, so that it has to
        be written in operations of JAX.
      scale_mode: ``"cycle"``, or ``"iterations"``: `scale_fn` is given the step count
        :math:`t` (as a float) in the place of the number of the cycle.
      peak_decay: :math:`\delta_m > 0`, by which the upper bound is multiplied at the
        start of every cycle.
      floor_decay: :math:`\delta_b > 0`, likewise for the lower bound; other than 1 the
        rate jumps where a cycle begins.

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value; it never
      ends.

    Raises:
      ValueError: If an option would be ignored: a `gamma` other than 1 without
        ``"exp_range"``, a `scale_mode` without `scale_fn`, a `mode` together with it.

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
        up = as_phase(up_steps)
        period = up + jnp.minimum(as_phase(down_steps), LAST_COUNT)
        cycle, place = as_phase(t) // period, as_phase(t) % period
        falling = remaining(jnp.maximum(place, up) - up, down_steps)
        height = jnp.where(place <= up, elapsed(place, up_steps), falling)
        floor = as_float(base_value) * power(floor_decay, cycle)
        peak = as_float(peak_value) * power(peak_decay, cycle)
        return interpolate(floor, peak, height * scale(t, cycle))

    return schedule(value)


def _scale(
    mode, gamma, scale_fn, scale_mode
) -> Callable[[jax.Array, jax.Array], ArrayLike]:
    """The amplitude of a cycle as a function of (count, cycle from 0)."""
    if mode != "exp_range" and not is_traced(gamma) and concrete(gamma) != 1:
        refuse("gamma", f"be 1 where `mode` is {mode!r}", gamma)
    if scale_fn is not None:
        if mode != "triangular":
            refuse("mode", "be left out where `scale_fn` is given", mode)
        if scale_mode == "iterations":
            return lambda t, cycle: as_float(scale_fn(as_float(t)))
        return lambda t, cycle: as_float(scale_fn(as_float(cycle) + 1))
    if scale_mode != "cycle":
        must = "be left out where there is no `scale_fn`"
        refuse("scale_mode", must, scale_mode)
    return {
        "triangular": lambda t, cycle: 1.0,
        "triangular2": lambda t, cycle: power(0.5, cycle),
        "exp_range": lambda t, cycle: exp_linear(t, log(gamma)),
    }[mode]


def scale_options(mode, gamma, scale_fn, scale_mode) -> dict[str, Any]:
    """The options of `cyclic`, of those of libraries that ignore what has no effect."""
    if scale_fn is not None:
        return {"scale_fn": scale_fn, "scale_mode": scale_mode}
    choice("mode", mode, ("triangular", "triangular2", "exp_range"))
    return {"mode": mode, "gamma": gamma if mode == "exp_range" else 1.0}
