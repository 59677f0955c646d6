"""Averages of a run that trains: rebuilt from snapshots, and formed in the run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe

STEPS, EVERY = 400, 10
CURVATURES = jnp.array([0.2, 1.0, 3.0])


def train(tx, every):
    """SGD on a noisy quadratic, with a snapshot every few updates."""
    grads = np.random.default_rng(0).normal(size=(STEPS, 3))
    params, taken = jnp.ones(3), []
    state = tx.init(params)

    @jax.jit
    def step(params, state, noise):
        u, state = tx.update(CURVATURES * params + noise, state, params)
        return optax.apply_updates(params, u), state

    for t, noise in enumerate(grads, 1):
        params, state = step(params, state, noise)
        if t % every == 0:
            taken.append(oxe.averages.snapshot(state, params))
    return taken, state


def test_a_decay_chosen_after_the_run_or_before_it():
    """The weights in which a linear decay and 1 - sqrt would have ended."""
    sgd, averages = optax.sgd(0.05), oxe.averages
    powers = {str(x): averages.power(sigma_rel=x) for x in (0.05, 0.10)}
    before = {
        "linear": averages.decay("linear", 200, 120),
        "cosine": averages.decay("cosine", 200, 120),
    }
    with jax.enable_x64(True):
        tx = oxe.with_average(oxe.with_average(sgd, powers), before)
        snapshots, state = train(tx, EVERY)
        for shape in before:
            exact = np.asarray(oxe.averaged(state, shape))
            rebuilt = averages.rebuild(snapshots, shape, at=320, steps=120)
            spread = np.abs(np.asarray(snapshots[31].averages["weights"]) - exact).max()
            assert np.abs(np.asarray(rebuilt.params) - exact).max() < 0.05 * spread
            assert rebuilt.largest_difference < 0.02
