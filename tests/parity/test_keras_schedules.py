"""Every schedule of `oxe.keras` against Keras' own, step by step, in float64.

The callback `CyclicLR` of bckenstler/CLR is no part of Keras; its formula stands here.
"""

import inspect
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optax_extras as oxe

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

CLOSE = 1e-11  # of the first rate
STEPS = 300
COUNTS = np.arange(STEPS)  # always the same, so that JAX compiles every op once
modest = settings(deadline=None, derandomize=True, max_examples=15, database=None)

rate = st.floats(1e-4, 1.0)
steps = st.integers(1, 290)
alpha = st.one_of(st.just(0.0), st.floats(0, 1))


def clr(
    t,
    base_lr=0.001,
    max_lr=0.006,
    step_size=2000.0,
    mode="triangular",
    gamma=1.0,
    scale_fn=None,
    scale_mode="cycle",
):
    """The callback's rate at iteration t."""
    cycle = np.floor(1 + t / (2 * step_size))
    x = np.abs(t / step_size - 2 * cycle + 1)
    if scale_fn is None:
        scale_mode = "iterations" if mode == "exp_range" else "cycle"
        scale_fn = {
            "triangular": lambda x: 1.0,
            "triangular2": lambda x: 1 / 2.0 ** (x - 1),
            "exp_range": lambda x: gamma**x,
        }[mode]
    scale = scale_fn(cycle if scale_mode == "cycle" else t)
    return base_lr + (max_lr - base_lr) * np.maximum(0, 1 - x) * scale


def is_optimizer(name):
    theirs = getattr(keras.optimizers, name, None)
    return isinstance(theirs, type) and issubclass(theirs, keras.optimizers.Optimizer)


def is_callback(name):
    """One of Keras' own, which is driven by a metric."""
    return hasattr(keras.callbacks, name)


SCHEDULES = [
    name
    for name in oxe.keras.__all__
    if not is_optimizer(name) and not is_callback(name)
]
OURS_ALONE = {"CyclicLR": clr}


@st.composite
def piecewise(draw):
    after = sorted(draw(st.sets(st.integers(0, 290), min_size=1, max_size=5)))
    values = st.lists(rate, min_size=len(after) + 1, max_size=len(after) + 1)
    return {"boundaries": after, "values": draw(values)}


def some(**words):
    return st.fixed_dictionaries(words)


WORDS = {
    "ExponentialDecay": some(
        initial_learning_rate=rate,
        decay_steps=steps,
        decay_rate=st.floats(0.8, 1.0),
        staircase=st.booleans(),
    ),
    "InverseTimeDecay": some(
        initial_learning_rate=rate,
        decay_steps=steps,
        decay_rate=st.floats(0, 2),
        staircase=st.booleans(),
    ),
    "PiecewiseConstantDecay": piecewise(),
    "PolynomialDecay": some(
        initial_learning_rate=rate,
        decay_steps=steps,
        end_learning_rate=rate,
        power=st.floats(0.3, 3.0),
        cycle=st.booleans(),
    ),
    "CosineDecay": some(
        initial_learning_rate=rate,
        decay_steps=steps,
        alpha=alpha,
        warmup_target=st.one_of(st.none(), rate),
        warmup_steps=st.integers(0, 90),
    ),
    "CosineDecayRestarts": some(
        initial_learning_rate=rate,
        first_decay_steps=st.integers(2, 60),
        t_mul=st.sampled_from([1.0, 1.5, 2.0, 3.0]),
        m_mul=st.floats(0.5, 1.05),
        alpha=alpha,
    ),
    "CyclicLR": some(
        base_lr=rate,
        max_lr=rate,
        step_size=st.integers(1, 60).map(float),
        mode=st.sampled_from(["triangular", "triangular2", "exp_range"]),
        gamma=st.floats(0.98, 1.0),
        scale_fn=st.sampled_from([None, None, lambda x: 5 / (4 + x)]),
        scale_mode=st.sampled_from(["cycle", "iterations"]),
    ),
}


def test_every_schedule_has_a_case():
    assert set(WORDS) == set(SCHEDULES)
    theirs = keras.optimizers.schedules
    of_keras = {
        name
        for name in SCHEDULES
        if issubclass(getattr(theirs, name, type(None)), theirs.LearningRateSchedule)
    }
    assert set(SCHEDULES) == of_keras | set(OURS_ALONE)


@pytest.fixture
def double(monkeypatch):
    """Keras computes in the dtype of the first rate, which floatx is.

    Its cosine alone always is float32 (with JAX below), so the schedules get another.
    """
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    theirs = sys.modules[keras.optimizers.schedules.CosineDecay.__module__]
    monkeypatch.setattr(theirs.ops, "cos", jnp.cos)
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


def theirs_of(name, words):
    if name in OURS_ALONE:
        return np.array([OURS_ALONE[name](t, **words) for t in COUNTS.tolist()])
    made = getattr(keras.optimizers.schedules, name)(**words)
    return np.array(jax.vmap(made)(COUNTS))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step(name, double):
    @modest
    @given(words=WORDS[name])
    def compare(words):
        expected = theirs_of(name, words)
        found = np.asarray(getattr(oxe.keras, name)(**words)(COUNTS))
        assert found.dtype == expected.dtype == np.float64
        scale = max(x for x in (*expected, words.get("max_lr", 0)))
        assert abs(found - expected).max() <= CLOSE * scale

    compare()


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in OURS_ALONE])
def test_float32(name):
    """As both are without x64, cosine and all: to 2 ulps for every period, and 8."""

    @settings(modest, max_examples=5)
    @given(words=WORDS[name])
    def compare(words):
        expected = theirs_of(name, words)
        found = np.asarray(getattr(oxe.keras, name)(**words)(COUNTS))
        assert found.dtype == expected.dtype == np.float32
        period = words.get("decay_steps") or words.get("first_decay_steps") or STEPS
        ulp = np.spacing(expected.max())
        error = abs(found.astype(np.float64) - expected) / ulp
        np.testing.assert_array_less(error, 8 + 2 * COUNTS / period)

    compare()


def test_a_restart_that_keras_misses():
    """A logarithm of a float32 finds the cycle; 2 (2^13 - 1) is where one begins."""
    words = {"initial_learning_rate": 1.0, "first_decay_steps": 2}
    theirs = keras.optimizers.schedules.CosineDecayRestarts(**words)
    assert float(theirs(16382)) == 0.0
    assert float(oxe.keras.CosineDecayRestarts(**words)(16382)) == 1.0


def test_the_old_value_holds_at_a_boundary(double):
    words = {"boundaries": [3, 5], "values": [0.1, 0.2, 0.3]}
    expected = [0.1] * 4 + [0.2] * 2 + [0.3] * 2
    theirs = keras.optimizers.schedules.PiecewiseConstantDecay(**words)
    assert [float(theirs(t)) for t in range(8)] == expected
    ours = oxe.keras.PiecewiseConstantDecay(**words)
    assert [float(ours(t)) for t in range(8)] == expected


def test_traced_boundaries():
    def at(boundary, t):
        return oxe.keras.PiecewiseConstantDecay([boundary], [1.0, 2.0])(t)

    last = np.int32(2**31 - 1)
    assert [float(jax.jit(at)(b, b)) for b in (0, 7, last)] == [1.0] * 3
    assert float(jax.jit(at)(7, 8)) == 2.0


GONE = {"self", "name"}


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in OURS_ALONE])
def test_arguments_are_theirs(name):
    theirs = getattr(keras.optimizers.schedules, name).__init__
    theirs = inspect.signature(theirs).parameters
    ours = inspect.signature(getattr(oxe.keras, name)).parameters
    assert list(ours) == [x for x in theirs if x not in GONE]
    assert all(ours[x].default == theirs[x].default for x in ours)


def test_arguments_of_the_callback():
    theirs = inspect.signature(clr).parameters
    ours = inspect.signature(oxe.keras.CyclicLR).parameters
    assert list(ours) == list(theirs)[1:]
    assert all(ours[x].default == theirs[x].default for x in ours)


@pytest.mark.parametrize("name", SCHEDULES)
def test_their_name_is_refused(name):
    with pytest.raises(TypeError) as caught:
        getattr(oxe.keras, name)(name="decay")
    assert str(caught.value).startswith(f"{name}: `name` must not be given")
