"""AMSGrad: where it equals Adam, and where it converges but Adam does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import difference, paths_of


def test_where_gradients_grow_it_is_adam():
    """The gradients never shrink, so the maximum is the current second moment."""
    grads = np.outer(1.5 ** np.arange(60), [1e-3, -0.1, 7.0])
    paths = paths_of({"ours": oxe.amsgrad(0.01), "adam": optax.adam(0.01)}, grads)
    assert difference(paths["ours"], paths["adam"]) <= 1e-12


def where_they_end(txs, steps=100_000):
    """Reddi et al., section 5: 1010 x at every 101st step, else -10 x, on [-1, 1].

    A large gradient outweighs the hundred small ones, so that -1 is the best point.
    """

    def step(carry, t):
        new = []
        for tx, (x, state) in zip(txs, carry, strict=True):
            u, state = tx.update(jnp.where(t % 101 == 0, 1010.0, -10.0), state, x)
            new.append((jnp.clip(x + u, -1, 1), state))
        return new, None

    x = jnp.zeros(())
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps))[0])
    return [x for x, _ in run([(x, tx.init(x)) for tx in txs])]


@pytest.mark.full
def test_it_converges_where_adam_does_not():
    def rate(t):
        return 0.5 / jnp.sqrt(t + 1.0)

    options = {}, {"eps_hat": True}, {"bias_correction": False}
    ours = [oxe.amsgrad(rate, 0.9, 0.99, **kw) for kw in options]
    adam, *ends = where_they_end([optax.adam(rate, 0.9, 0.99), *ours])
    assert adam > 0.9
    assert max(ends) < -0.9
