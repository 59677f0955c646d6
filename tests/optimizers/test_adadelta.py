"""Adadelta: the dtypes of its state, unlike Optax's, and an epsilon of zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from tests.optimizers.paths import gradients, path_of


def test_the_state_of_half_precision_params_is_float32():
    params = jnp.ones(3, jnp.bfloat16)
    ours, theirs = (
        jax.eval_shape(tx.init, params)
        for tx in (oxe.scale_by_adadelta(), optax.scale_by_adadelta())
    )
    assert {x.dtype for x in (ours.nu, ours.delta)} == {jnp.dtype("float32")}
    assert theirs.e_g.dtype == jnp.bfloat16


def test_an_epsilon_of_zero_never_starts():
    """Every step is 0 / |g|. There is no NaN, nor in the derivative."""
    assert np.all(path_of(oxe.adadelta(1.0, eps=0.0), gradients()) == 0)

    def end(rate):
        tx = oxe.adadelta(rate, eps=0.0)
        u, _ = tx.update(jnp.zeros(2), tx.init(jnp.zeros(2)))
        return jnp.sum(u)

    assert jax.jit(jax.grad(end))(1.0) == 0
