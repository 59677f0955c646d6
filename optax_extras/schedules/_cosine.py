"""Cosine decay."""

import jax.numpy as jnp
import numpy as np

from optax_extras._checks import Real, StepCountOrZero, checked
from optax_extras._numerics import LAST_COUNT, as_phase, remaining
from optax_extras._values import count
from optax_extras.schedules._curve import (
    Schedule,
    cosine_fraction,
    interpolate,
    schedule,
)


@checked
def cosine(
    init_value: Real,
    decay_steps: StepCountOrZero,
    end_value: Real = 0.0,
    *,
    periodic: bool = False,
) -> Schedule:
    r"""Half a cosine wave from a first value down to an end value, which then holds.

    Keras' ``CosineDecay`` and Optax's ``cosine_decay_schedule`` are the same curve,
    with ``alpha = end_value / init_value``. PyTorch's ``CosineAnnealingLR`` climbs back
    after its `T_max` steps, as this one does with ``periodic=True``. For a curve that
    jumps back and starts over see :func:`warm_restarts`; put :func:`warmup` before it.

    .. math::
        \eta_t = \eta_T + \tfrac12 (\eta_0 - \eta_T)
            \left(1 + \cos \frac{\pi \min(t, T)}{T}\right)

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_steps: The step :math:`T` at which the end value is reached, at least 0 (the
        end value from the start); at least 1 in a periodic one.
      end_value: The value :math:`\eta_T` at step :math:`T` and after it.
      periodic: Whether the wave goes on, with :math:`t` in the place of
        :math:`\min(t, T)`: back at :math:`\eta_0` at step :math:`2 T`, and so on.

    Returns:
      A schedule: step count -> value. Counts below 0 give the first value, counts past
      :math:`T` the end value, or, if periodic, the wave.

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
        fraction = cosine_fraction(remaining(place, decay_steps))
        return interpolate(end_value, init_value, fraction)

    return schedule(value)


def _folded(t, half):
    """The step up to `half` at which a wave of twice that period has the same value."""
    if isinstance(half, int) and half > LAST_COUNT:
        return t
    place = as_phase(t) % (2 * as_phase(half))
    return jnp.minimum(place, 2 * as_phase(half) - place).astype(np.int32)
