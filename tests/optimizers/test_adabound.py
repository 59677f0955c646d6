"""AdaBound and AMSBound against the authors' code and the paper's rule in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import (
    difference,
    falling,
    gradients,
    path_of,
    paths_of,
)

GRADS = gradients()
OPTIMIZERS = {"adabound": oxe.adabound, "amsbound": oxe.amsbound}
each = pytest.mark.parametrize("name", OPTIMIZERS)


def rule(
    grads, rate, largest, b1=0.9, b2=0.999, eps=1e-8, final=0.1, gamma=1e-3,
    base_lr=None, paper=False,
):  # fmt: skip
    """Luo et al.'s published code, or with `paper` their algorithms 2 and 3."""
    eta = rate if callable(rate) else lambda t: rate
    base = base_lr or eta(0)
    m, v, top = (np.zeros(grads.shape[1]) for _ in range(3))
    path = [m]
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        top = np.maximum(top, v) if largest else v
        size, last, share = eta(t - 1), final, 1 / np.sqrt(t)
        if not paper:
            size *= np.sqrt(1 - b2**t) / (1 - b1**t)
            last, share = final * eta(t - 1) / base, 1
        lo, hi = last * (1 - 1 / (gamma * t + 1)), last * (1 + 1 / (gamma * t))
        path.append(path[-1] - np.clip(size / (np.sqrt(top) + eps), lo, hi) * m * share)
    return np.array(path)


def warm(t):
    """A learning rate whose first value is 0, for NumPy and for JAX."""
    return 0.05 * (t - (t > 4) * (t - 4))


OPTIONS = [
    (falling, {}),
    (1e-3, {"eps": 1e-2, "b1": 0.5, "b2": 0.9}),
    (falling, {"final": 1e-3, "gamma": 0.1}),
    (falling, {"paper": True}),
    (1e-3, {"paper": True, "gamma": 0.1}),
    (warm, {"base_lr": 0.2}),
    (warm, {"base_lr": 0.1, "gamma": 1.0, "final": 1e-3}),
]


@each
@pytest.mark.parametrize("options", [{}, {"gamma": 0.0}, {"paper": True}])
def test_nothing_moves_at_a_learning_rate_of_0(name, options):
    for rate in (0.0, lambda t: 0.1 * (t > 1)):
        base = {} if options.get("paper") or not callable(rate) else {"base_lr": 0.1}
        tx = OPTIMIZERS[name](rate, **options, **base)
        state = tx.init(jnp.ones(3))
        for _ in range(2):
            u, state = tx.update(jnp.ones(3), state)
            assert not u.any()


@each
def test_a_base_that_cannot_be_known_is_refused(name):
    """Also where Optax or `scheduled` makes an array of the schedule's value."""
    make, rate = OPTIMIZERS[name], oxe.schedules.warmup(100, 1e-3)
    for rising in (
        oxe.schedules.warmup(100, 1e-3, init_value=1e-6),
        oxe.schedules.one_cycle(1e-3, 2001),
        oxe.schedules.piecewise_constant([1e-5, 1e-3], [500]),
    ):
        with pytest.raises(ValueError, match="starts at 0 or rises"):
            make(rising)
    with pytest.raises(ValueError, match=f"{name}: `base_lr` must be given if"):
        make(rate)
    with pytest.raises(ValueError, match=f"{name}: `base_lr` must be given if"):
        oxe.scheduled(make)(rate)
    with pytest.raises(ValueError, match=f"{name}: `base_lr` must be given if"):
        optax.inject_hyperparams(make)(rate).init(jnp.ones(3))
    # Where nothing can be known, as under `jit`, the update says so.
    made = jax.jit(lambda rate: updated_twice(make(lambda t: rate * t)))
    assert not np.isfinite(made(1e-3)).any()


def updated_twice(tx):
    g = jnp.ones(3)
    _, state = tx.update(g, tx.init(g), g)
    return tx.update(g, state, g)[0]


@each
def test_a_base_without_effect_is_refused(name):
    with pytest.raises(
        ValueError, match=f"{name}: `base_lr` must be None with `paper`"
    ):
        OPTIMIZERS[name](1e-3, base_lr=1e-3, paper=True)


@each
def test_the_bounds_follow_a_learning_rate_that_is_set(name):
    """As `param_groups[0]["lr"]` of the authors' code."""
    tx, g = OPTIMIZERS[name](1e-3, gamma=1e9), jnp.ones(3)
    state = oxe.set_hyperparameters(tx.init(g), learning_rate=1e-4)
    u, _ = tx.update(g, state, g)
    np.testing.assert_allclose(u, -0.1 * 0.1 * 0.1, rtol=1e-6)  # F / 10 times m
    state = OPTIMIZERS[name](0.0).init(g)  # the first one above 0 is the base
    state = oxe.set_hyperparameters(state, learning_rate=1e-3)
    for rate in (1e-3, 1e-4):
        state = oxe.set_hyperparameters(state, learning_rate=rate)
        u, state = OPTIMIZERS[name](0.0, b1=0.0, gamma=1e9).update(g, state, g)
        np.testing.assert_allclose(u, -0.1 * rate / 1e-3, rtol=1e-6)


@each
@pytest.mark.parametrize("wrap", [oxe.scheduled, optax.inject_hyperparams])
def test_the_base_is_the_first_rate_inside_of_a_wrapper(name, wrap):
    """So that a schedule passed from outside acts as one given to the optimizer."""
    rate, g = oxe.schedules.step(1e-3, 2, 0.1), jnp.ones(3)
    txs = [make(rate) for make in (OPTIMIZERS[name], wrap(OPTIMIZERS[name]))]
    states = [tx.init(g) for tx in txs]
    for _ in range(5):
        pairs = [tx.update(g, x, g) for tx, x in zip(txs, states, strict=True)]
        (one, other), states = zip(*pairs, strict=True)
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert oxe.learning_rate(states[1]) == rate(4)


@each
def test_the_rule(name):
    txs = []
    for rate, kw in OPTIONS:
        ours = {"final_rate" if key == "final" else key: x for key, x in kw.items()}
        txs.append(OPTIMIZERS[name](rate, **ours))
    paths = paths_of(dict(enumerate(txs)), GRADS)
    for i, (rate, kw) in enumerate(OPTIONS):
        expected = rule(GRADS, rate, name == "amsbound", **kw)
        assert difference(paths[i], expected) <= 1e-12, (rate, kw)


def test_the_bounds():
    """Computed by hand."""
    rule = oxe.rules.adabound(1e-3)
    for t, lo, hi in (1, 9.99e-5, 100.1), (1000, 0.05, 0.2), (100_000, 0.09901, 0.101):
        tableau, _ = rule.step(jnp.int32(t), rule.init())
        np.testing.assert_allclose([tableau.lo, tableau.hi], [lo, hi], rtol=1e-4)


def test_limits():
    """SGD once the bounds have met, Adam without bounds, no step for a final rate 0."""
    adam = oxe.scale_by_moments(oxe.rules.adam(eps_hat=True))
    paths = paths_of(
        {
            "met": oxe.adabound(1e-3, final_rate=0.05, gamma=1e9),
            "sgd": optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.05)),
            "free": oxe.adabound(1e-3, bounds=lambda t: (0.0, jnp.inf)),
            "at rest": oxe.adabound(1e-3, gamma=0.0),
            "adam": optax.chain(adam, optax.scale(-1e-3)),
            "still": oxe.adabound(1e-3, final_rate=0.0),
            "still, gamma 0": oxe.adabound(1e-3, final_rate=0.0, gamma=0.0),
        },
        GRADS,
    )
    assert difference(paths["met"], paths["sgd"]) <= 1e-8
    assert difference(paths["free"], paths["adam"]) <= 1e-14
    assert difference(paths["at rest"], paths["adam"]) <= 1e-14
    assert not paths["still"].any()
    assert not paths["still, gamma 0"].any()


def test_bounds_of_ones_own_are_a_schedule_of_the_step():
    """Called with 0, 1, 2, ...; only the upper one acts here. Both may be equal."""
    tx = oxe.adabound(1e6, b1=0.0, bounds=lambda t: (jnp.minimum(t, 1.0), 1.0 + t))
    path = path_of(tx, np.ones((4, 2)))
    np.testing.assert_allclose(-np.diff(path[:, 0]), [1, 2, 3, 4])
    tx = oxe.adabound(1e6, b1=0.0, bounds=lambda t: (0.5, 0.5))
    path = path_of(tx, np.ones((4, 2)))
    np.testing.assert_allclose(-np.diff(path[:, 0]), 0.5)


def test_a_bound_that_becomes_nan_is_seen():
    def bounds(which, t):
        pair = [0.5, 1.0]
        pair[which] = jnp.where(t == 0, pair[which], jnp.nan)
        return tuple(pair)

    txs = {
        (name, which): make(0.1, bounds=lambda t, which=which: bounds(which, t))
        for name, make in OPTIMIZERS.items()
        for which in (0, 1)
    }
    for name, path in paths_of(txs, np.ones((2, 3)), "float32").items():
        assert np.all(np.isfinite(path[1])), name
        assert not np.any(np.isfinite(path[2])), name


WRONG_BOUNDS = [
    (TypeError, (0, 1), "`bounds` must be callable"),
    (TypeError, lambda t: 1.0, r"`bounds` must return the pair \(lower"),
    (
        TypeError,
        lambda t: (None, 1.0),
        r"`bounds` must return the pair \(lower, upper\)",
    ),
    (
        TypeError,
        lambda t: (jnp.zeros(2), jnp.ones(2)),
        r"`bounds` must return the pair \(lower, upper\) of real numbers",
    ),
    (ValueError, lambda t: (1, 0), "`bounds` must return a lower bound"),
]


@each
def test_wrong_bounds(name):
    """Other arguments are in tests/optimizers/test_bad_arguments.py."""
    make = OPTIMIZERS[name]
    for error, bounds, message in WRONG_BOUNDS:
        with pytest.raises(error, match=f"{name}: {message}"):
            make(1e-3, bounds=bounds)
    for argument, other, default in (("final_rate", 0.2, 0.1), ("gamma", 0.1, 0.001)):
        message = f"{name}: `{argument}` must be {default} with `bounds`"
        with pytest.raises(ValueError, match=message):
            make(1e-3, bounds=lambda t: (0, 1), **{argument: other})


@each
def test_bounds_of_ones_own_beside_numbers_held_in_a_state(name):
    """A traced number is not compared with its default."""
    static = ("bounds", "paper", "mask")
    make = optax.inject_hyperparams(getattr(oxe, name), static_args=static)
    tx, params = make(0.1, bounds=lambda t: (0.0, 0.01)), jnp.ones(3)
    u, _ = jax.jit(tx.update)(params, tx.init(params), params)
    np.testing.assert_allclose(u, -0.01 * 0.1, rtol=1e-5)
