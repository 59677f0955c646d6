"""PyTorch's options that raise an error here, each with what to write instead."""

import functools
from typing import Any

from optax_extras._checks import checked, checked_by_path, refuse_options
from optax_extras._errors import refusal
from optax_extras._translation.call import remember_call

_COMPILED = "Under `jax.jit`, XLA fuses the update of each leaf without it."

_of_optimizers = refuse_options(
    "params",
    params="Pass the parameters to `init`; for groups, numbers as `oxe.by_path`.",
    foreach=_COMPILED,
    fused=_COMPILED,
    capturable=_COMPILED,
    differentiable="`jax.grad` differentiates every update without it.",
)
_of_schedulers = refuse_options(
    "optimizer",
    optimizer="Pass the schedule to the optimizer as its `lr`.",
    last_epoch="To resume a run, restore the optimizer state, which has the count.",
    verbose="Print `oxe.learning_rate(state)` where you want to see it.",
)


def _of_chained_schedulers(leading: str, args: tuple, kwargs: dict[str, Any]) -> None:
    """PyTorch's first argument is the list, which is the second one here."""
    if args and isinstance(args[0], list | tuple):
        must = "come first: `ChainedScheduler(lr, [schedulers made with lr=1])`"
        raise refusal(TypeError, leading, must, repr(args[0]), "")
    _of_schedulers(leading, args, kwargs)


optimizer = functools.partial(
    checked_by_path, before=_of_optimizers, after=remember_call
)
"""For a rule: all of its numbers may depend on the path."""
other_optimizer = functools.partial(checked, before=_of_optimizers, after=remember_call)
"""For others: the learning rate and the weight decay may."""
scheduler = functools.partial(checked, before=_of_schedulers)
chained_scheduler = functools.partial(checked, before=_of_chained_schedulers)
