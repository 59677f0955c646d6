"""timm's options that raise an error here, each with what to write instead."""

import functools

from optax_extras._checks import checked, refuse_options

_NOISE = (
    "Multiply the schedule by your own noise: `lambda t: schedule(t) * (1 + noise(t))`."
)

_of_schedulers = refuse_options(
    "optimizer",
    optimizer=(
        "Give the base learning rate `lr` in its place, and pass the schedule to the "
        "optimizer as its learning rate."
    ),
    noise_range_t=_NOISE,
    noise_type=_NOISE,
    noise_pct=_NOISE,
    noise_std=_NOISE,
    noise_seed=_NOISE,
    initialize="The base learning rate is the argument `lr`.",
)
scheduler = functools.partial(checked, before=_of_schedulers)
