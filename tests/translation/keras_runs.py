"""Runs of Keras' optimizers and of ours on the same gradients."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.parity.programs import quick_jit

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")

SHAPES = {"kernel": (2, 3), "bias": (3,), "scale": ()}  # in the order of Keras
ORDER = [*SHAPES]


def numbers(seed, dtype, steps=()):
    rng = np.random.default_rng(seed)
    return [
        jnp.asarray(
            rng.normal(size=(*steps, *s)) * (rng.random((*steps, *s)) > 0.1)
        ).astype(dtype)
        for s in SHAPES.values()
    ]


class Run:
    """A run of an optimizer of Keras."""

    def __init__(self, name, dtype, **kw):
        self.optimizer = getattr(keras.optimizers, name)(**kw)
        self.trained = [
            keras.Variable(x, name=k)
            for k, x in zip(SHAPES, numbers(0, dtype), strict=True)
        ]
        self.optimizer.build(self.trained)

        self.walk = quick_jit(self.scan)

    def scan(self, weights, state, grads):
        def step(carry, g):
            return self.optimizer.stateless_apply(carry[1], g, carry[0]), None

        return jax.lax.scan(step, (weights, state), grads)[0]

    def go_on(self, grads):
        held = self.trained, self.variables
        new = self.walk(*([x.value for x in xs] for xs in held), grads)
        for xs, values in zip(held, new, strict=True):
            for x, value in zip(xs, values, strict=True):
                x.assign(value)

    @property
    def variables(self):
        return self.optimizer.variables

    @property
    def params(self):
        pairs = zip(SHAPES, self.trained, strict=True)
        return {k: jnp.array(x.value) for k, x in pairs}


def go_on(tx, grads, params, state):
    @quick_jit
    def walk(params, state):
        def step(carry, g):
            params, state = carry
            updates, state = tx.update(dict(zip(SHAPES, g, strict=True)), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), grads)[0]

    return walk(params, state)


def difference(one, other):
    return max(float(jnp.abs(one[k] - other[k]).max()) for k in SHAPES)
