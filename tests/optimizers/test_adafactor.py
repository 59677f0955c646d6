"""Adafactor: the paper's rule in NumPy, its memory, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

SHAPES = {
    **{"matrix": (3, 4), "vector": (5,), "scalar": (), "stack": (2, 3, 2)},
    **{"row": (1, 4), "column": (4, 1), "entry": (1, 1)},
}


def gradients(steps=100, seed=0):
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in SHAPES.items():
        g = rng.normal(size=(steps, *shape)) * 10 ** rng.uniform(-3, 3, (steps, *shape))
        found[name] = np.where(rng.random(g.shape) < 0.02, 0, g)
    return found


def start(seed=1):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def rule(w, grads, rate, c=0.8, eps=2.0**-52, least=1e-3, d=1.0, decay=0.0):
    """Shazeer and Stern, algorithms 4 to 6, their epsilons where PyTorch has them."""
    path, row, column, v = [w], 0.0, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        share = t**-c
        if g.ndim < 2:
            v = v + share * (g**2 - v)
        else:
            row = row + share * (np.mean(g**2, -1, keepdims=True) - row)
            column = column + share * (np.mean(g**2, -2, keepdims=True) - column)
            v = row * column / np.maximum(np.mean(row, -2, keepdims=True), eps)
        u = g / np.maximum(np.sqrt(v), eps)
        u = u / max(1, rms(u) / d)
        step = max(least, rms(w)) * min(rate(t - 1), 1 / np.sqrt(t))
        w = w - rate(t - 1) * decay * w - step * u
        path.append(w)
    return np.stack(path)


def path_of(tx, grads, first, dtype="float64"):
    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), params

    with jax.enable_x64(dtype == "float64"):
        grads, first = (
            jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)
            for tree in (grads, first)
        )
        _, path = jax.jit(lambda c: jax.lax.scan(step, c, grads))(
            (first, tx.init(first))
        )
        return jax.tree.map(lambda x: np.asarray(x, np.float64), path)


def falling(t):
    return 0.05 / (1 + 0.1 * t)


OPTIONS = {
    "default": ({}, {}),
    "rate above the bound": ({"rate": lambda t: 0.5}, {"learning_rate": 0.5}),
    "others": (
        {"c": 0.5, "eps": 1e-3, "least": 0.1, "d": 2.0},
        {
            "decay_rate": 0.5,
            "eps": 1e-3,
            "min_scale": 0.1,
            "clipping_threshold": 2.0,
        },
    ),
    "decay": ({"decay": 0.1}, {"weight_decay": 0.1}),
    "changing": (
        {"rate": falling, "decay": 0.1},
        {"learning_rate": falling, "weight_decay": 0.1},
    ),
}


@pytest.mark.parametrize(("theirs", "ours"), OPTIONS.values(), ids=OPTIONS)
def test_the_rule(theirs, ours):
    grads, first = gradients(), start()
    tx = oxe.adafactor(**{"learning_rate": 0.02, **ours})
    path = path_of(tx, grads, first)
    for name in SHAPES:
        expected = rule(first[name], grads[name], **{"rate": lambda t: 0.02, **theirs})
        travelled = np.abs(np.diff(expected, axis=0)).sum(0)
        off = np.abs(path[name] - expected[1:]).max(0) / travelled
        assert off.max() <= 1e-12


def test_in_float32():
    """Epsilon is that of the dtype, unless it is given."""
    grads, first = gradients(), start()
    path = path_of(oxe.adafactor(0.02, eps=1e-7), grads, first, "float32")
    for name in SHAPES:
        expected = rule(first[name], grads[name], lambda t: 0.02, eps=1e-7)
        travelled = np.abs(np.diff(expected, axis=0)).sum(0)
        assert (np.abs(path[name] - expected[1:]).max(0) / travelled).max() <= 1e-5


def test_a_matrix_costs_a_row_and_a_column():
    state = oxe.adafactor().init({"w": jnp.ones((300, 200)), "b": jnp.ones(200)})
    assert state.nu["w"].row.shape == (300, 1)
    assert state.nu["w"].column.shape == (1, 200)
    held = sum(x.size for x in jax.tree.leaves(state))
    assert held == 300 + 200 + 200 + 2  # and the count and the rate


def test_a_gradient_of_rank_one_is_seen_whole():
    """Then the estimate is exact and every entry steps by the same length."""
    rng = np.random.default_rng(0)
    g = jnp.asarray(np.outer(rng.uniform(1, 9, 6), rng.uniform(1, 9, 5)), jnp.float32)
    tx, w = oxe.adafactor(0.01), jnp.ones((6, 5))
    u, _ = tx.update(g, tx.init(w), w)
    np.testing.assert_allclose(u, -0.01, rtol=1e-5)


def test_nothing_divides_by_nothing():
    """Zero gradients, zero weights, no entries at all, an epsilon of 0."""
    params = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(2), "none": jnp.zeros((0, 3))}
    for eps in (None, 0.0):
        tx = oxe.adafactor(0.1, eps=eps)
        u, state = tx.update(params, tx.init(params), params)
        assert all(np.all(x == 0) for x in jax.tree.leaves(u))
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_the_longest_step():
    """A root mean square of d, times the scale: whatever the gradients are."""
    grads, first = gradients(), start()
    path = path_of(oxe.adafactor(1e-2, min_scale=1.0), grads, first)
    for name, rows in path.items():
        steps = np.diff(np.concatenate([first[name][None], rows]), axis=0)
        before = np.concatenate([first[name][None], rows[:-1]])
        lengths = [
            rms(x) / max(1.0, rms(w)) for x, w in zip(steps, before, strict=True)
        ]
        assert max(lengths) <= 1e-2 * (1 + 1e-12)


def test_it_needs_the_params():
    tx = oxe.adafactor()
    with pytest.raises(ValueError, match="adafactor: `params` must be given"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


WRONG = [
    (ValueError, "learning_rate", -0.1),
    (ValueError, "decay_rate", -0.8),
    (ValueError, "eps", -1e-8),
    (ValueError, "min_scale", -1.0),
    (ValueError, "clipping_threshold", 0.5),
    (TypeError, "clipping_threshold", None),
    (ValueError, "weight_decay", -0.1),
]


@pytest.mark.parametrize(("error", "argument", "got"), WRONG, ids=str)
def test_wrong_arguments(error, argument, got):
    with pytest.raises(error, match=f"^adafactor: `{argument}` must .*got {got}"):
        oxe.adafactor(**{argument: got})


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3)])
def test_a_leaf_without_entries(shape):
    tx, x = oxe.adafactor(0.1), jnp.ones(shape)
    u, _ = tx.update(x, tx.init(x), x)
    assert u.shape == shape
