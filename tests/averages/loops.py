"""Averages as loops in NumPy float64, and what `oxe.averages` makes of them."""

import jax
import jax.numpy as jnp
import numpy as np

STEPS = 40
TIMES = np.arange(1, STEPS + 1, dtype=np.int32)


def walk(steps=STEPS, seed=0):
    """Weights w_0, ..., w_T."""
    return np.cumsum(np.random.default_rng(seed).normal(size=(steps + 1, 3)), 0)


def weights_of(make, times=TIMES):
    """c_t in float64, of the average that `make` returns."""
    with jax.enable_x64(True):
        average = make()
        return np.asarray([average.weight(jnp.int32(t)) for t in times])


def weights_at_once(make, times=TIMES):
    """The same in one call: our own averages are elementwise functions."""
    with jax.enable_x64(True):
        return np.asarray(make().weight(jnp.asarray(times, jnp.int32)))


def follow(c, w):
    """a_0, ..., a_T by the recursion that `Average` documents."""
    a = [w[0]]
    for c_t, w_t in zip(c, w[1:], strict=True):
        a.append(a[-1] + c_t * (w_t - a[-1]))
    return np.stack(a)


def coefficients(c):
    """The weight of each of w_0, ..., w_T in a_T."""
    return follow(c, np.eye(len(c) + 1))[-1]
