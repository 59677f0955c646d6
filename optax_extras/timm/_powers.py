"""What a power of a fraction leaves of 1, without cancellation."""

from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._numerics import as_float


def one_minus_power_of_fraction(x: jax.Array, r: jax.Array, k: Any) -> jax.Array:
    """1 - x**k for k > 0, where r = 1 - x has its digits near x = 1."""
    if isinstance(k, int | float) and k == 1:
        return r
    # Operands that are not used are replaced, so that gradients stay finite.
    is_small = x < 0.5
    log_small = jnp.log(jnp.where(is_small & (x > 0), x, 0.5))
    log_large = jnp.log1p(-jnp.where(is_small, 0.5, r))
    exponent = as_float(k) * jnp.where(is_small, log_small, log_large)
    return jnp.where(x > 0, -jnp.expm1(exponent), 1)
