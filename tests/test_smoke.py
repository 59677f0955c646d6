"""That an installation works at all: needs pytest and what the library itself needs."""

import importlib.metadata

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_extras as oxe

OPTIMIZERS = {
    "nadam": lambda: oxe.nadam(oxe.schedules.warmup(9, oxe.schedules.cosine(0.3, 90))),
    "plateau": lambda: oxe.rmsprop(oxe.plateau(0.1, patience=5)),
    "swats": lambda: oxe.swats(0.1, min_steps=20),
    "switch": lambda: oxe.switch(optax.adam(0.3), optax.sgd(0.3), oxe.at_step(20)),
    "pytorch": lambda: oxe.pytorch.SGD(lr=0.3, momentum=0.9, nesterov=True),
    "keras": lambda: oxe.keras.Adam(learning_rate=0.3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_downhill(name):
    ditch = oxe.lab.problems.ditch
    path = oxe.lab.minimize(ditch, ditch.start, OPTIMIZERS[name](), 100)
    assert path.values[-1] < path.values[0] / 10


def test_reads_and_sets():
    tx = oxe.scheduled(optax.adamw)(learning_rate=1e-3)
    state = oxe.set_hyperparameters(tx.init(jnp.ones(3)), learning_rate=1e-2)
    _, state = jax.jit(tx.update)(jnp.ones(3), state, jnp.ones(3))
    assert oxe.learning_rate(state) == jnp.float32(1e-2)


def test_has_a_version():
    assert oxe.__version__ == importlib.metadata.version("optax-extras")
