"""RMSProp: a constant gradient with `centered`, and a traced momentum."""

import jax
import jax.numpy as jnp
import numpy as np

import optax_extras as oxe
from tests.optimizers.paths import paths_of


def test_a_constant_gradient_when_centered():
    """The variance falls to 0, where rounding could make it negative."""
    txs = {
        (eps, in_root): oxe.rmsprop(
            1e-3, 0.9, eps, centered=True, eps_in_root=in_root,
            initial="zero" if in_root else "first_gradient",
        )
        for eps in (1e-8, 0.0)
        for in_root in (False, True)
    }  # fmt: skip
    for dtype in ("float32", "float64"):
        paths = paths_of(txs, np.full((3000, 3), [1e-3, 0.1, 7.0]), dtype)
        for name, path in paths.items():
            assert np.all(np.isfinite(path)), name
            assert np.all(np.diff(path, axis=0) < 0), name


def test_momentum_may_be_traced():
    """A momentum of 0 has a buffer too; only None has no buffer."""
    g = jnp.array([2.0, -3.0])

    def first(momentum):
        tx = oxe.scale_by_rmsprop(momentum=momentum)
        return tx.update(g, tx.init(g))[0]

    got = jax.jit(jax.vmap(first))(jnp.array([0.0, 0.9]))
    np.testing.assert_allclose(got, [[1, -1], [1, -1]], rtol=1e-6)
