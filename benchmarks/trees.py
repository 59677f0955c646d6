"""The params that are updated: few and many leaves, large and small, and bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np

WIDTH, LAYERS, WORDS = 256, 24, 8000


def leaves(count, size, dtype=jnp.float32):
    return {f"leaf{i:04}": jnp.full(size, 0.1, dtype) for i in range(count)}


def transformer(quick):
    """An embedding and 24 layers; 21 M weights in 289 leaves."""
    w = WIDTH // 4 if quick else WIDTH
    layer = {
        **dict.fromkeys(("query", "key", "value", "out"), (w, w)),
        "up": (w, 4 * w),
        "down": (4 * w, w),
        **dict.fromkeys(("norm1", "norm1_bias", "norm2", "norm2_bias"), (w,)),
        "up_bias": (4 * w,),
        "down_bias": (w,),
    }
    shapes = {f"layer{i}": dict(layer) for i in range(LAYERS)}
    shapes["embedding"] = {"words": (WORDS, w)}
    return jax.tree.map(
        lambda shape: jnp.full(shape, 0.1),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


# quick -> params. The quick ones have about a tenth of the weights.
TREES = {
    "one": lambda quick: leaves(1, 2_000_000 if quick else 20_000_000),
    "many": lambda quick: leaves(40 if quick else 400, 50_000),
    "small": lambda quick: leaves(100 if quick else 1000, 32),
    "transformer": transformer,
    "half": lambda quick: leaves(1, 2_000_000 if quick else 20_000_000, jnp.bfloat16),
}
TITLES = {
    "one": "one leaf of 20 M float32",
    "many": "400 leaves of 50 k float32",
    "small": "1000 leaves of 32 float32",
    "transformer": "a transformer of 24 layers, 21 M float32 in 289 leaves",
    "half": "one leaf of 20 M bfloat16, states in float32",
}


def gradients(params):
    """Noise like the leaves; leaves of one shape and dtype share an array."""
    rng, made = np.random.default_rng(0), {}

    def leaf(p):
        kind = p.shape, p.dtype
        if kind not in made:
            made[kind] = jnp.asarray(rng.normal(0.1, 1, p.shape), p.dtype)
        return made[kind]

    return jax.tree.map(leaf, params)
