"""Snapshots with the weights, and snapshots that are not of one run."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

with warnings.catch_warnings():
    # With the oldest jax, importing it uses deprecated names.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flax import nnx

A = oxe.averages
POWERS = {"narrow": A.power(16.97), "wide": A.power(6.94)}


def test_the_weights_of_an_nnx_model():
    """Beside averages whose variables are of another type."""
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    tx = oxe.with_average(optax.sgd(0.1), POWERS)
    optimizer, taken = nnx.Optimizer(model, tx, wrt=nnx.Param), []
    for t in range(1, 4):
        optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model)))
        params = nnx.state(model, nnx.Param) if t == 3 else None
        taken.append(A.snapshot(optimizer, params))
    # A decay over the last update alone takes all of that update.
    rebuilt = A.rebuild(taken, "linear", at=3, steps=1)
    wanted = jax.tree.leaves(nnx.state(model))
    for x, w in zip(jax.tree.leaves(rebuilt.params), wanted, strict=True):
        np.testing.assert_allclose(x, w, rtol=1e-5)


def test_params_of_another_tree_are_refused():
    params = {"w": jnp.ones(2)}
    state = oxe.with_average(optax.sgd(0.1), POWERS).init(params)
    for other, got in (({"w": jnp.ones(3)}, r"\(3,\)"), ({"v": jnp.ones(2)}, "None")):
        message = rf"snapshot: `params` must have .* \['w'\]: \(2,\), got {got}"
        with pytest.raises(ValueError, match=message):
            A.snapshot(state, other)
