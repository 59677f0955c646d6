"""Stochastic rounding: to the two neighbors of the sum, with the right mean."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

COPIES = 4096
DTYPES = ("bfloat16", "float16")
add = jax.jit(oxe.apply_updates_stochastic)


def test_the_mean_is_the_sum():
    """Of many copies of some numbers; the last sum fits in both dtypes."""
    starts = np.array([1.0, 1.0, -3.0, 0.5, 100.0, 0.0, 1.0], np.float32)
    updates = np.array([1e-3, -1e-3, 1e-4, 0.3, -0.01, 1e-3, 0.5], np.float32)
    copies = np.ones((COPIES, 1), np.float32)
    params = {dtype: jnp.asarray(copies * starts, dtype) for dtype in DTYPES}
    found = add(params, dict.fromkeys(DTYPES, copies * updates), jax.random.key(0))
    for dtype in DTYPES:
        for p, u, got in zip(starts, updates, np.asarray(found[dtype]).T, strict=True):
            exact, what = float(p + u), f"{dtype}, {p} + {u}"
            values = np.unique(got)
            assert len(values) <= 2, what
            low, high = float(values[0]), float(values[-1])
            assert low <= exact <= high, what
            if len(values) == 2:
                assert np.nextafter(values[0], values[1]) == values[1], what
            # Five standard deviations of a coin between the two.
            error = abs(got.astype(np.float64).mean() - exact)
            assert error <= 5 * (high - low) / 2 / COPIES**0.5, what
        assert np.all(np.asarray(found[dtype])[:, -1] == 1.5)


def test_a_sum_that_fits_is_never_moved():
    """Not once in a million: nor by the smallest of the 2**16 random numbers."""
    params = {dtype: jnp.full(2**20, 1.5, dtype) for dtype in DTYPES}
    zeros = jax.tree.map(jnp.zeros_like, params)
    moved = add(params, zeros, jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, moved, params)


def test_small_steps_add_up():
    """SGD of 1e-3 a step from 1.0: a hundred steps of bfloat16 lead to about 0.9."""
    params, updates = jnp.ones(1000, jnp.bfloat16), jnp.full(1000, -1e-3)

    def step(params, key):
        return oxe.apply_updates_stochastic(params, updates, key), None

    keys = jax.random.split(jax.random.key(1), 100)
    end, _ = jax.jit(lambda p: jax.lax.scan(step, p, keys))(params)
    assert end.dtype == jnp.bfloat16
    # Of one weight the deviation is at most sqrt(100) / 2 gaps of 1/256.
    assert abs(np.asarray(end, np.float32).mean() - 0.9) < 5 * 10 / 2 / 256 / 1000**0.5
    assert np.all(optax.apply_updates(params, updates) == params)


def test_leaves_of_every_kind():
    params = {
        "f32": jnp.ones(2), "none": None, "int": jnp.arange(2), "c": jnp.ones(1) * 1j,
        "still": jnp.ones(2, jnp.bfloat16), "inf": jnp.array([jnp.inf], jnp.bfloat16),
        "nan": jnp.array([jnp.nan], jnp.float16), "empty": jnp.ones(0, jnp.bfloat16),
    }  # fmt: skip
    updates = {
        "f32": jnp.full(2, 1e-3), "none": None, "int": jnp.ones(2, int),
        "c": jnp.ones(1), "still": None, "inf": jnp.ones(1),
        "nan": jnp.ones(1), "empty": jnp.ones(0),
    }  # fmt: skip
    new = add(params, updates, jax.random.PRNGKey(0))
    for name in ("f32", "int", "c"):
        np.testing.assert_array_equal(new[name], params[name] + updates[name])
    assert new["none"] is None
    np.testing.assert_array_equal(new["still"], params["still"])
    assert new["inf"] == jnp.inf
    assert jnp.isnan(new["nan"])
    assert jax.tree.map(lambda x: x.dtype, new) == jax.tree.map(
        lambda x: x.dtype, params
    )


def test_every_leaf_is_rounded_independently():
    params = [jnp.ones(1000, jnp.bfloat16)] * 2
    updates = [jnp.full(1000, 0.5 / 128)] * 2
    first, second = add(params, updates, jax.random.key(0))
    assert 400 < np.sum(np.asarray(first != second)) < 600


def test_wrong_arguments():
    refused = oxe.apply_updates_stochastic
    ones, key = jnp.ones(2), jax.random.key(0)
    for wrong in (0, None, jnp.zeros(2), jax.random.split(key)):
        with pytest.raises(
            TypeError, match=r"apply_updates_stochastic: `key` must be a key"
        ):
            refused(ones, ones, wrong)
    params = {"a": [jnp.ones(3, jnp.bfloat16)]}
    shape = r"`updates`\['a'\]\[0\] must have the shape of its param, \(3,\), got"
    for wrong in (jnp.ones(4), jnp.ones((2, 3)), 1.0):
        with pytest.raises(ValueError, match=shape):
            refused(params, {"a": [wrong]}, key)
    with pytest.raises(ValueError, match=r"\['a'\]\[0\] must be real, as its param is"):
        refused(params, {"a": [jnp.ones(3) * 1j]}, key)
    for wrong in ({"v": 1.0}, {"w": [1.0]}):
        with pytest.raises(ValueError, match="`updates` must have the structure of"):
            refused({"w": 1.0}, wrong, key)


def test_a_tree_without_leaves():
    assert oxe.apply_updates_stochastic({}, {}, jax.random.key(0)) == {}
