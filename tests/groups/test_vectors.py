"""The selector of biases and scales, also of scanned layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe

SHAPES = {
    "blocks/kernel": (3, 2, 2),
    "blocks/bias": (3, 2),
    "head/kernel": (2, 2),
    "head/bias": (2,),
    "scale": (),
}
PARAMS = {name: jnp.ones(shape) for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    "stacked",
    ["blocks/.*", ["nothing", "blocks/.*"], lambda path, leaf: path.startswith("bl")],
    ids=["expression", "expressions", "function"],
)
def test_only_kernels_decay(stacked):
    decay = oxe.by_path({oxe.vectors(stacked): 0.0}, default=0.5)
    tx = oxe.adamw(0.1, weight_decay=decay)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    us, _ = tx.update(zeros, tx.init(PARAMS), PARAMS)
    for name, u in us.items():
        np.testing.assert_allclose(u, -0.05 if "kernel" in name else 0, err_msg=name)


def test_without_stacks():
    found = {name for name, x in PARAMS.items() if oxe.vectors()(name, x)}
    assert found == {"head/bias", "scale"}
