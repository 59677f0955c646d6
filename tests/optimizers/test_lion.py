"""Lion against the paper's algorithm 2 in NumPy, and against Optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from tests.optimizers.paths import difference, falling, gradients, paths_of

START = np.array([1.0, -2.0, 0.0, 30.0])


def rule(w, grads, rate, b1=0.9, b2=0.99, decay=0.0):
    """Chen et al., algorithm 2."""
    path, m = [w], 0.0
    for t, g in enumerate(grads):
        c = b1 * m + (1 - b1) * g
        w = w - rate(t) * (np.sign(c) + decay * w)
        m = b2 * m + (1 - b2) * g
        path.append(w)
    return np.stack(path)


def test_the_paper():
    grads = gradients()
    options = [
        {},
        {"b1": 0.5, "b2": 0.9, "weight_decay": 0.1},
        {"b1": 0.0, "weight_decay": 0.0},
        {"b1": 1.0, "b2": 0.0, "weight_decay": 0.0},
    ]
    txs = {str(kw): oxe.lion(falling, **kw) for kw in options}
    paths = paths_of(txs, grads, start=START)
    for kw in options:
        decay = {"decay": kw.get("weight_decay", 1e-3)}
        others = {name: x for name, x in kw.items() if name != "weight_decay"}
        expected = rule(START, grads, falling, **others, **decay)
        assert difference(paths[str(kw)], expected) <= 1e-12, kw


def test_it_is_that_of_optax():
    """By position, too."""
    for args in ((), (0.95, 0.98), (0.9, 0.99, jnp.float32, 0.1)):
        txs = {"ours": oxe.lion(0.1, *args), "optax": optax.lion(0.1, *args)}
        paths = paths_of(txs, gradients(), "float32", START)
        assert difference(paths["ours"], paths["optax"]) <= 1e-6, args


def test_half_precision_params_have_a_float32_average():
    """The average of gradients of 1; in bfloat16 it would stop at 0.25."""
    params = jnp.zeros(2, jnp.bfloat16)

    def mu_after(tx):
        grads = jnp.ones((2000, 2), jnp.bfloat16)
        last, _ = jax.lax.scan(
            lambda state, g: tx.update(g, state)[::-1], tx.init(params), grads
        )
        return last.mu

    mu, small = (
        jax.jit(lambda x=x: mu_after(oxe.scale_by_lion(b2=0.999, mu_dtype=x)))()
        for x in (None, jnp.bfloat16)
    )
    assert (mu.dtype, small.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(mu, 1 - 0.999**2000, 1e-4)
    assert np.all(small < 0.3)
