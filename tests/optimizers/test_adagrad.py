"""AdaGrad: how it differs from Optax's, and what its decay scales."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from tests.optimizers import formulas
from tests.optimizers.paths import descend, paths_of


def test_the_decay_scales_the_direction_and_not_the_rate():
    tx, g = oxe.adagrad(0.1, lr_decay=1.0), jnp.ones(1)
    state, update = tx.init(g), jax.jit(tx.update)
    for t in range(1, 5):
        u, state = update(g, state)
        np.testing.assert_allclose(u, -0.1 / t / np.sqrt(t), rtol=1e-6)
        assert oxe.learning_rate(state) == np.float32(0.1)


def test_the_first_steps():
    """As long as the learning rate; Optax's, whose sum starts at 0.1, are shorter.

    The last gradient is so small that PyTorch's epsilon has an effect.
    """
    grads = np.array([[1.0, 0.1, 0.01, 1e-10]] * 3)
    paths = paths_of({"ours": oxe.adagrad(0.1), "theirs": optax.adagrad(0.1)}, grads)
    np.testing.assert_allclose(paths["ours"][1, :3], -0.1, rtol=1e-6)
    expected = descend(list(formulas.adagrad(grads, 1e-10)), 0.1)
    np.testing.assert_allclose(paths["ours"], expected, rtol=1e-12)
    first = -0.1 * grads[0] / np.sqrt(0.1 + grads[0] ** 2 + 1e-7)
    np.testing.assert_allclose(paths["theirs"][1], first, rtol=1e-6)
