"""The optimizers of `oxe.keras` against Keras'.

The fast run has every pair of options in some walk; `full` has all combinations.
"""

import inspect
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.parity.walks import (
    ONE_LEAF,
    SHAPES,
    difference,
    every_setting,
    gradients,
    grid,
    keras_in_full_precision,
    keras_walk,
    keras_walks,
    our_walk,
    our_walks,
    pairwise,
    size,
    start,
)

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

RATE = 0.01
WRAPPERS = {"LossScaleOptimizer", "MultiOptimizer"}  # in test_keras_wrappers.py
NAMES = [
    name
    for name in oxe.keras.__all__
    if name not in WRAPPERS
    and isinstance(thing := getattr(keras.optimizers, name, None), type)
    and issubclass(thing, keras.optimizers.Optimizer)
]
KNOWN = {
    *("SGD", "Adam", "AdamW", "Nadam", "Adamax", "RMSprop", "Adagrad", "Adadelta"),
    *("Lion", "Ftrl", "Lamb", "Adafactor", "Muon", "ScheduleFreeAdamW"),
}

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
    "Adafactor": (
        [
            {},
            {"beta_2_decay": -0.5, "epsilon_1": 1e-3, "epsilon_2": 0.1},
            {"learning_rate": 2.0, "clip_threshold": 2.0},
        ],
        grid(relative_step=[True, False], weight_decay=DECAY),
    ),
    "Muon": (
        [
            {},
            {"momentum": 0.5, "muon_a": 2, "muon_b": -1.5, "muon_c": 0.5, "ns_steps": 3}
            | {"adam_weight_decay": None, "exclude_embeddings": False},
            {"adam_beta_1": 0.5, "adam_beta_2": 0.9, "epsilon": 1e-2, "ns_steps": 0}
            | {"adam_lr_ratio": 0.3},
        ],
        grid(
            weight_decay=[0.004, None],
            exclude_layers=[None, ["^head", "er_w"]],
            nesterov=[True, False],
            rms_rate=[0.2, None],
        ),
    ),
    "ScheduleFreeAdamW": (
        [{}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-2}, {"beta_1": 1.0}],
        grid(warmup_steps=[0, 40], weight_decay=DECAY),
    ),
    "Lion": (
        [{}, {"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 1.0, "beta_2": 0.0}],
        grid(weight_decay=DECAY),
    ),
    "Ftrl": (
        [
            {},
            {
                "learning_rate_power": -0.7,
                "initial_accumulator_value": 0.0,
                "l1_regularization_strength": 10.0,
                "l2_regularization_strength": 0.2,
                "l2_shrinkage_regularization_strength": 0.05,
                "beta": 0.3,
            },
            {"learning_rate_power": 0.0},
        ],
        grid(weight_decay=DECAY),
    ),
    "Lamb": (BETAS, grid(weight_decay=DECAY)),
}
LEAVES = {
    "Lamb": SHAPES,
    "Adafactor": SHAPES,
    "Muon": {
        **{"embedding_table": (3, 4), "layer_wide": (2, 3)},
        **{"head_kernel": (3, 2), "stack": (2, 2, 2)},
    },
}
# Its norms are those of leaves; the others are elementwise.


each_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def keras_in_float64(monkeypatch):
    keras_in_full_precision(monkeypatch)
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


def ours(name, learning_rate=RATE, **kw):
    return getattr(oxe.keras, name)(learning_rate=learning_rate, **kw)


# ---- Names ---------------------------------------------------------------------------


def test_each_has_its_settings():
    assert set(NAMES) == KNOWN == set(GRIDS)


@each_name
def test_arguments_and_defaults(name):
    """They are Keras', in Keras' order; missing ones are refused by name."""
    own = inspect.signature(getattr(oxe.keras, name)).parameters
    other = inspect.signature(getattr(keras.optimizers, name).__init__).parameters
    other = {k: p for k, p in other.items() if k not in ("self", "kwargs")}
    assert [key for key in other if key in own] == list(own)
    for key, parameter in own.items():
        assert parameter.default == other[key].default, key
    foreign = [key for key in other if key not in own]
    assert {"clipnorm", "loss_scale_factor", "name"} <= set(foreign)
    for key in foreign:
        with pytest.raises(TypeError, match=f"{name}: `{key}` must not be given"):
            getattr(oxe.keras, name)(**{key: None})


# ---- Numbers -------------------------------------------------------------------------


def compare_float64(name, settings, shapes=ONE_LEAF, driven=()):
    """Compare each setting; `driven` ones with a sawtooth learning rate."""
    shapes = LEAVES.get(name, shapes)
    grads, first, saw = gradients(shapes), start(shapes), (30, RATE / 10, 2.0, True)

    def with_rates(package):
        changing = package.PolynomialDecay(RATE, *saw)
        rates = [changing if kw in driven else RATE for kw in settings]
        pairs = zip(rates, settings, strict=True)
        return [(name, {"learning_rate": rate, **kw}) for rate, kw in pairs]

    theirs = with_rates(keras.optimizers.schedules)
    references = keras_walks(theirs, grads, first, shapes)
    txs = [ours(name, **kw) for name, kw in with_rates(oxe.keras)]
    walks = our_walks(txs, grads, first, shapes)
    for kw, walk, reference in zip(settings, walks, references, strict=True):
        assert difference(walk, reference) <= 1e-10, kw


@each_name
def test_float64(name):
    """The second setting, all options on, has a learning rate that changes."""
    settings = pairwise(*GRIDS[name])
    compare_float64(name, settings, driven=settings[1:2])


@pytest.mark.full
@each_name
def test_float64_of_every_combination(name):
    settings = every_setting(*GRIDS[name])
    compare_float64(name, settings, SHAPES)
    compare_float64(name, settings, driven=settings)


# ---- Float32 -------------------------------------------------------------------------


def compare_float32(settings, shapes):
    """Starts at 0: rounding a weight of 3 would cost 1e-5 of a small step."""
    grads, first = gradients(shapes), np.zeros(size(shapes))
    theirs = [(name, {"learning_rate": RATE, **kw}) for name, kw in settings]
    references = keras_walks(theirs, grads, first, shapes)
    txs = [ours(name, **kw) for name, kw in settings]
    walks = our_walks(txs, grads, first, shapes, "float32")
    for case, walk, reference in zip(settings, walks, references, strict=True):
        assert difference(walk, reference) <= 1e-5, case


def test_float32():
    settings = [(name, pairwise(*GRIDS[name])[0]) for name in NAMES]
    compare_float32(settings, {"matrix": (3, 4), "vector": (3,)})


@pytest.mark.full
@each_name
def test_float32_of_every_combination(name):
    settings = [(name, kw) for kw in every_setting(*GRIDS[name])]
    compare_float32(settings, LEAVES.get(name, SHAPES))


@pytest.mark.parametrize(
    "kw", [{"learning_rate": 0.0}, {"initial_accumulator_value": 0.0}]
)
def test_where_ftrl_of_keras_divides_by_nothing(kw):
    """Its weights become NaN; ours stay, or become 0."""
    kw, grads, first = {"learning_rate": 0.1, **kw}, np.zeros((2, 1)), np.ones(1)
    shapes = {"vector": (1,)}
    assert np.isnan(keras_walk("Ftrl", grads, first, shapes, **kw)[-1, 0])
    walk = our_walk(oxe.keras.Ftrl(**kw), grads, first, shapes)
    assert walk[-1, 0] == (kw["learning_rate"] == 0)


def test_momentum_carries_the_rate_of_its_gradient():
    """The weight still moves after the learning rate drops from 1 to 0."""
    tx = oxe.keras.SGD(lambda t: jnp.where(t == 0, 1.0, 0.0), momentum=0.5)
    walk = our_walk(tx, np.ones((3, 1)), np.zeros(1), {"scalar": ()})
    assert np.diff(walk[:, 0]).tolist() == [-1.0, -0.5, -0.25]


# ---- Buffers -------------------------------------------------------------------------


@each_name
def test_no_more_buffers_than_theirs(name):
    shape = (5, 7)
    for kw in pairwise(*GRIDS[name]):
        optimizer = getattr(keras.optimizers, name)(**kw)
        optimizer.build([keras.Variable(np.zeros(shape))])
        buffers = [v for v in optimizer.variables if tuple(v.shape) == shape]
        state = jax.eval_shape(ours(name, **kw).init, jnp.zeros(shape))
        mine = [x for x in jax.tree.leaves(state) if x.shape == shape]
        # Keras' RMSprop has buffers that it does not use. Its schedule-free AdamW does
        # not store the weights to evaluate with.
        assert len(mine) <= len(buffers) + (name == "ScheduleFreeAdamW"), kw


# ---- What is refused -----------------------------------------------------------------

ADAMS = ("Adam", "AdamW", "Nadam", "Adamax", "Lamb")
OUT_OF_RANGE = [
    ("SGD", {"momentum": -0.1}),
    ("SGD", {"momentum": 1.5}),
    *[(name, {"learning_rate": -0.1}) for name in GRIDS],
    *[(name, {"weight_decay": -0.1}) for name in GRIDS],
    *[(name, {"beta_1": 1.0}) for name in ADAMS],
    *[(name, {"beta_2": -1.0}) for name in ADAMS],
    *[
        (name, {"epsilon": -1e-7})
        for name in GRIDS
        if "epsilon" in inspect.signature(getattr(oxe.keras, name)).parameters
    ],
    ("RMSprop", {"rho": 1.0}),
    ("RMSprop", {"momentum": 1.0}),
    ("Adadelta", {"rho": -0.1}),
    ("Adagrad", {"initial_accumulator_value": -0.1}),
    ("Adafactor", {"beta_2_decay": 0.5}),
    ("Adafactor", {"epsilon_1": -1e-30}),
    ("Adafactor", {"clip_threshold": 0.5}),
    ("Muon", {"rms_rate": -0.2}),
    ("Muon", {"momentum": 1.0}),
    ("Muon", {"ns_steps": -1}),
    ("ScheduleFreeAdamW", {"beta_1": 0.0}),
    ("ScheduleFreeAdamW", {"warmup_steps": -1}),
    ("Lion", {"beta_1": 0.0}),
    ("Lion", {"beta_1": 1.1}),
    ("Lion", {"beta_2": 1.0}),
    ("Ftrl", {"learning_rate_power": 0.5}),
    ("Ftrl", {"beta": -0.1}),
    *[
        ("Ftrl", {name: -0.1})
        for name in inspect.signature(oxe.keras.Ftrl).parameters
        if name.startswith(("initial", "l1", "l2"))
    ],
]


def test_numbers_out_of_range():
    for name, kw in OUT_OF_RANGE:
        ((argument, value),) = kw.items()
        message = f"^{name}: `{argument}` must be .* {value}"
        with pytest.raises(ValueError, match=message):
            getattr(oxe.keras, name)(**kw)


def test_arguments_of_another_kind():
    for name, kw, message in [
        ("Adam", {"learning_rate": "fast"}, "`learning_rate` must be a number or a sc"),
        ("Adam", {"amsgrad": None}, "`amsgrad` must be a bool"),
        ("SGD", {"momentum": "heavy"}, "`momentum` must be a real number"),
        ("AdamW", {"weight_decay": None}, "`weight_decay` must be a number or a sc"),
        ("Muon", {"exclude_layers": 3}, "`exclude_layers` must be regular expressions"),
    ]:
        with pytest.raises(TypeError, match=message):
            getattr(oxe.keras, name)(**kw)
