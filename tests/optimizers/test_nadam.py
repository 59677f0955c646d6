"""NAdam: the paper's rule in NumPy, its limit in Optax, Keras', what it refuses."""

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
    "psi 1": {"momentum_decay": 1.0},
    "psi 0": {"momentum_decay": 0.0},
    "b1 0": {"b1": 0.0},
    "b2 0": {"b2": 0.0, "eps": 1e-3},
    "others": {"b1": 0.5, "b2": 0.9, "eps": 0.1, "momentum_decay": 0.1},
}


@pytest.mark.parametrize("rate", [0.1, falling], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, rate):
    expected = descend(list(formulas.nadam(GRADS, **kw)), rate)
    assert difference(path_of(oxe.nadam(rate, **kw), GRADS), expected) <= 1e-12


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule_in_float32(kw):
    expected = descend(list(formulas.nadam(GRADS, **kw)), 0.1)
    ours = path_of(oxe.nadam(0.1, **kw), GRADS, "float32")
    assert difference(ours, expected) <= 1e-5


SIX = np.array([[3, 1, 0.1, 0.1, -0.2, 0.5]]).T
# The weight after each gradient, by PyTorch 2.13.0 and, for psi = 1, by Keras' rule.
VECTORS = [
    (
        0.004,
        [-0.01056452, -0.01446884, -0.01568232, -0.01696938, -0.01703432, -0.02015258],
    ),
    (
        1.0,
        [-0.01062788, -0.01454423, -0.01588589, -0.01731896, -0.01768805, -0.02070247],
    ),
]


@pytest.mark.parametrize(("psi", "expected"), VECTORS)
def test_six_gradients(psi, expected):
    path = path_of(oxe.nadam(0.01, momentum_decay=psi), SIX)
    np.testing.assert_allclose(path[1:, 0], expected, rtol=0, atol=6e-9)


@pytest.mark.parametrize("b1", [0.0, 0.5, 0.9, 0.99])
def test_the_limit_in_which_optax_agrees(b1):
    """The momentum is constant from the first step on: 0.96**1000 is 2e-18."""
    ours = path_of(oxe.nadam(0.01, b1, momentum_decay=1e3), GRADS)
    assert difference(ours, path_of(optax.nadam(0.01, b1), GRADS)) <= 1e-12
    if b1:  # and in no other
        ours = path_of(oxe.nadam(0.01, b1), GRADS)
        assert difference(ours, path_of(optax.nadam(0.01, b1), GRADS)) > 1e-2


def test_without_momentum_it_is_adam():
    ours = path_of(oxe.nadam(0.01, 0.0), GRADS)
    assert difference(ours, path_of(optax.adam(0.01, 0.0), GRADS)) <= 1e-12


def keras_rule(grads, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """`keras.optimizers.Nadam`, from Keras' source, in NumPy."""
    w, m, v, u_product = *(np.zeros(grads.shape[1]) for _ in range(3)), 1.0
    path = [w]
    for iterations, g in enumerate(grads):
        u_t = beta_1 * (1 - 0.5 * 0.96 ** (iterations + 1))
        u_t_1 = beta_1 * (1 - 0.5 * 0.96 ** (iterations + 2))
        u_product = u_product * u_t
        m = m + (g - m) * (1 - beta_1)
        v = v + (g**2 - v) * (1 - beta_2)
        m_hat = u_t_1 * m / (1 - u_product * u_t_1) + (1 - u_t) * g / (1 - u_product)
        v_hat = v / (1 - beta_2 ** (iterations + 1))
        w = w - m_hat * rate / (np.sqrt(v_hat) + epsilon)
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.5, 0.9)])
def test_the_rule_of_keras(b1, b2):
    ours = oxe.nadam(0.001, b1, b2, 1e-7, momentum_decay=1.0)
    expected = keras_rule(GRADS, 0.001, b1, b2)
    assert difference(path_of(ours, GRADS), expected) <= 1e-12


@pytest.mark.parametrize("psi", [0.0, 0.004, 1.0])
def test_the_first_step(psi):
    """For any gradient g: eta ((1 - mu_1) / (1 - P_1) + mu_2 (1 - b1) / (1 - P_2))."""
    mu = [0.9 * (1 - 0.5 * 0.96 ** (t * psi)) for t in (1, 2)]
    length = 1 + mu[1] * 0.1 / (1 - mu[0] * mu[1])
    grads = np.array([[10.0, -0.1, 1e-3]])
    first = path_of(oxe.nadam(0.1, eps=0.0, momentum_decay=psi), grads)[1]
    np.testing.assert_allclose(first, -0.1 * length * np.sign(grads[0]), rtol=1e-12)


@pytest.mark.parametrize("at", [0, 3])
def test_one_large_gradient_makes_no_nan(at):
    """Its square is inf in float32, and stays so."""
    grads = np.ones((12, 2))
    grads[at, 0] = 1e20
    assert np.all(np.isfinite(path_of(oxe.nadam(0.1), grads, "float32")))


@pytest.mark.parametrize("kw", [{}, {"weight_decay": 0.1}])
def test_buffers(kw):
    params = jnp.ones((3, 5))
    assert buffers(oxe.nadam(0.1, **kw).init(params), params) == 2


def test_the_product_of_the_momenta_stays_a_number():
    """It falls below every float; the steps are then those of a constant gradient."""
    path = path_of(oxe.nadam(0.1), np.ones((3000, 1)), "float32")
    np.testing.assert_allclose(np.diff(path[-50:], axis=0), -0.1, rtol=1e-3)


def test_its_direction():
    """`nadam` is `scale_by_nadam` and the rate."""
    kw = {"b1": 0.8, "b2": 0.99, "eps": 1e-3, "momentum_decay": 0.1}
    theirs = optax.chain(oxe.scale_by_nadam(**kw), oxe.scale_by_rate(falling))
    np.testing.assert_array_equal(
        path_of(oxe.nadam(falling, **kw), GRADS), path_of(theirs, GRADS)
    )


WRONG = [
    (ValueError, "learning_rate", {"learning_rate": -0.1}, "-0.1"),
    (TypeError, "learning_rate", {"learning_rate": None}, "None"),
    (ValueError, "b1", {"b1": 1.0}, "1.0"),
    (ValueError, "b2", {"b2": -0.1}, "-0.1"),
    (TypeError, "b2", {"b2": "0.9"}, "'0.9'"),
    (ValueError, "eps", {"eps": -1e-8}, "-1e-08"),
    (ValueError, "momentum_decay", {"momentum_decay": -0.004}, "-0.004"),
    (ValueError, "momentum_decay", {"momentum_decay": np.inf}, "inf"),
    (TypeError, "momentum_decay", {"momentum_decay": None}, "None"),
    (ValueError, "weight_decay", {"weight_decay": -0.1}, "-0.1"),
    (TypeError, "weight_decay", {"weight_decay": "0"}, "'0'"),
]
IDS = [f"{argument}-{got}" for _, argument, _, got in WRONG]


@pytest.mark.parametrize(("error", "argument", "kw", "got"), WRONG, ids=IDS)
def test_wrong_arguments(error, argument, kw, got):
    with pytest.raises(error, match=f"^nadam: `{argument}` must .*got .*{got}"):
        oxe.nadam(**{"learning_rate": 0.1, **kw})


def test_wrong_arguments_of_its_direction():
    with pytest.raises(ValueError, match=r"^nadam: `momentum_decay` must .*got -1"):
        oxe.scale_by_nadam(momentum_decay=-1.0)
