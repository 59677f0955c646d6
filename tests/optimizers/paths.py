"""Paths of optimizers under given gradients, and distances between paths."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.parity.programs import quick_jit


def gradients(steps=300, size=4, decades=(-3, 3), seed=0):
    """Random signs and sizes, with an occasional exact zero."""
    rng = np.random.default_rng(seed)
    shape = (steps, size)
    grads = rng.choice([-1, 1], shape) * 10 ** rng.uniform(*decades, shape)
    grads[rng.random(shape) < 0.02] = 0
    return grads.astype(np.float32).astype(np.float64)  # the same in both precisions


def falling(t):
    """A learning rate that changes at every step, for NumPy and for JAX."""
    return 0.05 + 0.05 / (1 + t)


def descend(directions, rate):
    """The weights from a start at 0, in NumPy: w -= rate(t) * direction."""
    rates = (rate(t) if callable(rate) else rate for t in range(len(directions)))
    steps = [-eta * u for eta, u in zip(rates, directions, strict=True)]
    return np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, 0)])


def paths_of(optimizers, grads, dtype="float64", start=0.0):
    """The params after every update, of each optimizer; all in one program."""

    def step(carry, g):
        new = {}
        for name, (params, state) in carry.items():
            updates, state = optimizers[name].update(g, state, params)
            new[name] = optax.apply_updates(params, updates), state
        return new, {name: params for name, (params, _) in new.items()}

    def run(first, grads):
        carry = {name: (first, tx.init(first)) for name, tx in optimizers.items()}
        return jax.lax.scan(step, carry, grads)[1]

    with jax.enable_x64(dtype == "float64"):
        grads = jnp.asarray(grads, dtype)
        first = jnp.zeros_like(grads[0]) + jnp.asarray(start, dtype)
        paths = jax.device_get(quick_jit(run)(first, grads))
        first = np.asarray(first, np.float64)[None]
    return {
        name: np.concatenate([first, np.asarray(path, np.float64)])
        for name, path in paths.items()
    }


def path_of(tx, grads, dtype="float64", start=0.0):
    """The path of one optimizer."""
    return paths_of({"": tx}, grads, dtype, start)[""]


def difference(path, reference):
    """The largest distance over the distance traveled, on the worst axis."""
    traveled = np.abs(np.diff(reference, axis=0)).sum(0)
    distance = np.abs(path - reference).max(0)
    at_rest = np.where(distance == 0, 0.0, np.inf)  # or NaN
    return np.divide(distance, traveled, out=at_rest, where=traveled > 0).max()


def buffers(state, params):
    """How many arrays of a state have the shape of the params."""
    return sum(x.shape == params.shape for x in jax.tree.leaves(state))
