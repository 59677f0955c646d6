"""Heavy ball: Keras' rule, its relation to `optax.sgd`, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import paths
from tests.optimizers.paths import difference

STEPS = 300
GRADS = np.random.default_rng(0).normal(size=(STEPS, 4)) * 10 ** np.random.default_rng(
    1
).uniform(-3, 3, (STEPS, 4))


def falls(t):
    """A rate that changes at every step, upward now and then."""
    return 0.1 * (2 + (-1) ** t) / (1 + t)


def keras_rule(grads, rate, mu, nesterov):
    """`keras.optimizers.SGD.update_step`, from Keras' source, in NumPy."""
    w, m = np.zeros(grads.shape[1]), np.zeros(grads.shape[1])
    path = [w]
    for t, g in enumerate(grads):
        lr = rate(t) if callable(rate) else rate
        m = m * mu - g * lr
        w = w + (m * mu - g * lr if nesterov else m)
        path.append(w)
    return np.stack(path)


def path_of(tx, grads=GRADS, dtype="float64"):
    return paths.path_of(tx, grads, dtype)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("rate", [0.1, falls], ids=["constant", "changing"])
def test_the_rule_of_keras(rate, mu, nesterov):
    expected = keras_rule(GRADS, rate, mu, nesterov)
    ours = path_of(oxe.heavy_ball(rate, mu, nesterov=nesterov))
    assert difference(ours, expected) <= 1e-13


@pytest.mark.parametrize("nesterov", [False, True])
def test_keras_itself(nesterov, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    if keras.backend.backend() != "jax":
        pytest.skip("Keras runs on another backend")
    grads = GRADS[:60].astype(np.float32)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov)
    weights = keras.Variable(np.zeros(4, np.float32))
    path = [np.zeros(4)]
    for t, g in enumerate(grads):
        optimizer.learning_rate = falls(t)
        optimizer.apply([jnp.asarray(g)], [weights])
        path.append(np.asarray(weights.value))
    ours = path_of(oxe.heavy_ball(falls, 0.9, nesterov=nesterov), grads, "float32")
    # Both in float32: each step rounds the velocity and the weights, four times in all.
    assert difference(ours, np.stack(path)) <= 60 * 4 * 2.0**-24


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_constant_rate_gives_the_steps_of_optax_sgd(nesterov):
    ours = path_of(oxe.heavy_ball(0.1, 0.9, nesterov=nesterov))
    theirs = path_of(optax.sgd(0.1, 0.9, nesterov=nesterov))
    assert difference(ours, theirs) <= 1e-13


def test_after_a_drop_of_the_rate_the_old_speed_wears_off():
    """By hand: three gradients of 1 at rate 1, then the rate is 0."""
    grads, rate = np.ones((6, 1)), lambda t: jnp.where(t < 3, 1.0, 0.0)
    v = 1 + 0.5 + 0.25
    steps = [1, 1.5, v, v / 2, v / 4, v / 8]
    ours = np.diff(path_of(oxe.heavy_ball(rate, 0.5), grads), axis=0)
    np.testing.assert_allclose(ours[:, 0], -np.array(steps), rtol=1e-12)
    theirs = np.diff(path_of(optax.sgd(rate, 0.5), grads), axis=0)
    np.testing.assert_allclose(theirs[:, 0], [-1, -1.5, -v, 0, 0, 0], rtol=1e-12)


def test_without_momentum_it_is_gradient_descent():
    ours = path_of(oxe.heavy_ball(falls, 0.0))
    assert difference(ours, path_of(optax.sgd(falls))) <= 1e-15


@pytest.mark.parametrize("nesterov", [False, True])
def test_decay_stays_out_of_the_velocity(nesterov):
    """Keras' `weight_decay`: it takes rate * decay * w off before the step."""
    w, m, path = np.zeros(4), np.zeros(4), [np.zeros(4)]
    for t, g in enumerate(GRADS):
        lr = falls(t)
        m = m * 0.9 - g * lr
        step = m * 0.9 - g * lr if nesterov else m
        w = w - lr * 0.3 * w + step
        path.append(w)
    ours = path_of(oxe.heavy_ball(falls, nesterov=nesterov, weight_decay=0.3))
    assert difference(ours, np.stack(path)) <= 1e-12


@pytest.mark.parametrize("kw", [{}, {"weight_decay": 0.1}, {"nesterov": True}])
def test_one_buffer(kw):
    params = jnp.ones((3, 5))
    state = oxe.heavy_ball(0.1, **kw).init(params)
    assert [x.shape for x in jax.tree.leaves(state)].count((3, 5)) == 1


def ditch(tx, updates=30):
    """The end of a run on x**2 / 20 + y**2 from (-7, 2)."""
    with jax.enable_x64(True):
        params = jnp.array([-7.0, 2.0])
        state = tx.init(params)

        def step(carry, _):
            params, state = carry
            grads = params * jnp.array([0.1, 2.0])
            u, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, u), state), None

        (end, _), _ = jax.lax.scan(step, (params, state), length=updates)
        return np.asarray(end)


DITCH = {
    "sgd": (
        lambda: optax.chain(
            oxe.scale_by_moments(oxe.rules.sgd()), oxe.scale_by_rate(0.95)
        ),
        (-0.350393, 0.0847823),
    ),
    "heavy_ball": (lambda: oxe.heavy_ball(0.1), (0.8964139, 0.0880856)),
    "adagrad": (lambda: oxe.adagrad(1.5, eps=1e-7), (-0.1201623, 2.5e-17)),
    "adam": (
        lambda: optax.chain(
            oxe.scale_by_moments(oxe.rules.adam(eps=1e-7, eps_hat=True)),
            oxe.scale_by_rate(0.3),
        ),
        (0.1360069, 0.3182454),
    ),
}


@pytest.mark.parametrize(("make", "end"), DITCH.values(), ids=DITCH)
def test_where_the_four_end_in_the_ditch(make, end):
    """As in Saito, Deep Learning from Scratch, chapter 6, after 30 updates."""
    np.testing.assert_allclose(ditch(make()), end, rtol=1e-5, atol=1e-6)


def test_the_rate_is_readable():
    tx = oxe.heavy_ball(lambda t: 0.1 / (1 + t))
    state = tx.init(jnp.ones(2))
    for expected in (0.1, 0.1, 0.05, 0.1 / 3):  # before any update: of the first
        assert oxe.learning_rate(state) == np.float32(expected)
        _, state = tx.update(jnp.ones(2), state)


WRONG = [
    (ValueError, "learning_rate", {"learning_rate": -0.1}, "-0.1"),
    (ValueError, "learning_rate", {"learning_rate": np.nan}, "nan"),
    (ValueError, "momentum", {"momentum": 1.0}, "1.0"),
    (ValueError, "momentum", {"momentum": -0.5}, "-0.5"),
    (TypeError, "learning_rate", {"learning_rate": "0.1"}, "'0.1'"),
    (TypeError, "learning_rate", {"learning_rate": None}, "None"),
    (TypeError, "momentum", {"momentum": None}, "None"),
    (TypeError, "momentum", {"momentum": lambda t: 0.9}, "function"),
    (TypeError, "nesterov", {"nesterov": 1}, "1"),
    (ValueError, "weight_decay", {"weight_decay": -0.1}, "-0.1"),
    (TypeError, "weight_decay", {"weight_decay": None}, "None"),
]


@pytest.mark.parametrize(("error", "argument", "kw", "got"), WRONG)
def test_wrong_arguments(error, argument, kw, got):
    with pytest.raises(error, match=f"^heavy_ball: `{argument}` must .*got .*{got}"):
        oxe.heavy_ball(**{"learning_rate": 0.1, **kw})


def test_nesterov_is_a_keyword():
    with pytest.raises(TypeError, match="positional"):
        oxe.heavy_ball(0.1, 0.9, True)
