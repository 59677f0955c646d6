"""How PyTorch composes a direction, the weight decay and the learning rate."""

from typing import Any

import optax
from jax.typing import ArrayLike

from optax_extras._groups._freeze import freeze
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._weight_decay import add_decayed_weights
from optax_extras._learning_rates._sources_by_path import rate_source
from optax_extras._learning_rates.scale_by_rate import scale_by_source


def build(
    direction: optax.GradientTransformation,
    lr: ArrayLike | optax.Schedule,
    weight_decay: Any,
    decoupled: bool = False,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer from a direction, with L2 or decoupled weight decay."""
    if decoupled:
        return maximized(chain_decay_and_rate(direction, lr, weight_decay), maximize)
    rate = scale_by_source(rate_source("lr", lr))
    tx = optax.chain(add_decayed_weights(weight_decay), direction, rate)
    return maximized(freeze(in_float32(tx), lr), maximize)


def maximized(
    tx: optax.GradientTransformationExtraArgs, maximize: bool
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, with negated gradients if `maximize` is set."""
    return optax.chain(optax.scale(-1.0), tx) if maximize else tx
