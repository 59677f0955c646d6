"""Keras' `use_ema`: an average of the params in every optimizer."""

from typing import Any

import jax.numpy as jnp
import optax

from optax_extras._errors import refuse_kind
from optax_extras._lifted import is_by_path
from optax_extras._numerics import as_float
from optax_extras._state.with_average import with_average
from optax_extras.averages import Average


def with_ema(
    tx: Any, use_ema: bool, ema_momentum: Any, ema_overwrite_frequency: Any
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, with Keras' average of the params if `use_ema`.

    At the end of ``fit`` Keras replaces the params by the average. Nothing here knows
    which update is the last: :func:`averaged` reads the average.
    """
    if is_by_path(ema_momentum):
        refuse_kind("ema_momentum", "be one number", ema_momentum)
    if not use_ema:
        return tx

    def weight(t: Any) -> Any:
        return jnp.where(t == 1, 1, 1 - as_float(ema_momentum))

    return with_average(tx, Average(weight), overwrite_every=ema_overwrite_frequency)
