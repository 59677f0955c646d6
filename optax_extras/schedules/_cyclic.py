"""Triangular cycles."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras import _checks
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
from optax_extras.schedules._curve import Schedule, between, schedule


def cyclic(
    base_value: ArrayLike,
    peak_value: ArrayLike,
    up_steps: int,
    down_steps: int | None = None,
    *,
    mode: str = "triangular",
    gamma: ArrayLike = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: str = "cycle",
    peak_decay: ArrayLike = 1.0,
    floor_decay: ArrayLike = 1.0,
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
      ValueError: If a number is out of range or not finite, or a word unknown; or if an
        option would be ignored: a `gamma` other than 1 without ``"exp_range"``, a
        `scale_mode` without `scale_fn`, a `mode` together with `scale_fn`.
      TypeError: If a number of steps is no integer, a value no real number, or
        `scale_fn` no function.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cyclic(0.001, 0.006, 2000, mode="triangular2")
      >>> [round(float(schedule(t)), 4) for t in (0, 2000, 4000, 6000)]
      [0.001, 0.006, 0.001, 0.0035]

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017
    """
    rule = "cyclic"
    base_value = _checks.real(rule, "base_value", base_value)
    peak_value = _checks.real(rule, "peak_value", peak_value)
    up_steps = _checks.count(rule, "up_steps", up_steps)
    down_steps = up_steps if down_steps is None else down_steps
    down_steps = _checks.count(rule, "down_steps", down_steps, at_least=0)
    scale = _scale(rule, mode, gamma, scale_fn, scale_mode)
    peak_decay = _checks.real(rule, "peak_decay", peak_decay, "(0, inf)")
    floor_decay = _checks.real(rule, "floor_decay", floor_decay, "(0, inf)")

    def value(t):
        up = as_phase(up_steps)
        period = up + jnp.minimum(as_phase(down_steps), LAST_COUNT)
        cycle, place = as_phase(t) // period, as_phase(t) % period
        falling = remaining(jnp.maximum(place, up) - up, down_steps)
        height = jnp.where(place <= up, elapsed(place, up_steps), falling)
        floor = as_float(base_value) * power(floor_decay, cycle)
        peak = as_float(peak_value) * power(peak_decay, cycle)
        return between(floor, peak, height * scale(t, cycle))

    return schedule(rule, value)


def _scale(
    rule, mode, gamma, scale_fn, scale_mode
) -> Callable[[jax.Array, jax.Array], ArrayLike]:
    """The amplitude of a cycle as a function of (count, cycle from 0)."""
    _checks.choice(rule, "scale_mode", scale_mode, ("cycle", "iterations"))
    _checks.choice(rule, "mode", mode, ("triangular", "triangular2", "exp_range"))
    _checks.real(rule, "gamma", gamma, "(0, inf)")
    if (
        mode != "exp_range"
        and not _checks.is_traced(gamma)
        and _checks.known(gamma) != 1
    ):
        _checks.refuse(rule, "gamma", f"be 1 where `mode` is {mode!r}", gamma)
    if scale_fn is not None:
        _checks.function(rule, "scale_fn", scale_fn)
        if mode != "triangular":
            _checks.refuse(rule, "mode", "be left out where `scale_fn` is given", mode)
        if scale_mode == "iterations":
            return lambda t, cycle: as_float(scale_fn(as_float(t)))
        return lambda t, cycle: as_float(scale_fn(as_float(cycle) + 1))
    if scale_mode != "cycle":
        must = "be left out where there is no `scale_fn`"
        _checks.refuse(rule, "scale_mode", must, scale_mode)
    return {
        "triangular": lambda t, cycle: 1.0,
        "triangular2": lambda t, cycle: power(0.5, cycle),
        "exp_range": lambda t, cycle: exp_linear(t, log(gamma)),
    }[mode]


def foreign_scale(rule, mode, gamma, scale_fn, scale_mode) -> dict[str, Any]:
    """The options of `cyclic`, of those of libraries that ignore what has no effect."""
    _checks.real(rule, "gamma", gamma, "(0, inf)")
    _checks.choice(rule, "scale_mode", scale_mode, ("cycle", "iterations"))
    if scale_fn is not None:
        _checks.function(rule, "scale_fn", scale_fn)
        return {"scale_fn": scale_fn, "scale_mode": scale_mode}
    _checks.choice(rule, "mode", mode, ("triangular", "triangular2", "exp_range"))
    return {"mode": mode, "gamma": gamma if mode == "exp_range" else 1.0}
