"""Adamax: the paper's rule in NumPy, Optax's, what it refuses."""

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
    "outside": {"eps_in_maximum": False},
    "large": {"eps": 0.1},
    "large outside": {"eps": 0.1, "eps_in_maximum": False},
    "b1 0": {"b1": 0.0},
    "b2 0": {"b2": 0.0},
    "eps 0": {"eps": 0.0},
}


@pytest.mark.parametrize("rate", [0.1, falling], ids=["constant", "changing"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, rate):
    expected = descend(list(formulas.adamax(GRADS, **kw)), rate)
    assert difference(path_of(oxe.adamax(rate, **kw), GRADS), expected) <= 1e-12
    ours = path_of(oxe.adamax(rate, **kw), GRADS, "float32")
    assert difference(ours, expected) <= 1e-5


def test_optax_has_the_form_with_epsilon_inside():
    theirs = path_of(optax.adamax(0.1), GRADS)
    assert difference(path_of(oxe.adamax(0.1), GRADS), theirs) <= 1e-12
    # Outside, it keeps the maximum from 0 where gradients fade: 0.1 + b2^k against
    # the larger of 0.1 and b2^k.
    kw, grads = {"b2": 0.5, "eps": 0.1}, 0.2 ** np.arange(50.0)[:, None]
    ours = path_of(oxe.adamax(0.1, eps_in_maximum=False, **kw), grads)
    assert difference(ours, path_of(optax.adamax(0.1, **kw), grads)) > 1e-3


def test_the_paper_in_a_line():
    """After one gradient g the maximum decays by b2, as no square root would."""
    tx = oxe.scale_by_adamax(b1=0.0, eps=0.0, b2=0.5)
    state = tx.init(jnp.zeros(()))
    for g, expected in [(4.0, 1.0), (1.0, 0.5), (0.5, 0.5), (0.5, 1.0)]:
        u, state = tx.update(jnp.float32(g), state)
        assert u == expected


@pytest.mark.parametrize("kw", [{}, {"weight_decay": 0.1}])
def test_buffers(kw):
    params = jnp.ones((3, 5))
    assert buffers(oxe.adamax(0.1, **kw).init(params), params) == 2


WRONG = [
    (ValueError, "learning_rate", -0.1),
    (ValueError, "b1", 1.0),
    (ValueError, "b2", -0.1),
    (ValueError, "eps", -1e-8),
    (TypeError, "eps", None),
    (TypeError, "eps_in_maximum", 1),
    (ValueError, "weight_decay", -0.1),
]


@pytest.mark.parametrize(("error", "argument", "got"), WRONG, ids=str)
def test_wrong_arguments(error, argument, got):
    with pytest.raises(error, match=f"^adamax: `{argument}` must .*got {got}"):
        oxe.adamax(**{"learning_rate": 0.1, argument: got})
