"""Keras' schedule-free AdamW beyond what Keras itself does: tests/parity has that."""

import jax.numpy as jnp
import numpy as np

import optax_extras as oxe


def test_small_weights_that_something_else_changes():
    """x follows a change of 1e-4, so that the weights are y = (1 - b1) z + b1 x."""
    tx = oxe.keras.ScheduleFreeAdamW(0.0, beta_1=0.9)
    params = {"w": jnp.full(3, 1e-3)}
    state, grads = tx.init(params), {"w": jnp.ones(3)}
    _, state = tx.update(grads, state, params)
    _, state = tx.update(grads, state, {"w": jnp.full(3, 1.1e-3)})
    # At a learning rate of 0 z stays, and the second update is half of the mean.
    expected = 1e-3 + (1 - 1 / 2) * 1e-4 / 0.9
    np.testing.assert_allclose(oxe.averaged(state)["w"], expected, rtol=1e-5)
