"""AMSGrad: PyTorch's, Keras' and the paper's rule in NumPy, and what it is for."""

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
    "eps_hat": {"eps_hat": True, "eps": 1e-3},
    "paper": {"bias_correction": False},
    "paper, eps_hat": {"bias_correction": False, "eps_hat": True, "eps": 0.1},
    "b1 0": {"b1": 0.0},
    "b2 0": {"b2": 0.0},
    "others": {"b1": 0.5, "b2": 0.9, "eps": 0.1},
}


@pytest.mark.parametrize("rate", [0.1, falling], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, rate):
    expected = descend(list(formulas.amsgrad(GRADS, **kw)), rate)
    assert difference(path_of(oxe.amsgrad(rate, **kw), GRADS), expected) <= 1e-12


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule_in_float32(kw):
    expected = descend(list(formulas.amsgrad(GRADS, **kw)), 0.1)
    ours = path_of(oxe.amsgrad(0.1, **kw), GRADS, "float32")
    assert difference(ours, expected) <= 1e-5


SIX = np.array([[3, 1, 0.1, 0.1, -0.2, 0.5]]).T
# The weight after each gradient, by PyTorch 2.13.0, and by optax.amsgrad with both its
# corrections switched off.
VECTORS = [
    (True, [-1, -1.87106394, -2.56427199, -3.15020675, -3.61000227, -4.08292657]),
    (
        False,
        [-3.16227733, -6.86394308, -10.29548573, -13.48391766, -16.1494165, -19.013747],
    ),
]


@pytest.mark.parametrize(("bias_correction", "expected"), VECTORS)
def test_six_gradients(bias_correction, expected):
    path = path_of(oxe.amsgrad(1.0, bias_correction=bias_correction), SIX)
    np.testing.assert_allclose(path[1:, 0], expected, rtol=4e-8)


def test_where_gradients_grow_it_is_adam():
    """No gradient ever smaller than the one before: the maximum is the moment."""
    grads = np.outer(1.5 ** np.arange(60), [1e-3, -0.1, 7.0])
    adam = path_of(optax.adam(0.01), grads)
    assert difference(path_of(oxe.amsgrad(0.01), grads), adam) <= 1e-12


def keras_rule(grads, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """`keras.optimizers.Adam(amsgrad=True)`, from Keras' source, in NumPy."""
    w, m, v, v_hat = (np.zeros(grads.shape[1]) for _ in range(4))
    path = [w]
    for local_step, g in enumerate(grads, 1):
        alpha = rate * np.sqrt(1 - beta_2**local_step) / (1 - beta_1**local_step)
        m = m + (g - m) * (1 - beta_1)
        v = v + (g**2 - v) * (1 - beta_2)
        v_hat = np.maximum(v_hat, v)
        w = w - m * alpha / (np.sqrt(v_hat) + epsilon)
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.999), (0.5, 0.9)])
def test_the_rule_of_keras(b1, b2):
    ours = oxe.amsgrad(0.001, b1, b2, 1e-7, eps_hat=True)
    expected = keras_rule(GRADS, 0.001, b1, b2)
    assert difference(path_of(ours, GRADS), expected) <= 1e-12


# ---- What it is for ------------------------------------------------------------------


def where_it_ends(tx, steps=100_000):
    """Reddi et al., section 5: 1010 x at every 101st step, else -10 x, on [-1, 1].

    A large gradient outweighs the hundred small ones, so that -1 is the best point.
    """

    def step(carry, t):
        x, state = carry
        u, state = tx.update(jnp.where(t % 101 == 0, 1010.0, -10.0), state, x)
        return (jnp.clip(x + u, -1, 1), state), None

    x = jnp.zeros(())
    run = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps))[0])
    return run((x, tx.init(x)))[0]


def root_decay(t):
    return 0.5 / jnp.sqrt(t + 1.0)


@pytest.mark.parametrize("kw", [{}, {"eps_hat": True}, {"bias_correction": False}])
def test_it_converges_where_adam_does_not(kw):
    assert where_it_ends(optax.adam(root_decay, 0.9, 0.99)) > 0.9
    assert where_it_ends(oxe.amsgrad(root_decay, 0.9, 0.99, **kw)) < -0.9


# ---- Sizes ---------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 3])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_one_large_gradient_makes_no_nan(kw, at):
    """Its square is inf in float32, and the maximum stays so."""
    grads = np.ones((12, 2))
    grads[at, 0] = 1e20
    assert np.all(np.isfinite(path_of(oxe.amsgrad(0.1, **kw), grads, "float32")))


@pytest.mark.parametrize("kw", [{}, {"bias_correction": False}, {"weight_decay": 0.1}])
def test_buffers(kw):
    params = jnp.ones((3, 5))
    assert buffers(oxe.amsgrad(0.1, **kw).init(params), params) == 3


def test_the_maximum_never_shrinks():
    tx, params = oxe.scale_by_amsgrad(), jnp.zeros(4)
    state = tx.init(params)
    for g in np.float32(GRADS[:50]):
        before, state = state.nu_max, tx.update(g, state)[1]
        np.testing.assert_array_equal(state.nu_max, np.maximum(before, state.nu))


def test_its_direction():
    """`amsgrad` is `scale_by_amsgrad` and the rate."""
    kw = {"b1": 0.8, "b2": 0.99, "eps": 1e-3, "eps_hat": True}
    theirs = optax.chain(oxe.scale_by_amsgrad(**kw), oxe.scale_by_rate(falling))
    np.testing.assert_array_equal(
        path_of(oxe.amsgrad(falling, **kw), GRADS), path_of(theirs, GRADS)
    )


WRONG = [
    (ValueError, "learning_rate", {"learning_rate": -0.1}, "-0.1"),
    (TypeError, "learning_rate", {"learning_rate": None}, "None"),
    (ValueError, "b1", {"b1": 1.0}, "1.0"),
    (ValueError, "b2", {"b2": -0.1}, "-0.1"),
    (TypeError, "b2", {"b2": "0.9"}, "'0.9'"),
    (ValueError, "eps", {"eps": -1e-8}, "-1e-08"),
    (TypeError, "bias_correction", {"bias_correction": 1}, "1"),
    (TypeError, "eps_hat", {"eps_hat": None}, "None"),
    (ValueError, "weight_decay", {"weight_decay": -0.1}, "-0.1"),
    (TypeError, "weight_decay", {"weight_decay": "0"}, "'0'"),
]
IDS = [f"{argument}-{got}" for _, argument, _, got in WRONG]


@pytest.mark.parametrize(("error", "argument", "kw", "got"), WRONG, ids=IDS)
def test_wrong_arguments(error, argument, kw, got):
    with pytest.raises(error, match=f"^amsgrad: `{argument}` must .*got .*{got}"):
        oxe.amsgrad(**{"learning_rate": 0.1, **kw})


def test_wrong_arguments_of_its_direction():
    with pytest.raises(TypeError, match=r"^amsgrad: `eps_hat` must .*got 1"):
        oxe.scale_by_amsgrad(eps_hat=1)
