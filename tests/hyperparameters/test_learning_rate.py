"""Reading the learning rate from a state, wherever it is in the tree."""

import re
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(())}


def rate(t):
    """A different one for each update: 0.1, 0.05, 0.0333, …"""
    return 0.1 / (1 + t)


def ours():
    return oxe.scale_by_rate(rate)


PLACES = {
    "alone": ours,
    "chain": lambda: optax.chain(optax.scale_by_adam(), ours()),
    "nested chains": lambda: optax.chain(
        optax.chain(optax.identity(), optax.chain(optax.identity(), ours()))
    ),
    "named_chain": lambda: optax.named_chain(
        ("adam", optax.scale_by_adam()), ("rate", ours())
    ),
    "masked": lambda: optax.masked(oxe.adagrad(rate), {"w": True, "b": False}),
    "partition": lambda: optax.partition(
        {"a": oxe.heavy_ball(rate), "b": optax.set_to_zero()}, {"w": "a", "b": "b"}
    ),
    "MultiSteps": lambda: optax.MultiSteps(
        oxe.adagrad(rate), 1
    ).gradient_transformation(),
    "apply_if_finite": lambda: optax.apply_if_finite(oxe.heavy_ball(rate), 3),
    "flatten": lambda: optax.flatten(oxe.adagrad(rate)),
    "injected optax.sgd": lambda: optax.inject_hyperparams(optax.sgd)(rate),
    "injected heavy_ball": lambda: optax.inject_hyperparams(oxe.heavy_ball)(rate),
    "injected adagrad": lambda: optax.inject_hyperparams(oxe.adagrad)(rate, eps=0.1),
    "injected in a chain": lambda: optax.chain(
        optax.clip(1.0), optax.inject_hyperparams(oxe.heavy_ball)(rate)
    ),
    "all at once": lambda: optax.apply_if_finite(
        optax.masked(
            optax.chain(
                optax.clip(1.0),
                optax.MultiSteps(oxe.adagrad(rate), 1).gradient_transformation(),
            ),
            {"w": True, "b": False},
        ),
        3,
    ),
}


def test_the_rate_of_the_last_update():
    """Before any update, that of the first."""
    optimizers = {name: make() for name, make in PLACES.items()}

    @jax.jit
    def update(states):
        return {
            name: tx.update(PARAMS, states[name], PARAMS)[1]
            for name, tx in optimizers.items()
        }

    states = {name: tx.init(PARAMS) for name, tx in optimizers.items()}
    for expected in (0.1, 0.1, 0.05, 0.1 / 3):
        for name, state in states.items():
            got = oxe.learning_rate(state)
            assert (got.shape, got.dtype) == ((), jnp.float32), name
            np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=name)
        states = update(states)


def test_it_is_what_was_applied():
    tx = oxe.adagrad(rate, eps=0.0)
    state = tx.init(PARAMS)
    for _ in range(3):
        direction = 1 / np.sqrt(np.float32(state[0].count + 1))
        u, state = tx.update(PARAMS, state)
        np.testing.assert_allclose(
            u["w"], -oxe.learning_rate(state) * direction, rtol=1e-6
        )


def test_two_inner_updates_for_each_rate():
    """MultiSteps keeps the state, and so the learning rate, between its updates."""
    tx = optax.MultiSteps(oxe.adagrad(rate), 2).gradient_transformation()
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    for expected in (0.1, 0.1, 0.1, 0.05, 0.05, 0.1 / 3):
        _, state = update(PARAMS, state, PARAMS)
        np.testing.assert_allclose(oxe.learning_rate(state), expected, rtol=1e-6)


def test_inside_jit_scan_and_vmap():
    def run(peak):
        tx = oxe.heavy_ball(lambda t: peak / (1 + t))

        def step(state, _):
            _, state = tx.update(PARAMS, state)
            return state, oxe.learning_rate(state)

        return jax.lax.scan(step, tx.init(PARAMS), length=3)[1]

    found = jax.jit(jax.vmap(run))(jnp.array([0.6, 6.0]))
    np.testing.assert_allclose(found, [[0.6, 0.3, 0.2], [6, 3, 2]], rtol=1e-6)


def test_of_a_batched_state():
    """A state from vmap: one learning rate for each run."""
    peaks = jnp.array([0.1, 0.2, 0.3])
    states = jax.vmap(lambda peak: oxe.heavy_ball(peak).init(PARAMS))(peaks)
    np.testing.assert_array_equal(oxe.learning_rate(states), peaks)


def test_float64():
    with jax.enable_x64(True):
        state = oxe.adagrad(0.1).init(PARAMS)
        assert oxe.learning_rate(state).dtype == jnp.float64
        assert oxe.learning_rate(state) == 0.1


def test_changed_by_hand_in_inject_hyperparams():
    tx = optax.inject_hyperparams(oxe.heavy_ball)(0.1, momentum=0.5)
    _, state = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    state.hyperparams["learning_rate"] = jnp.float32(0.7)
    _, state = tx.update(PARAMS, state, PARAMS)
    assert oxe.learning_rate(state) == np.float32(0.7)


# ---- None, and several ---------------------------------------------------------------


def test_no_rate():
    for tx in (
        optax.adam(rate),
        optax.sgd(0.1),
        oxe.scale_by_adagrad(),
        optax.inject_hyperparams(optax.trace)(decay=0.9),
    ):
        for text in (
            "adamw(schedule)` instead of `optax.adamw(schedule)",
            "scheduled(optax.lion)(learning_rate=",
            "scale_by_rate(schedule)",
        ):
            with pytest.raises(ValueError, match=re.escape(f"`oxe.{text}")):
                oxe.learning_rate(tx.init(PARAMS))
    for state in ((), None, {}, jnp.ones(3), PARAMS):
        with pytest.raises(ValueError, match="`state` must hold a learning rate"):
            oxe.learning_rate(state)


def test_several_rates_are_listed_with_their_paths():
    tx = optax.partition(
        {"fast": oxe.heavy_ball(0.1), "slow": oxe.adagrad(0.01)},
        {"w": "fast", "b": "slow"},
    )
    state = tx.init(PARAMS)
    names = "got 2 of them: 'fast/learning_rate', 'slow/learning_rate'. Read all with"
    with pytest.raises(ValueError, match=names):
        oxe.learning_rate(state)
    # And a part of the state has one, as the message says.
    assert oxe.learning_rate(state.inner_states["fast"]) == np.float32(0.1)
    assert oxe.learning_rate(state.inner_states["slow"]) == np.float32(0.01)


def test_an_injected_rate_beside_another():
    tx = optax.chain(
        optax.inject_hyperparams(oxe.heavy_ball)(0.1), oxe.scale_by_rate(0.5)
    )
    names = "got 2 of them: '0/inner_state/0/carry/learning_rate', '1/rate/learning"
    with pytest.raises(ValueError, match=names):
        oxe.learning_rate(tx.init(PARAMS))
    switch = oxe.switch(oxe.adagrad(0.1), oxe.heavy_ball(0.2), oxe.at_step(1))
    names = "got 2 of them: '0/learning_rate', '1/learning_rate'"
    with pytest.raises(ValueError, match=names):
        oxe.learning_rate(optax.chain(switch, switch).init(PARAMS))


def test_two_factors_beside_one_rate():
    swats = oxe.scale_by_swats()
    state = optax.chain(swats, swats, oxe.scale_by_rate(0.1)).init(PARAMS)
    names = "got 2 of them: '0/carry/learning_rate', '1/carry/learning_rate'"
    with pytest.raises(ValueError, match=names):
        oxe.learning_rate(state)


def test_a_scale_of_other_leaves():
    """It is not a factor of this learning rate; one around a group is."""
    half = oxe.scale_by_metric(oxe.plateau(0.5))
    rated, unrated = oxe.nadam(0.1), optax.sgd(0.1)
    labels = {"w": "a", "b": "b"}

    def groups(a, b):
        return optax.partition({"a": a, "b": b}, labels)

    mask = {"w": True, "b": False}
    for tx, expected in (
        (groups(rated, optax.chain(unrated, half)), 0.1),
        (groups(optax.chain(rated, half), unrated), 0.05),
        (optax.chain(groups(rated, unrated), half), 0.05),
        (optax.chain(rated, optax.masked(half, mask)), 0.1),
        (optax.masked(optax.chain(rated, half), mask), 0.05),
        (optax.chain(rated, half, half), 0.025),
    ):
        assert oxe.learning_rate(tx.init(PARAMS)) == np.float32(expected)


def test_the_factor_of_optax():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    tx = optax.chain(oxe.heavy_ball(0.1), plateau)
    state = tx.init(PARAMS)
    for _ in range(4):
        _, state = tx.update(PARAMS, state, PARAMS, value=1.0)
    assert oxe.learning_rate(state) == np.float32(0.1) * state[1].scale < 0.1


def test_names_that_were_given_twice_are_not_enough():
    named = optax.named_chain(("a", oxe.scale_by_rate(0.1)))
    found = oxe.hyperparameters(optax.chain(named, named).init(PARAMS))
    assert list(found) == ["0/a/rate/learning_rate", "1/a/rate/learning_rate"]


def test_injected_rates_are_listed_by_the_states_that_hold_them():
    injected = optax.inject_hyperparams(optax.sgd)(0.5)
    inner = optax.chain(optax.clip(1.0), injected)
    state = optax.chain(inner, optax.chain(optax.clip(1.0), optax.chain(inner))).init(
        PARAMS
    )
    names = "got 2 of them: '0/1/learning_rate', '1/1/0/1/learning_rate'"
    with pytest.raises(ValueError, match=names):
        oxe.learning_rate(state)
    assert oxe.learning_rate(state[1]) == 0.5


def test_three_phases_with_a_rate_each():
    """A switch in the second phase, and one in the first."""
    a, b, c = (
        oxe.rules.with_learning_rate(oxe.rules.sgd(), x) for x in (1.0, 2.0, 4.0)
    )
    right = oxe.switch(a, oxe.switch(b, c, oxe.at_step(2)), oxe.at_step(2))
    left = oxe.switch(oxe.switch(a, b, oxe.at_step(2)), c, oxe.at_step(4))
    for rule in (right, left):
        tx = oxe.scale_by_moments(rule)
        state, update = tx.init(PARAMS), jax.jit(tx.update)
        for expected in (1, 1, 1, 2, 2, 4):
            assert oxe.learning_rate(state) == expected
            _, state = update(PARAMS, state, PARAMS)


def test_a_switch_between_optimizers_of_optax():
    """They store the learning rate inside `scheduled`; without it, some read NaN."""
    adam, sgd = oxe.scheduled(optax.adam), oxe.scheduled(optax.sgd)
    pairs = {
        "numbers": (adam(1e-3), sgd(0.1)),
        "schedules": (adam(lambda t: 1e-3 * (1 + t)), sgd(lambda t: 0.1 / (1 + t))),
        "first only": (adam(1e-3), optax.sgd(0.1)),
        "second only": (optax.adam(1e-3), sgd(0.1)),
    }
    when = oxe.at_step(2)
    txs = {name: oxe.switch(*pair, when) for name, pair in pairs.items()}

    def step(states):
        updated = {key: tx.update(PARAMS, states[key])[1] for key, tx in txs.items()}
        return updated, {key: oxe.learning_rate(x) for key, x in updated.items()}

    first = {name: tx.init(PARAMS) for name, tx in txs.items()}
    before = {name: float(oxe.learning_rate(state)) for name, state in first.items()}
    for form in (step, jax.jit(step)):
        found, states = {name: [x] for name, x in before.items()}, first
        for _ in range(4):
            states, rates = form(states)
            for name, x in rates.items():
                found[name].append(float(x))
        # Before the first update, that of the first; then that of the last one.
        nan = np.nan
        expected = {
            "numbers": [1e-3, 1e-3, 1e-3, 0.1, 0.1],
            "schedules": [1e-3, 1e-3, 2e-3, 0.1, 0.05],
            "first only": [1e-3, 1e-3, 1e-3, nan, nan],
            "second only": [nan, nan, nan, 0.1, 0.1],
        }
        for name, rates in expected.items():
            np.testing.assert_allclose(found[name], rates, rtol=1e-6, err_msg=name)
    neither = oxe.switch(optax.adam(1e-3), optax.sgd(0.1), when)
    with pytest.raises(ValueError, match="`state` must hold a learning rate"):
        oxe.learning_rate(neither.init(PARAMS))


def test_a_rate_that_is_called_lr():
    def mine(lr):
        return optax.sgd(lr)

    for make in (mine, oxe.pytorch.SGD):
        state = oxe.scheduled(make)(lr=0.25).init(PARAMS)
        assert oxe.learning_rate(state) == 0.25
        state = oxe.set_hyperparameters(state, lr=0.5)
        assert oxe.learning_rate(state) == 0.5
        with pytest.raises(ValueError, match=r"`lr` must be in \[0, inf\), got -1"):
            oxe.set_hyperparameters(state, lr=-1.0)


# ---- Params that look like rates -----------------------------------------------------


class Meta(NamedTuple):
    """Params that contain learned learning rates."""

    learning_rate: jax.Array
    w: jax.Array


class Module(eqx.Module):
    learning_rate: jax.Array
    w: jax.Array


ONE = jnp.ones(())
CONFUSING = {
    "dict": {"learning_rate": ONE, "w": jnp.ones(2)},
    "nested dict": {"hyperparams": {"learning_rate": ONE}, "w": jnp.ones(2)},
    "NamedTuple": Meta(ONE, jnp.ones(2)),
    "Equinox module": Module(ONE, jnp.ones(2)),
}


@pytest.mark.parametrize("params", CONFUSING.values(), ids=CONFUSING)
def test_params_that_look_like_rates(params):
    for make in (oxe.heavy_ball, oxe.adagrad):
        tx = make(rate)
        update = jax.jit(tx.update)
        _, state = update(params, tx.init(params), params)
        _, state = update(params, state, params)
        assert oxe.learning_rate(state) == np.float32(0.05)
    with pytest.raises(ValueError, match="`state` must hold a learning rate"):
        oxe.learning_rate(optax.adam(0.1).init(params))


# ---- Flax NNX ------------------------------------------------------------------------


def test_flax_nnx():
    """NNX wraps every leaf of the state in a variable."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, oxe.adagrad(rate), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        grads = nnx.grad(lambda m: jnp.sum(m(jnp.ones((1, 2))) ** 2))(model)
        optimizer.update(model, grads)

    for expected in (0.1, 0.1, 0.05):
        np.testing.assert_allclose(
            oxe.learning_rate(optimizer.opt_state), expected, rtol=1e-6
        )
        step(model, optimizer)


def test_a_phase_with_several_rates_has_none_of_its_own():
    """It is unclear which of the two is meant: all are listed."""
    parts = {"x": oxe.nadam(0.1), "y": oxe.nadam(0.2)}
    first = optax.partition(parts, {"x": "x", "y": "y"})
    tx = oxe.switch(first, oxe.heavy_ball(0.3), oxe.at_step(1))
    params = {"x": jnp.ones(2), "y": jnp.ones(2)}
    state = tx.init(params)
    update = jax.jit(tx.update)
    for _ in range(2):  # in either phase
        with pytest.raises(ValueError, match="single learning rate, got 3 of them"):
            oxe.learning_rate(state)
        found = sorted(map(float, oxe.hyperparameters(state).values()))
        np.testing.assert_allclose(found, [0.1, 0.2, 0.3], rtol=1e-6)
        _, state = update(params, state, params)
