"""timm's warm-up, stable phase and decay."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from optax_extras._check_values import is_traced
from optax_extras._checks import (
    IntegralSteps,
    IntegralStepsOrZero,
    NonNegative,
    OpenFraction,
    Positive,
    StepCount,
)
from optax_extras._errors import refuse
from optax_extras._learning_rates.metric_schedule import check_order
from optax_extras._numerics import (
    as_float,
    as_uint32,
    elapsed,
    float_dtype,
    log,
    remaining,
)
from optax_extras.schedules._curve import Schedule, check_traceable, interpolate
from optax_extras.schedules._wsd import SHAPES
from optax_extras.timm import _unsupported
from optax_extras.timm._powers import one_minus_power_of_fraction
from optax_extras.timm._warmup import counted, warmed_up


@_unsupported.scheduler
def WSDLRScheduler(
    lr: NonNegative,
    t_initial: IntegralSteps,
    decay_t: IntegralSteps,
    lr_min: NonNegative = 0.0,
    stable_fn: Literal["constant", "rsqrt", "power"] = "constant",
    stable_timescale: Positive | None = None,
    stable_power: Positive = 0.5,
    decay_fn: str | Callable[[jax.Array], jax.Array] = "1-sqrt",
    decay_power: Positive = 0.5,
    decay_ratio: OpenFraction = 0.1,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    t_in_epochs: bool = True,
    *,
    updates_per_epoch: StepCount | None = None,
) -> Schedule:
    r"""The ``WSDLRScheduler`` of timm: a warm-up, a long stable phase, then a decay.

    `oxe.schedules.wsd` counts updates, gives each phase its own length, and has a
    constant stable phase; here the stable phase may fall, too, also while it decays.

    After :math:`W` (`warmup_t`) the two phases take :math:`T` (`t_initial`) together,
    the last :math:`D` (`decay_t`) of which is the decay. With :math:`s = t - W`,
    :math:`\tau` (`stable_timescale`), :math:`x = \min(1, (s - T + D) / D)`,
    :math:`\eta` (`lr`) and :math:`\eta_{min}` (`lr_min`):

    .. math::
        \eta_t = \eta_{min} + (\sigma_s - \eta_{min})\, d(x), \qquad
        \sigma_s = \max(\eta\, (1 + s / \tau)^{-p}, \eta_{min})

    with :math:`d = 1` until the decay begins, and :math:`p = 0` for
    ``stable_fn="constant"``, 1/2 for ``"rsqrt"`` and `stable_power` for ``"power"``.
    The decays are, in the order below with :math:`q` (`decay_power`) and :math:`\rho`
    (`decay_ratio`):

    .. math::
        d(x) = 1 - x, \quad 1 - \sqrt x, \quad \tfrac12 (1 + \cos \pi x), \quad
            1 - x^q, \quad (\rho^x - \rho) / (1 - \rho)

    `lr_min` is reached at :math:`t = W + T`, one past the last :math:`t` of the
    schedule. With few epochs of decay and ``t_in_epochs=True`` the last epoch is
    still far above it: count updates instead, or train one epoch more.

    See :func:`CosineLRScheduler` for how :math:`t` counts. The warm-up is the line from
    `warmup_lr_init` to `lr`, always before the rest. Without it the learning rate is
    `lr` at :math:`t = 0`, as in timm, even if `lr_min` is above.

    Args:
      lr: The base learning rate :math:`\eta`, in place of timm's `optimizer`.
      t_initial: The length :math:`T` of the stable phase and the decay together.
      decay_t: The length :math:`D` of the decay, at most `t_initial`.
      lr_min: The learning rate :math:`\eta_{min}` from the end of the decay on.
      stable_fn: ``"constant"``, ``"rsqrt"`` or ``"power"``.
      stable_timescale: :math:`\tau`, for ``"rsqrt"`` and ``"power"``. None:
        `warmup_t`, which must then be at least 1.
      stable_power: The exponent :math:`p` for ``stable_fn="power"``.
      decay_fn: ``"linear"``, ``"1-sqrt"``, ``"cosine"``, ``"power"``, ``"exp"``, or a
        function :math:`d(x)` that JAX can trace, of an array and elementwise.
      decay_power: The exponent :math:`q` for ``decay_fn="power"``.
      decay_ratio: :math:`\rho` for ``decay_fn="exp"``: the fraction that is left at the
        end, before the shift that makes it `lr_min`.
      warmup_t: The length :math:`W` of the warm-up.
      warmup_lr_init: The learning rate at the start of the warm-up.
      t_in_epochs: Whether every length counts epochs.
      updates_per_epoch: Updates in an epoch, for a schedule of the update count. None:
        a schedule of :math:`t` itself. Refused if `t_in_epochs` is False.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.WSDLRScheduler(
      ...     0.1, t_initial=90, decay_t=40, warmup_t=10, t_in_epochs=False
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 60, 70, 100)]
      [0.0, 0.1, 0.1, 0.05, 0.0]

    References:
      Hägele et al., `Scaling laws and compute-optimal training beyond fixed training
      durations <https://arxiv.org/abs/2405.18392>`_, 2024
    """
    check_order("decay_t", decay_t, "t_initial", t_initial)
    timescale = warmup_t if stable_timescale is None else stable_timescale
    if stable_fn != "constant" and not is_traced(timescale) and timescale == 0:
        hint = "Without a warm-up write the timescale."
        must = f"be given for `stable_fn={stable_fn!r}` if `warmup_t` is 0"
        refuse("stable_timescale", must, stable_timescale, hint)
    decay = _decay(decay_fn, decay_power, decay_ratio)

    def stable(s):
        if stable_fn == "constant":
            return jnp.maximum(as_float(lr), lr_min)
        tau = as_float(timescale)
        fraction = tau / (tau + s.astype(tau.dtype))
        p = as_float(stable_power)
        factor = jnp.sqrt(fraction) if stable_fn == "rsqrt" else fraction**p
        return jnp.maximum(as_float(lr) * factor, lr_min)

    def value(s):
        start = as_uint32(t_initial) - as_uint32(decay_t)
        begun = s > start
        inside = jnp.where(begun, s - start, 1)
        factor = decay(elapsed(inside, decay_t), remaining(inside, decay_t))
        return interpolate(lr_min, stable(s), jnp.where(begun, factor, 1))

    warm = warmed_up(value, lr, warmup_t, warmup_lr_init, True)
    return counted(warm, t_in_epochs, updates_per_epoch)


def _decay(
    decay_fn: Any, decay_power: Any, decay_ratio: Any
) -> Callable[[jax.Array, jax.Array], Any]:
    """The decay as a function of the elapsed fraction and of the remaining one."""
    if callable(decay_fn):
        check_traceable("decay_fn", decay_fn, float_dtype())
        return lambda x, r: decay_fn(x)

    def exponential(x, r):
        rho = as_float(decay_ratio)
        return rho * jnp.expm1(-r * log(decay_ratio)) / (1 - rho)

    shapes = {x: SHAPES[x] for x in ("linear", "1-sqrt", "cosine")}
    shapes["power"] = lambda x, r: one_minus_power_of_fraction(x, r, decay_power)
    shapes["exp"] = exponential
    if not isinstance(decay_fn, str) or decay_fn not in shapes:
        must = f"be one of {', '.join(map(repr, shapes))}, or a function"
        refuse("decay_fn", must, decay_fn)
    return shapes[decay_fn]
