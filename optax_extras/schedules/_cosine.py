"""Cosine decay."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import LAST_COUNT, as_phase, remaining
from optax_extras.schedules._curve import Schedule, between, cosine_share, schedule


def cosine(
    init_value: ArrayLike,
    decay_steps: int,
    end_value: ArrayLike = 0.0,
    *,
    periodic: bool = False,
) -> Schedule:
    r"""Half a cosine wave down to an end value, which then holds.

    PyTorch's ``CosineAnnealingLR`` climbs back after `T_max`, which is `periodic`;
    else this one stays, as Keras' and Optax's do (whose `alpha` is our ``end_value /
    init_value``). For the curve that starts anew see :func:`warm_restarts`; put
    :func:`warmup` before it.

    .. math::
        \eta_t = \eta_T + \tfrac12 (\eta_0 - \eta_T)
            \left(1 + \cos \frac{\pi \min(t, T)}{T}\right)

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_steps: Steps :math:`T` until the end value is reached, at least 0; at least
        1 in a periodic one.
      end_value: The value :math:`\eta_T` from step :math:`T` on.
      periodic: Whether the wave goes on, with period :math:`2 T`, :math:`t` in the
        place of :math:`\min(t, T)`.

    Returns:
      A schedule: step count -> value.

    Raises:
      ValueError: If `decay_steps` is out of range.
      TypeError: If `decay_steps` is no integer, `periodic` no bool, or a value no real
        number.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cosine(0.1, decay_steps=100)
      >>> [round(float(schedule(t)), 4) for t in (0, 50, 100)]
      [0.1, 0.05, 0.0]

    References:
      Loshchilov and Hutter, `SGDR <https://arxiv.org/abs/1608.03983>`_, 2017
    """
    init_value = _checks.real("cosine", "init_value", init_value)
    periodic = _checks.flag("cosine", "periodic", periodic)
    least = int(periodic)
    decay_steps = _checks.count("cosine", "decay_steps", decay_steps, at_least=least)
    end_value = _checks.real("cosine", "end_value", end_value)

    def value(t):
        place = _folded(t, decay_steps) if periodic else t
        return between(
            end_value, init_value, cosine_share(remaining(place, decay_steps))
        )

    return schedule("cosine", value)


def _folded(t, half):
    """The step up to `half` at which a wave of twice that period has the same value."""
    if isinstance(half, int) and half > LAST_COUNT:
        return t
    place = as_phase(t) % (2 * as_phase(half))
    return jnp.minimum(place, 2 * as_phase(half) - place).astype(np.int32)
