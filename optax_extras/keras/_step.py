"""How Keras puts an optimizer together: the weights decay apart from the gradient."""

from typing import Any

import optax

from optax_extras import _checks
from optax_extras._kernel._decay import decayed, descend
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by
from optax_extras._optimizers.sgd import momentum_rule

_RANGES = {
    "beta_1": "[0, 1)",
    "beta_2": "[0, 1)",
    "epsilon": "[0, inf)",
    "initial_accumulator_value": "[0, inf)",
    "momentum": "[0, 1)",
    "rho": "[0, 1)",
    "weight_decay": "[0, inf)",
}


def check(
    rule: str,
    learning_rate: Any,
    flags: dict[str, Any],
    weight_decay: Any,
    **numbers: Any,
) -> None:
    """Refuses what is out of range, by the names of the room."""
    _checks.number_or_schedule(rule, "learning_rate", learning_rate, "[0, inf)")
    for name, x in flags.items():
        _checks.flag(rule, name, x)
    if weight_decay is not None:
        numbers["weight_decay"] = weight_decay
    for name, x in numbers.items():
        _checks.real(rule, name, x, _RANGES[name])


def step(
    rule: str,
    direction: optax.GradientTransformation,
    learning_rate: Any,
    weight_decay: Any,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of a direction."""
    return descend(rule, direction, learning_rate, or_zero(weight_decay), None)


def gathered(
    rule: str,
    direction: optax.GradientTransformation,
    learning_rate: Any,
    momentum: Any,
    weight_decay: Any,
) -> optax.GradientTransformationExtraArgs:
    """The same with momentum: steps are gathered with the rate that they were made."""
    velocity = scale_by_moments(momentum_rule(momentum))
    rate = scale_by(as_rate(rule, "learning_rate", learning_rate))
    tx = optax.chain(direction, rate, velocity)
    return decayed(rule, tx, or_zero(weight_decay), None)


def or_zero(weight_decay: Any) -> Any:
    """A decay of None is none."""
    return 0.0 if weight_decay is None else weight_decay
