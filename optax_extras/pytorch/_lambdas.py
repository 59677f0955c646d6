"""PyTorch's schedulers made of functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._checks import NonNegative, StepCount
from optax_extras._errors import refuse_kind
from optax_extras._numerics import as_float, float_dtype
from optax_extras._values import concrete, is_traced, real
from optax_extras.pytorch import _unsupported
from optax_extras.schedules._curve import Schedule, schedule


@_unsupported.scheduler
def LambdaLR(lr: NonNegative, lr_lambda: Callable[[Any], ArrayLike]) -> Schedule:
    r"""PyTorch's ``LambdaLR``: :math:`\eta_t = \eta_0 f(t)`.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      lr_lambda: The function :math:`f` of the number of updates made, an integer array
        of any shape. It must be traceable by JAX and work elementwise: `jnp.where` in
        the place of ``if``, `jnp.exp` in the place of `math.exp`.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.pytorch.LambdaLR(0.1, lambda t: 0.5 ** (t // 10))
      >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20)]
      [0.1, 0.1, 0.05, 0.025]
    """
    try:
        found = jax.eval_shape(lr_lambda, jax.ShapeDtypeStruct((), _widest_int()))
    except jax.errors.JAXTypeError:
        must = "be traceable by JAX (`jnp.where`, not `if`; `jnp.exp`, not `math.exp`)"
        refuse_kind("lr_lambda", must, lr_lambda)
    if getattr(found, "shape", None) != ():
        refuse_kind("lr_lambda", "return a scalar", lr_lambda)

    def factor(t):
        return as_float(lr_lambda(t.astype(_widest_int())))

    return schedules.product(lr, factor)


def _widest_int() -> np.dtype:
    """int64 under x64, where the quotient of an int32 and a number is a float32."""
    return jax.dtypes.canonicalize_dtype(np.int64)


@_unsupported.scheduler
def MultiplicativeLR(
    lr: NonNegative, lr_lambda: Callable[[int], float], *, total_steps: StepCount
) -> Schedule:
    r"""PyTorch's ``MultiplicativeLR``: a factor for every step.

    .. math::
        \eta_t = \eta_0 \prod_{i=1}^{\min(t, T - 1)} f(i)

    The function is called, and the products are made in float64, when the schedule is
    made; later they are looked up. `lr` may be traced. From step :math:`T` on PyTorch's
    goes on multiplying; here the last value holds. As a later part of a
    ``SequentialLR`` PyTorch's goes on from the rate it finds; ours begins at its own
    `lr`, as all the others do.

    Args:
      lr: The base rate :math:`\eta_0 \ge 0`, a number.
      lr_lambda: The function :math:`f`, to a real number, called with the Python
        integers from 1 to :math:`T - 1`.
      total_steps: Updates :math:`T \ge 1` of the run, a concrete integer. PyTorch has
        no such argument.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> halve = lambda t: 0.5 if t % 10 == 0 else 1.0
      >>> schedule = oxe.pytorch.MultiplicativeLR(0.1, halve, total_steps=30)
      >>> [round(float(schedule(t)), 4) for t in (0, 9, 10, 20, 100)]
      [0.1, 0.1, 0.05, 0.025, 0.025]
    """
    if is_traced(total_steps):
        refuse_kind("total_steps", "be concrete", total_steps)
    steps = range(1, concrete(total_steps))
    factors = [real(f"lr_lambda({t})", lr_lambda(t)) for t in steps]
    table = np.cumprod([1.0, *map(float, factors)])

    def value(t):
        products = jnp.asarray(table, float_dtype())
        return as_float(lr) * products[jnp.minimum(t, len(factors))]

    return schedule(value)
