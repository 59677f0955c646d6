"""Keras' schedules that decay: those that stay at the end, and one that restarts."""

from collections.abc import Sequence
from typing import Any

from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._checks import (
    AtLeastOne,
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    Real,
)
from optax_extras._errors import refuse
from optax_extras._numerics import as_phase
from optax_extras._values import count, counts, integral, is_traced, items, reals
from optax_extras.keras import _unsupported
from optax_extras.schedules._curve import RestartingSchedule, Schedule


@_unsupported.schedule
def ExponentialDecay(
    initial_learning_rate: NonNegative,
    decay_steps: IntegralSteps,
    decay_rate: Positive,
    staircase: bool = False,
) -> Schedule:
    r"""Keras' ``ExponentialDecay``: :math:`\eta_t = \eta_0 \beta^{t / N}`.

    Keras also takes fractional `decay_steps` and a `decay_rate` of 0 or below, which
    are refused here.

    Args:
      initial_learning_rate: The first rate :math:`\eta_0 \ge 0`, a number.
      decay_steps: Steps :math:`N \ge 1` in which the rate is multiplied once.
      decay_rate: The factor :math:`\beta > 0`.
      staircase: Whether :math:`t / N` is rounded down.

    Returns:
      A schedule: step count -> value.

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

    Keras also takes fractional `decay_steps` and a `decay_rate` below 0, which are
    refused here.

    Args:
      initial_learning_rate: The first rate :math:`\eta_0 \ge 0`, a number.
      decay_steps: The unit of time, :math:`N \ge 1` steps.
      decay_rate: :math:`\beta \ge 0`.
      staircase: Whether :math:`t / N` is rounded down.

    Returns:
      A schedule: step count -> value.

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

    A boundary is the last step of the old value; in `oxe.schedules.piecewise_constant`
    and in PyTorch it is the first of the new one. Keras rounds fractional boundaries
    down and takes unsorted ones, which are refused here.

    Args:
      boundaries: The sorted steps, integers >= 0, after which the value changes.
      values: The values, each at least 0, one more than there are boundaries; the last
        one holds for ever.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.PiecewiseConstantDecay([60, 80], [0.1, 0.01, 0.001])
      >>> [round(float(schedule(t)), 4) for t in (0, 60, 61, 81)]
      [0.1, 0.1, 0.01, 0.001]
    """
    found = [
        integral(f"boundaries[{i}]", x, at_least=0)
        for i, x in enumerate(items("boundaries", boundaries))
    ]
    found = counts("boundaries", found)
    rates = reals("values", values, "[0, inf)")
    if len(rates) != len(found) + 1:
        refuse(
            "values", f"have one item more than the {len(found)} `boundaries`", rates
        )
    # As an unsigned integer the last count has a successor.
    after = [b + 1 if isinstance(b, int) else as_phase(b) + 1 for b in found]
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

    .. math::
        \eta_t = \eta_N + (\eta_0 - \eta_N) \left(1 - \frac{\min(t, N)}{N}\right)^p

    Keras also takes fractional `decay_steps` and a `power` of 0 or below, which are
    refused here.

    Args:
      initial_learning_rate: The first rate :math:`\eta_0 \ge 0`, a number.
      decay_steps: Steps :math:`N \ge 1` until the end value is reached.
      end_learning_rate: The rate :math:`\eta_N \ge 0` from step :math:`N` on.
      power: :math:`p > 0`.
      cycle: Whether :math:`N` is replaced by its first multiple, above 0, that is not
        before :math:`t`: the end value is reached at every multiple and left again.

    Returns:
      A schedule: step count -> value.

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
    r"""Keras' ``CosineDecay``: half a cosine wave, after a linear warm-up or without.

    With :math:`\eta` the target of the warm-up; without one :math:`\eta = \eta_0` and
    :math:`W = 0`:

    .. math::
        \eta_t = \eta \left(\alpha + (1 - \alpha) \tfrac12
            \left(1 + \cos \frac{\pi \min(t - W, N)}{N}\right)\right), \quad t \ge W

    and before that a straight line from :math:`\eta_0` to :math:`\eta`. The last value
    holds. Keras also takes fractional numbers of steps, which are refused here.

    Args:
      initial_learning_rate: The first rate :math:`\eta_0 \ge 0`, a number.
      decay_steps: Steps :math:`N \ge 1` of the decay, the warm-up not included.
      alpha: The last rate as a fraction :math:`\alpha` of :math:`\eta`, a real number.
      warmup_target: The rate :math:`\eta \ge 0` at the end of the warm-up; None: no
        warm-up.
      warmup_steps: Steps :math:`W \ge 0` of the warm-up; without a target there are
        none, whatever this says.

    Returns:
      A schedule: step count -> value.

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

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CosineDecayRestarts(0.1, 10, m_mul=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 20, 30)]
      [0.1, 0.05, 0.05, 0.025, 0.025]
    """
    if is_traced(t_mul):
        count("t_mul", t_mul)
    try:
        fraction = schedules.warm_restarts(
            1.0, first_decay_steps, t_mul, alpha, swing_decay=m_mul
        )
    except ValueError as error:  # all else has been checked
        must = str(error).partition(" must ")[2].partition(", got")[0]
        refuse("t_mul", must, t_mul)
    rate: Any = schedules.product(initial_learning_rate, fraction)
    return rate
