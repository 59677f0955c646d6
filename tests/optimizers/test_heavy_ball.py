"""Heavy ball: Keras' rule, and its relation to `optax.sgd`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import difference, gradients, path_of, paths_of

GRADS = gradients()


def changing(t):
    """A learning rate that changes at every step, sometimes upward."""
    return 0.1 * (2 + (-1) ** t) / (1 + t)


def keras_rule(grads, mu=0.9, nesterov=False, decay=0.0):
    """`keras.optimizers.SGD.update_step`, from Keras' source, in NumPy.

    Its `weight_decay` subtracts lr * decay * w before the step.
    """
    w, m = np.ones(grads.shape[1]), np.zeros(grads.shape[1])
    path = [w]
    for t, g in enumerate(grads):
        lr = changing(t)
        m = m * mu - g * lr
        w = w - lr * decay * w + (m * mu - g * lr if nesterov else m)
        path.append(w)
    return np.stack(path)


OPTIONS = [
    {},
    {"mu": 0.0},
    {"mu": 0.99, "nesterov": True},
    {"decay": 0.3},
    {"decay": 0.3, "nesterov": True},
]


def test_the_rule_of_keras():
    names = {"mu": "momentum", "decay": "weight_decay"}
    txs = {
        str(kw): oxe.heavy_ball(changing, **{names.get(k, k): x for k, x in kw.items()})
        for kw in OPTIONS
    }
    paths = paths_of(txs, GRADS, start=1.0)
    for kw in OPTIONS:
        assert difference(paths[str(kw)], keras_rule(GRADS, **kw)) <= 1e-12, kw


def test_a_constant_rate_gives_the_steps_of_optax_sgd():
    for nesterov in (False, True):
        pair = (
            make(0.1, 0.9, nesterov=nesterov) for make in (oxe.heavy_ball, optax.sgd)
        )
        paths = paths_of(dict(zip(("ours", "theirs"), pair, strict=True)), GRADS)
        assert difference(paths["ours"], paths["theirs"]) <= 1e-13


def test_after_a_drop_of_the_rate_the_old_speed_wears_off():
    """By hand: three gradients of 1 at a learning rate of 1, which then drops to 0."""
    grads, rate = np.ones((6, 1)), lambda t: jnp.where(t < 3, 1.0, 0.0)
    v = 1 + 0.5 + 0.25
    steps = [1, 1.5, v, v / 2, v / 4, v / 8]
    ours = np.diff(path_of(oxe.heavy_ball(rate, 0.5), grads), axis=0)
    np.testing.assert_allclose(ours[:, 0], -np.array(steps), rtol=1e-12)


def ditch(tx, updates=30):
    """The end of a run on x**2 / 20 + y**2 from (-7, 2)."""
    with jax.enable_x64(True):
        params = jnp.array([-7.0, 2.0])
        state = tx.init(params)

        def step(carry, _):
            params, state = carry
            grads = params * jnp.array([0.1, 2.0])
            u, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, u), state), None

        (end, _), _ = jax.lax.scan(step, (params, state), length=updates)
        return np.asarray(end)


@pytest.mark.full
def test_where_two_end_in_the_ditch():
    """As in Saito, Deep Learning from Scratch, chapter 6, after 30 updates."""
    for tx, end in (
        (oxe.heavy_ball(0.1), (0.8964139, 0.0880856)),
        (oxe.adagrad(1.5, eps=1e-7), (-0.1201623, 2.5e-17)),
    ):
        np.testing.assert_allclose(ditch(tx), end, rtol=1e-5, atol=1e-6)
