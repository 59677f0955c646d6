"""How Keras puts an optimizer together: the weights decay apart from the gradient."""

import optax
from jax.typing import ArrayLike

from optax_extras import rules
from optax_extras._kernel._decay_and_rate import (
    add_decay_with_inner_rate,
    chain_decay_and_rate,
)
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by_source


def build(
    direction: optax.GradientTransformation,
    learning_rate: ArrayLike | optax.Schedule,
    weight_decay: ArrayLike | None,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of a direction."""
    return chain_decay_and_rate(direction, learning_rate, or_zero(weight_decay))


def with_velocity(
    direction: optax.GradientTransformation,
    learning_rate: ArrayLike | optax.Schedule,
    momentum: ArrayLike,
    weight_decay: ArrayLike | None,
) -> optax.GradientTransformationExtraArgs:
    """The same with momentum: steps are gathered with the rate that they were made."""
    velocity = scale_by_moments(rules.momentum(momentum))
    rate = scale_by_source(as_rate("learning_rate", learning_rate))
    tx = optax.chain(direction, rate, velocity)
    return add_decay_with_inner_rate(tx, or_zero(weight_decay))


def or_zero(weight_decay: ArrayLike | None) -> ArrayLike:
    """A decay of None is none."""
    return 0.0 if weight_decay is None else weight_decay
