"""Rprop: the rule in NumPy, where Optax is late, what it refuses."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers import formulas
from tests.optimizers.paths import buffers, descend, difference, gradients, path_of

GRADS = gradients()
OPTIONS = {
    "default": {},
    "others": {"eta_minus": 0.3, "eta_plus": 1.5},
    "narrow": {"low": 5e-3, "high": 0.05},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kw", OPTIONS.values(), ids=OPTIONS)
def test_the_rule(kw, dtype):
    expected = descend(list(formulas.rprop(GRADS, 0.01, **kw)), 1.0)
    names = {"low": "min_step_size", "high": "max_step_size"}
    tx = oxe.rprop(0.01, **{names.get(k, k): x for k, x in kw.items()})
    close = {"float32": 1e-5, "float64": 1e-12}[dtype]
    assert difference(path_of(tx, GRADS, dtype), expected) <= close


def test_optax_is_one_update_late():
    """Its first update is 0, and a step waits for the next gradient."""
    grads = np.array([[1.0], [1.0], [1.0], [1.0]])
    ours, theirs = (path_of(f(0.01), grads) for f in (oxe.rprop, optax.rprop))
    assert theirs[1] == 0
    np.testing.assert_allclose(theirs[2:], ours[1:-1], rtol=1e-12)


def test_a_turn_waits_for_one_step():
    tx = oxe.rprop(1.0)
    state, found = tx.init(jnp.zeros(())), []
    for g in (1.0, 1.0, -1.0, -1.0, -1.0):
        u, state = tx.update(jnp.float32(g), state)
        found.append(float(u))
    np.testing.assert_allclose(found, [-1.0, -1.2, 0.0, 0.6, 0.72], rtol=1e-6)


def test_signs_of_tiny_gradients_agree():
    """The product of 1e-30 and 1e-30 is 0 in float32; the signs are not."""
    grads = np.full((5, 1), 1e-30)
    steps = np.diff(path_of(oxe.rprop(1.0), grads, "float32"), axis=0)[:, 0]
    np.testing.assert_allclose(steps, [-(1.2**i) for i in range(5)], rtol=1e-6)


def test_of_a_schedule_only_the_first_value_is_used():
    grads = GRADS[:50]
    changing = path_of(oxe.rprop(lambda t: 0.01 * (1.0 + t)), grads)
    np.testing.assert_array_equal(changing, path_of(oxe.rprop(0.01), grads))
    state = oxe.rprop(lambda t: 0.25 + t).init(jnp.zeros(2))
    assert oxe.learning_rate(state) == 0.25


def test_buffers():
    params = jnp.ones((3, 5))
    assert buffers(oxe.rprop(0.1).init(params), params) == 2


def test_complex_leaves_are_refused_by_their_path():
    params = {"a": jnp.ones(2), "b": jnp.ones(2, complex)}
    with pytest.raises(ValueError, match=r"rprop: `params`\['b'\] must be real"):
        oxe.rprop(0.1).init(params)


WRONG = [
    (ValueError, "learning_rate", -0.1),
    (ValueError, "eta_minus", 1.0),
    (ValueError, "eta_plus", 1.0),
    (ValueError, "min_step_size", -1e-6),
    (ValueError, "max_step_size", 0.0),
    (TypeError, "eta_plus", None),
]


@pytest.mark.parametrize(("error", "argument", "got"), WRONG, ids=str)
def test_wrong_arguments(error, argument, got):
    with pytest.raises(error, match=f"^rprop: `{argument}` must .*got {got}"):
        oxe.rprop(**{"learning_rate": 0.1, argument: got})
