"""Averaged SGD: the rule in NumPy, what its state holds, what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.optimizers.paths import buffers, difference, falling, gradients, path_of

GRADS = gradients()
OPTIONS = {
    "default": {},
    "decays": {"decay": 0.01, "power": 0.5},
    "averages": {"start": 20.0, "decay": 0.1},
    "at once": {"start": 0.0},
}


def rule(grads, rate, decay=1e-4, power=0.75, start=1e6):
    """Weights and averages, from the docstring's formula."""
    w, average, eta = np.zeros(grads.shape[1]), 0.0, rate(0)
    path, averages = [w], []
    for t, g in enumerate(grads, 1):
        w = (1 - decay * eta) * w - eta * g
        average = average + (w - average) / max(1, t - 1 - start)
        eta = rate(t - 1) / (1 + decay * rate(t - 1) * t) ** power
        path.append(w)
        averages.append(average)
    return np.stack(path), np.stack(averages)


@pytest.mark.parametrize("rate", [lambda t: 0.05, falling], ids=["constant", "changes"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, rate):
    expected, _ = rule(GRADS, rate, **kw)
    given = rate if rate is falling else 0.05
    assert difference(path_of(oxe.asgd(given, **kw), GRADS), expected) <= 1e-12
    ours = path_of(oxe.asgd(given, **kw), GRADS, "float32")
    assert difference(ours, expected) <= 1e-5


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_average(kw):
    grads = GRADS[:40].astype(np.float32)
    _, expected = rule(grads, lambda t: 0.05, **kw)
    tx, w = oxe.asgd(0.05, **kw), jnp.zeros(grads.shape[1])
    state = tx.init(w)
    for g, average in zip(grads, expected, strict=True):
        u, state = tx.update(jnp.asarray(g), state, w)
        w = w + u
        size = np.abs(expected).max()
        np.testing.assert_allclose(state.average, average, rtol=0, atol=1e-5 * size)
    if kw.get("start", 1e6) > 40:
        np.testing.assert_allclose(state.average, w, rtol=1e-6)


def test_the_average_before_any_update_is_the_weights():
    assert oxe.asgd(0.1).init(jnp.full(2, 3.0)).average.tolist() == [3.0, 3.0]


def test_the_average_of_noise_is_quieter_than_the_weights():
    """On a quadratic with noisy gradients, which is what averaging is for."""
    rng = np.random.default_rng(0)
    tx, w = oxe.asgd(0.1, start=100.0), jnp.full(200, 1.0)
    state = tx.init(w)
    for _ in range(400):
        g = w + jnp.asarray(rng.normal(size=200), jnp.float32)
        u, state = tx.update(g, state, w)
        w = w + u
    assert jnp.mean(state.average**2) < 0.2 * jnp.mean(w**2)


def test_what_is_read_is_the_given_rate():
    tx, w = oxe.asgd(0.1, decay=1.0), jnp.ones(2)
    state = tx.init(w)
    for _ in range(3):
        _, state = tx.update(w, state, w)
    assert oxe.learning_rate(state) == jnp.float32(0.1)
    assert state.eta == pytest.approx(0.1 / (1 + 0.1 * 3) ** 0.75)


def test_a_rate_that_is_set_before_the_first_update_is_its_step_size():
    tx, w = oxe.asgd(0.1, decay=0.0), jnp.ones(2)
    state = oxe.set_hyperparameters(tx.init(w), learning_rate=0.5)
    u, _ = tx.update(w, state, w)
    np.testing.assert_array_equal(u, -0.5)


def test_buffers():
    params = jnp.ones((3, 5))
    assert buffers(oxe.asgd(0.1).init(params), params) == 1


def test_it_needs_the_params():
    tx = oxe.asgd(0.1)
    with pytest.raises(ValueError, match="asgd: `params` must be given to `update`"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


WRONG = [
    (ValueError, "learning_rate", -0.1),
    (ValueError, "decay", -0.1),
    (ValueError, "power", -1),
    (ValueError, "start", -5),
    (TypeError, "start", None),
]


@pytest.mark.parametrize(("error", "argument", "got"), WRONG, ids=str)
def test_wrong_arguments(error, argument, got):
    with pytest.raises(error, match=f"^asgd: `{argument}` must .*got {got}"):
        oxe.asgd(**{"learning_rate": 0.1, argument: got})
