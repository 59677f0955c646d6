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

    In cycle :math:`i = 0, 1, \dots`, which is :math:`N \kappa^i` steps long, with the
    fraction :math:`x \in [0, 1)` of them made:

    .. math::
        \eta_t = \eta_0 \left(\alpha +
            (1 - \alpha)\, m^i \tfrac12 (1 + \cos \pi x)\right)

    Keras finds the cycle with a logarithm in floats and may miss a restart by a step;
    here all are exact. Keras also takes fractional `first_decay_steps` and a `t_mul`
    below 1, which are refused here. It goes on for ever; for an end see
    `oxe.schedules.warm_restarts`.

    Args:
      initial_learning_rate: The rate :math:`\eta_0 \ge 0` at the start, a number.
      first_decay_steps: Steps :math:`N \ge 1` of the first cycle.
      t_mul: The factor :math:`\kappa \ge 1` by which the cycles grow: an integer, which
        may be traced, or a known number with at most 4096 restarts below 2**31.
      m_mul: The factor :math:`m > 0` at each restart of what lies above the floor.
      alpha: The floor as a fraction :math:`\alpha` of the first rate, a real number; it
        does not change at restarts.

    Returns:
      A schedule: step count -> value. Its attribute `restarts`, step count -> bool,
      says where a cycle begins, for :func:`restart`.

    Raises:
      ValueError: If a number is out of range, `first_decay_steps` not whole, or there
        were too many restarts.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

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

    With the number of the cycle :math:`c = \lfloor 1 + t / 2S \rfloor` and the scale
    :math:`s_t`, which is 1 (``"triangular"``), :math:`2^{1 - c}` (``"triangular2"``),
    :math:`\gamma^t` (``"exp_range"``), or what `scale_fn` returns:

    .. math::
        \eta_t = \text{base} + (\text{max} - \text{base})
            \max\left(0, 1 - \left|\frac tS - 2c + 1\right|\right) s_t

    The callback also takes a fractional `step_size` and a `gamma` of 0 or below, which
    are refused here. PyTorch's class of the same name is `oxe.pytorch.CyclicLR`. It
    goes on for ever.

    Args:
      base_lr: The rate at the start of every cycle, at least 0.
      max_lr: The rate at the peak where the scale is 1, at least 0.
      step_size: Steps :math:`S \ge 1` from base to peak, and as many back; a whole
        number, though it may be a float.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``; not looked at where
        `scale_fn` is given.
      gamma: :math:`\gamma > 0` per step, for ``"exp_range"`` alone.
      scale_fn: A function, traceable, to the scale :math:`s_t`; it is given a float,
        the number of the cycle, 1 in the first, or the number of updates made.
      scale_mode: Which of the two `scale_fn` is given: ``"cycle"`` or
        ``"iterations"``.

    Returns:
      A schedule: step count -> value.

    Raises:
      ValueError: If a number is out of range, `step_size` not whole, or `mode` or
        `scale_mode` unknown.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CyclicLR(step_size=10, mode="triangular2")
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20, 30)]
      [0.001, 0.006, 0.001, 0.0035]

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017;
      the callback: `bckenstler/CLR <https://github.com/bckenstler/CLR>`_
    """
    rule = "CyclicLR"
    base_lr = _checks.real(rule, "base_lr", base_lr, "[0, inf)")
    max_lr = _checks.real(rule, "max_lr", max_lr, "[0, inf)")
    steps = _checks.whole(rule, "step_size", step_size)
    scale = foreign_scale(rule, mode, gamma, scale_fn, scale_mode)
    return renamed(rule, schedules.cyclic(base_lr, max_lr, steps, **scale))
