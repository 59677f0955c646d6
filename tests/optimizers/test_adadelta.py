"""Adadelta: the paper's rule in NumPy, Optax's numbers, what it refuses."""

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
    "keras": {"rho": 0.95, "eps": 1e-7},
    "rho 0": {"rho": 0.0},
    "large eps": {"rho": 0.5, "eps": 0.1},
}


@pytest.mark.parametrize("rate", [1.0, falling], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, rate):
    expected = descend(list(formulas.adadelta(GRADS, **kw)), rate)
    assert difference(path_of(oxe.adadelta(rate, **kw), GRADS), expected) <= 1e-12
    ours = path_of(oxe.adadelta(rate, **kw), GRADS, "float32")
    assert difference(ours, expected) <= 1e-5


@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_optax_has_the_same_numbers(kw):
    theirs = path_of(optax.adadelta(1.0, **kw), GRADS)
    assert difference(path_of(oxe.adadelta(1.0, **kw), GRADS), theirs) <= 1e-12


def test_where_optax_differs():
    """Its averages are in half precision where the params are."""
    params = jnp.ones(3, jnp.bfloat16)
    ours, theirs = oxe.scale_by_adadelta().init(params), optax.scale_by_adadelta()
    assert {x.dtype for x in (ours.nu, ours.delta)} == {jnp.dtype("float32")}
    assert theirs.init(params).e_g.dtype == jnp.bfloat16


def test_an_epsilon_of_zero_never_starts():
    """The first step is 0 / |g|, and so is every other; no NaN, nor in its slope."""
    assert np.all(path_of(oxe.adadelta(1.0, eps=0.0), GRADS) == 0)

    def end(rate):
        tx = oxe.adadelta(rate, eps=0.0)
        u, _ = tx.update(jnp.zeros(2), tx.init(jnp.zeros(2)))
        return jnp.sum(u)

    assert jax.grad(end)(1.0) == 0


def test_buffers():
    params = jnp.ones((3, 5))
    assert buffers(oxe.adadelta(0.1).init(params), params) == 2


WRONG = [
    (ValueError, "learning_rate", -0.1),
    (ValueError, "rho", 1.1),
    (ValueError, "eps", -1e-8),
    (TypeError, "rho", None),
    (ValueError, "weight_decay", -0.1),
]


@pytest.mark.parametrize(("error", "argument", "got"), WRONG, ids=str)
def test_wrong_arguments(error, argument, got):
    with pytest.raises(error, match=f"^adadelta: `{argument}` must .*got {got}"):
        oxe.adadelta(**{argument: got})
