"""FTRL against the paper's algorithm 1 in NumPy, and against AdaGrad."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import difference, falling, gradients, path_of, paths_of

GRADS = gradients(decades=(-1, 1))
START = np.array([1.0, -2.0, 0.0, 30.0])


def algorithm_1(grads, alpha, beta=1.0, l1=0.0, l2=0.0, power=0.5, n=0.0):
    """McMahan et al., algorithm 1: the weights before each gradient and at the end."""
    z, path = np.zeros_like(grads[0]), []

    def weights():
        shrunk = z - np.sign(z) * l1
        return np.where(np.abs(z) <= l1, 0, -shrunk / ((beta + n**power) / alpha + l2))

    for g in grads:
        path.append(w := weights())
        sigma = ((n + g**2) ** power - n**power) / alpha
        z = z + g - sigma * w
        n = n + g**2
    return np.stack([*path, weights()])


OPTIONS = [
    {},
    {"l1": 1.0},
    {"beta": 0.1, "l1": 10.0, "l2": 3.0},
    {"power": 0.8, "l1": 1.0, "initial_accumulator_value": 0.5},
    {"power": 0.0, "l1": 1.0},
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_paper(dtype):
    """Both forms: the clipped term and the paper's sum."""
    rows = [(kw, sums) for kw in OPTIONS for sums in (False, True)]
    paths = paths_of(
        {str(x): oxe.ftrl(0.5, **x[0], from_sums=x[1]) for x in rows}, GRADS, dtype
    )
    for kw, sums in rows:
        given = {**kw, "n": kw.get("initial_accumulator_value", 0.0)}
        given.pop("initial_accumulator_value", None)
        expected = algorithm_1(GRADS, 0.5, **given)
        tolerance = 1e-12 if dtype == "float64" else 1e-5
        path = paths[str((kw, sums))]
        assert difference(path, expected) <= tolerance, (kw, sums)
        if dtype == "float64":
            assert np.array_equal(path == 0, expected == 0), (kw, sums)
    zeros = paths[str((OPTIONS[2], False))] == 0
    assert 0.1 < np.mean(zeros[1:]) < 0.9


def test_without_a_penalty_it_is_adagrad():
    """From any weights, at any learning rate; `l2` and the learning rate in epsilon."""
    pairs = {
        "falling": (oxe.ftrl(falling), oxe.adagrad(falling, 1.0)),
        "l2": (oxe.ftrl(0.5, 0.1, l2=0.4), oxe.adagrad(0.5, 0.3)),
        "no epsilon": (oxe.ftrl(falling, 0.0), oxe.adagrad(falling, 0.0)),
    }
    ours, theirs = (
        paths_of({key: pair[i] for key, pair in pairs.items()}, GRADS, start=START)
        for i in (0, 1)
    )
    for key in pairs:
        assert difference(ours[key], theirs[key]) <= 1e-12, key


def test_a_drop_of_the_learning_rate():
    """The default goes on from the weights; the paper's sum makes them smaller."""

    def rate(t):
        return jnp.where(t < 50, 1.0, 0.01)

    grads = np.zeros((100, 1))
    grads[:50] = -1.0
    for sums, ratio in ((False, 1.0), (True, 0.01)):
        path = path_of(oxe.ftrl(rate, from_sums=sums), grads)
        assert path[50, 0] > 1
        np.testing.assert_allclose(path[-1, 0] / path[50, 0], ratio, 0.02)


def test_a_start_elsewhere():
    """Where gradients are 0, weights stay; the paper's sum makes them 0."""
    grads = np.zeros((3, 4))
    for sums, last in ((False, START), (True, 0 * START)):
        path = path_of(oxe.ftrl(0.1, from_sums=sums), grads, start=START)
        np.testing.assert_array_equal(path[-1], last)


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_zeros_are_exact(dtype, sums):
    """After `apply_updates`, with weights that come and go."""
    grads = jnp.asarray(gradients(100, 64, (-1, 1)), dtype)
    tx = oxe.ftrl(0.5, l1=10.0, from_sums=sums)

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        new = optax.apply_updates(params, u)
        return (new, state), (new, state.linear)

    first = jnp.linspace(-1, 1, 64, dtype=dtype)
    run = jax.jit(lambda xs: jax.lax.scan(step, (first, tx.init(first)), xs)[1])
    path, linear = (np.asarray(x, np.float32) for x in run(grads))
    inside = np.abs(linear) < 10.0
    assert 0.1 < inside.mean() < 0.9
    assert np.all(path[inside] == 0)
    # A weight of bfloat16 beside 0 may be rounded to 0, too.
    assert np.mean(path == 0) < inside.mean() + (0.05 if dtype == "bfloat16" else 1e-3)


def test_a_learning_rate_of_0():
    """No weight moves; those at 0 do not become NaN."""

    def rate(t):
        return jnp.where(t < 10, 0.0, 0.1)

    for sums in (False, True):
        tx = oxe.ftrl(rate, l1=0.1, from_sums=sums)
        path = path_of(tx, GRADS[:20], "float32", START)
        assert np.all(path[:11] == np.float32(START))
        assert np.all(np.isfinite(path))
        assert np.all(path[-1] != path[0])


def test_nothing_divides_by_nothing():
    """Zero gradients, no epsilon, an empty leaf."""
    for sums in (False, True):
        for power in (0.5, 0.7):
            tx = oxe.ftrl(0.1, 0.0, power=power, from_sums=sums)
            params = [jnp.ones(2), jnp.zeros(()), jnp.zeros((0, 3))]
            grads = jax.tree.map(jnp.zeros_like, params)
            u, state = jax.jit(tx.update)(grads, tx.init(params), params)
            assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves((u, state)))


def test_derivatives_are_finite():
    """In every number, where a sum of squares is 0."""

    def loss(numbers, sums):
        tx = oxe.ftrl(**numbers, from_sums=sums)
        params, grads = jnp.array([1.0, 0.0]), jnp.array([0.0, 0.1])
        u, _ = tx.update(grads, tx.init(params), params)
        return jnp.sum(u)

    numbers = {"learning_rate": 0.1, "beta": 1.0, "l1": 0.1, "l2": 0.1}
    numbers |= {"power": 0.5, "initial_accumulator_value": 0.0, "l2_shrinkage": 0.1}
    for sums in (False, True):
        found = jax.jit(jax.grad(loss), static_argnums=1)(numbers, sums)
        assert all(np.isfinite(x) for x in found.values()), found
        assert found["l1"] != 0
