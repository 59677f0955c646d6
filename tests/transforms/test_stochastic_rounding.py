"""Stochastic rounding: the two numbers beside the sum, with the right mean."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

KEYS = 4096


def many(p, u, dtype):
    """Sums of the same numbers under many keys, in float64."""
    keys = jax.random.split(jax.random.key(0), KEYS)
    params = jnp.asarray(p, dtype)
    add = jax.jit(
        jax.vmap(lambda key: oxe.apply_updates_stochastic(params, jnp.float32(u), key))
    )
    return float(params), np.asarray(add(keys), np.float64)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    ("p", "u"),
    [(1.0, 1e-3), (1.0, -1e-3), (-3.0, 1e-4), (0.5, 0.3), (100.0, -0.01), (0.0, 1e-3)],
)
def test_the_mean_is_the_sum(dtype, p, u):
    p, got = many(p, u, dtype)
    exact = float(np.float32(p) + np.float32(u))
    values = np.unique(got)
    assert len(values) <= 2
    assert values.min() <= exact <= values.max()
    if len(values) == 2:  # neighbours
        low, high = jnp.asarray(values, dtype)
        assert jnp.nextafter(low, high) == high
    # Five standard deviations of a coin between the two.
    assert abs(got.mean() - exact) <= 5 * (values.max() - values.min()) / 2 / KEYS**0.5


def test_a_sum_that_fits_is_never_moved():
    _, got = many(1.0, 0.5, "bfloat16")
    assert np.all(got == 1.5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_not_once_in_a_million(dtype):
    """A sum that fits stays under the smallest of the 2**16 random numbers too."""
    params = jnp.full(2**20, 1.5, dtype)
    moved = oxe.apply_updates_stochastic(params, 0 * params, jax.random.key(3))
    np.testing.assert_array_equal(moved, params)


def test_weights_that_would_stand_still():
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


def test_other_leaves():
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
    new = oxe.apply_updates_stochastic(params, updates, jax.random.PRNGKey(0))
    for name in ("f32", "int", "c"):
        np.testing.assert_array_equal(new[name], params[name] + updates[name])
    assert new["none"] is None
    np.testing.assert_array_equal(new["still"], params["still"])
    assert new["inf"] == jnp.inf
    assert jnp.isnan(new["nan"])
    assert jax.tree.map(lambda x: x.dtype, new) == jax.tree.map(
        lambda x: x.dtype, params
    )


def test_every_leaf_has_chances_of_its_own():
    params = [jnp.ones(1000, jnp.bfloat16)] * 2
    updates = [jnp.full(1000, 0.5 / 128)] * 2
    one, other = oxe.apply_updates_stochastic(params, updates, jax.random.key(0))
    assert 400 < np.sum(np.asarray(one != other)) < 600


@pytest.mark.parametrize(
    "key", [0, None, jnp.zeros(2), jax.random.split(jax.random.key(0))]
)
def test_no_key(key):
    with pytest.raises(
        TypeError, match=r"apply_updates_stochastic: `key` must be a key"
    ):
        oxe.apply_updates_stochastic(jnp.ones(2), jnp.ones(2), key)


def test_updates_that_do_not_fit_are_named():
    params = {"a": [jnp.ones(3, jnp.bfloat16)]}
    shape = r"`updates`\['a'\]\[0\] must have the shape of its param, \(3,\), got"
    for wrong in (jnp.ones(4), jnp.ones((2, 3)), 1.0):
        with pytest.raises(ValueError, match=shape):
            oxe.apply_updates_stochastic(params, {"a": [wrong]}, jax.random.key(0))
    with pytest.raises(ValueError, match=r"\['a'\]\[0\] must be real, as its param is"):
        oxe.apply_updates_stochastic(
            params, {"a": [jnp.ones(3) * 1j]}, jax.random.key(0)
        )


def test_updates_of_another_structure():
    with pytest.raises(
        ValueError, match="`updates` must have the structure of `params`"
    ):
        oxe.apply_updates_stochastic({"w": 1.0}, {"v": 1.0}, jax.random.key(0))
