"""RMSProp: the rule in NumPy, Keras', and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import formulas
from tests.optimizers.paths import (
    buffers,
    descend,
    difference,
    falling,
    gradients,
    path_of,
)

GRADS = gradients()


OPTIONS = {
    "default": {},
    "zero": {"initial": "zero"},
    "decay": {"decay": 0.5, "initial": "zero"},
    "no decay": {"decay": 0.0},
    "eps": {"eps": 0.1},
    "eps_in_root": {"eps_in_root": True, "eps": 1e-3, "initial": "zero"},
    "eps_in_root, first": {"eps_in_root": True, "eps": 1e-3},
    "momentum": {"momentum": 0.9},
    "momentum, zero": {"momentum": 0.5, "initial": "zero"},
    "centered": {"centered": True},
    "centered, zero": {"centered": True, "initial": "zero"},
    "all": {
        "decay": 0.9,
        "eps": 1e-3,
        "centered": True,
        "eps_in_root": True,
        "momentum": 0.9,
        "initial": "zero",
    },
}


@pytest.mark.parametrize("rate", [0.1, falling], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, rate):
    expected = descend(list(formulas.rmsprop(GRADS, **kw)), rate)
    assert difference(path_of(oxe.rmsprop(rate, **kw), GRADS), expected) <= 1e-12


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule_in_float32(kw):
    expected = descend(list(formulas.rmsprop(GRADS, **kw)), 0.1)
    assert difference(path_of(oxe.rmsprop(0.1, **kw), GRADS, "float32"), expected) <= (
        1e-5
    )


def keras_rule(grads, rate, rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    """`keras.optimizers.RMSprop.update_step`, from Keras' source, in NumPy."""
    w, velocity, mean, gathered = (np.zeros(grads.shape[1]) for _ in range(4))
    path = [w]
    for g in grads:
        velocity = rho * velocity + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        centre = mean**2 if centered else 0
        gathered = momentum * gathered + rate * g / np.sqrt(velocity - centre + epsilon)
        w = w - gathered
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_rule_of_keras(momentum, centered):
    # Beyond 1e2 Keras' variance may be rounded to less than -1e-7, its root then NaN.
    grads = gradients(decades=(-3, 1))
    expected = keras_rule(grads, 0.01, momentum=momentum, centered=centered)
    ours = oxe.rmsprop(
        0.01,
        0.9,
        1e-7,
        initial="zero",
        eps_in_root=True,
        momentum=momentum,
        centered=centered,
    )
    assert difference(path_of(ours, grads), expected) <= 1e-12


@pytest.mark.parametrize("centered", [False, True])
def test_the_direction_of_optax(centered):
    """With a zero start and epsilon inside the root; Optax's centring is the same."""
    theirs = optax.rmsprop(0.1, 0.9, 1e-3, centered=centered)
    ours = oxe.rmsprop(
        0.1, 0.9, 1e-3, initial="zero", eps_in_root=True, centered=centered
    )
    grads = gradients(decades=(-2, 1))
    assert difference(path_of(ours, grads), path_of(theirs, grads)) <= 1e-12


@pytest.mark.parametrize("decay", [0.9, 0.99, 0.999])
def test_the_first_step(decay):
    """Of the size of the rate, where a zero start makes it 1 / sqrt(1 - decay)."""
    grads = np.array([[10.0, 0.1, -1e-3, -1e3]])
    signs = np.sign(grads[0])
    first = path_of(oxe.rmsprop(0.1, decay), grads)[1]
    np.testing.assert_allclose(first, -0.1 * signs, rtol=2e-5)
    zero = path_of(oxe.rmsprop(0.1, decay, eps=0.0, initial="zero"), grads)[1]
    np.testing.assert_allclose(zero, -0.1 * signs / np.sqrt(1 - decay), rtol=1e-12)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_the_first_step_when_centred(decay):
    """Variance g^2 - ((1 - decay) g)^2: a little longer than the rate, no g / eps."""
    grads = np.array([[10.0, 0.1, -1e-3, -1e3]])
    first = path_of(oxe.rmsprop(0.1, decay, centered=True), grads)[1]
    length = 0.1 / np.sqrt(1 - (1 - decay) ** 2)
    np.testing.assert_allclose(first, -length * np.sign(grads[0]), rtol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("initial", ["first_gradient", "zero"])
@pytest.mark.parametrize("eps_in_root", [False, True])
@pytest.mark.parametrize("eps", [1e-8, 0.0])
def test_a_constant_gradient_when_centred(eps, eps_in_root, initial, dtype):
    """Its variance falls to 0, and rounding would make it negative."""
    tx = oxe.rmsprop(
        1e-3, 0.9, eps, centered=True, initial=initial, eps_in_root=eps_in_root
    )
    path = path_of(tx, np.full((3000, 3), [1e-3, 0.1, 7.0]), dtype)
    assert np.all(np.isfinite(path))
    assert np.all(np.diff(path, axis=0) < 0)


@pytest.mark.parametrize("large", [1e20, 1e30])
@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_one_large_gradient_makes_no_nan(kw, at, large):
    """Its square is inf in float32, and stays so; and so may be that of the average."""
    grads = np.ones((12, 2))
    grads[at, 0] = large
    assert np.all(np.isfinite(path_of(oxe.rmsprop(0.1, **kw), grads, "float32")))


SIZES = [
    ({}, 1),
    ({"centered": True}, 2),
    ({"momentum": 0.9}, 2),
    ({"centered": True, "momentum": 0.9}, 3),
    ({"weight_decay": 0.1}, 1),
]


@pytest.mark.parametrize(("kw", "expected"), SIZES)
def test_buffers(kw, expected):
    params = jnp.ones((3, 5))
    assert buffers(oxe.rmsprop(0.1, **kw).init(params), params) == expected


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_its_direction(kw):
    """`rmsprop` is `scale_by_rmsprop` and the rate."""
    theirs = optax.chain(oxe.scale_by_rmsprop(**kw), oxe.scale_by_rate(falling))
    np.testing.assert_array_equal(
        path_of(oxe.rmsprop(falling, **kw), GRADS), path_of(theirs, GRADS)
    )


def test_momentum_may_be_traced():
    """0 is momentum too: what decides the state is None."""
    g = jnp.array([2.0, -3.0])

    def first(momentum):
        tx = oxe.scale_by_rmsprop(momentum=momentum)
        return tx.update(g, tx.init(g))[0]

    got = jax.vmap(first)(jnp.array([0.0, 0.9]))
    np.testing.assert_allclose(got, [[1, -1], [1, -1]], rtol=1e-6)
    state = oxe.rmsprop(0.1, momentum=0.0).init(g)
    assert buffers(state, g) == 2


WRONG = [
    (ValueError, "learning_rate", {"learning_rate": -0.1}, "-0.1"),
    (TypeError, "learning_rate", {"learning_rate": "0.1"}, "'0.1'"),
    (ValueError, "decay", {"decay": 1.0}, "1.0"),
    (ValueError, "decay", {"decay": -0.1}, "-0.1"),
    (TypeError, "decay", {"decay": None}, "None"),
    (ValueError, "eps", {"eps": -1e-8}, "-1e-08"),
    (TypeError, "eps", {"eps": "1"}, "'1'"),
    (ValueError, "initial", {"initial": "first"}, "'first'"),
    (ValueError, "initial", {"initial": 0}, "0"),
    (TypeError, "centered", {"centered": 1}, "1"),
    (TypeError, "eps_in_root", {"eps_in_root": None}, "None"),
    (ValueError, "momentum", {"momentum": 1.0}, "1.0"),
    (ValueError, "momentum", {"momentum": -0.5}, "-0.5"),
    (TypeError, "momentum", {"momentum": "0.9"}, "'0.9'"),
    (TypeError, "momentum", {"momentum": False}, "False"),
    (ValueError, "weight_decay", {"weight_decay": -0.1}, "-0.1"),
    (TypeError, "weight_decay", {"weight_decay": None}, "None"),
]
IDS = [f"{argument}-{got}" for _, argument, _, got in WRONG]


@pytest.mark.parametrize(("error", "argument", "kw", "got"), WRONG, ids=IDS)
def test_wrong_arguments(error, argument, kw, got):
    with pytest.raises(error, match=f"^rmsprop: `{argument}` must .*got .*{got}"):
        oxe.rmsprop(**{"learning_rate": 0.1, **kw})


OF_THE_DIRECTION = [
    wrong for wrong in WRONG if wrong[1] not in ("learning_rate", "weight_decay")
]


@pytest.mark.parametrize(("error", "argument", "kw", "got"), OF_THE_DIRECTION)
def test_wrong_arguments_of_its_direction(error, argument, kw, got):
    with pytest.raises(error, match=f"^rmsprop: `{argument}` must .*got .*{got}"):
        oxe.scale_by_rmsprop(**kw)


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        oxe.rmsprop(0.1, 0.99, 1e-8, "zero")
