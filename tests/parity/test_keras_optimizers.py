"""The optimizers of `oxe.keras` against Keras' own, over all their options."""

import inspect
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.walks import (
    SHAPES,
    difference,
    gradients,
    grid,
    id_of,
    keras_walk,
    our_walk,
    size,
    start,
)

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

RATE = 0.01
NAMES = [
    name
    for name in oxe.keras.__all__
    if isinstance(thing := getattr(keras.optimizers, name, None), type)
    and issubclass(thing, keras.optimizers.Optimizer)
]
COMMON = {"SGD", "Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Adagrad", "Adadelta"}

ON_OFF = [False, True]
DECAY = [None, 0.1]
BETAS = [{}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2}, {"beta_1": 0.0}]
GRIDS = {
    "SGD": ([{}], grid(momentum=[0.0, 0.9], nesterov=ON_OFF, weight_decay=DECAY)),
    "Adam": (BETAS, grid(amsgrad=ON_OFF, weight_decay=DECAY)),
    "AdamW": (BETAS, grid(amsgrad=ON_OFF, weight_decay=[0.004, 0.1])),
    "Nadam": (BETAS, grid(weight_decay=DECAY)),
    "Adamax": (BETAS, grid(weight_decay=DECAY)),
    "RMSprop": (
        [{}, {"rho": 0.5, "epsilon": 1e-2}],
        grid(momentum=[0.0, 0.9], centered=ON_OFF, weight_decay=DECAY),
    ),
    "Adagrad": (
        [{}, {"initial_accumulator_value": 0.0, "epsilon": 1e-2}],
        grid(weight_decay=DECAY),
    ),
    "Adadelta": ([{}, {"rho": 0.5, "epsilon": 1e-2}], grid(weight_decay=DECAY)),
}


def cases():
    """Every setting; the first two of a class in the fast run."""
    for name, (numbers, choices) in GRIDS.items():
        kws = [{**n, **c} for n in numbers for c in choices]
        for i, kw in enumerate([kws[-1], *kws[:-1]]):
            marks = pytest.mark.full if i > 1 else ()
            yield pytest.param(name, kw, marks=marks, id=id_of(name, kw))


each_case = pytest.mark.parametrize(("name", "kw"), list(cases()))
each_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def keras_in_float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


def ours(name, learning_rate=RATE, **kw):
    return getattr(oxe.keras, name)(learning_rate=learning_rate, **kw)


def their_walk(name, grads, first, learning_rate=RATE, **kw):
    return keras_walk(name, grads, first, learning_rate=learning_rate, **kw)


# ---- Names ---------------------------------------------------------------------------


def test_the_optimizers_in_common_use_are_there():
    assert set(NAMES) == COMMON


def test_every_optimizer_of_ours_has_its_cases():
    assert set(GRIDS) == set(NAMES)


@each_name
def test_arguments_and_defaults(name):
    """Theirs, in their order; what is missing is refused by its name."""
    own = inspect.signature(getattr(oxe.keras, name)).parameters
    other = inspect.signature(getattr(keras.optimizers, name).__init__).parameters
    other = {k: p for k, p in other.items() if k not in ("self", "kwargs")}
    assert [key for key in other if key in own] == list(own)
    for key, parameter in own.items():
        assert parameter.default == other[key].default, key
    foreign = [key for key in other if key not in own]
    assert {"clipnorm", "use_ema", "name"} <= set(foreign)
    for key in foreign:
        with pytest.raises(TypeError, match=f"{name}: `{key}` must not be given"):
            getattr(oxe.keras, name)(**{key: None})


# ---- Numbers -------------------------------------------------------------------------


@each_case
def test_float64(name, kw):
    grads, first = gradients(), start()
    reference = their_walk(name, grads, first, **kw)
    assert difference(our_walk(ours(name, **kw), grads, first), reference) <= 1e-10


@each_case
def test_float32(name, kw):
    """From 0: a weight of 3 is itself rounded by 1e-5 of a small step."""
    grads, first = gradients(), np.zeros(size(SHAPES))
    reference = their_walk(name, grads, first, **kw)
    walk = our_walk(ours(name, **kw), grads, first, dtype="float32")
    assert difference(walk, reference) <= 1e-5


@each_name
def test_driven_by_their_schedules_and_ours(name):
    """A saw, with decay and, where there is one, momentum."""
    kw = {"weight_decay": 0.1}
    if name in ("SGD", "RMSprop"):
        kw["momentum"] = 0.9
    grads, first, arguments = gradients(), start(), (RATE, 30, RATE / 10, 2.0, True)
    theirs = keras.optimizers.schedules.PolynomialDecay(*arguments)
    reference = their_walk(name, grads, first, theirs, **kw)
    schedule = oxe.keras.PolynomialDecay(*arguments)
    walk = our_walk(ours(name, schedule, **kw), grads, first)
    assert difference(walk, reference) <= 1e-10
    constant = our_walk(ours(name, **kw), grads, first)
    assert difference(constant, reference) > 1e-3


def test_momentum_carries_the_rate_of_its_gradient():
    """One gradient at a rate of 1, then the rate falls to 0: the weight rolls on."""
    tx = oxe.keras.SGD(lambda t: jnp.where(t == 0, 1.0, 0.0), momentum=0.5)
    w, state = jnp.zeros(()), tx.init(jnp.zeros(()))
    for expected in (-1.0, -0.5, -0.25):
        u, state = tx.update(jnp.ones(()), state, w)
        assert u == expected


# ---- Buffers -------------------------------------------------------------------------


@each_case
def test_no_more_buffers_than_theirs(name, kw):
    shape = (5, 7)
    optimizer = getattr(keras.optimizers, name)(**kw)
    optimizer.build([keras.Variable(np.zeros(shape))])
    kept = [v for v in optimizer.variables if tuple(v.shape) == shape]
    state = ours(name, **kw).init(jnp.zeros(shape))
    mine = [x for x in jax.tree.leaves(state) if x.shape == shape]
    # RMSprop of Keras keeps buffers that it does not use.
    assert len(mine) <= len(kept)


# ---- What is refused -----------------------------------------------------------------

ADAMS = ("Adam", "AdamW", "Nadam", "Adamax")


@pytest.mark.parametrize(
    ("name", "kw", "argument"),
    [
        ("SGD", {"momentum": -0.1}, "momentum"),
        ("SGD", {"momentum": 1.5}, "momentum"),
        *[(name, {"learning_rate": -0.1}, "learning_rate") for name in GRIDS],
        *[(name, {"weight_decay": -0.1}, "weight_decay") for name in GRIDS],
        *[(name, {"beta_1": 1.0}, "beta_1") for name in ADAMS],
        *[(name, {"beta_2": -1.0}, "beta_2") for name in ADAMS],
        *[(name, {"epsilon": -1e-7}, "epsilon") for name in GRIDS if name != "SGD"],
        ("RMSprop", {"rho": 1.0}, "rho"),
        ("RMSprop", {"momentum": 1.0}, "momentum"),
        ("Adadelta", {"rho": -0.1}, "rho"),
        ("Adagrad", {"initial_accumulator_value": -0.1}, "initial_accumulator_value"),
    ],
    ids=str,
)
def test_out_of_range(name, kw, argument):
    value = kw[argument]
    with pytest.raises(ValueError, match=f"^{name}: `{argument}` must be .* {value}"):
        getattr(oxe.keras, name)(**kw)


@pytest.mark.parametrize(
    ("name", "kw", "message"),
    [
        ("Adam", {"learning_rate": "fast"}, "`learning_rate` must be a number or a sc"),
        ("Adam", {"amsgrad": None}, "`amsgrad` must be True or False"),
        ("SGD", {"momentum": "heavy"}, "`momentum` must be a real number"),
        ("AdamW", {"weight_decay": None}, "`weight_decay` must be a real number"),
    ],
)
def test_no_number_at_all(name, kw, message):
    with pytest.raises(TypeError, match=message):
        getattr(oxe.keras, name)(**kw)
    assert isinstance(ours(name), optax.GradientTransformationExtraArgs)
