"""The exponential moving average."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._check_values import returned
from optax_extras._checks import DecayOrSchedule, StepCount, StepCountOrZero, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._numerics import as_float, one_minus_power
from optax_extras.averages._average import Average
from optax_extras.averages._phases import average_of, one_minus


@checked
def ema(
    decay: DecayOrSchedule,
    *,
    debias: bool = False,
    include_init: bool = False,
    start: StepCountOrZero = 0,
    every: StepCount = 1,
) -> Average:
    r"""The exponential moving average: the last :math:`1 / (1 - \beta)` weights or so.

    It follows the weights at a fixed distance, however long the training is, and needs
    no horizon. :func:`power` keeps a fixed fraction of the training instead,
    :func:`uniform` all of it. By default the first weights are copied, and keep the
    weight :math:`\beta^{n-1}` after :math:`n` snapshots, as in PyTorch
    (``get_ema_multi_avg_fn``) and in Keras (``use_ema``). With a large `decay` they
    count too much for the first :math:`1 / (1 - \beta)` updates; `debias` or a warm-up
    of `decay` (:func:`warmup`, :func:`num_updates_warmup`) helps.

    With :math:`\beta` (`decay`), for the :math:`n`-th snapshot:

    .. math::
        c_1 = 1, \qquad c_n = 1 - \beta

    With `debias`, Adam's correction: :math:`c_n = (1 - \beta) / (1 - \beta^n)`, so that
    snapshot :math:`i` has a weight in proportion to :math:`\beta^{n-i}`. With
    `include_init`, :math:`c_1 = 1 - \beta`, too: the initial params take part, and keep
    the weight :math:`\beta^n`, as in kauldron.

    Args:
      decay: :math:`\beta`, a number, or a function of the number of snapshots already
        taken: 0 at the first one, which is copied all the same unless `include_init`.
      debias: Whether to weight the first snapshot like all others. Refused together
        with `include_init`, and with a function.
      include_init: Whether the initial params are part of the average. After a `start`,
        the weights after update `start` are, instead of them.
      start: The number of updates before the average begins; until then it is a copy of
        the weights.
      every: The number of updates from one snapshot to the next. The first is taken
        after update ``start + every``; until then the average is a copy of the weights,
        with `include_init` of those after update `start`.

    Returns:
      An :class:`Average`, for ``oxe.with_average``.

    Examples:
      >>> import optax_extras as oxe
      >>> average = oxe.averages.ema(0.9)
      >>> [round(float(average.weight(t)), 3) for t in (1, 2, 3)]
      [1.0, 0.1, 0.1]
      >>> average = oxe.averages.ema(0.9, debias=True)
      >>> [round(float(average.weight(t)), 3) for t in (1, 2, 3)]
      [1.0, 0.526, 0.369]

    References:
      Polyak and Juditsky, `Acceleration of stochastic approximation by averaging
      <https://doi.org/10.1137/0330046>`_, 1992
    """
    if isinstance(decay, optax.schedules.StatefulSchedule):
        refuse_kind("decay", "be a number or a function of the count alone", decay)
    if debias and include_init:
        hint = "It removes the initial params, which `include_init` keeps."
        refuse("debias", "be False with `include_init`", debias, hint)
    if debias and callable(decay):
        hint = "A warm-up needs no correction."
        refuse("debias", "be False if `decay` is a function", debias, hint)

    def weight(n: jax.Array) -> jax.Array:
        if debias:
            c = one_minus(decay) / one_minus_power(decay, n)
        else:
            c = _complement(decay, n - 1) if callable(decay) else one_minus(decay)
        return c if include_init else jnp.where(n == 1, 1, c)

    return average_of(weight, start, every, keeps_first=include_init)


def _complement(decay: Any, k: jax.Array) -> jax.Array:
    """1 - decay(k). Our warm-ups know it without cancellation."""
    if hasattr(decay, "complement"):
        return decay.complement(k)
    return 1 - as_float(returned("decay", decay, decay(k)))
