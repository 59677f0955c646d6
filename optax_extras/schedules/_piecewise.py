"""Schedules that are constant between given steps."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras._check_values import integral, is_traced, items, real, reals
from optax_extras._checks import Positive, Real, Reals, StepCount, StepCounts, checked
from optax_extras._errors import refuse
from optax_extras._numerics import as_float, as_uint32, float_dtype, power
from optax_extras.schedules._curve import Schedule, schedule


@checked
def piecewise_constant(values: Reals, boundaries: StepCounts) -> Schedule:
    r"""One value until the first boundary, the next until the second, and so on.

    It takes the values themselves, as Keras' ``PiecewiseConstantDecay`` does. Keras
    changes one step later: there a boundary is the last step of the old value, here the
    first step of the new one. Optax's ``piecewise_constant_schedule`` takes factors
    that accumulate, as :func:`multistep` does.

    .. math::
        \eta_t = v_k, \quad k = \#\{i : b_i \le t\}

    Args:
      values: The values :math:`v_0 \dots v_m`. The last one holds forever.
      boundaries: The steps :math:`b_1 \le \dots \le b_m` at which :math:`v_1 \dots v_m`
        begin. A value between equal boundaries is never used.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.piecewise_constant([0.1, 0.01, 0.001], [60, 80])
      >>> [round(float(schedule(t)), 4) for t in (0, 59, 60, 80)]
      [0.1, 0.1, 0.01, 0.001]
    """
    if len(values) != len(boundaries) + 1:
        must = f"have one item more than the {len(boundaries)} `boundaries`"
        refuse("values", must, values)
    return schedule(lambda t: _table(values)[_passed(t, boundaries)])


@checked
def step(init_value: Real, step_size: StepCount, factor: Positive = 0.1) -> Schedule:
    r"""Multiplies the learning rate by a factor every `step_size` steps, forever.

    The same as PyTorch's ``StepLR``, which is usually stepped once an epoch; here a
    step is an update. Use :func:`multistep` for factors at chosen steps and
    :func:`exponential` for a smooth curve through the same points.

    .. math::
        \eta_t = \eta_0\, \gamma^{\lfloor t / S \rfloor}

    Args:
      init_value: The first value :math:`\eta_0`.
      step_size: Steps :math:`S` between two changes; the first is at step :math:`S`.
      factor: The factor :math:`\gamma`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.step(0.1, step_size=30, factor=0.5)
      >>> [round(float(schedule(t)), 4) for t in (0, 29, 30, 60)]
      [0.1, 0.1, 0.05, 0.025]
    """

    def value(t):
        return as_float(init_value) * power(
            factor, as_uint32(t) // as_uint32(step_size)
        )

    return schedule(value)


@checked
def multistep(
    init_value: Real,
    milestones: StepCounts,
    factor: ArrayLike | Sequence[ArrayLike] = 0.1,
) -> Schedule:
    r"""Multiplies the learning rate by a factor at each milestone.

    The same as PyTorch's ``MultiStepLR``, which is usually stepped once an epoch; here
    a step is an update. With one factor for each milestone it is the same as Optax's
    ``piecewise_constant_schedule``. To give values, use :func:`piecewise_constant`.

    .. math::
        \eta_t = \eta_0 \prod_{i : b_i \le t} \gamma_i

    Args:
      init_value: The first value :math:`\eta_0`.
      milestones: The steps :math:`b_1 \le b_2 \le \dots`, each the first with the new
        value. A step that is listed twice multiplies twice.
      factor: :math:`\gamma > 0`, or a sequence with one for each milestone.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.multistep(0.1, milestones=[60, 80], factor=0.1)
      >>> [round(float(schedule(t)), 4) for t in (0, 59, 60, 80)]
      [0.1, 0.1, 0.01, 0.001]
    """
    if isinstance(factor, list | tuple) or getattr(factor, "ndim", 0) > 0:
        factors = reals("factor", factor, "(0, inf)")
    else:
        factors = [real("factor", factor, "(0, inf)")] * len(milestones)
    if len(factors) != len(milestones):
        must = f"be a number or have one item for each of the {len(milestones)} "
        refuse("factor", must + "`milestones`", factor)

    def value(t):
        return as_float(init_value) * _products(factors)[_passed(t, milestones)]

    return schedule(value)


def whole_steps(argument: str, xs: Any) -> list[Any]:
    """Numbers of steps that may be floats, such as 30.0, as in other libraries."""
    given = enumerate(items(argument, xs))
    return [integral(f"{argument}[{i}]", x, at_least=0) for i, x in given]


def _passed(t: jax.Array, boundaries: Any) -> jax.Array:
    """How many of the boundaries have been reached at t."""
    if not boundaries:
        return jnp.zeros_like(t)
    bounds = jnp.stack([as_uint32(b) for b in boundaries])
    bounds = jnp.expand_dims(bounds, range(t.ndim))
    return jnp.sum(as_uint32(t)[..., None] >= bounds, axis=-1, dtype=np.int32)


def _table(values: Any) -> jax.Array:
    """The values as one array; concrete ones as one constant of the program."""
    if any(map(is_traced, values)):
        return jnp.stack([as_float(v) for v in values])
    return jnp.asarray(np.array(values, np.float64), float_dtype())


def _products(factors: Any) -> jax.Array:
    """1, f_1, f_1 f_2, ...: multiplied in float64 if the factors are concrete."""
    if any(map(is_traced, factors)):
        return jnp.cumprod(_table([1.0, *factors]))
    return _table(list(np.cumprod([1.0, *factors], dtype=np.float64)))
