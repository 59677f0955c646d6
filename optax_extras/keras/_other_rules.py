"""Keras' Lion, Ftrl and Lamb."""

from typing import Any

import optax

from optax_extras import rules
from optax_extras._checks import (
    Decay,
    Fraction,
    LearningRate,
    NonNegative,
    NonPositive,
    PositiveFraction,
    StepCount,
    WeightDecay,
)
from optax_extras._kernel._assemble import chain_decay_and_rate, decay_before
from optax_extras._kernel._map_leaves import map_leaves, require_params
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._sources_by_path import rate_source
from optax_extras._learning_rates.scale_by_rate import scale_by_source
from optax_extras._leaves import with_updates
from optax_extras._optimizers.ftrl import ftrl
from optax_extras._optimizers.lion import scale_by_lion
from optax_extras._types import Params, State, Updates
from optax_extras.keras import _unsupported
from optax_extras.keras._ema import with_ema
from optax_extras.keras._optimizers import or_zero


@_unsupported.other_optimizer
def Lion(
    learning_rate: LearningRate = 0.001,
    beta_1: PositiveFraction = 0.9,
    beta_2: Decay = 0.99,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Lion``: :func:`lion`, without weight decay by default.

    Args:
      learning_rate: The learning rate. Every weight moves by it, whatever the size of
        its gradient, so it should be 3 to 10 times smaller than Adam's.
      beta_1: How much of the average of the gradients is in the direction.
      beta_2: The decay of the average.
      weight_decay: Decoupled weight decay, times the learning rate. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Lion(learning_rate=1e-4)
    """
    direction = scale_by_lion(beta_1, beta_2)
    tx = chain_decay_and_rate(direction, learning_rate, or_zero(weight_decay))
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


@_unsupported.other_optimizer
def Ftrl(
    learning_rate: LearningRate = 0.001,
    learning_rate_power: NonPositive = -0.5,
    initial_accumulator_value: NonNegative = 0.1,
    l1_regularization_strength: NonNegative = 0.0,
    l2_regularization_strength: NonNegative = 0.0,
    l2_shrinkage_regularization_strength: NonNegative = 0.0,
    beta: NonNegative = 0.0,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Ftrl``: :func:`ftrl` with ``from_sums=True``.

    As in Keras each update computes the weights from sums: the first one moves them
    most of the way to 0, and when the learning rate falls, they shrink. :func:`ftrl`
    does neither by default. Where Keras divides 0 by 0, or infinity by infinity,
    weights become NaN. Here they do not move at a learning rate of 0 and after a square
    has overflowed, and become 0 if all their gradients have been 0 and `beta`, the L2
    penalty and the initial sum are 0. A negative `beta`, which Keras accepts, raises a
    ValueError.

    Args:
      learning_rate: The learning rate.
      learning_rate_power: Minus the power of the sum of squares, at most 0. 0: the
        learning rate is the same for all weights.
      initial_accumulator_value: The initial sum of squares.
      l1_regularization_strength: The L1 penalty, which makes weights exactly 0.
      l2_regularization_strength: The L2 penalty, which counts once, not once an update.
      l2_shrinkage_regularization_strength: An L2 penalty in the loss: twice as much
        times the params is added to the gradient.
      beta: Added to the root of the sum of squares.
      weight_decay: The params are first multiplied by 1 - learning rate times weight
        decay. It has little effect, because the sums do not contain it. None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Ftrl(0.1, l1_regularization_strength=1e-3)
    """
    power: Any = learning_rate_power
    l2: Any = l2_regularization_strength
    inner = ftrl(
        learning_rate,
        beta,
        l1_regularization_strength,
        2 * l2,
        power=-power,
        initial_accumulator_value=initial_accumulator_value,
        l2_shrinkage=l2_shrinkage_regularization_strength,
        from_sums=True,
    )
    tx = decay_before(inner, learning_rate, or_zero(weight_decay), lambda state: state)
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


@_unsupported.optimizer
def Lamb(
    learning_rate: LearningRate = 0.001,
    beta_1: Decay = 0.9,
    beta_2: Decay = 0.999,
    epsilon: NonNegative = 1e-7,
    weight_decay: WeightDecay | None = None,
    *,
    use_ema: bool = False,
    ema_momentum: Fraction = 0.99,
    ema_overwrite_frequency: StepCount | None = None,
) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.Lamb``: Adam, with steps as long as a fraction of each leaf.

    The direction of `rules.adam` is multiplied by the norm of the params over its own
    norm, leaf by leaf; by 1 if one of them is 0. So a leaf moves by the learning rate
    times its norm. Prefer it to Adam for very large batches. ``optax.lamb`` adds the
    weight decay to the direction before its norm is taken, as in the paper; Keras does
    not. Its epsilon is 1e-6, and here it is 1e-7.

    Inside ``jax.shard_map`` every device needs complete leaves, because the norms are
    not taken over devices. Under ``jax.jit`` leaves may be sharded.

    Args:
      learning_rate: The learning rate, relative to the norm of each leaf.
      beta_1: The decay of the first moment.
      beta_2: The decay of the second moment.
      epsilon: Added to the denominator after its bias correction.
      weight_decay: Decoupled weight decay: the params are first multiplied by 1 -
        learning rate times weight decay, and the norms are those of the decayed params.
        None: no decay.
      use_ema: Keep an average of the params, which :func:`averaged` reads.
      ema_momentum: The decay of the average.
      ema_overwrite_frequency: Copy it to the params every so many updates. None: never.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.keras.Lamb(learning_rate=1e-2)
    """
    direction = scale_by_moments(rules.adam(beta_1, beta_2, epsilon))
    rate = scale_by_source(rate_source("learning_rate", learning_rate))
    inner = optax.chain(direction, _scale_by_trust_ratio(), rate)
    decay = or_zero(weight_decay)
    tx = decay_before(inner, learning_rate, decay, lambda state: state[-1])
    return with_ema(tx, use_ema, ema_momentum, ema_overwrite_frequency)


def _scale_by_trust_ratio() -> optax.GradientTransformationExtraArgs:
    """Optax's, with norms in float32 at least, also beside leaves without gradient."""
    inner = optax.scale_by_trust_ratio()

    def leaf(u: Any, w: Any) -> tuple[Any]:
        return (inner.update(u, optax.EmptyState(), w)[0],)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del extra
        require_params(updates, params)
        (us,) = map_leaves(leaf, updates, inputs=(with_updates(updates, params),))
        return us, state

    return optax.GradientTransformationExtraArgs(inner.init, update)
