"""AdaGrad: the paper's rule, how it differs from Optax's, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import paths
from tests.optimizers.paths import difference

STEPS = 300
RNG = np.random.default_rng(0)
GRADS = RNG.normal(size=(STEPS, 4)) * 10 ** RNG.uniform(-3, 3, (STEPS, 4))


def cosine(t):
    """A rate that changes at every step; of NumPy and of JAX."""
    return 0.05 + 0.05 / (1 + t)


def paper(grads, rate, eps, lr_decay=0.0, initial_accumulator_value=0.0):
    """Duchi et al. with diagonal matrices, as PyTorch has it."""
    h, w = initial_accumulator_value, np.zeros(grads.shape[1])
    path = [w]
    for t, g in enumerate(grads):
        h = h + g**2
        eta = (rate(t) if callable(rate) else rate) / (1 + t * lr_decay)
        w = w - eta * g / (np.sqrt(h) + eps)
        path.append(w)
    return np.stack(path)


def path_of(tx, grads=GRADS, dtype="float64"):
    return paths.path_of(tx, grads, dtype)


@pytest.mark.parametrize("eps", [1e-10, 1e-7, 0.1, 10.0])
@pytest.mark.parametrize("rate", [0.1, cosine], ids=["constant", "changing"])
def test_the_rule_of_the_paper(rate, eps):
    expected = paper(GRADS, rate, eps)
    assert difference(path_of(oxe.adagrad(rate, eps)), expected) <= 1e-13


OPTIONS = {
    "decay": {"lr_decay": 0.01},
    "strong decay": {"lr_decay": 10.0},
    "start": {"initial_accumulator_value": 0.1},
    "large start": {"initial_accumulator_value": 1e4},
    "both": {"lr_decay": 0.1, "initial_accumulator_value": 1.0},
}


@pytest.mark.parametrize("eps", [1e-10, 0.1])
@pytest.mark.parametrize("rate", [0.1, cosine], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule_of_pytorch(kw, rate, eps):
    expected = paper(GRADS, rate, eps, **kw)
    assert difference(path_of(oxe.adagrad(rate, eps, **kw)), expected) <= 1e-13


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule_in_float32(kw):
    expected = paper(GRADS, 0.1, 1e-10, **kw)
    ours = path_of(oxe.adagrad(0.1, **kw), dtype="float32")
    assert difference(ours, expected) <= 1e-5


def keras_rule(grads, rate, initial_accumulator_value=0.1, epsilon=1e-7):
    """`keras.optimizers.Adagrad.update_step`, from Keras' source, in NumPy."""
    w = np.zeros(grads.shape[1])
    accumulator, path = np.full_like(w, initial_accumulator_value), [w]
    for g in grads:
        accumulator = accumulator + g**2
        w = w - rate * g / np.sqrt(accumulator + epsilon)
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize("start", [0.1, 0.0, 3.0])
def test_the_rule_of_keras(start):
    """Its epsilon is inside the root: it belongs to the initial value."""
    ours = oxe.adagrad(0.1, eps=0.0, initial_accumulator_value=start + 1e-7)
    assert difference(path_of(ours), keras_rule(GRADS, 0.1, start)) <= 1e-13


def test_optax_with_its_defaults():
    """As Keras', and no step where the whole sum is 0."""
    ours = oxe.adagrad(0.1, eps=0.0, initial_accumulator_value=0.1 + 1e-7)
    assert difference(path_of(ours), path_of(optax.adagrad(0.1))) <= 1e-13


def test_the_decay_scales_the_direction_and_not_the_rate():
    tx, g = oxe.adagrad(0.1, lr_decay=1.0), jnp.ones(1)
    state = tx.init(g)
    for t in range(1, 5):
        u, state = tx.update(g, state)
        np.testing.assert_allclose(u, -0.1 / t / np.sqrt(t), rtol=1e-6)
        assert oxe.learning_rate(state) == np.float32(0.1)


@pytest.mark.parametrize("kw", [{}, *OPTIONS.values()], ids=["default", *OPTIONS])
def test_one_large_gradient_makes_no_nan(kw):
    """Its square is inf in float32, and the sum stays so."""
    grads = np.ones((12, 2))
    grads[3, 0] = 1e20
    assert np.all(np.isfinite(path_of(oxe.adagrad(0.1, **kw), grads, "float32")))


@pytest.mark.parametrize("kw", [{}, *OPTIONS.values()], ids=["default", *OPTIONS])
def test_one_buffer(kw):
    params = jnp.ones((3, 5))
    state = oxe.adagrad(0.1, **kw).init(params)
    assert [x.shape for x in jax.tree.leaves(state)].count((3, 5)) == 1


def test_the_default_epsilon_is_that_of_pytorch():
    assert difference(path_of(oxe.adagrad(0.1)), paper(GRADS, 0.1, 1e-10)) <= 1e-13
    # On a gradient as small as that, it shows.
    tiny = np.full((3, 2), 1e-10)
    np.testing.assert_allclose(
        path_of(oxe.adagrad(0.1), tiny), paper(tiny, 0.1, 1e-10), rtol=1e-12
    )


def test_the_limit_in_which_optax_agrees():
    """A sum that starts at 0, and no epsilon."""
    theirs = optax.adagrad(0.1, initial_accumulator_value=0.0, eps=0.0)
    ours = oxe.adagrad(0.1, eps=0.0)
    assert difference(path_of(ours), path_of(theirs)) <= 1e-13


def test_the_first_step_is_of_the_size_of_the_rate():
    """Optax's, whose sum starts at 0.1, is shorter."""
    grads = np.array([[1.0, 0.1, 0.01, 1e-3]])
    np.testing.assert_allclose(path_of(oxe.adagrad(0.1), grads)[1], -0.1, rtol=1e-6)
    theirs = path_of(optax.adagrad(0.1), grads)[1]
    np.testing.assert_allclose(
        theirs, -0.1 * grads[0] / np.sqrt(0.1 + grads[0] ** 2 + 1e-7), rtol=1e-6
    )


def test_a_weight_that_has_seen_no_gradient_stays():
    grads = np.zeros((3, 2))
    grads[:, 1] = 1
    for eps in (0.0, 1e-10):
        np.testing.assert_array_equal(path_of(oxe.adagrad(0.1, eps), grads)[:, 0], 0)


def test_its_direction():
    """`adagrad` is `scale_by_adagrad` and the rate."""
    theirs = optax.chain(oxe.scale_by_adagrad(0.1), oxe.scale_by_rate(cosine))
    np.testing.assert_array_equal(path_of(oxe.adagrad(cosine, 0.1)), path_of(theirs))
    g = jnp.array([2.0, -3.0])
    u, _ = oxe.scale_by_adagrad(0.5).update(g, oxe.scale_by_adagrad(0.5).init(g))
    np.testing.assert_allclose(u, [2 / 2.5, -3 / 3.5], rtol=1e-6)


def test_the_rate_is_readable():
    tx = oxe.adagrad(lambda t: 0.1 / (1 + t))
    state = tx.init(jnp.ones(2))
    for expected in (0.1, 0.1, 0.05, 0.1 / 3):  # before any update: of the first
        assert oxe.learning_rate(state) == np.float32(expected)
        _, state = tx.update(jnp.ones(2), state)


WRONG = [
    (ValueError, "eps", {"eps": -1e-10}, "-1e-10"),
    (ValueError, "eps", {"eps": np.inf}, "inf"),
    (TypeError, "eps", {"eps": None}, "None"),
    (ValueError, "learning_rate", {"learning_rate": -0.1}, "-0.1"),
    (TypeError, "learning_rate", {"learning_rate": "0.1"}, "'0.1'"),
    (ValueError, "lr_decay", {"lr_decay": -0.1}, "-0.1"),
    (TypeError, "lr_decay", {"lr_decay": None}, "None"),
    (
        ValueError,
        "initial_accumulator_value",
        {"initial_accumulator_value": -0.1},
        "-0.1",
    ),
    (
        TypeError,
        "initial_accumulator_value",
        {"initial_accumulator_value": "0"},
        "'0'",
    ),
    (ValueError, "weight_decay", {"weight_decay": -0.1}, "-0.1"),
    (TypeError, "weight_decay", {"weight_decay": "0"}, "'0'"),
]


@pytest.mark.parametrize(("error", "argument", "kw", "got"), WRONG)
def test_wrong_arguments(error, argument, kw, got):
    with pytest.raises(error, match=f"^adagrad: `{argument}` must .*got .*{got}"):
        oxe.adagrad(**{"learning_rate": 0.1, **kw})


def test_wrong_arguments_of_its_direction():
    with pytest.raises(ValueError, match=r"`eps` must .*got -1"):
        oxe.scale_by_adagrad(-1.0)
