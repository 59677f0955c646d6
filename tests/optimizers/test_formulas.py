"""The papers' rules in NumPy, with every option, and how many buffers each needs."""

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import formulas
from tests.optimizers.paths import (
    buffers,
    descend,
    difference,
    falling,
    gradients,
    paths_of,
)

GRADS = gradients()
# The first option of each also runs in float32.
OPTIONS = {
    "adadelta": [{}, {"rho": 0.0}, {"rho": 0.5, "eps": 0.1}],
    "adagrad": [
        {},
        {"eps": 0.1, "lr_decay": 0.1},
        {"lr_decay": 10.0, "initial_accumulator_value": 1e4},
    ],
    "adamax": [
        {},
        {"eps_in_maximum": False},
        {"b1": 0.5, "b2": 0.9, "eps": 0.1},
        {"b1": 0.0, "eps": 0.1, "eps_in_maximum": False},
        {"b2": 0.0},
        {"eps": 0.0},
    ],
    "amsgrad": [
        {},
        {"eps_hat": True, "eps": 1e-3, "b1": 0.0},
        {"bias_correction": False, "b2": 0.0},
        {"bias_correction": False, "eps_hat": True, "eps": 0.1},
        {"b1": 0.5, "b2": 0.9, "eps": 0.1},
    ],
    "nadam": [
        {},
        {"momentum_decay": 0.0},
        {"b2": 0.0, "eps": 1e-3, "momentum_decay": 1.0},
        {"b1": 0.5, "b2": 0.9, "eps": 0.1, "momentum_decay": 0.1},
    ],
    "rmsprop": [
        {},
        {"decay": 0.5, "initial": "zero"},
        {"decay": 0.0, "eps": 0.1},
        {"eps_in_root": True, "eps": 1e-3},
        {"momentum": 0.9},
        {"centered": True},
        {
            "decay": 0.9, "eps": 1e-3, "centered": True, "eps_in_root": True,
            "momentum": 0.5, "initial": "zero",
        },
    ],
    "rprop": [
        {},
        {"eta_minus": 0.3, "eta_plus": 1.5},
        {"min_step_size": 5e-3, "max_step_size": 0.05},
    ],
}  # fmt: skip


def with_formulas(name, options):
    """For each option the optimizer, with a falling learning rate, and its path."""
    for kw in options:
        if name == "rprop":  # its learning rate is the first step size
            us, rate = formulas.rprop(GRADS, 0.01, **kw), 1.0
            yield str(kw), oxe.rprop(0.01, **kw), descend(list(us), rate)
        else:
            us = getattr(formulas, name)(GRADS, **kw)
            tx = getattr(oxe, name)(falling, **kw)
            yield f"{name} {kw}", tx, descend(list(us), falling)


def assert_as_in(cases, dtype, tolerance):
    cases = list(cases)
    paths = paths_of({name: tx for name, tx, _ in cases}, GRADS, dtype)
    for name, _, expected in cases:
        assert difference(paths[name], expected) <= tolerance, name


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option(name):
    assert_as_in(with_formulas(name, OPTIONS[name]), "float64", 1e-12)


def test_defaults_in_float32():
    cases = [
        case
        for name, options in OPTIONS.items()
        for case in with_formulas(name, options[:1])
    ]
    assert_as_in(cases, "float32", 1e-5)


@pytest.mark.full
@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_in_float32(name):
    assert_as_in(with_formulas(name, OPTIONS[name]), "float32", 1e-5)


def test_limits_in_which_optax_agrees():
    """Adadelta agrees with any options, the others with the options below."""
    pairs = {
        "adadelta": (oxe.adadelta(1.0), optax.adadelta(1.0)),
        "adamax": (oxe.adamax(0.1), optax.adamax(0.1)),
        # Optax's epsilon is inside the root, so it adds to the initial value.
        "adagrad": (
            oxe.adagrad(0.1, eps=0.0, initial_accumulator_value=0.1 + 1e-7),
            optax.adagrad(0.1),
        ),
        "nadam": (oxe.nadam(0.01, momentum_decay=1e3), optax.nadam(0.01)),
        "nadam without momentum": (oxe.nadam(0.01, 0.0), optax.adam(0.01, 0.0)),
        **{
            f"rmsprop, centered {centered}": (
                oxe.rmsprop(
                    0.1, 0.9, 10.0, initial="zero", eps_in_root=True, centered=centered
                ),
                optax.rmsprop(0.1, 0.9, 10.0, centered=centered),
            )
            for centered in (False, True)
        },
    }
    ours = paths_of({name: pair[0] for name, pair in pairs.items()}, GRADS)
    theirs = paths_of({name: pair[1] for name, pair in pairs.items()}, GRADS)
    for name in pairs:
        assert difference(ours[name], theirs[name]) <= 1e-12, name


def test_buffers():
    params = jax.ShapeDtypeStruct((3, 5), jnp.float32)
    numbers = {
        1: [oxe.rmsprop(0.1), oxe.adagrad(0.1), oxe.heavy_ball(0.1), oxe.asgd(0.1)],
        2: [
            oxe.adadelta(0.1), oxe.adamax(0.1), oxe.nadam(0.1), oxe.rprop(0.1),
            oxe.adabound(0.1), oxe.adamax(0.1, weight_decay=0.1),
            oxe.rmsprop(0.1, centered=True), oxe.rmsprop(0.1, momentum=0.0),
        ],
        3: [
            oxe.amsgrad(0.1), oxe.amsgrad(0.1, bias_correction=False),
            oxe.amsbound(0.1), oxe.rmsprop(0.1, centered=True, momentum=0.9),
        ],
    }  # fmt: skip
    for expected, txs in numbers.items():
        for i, tx in enumerate(txs):
            state = jax.eval_shape(tx.init, params)
            assert buffers(state, params) == expected, (expected, i)
