"""Runs of Keras' optimizers and of ours on the same gradients."""

import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.walks import in_one_scan, stateless, updating

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

        self.step = stateless(self.optimizer)

    def go_on(self, grads):
        go_on_together([self], grads)

    @property
    def variables(self):
        return self.optimizer.variables

    @property
    def config(self):
        with warnings.catch_warnings(action="ignore"):  # Keras' own
            return self.optimizer.get_config()

    @property
    def params(self):
        pairs = zip(SHAPES, self.trained, strict=True)
        return {k: jnp.array(x.value) for k, x in pairs}


def go_on_together(runs, grads):
    held = [(run.trained, run.variables) for run in runs]
    carries = jax.tree.map(lambda x: x.value, held)
    new, _ = in_one_scan(tuple(run.step for run in runs))(carries, grads)
    jax.tree.map(lambda x, value: x.assign(value), held, [*map(tuple, new)])


def ours_together(txs, grads, carries):
    """The last params of each."""
    rows = dict(zip(SHAPES, grads, strict=True))
    new, _ = in_one_scan(tuple(map(updating, txs)))([*carries], rows)
    return [params for params, _ in new]


def go_on(tx, grads, params, state):
    return ours_together([tx], grads, [(params, state)])[0]


def difference(one, other):
    return max(float(jnp.abs(one[k] - other[k]).max()) for k in SHAPES)
