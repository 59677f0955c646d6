"""Keras' `use_ema`: the averages, and the params where they are overwritten."""

import inspect
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit
from tests.parity.walks import keras_in_full_precision

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

NAMES = [
    name
    for name in oxe.keras.__all__
    if "use_ema" in inspect.signature(getattr(oxe.keras, name)).parameters
]
STEPS, RATE = 10, 0.1
GRADS = np.random.default_rng(0).normal(size=(STEPS, 3, 4))
FIRST = np.linspace(-1, 2, 12).reshape(3, 4)


@pytest.fixture
def dtype(request, monkeypatch):
    keras_in_full_precision(monkeypatch)
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    with jax.enable_x64(request.param == "float64"):
        yield request.param
    keras.config.set_floatx(before)


def theirs(name, dtype, **kw):
    """The variable after each update, and what Keras makes it at the end of `fit`."""
    optimizer = getattr(keras.optimizers, name)(RATE, use_ema=True, **kw)
    variable, walk = keras.Variable(FIRST, dtype=dtype), []
    optimizer.build([variable])
    for g in GRADS:
        optimizer.apply([jnp.asarray(g, dtype)])
        walk.append(np.asarray(variable.value))
    optimizer.finalize_variable_values([variable])
    return np.stack(walk), np.asarray(variable.value)


def ours(name, dtype, **kw):
    tx = getattr(oxe.keras, name)(RATE, use_ema=True, **kw)

    @jax.jit
    def run(first, grads):
        def step(carry, g):
            params, state = carry
            u, state = tx.update(g, state, params)
            params = optax.apply_updates(params, u)
            return (params, state), params

        (_, state), walk = jax.lax.scan(step, (first, tx.init(first)), grads)
        return walk, oxe.averaged(state, "average")

    return run(jnp.asarray(FIRST, dtype), jnp.asarray(GRADS, dtype))


CASES = [
    pytest.param(name, dtype, marks=() if name == "Adam" else pytest.mark.full)
    for dtype in ("float64", "float32")
    for name in NAMES
]


@pytest.mark.parametrize(("name", "dtype"), CASES, indirect=["dtype"])
def test_averages_and_params(name, dtype):
    """By default, and with an average that replaces the params every third update."""
    tolerance = 1e-12 if dtype == "float64" else 5e-5
    for kw in ({}, {"ema_momentum": 0.5, "ema_overwrite_frequency": 3}):
        pairs = zip(ours(name, dtype, **kw), theirs(name, dtype, **kw), strict=True)
        for found, expected in pairs:
            assert found.dtype == expected.dtype == dtype
            np.testing.assert_allclose(found, expected, tolerance, tolerance)


def test_every_optimizer_averages():
    """The mean of average and params, which replaces them at every second update."""
    settings = {"ema_momentum": 0.5, "ema_overwrite_frequency": 2}
    txs = [getattr(oxe.keras, x)(RATE, use_ema=True, **settings) for x in NAMES]

    def updated(tx, params, state):
        u, state = tx.update(np.float32(GRADS[0]), state, params)
        params = optax.apply_updates(params, u)
        return params, state, oxe.averaged(state, "average")

    @quick_jit
    def update(row):
        return [updated(tx, *x[:2]) for tx, x in zip(txs, row, strict=True)]

    first = jnp.asarray(FIRST, "float32")
    walk = [[(first, tx.init(first)) for tx in txs]]
    for _ in range(3):
        walk.append(update(walk[-1]))
    for name, *steps in zip(NAMES, *walk[1:], strict=True):
        (p1, _, a1), (p2, _, a2), (p3, _, a3) = steps
        np.testing.assert_array_equal(p1, a1, name)
        np.testing.assert_array_equal(p2, a2, name)
        assert np.all(a1 != a2), name
        assert np.all(p3 != p2), name
        np.testing.assert_allclose(a3, (a2 + p3) / 2, rtol=1e-6, err_msg=name)


def test_ema_arguments():
    adam = oxe.keras.Adam
    with pytest.raises(
        ValueError, match=r"Adam: `ema_momentum` must be in \[0, 1\], g"
    ):
        adam(use_ema=True, ema_momentum=1.5)
    with pytest.raises(TypeError, match="Adam: `ema_momentum` must be one number"):
        adam(ema_momentum=oxe.by_path({"w": 0.5}, 0.9))
    message = "Adam: `ema_overwrite_frequency` must be an integer of at least 1, got 0"
    with pytest.raises(ValueError, match=message):
        adam(use_ema=True, ema_overwrite_frequency=0)
    state = adam(ema_momentum=0.5).init(jnp.ones(2))
    with pytest.raises(ValueError, match="averaged: `state` must hold an average"):
        oxe.averaged(state)
    frozen = adam(use_ema=True, ema_momentum=1.0)
    w, state = jnp.ones(2), frozen.init(jnp.ones(2))
    u, state = frozen.update(w, state, w)
    first = w + u
    _, state = frozen.update(w, state, first)
    np.testing.assert_array_equal(oxe.averaged(state), first)
