"""Adafactor against the paper's rule in NumPy, and the size of its state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import difference
from tests.parity.programs import quick_jit

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


def rule(
    w, grads, rate, c=0.8, eps=2.0**-52, least=1e-3, d=1.0, decay=0.0, in_square=False
):
    """Shazeer and Stern, algorithms 4 to 6, with epsilon in the places of PyTorch.

    `in_square`: in the place of the paper.
    """
    path, row, column, v = [w], 0.0, 0.0, 0.0
    added, eps = (eps, 0.0) if in_square else (0.0, eps)
    for t, g in enumerate(grads, 1):
        weight = t**-c
        if g.ndim < 2:
            v = v + weight * (g**2 + added - v)
        else:
            square = g**2 + added
            row = row + weight * (np.mean(square, -1, keepdims=True) - row)
            column = column + weight * (np.mean(square, -2, keepdims=True) - column)
            v = row * column / np.maximum(np.mean(row, -2, keepdims=True), eps)
        u = g / np.maximum(np.sqrt(v), eps)
        u = u / max(1, rms(u) / d)
        step = max(least, rms(w)) * min(rate(t - 1), 1 / np.sqrt(t))
        w = w - rate(t - 1) * decay * w - step * u
        path.append(w)
    return np.stack(path)


def path_of(tx, grads, first):
    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), params

    path = jax.lax.scan(step, (first, tx.init(first)), grads)[1]
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, path)


def first_update(tx, params):
    """With the params as gradients; and the state after it."""
    return jax.jit(lambda w: tx.update(w, tx.init(w), w))(params)


def paths(make, *numbers, dtype="float64"):
    """The paths for each row of numbers, in one program."""
    with jax.enable_x64(dtype == "float64"):
        given = (
            jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)
            for tree in (gradients(), start())
        )
        run = quick_jit(
            lambda grads, first: jax.vmap(
                lambda row: path_of(make(*row), grads, first)
            )(jnp.array(numbers, dtype))
        )
        return jax.device_get(run(*given))


def assert_as_in_the_rule(path, tolerance, **kw):
    grads, first = gradients(), start()
    for name in SHAPES:
        got, expected = (np.asarray(x, np.float64).reshape(101, -1) for x in (
            path[name], rule(first[name], grads[name], **kw)
        ))  # fmt: skip
        assert difference(got, expected) <= tolerance, (name, kw)


def falling(t):
    return 0.05 / (1 + 0.1 * t)


def test_the_rule_with_its_defaults():
    def make(rate):
        return oxe.adafactor(lambda t: rate * falling(t) / 0.05, weight_decay=0.1)

    found = paths(make, (0.05,))
    path = {name: x[0] for name, x in found.items()}
    assert_as_in_the_rule(path, 1e-12, rate=falling, decay=0.1)


def test_every_option():
    """No decay, a learning rate above the bound, and all other numbers changed."""
    rows = [
        (0.02, 0.8, 2.0**-52, 1e-3, 1.0, 0.0),
        (0.5, 0.8, 2.0**-52, 1e-3, 1.0, 0.0),
        (0.02, 0.5, 1e-3, 0.1, 2.0, 0.1),
    ]

    def make(rate, c, eps, least, d, decay):
        return oxe.adafactor(
            rate, decay_rate=c, eps=eps, min_scale=least, clipping_threshold=d,
            weight_decay=decay,
        )  # fmt: skip

    found = paths(make, *rows)
    for i, (rate, *others) in enumerate(rows):
        kw = dict(zip(("c", "eps", "least", "d", "decay"), others, strict=True))
        path = {name: x[i] for name, x in found.items()}
        assert_as_in_the_rule(path, 1e-12, rate=lambda t, rate=rate: rate, **kw)


def test_epsilon_in_the_square():
    """By default the paper's, so that a gradient of 0 does not divide 0 by 0."""

    def make(rate):
        return oxe.adafactor(rate, eps_in_square=True)

    def large(rate):
        return oxe.adafactor(rate, eps=0.1, eps_in_square=True, weight_decay=0.1)

    for tx, kw in ((make, {"eps": 1e-30}), (large, {"eps": 0.1, "decay": 0.1})):
        path = {name: x[0] for name, x in paths(tx, (0.02,)).items()}
        given = {"rate": lambda t: 0.02, "in_square": True, **kw}
        assert_as_in_the_rule(path, 1e-12, **given)
    u, _ = first_update(make(0.1), np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(u, 0)


def test_in_float32():
    """With a given epsilon instead of that of the dtype."""
    found = paths(lambda rate: oxe.adafactor(rate, eps=1e-7), (0.02,), dtype="float32")
    path = {name: x[0] for name, x in found.items()}
    assert_as_in_the_rule(path, 1e-5, rate=lambda t: 0.02, eps=1e-7)


def test_a_matrix_costs_a_row_and_a_column():
    params = {"w": jnp.ones((300, 200)), "b": jnp.ones(200)}
    state = jax.eval_shape(oxe.adafactor().init, params)
    assert state.nu_row["w"].shape == (300, 1)
    assert state.nu_column["w"].shape == (1, 200)
    numbers = sum(x.size for x in jax.tree.leaves(state))
    # And the count, the learning rate, and one placeholder per missing buffer.
    assert numbers == 300 + 200 + 200 + 2 + 3


def test_the_estimate_is_exact_for_a_gradient_of_rank_one():
    """Every entry takes a step of the same length."""
    rng = np.random.default_rng(0)
    g = jnp.asarray(np.outer(rng.uniform(1, 9, 6), rng.uniform(1, 9, 5)), jnp.float32)
    tx, w = oxe.adafactor(0.01), jnp.ones((6, 5))
    u, _ = jax.jit(tx.update)(g, tx.init(w), w)
    np.testing.assert_allclose(u, -0.01, rtol=1e-5)


def test_nothing_divides_by_nothing():
    """Zero gradients, zero weights, empty leaves, an epsilon of 0."""
    shapes = [(2, 3), (2,), (0,), (0, 3), (3, 0), (0, 0), (2, 0, 3)]
    params = [np.zeros(shape, np.float32) for shape in shapes]
    for eps in (None, 0.0):
        u, state = first_update(oxe.adafactor(0.1, eps=eps), params)
        assert [x.shape for x in u] == shapes
        assert not any(map(np.any, u))
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_it_needs_the_params():
    tx = oxe.adafactor()
    with pytest.raises(ValueError, match="adafactor: `params` must be given"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
