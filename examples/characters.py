"""A small transformer that predicts the next character of a book.

It is for examples/small_state.py, and simple enough to copy: 110 thousand weights, two
layers, no biases. The book is in tests/data. examples/muon_text.py has another text.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

BOOK = Path(__file__).parents[1] / "tests" / "data" / "alice.txt"
TESTED = 8000  # the test characters, at the end of the book
WIDTH, HEADS, LAYERS, LENGTH, BATCH = 64, 4, 2, 64, 8


class Text(NamedTuple):
    """A text, and a small transformer that predicts its characters."""

    train: np.ndarray
    test: np.ndarray
    characters: int
    layers: int = LAYERS
    length: int = LENGTH

    def params(self, key):
        keys = iter(jax.random.split(key, 4 * self.layers + 3))

        def matrix(before, after, size):
            return jax.random.normal(next(keys), (before, after)) * size

        n, w = self.characters, WIDTH
        layers = [
            {
                "attend": matrix(w, 3 * w, w**-0.5),
                "joined": matrix(w, w, 0.5 * w**-0.5),
                "wide": matrix(w, 4 * w, w**-0.5),
                "narrow": matrix(4 * w, w, 0.25 * w**-0.5),
            }
            for _ in range(self.layers)
        ]
        ends = {"characters": matrix(n, w, 1), "places": matrix(self.length, w, 1)}
        return {"layers": layers, "guess": matrix(w, n, w**-0.5), **ends}

    def logits(self, params, rows):
        def normed(x):
            return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6)

        x = params["characters"][rows] + params["places"]
        for layer in params["layers"]:
            heads = normed(x) @ layer["attend"]
            q, k, v = jnp.split(heads.reshape(*x.shape[:-1], HEADS, -1), 3, axis=-1)
            seen = jax.nn.dot_product_attention(q, k, v, is_causal=True)
            x = x + seen.reshape(x.shape) @ layer["joined"]
            x = x + jax.nn.gelu(normed(x) @ layer["wide"]) @ layer["narrow"]
        return normed(x) @ params["guess"]

    def loss(self, params, batch):
        logits = self.logits(params, batch[:, :-1])
        each = optax.softmax_cross_entropy_with_integer_labels
        return each(logits.astype(jnp.float32), batch[:, 1:]).mean()

    def batches(self, steps, seed):
        first = np.random.default_rng(seed).integers(
            len(self.train) - self.length, size=(steps, BATCH, 1)
        )
        return self.train[first + np.arange(self.length + 1)]

    def tested(self, params):
        size = self.length + 1
        rows = jnp.asarray(self.test[: len(self.test) // size * size].reshape(-1, size))
        predicted = self.logits(params, rows[:, :-1]).argmax(-1)
        return self.loss(params, rows), jnp.mean(predicted == rows[:, 1:])


def characters():
    """The training text, the test text, and the model."""
    text = BOOK.read_text()
    letters = sorted(set(text))
    rows = np.array([letters.index(x) for x in text], np.int32)
    return Text(rows[:-TESTED], rows[-TESTED:], len(letters))
