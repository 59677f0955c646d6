"""Numbers may be traced: the same weights, under vmap, jit and grad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe

TIMES = jnp.asarray([*range(1, 10), 20, 29, 30, 31, 32, 2**24, 2**31 - 1], jnp.int32)
A = oxe.averages


def warm(decay, power, gamma, min_decay):
    b = A.warmup(decay, power=power, gamma=gamma, min_decay=min_decay)
    return A.ema(b)


def decay(shape, power=None, **given):
    return A.decay(shape, power=power, **given)


DECAY = {"start": (3, 5), "steps": (1, 27), "end_fraction": (0.0, 0.1)}
CALLS = {  # each argument with two values
    "ema": (A.ema, {"decay": (0.5, 0.9), "start": (0, 3), "every": (1, 4)}),
    "ema-include_init": (
        lambda decay: A.ema(decay, include_init=True),
        {"decay": (0.0, 0.9)},
    ),
    "ema-debias": (lambda decay: A.ema(decay, debias=True), {"decay": (0.0, 0.9)}),
    "warmup": (
        warm,
        dict(decay=(0.8, 0.9), power=(0.5, 1), gamma=(1, 5.0), min_decay=(0, 0.3)),
    ),
    "num_updates_warmup": (
        lambda decay: A.ema(A.num_updates_warmup(decay)),
        {"decay": (0.0, 0.6)},
    ),
    "uniform": (A.uniform, {"start": (0, 6), "every": (1, 5), "window": (1, 3)}),
    "power": (A.power, {"gamma": (0.0, 6.94), "start": (0, 6)}),
    "power-sigma_rel": (
        lambda sigma_rel: A.power(sigma_rel=sigma_rel),
        {"sigma_rel": (0.05, 0.2)},
    ),
    "half_life_fraction": (
        A.half_life_fraction,
        {"fraction": (0.05, 1.0), "start": (0, 6)},
    ),
    "decay-linear": (lambda **x: decay("linear", **x), DECAY),
    "decay-cosine": (lambda **x: decay("cosine", **x), DECAY),
    "decay-1-sqrt": (lambda **x: decay("1-sqrt", **x), DECAY),
    "decay-exponential": (lambda **x: decay("exponential", **x), DECAY),
    "decay-power": (lambda **x: decay("power", **x), {**DECAY, "power": (0.5, 3.0)}),
    "decay-polynomial": (
        lambda **x: decay("polynomial", **x),
        {**DECAY, "power": (0.5, 3.0)},
    ),
    "decay-function": (lambda **x: decay(lambda x: 1 - x**2, **x), DECAY),
}


COUNTS = ("start", "every", "steps", "window")


def weights(make, values):
    return jax.vmap(make(**values).weight)(TIMES)


@pytest.mark.parametrize("name", CALLS)
def test_vmap_over_all_numbers_and_grad(name):
    make, arguments = CALLS[name]
    reals = {k: jnp.asarray(x) for k, x in arguments.items() if k not in COUNTS}
    reals = {k: x.astype(jnp.float32) for k, x in reals.items()}
    counts = {k: jnp.asarray(x) for k, x in arguments.items() if k in COUNTS}

    def total(reals, counts):
        c = weights(make, {**reals, **counts})
        return c.sum(), c

    both = jax.grad(total, has_aux=True)
    slopes, found = jax.jit(jax.vmap(both))(reals, counts)
    assert found.dtype == jnp.float32
    assert np.all((found >= 0) & (found <= 1))
    assert all(np.all(np.isfinite(x)) for x in slopes.values()), slopes
    for i in (0, 1):
        wanted = weights(make, {key: pair[i] for key, pair in arguments.items()})
        np.testing.assert_allclose(found[i], wanted, rtol=2e-5, atol=1e-7)


def test_horizons_beyond_all_counts():
    last = jnp.int32(2**31 - 1)
    for n in (2**31 - 1, 2**31, 2**40):
        assert float(A.uniform(start=n).weight(last)) == 1
        assert float(A.ema(0.9, every=n).weight(last)) == 1
        assert float(A.decay("linear", n, 10).weight(last)) == 1
        c = A.decay("cosine", 0, n).weight(jnp.int32(2))
        np.testing.assert_allclose(c, 0.75, rtol=1e-6)


def test_gamma_of_a_power_average():
    assert A.power(6.94).gamma == 6.94
    assert A.ema(0.9).gamma is None
    assert A.power(6.94, start=1).gamma is None  # of other weights than a snapshot's
    gamma = jax.jit(lambda s: A.power(sigma_rel=s).gamma)(0.05)
    np.testing.assert_allclose(gamma, A.power(sigma_rel=0.05).gamma, rtol=1e-5)


def test_a_warmup_of_one_traced_number():
    """The least decay, or the decay, is not compared with the other."""
    found = jax.vmap(lambda x: oxe.averages.warmup(x, min_decay=0.1)(5))(
        jnp.array([0.2, 0.99])
    )
    np.testing.assert_allclose(found[0], 0.2, rtol=1e-6)
    found = jax.vmap(lambda x: oxe.averages.warmup(0.9, min_decay=x)(1))(
        jnp.array([0.1, 0.8])
    )
    np.testing.assert_allclose(found[1], 0.8, rtol=1e-6)
