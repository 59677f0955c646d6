"""Keras' schedule-free AdamW."""

import optax

from optax_extras._checks import (
    Decay,
    Fraction,
    LearningRate,
    NonNegative,
    PositiveFraction,
    StepCount,
    StepCountOrZero,
    WeightDecay,
)
from optax_extras._optimizers.schedule_free import schedule_free_adamw
from optax_extras.keras import _unsupported
from optax_extras.keras._ema import with_ema
from optax_extras.keras._optimizers import or_zero


@_unsupported.other_optimizer
def ScheduleFreeAdamW(
    learning_rate: LearningRate = 0.0025,
    beta_1: PositiveFraction = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-8,
    warmup_steps: StepCountOrZero = 0,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""``keras.optimizers.ScheduleFreeAdamW``: train at y, evaluate the average x.

    The mean of all weights so far takes the place of a decay of the learning rate, so
    that a run needs no end. The params are y, between the mean and the last weights.
    Evaluate with x, which :func:`averaged` reads from the state::

        params_for_evaluation = oxe.averaged(state)

    Keras does not compute x, and evaluates with y. With `use_ema` there are two
    averages: ``oxe.averaged(state, "schedule_free")`` and
    ``oxe.averaged(state, "average")``, that of y.

    .. math::
        y &\leftarrow (1 - \eta_t \lambda)\, y, \qquad
            x \leftarrow (y - (1 - \beta_1)\, z) / \beta_1 \\
        v &\leftarrow \beta_2 v + (1 - \beta_2)\, g_t^2 \\
        z &\leftarrow z - \eta_t \min(1, t / W)\,
            \frac{g_t}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} \\
        x &\leftarrow (1 - 1 / t)\, x + z / t, \qquad
            y \leftarrow (1 - \beta_1)\, z + \beta_1 x

    at update :math:`t = 1, 2, \dots`. The weight decay acts on x alone, and all weights
    count equally in the mean. In the authors' code the weight decay is a part of the
    step of z, and weights count by the square of the learning rate, so that those of a
    warm-up count less; ``optax.contrib.schedule_free_adamw`` is close to it. At a
    constant learning rate, without warm-up and weight decay, all have the same numbers.

    The state holds x and z in float32 at least, also of half-precision params, which
    are y rounded; Keras and Optax compute x from y and z, and store one buffer less.
    Where something else changes the params, as a constraint or
    `ema_overwrite_frequency` does, x follows, as in Keras. A `beta_1` of 0, which makes
    every weight NaN in Keras, raises a ValueError.

    Args:
      learning_rate: The learning rate :math:`\eta_t`; :func:`learning_rate` reads it
        without the warm-up.
      beta_1: :math:`\beta_1`, the part of x in the params.
      beta_2: :math:`\beta_2`, the decay of the second moment.
      epsilon: :math:`\epsilon`, added to the denominator after its bias correction.
      warmup_steps: :math:`W`: over so many updates the steps of z rise linearly. The
        weight decay does not warm up.
      weight_decay: :math:`\lambda`. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.ScheduleFreeAdamW(learning_rate=0.0025, warmup_steps=100)

    References:
      Defazio et al., `The road less scheduled <https://arxiv.org/abs/2405.15682>`_,
      2024
    """
    tx = schedule_free_adamw(
        learning_rate, beta_1, beta_2, epsilon, warmup_steps, or_zero(weight_decay)
    )
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)
