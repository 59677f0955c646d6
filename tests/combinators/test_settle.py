"""What is left after a switch takes the same steps, to the last bit, with less."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import buffers

SIZE = 1003


def grad(k):
    rng = np.random.default_rng(k)
    tree = {"w": rng.normal(0.5, 1, SIZE), "b": rng.normal(0.5, 1, 7)}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def moments(second, **kw):
    rule = oxe.switch(oxe.rules.adam(), second, oxe.at_step(4), **kw)
    return oxe.scale_by_moments(rule)


FORCED = {"min_steps": 4, "max_steps": 4}


def falling(t):
    return 0.1 / (1 + t)


# A maker, the buffers before, and those after.
CASES = {
    "momentum": (lambda: moments(oxe.rules.momentum()), 2, 1),
    "sgd": (lambda: moments(oxe.rules.sgd()), 2, 0),
    "nesterov": (lambda: moments(oxe.rules.momentum(nesterov=True)), 2, 1),
    "kept": (lambda: moments(oxe.rules.momentum(), keep_moments=True), 2, 1),
    "amsgrad": (lambda: moments(oxe.rules.amsgrad()), 3, 3),
    "centered": (lambda: moments(oxe.rules.rmsprop(centered=True)), 2, 2),
    "nadam": (lambda: moments(oxe.rules.nadam()), 2, 2),
    "swats": (lambda: oxe.swats(falling, **FORCED), 2, 1),
    "nesterov swats": (lambda: oxe.swats(0.1, nesterov=True, **FORCED), 2, 1),
    "per leaf": (lambda: oxe.swats(falling, per_leaf=True, **FORCED), 2, 1),
    "decayed": (
        lambda: oxe.swats(0.1, weight_decay=0.1, decoupled=True, **FORCED), 2, 1,
    ),
    "second rate": (lambda: oxe.swats(0.1, second_rate=falling, **FORCED), 2, 1),
    "paper": (lambda: oxe.swats(0.1, tolerance=1e9, paper=True), 2, 1),
    "transformations": (
        lambda: oxe.switch(optax.adam(0.1), optax.sgd(0.1, 0.9), oxe.at_step(4)), 3, 1,
    ),
}  # fmt: skip


def go_on(tx, state, steps):
    params, us = grad(100), []
    update = jax.jit(tx.update)
    for k in steps:
        u, state = update(grad(k), state, params)
        us.append(u)
    return us, state


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(0, marks=pytest.mark.full),
        1,
        pytest.param(3, marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize(("make", "before", "left"), CASES.values(), ids=CASES)
def test_the_same_steps(make, before, left, after):
    """Settled at once, before the second phase has moved, or later."""
    tx = make()
    now = 4 + after
    _, state = go_on(tx, tx.init(grad(0)), range(now))
    expected, last = go_on(tx, state, range(now, now + 5))
    rest, own = oxe.settle(tx, state)
    assert buffers(state, jnp.zeros(SIZE)) == before
    assert buffers(own, jnp.zeros(SIZE)) == left
    us, end = go_on(rest, own, range(now, now + 5))
    for u, v in zip(us, expected, strict=True):
        for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if optax.tree.get_all_with_path(last, "learning_rate"):
        np.testing.assert_array_equal(oxe.learning_rate(end), oxe.learning_rate(last))


def test_a_rule_is_settled_with_its_moments():
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(2))
    tx = oxe.scale_by_moments(rule)
    _, state = go_on(tx, tx.init(grad(0)), range(3))
    left, own = oxe.settle(rule, state)
    us, _ = go_on(oxe.scale_by_moments(left), own, range(3, 5))
    expected, _ = go_on(tx, state, range(3, 5))
    for a, b in zip(jax.tree.leaves(us), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


HOLLOW = {"n": None, "w": jnp.ones(5), "z": jnp.zeros((0, 3))}


def has_gradients(*, grads, **seen):
    return jnp.any(grads != 0)


PER_LEAF = {
    "rule": lambda: oxe.scale_by_moments(
        oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(4)),
        per_leaf=True,
    ),
    "one buffer": lambda: oxe.scale_by_moments(
        oxe.switch(oxe.rules.momentum(), oxe.rules.sgd(), has_gradients), per_leaf=True
    ),
    "swats": lambda: oxe.swats(falling, per_leaf=True, **FORCED),
    "second rate": lambda: oxe.swats(0.1, per_leaf=True, second_rate=0.3, **FORCED),
}


@pytest.mark.parametrize("make", PER_LEAF.values(), ids=PER_LEAF)
def test_a_leaf_that_holds_nothing_need_not_switch(make):
    """None and what has no entries; nothing is ever projected there."""
    tx, update = make(), jax.jit(make().update)
    state = tx.init(HOLLOW)
    for k in range(6):
        _, state = update({**HOLLOW, "w": grad(k)["b"][:5]}, state, HOLLOW)
    assert not np.all(optax.tree.get(state, "switched"))
    rest, own = oxe.settle(tx, state)
    expected, _ = update(HOLLOW, state, HOLLOW)
    us, _ = jax.jit(rest.update)(HOLLOW, own, HOLLOW)
    assert us["n"] is None
    assert us["z"].shape == (0, 3)
    assert us["w"].tobytes() == expected["w"].tobytes()


@pytest.mark.parametrize("hollow", [{"n": None}, {"w": jnp.ones(5), "v": jnp.ones(2)}])
def test_a_leaf_that_has_not_switched_stands_in_the_way(hollow):
    """As one whose gradients are all zero; and a tree of nothing has no phase."""
    tx = oxe.swats(0.1, per_leaf=True, **FORCED)
    state, update = tx.init(hollow), jax.jit(tx.update)
    for k in range(6):
        g = {n: x if n == "n" else 0 * x for n, x in hollow.items()}
        _, state = update(g | ({"w": grad(k)["b"][:5]} if "w" in g else {}), state)
    with pytest.raises(ValueError, match="`state` must have switched, in all leaves"):
        oxe.settle(tx, state)


def test_one_switch_after_the_other():
    inner = oxe.switch(oxe.rules.momentum(), oxe.rules.adagrad(), oxe.at_step(2))
    tx = oxe.scale_by_moments(oxe.switch(oxe.rules.adam(), inner, oxe.at_step(2)))
    _, state = go_on(tx, tx.init(grad(0)), range(6))
    expected, _ = go_on(tx, state, range(6, 8))
    once, own = oxe.settle(tx, state)
    twice, last = oxe.settle(once, own)
    assert last.mu is None
    for tx, state in ((once, own), (twice, last)):
        us, _ = go_on(tx, state, range(6, 8))
        for a, b in zip(jax.tree.leaves(us), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("make", [c[0] for c in CASES.values()], ids=CASES)
def test_too_early(make):
    tx = make()
    with pytest.raises(ValueError, match="`state` must have switched, in all leaves"):
        oxe.settle(tx, tx.init(grad(0)))


@pytest.mark.parametrize("tx", [optax.adam(0.1), oxe.rules.adam(), oxe.adagrad(0.1)])
def test_no_switch(tx):
    with pytest.raises(TypeError, match="settle: `tx` must be what `switch`"):
        oxe.settle(tx, None)


@pytest.mark.parametrize("make", [c[0] for c in CASES.values()], ids=CASES)
@pytest.mark.parametrize(
    "state", [optax.chain(optax.adam(0.1)).init(jnp.ones(2)), {}, {"a": 1}, (), 3, None]
)
def test_the_state_of_another(make, state):
    with pytest.raises(TypeError, match="settle: `state` must be the state of `tx`"):
        oxe.settle(make(), state)
