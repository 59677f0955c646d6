"""timm's schedulers that decay in cycles: cosine, tanh and polynomial."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._check_values import concrete, is_traced
from optax_extras._checks import (
    AtLeastOne,
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    Real,
    StepCount,
)
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, as_uint32, power as power_of
from optax_extras.schedules._curve import (
    RestartingSchedule,
    cosine_fraction,
    interpolate,
    renaming,
)
from optax_extras.schedules._geometric_periods import growing_cycles
from optax_extras.timm import _unsupported
from optax_extras.timm._powers import one_minus_power_of_fraction
from optax_extras.timm._warmup import after_warmup, counted, warmed_up


@_unsupported.scheduler
def CosineLRScheduler(
    lr: NonNegative,
    t_initial: IntegralSteps,
    lr_min: NonNegative = 0.0,
    cycle_mul: AtLeastOne = 1.0,
    cycle_decay: Positive = 1.0,
    cycle_limit: StepCount = 1,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    *,
    k_decay: Positive = 1.0,
    updates_per_epoch: StepCount | None = None,
) -> RestartingSchedule:
    r"""The ``CosineLRScheduler`` of timm: cosine decay in cycles, after a warm-up.

    `oxe.schedules.warm_restarts` is the same without `k_decay`, in updates, and with
    more choices of what changes from cycle to cycle.

    Cycle :math:`i = 0, 1, \dots` takes :math:`T_i = T c^i` of :math:`t`, with
    :math:`T` (`t_initial`) and :math:`c` (`cycle_mul`), and begins at :math:`\tau_i`.
    With :math:`\eta` (`lr`), :math:`\eta_{min}` (`lr_min`), :math:`d` (`cycle_decay`)
    and :math:`k` (`k_decay`):

    .. math::
        \eta_t = \eta_{min} + \tfrac12 (\eta d^i - \eta_{min})
            \left(1 + \cos \frac{\pi (t - \tau_i)^k}{T_i^k}\right)

    After `cycle_limit` cycles :math:`\eta_t = \eta_{min}`. While :math:`t` is below
    :math:`W` (`warmup_t`) the learning rate is on a line from `warmup_lr_init` at
    :math:`t = 0` to `lr` at :math:`W`. Without `warmup_prefix` the decay begins at
    :math:`t = 0`, too, so that it is already below `lr` when the warm-up ends.

    :math:`t` is timm's count: with ``t_in_epochs=False`` the number of updates already
    made, else that number divided by `updates_per_epoch` and rounded down, so that it
    is 0 in all updates of the first epoch.

    timm computes the cycle with a logarithm and misses some restarts by one :math:`t`,
    at which it then has `lr_min`; here none is missed. timm also accepts a `cycle_mul`
    below 1, which raises an error later in its run, and a `cycle_limit`, `cycle_decay`
    or `k_decay` of 0 or below; all of these raise a ValueError here.

    Args:
      lr: The base learning rate :math:`\eta`, in place of timm's `optimizer`.
      t_initial: The length :math:`T` of the first cycle.
      lr_min: The learning rate :math:`\eta_{min}` after the last cycle.
      cycle_mul: The factor :math:`c` by which each cycle is longer than the one before:
        an integer, which may be traced, or a concrete number, read as the decimal that
        was written.
      cycle_decay: The factor :math:`d` of the peak from cycle to cycle.
      cycle_limit: The number of cycles.
      warmup_t: The length :math:`W` of the warm-up.
      warmup_lr_init: The learning rate at the start of the warm-up.
      warmup_prefix: Whether the first cycle begins after the warm-up, not with it.
      t_in_epochs: Whether :math:`t`, and so every length, counts epochs.
      k_decay: The exponent :math:`k`. Above 1 the learning rate stays high for longer.
      updates_per_epoch: Updates in an epoch, for a schedule of the update count. None:
        a schedule of :math:`t` itself. Refused if `t_in_epochs` is False.

    Returns:
      A schedule of the update count. Its attribute `restarts`, step count -> bool, is
      true where a cycle begins after the first one, for :func:`restart`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.CosineLRScheduler(
      ...     0.1, t_initial=20, warmup_t=5, updates_per_epoch=10
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 50, 100, 200)]
      [0.0, 0.02, 0.0854, 0.05, 0.0]

    References:
      Zhang and Li, `k-decay: A new method for learning rate schedule
      <https://arxiv.org/abs/2004.05909>`_, 2020
    """

    def shape(x, r):
        return cosine_fraction(one_minus_power_of_fraction(x, r, k_decay))

    return _cycles(
        shape,
        lr,
        lr_min,
        (t_initial, cycle_mul, cycle_decay, cycle_limit),
        (warmup_t, warmup_lr_init, warmup_prefix),
        (t_in_epochs, updates_per_epoch),
    )


@_unsupported.scheduler
def TanhLRScheduler(
    lr: NonNegative,
    t_initial: IntegralSteps,
    lb: Real = -7.0,
    ub: Real = 3.0,
    lr_min: NonNegative = 0.0,
    cycle_mul: AtLeastOne = 1.0,
    cycle_decay: Positive = 1.0,
    cycle_limit: StepCount = 1,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    *,
    updates_per_epoch: StepCount | None = None,
) -> RestartingSchedule:
    r"""The ``TanhLRScheduler`` of timm: decay along a hyperbolic tangent, in cycles.

    The learning rate stays high for longer than in :func:`CosineLRScheduler`, then
    falls fast. At the fraction :math:`x \in [0, 1)` of cycle :math:`i`, with :math:`l`
    (`lb`), :math:`u` (`ub`) and otherwise the letters and the cycles of
    :func:`CosineLRScheduler`:

    .. math::
        \eta_t = \eta_{min} + \tfrac12 (\eta d^i - \eta_{min})
            \left(1 - \tanh(l (1 - x) + u x)\right)

    A cycle begins below :math:`\eta d^i`: by a millionth with the default `lb`, by an
    eighth with -1. Three things are timm's, too. Without a warm-up the learning rate is
    `lr` at :math:`t = 0`. Without `warmup_prefix` the line of the warm-up leads to this
    curve. With it the line leads to `lr`, and the learning rate then drops to the
    curve.

    See :func:`CosineLRScheduler` for how :math:`t` counts, the restarts that timm
    misses, and what raises an error only here.

    Args:
      lr: The base learning rate :math:`\eta`, in place of timm's `optimizer`.
      t_initial: The length of the first cycle.
      lb: :math:`l`, below `ub`: the tangent's argument at the start of a cycle.
      ub: :math:`u`: its argument at the end.
      lr_min: The learning rate :math:`\eta_{min}` after the last cycle.
      cycle_mul: The factor by which each cycle is longer than the one before: an
        integer, which may be traced, or a concrete number.
      cycle_decay: The factor :math:`d` of the peak from cycle to cycle.
      cycle_limit: The number of cycles.
      warmup_t: The length of the warm-up.
      warmup_lr_init: The learning rate at the start of the warm-up.
      warmup_prefix: Whether the first cycle begins after the warm-up, not with it.
      t_in_epochs: Whether every length counts epochs.
      updates_per_epoch: Updates in an epoch, for a schedule of the update count. None:
        a schedule of :math:`t` itself. Refused if `t_in_epochs` is False.

    Returns:
      A schedule of the update count, with the attribute `restarts`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.TanhLRScheduler(0.1, t_initial=200, t_in_epochs=False)
      >>> [round(float(schedule(t)), 4) for t in (0, 100, 140, 199, 200)]
      [0.1, 0.0982, 0.05, 0.0003, 0.0]

    References:
      Hsueh et al., `Stochastic gradient descent with hyperbolic-tangent decay on
      classification <https://arxiv.org/abs/1806.01593>`_, 2019
    """
    if not (is_traced(lb) or is_traced(ub)) and concrete(lb) >= concrete(ub):
        refuse("lb", f"be below `ub`, which is {ub!r}", lb)

    def shape(x, r):
        return jax.nn.sigmoid(-2 * (as_float(lb) * r + as_float(ub) * x))

    return _cycles(
        shape,
        lr,
        lr_min,
        (t_initial, cycle_mul, cycle_decay, cycle_limit),
        (warmup_t, warmup_lr_init, warmup_prefix),
        (t_in_epochs, updates_per_epoch),
        to_the_curve=not warmup_prefix,
    )


@_unsupported.scheduler
def PolyLRScheduler(
    lr: NonNegative,
    t_initial: IntegralSteps,
    power: Positive = 0.5,
    lr_min: NonNegative = 0.0,
    cycle_mul: AtLeastOne = 1.0,
    cycle_decay: Positive = 1.0,
    cycle_limit: StepCount = 1,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    warmup_prefix: bool = False,
    t_in_epochs: bool = True,
    *,
    k_decay: Positive = 1.0,
    updates_per_epoch: StepCount | None = None,
) -> RestartingSchedule:
    r"""The ``PolyLRScheduler`` of timm: decay by a power, in cycles.

    `oxe.schedules.polynomial` is one cycle of it, in updates, without `k_decay` and
    without a warm-up. At the fraction :math:`x \in [0, 1)` of cycle :math:`i`, with
    :math:`p` (`power`) and otherwise the letters and the cycles of
    :func:`CosineLRScheduler`:

    .. math::
        \eta_t = \eta_{min} + (\eta d^i - \eta_{min}) (1 - x^k)^p

    The default power is 0.5, and timm's training script passes ``--decay-rate``, by
    default 0.1: with either the learning rate falls mostly at the end. See
    :func:`CosineLRScheduler` for how :math:`t` counts, the warm-up, the restarts that
    timm misses, and what raises an error only here, as does a `power` of 0 or below.

    Args:
      lr: The base learning rate :math:`\eta`, in place of timm's `optimizer`.
      t_initial: The length of the first cycle.
      power: The exponent :math:`p`.
      lr_min: The learning rate :math:`\eta_{min}` after the last cycle.
      cycle_mul: The factor by which each cycle is longer than the one before: an
        integer, which may be traced, or a concrete number.
      cycle_decay: The factor :math:`d` of the peak from cycle to cycle.
      cycle_limit: The number of cycles.
      warmup_t: The length of the warm-up.
      warmup_lr_init: The learning rate at the start of the warm-up.
      warmup_prefix: Whether the first cycle begins after the warm-up, not with it.
      t_in_epochs: Whether every length counts epochs.
      k_decay: The exponent :math:`k`.
      updates_per_epoch: Updates in an epoch, for a schedule of the update count. None:
        a schedule of :math:`t` itself. Refused if `t_in_epochs` is False.

    Returns:
      A schedule of the update count, with the attribute `restarts`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.PolyLRScheduler(0.1, t_initial=200, t_in_epochs=False)
      >>> [round(float(schedule(t)), 4) for t in (0, 100, 150, 200)]
      [0.1, 0.0707, 0.05, 0.0]
    """

    def shape(x, r):
        return one_minus_power_of_fraction(x, r, k_decay) ** as_float(power)

    return _cycles(
        shape,
        lr,
        lr_min,
        (t_initial, cycle_mul, cycle_decay, cycle_limit),
        (warmup_t, warmup_lr_init, warmup_prefix),
        (t_in_epochs, updates_per_epoch),
    )


def _cycles(
    shape: Callable[[jax.Array, jax.Array], jax.Array],
    lr: Any,
    lr_min: Any,
    cycles: tuple[Any, Any, Any, Any],
    warmup: tuple[Any, Any, bool],
    counts: tuple[bool, Any],
    to_the_curve: bool = False,
) -> RestartingSchedule:
    """Cycles of a shape, a function: (elapsed, remaining fraction) -> [0, 1].

    The tuples are timm's arguments, in its order.
    """
    t_initial, cycle_mul, cycle_decay, cycle_limit = cycles
    warmup_t, _, warmup_prefix = warmup
    with renaming(period_mult="cycle_mul", period="t_initial"):
        locate = growing_cycles(t_initial, cycle_mul)

    def value(t):
        cycle, x, r, _ = locate(t)
        last = as_uint32(cycle_limit) - 1
        peak = as_float(lr) * power_of(cycle_decay, jnp.minimum(cycle, last))
        return interpolate(lr_min, peak, jnp.where(cycle > last, 0, shape(x, r)))

    def restarts(t):
        cycle, _, _, begins = locate(t)
        return begins & (cycle < as_uint32(cycle_limit))

    warm = warmed_up(value, lr, *warmup, to_the_curve=to_the_curve)
    after = after_warmup(restarts, warmup_t, warmup_prefix)
    return counted(warm, *counts, after)
