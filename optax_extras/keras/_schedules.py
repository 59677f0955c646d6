"""Keras' learning-rate schedules."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._check_values import counts, reals
from optax_extras._checks import (
    AtLeastOne,
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    Real,
)
from optax_extras._errors import refuse
from optax_extras._numerics import as_uint32
from optax_extras.keras import _unsupported
from optax_extras.schedules._curve import RestartingSchedule, Schedule, renaming
from optax_extras.schedules._cyclic import scale_options
from optax_extras.schedules._piecewise import whole_steps


@_unsupported.schedule
def ExponentialDecay(
    initial_learning_rate: NonNegative,
    decay_steps: IntegralSteps,
    decay_rate: Positive,
    staircase: bool = False,
) -> Schedule:
    r"""Keras' ``ExponentialDecay``: multiplies by `decay_rate` every `decay_steps`.

    :math:`\eta_t = \eta_0 \beta^{t / N}`. Keras also accepts fractional `decay_steps`
    and a `decay_rate` of 0 or below, which raise a ValueError here.

    Args:
      initial_learning_rate: The initial learning rate :math:`\eta_0`.
      decay_steps: Steps :math:`N` over which the learning rate is multiplied once.
      decay_rate: The factor :math:`\beta`.
      staircase: Round :math:`t / N` down.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20)]
      [0.1, 0.05, 0.025]
    """
    if staircase:
        return schedules.step(initial_learning_rate, decay_steps, decay_rate)
    return schedules.exponential(initial_learning_rate, decay_rate, decay_steps)


@_unsupported.schedule
def InverseTimeDecay(
    initial_learning_rate: NonNegative,
    decay_steps: IntegralSteps,
    decay_rate: NonNegative,
    staircase: bool = False,
) -> Schedule:
    r"""Keras' ``InverseTimeDecay``: :math:`\eta_t = \eta_0 / (1 + \beta\, t / N)`.

    Keras also accepts fractional `decay_steps` and a `decay_rate` below 0, which raise
    a ValueError here.

    Args:
      initial_learning_rate: The initial learning rate :math:`\eta_0`.
      decay_steps: The unit of time, :math:`N` steps.
      decay_rate: The decay :math:`\beta` per unit of time.
      staircase: Round :math:`t / N` down.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.InverseTimeDecay(0.1, decay_steps=10, decay_rate=1.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 30)]
      [0.1, 0.05, 0.025]
    """
    return schedules.inverse_time(
        initial_learning_rate, decay_rate, decay_steps, staircase=staircase
    )


@_unsupported.schedule
def PiecewiseConstantDecay(
    boundaries: Sequence[int], values: Sequence[ArrayLike]
) -> Schedule:
    """Keras' ``PiecewiseConstantDecay``: a value up to and *including* each boundary.

    A boundary is the last step of the old value. In `oxe.schedules.piecewise_constant`
    and in PyTorch it is the first step of the new value. Keras rounds fractional
    boundaries down and accepts unsorted ones; both raise a ValueError here.

    Args:
      boundaries: The sorted steps, integers >= 0, after which the value changes.
      values: The values, each at least 0, one more than there are boundaries. The last
        one holds forever.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.PiecewiseConstantDecay([60, 80], [0.1, 0.01, 0.001])
      >>> [round(float(schedule(t)), 4) for t in (0, 60, 61, 81)]
      [0.1, 0.1, 0.01, 0.001]
    """
    found = counts("boundaries", whole_steps("boundaries", boundaries))
    rates = reals("values", values, "[0, inf)")
    if len(rates) != len(found) + 1:
        must = f"have one item more than the {len(found)} `boundaries`"
        refuse("values", must, rates)
    # `as_uint32` is unsigned, so that adding 1 to 2**31 - 1 does not overflow.
    after = [b + 1 if isinstance(b, int) else as_uint32(b) + 1 for b in found]
    return schedules.piecewise_constant(rates, after)


@_unsupported.schedule
def PolynomialDecay(
    initial_learning_rate: NonNegative,
    decay_steps: IntegralSteps,
    end_learning_rate: NonNegative = 0.0001,
    power: Positive = 1.0,
    cycle: bool = False,
) -> Schedule:
    r"""Keras' ``PolynomialDecay``: a power of the fraction of steps that remains.

    :math:`\eta_t = \eta_N + (\eta_0 - \eta_N) (1 - \min(t, N) / N)^p`. Keras also
    accepts fractional `decay_steps` and a `power` of 0 or below, which raise a
    ValueError here.

    Args:
      initial_learning_rate: The initial learning rate :math:`\eta_0`.
      decay_steps: Steps :math:`N` of the decay.
      end_learning_rate: The learning rate :math:`\eta_N` from step :math:`N` on.
      power: The power :math:`p`.
      cycle: At step t, replace :math:`N` by its first positive multiple that is at
        least t: the learning rate reaches its end value at every multiple and then
        jumps up.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.PolynomialDecay(0.1, decay_steps=10, cycle=True)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 15, 20)]
      [0.1, 0.0501, 0.0001, 0.0251, 0.0001]
    """
    return schedules.polynomial(
        initial_learning_rate, decay_steps, power, end_learning_rate, cycle=cycle
    )


@_unsupported.schedule
def CosineDecay(
    initial_learning_rate: NonNegative,
    decay_steps: IntegralSteps,
    alpha: Real = 0.0,
    *,
    warmup_target: NonNegative | None = None,
    warmup_steps: IntegralStepsOrZero = 0,
) -> Schedule:
    r"""Keras' ``CosineDecay``: half a cosine wave, optionally after a linear warm-up.

    The warm-up is a straight line from :math:`\eta_0` to :math:`\eta` in :math:`W`
    steps. Without a warm-up, :math:`\eta = \eta_0` and :math:`W = 0`. Then the learning
    rate decays:

    .. math::
        \eta_t = \eta \left(\alpha + (1 - \alpha) \tfrac12
            \left(1 + \cos \frac{\pi \min(t - W, N)}{N}\right)\right), \quad t \ge W

    The last value holds. Keras also accepts fractional numbers of steps, which raise a
    ValueError here.

    Args:
      initial_learning_rate: The initial learning rate :math:`\eta_0`.
      decay_steps: Steps :math:`N` of the decay, without the warm-up.
      alpha: The last learning rate as a fraction :math:`\alpha` of :math:`\eta`.
      warmup_target: The learning rate :math:`\eta` after the warm-up. None: no warm-up.
      warmup_steps: Steps :math:`W` of the warm-up; ignored if `warmup_target` is None.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CosineDecay(0.0, 90, warmup_target=0.1, warmup_steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 55, 100)]
      [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    fraction = schedules.cosine(1.0, decay_steps, alpha)
    if warmup_target is None:
        return schedules.product(initial_learning_rate, fraction)
    decay = schedules.product(warmup_target, fraction)
    return schedules.warmup(warmup_steps, decay, initial_learning_rate)


@_unsupported.schedule
def CosineDecayRestarts(
    initial_learning_rate: NonNegative,
    first_decay_steps: IntegralSteps,
    t_mul: AtLeastOne = 2.0,
    m_mul: Positive = 1.0,
    alpha: Real = 0.0,
) -> RestartingSchedule:
    r"""Keras' ``CosineDecayRestarts``: cosine decay that starts again.

    Cycle :math:`i = 0, 1, \dots` has :math:`N \kappa^i` steps. At the fraction :math:`x
    \in [0, 1)` of a cycle:

    .. math::
        \eta_t = \eta_0 \left(\alpha +
            (1 - \alpha)\, m^i \tfrac12 (1 + \cos \pi x)\right)

    Keras computes the cycle with a logarithm in floats and may miss a restart by a
    step; here every restart is exact. Keras also accepts fractional `first_decay_steps`
    and a `t_mul` below 1, which raise a ValueError here. The cycles continue forever;
    `oxe.schedules.warm_restarts` also has an end. The attribute `restarts` of the
    schedule, step count -> bool, is true where a cycle begins, for :func:`restart`.

    Args:
      initial_learning_rate: The initial learning rate :math:`\eta_0`.
      first_decay_steps: Steps :math:`N` of the first cycle.
      t_mul: The factor :math:`\kappa` by which each cycle is longer than the one
        before: an integer, which may be traced, or a concrete number with at most 4096
        restarts below step 2**31.
      m_mul: The factor :math:`m` that multiplies the height above the floor at each
        restart.
      alpha: The floor as a fraction :math:`\alpha` of :math:`\eta_0`; restarts do not
        change it.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CosineDecayRestarts(0.1, 10, m_mul=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20, 30)]
      [0.1, 0.05, 0.05, 0.025, 0.025]
    """
    with renaming(period_mult="t_mul", period="first_decay_steps"):
        fraction = schedules.warm_restarts(
            1.0, first_decay_steps, t_mul, alpha, swing_decay=m_mul
        )
    rate: Any = schedules.product(initial_learning_rate, fraction)
    return rate


@_unsupported.schedule
def CyclicLR(
    base_lr: NonNegative = 0.001,
    max_lr: NonNegative = 0.006,
    step_size: IntegralSteps = 2000,
    mode: str = "triangular",
    gamma: Positive = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
) -> Schedule:
    r"""The callback ``CyclicLR`` of bckenstler/CLR, as a schedule; Keras has none.

    In cycle :math:`c = \lfloor 1 + t / 2S \rfloor` the scale :math:`s_t` is 1
    (``"triangular"``), :math:`2^{1 - c}` (``"triangular2"``), :math:`\gamma^t`
    (``"exp_range"``) or the value of `scale_fn`:

    .. math::
        \eta_t = \text{base} + (\text{max} - \text{base})
            \max\left(0, 1 - \left|\frac tS - 2c + 1\right|\right) s_t

    The cycles continue forever. The callback also accepts a fractional `step_size` and
    a `gamma` of 0 or below, which raise a ValueError here. `oxe.pytorch.CyclicLR` is
    PyTorch's class of the same name; see `oxe.schedules.cyclic` for the paper.

    Args:
      base_lr: The learning rate at the start of every cycle.
      max_lr: The learning rate at the peak where the scale is 1.
      step_size: Steps :math:`S` from `base_lr` to `max_lr`, and as many back; a float
        is accepted if it is a whole number.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``; ignored if
        `scale_fn` is given.
      gamma: The factor :math:`\gamma` per step, for ``"exp_range"`` only.
      scale_fn: A function that JAX can trace, from a float to the scale :math:`s_t`.
      scale_mode: The float given to `scale_fn`: the number of the cycle (1 is the
        first), or the updates already made (``"iterations"``).

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CyclicLR(step_size=10, mode="triangular2")
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20, 30)]
      [0.001, 0.006, 0.001, 0.0035]

    References:
      `bckenstler/CLR <https://github.com/bckenstler/CLR>`_
    """
    scale = scale_options(mode, gamma, scale_fn, scale_mode)
    return schedules.cyclic(base_lr, max_lr, step_size, **scale)
