"""Decoupled weight decay: the same words and the same meaning in every optimizer."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.discovery import OPTIMIZERS
from tests.optimizers.paths import difference, falling, gradients, path_of

# Optimizers with no such argument, or whose directions depend on the weights.
OTHERWISE = {
    "rprop": "no decay, as in PyTorch and Optax",
    "swats": "L2, as in the paper: tests/optimizers/test_swats.py",
    "asgd": "its own decay is one: tests/optimizers/test_asgd.py",
    "adafactor": "a direction of the weights: tests/optimizers/test_adafactor.py",
}
OURS = [case for case in OPTIMIZERS if "." not in case.name]
CASES = [
    case
    for case in OURS
    if "weight_decay" in inspect.signature(case.factory).parameters
    and case.plain_name not in OTHERWISE
]
PLAIN = [case for case in CASES if not case.is_slow]
each_case = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
each_plain = pytest.mark.parametrize("case", PLAIN, ids=[c.name for c in PLAIN])

GRADS = gradients()
START = np.array([1.0, -2.0, 0.0, 30.0])


def decayed(path, rate, decay, mask=1.0):
    """w -= rate(t) * decay * w on top of the steps of a run without decay.

    Directions of given gradients do not depend on the weights.
    """
    w, expected = path[0], [path[0]]
    for t, step in enumerate(np.diff(path, axis=0)):
        w = w + step - rate(t) * decay * mask * w
        expected.append(w)
    return np.stack(expected)


def test_every_optimizer_has_it():
    plain = [case for case in OURS if not case.is_slow]
    assert [case for case in plain if case.name not in OTHERWISE] == PLAIN
    assert {case.name for case in plain} >= set(OTHERWISE)


@each_case
@pytest.mark.parametrize("decay", [0.01, 0.5])
def test_decoupled(case, decay):
    bare = case.make(learning_rate=falling)
    expected = decayed(path_of(bare, GRADS, start=START), falling, decay)
    tx = case.make(learning_rate=falling, weight_decay=decay)
    assert difference(path_of(tx, GRADS, start=START), expected) <= 1e-12


@each_plain
def test_at_the_rate_of_that_step(case):
    """A rate of 0, then 1/2, then 0: only the second step decays."""

    def rate(t):
        return jnp.where(t == 1, 0.5, 0.0)

    tx = case.make(learning_rate=rate, weight_decay=0.2)
    path = path_of(tx, np.zeros((4, 1)), start=3.0)
    np.testing.assert_allclose(path[:, 0], [3, 3, 2.7, 2.7, 2.7], rtol=1e-15)


@each_plain
def test_the_rate_is_still_readable(case):
    tx = case.make(learning_rate=falling, weight_decay=0.1)
    params = jnp.ones(2)
    state = tx.init(params)
    for t in (0, 0, 1, 2):  # before any update: of the first
        expected = np.float32(falling(t))
        np.testing.assert_allclose(oxe.learning_rate(state), expected, rtol=2e-7)
        _, state = tx.update(params, state, params)


MASKS = {
    "tree": {"w": True, "inner": {"b": False, "s": True}},
    "prefix": {"w": True, "inner": False},
    "function": lambda params: jax.tree.map(lambda x: jnp.ndim(x) > 1, params),
    "nothing": {"w": False, "inner": False},
}
# Which of w, b and s are decayed.
DECAYED = {
    "tree": (1, 0, 1),
    "prefix": (1, 0, 0),
    "function": (1, 0, 0),
    "nothing": (0, 0, 0),
}


@each_plain
@pytest.mark.parametrize("name", MASKS)
def test_mask(case, name):
    params = {"w": jnp.full((2, 2), 2.0), "inner": {"b": jnp.ones(3), "s": 4.0}}
    params = jax.tree.map(jnp.asarray, params)
    tx = case.make(learning_rate=0.5, weight_decay=0.1, mask=MASKS[name])
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zero, tx.init(params), params)
    leaves = updates["w"], updates["inner"]["b"], updates["inner"]["s"]
    for u, size, is_decayed in zip(leaves, (2, 1, 4), DECAYED[name], strict=True):
        np.testing.assert_allclose(u, -0.05 * size * is_decayed, rtol=1e-6)


@each_plain
def test_a_mask_that_forgets_to_return(case):
    tx, params = case.make(weight_decay=0.1, mask=lambda params: None), jnp.ones((2, 2))
    with pytest.raises(TypeError, match="`mask` must return a tree of bools, got None"):
        tx.update(params, tx.init(params), params)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ({"v": True}, ValueError, "must be a tree of bools like the params"),
        (lambda params: {"w": "x", "b": 1}, TypeError, "return a tree of bools, got {"),
        (lambda params: {"v": True}, ValueError, "or a function to one, got {'v'"),
    ],
)
@each_plain
def test_a_mask_of_something_else(case, mask, error, message):
    tx = case.make(weight_decay=0.1, mask=mask)
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    with pytest.raises(error, match=f"`mask` .*{message}"):
        tx.update(params, tx.init(params), params)


@each_plain
def test_decay_without_params(case):
    tx, params = case.make(weight_decay=0.1), jnp.ones((2, 2))
    with pytest.raises(ValueError, match="`params` must be given to `update`, which"):
        tx.update(params, tx.init(params))


@each_plain
def test_a_mask_that_goes_by_the_dtype(case):
    """It is asked about the params, whatever the updates are made in."""
    params = {"full": jnp.ones(3), "half": jnp.ones(3, jnp.bfloat16)}
    zeros = jax.tree.map(jnp.zeros_like, params)

    def is_full(tree):
        return jax.tree.map(lambda x: x.dtype == jnp.float32, tree)

    tx = case.make(weight_decay=0.5, mask=is_full)
    updates, _ = tx.update(zeros, tx.init(params), params)
    assert np.all(updates["full"] != 0)
    assert not np.any(updates["half"])


@each_plain
def test_a_mask_at_each_of_many_steps(case):
    """Masked and other weights side by side, in one scan."""
    mask = np.array([1.0, 0.0, 1.0, 0.0])
    bare = case.make(learning_rate=falling)
    expected = decayed(path_of(bare, GRADS, start=START), falling, 0.1, mask)
    where = {"a": True, "b": False, "c": True, "d": False}
    tx = case.make(learning_rate=falling, weight_decay=0.1, mask=where)

    def step(carry, g):
        params, state = carry
        u, state = tx.update(dict(zip("abcd", g, strict=True)), state, params)
        params = optax.apply_updates(params, u)
        return (params, state), jnp.stack(list(params.values()))

    with jax.enable_x64(True):
        params = {k: jnp.float64(x) for k, x in zip("abcd", START, strict=True)}
        carry = params, tx.init(params)
        path = np.asarray(jax.lax.scan(step, carry, jnp.asarray(GRADS))[1])
    assert difference(np.concatenate([START[None], path]), expected) <= 1e-12


@each_plain
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("decay", [0.5, np.float32(0.5), jnp.float32(0.5)], ids=type)
def test_updates_keep_their_dtype(case, decay, dtype):
    tx, params = case.make(weight_decay=decay), jnp.ones(3, dtype)
    u, _ = tx.update(params, tx.init(params), params)
    assert u.dtype == dtype


@each_plain
def test_gradients_of_numpy_in_float64_without_a_warning(case):
    params = {"w": np.ones(3)}
    tx = case.make()
    updates, _ = tx.update(params, tx.init(params), params)
    assert updates["w"].dtype == jnp.float32


@each_plain
def test_a_leaf_that_is_none_stays_none(case):
    params = {"a": jnp.ones(2), "frozen": None}
    tx = case.make(weight_decay=0.1)
    u, _ = tx.update(params, tx.init(params), params)
    assert u["frozen"] is None


@each_plain
def test_vmap_over_the_decay(case):
    """0 among them; a known 0 needs no params."""
    params = jnp.array([2.0, -3.0])

    def first(decay):
        tx = case.make(weight_decay=decay)
        return tx.update(0 * params, tx.init(params), params)[0]

    rate = case.settings["learning_rate"]
    got = jax.vmap(first)(jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(got[0], 0)
    np.testing.assert_allclose(got[1], -rate * 0.1 * params, rtol=1e-6)
    tx = case.make(weight_decay=0)
    tx.update(params, tx.init(params))


@each_plain
def test_it_needs_the_params(case):
    tx, params = case.make(weight_decay=0.1), jnp.ones(2)
    with pytest.raises(ValueError, match="params"):
        tx.update(params, tx.init(params))


@each_plain
def test_l2_is_another_thing(case):
    """Before the optimizer it enters the direction, as in PyTorch's `weight_decay`."""
    decoupled = path_of(case.make(weight_decay=0.1), GRADS, start=START)
    l2 = optax.chain(optax.add_decayed_weights(0.1), case.make())
    assert difference(path_of(l2, GRADS, start=START), decoupled) > 1e-6
