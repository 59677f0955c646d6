"""Keras' options that raise an error here, each with what to write instead."""

import functools

from optax_extras._checks import checked, checked_by_path, refuse_options
from optax_extras._translation.call import remember_call

_CLIP = "Put `optax.{}` before the optimizer, in `optax.chain`."

_of_optimizers = refuse_options(
    "variables",
    variables="Pass the parameters to `init`.",
    name="Name the parts of a chain with `optax.named_chain`.",
    clipnorm="Clip the norm of each leaf before the optimizer, in `optax.chain`.",
    clipvalue=_CLIP.format("clip(value)"),
    global_clipnorm=_CLIP.format("clip_by_global_norm(norm)"),
    loss_scale_factor="Multiply the loss by it and divide the gradients by it.",
    gradient_accumulation_steps="Wrap the optimizer in `oxe.accumulate`.",
)
_INNER = "Give it to the inner optimizer."
_of_loss_scales = refuse_options(
    name="Name the parts of a chain with `optax.named_chain`.",
    dynamic="The scale is always dynamic; a constant one needs no wrapper.",
    **dict.fromkeys(
        ("weight_decay", "use_ema", "ema_momentum", "ema_overwrite_frequency"), _INNER
    ),
    **dict.fromkeys(
        ("clipnorm", "clipvalue", "global_clipnorm"),
        "Clip before the inner optimizer, in `optax.chain`.",
    ),
    loss_scale_factor="Give `initial_scale`.",
    gradient_accumulation_steps="Wrap the inner optimizer in `oxe.accumulate`.",
)
_of_multi_optimizers = refuse_options(
    name="Name the parts of a chain with `optax.named_chain`.",
    loss_scale_factor="Multiply the loss by it and divide the gradients by it.",
)
_of_schedules = refuse_options(name="A schedule is a plain function and needs no name.")
_of_plateaus = refuse_options(
    verbose="Print `oxe.learning_rate(state)` where you want to see it.",
)
optimizer = functools.partial(
    checked_by_path, before=_of_optimizers, after=remember_call
)
"""For a rule: all of its numbers may depend on the path."""
other_optimizer = functools.partial(checked, before=_of_optimizers, after=remember_call)
"""For others: the learning rate and the weight decay may."""
loss_scale = functools.partial(checked, before=_of_loss_scales)
multi_optimizer = functools.partial(checked, before=_of_multi_optimizers)
schedule = functools.partial(checked, before=_of_schedules)
plateau = functools.partial(checked, before=_of_plateaus)
