"""PyTorch's options that have no meaning here, each with what takes its place."""

from optax_extras import _signatures

_COMPILED = "Under `jax.jit` XLA fuses the update of every leaf by itself."
_STATE = "The state holds its count and is saved as it is: there is nothing to set up."

optimizer = _signatures.takes_no(
    "params",
    params="Hand the parameters to `init`, and groups of them to `optax.partition`.",
    foreach=_COMPILED,
    fused=_COMPILED,
    capturable=_COMPILED,
    differentiable="Every update can be differentiated by `jax.grad`.",
)
scheduler = _signatures.takes_no(
    "optimizer",
    optimizer="Hand the schedule to the optimizer, in the place of its `lr`.",
    last_epoch=_STATE,
    verbose="`oxe.learning_rate(state)` reads the rate, to be printed where you like.",
)
