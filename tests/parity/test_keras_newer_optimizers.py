"""Keras' Adafactor, Muon and ScheduleFreeAdamW: all arguments at once, and quirks."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import optax_extras as oxe
from tests.parity.programs import examples, quick_jit
from tests.parity.walks import (
    difference,
    gradients,
    keras_in_full_precision,
    keras_walks,
    our_walks,
    start,
)

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

STEPS = 40
LEAVES = {"embedding_table": (2, 3), "layer_wide": (2, 3), "head_tall": (3, 2)}
LEAVES |= {"bias": (3,), "stack": (2, 2, 2)}


@pytest.fixture(autouse=True)
def keras_in_float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


# ---- All arguments -------------------------------------------------------------------

rate = st.floats(-4, 0).map(lambda x: 10**x)
epsilon = st.floats(-9, -1).map(lambda x: 10**x)
decay = st.one_of(st.none(), st.floats(0, 0.9))
beta = st.floats(0, 0.999)
on_off = st.booleans()
SETTINGS = {
    "Adafactor": st.fixed_dictionaries(
        {
            "learning_rate": rate,
            "beta_2_decay": st.floats(-1.5, 0),
            "epsilon_1": epsilon,
            "epsilon_2": epsilon,
            "clip_threshold": st.floats(1, 4),
            "relative_step": on_off,
            "weight_decay": decay,
        }
    ),
    "Muon": st.fixed_dictionaries(
        {
            "learning_rate": rate,
            "adam_beta_1": beta,
            "adam_beta_2": beta,
            "adam_weight_decay": decay,
            "epsilon": epsilon,
            "weight_decay": decay,
            "exclude_layers": st.sampled_from(
                (None, [], ["head"], ["^wide", "r_w"], [".*"])
            ),
            "exclude_embeddings": on_off,
            "muon_a": st.floats(1.5, 3.5),
            "muon_b": st.floats(-5, -0.5),
            "muon_c": st.floats(0, 2),
            "adam_lr_ratio": st.floats(0.1, 3),
            "momentum": st.floats(0, 0.99),
            "ns_steps": st.integers(0, 2),
            "nesterov": on_off,
            "rms_rate": st.one_of(st.none(), st.floats(0.01, 1)),
        }
    ),
    "ScheduleFreeAdamW": st.fixed_dictionaries(
        {
            "learning_rate": rate,
            "beta_1": st.floats(0.1, 1),
            "beta_2": beta,
            "epsilon": epsilon,
            "warmup_steps": st.integers(0, 2 * STEPS),
            "weight_decay": decay,
        }
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("name", SETTINGS)
def test_any_arguments(name, monkeypatch):
    """Gradients of two decades: Keras adds g² - v to v, which rounds a small g away."""
    keras_in_full_precision(monkeypatch)
    grads, first = gradients(LEAVES, (-1, 1))[:STEPS], start(LEAVES)
    for settings in examples(SETTINGS[name], 30):
        theirs = keras_walks([(name, kw) for kw in settings], grads, first, LEAVES)
        txs = [getattr(oxe.keras, name)(**kw) for kw in settings]
        mine = our_walks(txs, grads, first, LEAVES)
        for kw, walk, reference in zip(settings, mine, theirs, strict=True):
            assert difference(walk, reference) <= 1e-10, kw


# ---- Quirks of Keras -----------------------------------------------------------------


def test_keras_rounds_in_float64():
    """Its means and norms are float32: the numbers here are the unrounded ones."""
    leaves, names = {"layer": (2, 3), "bias": (3,)}, ("Adafactor", "Muon")
    grads, first = gradients(leaves)[:STEPS], start(leaves)
    references = keras_walks([(name, {}) for name in names], grads, first, leaves)
    walks = our_walks([getattr(oxe.keras, x)() for x in names], grads, first, leaves)
    for walk, reference in zip(walks, references, strict=True):
        assert 1e-10 < difference(walk, reference) < 1e-6


def test_relative_step_changes_nothing():
    """In Keras either: the limit of 1 / sqrt(t) is there without it."""
    leaf = {"bias": (3,)}
    grads, first = gradients(leaf)[:9], start(leaf)
    settings = [
        ("Adafactor", {"learning_rate": 3.0, "relative_step": x}) for x in (True, False)
    ]
    walks = keras_walks(settings, grads, first, leaf)
    np.testing.assert_array_equal(*walks)


def test_the_decay_of_adafactor_comes_first():
    """Weights that have decayed by half take half a step."""
    first, grads, leaf = np.full(4, 4.0), np.ones((1, 4)), {"square": (2, 2)}
    txs = [make(0.1, weight_decay=5.0) for make in (oxe.keras.Adafactor, oxe.adafactor)]
    keras_like, plain = our_walks(txs, grads, first, leaf)
    np.testing.assert_allclose(keras_like[1], 4 - 0.5 * 4 - 0.1 * 2, rtol=1e-6)
    np.testing.assert_allclose(plain[1], 4 - 0.5 * 4 - 0.1 * 4, rtol=1e-6)


def test_a_path_decides_about_muon():
    """The expressions match any part of the path."""
    params = {"Embedding_0": {"w": jnp.ones((2, 2))}, "head": {"w": jnp.ones((2, 2))}}

    def matrices(**kw):
        state = oxe.keras.Muon(**kw).init(params)
        state = optax.tree.get(state, "matrices") or state[0].inner_states["matrices"]
        found = jax.tree_util.tree_leaves_with_path(state)
        return {x for x in params for path, _ in found if x in str(path)}

    assert matrices() == {"head"}
    assert matrices(exclude_embeddings=False) == {"Embedding_0", "head"}
    assert matrices(exclude_layers=["ea"]) == set()
    assert matrices(exclude_layers=["^w", "ead$"]) == {"head"}
    assert matrices(exclude_layers=lambda path, leaf: path == "head/w") == set()


def test_muon_has_one_learning_rate():
    tx = oxe.keras.Muon(lambda t: 0.5 + t, exclude_layers=["b"])
    params, update = (
        {"a": jnp.ones((2, 2)), "b": jnp.ones((2, 2))},
        quick_jit(tx.update),
    )
    state = tx.init(params)
    assert oxe.learning_rate(state) == 0.5
    _, state = update(params, state, params)
    _, state = update(params, state, params)
    assert oxe.learning_rate(state) == 1.5
    assert [*oxe.hyperparameters(state)] == ["learning_rate"]


# ---- The weights for evaluation ------------------------------------------------------


def schedule_free(tx, first, grads):
    """The params and the last state, in plain JAX."""

    def step(carry, g):
        u, state = tx.update(g, carry[1], carry[0])
        return (optax.apply_updates(carry[0], u), state), None

    return quick_jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), grads)[0])(first)


def test_averaged_is_x():
    """That is (y - (1 - beta_1) z) / beta_1 of Keras' variables."""
    rng = np.random.default_rng(0)
    grads, first = rng.normal(size=(20, 3, 4)), rng.normal(size=(3, 4))
    settings = {"learning_rate": 0.1, "beta_1": 0.7, "weight_decay": 0.1}
    optimizer = keras.optimizers.ScheduleFreeAdamW(**settings)
    y = keras.Variable(first)
    optimizer.build([y])
    for g in grads:
        optimizer.apply([jnp.asarray(g)])
    z = next(v for v in optimizer.variables if "momentum" in v.path)
    tx = oxe.keras.ScheduleFreeAdamW(**settings)
    params, state = schedule_free(tx, jnp.asarray(first), grads)
    x = (np.asarray(y.value) - 0.3 * np.asarray(z.value)) / 0.7
    np.testing.assert_allclose(oxe.averaged(state), x, rtol=1e-12)
    np.testing.assert_allclose(params, y.value, rtol=1e-12)
    # At the end of `fit` Keras leaves the variables as they are.
    optimizer.finalize_variable_values([y])
    np.testing.assert_allclose(params, y.value, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_params_keep_float32_averages(dtype):
    """Steps far below a rounding of the weights add up, as in float32."""
    grads = jnp.asarray(np.random.default_rng(1).normal(0.5, 1, (300, 64)), dtype)
    tx = oxe.keras.ScheduleFreeAdamW(1e-4, weight_decay=0.1)
    half, wide = jnp.ones(64, dtype), jnp.ones(64, jnp.float32)
    params, state = schedule_free(tx, half, grads)
    _, expected = schedule_free(tx, wide, grads.astype(jnp.float32))
    assert params.dtype == oxe.averaged(state).dtype == dtype
    (x,), (y,) = (s.averages.values() for s in (state, expected))
    assert x.dtype == jnp.float32
    moved = np.abs(np.asarray(y) - 1)
    assert np.abs(np.asarray(x) - np.asarray(y)).max() <= 0.01 * moved.max()
    np.testing.assert_array_equal(oxe.averaged(state), x.astype(dtype))


def test_x_follows_params_that_change_otherwise():
    """As in Keras, where a constraint on the variable changes x."""
    tx = oxe.keras.ScheduleFreeAdamW(0.1, beta_1=0.5)
    zero, one = jnp.zeros(2), jnp.ones(2)
    state = tx.init(one)
    update = quick_jit(tx.update)
    _, state = update(zero, state, 3 * one)
    # x was 1 and becomes 5, as y = (x + z) / 2; at the first update c is 1, so x = z.
    np.testing.assert_allclose(oxe.averaged(state), one)
    _, state = update(zero, state, 3 * one)
    np.testing.assert_allclose(oxe.averaged(state), (5 * one + one) / 2)


def test_two_averages():
    tx = oxe.keras.ScheduleFreeAdamW(0.1, use_ema=True)
    state = tx.init(jnp.ones(2))
    with pytest.raises(ValueError, match="must be one of 'average', 'schedule_free'"):
        oxe.averaged(state)
    np.testing.assert_array_equal(oxe.averaged(state, "schedule_free"), jnp.ones(2))


def test_states_in_few_bits_are_refused():
    tx = oxe.keras.ScheduleFreeAdamW(0.1)
    with pytest.raises(ValueError, match=r"(?s)store weights.*`low_precision_state`"):
        oxe.low_precision_state(tx, min_size=1).init(jnp.ones(2))
