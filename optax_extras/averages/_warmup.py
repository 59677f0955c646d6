"""Decays of an exponential moving average that begin small."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from optax_extras._check_values import concrete, is_traced
from optax_extras._checks import Decay, Positive, checked
from optax_extras._errors import refuse
from optax_extras._numerics import as_count, as_float, float_dtype
from optax_extras.averages._phases import one_minus

DecaySchedule = Callable[[ArrayLike], jax.Array]


@checked
def warmup(
    decay: Decay,
    *,
    power: Positive = 2 / 3,
    gamma: Positive = 1.0,
    min_decay: Decay = 0.0,
) -> DecaySchedule:
    r"""A decay for :func:`ema` that rises to its final value by a power of the count.

    While it rises, the average spans a number of updates that grows with them, so that
    the first weights are forgotten. The numbers of ema-pytorch, of timm's
    ``ModelEmaV3`` and of diffusers' ``EMAModel`` (with ``use_ema_warmup``, whose power
    is 2/3 and inverse gamma 1, too).

    With the number of snapshots already taken :math:`k`, :math:`p` (`power`) and
    :math:`\gamma`:

    .. math::
        \beta_0 = 0, \qquad
        \beta_k = \min(\beta, \max(\beta_{min}, 1 - (1 + k / \gamma)^{-p}))

    Their count of updates is one larger: ``step - update_after_step - 1`` is :math:`k`,
    and ``update_after_step`` is the `start` of :func:`ema`. Their :math:`k` counts
    updates, not snapshots, also where ema-pytorch's `update_every` is above 1. Its
    default is 10, which copies after updates 1, 11, 21, ...: give it 1 to compare.

    Args:
      decay: The final :math:`\beta`.
      power: :math:`p`. With 2/3 the decay reaches 0.999 after 31,600 snapshots, with
        3/4 after 10,000.
      gamma: :math:`\gamma`, a number of snapshots: the decay rises later if it is
        larger. ema-pytorch calls it ``inv_gamma``.
      min_decay: :math:`\beta_{min}`, the least decay after the first snapshot.

    Returns:
      A function of the number of snapshots already taken.

    Examples:
      >>> import optax_extras as oxe
      >>> decay = oxe.averages.warmup(0.999)
      >>> [round(float(decay(k)), 3) for k in (0, 1, 10, 100_000)]
      [0.0, 0.37, 0.798, 0.999]
      >>> average = oxe.averages.ema(decay)
    """
    are_known = not (is_traced(decay) or is_traced(min_decay))
    if are_known and concrete(min_decay) > concrete(decay):
        refuse("min_decay", f"be at most the decay, {decay}", min_decay)

    def complement(k: ArrayLike) -> jax.Array:
        count = as_count(k)
        base = 1 + count.astype(float_dtype()) / as_float(gamma)
        left = jnp.power(base, -as_float(power))
        left = jnp.clip(left, one_minus(decay), one_minus(min_decay))
        return jnp.where(count == 0, 1, left)

    return _decay_of(complement)


@checked
def num_updates_warmup(decay: Decay) -> DecaySchedule:
    r"""A decay for :func:`ema` that rises as TensorFlow's does with ``num_updates``.

    It rises faster than :func:`warmup`: the average always spans about a ninth of the
    updates before it.

    With the number :math:`t = 1, 2, \dots` of the snapshot:

    .. math::
        \beta_t = \min\left(\beta, \frac{1 + t}{10 + t}\right)

    The count is that of kauldron's ``ema_params`` and of Stable Diffusion's ``LitEma``,
    whose first update has :math:`t = 1`. Both begin with the initial params: write
    ``ema(num_updates_warmup(0.999), include_init=True)``. diffusers copies the first
    weights, and has :math:`t = 1` at the second update.

    Args:
      decay: The final :math:`\beta`.

    Returns:
      A function of the number of snapshots already taken, :math:`t - 1`.

    Examples:
      >>> import optax_extras as oxe
      >>> decay = oxe.averages.num_updates_warmup(0.999)
      >>> [round(float(decay(k)), 3) for k in (0, 1, 100, 10_000)]
      [0.182, 0.25, 0.919, 0.999]
      >>> average = oxe.averages.ema(decay, include_init=True)
    """

    def complement(k: ArrayLike) -> jax.Array:
        left = 9 / (as_count(k).astype(float_dtype()) + 11)
        return jnp.maximum(left, one_minus(decay))

    return _decay_of(complement)


def _decay_of(complement: DecaySchedule) -> Any:
    """The decay, with what `ema` uses: 1 minus the decay, which has all its digits."""

    def decay(k: ArrayLike) -> jax.Array:
        return 1 - complement(k)

    vars(decay)["complement"] = complement
    return decay
