"""Keras' schedules that fall and stay."""

from collections.abc import Sequence

from jax.typing import ArrayLike

from optax_extras import _checks, schedules
from optax_extras._numerics import as_phase
from optax_extras.keras import _foreign
from optax_extras.schedules._curve import Schedule, renamed


@_foreign.schedule
def ExponentialDecay(
    initial_learning_rate: ArrayLike,
    decay_steps: int,
    decay_rate: ArrayLike,
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

    Raises:
      ValueError: If a number is out of range, or `decay_steps` not whole.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20)]
      [0.1, 0.05, 0.025]
    """
    rule = "ExponentialDecay"
    lr, steps = _lr_and_steps(rule, initial_learning_rate, decay_steps)
    decay_rate = _checks.real(rule, "decay_rate", decay_rate, "(0, inf)")
    if _checks.flag(rule, "staircase", staircase):
        return renamed(rule, schedules.step(lr, steps, decay_rate))
    return renamed(rule, schedules.exponential(lr, decay_rate, steps))


@_foreign.schedule
def InverseTimeDecay(
    initial_learning_rate: ArrayLike,
    decay_steps: int,
    decay_rate: ArrayLike,
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

    Raises:
      ValueError: If a number is out of range, or `decay_steps` not whole.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.InverseTimeDecay(0.1, decay_steps=10, decay_rate=1.0)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 30)]
      [0.1, 0.05, 0.025]
    """
    rule = "InverseTimeDecay"
    lr, steps = _lr_and_steps(rule, initial_learning_rate, decay_steps)
    decay_rate = _checks.real(rule, "decay_rate", decay_rate, "[0, inf)")
    staircase = _checks.flag(rule, "staircase", staircase)
    curve = schedules.inverse_time(lr, decay_rate, steps, staircase=staircase)
    return renamed(rule, curve)


@_foreign.schedule
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

    Raises:
      ValueError: If a number is out of range, `boundaries` unsorted or not whole, or
        `values` not one more.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.PiecewiseConstantDecay([60, 80], [0.1, 0.01, 0.001])
      >>> [round(float(schedule(t)), 4) for t in (0, 60, 61, 81)]
      [0.1, 0.1, 0.01, 0.001]
    """
    rule = "PiecewiseConstantDecay"
    found = [
        _checks.whole(rule, f"boundaries[{i}]", x, at_least=0)
        for i, x in enumerate(_checks.items(rule, "boundaries", boundaries))
    ]
    found = _checks.counts(rule, "boundaries", found)
    values = _checks.reals(rule, "values", values, "[0, inf)")
    if len(values) != len(found) + 1:
        must = f"have one item more than the {len(found)} `boundaries`"
        _checks.refuse(rule, "values", must, values)
    # As an unsigned integer the last count has a successor.
    after = [b + 1 if isinstance(b, int) else as_phase(b) + 1 for b in found]
    return renamed(rule, schedules.piecewise_constant(values, after))


@_foreign.schedule
def PolynomialDecay(
    initial_learning_rate: ArrayLike,
    decay_steps: int,
    end_learning_rate: ArrayLike = 0.0001,
    power: ArrayLike = 1.0,
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

    Raises:
      ValueError: If a number is out of range, or `decay_steps` not whole.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.PolynomialDecay(0.1, decay_steps=10, cycle=True)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 15, 20)]
      [0.1, 0.0501, 0.0001, 0.0251, 0.0001]
    """
    rule = "PolynomialDecay"
    lr, steps = _lr_and_steps(rule, initial_learning_rate, decay_steps)
    end = _checks.real(rule, "end_learning_rate", end_learning_rate, "[0, inf)")
    power = _checks.real(rule, "power", power, "(0, inf)")
    cycle = _checks.flag(rule, "cycle", cycle)
    return renamed(rule, schedules.polynomial(lr, steps, power, end, cycle=cycle))


@_foreign.schedule
def CosineDecay(
    initial_learning_rate: ArrayLike,
    decay_steps: int,
    alpha: ArrayLike = 0.0,
    *,
    warmup_target: ArrayLike | None = None,
    warmup_steps: int = 0,
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

    Raises:
      ValueError: If a number is out of range, or a number of steps not whole.
      TypeError: If an argument is not of the kind said above, or a `name` is given.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CosineDecay(0.0, 90, warmup_target=0.1, warmup_steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 5, 10, 55, 100)]
      [0.0, 0.05, 0.1, 0.05, 0.0]
    """
    rule = "CosineDecay"
    lr, steps = _lr_and_steps(rule, initial_learning_rate, decay_steps)
    alpha = _checks.real(rule, "alpha", alpha)
    warmup_steps = _checks.whole(rule, "warmup_steps", warmup_steps, at_least=0)
    share = schedules.cosine(1.0, steps, alpha)
    if warmup_target is None:
        return renamed(rule, schedules.product(lr, share))
    target = _checks.real(rule, "warmup_target", warmup_target, "[0, inf)")
    decay = schedules.product(target, share)
    return renamed(rule, schedules.warmup(warmup_steps, decay, lr))


def _lr_and_steps(rule, initial_learning_rate, decay_steps):
    """The two arguments that most begin with."""
    name = "initial_learning_rate"
    lr = _checks.real(rule, name, initial_learning_rate, "[0, inf)")
    return lr, _checks.whole(rule, "decay_steps", decay_steps)
