"""Keras' Adafactor."""

from typing import Any

import jax
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
from optax_extras._kernel._map_leaves import map_leaves, require_params
from optax_extras._kernel._weight_decay import decay_first
from optax_extras._learning_rates._sources_by_path import rate_source
from optax_extras._numerics import along_first_axis, upcast_half, with_updates
from optax_extras._optimizers.adafactor import adafactor
from optax_extras._types import Params, State, Updates
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
      ema_overwrite_frequency: Every so many updates the params become the average.
        None: never.

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
    rate = rate_source("learning_rate", learning_rate)
    tx = decay_first(tx.init, _of_decayed(tx), rate, or_zero(weight_decay))
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


def _of_decayed(tx: Any) -> Any:
    """The update of an optimizer that gets the params after their decay."""

    def decayed(w: Any, decay: Any) -> tuple[Any, Any]:
        return w - along_first_axis(decay, w) * w, decay

    def added(u: Any, decay: Any, w: Any) -> tuple[Any, Any, Any]:
        return u - along_first_axis(decay, w) * w, decay, w

    def update(updates: Updates, state: State, params: Params, decays: Any, **extra):
        require_params(updates, params)
        params = jax.tree.map(upcast_half, with_updates(updates, params))
        smaller, _ = map_leaves(decayed, params, decays)
        us, state = tx.update(updates, state, smaller, **extra)
        return map_leaves(added, us, decays, params)[0], state

    return update
