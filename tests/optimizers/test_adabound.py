"""AdaBound and AMSBound: the authors' code and the paper's rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import buffers, difference, falling, gradients, path_of

GRADS = gradients()
OPTIMIZERS = {"adabound": oxe.adabound, "amsbound": oxe.amsbound}
each = pytest.mark.parametrize("name", OPTIMIZERS)


def rule(
    grads, rate, largest, b1=0.9, b2=0.999, eps=1e-8, final=0.1, gamma=1e-3, paper=False
):
    """Luo et al.'s published code; `paper`: their algorithms 2 and 3."""
    eta = rate if callable(rate) else lambda t: rate
    m, v, top = (np.zeros(grads.shape[1]) for _ in range(3))
    path = [m]
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        top = np.maximum(top, v) if largest else v
        size, last, share = eta(t - 1), final, 1 / np.sqrt(t)
        if not paper:
            size *= np.sqrt(1 - b2**t) / (1 - b1**t)
            last, share = final * eta(t - 1) / eta(0), 1
        lo, hi = last * (1 - 1 / (gamma * t + 1)), last * (1 + 1 / (gamma * t))
        path.append(path[-1] - np.clip(size / (np.sqrt(top) + eps), lo, hi) * m * share)
    return np.array(path)


OPTIONS = [
    {},
    {"eps": 1e-2, "b1": 0.5, "b2": 0.9},
    {"final": 1e-3, "gamma": 0.1},
    {"paper": True},
    {"paper": True, "gamma": 0.1},
]


@each
@pytest.mark.parametrize("rate", [1e-3, falling], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS)
def test_the_rule(name, kw, rate):
    expected = rule(GRADS, rate, name == "amsbound", **kw)
    ours = {"final_rate" if key == "final" else key: x for key, x in kw.items()}
    path = path_of(OPTIMIZERS[name](rate, **ours), GRADS)
    assert difference(path, expected) <= 1e-12


@each
@pytest.mark.parametrize("kw", [{}, {"gamma": 1.0, "final_rate": 1e-3}])
def test_a_first_rate_of_zero(name, kw):
    """The authors' code divides by it; here the bounds are then those of a number."""
    warm = oxe.schedules.warmup(4, 0.2)
    path = path_of(OPTIMIZERS[name](warm, **kw), GRADS)
    final, gamma = kw.get("final_rate", 0.1), kw.get("gamma", 1e-3)
    m = v = top = np.zeros(GRADS.shape[1])
    for t, g in enumerate(GRADS, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        top = np.maximum(top, v) if name == "amsbound" else v
        eta = 0.2 * min(t - 1, 4) / 4
        size = eta * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) / (np.sqrt(top) + 1e-8)
        bounds = final * (1 - 1 / (gamma * t + 1)), final * (1 + 1 / (gamma * t))
        step = path[t] - path[t - 1]
        np.testing.assert_allclose(step, -np.clip(size, *bounds) * m, atol=1e-7)


@each
def test_six_gradients(name):
    """By the authors' code."""
    grads = np.array([[3, 1, 0.1, 0.1, -0.2, 0.5]]).T
    path = path_of(OPTIMIZERS[name](1e-3), grads)
    expected = [-0.001, -0.00187106, -0.00256427, -0.00315021, -0.00361, -0.00408293]
    np.testing.assert_allclose(path[1:, 0], expected, atol=6e-9)


@pytest.mark.parametrize(
    ("t", "lo", "hi"),
    [(1, 9.99e-5, 100.1), (1000, 0.05, 0.2), (100_000, 0.09901, 0.101)],
)
def test_the_bounds(t, lo, hi):
    rule = oxe.rules.adabound(1e-3)
    tableau, _ = rule.step(jnp.int32(t), rule.init())
    np.testing.assert_allclose([tableau.lo, tableau.hi], [lo, hi], rtol=1e-4)


def test_once_the_bounds_have_met_it_is_sgd():
    average = optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.05))
    tx = oxe.adabound(1e-3, final_rate=0.05, gamma=1e9)
    assert difference(path_of(tx, GRADS), path_of(average, GRADS)) <= 1e-8


def test_without_bounds_it_is_adam():
    tx = oxe.adabound(1e-3, bounds=lambda t: (0.0, jnp.inf))
    adam = optax.chain(
        oxe.scale_by_moments(oxe.rules.adam(eps_hat=True)), optax.scale(-1e-3)
    )
    assert difference(path_of(tx, GRADS), path_of(adam, GRADS)) <= 1e-14
    at_rest = oxe.adabound(1e-3, gamma=0.0)
    assert difference(path_of(at_rest, GRADS), path_of(adam, GRADS)) <= 1e-14


@pytest.mark.parametrize("gamma", [0.0, 1e-3])
def test_a_final_rate_of_zero_stands_still(gamma):
    """Both bounds are final_rate times something, so both are zero."""
    path = path_of(oxe.adabound(1e-3, final_rate=0.0, gamma=gamma), GRADS)
    assert not (path - path[0]).any()


def test_bounds_of_ones_own_are_a_schedule_of_the_step():
    """Called with 0, 1, 2, …: here the upper one is all that is left."""
    tx = oxe.adabound(1e6, b1=0.0, bounds=lambda t: (0.0, 1.0 + t))
    path = path_of(tx, np.ones((4, 2)))
    np.testing.assert_allclose(-np.diff(path[:, 0]), [1, 2, 3, 4])


@each
@pytest.mark.parametrize("which", [0, 1])
def test_a_bound_that_becomes_nan_is_seen(name, which):
    def bounds(t):
        pair = [0.5, 1.0]
        pair[which] = jnp.where(t == 0, pair[which], jnp.nan)
        return tuple(pair)

    tx, params = OPTIMIZERS[name](0.1, bounds=bounds), jnp.ones(3)
    state = tx.init(params)
    for expected in (True, False):
        updates, state = tx.update(params, state)
        assert np.all(np.isfinite(updates) == expected)


def test_bounds_may_meet():
    tx = oxe.adabound(1e6, b1=0.0, bounds=lambda t: (0.5, 0.5))
    path = path_of(tx, np.ones((3, 2)))
    np.testing.assert_allclose(-np.diff(path[:, 0]), 0.5)


@each
def test_buffers_and_rate(name):
    params, tx = jnp.ones(17), OPTIMIZERS[name](falling)
    state = tx.init(params)
    assert buffers(state, params) == (3 if name == "amsbound" else 2)
    for _ in range(3):
        _, state = tx.update(params, state)
    np.testing.assert_allclose(oxe.learning_rate(state), falling(2), rtol=1e-6)


@each
@pytest.mark.parametrize(
    ("error", "kw", "message"),
    [
        (ValueError, {"final_rate": -1.0}, "`final_rate` must be in"),
        (ValueError, {"gamma": -1.0}, "`gamma` must be in"),
        (ValueError, {"b2": 1.0}, "`b2` must be in"),
        (TypeError, {"bounds": (0, 1)}, "`bounds` must be callable"),
        (
            TypeError,
            {"bounds": lambda t: 1.0},
            r"`bounds` must return the pair \(lower",
        ),
        (
            TypeError,
            {"bounds": lambda t: (None, 1.0)},
            r"`bounds` must return the pair \(lower, upper\) of real numbers",
        ),
        (
            TypeError,
            {"bounds": lambda t: (jnp.zeros(2), jnp.ones(2))},
            r"`bounds` must return the pair \(lower, upper\) of real numbers",
        ),
        (
            ValueError,
            {"bounds": lambda t: (1, 0)},
            "`bounds` must return a lower bound",
        ),
        (
            ValueError,
            {"bounds": lambda t: (0, 1), "final_rate": 0.2},
            "`final_rate` must be 0.1 with `bounds`",
        ),
        (
            ValueError,
            {"bounds": lambda t: (0, 1), "gamma": 0.1},
            "`gamma` must be 0.001 with `bounds`",
        ),
        (TypeError, {"paper": 1}, "`paper` must be True or False"),
        (ValueError, {"weight_decay": -1.0}, "`weight_decay` must be in"),
    ],
)
def test_wrong_arguments(name, error, kw, message):
    with pytest.raises(error, match=f"{name}: {message}"):
        OPTIMIZERS[name](1e-3, **kw)


@each
def test_bounds_of_ones_own_beside_numbers_held_in_a_state(name):
    """Where every number is traced there is nothing to compare with a default."""
    static = ("bounds", "paper", "mask")
    make = optax.inject_hyperparams(getattr(oxe, name), static_args=static)
    tx, params = make(0.1, bounds=lambda t: (0.0, 0.01)), jnp.ones(3)
    u, _ = jax.jit(tx.update)(params, tx.init(params), params)
    np.testing.assert_allclose(u, -0.01 * 0.1, rtol=1e-5)
