"""Decays like one over the time, and like one over its square root."""

import jax.numpy as jnp

from optax_extras._checks import NonNegative, Positive, Real, StepCount, checked
from optax_extras._numerics import as_float, as_uint32, float_dtype
from optax_extras.schedules._curve import Schedule, schedule


@checked
def inverse_time(
    init_value: Real,
    decay_rate: NonNegative,
    transition_steps: StepCount = 1,
    *,
    staircase: bool = False,
) -> Schedule:
    r"""Decays like one over the time: fast at first, then ever slower, never to zero.

    The same as Keras' ``InverseTimeDecay`` and the `lr_decay` of PyTorch's ``Adagrad``;
    Optax has none. In the end, :func:`exponential` falls faster and
    :func:`inverse_sqrt` slower.

    .. math::
        \eta_t = \frac{\eta_0}{1 + \beta\, t / N}

    Args:
      init_value: The first value :math:`\eta_0`.
      decay_rate: :math:`\beta`. The value has halved after :math:`N / \beta` steps.
      transition_steps: The unit of time :math:`N`, in steps.
      staircase: Round :math:`t / N` down: change only every `transition_steps`.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.inverse_time(0.1, 1.0, transition_steps=10)
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 30)]
      [0.1, 0.05, 0.025]
    """

    def value(t):
        if staircase:
            time = (as_uint32(t) // as_uint32(transition_steps)).astype(float_dtype())
        else:
            time = t.astype(float_dtype()) / as_float(transition_steps)
        return as_float(init_value) / (1 + as_float(decay_rate) * time)

    return schedule(value)


@checked
def inverse_sqrt(peak_value: Real, timescale: Positive) -> Schedule:
    r"""Decays like one over the square root of the time, forever.

    This is the decay of the Transformer and of T5 without their warm-up.
    ``warmup(W, inverse_sqrt(peak, W))`` adds it: a linear rise to the peak at step
    :math:`W`, then :math:`\eta \sqrt{W / t}`. The result is the "Noam" schedule, but
    with the peak as an argument instead of the model's width, and with steps counted
    from 0 where the paper counts from 1. Unlike :func:`cosine`, this decay does not
    need the length of the run.

    .. math::
        \eta_t = \eta \sqrt{\frac{\tau}{\tau + t}}

    Args:
      peak_value: The first value :math:`\eta`.
      timescale: :math:`\tau`, in steps: after :math:`3 \tau`, half the value is left.

    Examples:
      >>> import optax_extras as oxe
      >>> decay = oxe.schedules.inverse_sqrt(1e-3, timescale=4000)
      >>> schedule = oxe.schedules.warmup(4000, decay)
      >>> [round(float(schedule(t)), 6) for t in (0, 2000, 4000, 16000)]
      [0.0, 0.0005, 0.001, 0.0005]

    References:
      Vaswani et al., `Attention is all you need <https://arxiv.org/abs/1706.03762>`_,
      2017;
      Raffel et al., `Exploring the limits of transfer learning with a unified
      text-to-text transformer <https://arxiv.org/abs/1910.10683>`_, 2020
    """

    def value(t):
        tau = as_float(timescale)
        return as_float(peak_value) * jnp.sqrt(tau / (tau + t.astype(tau.dtype)))

    return schedule(value)
