"""Keras' Adafactor."""

from typing import Any

import optax

from optax_extras._checks import (
    AtLeastOne,
    Fraction,
    LearningRate,
    NonNegative,
    NonPositive,
    StepCount,
    WeightDecay,
)
from optax_extras._kernel._assemble import decay_before
from optax_extras._optimizers.adafactor import adafactor
from optax_extras.keras import _unsupported
from optax_extras.keras._ema import with_ema
from optax_extras.keras._optimizers import or_zero


@_unsupported.other_optimizer
def Adafactor(
    learning_rate: LearningRate = 0.001,
    beta_2_decay: NonPositive = -0.8,
    epsilon_1: NonNegative = 1e-30,
    epsilon_2: NonNegative = 1e-3,
    clip_threshold: AtLeastOne = 1.0,
    relative_step: bool = True,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Adafactor``: :func:`adafactor` with ``eps_in_square=True``.

    The size of a step is relative to that of the weights after their decay; in
    :func:`adafactor` and PyTorch it is that before. `relative_step` changes nothing, as
    in Keras: with and without it the learning rate is at most ``t ** -0.5`` at update
    t = 1, 2, ... Keras also accepts a `clip_threshold` below 1, which raises a
    ValueError here. ``update`` needs the params.

    Keras stores a second moment of every weight that it does not need; here a matrix
    has a number for each row and each column only.

    Args:
      learning_rate: The learning rate, relative to the size of the weights.
      beta_2_decay: The weight of new squares in the average is ``t ** beta_2_decay``.
      epsilon_1: Added to the square of every gradient.
      epsilon_2: The smallest root mean square of a leaf's weights that scales its step,
        so that weights of 0 move too.
      clip_threshold: The largest root mean square of an update before the learning rate
        multiplies it.
      relative_step: Without effect.
      weight_decay: Decoupled weight decay: before each update, learning rate times
        weight decay times params is subtracted. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Adafactor(learning_rate=0.01)
    """
    del relative_step
    power: Any = beta_2_decay
    tx = adafactor(
        learning_rate,
        -power,
        eps=epsilon_1,
        eps_in_square=True,
        min_scale=epsilon_2,
        clipping_threshold=clip_threshold,
    )
    tx = decay_before(tx, learning_rate, or_zero(weight_decay), lambda state: state)
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)
