"""PyTorch's options that have no meaning here, each with what takes its place."""

import functools

from optax_extras._checks import checked, refuse_options

_COMPILED = "Under `jax.jit` XLA fuses the update of every leaf by itself."
_STATE = "The state holds its count and is saved as it is: there is nothing to set up."

_of_optimizers = refuse_options(
    "params",
    params="Hand the parameters to `init`, and groups of them to `optax.partition`.",
    foreach=_COMPILED,
    fused=_COMPILED,
    capturable=_COMPILED,
    differentiable="Every update can be differentiated by `jax.grad`.",
)
_of_schedulers = refuse_options(
    "optimizer",
    optimizer="Hand the schedule to the optimizer, in the place of its `lr`.",
    last_epoch=_STATE,
    verbose="`oxe.learning_rate(state)` reads the rate, to be printed where you like.",
)
optimizer = functools.partial(checked, before=_of_optimizers)
scheduler = functools.partial(checked, before=_of_schedulers)
