"""What is left after a switch takes the same steps, to the last bit, with less."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import buffers

SIZE = 37
FORCED = {"min_steps": 2, "max_steps": 2}
EMPTY = {"n": None, "w": jnp.ones(5), "z": jnp.zeros((0, 3))}


def grad(k):
    rng = np.random.default_rng(k)
    tree = {"w": rng.normal(0.5, 1, SIZE), "b": rng.normal(0.5, 1, 7)}
    return jax.tree.map(np.float32, tree)


def falling(t):
    return 0.1 / (1 + t)


def moments(second):
    rule = oxe.switch(oxe.rules.adam(), second, oxe.at_step(2))
    return oxe.scale_by_moments(rule)


def updates(tx, state, grads, params):
    us, update = [], jax.jit(tx.update)
    for g in grads:
        u, state = update(g, state, params)
        us.append(u)
    return us, state


def assert_same(us, expected):
    for a, b in zip(jax.tree.leaves(us), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


# A maker, the buffers before, and those after.
CASES = {
    "momentum": (lambda: moments(oxe.rules.momentum()), 2, 1),
    "amsgrad": (lambda: moments(oxe.rules.amsgrad()), 3, 3),
}


@pytest.mark.parametrize(("make", "before", "after"), CASES.values(), ids=CASES)
def test_the_same_steps(make, before, after):
    tx, params = make(), grad(100)
    with pytest.raises(ValueError, match="`state` must have switched, in all leaves"):
        oxe.settle(tx, tx.init(params))
    with pytest.raises(TypeError, match="settle: `state` must be the state of `tx`"):
        oxe.settle(tx, {"a": 1})
    grads = [grad(k) for k in range(5)]
    _, state = updates(tx, tx.init(params), grads[:3], params)
    expected, _ = updates(tx, state, grads[3:], params)
    rest, settled = oxe.settle(tx, state)
    assert buffers(state, params["w"]) == before
    assert buffers(settled, params["w"]) == after
    us, _ = updates(rest, settled, grads[3:], params)
    assert_same(us, expected)


def test_leaves_that_switch_one_by_one():
    """What has no entries need not switch; a leaf without gradients has to."""
    tx = oxe.swats(falling, per_leaf=True, second_rate=0.3, **FORCED)
    grads = [{**EMPTY, "w": grad(k)["b"][:5]} for k in range(4)]
    _, state = updates(tx, tx.init(EMPTY), grads, EMPTY)
    assert not np.all(optax.tree.get(state, "switched"))
    rest, settled = oxe.settle(tx, state)
    # By operation: two programs may contract products and sums differently.
    with jax.disable_jit():
        expected, last = updates(tx, state, [EMPTY], EMPTY)
        us, end = updates(rest, settled, [EMPTY], EMPTY)
    assert us[0]["n"] is None
    np.testing.assert_array_equal(us[0]["w"], expected[0]["w"])
    assert oxe.learning_rate(end)[1] == oxe.learning_rate(last)[1]
    zeros = [{**EMPTY, "w": jnp.zeros(5)}] * 3
    _, state = updates(tx, tx.init(EMPTY), zeros, EMPTY)
    with pytest.raises(ValueError, match="`state` must have switched, in all leaves"):
        oxe.settle(tx, state)


def test_a_rule_is_settled_with_its_moments():
    """At once, when the second has to begin with none, and later."""
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(2))
    tx, params = oxe.scale_by_moments(rule), grad(100)
    grads = [grad(k) for k in range(5)]
    for made in (2, 3):
        _, state = updates(tx, tx.init(params), grads[:made], params)
        left, settled = oxe.settle(rule, state)
        rest = oxe.scale_by_moments(left)
        with jax.disable_jit():
            us, _ = updates(rest, settled, grads[made:], params)
            expected, _ = updates(tx, state, grads[made:], params)
        assert_same(us, expected)


def test_one_switch_after_the_other():
    """And the rules themselves, with their moments."""
    inner = oxe.switch(oxe.rules.momentum(), oxe.rules.adagrad(), oxe.at_step(2))
    rule = oxe.switch(oxe.rules.adam(), inner, oxe.at_step(2))
    tx, params = oxe.scale_by_moments(rule), grad(100)
    grads = [grad(k) for k in range(8)]
    _, state = updates(tx, tx.init(params), grads[:6], params)
    expected, _ = updates(tx, state, grads[6:], params)
    once, first = oxe.settle(rule, state)
    twice, last = oxe.settle(once, first)
    assert last.mu is None
    for left, settled in ((once, first), (twice, last)):
        us, _ = updates(oxe.scale_by_moments(left), settled, grads[6:], params)
        for a, b in zip(jax.tree.leaves(us), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    for no_switch in (optax.adam(0.1), oxe.rules.adam()):
        with pytest.raises(TypeError, match="settle: `tx` must be what `switch`"):
            oxe.settle(no_switch, None)
