"""Every schedule of `oxe.keras` against Keras' own, step by step, in float64.

Keras does not have the callback `CyclicLR` of bckenstler/CLR: `clr` is its formula.
"""

import inspect
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import optax_extras as oxe
from tests.parity.programs import examples, quick_jit

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

CLOSE = 1e-11  # times the largest learning rate
STEPS = 300
COUNTS = np.arange(STEPS)

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
    """The callback's learning rate at iteration t."""
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
    """Whether it is a callback of Keras, which reacts to a metric."""
    return hasattr(keras.callbacks, name)


OTHERS = ("OptimizerMap", "load_variables")
SCHEDULES = [
    name
    for name in oxe.keras.__all__
    if not is_optimizer(name) and not is_callback(name) and name not in OTHERS
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
    """Make Keras compute in float64, the dtype of the initial learning rate.

    On the JAX backend Keras' cosine is always float32, so it is replaced.
    """
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    theirs = sys.modules[keras.optimizers.schedules.CosineDecay.__module__]
    monkeypatch.setattr(theirs.ops, "cos", jnp.cos)
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


# Not compiled: XLA multiplies by a reciprocal, which makes Keras' remaining fraction
# -1e-7 at the end, and then Keras takes a power of it.
BY_OPERATION = ("PolynomialDecay",)


def both(name, cases):
    """For each case: the arguments, Keras' values and ours."""

    def ours(t):
        return [getattr(oxe.keras, name)(**words)(t) for words in cases]

    def theirs(t):
        made = getattr(keras.optimizers.schedules, name)
        return [jax.vmap(made(**words))(t) for words in cases]

    found = map(np.asarray, quick_jit(ours)(COUNTS))
    if name in OURS_ALONE:
        formula, steps = OURS_ALONE[name], COUNTS.tolist()
        expected = [np.array([formula(t, **words) for t in steps]) for words in cases]
    else:
        run = theirs if name in BY_OPERATION else quick_jit(theirs)
        expected = map(np.asarray, run(COUNTS))
    return zip(cases, expected, found, strict=True)


def compare_float64(name, count):
    for cases in examples(WORDS[name], count):
        for words, expected, found in both(name, cases):
            assert found.dtype == expected.dtype == np.float64
            scale = max(*expected, words.get("max_lr", 0))
            assert abs(found - expected).max() <= CLOSE * scale, words


def compare_float32(name, count):
    """Without x64: within 8 ulps, plus 2 for every period."""
    for cases in examples(WORDS[name], count):
        for words, expected, found in both(name, cases):
            assert found.dtype == expected.dtype == np.float32
            period = words.get("decay_steps") or words.get("first_decay_steps") or STEPS
            error = abs(found.astype(np.float64) - expected) / np.spacing(
                expected.max()
            )
            np.testing.assert_array_less(error, 8 + 2 * COUNTS / period, str(words))


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step(name, double):
    compare_float64(name, 8)


@pytest.mark.full
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_of_many_examples(name, double):
    compare_float64(name, 150)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in OURS_ALONE])
def test_float32(name):
    compare_float32(name, 3)


def test_a_restart_that_keras_misses():
    """Keras finds the cycle with a float32 logarithm; one begins at 2 (2^13 - 1)."""
    words = {"initial_learning_rate": 1.0, "first_decay_steps": 2}
    theirs = keras.optimizers.schedules.CosineDecayRestarts(**words)
    ours = oxe.keras.CosineDecayRestarts(**words)
    found = quick_jit(lambda t: (theirs(t), ours(t)))(16382)
    assert [float(x) for x in found] == [0.0, 1.0]


def test_the_old_value_holds_at_a_boundary(double):
    words = {"boundaries": [3, 5], "values": [0.1, 0.2, 0.3]}
    for theirs in (keras.optimizers.schedules, oxe.keras):
        found = quick_jit(jax.vmap(theirs.PiecewiseConstantDecay(**words)))(
            np.arange(8)
        )
        assert found.tolist() == [0.1] * 4 + [0.2] * 2 + [0.3] * 2


def test_traced_boundaries():
    def at(boundary, t):
        return oxe.keras.PiecewiseConstantDecay([boundary], [1.0, 2.0])(t)

    last = np.int32(2**31 - 1)
    boundaries, counts = np.int32([0, 7, last, 7]), np.int32([0, 7, last, 8])
    assert quick_jit(jax.vmap(at))(boundaries, counts).tolist() == [1.0, 1.0, 1.0, 2.0]


GONE = {"self", "name", "t"}


@pytest.mark.parametrize("name", SCHEDULES)
def test_arguments_are_theirs(name):
    theirs = OURS_ALONE.get(name) or getattr(keras.optimizers.schedules, name).__init__
    theirs = inspect.signature(theirs).parameters
    ours = inspect.signature(getattr(oxe.keras, name)).parameters
    assert list(ours) == [x for x in theirs if x not in GONE]
    assert all(ours[x].default == theirs[x].default for x in ours)
    with pytest.raises(TypeError, match=f"^{name}: `name` must not be given"):
        getattr(oxe.keras, name)(name="decay")
