"""ReduceLROnPlateau of both packages against the installed originals, step by step."""

import os
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import optax_extras as oxe
from tests.parity.programs import quick_jit

modest = settings(deadline=None, derandomize=True, max_examples=15, database=None)
thorough = settings(deadline=None, derandomize=True, max_examples=300, database=None)
# Multiples of an eighth, so that rounding never puts a metric on a threshold.
EIGHTHS = st.integers(0, 24).map(lambda n: n / 8)
METRICS = st.lists(EIGHTHS, min_size=60, max_size=60)
COMMON = {
    "factor": st.sampled_from([0.3, 0.5, 0.9]),
    "patience": st.integers(0, 4),
    "mode": st.sampled_from(["min", "max"]),
    "cooldown": st.integers(0, 4),
    "min_lr": st.sampled_from([0.0, 0.01]),
}


def ours(schedule, metrics):
    """What `learning_rate` reads in an optimizer after each `observe`."""
    (monitor,) = schedule.init()
    state = oxe.heavy_ball(schedule).init(jnp.ones(1))
    padded = np.ones(max(60, len(metrics)))  # mostly one length: one compilation
    padded[: len(metrics)] = metrics
    (plateau,) = schedule.init().values()
    modes = monitor, *plateau.mode, *plateau.threshold_mode
    return np.asarray(run(modes, state, padded))[: len(metrics)]


@partial(quick_jit, static_argnums=0)
def run(modes, state, metrics):
    """One program for every kind of plateau: its numbers are in the state."""
    monitor, mode, kind = modes
    words = {"monitor": monitor, "mode": mode, "threshold_mode": kind}
    tx = oxe.heavy_ball(oxe.plateau(1.0, **words))

    def step(state, metric):
        state = oxe.observe(state, **{monitor: metric})
        _, state = tx.update(jnp.ones(1), state)
        return state, oxe.learning_rate(state)

    return jax.lax.scan(step, state, metrics)[1]


# ---- PyTorch -------------------------------------------------------------------------


def pytorchs(metrics, **words):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **words)
    found = []
    for metric in metrics:
        optimizer.step()
        scheduler.step(metric)
        found.append(optimizer.param_groups[0]["lr"])
    return found


PYTORCH = st.fixed_dictionaries(
    {
        **COMMON,
        "threshold": st.sampled_from([1e-4, 0.05, 0.3]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "eps": st.sampled_from([1e-8, 0.03]),
    }
)


def check_pytorch(words, metrics):
    with jax.enable_x64(True):
        schedule = oxe.pytorch.ReduceLROnPlateau(0.5, **words)
        found = ours(schedule, metrics)
    np.testing.assert_array_equal(found, pytorchs(metrics, **words))


@modest
@given(PYTORCH, METRICS)
def test_pytorch(words, metrics):
    check_pytorch(words, metrics)


@pytest.mark.full
@thorough
@given(PYTORCH, METRICS)
def test_pytorch_thoroughly(words, metrics):
    check_pytorch(words, metrics)


def test_pytorchs_defaults():
    """Both with the defaults of the constructors: patience 10, factor 0.1."""
    metrics = [1.0] + [0.99995] * 40
    with jax.enable_x64(True):
        found = ours(oxe.pytorch.ReduceLROnPlateau(0.5), metrics)
    np.testing.assert_array_equal(found, pytorchs(metrics))
    assert len(set(found)) == 4


# ---- Keras ---------------------------------------------------------------------------


def kerass(metrics, monitor="val_loss", **words):
    """The callback, in float64, on a model that only has a learning rate."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    callback = keras.callbacks.ReduceLROnPlateau(monitor=monitor, **words)
    model = SimpleNamespace(optimizer=SimpleNamespace(learning_rate=np.float64(0.5)))
    callback.set_model(model)
    callback.on_train_begin()
    found = []
    for epoch, metric in enumerate(metrics):
        callback.on_epoch_end(epoch, {monitor: metric})
        found.append(float(model.optimizer.learning_rate))
    return found


KERAS = st.fixed_dictionaries({**COMMON, "min_delta": st.sampled_from([1e-4, 0.3])})


def check_keras(words, metrics):
    with jax.enable_x64(True):
        schedule = oxe.keras.ReduceLROnPlateau(0.5, **words)
        found = ours(schedule, metrics)
        expected = kerass(metrics, **words)
    np.testing.assert_array_equal(found, expected)


@modest
@given(KERAS, METRICS)
def test_keras(words, metrics):
    check_keras(words, metrics)


@pytest.mark.full
@thorough
@given(KERAS, METRICS)
def test_keras_thoroughly(words, metrics):
    check_keras(words, metrics)


def test_kerass_defaults():
    metrics = [1.0] + [0.99995] * 40
    with jax.enable_x64(True):
        found = ours(oxe.keras.ReduceLROnPlateau(0.5), metrics)
        np.testing.assert_array_equal(found, kerass(metrics))
    assert len(set(found)) == 5


def test_off_by_one_against_each_other():
    """Keras' patience p + 1 and cooldown c + 1 are PyTorch's p and c, for c > 0."""
    metrics = [1.0] * 20
    words = {"factor": 0.5}
    keras = kerass(metrics, patience=3, cooldown=3, **words)
    assert keras == pytorchs(metrics, patience=2, cooldown=2, **words)
    assert keras != pytorchs(metrics, patience=3, cooldown=3, **words)
    one = kerass(metrics, patience=3, cooldown=1, **words)
    assert one == kerass(metrics, patience=3, cooldown=0, **words)
    none = kerass(metrics, patience=0, **words)
    assert none == kerass(metrics, patience=1, **words)
    with jax.enable_x64(True):
        found = ours(
            oxe.keras.ReduceLROnPlateau(0.5, patience=3, cooldown=3, **words),
            np.array(metrics),
        )
    assert list(found) == keras


def test_a_nan_that_comes_first():
    """In Keras it stays the best forever; here it is bad."""
    metrics = [float("nan"), 3.0, 2.0, 1.0, 0.5, 0.25]
    words = {"factor": 0.5, "patience": 2}
    theirs = kerass(metrics, **words)
    assert theirs[-1] < 0.5
    found = ours(oxe.keras.ReduceLROnPlateau(0.5, **words), metrics)
    assert list(found) == [0.5] * 6


# ---- Bad input -----------------------------------------------------------------------


PACKAGES = {"pytorch": oxe.pytorch, "keras": oxe.keras}
each_package = pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)


@each_package
def test_numbers_out_of_range(package):
    for words in (
        {"factor": 1.0},
        {"factor": 0.0},
        {"patience": -1},
        {"cooldown": -1},
        {"mode": "best"},
        {"min_lr": 0.6},
        {"min_lr": -0.1},
    ):
        (name,) = words
        with pytest.raises(ValueError, match=f"ReduceLROnPlateau: `{name}` must be"):
            package.ReduceLROnPlateau(0.5, **words)


def test_by_their_own_names():
    with pytest.raises(ValueError, match="ReduceLROnPlateau: `lr` must be in"):
        oxe.pytorch.ReduceLROnPlateau(-1.0)
    with pytest.raises(ValueError, match="`threshold` must be in"):
        oxe.pytorch.ReduceLROnPlateau(0.5, threshold=-1.0)
    with pytest.raises(TypeError, match="`min_lr` must be a real number"):
        oxe.pytorch.ReduceLROnPlateau(0.5, min_lr=[0.1, 0.2])
    with pytest.raises(ValueError, match="`min_delta` must be in"):
        oxe.keras.ReduceLROnPlateau(0.5, min_delta=-1.0)
    with pytest.raises(
        ValueError, match="`mode` must be 'min' or 'max' for the metric"
    ):
        oxe.keras.ReduceLROnPlateau(0.5, monitor="val_acc")
    oxe.keras.ReduceLROnPlateau(0.5, monitor="val_acc", mode="max")
    with pytest.raises(ValueError, match=r"^ReduceLROnPlateau: `monitor` must"):
        oxe.keras.ReduceLROnPlateau(0.5, monitor="params", mode="min")


def test_foreign_options():
    for package, option in (
        (oxe.pytorch, "optimizer"),
        (oxe.pytorch, "verbose"),
        (oxe.keras, "verbose"),
    ):
        with pytest.raises(TypeError, match=f"`{option}` must not be given"):
            package.ReduceLROnPlateau(0.5, **{option: 1})


@each_package
def test_steps_may_be_traced(package):
    """Patience and cooldown may be traced: six equal metrics, as in the originals."""
    cases = [(0, 0), (3, 0), (0, 3)]

    def rates(patience, cooldown):
        schedule = package.ReduceLROnPlateau(
            1.0, factor=0.5, patience=patience, cooldown=cooldown
        )
        (monitor,) = schedule.init()
        state = oxe.heavy_ball(schedule).init(jnp.ones(1))

        def step(state, _):
            state = oxe.observe(state, **{monitor: 1.0})
            return state, oxe.learning_rate(state)

        return jax.lax.scan(step, state, length=6)[1]

    found = quick_jit(jax.vmap(rates))(*np.array(cases).T)
    original = pytorchs if package is oxe.pytorch else kerass
    for (patience, cooldown), traced in zip(cases, found, strict=True):
        words = {"factor": 0.5, "patience": patience, "cooldown": cooldown}
        expected = 2 * np.array(original([1.0] * 6, **words))
        np.testing.assert_array_equal(traced, expected)
