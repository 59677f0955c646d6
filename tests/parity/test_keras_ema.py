"""Keras' `use_ema`: the averages, and the params where they are overwritten."""

import inspect
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.parity.walks import in_one_scan, keras_in_full_precision, updating

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
    first, grads = jnp.asarray(FIRST, dtype), jnp.asarray(GRADS, dtype)
    run = in_one_scan((updating(tx),))
    ((_, state),), (walk,) = run([(first, tx.init(first))], grads)
    return walk, oxe.averaged(state, "average")


# Who makes the updates does not matter to the average: the next test shows it.
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
    """The second params are the average, the third ones are not."""
    settings = {"ema_momentum": 0.5, "ema_overwrite_frequency": 2}
    txs = [getattr(oxe.keras, x)(RATE, use_ema=True, **settings) for x in NAMES]
    first, grads = jnp.asarray(FIRST, "float32"), jnp.asarray(GRADS[:3], "float32")
    carries = [(first, tx.init(first)) for tx in txs]
    new, walks = in_one_scan(tuple(map(updating, txs)))(carries, grads)
    for name, (_, state), (_, second, third) in zip(NAMES, new, walks, strict=True):
        average = oxe.averaged(state, "average")
        np.testing.assert_allclose(average, (second + third) / 2, 1e-6, err_msg=name)
        assert np.all(average != third), name


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
