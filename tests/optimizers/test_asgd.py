"""Averaged SGD: the rule in NumPy, and the values in its state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.optimizers.paths import difference, falling, gradients, paths_of

GRADS = gradients()
OPTIONS = {
    "default": {},
    "decays": {"decay": 0.01, "power": 0.5},
    "averages": {"start": 20.0, "decay": 0.1},
    "at once": {"start": 0.0},
}


def rule(grads, rate, decay=1e-4, power=0.75, start=1e6):
    """Weights and averages by the formula of the docstring."""
    w, average, eta = np.zeros(grads.shape[1]), 0.0, rate(0)
    path, averages = [w], []
    for t, g in enumerate(grads, 1):
        w = (1 - decay * eta) * w - eta * g
        average = average + (w - average) / max(1, t - 1 - start)
        eta = rate(t - 1) / (1 + decay * rate(t - 1) * t) ** power
        path.append(w)
        averages.append(average)
    return np.stack(path), np.stack(averages)


def test_the_rule():
    txs = {name: oxe.asgd(falling, **kw) for name, kw in OPTIONS.items()}
    for dtype, close in (("float64", 1e-12), ("float32", 1e-5)):
        paths = paths_of(txs, GRADS, dtype)
        for name, kw in OPTIONS.items():
            assert difference(paths[name], rule(GRADS, falling, **kw)[0]) <= close, name


def test_the_average():
    """It equals the weights before averaging starts, and before any update."""
    grads = GRADS[:40].astype(np.float32)

    def averages(tx):
        def step(carry, g):
            w, state = carry
            u, state = tx.update(g, state, w)
            return (w + u, state), (w + u, state.average)

        w = jnp.zeros(4)
        return jax.lax.scan(step, (w, tx.init(w)), grads)[1]

    txs = {name: oxe.asgd(0.05, **kw) for name, kw in OPTIONS.items()}
    found = jax.jit(lambda: {name: averages(tx) for name, tx in txs.items()})()
    for name, kw in OPTIONS.items():
        path, got = found[name]
        _, expected = rule(grads, lambda t: 0.05, **kw)
        size = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, 0, 1e-5 * size, err_msg=name)
        if kw.get("start", 1e6) > 40:
            np.testing.assert_allclose(got[-1], path[-1], rtol=1e-6)
    assert oxe.asgd(0.1).init(jnp.full(2, 3.0)).average.tolist() == [3.0, 3.0]


def test_the_learning_rate_that_is_read_is_the_given_one():
    tx, w = oxe.asgd(0.1, decay=1.0), jnp.ones(2)
    state, update = tx.init(w), jax.jit(tx.update)
    for _ in range(3):
        _, state = update(w, state, w)
    assert oxe.learning_rate(state) == jnp.float32(0.1)
    assert state.eta == pytest.approx(0.1 / (1 + 0.1 * 3) ** 0.75)


def test_a_rate_that_is_set_before_the_first_update_is_its_step_size():
    tx, w = oxe.asgd(0.1, decay=0.0), jnp.ones(2)
    state = oxe.set_hyperparameters(tx.init(w), learning_rate=0.5)
    u, _ = jax.jit(tx.update)(w, state, w)
    np.testing.assert_array_equal(u, -0.5)


def test_it_needs_the_params():
    tx = oxe.asgd(0.1)
    with pytest.raises(ValueError, match="asgd: `params` must be given to `update`"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
