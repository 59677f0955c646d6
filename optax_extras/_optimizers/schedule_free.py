"""Schedule-free AdamW in Keras' form, which averages all steps with equal weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._boxes import align, rebuild
from optax_extras._groups._freeze import freeze
from optax_extras._kernel._float32 import in_float32
from optax_extras._kernel._map_leaves import (
    copy_of_params,
    map_leaves,
    real_zeros,
    require_params,
)
from optax_extras._kernel._weight_decay import DecaySource
from optax_extras._learning_rates._sources_by_path import (
    check_groups,
    of_leaves,
    rate_source,
)
from optax_extras._leaves import (
    along_first_axis,
    in_compute_dtype,
    machine_epsilon,
    with_updates,
)
from optax_extras._numerics import above_zero, as_float, one_minus_power, sqrt
from optax_extras._state.with_average import first_average
from optax_extras._types import Params, State, Updates
from optax_extras.averages._in_state import in_params_dtypes

_NAME = "schedule_free"


class ScheduleFreeState(NamedTuple):
    """State of `keras.ScheduleFreeAdamW`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    averages: dict[str, Any]
    """The averaged weights x as ``"schedule_free"``, like the params, float32 at least:
    :func:`averaged` reads them."""
    z: Any
    """Like the params, float32 at least: the weights that the steps move."""
    nu: Any
    """Like the params, real and float32 at least: the second moment."""
    rate: Any
    """The learning rate of the last update, before its warm-up."""
    like: Any
    """Like the params: a single 0 of each param's dtype, so that :func:`averaged` knows
    it; () if x has the params' dtypes."""

    buffers_hold = (("averages", "averages"), ("z", "z"), ("nu", "nu"))
    shares_count = True
    # Other states with averages have these, too.
    inner_state = ()
    gammas = ()
    needs_float32 = (
        "store weights in its state",
        "Use it without `low_precision_state`.",
    )

    def averaged(self, name: str) -> Any:
        """The averaged weights in the params' dtypes, as new arrays."""
        return in_params_dtypes(self.averages[name], self.like)


def schedule_free_adamw(
    learning_rate: Any,
    b1: Any,
    b2: Any,
    eps: Any,
    warmup_steps: Any,
    weight_decay: Any,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer. Its steps depend on the weights, which decay before them."""
    rate = rate_source("learning_rate", learning_rate)
    decay = DecaySource(weight_decay)

    def init(params: Params) -> Any:
        check_groups(rate, params)
        x, like = first_average(params)
        z = copy_of_params(params)
        count, nu = jnp.zeros((), jnp.int32), real_zeros(params)
        state = ScheduleFreeState(count, {_NAME: x}, z, nu, rate.init(), like)
        decay_state = decay.init(params)  # refuses selectors that match nothing
        return decay.join(state, decay_state)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        require_params(updates, params)
        state, decay_state = decay.split(state)
        eta, rate_state = rate.step(state.count, state.rate, **extra)
        etas = of_leaves(rate, eta, updates)
        value, decay_state = decay.step(decay_state, updates, **extra)
        decays = _decays(etas, value, updates)
        t: Any = optax.safe_increment(state.count)
        # Reciprocals, so that leaves are multiplied and not divided.
        correction, c = 1 / one_minus_power(b2, t), 1 / as_float(t)
        inverse = 1 / b1
        warmup = jnp.minimum(as_float(t) / jnp.maximum(warmup_steps, 1), 1)

        def leaf(g, z, nu, x, p, eta, decay, machine_eps):
            real = z.real.dtype
            eta, decay = (along_first_axis(n, g).astype(real) for n in (eta, decay))
            weight = c.astype(real)
            y = z + b1 * (x - z)
            # The params are y, rounded. Where something else has changed them, as a
            # constraint does, x follows. Of half-precision params x keeps all digits.
            is_y = jnp.abs(p - y) <= 2 * machine_eps * jnp.abs(y)
            x = jnp.where(is_y, x, z + (p - z) * inverse)
            is_half = machine_eps > jnp.finfo(real).eps
            rounding_error = jnp.where(is_y & is_half, y - p, 0)
            nu = b2 * nu + (1 - b2) * jnp.square(jnp.abs(g))
            divisor = above_zero(sqrt(nu * jnp.asarray(correction, real)) + eps)
            # As increments: the difference of two weights has few digits of a step.
            dz = -eta * warmup.astype(real) * g / divisor
            dx = -(decay * inverse) * p  # the params decay, z does not
            gap = x - z
            u = dz + b1 * ((1 - weight) * (dx - dz) - weight * gap)
            z = z + dz
            x = z + (1 - weight) * (gap + dx - dz)
            return u + rounding_error, z, nu, x

        params = with_updates(updates, params)
        epsilons = jax.tree.map(
            lambda p: in_compute_dtype(machine_epsilon(p), p), params
        )
        buffers = state.z, state.nu, state.averages[_NAME]
        inputs = params, etas, decays, epsilons
        us, z, nu, x = map_leaves(leaf, updates, *buffers, inputs=inputs)
        new = state._replace(count=t, averages={_NAME: x}, z=z, nu=nu, rate=rate_state)
        return us, decay.join(new, decay_state)

    new = optax.GradientTransformationExtraArgs(init, update)
    return freeze(in_float32(new), learning_rate)


def _decays(etas: Any, decay: Any, updates: Updates) -> Any:
    """Learning rate times weight decay for each leaf."""
    rows = align(updates, etas)
    decays = decay if isinstance(decay, list) else [decay] * len(rows)
    return rebuild(
        updates,
        [
            None if g is None else eta * jnp.asarray(0 if x is None else x, eta.dtype)
            for (g, eta), x in zip(rows, decays, strict=True)
        ],
    )
