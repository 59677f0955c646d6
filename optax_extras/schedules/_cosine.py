"""Cosine decay."""

import jax.numpy as jnp
import numpy as np

from optax_extras._check_values import count
from optax_extras._checks import Real, StepCountOrZero, checked
from optax_extras._numerics import LAST_COUNT, as_uint32, remaining
from optax_extras.schedules import _curve
from optax_extras.schedules._curve import Schedule


@checked
def cosine(
    init_value: Real,
    decay_steps: StepCountOrZero,
    end_value: Real = 0.0,
    *,
    periodic: bool = False,
) -> Schedule:
    r"""Falls (or rises) to an end value along half a cosine wave.

    Keras' ``CosineDecay`` and Optax's ``cosine_decay_schedule`` are the same curve,
    with ``alpha = end_value / init_value``. PyTorch's ``CosineAnnealingLR`` climbs back
    after its `T_max` steps, as this one does with ``periodic=True``. To jump back and
    start over use :func:`warm_restarts`; for a linear rise first, :func:`warmup`.

    .. math::
        \eta_t = \eta_T + \tfrac12 (\eta_0 - \eta_T)
            \left(1 + \cos \frac{\pi \min(t, T)}{T}\right)

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_steps: The number of steps :math:`T` after which the end value is reached.
        0: it is the end value from the start (refused with `periodic`).
      end_value: The value :math:`\eta_T` from step :math:`T` on.
      periodic: Continue the wave after :math:`T` instead of holding the end value: use
        :math:`t` for :math:`\min(t, T)`. Step :math:`2 T` is back at :math:`\eta_0`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cosine(0.1, decay_steps=100)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100)]
      [0.1, 0.05, 0.0]

    References:
      Loshchilov and Hutter, `SGDR: Stochastic gradient descent with warm restarts
      <https://arxiv.org/abs/1608.03983>`_, 2017
    """
    if periodic:
        count("decay_steps", decay_steps)

    def value(t):
        place = _folded(t, decay_steps) if periodic else t
        fraction = _curve.cosine_fraction(remaining(place, decay_steps))
        return _curve.interpolate(end_value, init_value, fraction)

    first_value = _curve.if_no_steps(init_value, decay_steps)
    return _curve.schedule(value, first_value=first_value)


def _folded(t, half):
    """The step in [0, half] where a wave of period 2 `half` has the value of step t."""
    if isinstance(half, int) and half > LAST_COUNT:
        return t
    place = as_uint32(t) % (2 * as_uint32(half))
    return jnp.minimum(place, 2 * as_uint32(half) - place).astype(np.int32)
