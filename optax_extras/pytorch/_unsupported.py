"""PyTorch's options that are refused, each with what to write instead."""

import functools

from optax_extras._checks import checked, refuse_options

_COMPILED = "Under `jax.jit`, XLA fuses the update of each leaf without it."
_STATE = "To resume a run, restore the optimizer state, which has the count."

_of_optimizers = refuse_options(
    "params",
    params="Pass the parameters to `init`; for groups use `optax.partition`.",
    foreach=_COMPILED,
    fused=_COMPILED,
    capturable=_COMPILED,
    differentiable="`jax.grad` differentiates every update without it.",
)
_of_schedulers = refuse_options(
    "optimizer",
    optimizer="Pass the schedule to the optimizer as its `lr`.",
    last_epoch=_STATE,
    verbose="Print `oxe.learning_rate(state)` where you want to see it.",
)
optimizer = functools.partial(checked, before=_of_optimizers)
scheduler = functools.partial(checked, before=_of_schedulers)
