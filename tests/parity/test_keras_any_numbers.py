"""Keras' Lion, Ftrl and Lamb, over all numbers that their arguments may be."""

import inspect
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
    ONE_LEAF,
    SHAPES,
    difference,
    gradients,
    keras_in_full_precision,
    leaves_of,
    start,
)

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

NAMES = ("Lion", "Ftrl", "Lamb")


@pytest.fixture(autouse=True)
def keras_in_float64(monkeypatch):
    keras_in_full_precision(monkeypatch)
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


def numbers_of(name):
    """Any values of all arguments that are numbers."""
    found = {"learning_rate": st.floats(1e-2, 0.1), "weight_decay": st.floats(0.0, 1.0)}
    if name == "Ftrl":
        penalties = st.floats(0.0, 10.0)
        words = [x for x in inspect.signature(oxe.keras.Ftrl).parameters if "_reg" in x]
        found |= dict.fromkeys(words, penalties)
        # Keras divides 0 by 0 if the sum of squares begins at 0.
        found |= {"initial_accumulator_value": st.floats(1e-3, 1.0), "beta": penalties}
        # With a higher power, steps are rounded to nothing beside their weights.
        found |= {"learning_rate_power": st.floats(-1.0, 0.0)}
        return st.fixed_dictionaries(found)
    # At a decay of almost 0, Keras' `v + (g^2 - v) (1 - beta_2)` loses its digits.
    found |= dict.fromkeys(("beta_1", "beta_2"), st.floats(1e-2, 0.999))
    if name == "Lamb":
        found |= {"epsilon": st.floats(1e-12, 1.0)}
    return st.fixed_dictionaries(found)


def walks_of(name, cases, shapes):
    """Keras' walks and ours for each case, in one program."""
    first, grads = start(shapes), gradients(shapes, (-2, 2))[:100]
    leaves, rows = (
        [jnp.asarray(x) for x in leaves_of(flat, shapes).values()]
        for flat in (first, grads)
    )
    original = getattr(keras.optimizers, name)(weight_decay=0.1)
    original.build([keras.Variable(x) for x in leaves])

    def theirs(numbers):
        """Keras' constructor needs concrete numbers, so they are set afterwards."""
        numbers, state = {**numbers}, [v.value for v in original.variables]
        for i, v in enumerate(original.variables):
            if v.name == "learning_rate":
                state[i] = numbers.pop("learning_rate")
            elif v.name.endswith("accumulator"):
                state[i] = jnp.full_like(v.value, numbers["initial_accumulator_value"])
        for key, x in numbers.items():
            setattr(original, key, x)

        def step(carry, g):
            weights, state = original.stateless_apply(carry[1], g, carry[0])
            return (weights, state), weights

        return jax.lax.scan(step, (leaves, state), rows)[1]

    def ours_of(numbers):
        tx = getattr(oxe.keras, name)(**numbers)

        def step(carry, g):
            u, state = tx.update(g, carry[1], carry[0])
            weights = optax.apply_updates(carry[0], u)
            return (weights, state), weights

        return jax.lax.scan(step, (leaves, tx.init(leaves)), rows)[1]

    table = {key: jnp.array([case[key] for case in cases]) for key in cases[0]}
    run = quick_jit(jax.vmap(lambda numbers: (ours_of(numbers), theirs(numbers))))
    return [
        np.concatenate([x.reshape((len(cases), len(grads), -1)) for x in walk], -1)
        for walk in jax.device_get(run(table))
    ]


def compare_numbers(name, count):
    # The norms of Lamb are those of leaves; the others are elementwise.
    shapes = SHAPES if name == "Lamb" else ONE_LEAF
    for cases in examples(numbers_of(name), count):
        walks = walks_of(name, cases, shapes)
        for kw, walk, reference in zip(cases, *walks, strict=True):
            assert difference(walk, reference) <= 1e-10, kw


def test_any_numbers():
    """Of Ftrl, whose arguments are the most."""
    compare_numbers("Ftrl", 30)


@pytest.mark.full
@pytest.mark.parametrize("name", NAMES)
def test_many_numbers(name):
    compare_numbers(name, 500)
