"""Rates that stay put and change at given steps."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import as_float, as_phase, float_dtype, power
from optax_extras.schedules._curve import Schedule, schedule


def piecewise_constant(
    values: Sequence[ArrayLike], boundaries: Sequence[ArrayLike]
) -> Schedule:
    r"""One value until the first boundary, the next until the second, and so on.

    Optax's ``piecewise_constant_schedule`` takes factors that accumulate (ours of that
    kind is :func:`multistep`); this one takes the values themselves, as Keras'
    ``PiecewiseConstantDecay`` does. Keras changes one step later: there a boundary is
    the last step of the old value, here it is the first step of the new one.

    .. math::
        \eta_t = v_k, \quad k = \#\{i : b_i \le t\}

    Args:
      values: The values :math:`v_0 \dots v_m`, one more than there are boundaries.
      boundaries: The steps :math:`b_1 \le \dots \le b_m`, integers >= 0. Of equal
        ones the last counts: the value between them is never used.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0; the last value
      holds for ever.

    Raises:
      ValueError: If the lengths do not match, a boundary is negative, the boundaries
        are not sorted, or a value is not finite.
      TypeError: If a value is no real number, a boundary no integer, or one of the two
        arguments no sequence.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.piecewise_constant([0.1, 0.01, 0.001], [60, 80])
      >>> [round(float(schedule(t)), 4) for t in (0, 59, 60, 80)]
      [0.1, 0.1, 0.01, 0.001]
    """
    rule = "piecewise_constant"
    values = _checks.reals(rule, "values", values)
    boundaries = _checks.counts(rule, "boundaries", boundaries)
    if len(values) != len(boundaries) + 1:
        must = f"have one item more than the {len(boundaries)} `boundaries`"
        _checks.refuse(rule, "values", must, values)
    return schedule(rule, lambda t: _table(values)[_passed(t, boundaries)])


def step(init_value: ArrayLike, step_size: int, factor: ArrayLike = 0.1) -> Schedule:
    r"""Multiplies the rate by a factor every so many steps.

    PyTorch's ``StepLR``, which is usually stepped once an epoch; here a step is an
    update. For factors at chosen steps see :func:`multistep`, for a smooth curve
    through the same points :func:`exponential`.

    .. math::
        \eta_t = \eta_0\, \gamma^{\lfloor t / S \rfloor}

    Args:
      init_value: The first value :math:`\eta_0`.
      step_size: Steps between two changes, :math:`S \ge 1`; the first one is at step
        :math:`S`.
      factor: The factor :math:`\gamma > 0`.

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value; it never
      ends.

    Raises:
      ValueError: If `step_size` or `factor` is out of range, or a value not finite.
      TypeError: If `step_size` is no integer, or a value no real number.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.step(0.1, step_size=30, factor=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 29, 30, 60)]
      [0.1, 0.1, 0.05, 0.025]
    """
    init_value = _checks.real("step", "init_value", init_value)
    step_size = _checks.count("step", "step_size", step_size)
    factor = _checks.real("step", "factor", factor, "(0, inf)")

    def value(t):
        return as_float(init_value) * power(factor, as_phase(t) // as_phase(step_size))

    return schedule("step", value)


def multistep(
    init_value: ArrayLike,
    milestones: Sequence[ArrayLike],
    factor: ArrayLike | Sequence[ArrayLike] = 0.1,
) -> Schedule:
    r"""Multiplies the rate by a factor at each milestone.

    PyTorch's ``MultiStepLR``, which is usually stepped once an epoch; here a step is an
    update. With one factor for each milestone it is Optax's
    ``piecewise_constant_schedule``. To give values instead of factors see
    :func:`piecewise_constant`.

    .. math::
        \eta_t = \eta_0 \prod_{i : b_i \le t} \gamma_i

    Args:
      init_value: The first value :math:`\eta_0`.
      milestones: The steps :math:`b_1 \le b_2 \le \dots`, integers >= 0, each the first
        one with the new value. A step that is named twice multiplies twice.
      factor: :math:`\gamma > 0`, or a sequence with one for each milestone.

    Returns:
      A schedule: step count -> value. Counts below 0 are taken as 0; after the last
      milestone the value holds for ever.

    Raises:
      ValueError: If a milestone is negative, the milestones are not sorted, the lengths
        do not match, a factor is not above 0, or a value not finite.
      TypeError: If a milestone is no integer, a value no real number, or `milestones`
        no sequence.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.multistep(0.1, milestones=[60, 80], factor=0.1)
      >>> [round(float(schedule(t)), 4) for t in (0, 59, 60, 80)]
      [0.1, 0.1, 0.01, 0.001]
    """
    rule = "multistep"
    init_value = _checks.real(rule, "init_value", init_value)
    milestones = _checks.counts(rule, "milestones", milestones)
    if isinstance(factor, list | tuple) or getattr(factor, "ndim", 0) > 0:
        factors = _checks.reals(rule, "factor", factor, "(0, inf)")
    else:
        factor = _checks.real(rule, "factor", factor, "(0, inf)")
        factors = [factor] * len(milestones)
    if len(factors) != len(milestones):
        must = f"be one number or one for each of the {len(milestones)} `milestones`"
        _checks.refuse(rule, "factor", must, factor)

    def value(t):
        products = _products(factors)
        return as_float(init_value) * products[_passed(t, milestones)]

    return schedule(rule, value)


def _passed(t: jax.Array, boundaries: list[Any]) -> jax.Array:
    """How many of the boundaries have been reached at t."""
    if not boundaries:
        return jnp.zeros_like(t)
    bounds = jnp.stack([as_phase(b) for b in boundaries])
    bounds = jnp.expand_dims(bounds, range(t.ndim))
    return jnp.sum(as_phase(t)[..., None] >= bounds, axis=-1, dtype=np.int32)


def _table(values: list[Any]) -> jax.Array:
    """The values as one array; concrete ones as one constant of the program."""
    if any(map(_checks.is_traced, values)):
        return jnp.stack([as_float(v) for v in values])
    return jnp.asarray(np.array(values, np.float64), float_dtype())


def _products(factors: list[Any]) -> jax.Array:
    """1, f_1, f_1 f_2, ...: of concrete factors in float64."""
    if any(map(_checks.is_traced, factors)):
        return jnp.cumprod(_table([1.0, *factors]))
    return _table(list(np.cumprod([1.0, *factors], dtype=np.float64)))
