"""Keras' schedule that restarts, and the cycles of a well-known callback."""

from collections.abc import Callable

import jax
from jax.typing import ArrayLike

from optax_extras import _checks, schedules
from optax_extras.keras import _foreign
from optax_extras.schedules._curve import RestartingSchedule, Schedule, renamed
from optax_extras.schedules._cyclic import foreign_scale


@_foreign.schedule
def CosineDecayRestarts(
    initial_learning_rate: ArrayLike,
    first_decay_steps: int,
    t_mul: ArrayLike = 2.0,
    m_mul: ArrayLike = 1.0,
    alpha: ArrayLike = 0.0,
) -> RestartingSchedule:
    r"""Keras' ``CosineDecayRestarts``: cosine decay that starts again.

    With the phase :math:`x \in [0, 1)` of cycle :math:`i` from 0, whose length is
    :math:`N \kappa^i`:

    .. math::
        \eta_t = \eta_0 \left(\alpha +
            (1 - \alpha)\, m^i \tfrac12 (1 + \cos \pi x)\right)

    Keras finds the cycle with a logarithm in floats and may miss a restart by a step;
    here all are exact. Keras also takes fractional `first_decay_steps` and a `t_mul`
    below 1, which are refused here.

    Args:
      initial_learning_rate: The rate :math:`\eta_0` at the start.
      first_decay_steps: Steps :math:`N \ge 1` of the first cycle.
      t_mul: The factor :math:`\kappa \ge 1` by which the cycles grow; an integer if it
        is traced.
      m_mul: The factor :math:`m > 0` at each restart of what lies above the floor.
      alpha: The floor as a fraction :math:`\alpha` of the first rate; it stays.

    Returns:
      A schedule: step count -> value, with the attribute `restarts`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CosineDecayRestarts(0.1, 10, m_mul=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20, 30)]
      [0.1, 0.05, 0.05, 0.025, 0.025]
    """
    rule = "CosineDecayRestarts"
    name = "initial_learning_rate"
    lr = _checks.real(rule, name, initial_learning_rate, "[0, inf)")
    steps = _checks.whole(rule, "first_decay_steps", first_decay_steps)
    t_mul = _checks.real(rule, "t_mul", t_mul, "[1, inf)")
    if _checks.is_traced(t_mul):
        _checks.count(rule, "t_mul", t_mul)
    m_mul = _checks.real(rule, "m_mul", m_mul, "(0, inf)")
    alpha = _checks.real(rule, "alpha", alpha)
    try:
        share = schedules.warm_restarts(1.0, steps, t_mul, alpha, swing_decay=m_mul)
    except ValueError as error:  # all else has been checked
        must = str(error).partition(" must ")[2].partition(", got")[0]
        _checks.refuse(rule, "t_mul", must, t_mul)
    return renamed(rule, schedules.product(lr, share))


@_foreign.schedule
def CyclicLR(
    base_lr: ArrayLike = 0.001,
    max_lr: ArrayLike = 0.006,
    step_size: float = 2000.0,
    mode: str = "triangular",
    gamma: ArrayLike = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: str = "cycle",
) -> Schedule:
    r"""The curve of the callback ``CyclicLR`` of bckenstler/CLR, which Keras lacks.

    With :math:`c = \lfloor 1 + t / 2S \rfloor` and the scale :math:`s_t`, 1,
    :math:`2^{1 - c}`, :math:`\gamma^t`, or that of `scale_fn`:

    .. math::
        \eta_t = \text{base} + (\text{max} - \text{base})
            \max\left(0, 1 - \left|\frac tS - 2c + 1\right|\right) s_t

    The callback also takes a fractional `step_size` and a `gamma` of 0 or below, which
    are refused here. PyTorch's class of the same name is `oxe.pytorch.CyclicLR`.

    Args:
      base_lr: The rate at the start of every cycle.
      max_lr: The rate at the peak, before it is scaled.
      step_size: Steps :math:`S \ge 1` from base to peak, and as many back.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``; ignored where
        `scale_fn` is given.
      gamma: :math:`\gamma > 0`, ignored but for ``"exp_range"``.
      scale_fn: The scale as a function, which must be traceable, of the number of the
        cycle, 1 in the first, or of the step count; either a float.
      scale_mode: Which of them: ``"cycle"`` or ``"iterations"``; ignored without
        `scale_fn`.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CyclicLR(step_size=10, mode="triangular2")
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20, 30)]
      [0.001, 0.006, 0.001, 0.0035]
    """
    rule = "CyclicLR"
    base_lr = _checks.real(rule, "base_lr", base_lr, "[0, inf)")
    max_lr = _checks.real(rule, "max_lr", max_lr, "[0, inf)")
    steps = _checks.whole(rule, "step_size", step_size)
    scale = foreign_scale(rule, mode, gamma, scale_fn, scale_mode)
    return renamed(rule, schedules.cyclic(base_lr, max_lr, steps, **scale))
