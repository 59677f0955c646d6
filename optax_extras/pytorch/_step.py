"""How PyTorch puts an optimizer together: negate, decay, direction, rate."""

from typing import Any

import optax

from optax_extras import _checks
from optax_extras._kernel._decay import add_decayed_weights, descend
from optax_extras._kernel._float32 import rounded_once
from optax_extras._learning_rates._source import as_rate
from optax_extras._learning_rates.scale_by_rate import scale_by

# The range of each number that the optimizers of the room take; that of one of them
# where it has its own.
_RANGES = {
    "alpha": "[0, inf)",
    "RMSprop.alpha": "[0, 1)",
    "beta2_decay": "(-inf, 0]",
    "betas[0]": "[0, 1)",
    "betas[1]": "[0, 1)",
    "d": "[1, inf)",
    "dampening": "[0, 1]",
    "eps": "[0, inf)",
    "eps[0]": "[0, inf)",
    "eps[1]": "[0, inf)",
    "etas[0]": "(0, 1)",
    "etas[1]": "(1, inf)",
    "initial_accumulator_value": "[0, inf)",
    "lambd": "[0, inf)",
    "lr_decay": "[0, inf)",
    "momentum": "[0, 1)",
    "momentum_decay": "[0, inf)",
    "rho": "[0, 1]",
    "step_sizes[0]": "[0, inf)",
    "step_sizes[1]": "(0, inf)",
    "t0": "[0, inf)",
    "weight_decay": "[0, inf)",
}
_OR_NONE = ("eps[0]",)  # stands for the machine epsilon
# What CyclicLR and OneCycleLR cycle may be a schedule.
_OR_SCHEDULE = ("SGD.momentum", "Adam.betas[0]", "AdamW.betas[0]")


def check(rule: str, lr: Any, flags: dict[str, Any], **numbers: Any) -> None:
    """Refuses what is out of range, by the names of the room."""
    _checks.number_or_schedule(rule, "lr", lr, "[0, inf)")
    for name, x in flags.items():
        _checks.flag(rule, name, x)
    for name, x in numbers.items():
        _number(rule, name, x)


def _number(rule: str, name: str, x: Any) -> None:
    one = f"{rule}.{name}"
    right = _checks.number_or_schedule if one in _OR_SCHEDULE else _checks.real
    right(rule, name, x, _RANGES.get(one) or _RANGES[name])


def pair(rule: str, argument: str, xs: Any) -> tuple[Any, Any]:
    """Two numbers in the ranges of `argument[0]` and `argument[1]`."""
    found = _checks.items(rule, argument, xs)
    if len(found) != 2:
        _checks.refuse(rule, argument, "have 2 items", xs)
    for i, x in enumerate(found):
        name = f"{argument}[{i}]"
        if x is not None or name not in _OR_NONE:
            _number(rule, name, x)
    first, second = found
    return first, second


def step(
    rule: str,
    direction: optax.GradientTransformation,
    lr: Any,
    weight_decay: Any = 0,
    *,
    maximize: bool = False,
    decoupled: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of a direction: L2 joins the gradient, decoupled decay the step."""
    if decoupled:
        return against(maximize, descend(rule, direction, lr, weight_decay, None))
    rate = scale_by(as_rate(rule, "lr", lr))
    tx = optax.chain(add_decayed_weights(weight_decay), direction, rate)
    return against(maximize, rounded_once(tx))


def against(
    maximize: bool, tx: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """The optimizer as it is, or uphill."""
    return optax.chain(optax.scale(-1.0), tx) if maximize else tx
