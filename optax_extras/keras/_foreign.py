"""Keras' options that have no meaning here, each with what takes its place."""

from optax_extras import _signatures

_CLIP = "Put `optax.{}` before the optimizer, in `optax.chain`."
_EMA = "Average the parameters in your own loop, with `optax.incremental_update`."

optimizer = _signatures.takes_no(
    "variables",
    variables="Hand the parameters to `init`.",
    name="Name the parts of a chain with `optax.named_chain`.",
    clipnorm="Clip the norm of each leaf before the optimizer, in `optax.chain`.",
    clipvalue=_CLIP.format("clip(value)"),
    global_clipnorm=_CLIP.format("clip_by_global_norm(norm)"),
    use_ema=_EMA,
    ema_momentum=_EMA,
    ema_overwrite_frequency=_EMA,
    loss_scale_factor="Scale the loss, and the gradients back, around `jax.grad`.",
    gradient_accumulation_steps="Wrap the optimizer in `oxe.accumulate`.",
)
schedule = _signatures.takes_no(
    name="A schedule is a plain function and needs no name."
)
plateau = _signatures.takes_no(
    verbose="Print `oxe.learning_rate(state)` where you like.",
)
