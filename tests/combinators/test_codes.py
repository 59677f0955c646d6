"""Eight bits for a float: errors by block, means, what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_extras import _numerics
from optax_extras._combinators import _codes

BLOCK = 64


def noise(shape, count=0):
    return _numerics.noise(
        shape, jnp.asarray(count, jnp.uint32) * jnp.uint32(0x9E3779B9)
    )


@jax.jit
def there_and_back(x, count):
    return _codes.decoded(_codes.encoded(x, noise(x.shape, count)))


@jax.jit
def halved_and_back(x, count):
    return _codes.decoded(_codes.halved(x, noise(x.shape, count)))


def rows(low):
    """Blocks of numbers over some decades, some of them 0, from `low` times them on."""

    def made(seed, decade, decades, zeros):
        rng = np.random.default_rng(seed)
        x = rng.uniform(1, 10, (3, BLOCK)) * rng.choice([low, 1], (3, BLOCK))
        x *= 10.0 ** rng.uniform(decade - decades, decade, (3, BLOCK))
        return np.where(rng.random((3, BLOCK)) < zeros, 0, x).astype(np.float32)

    return st.builds(
        made,
        st.integers(0, 2**32 - 1),
        st.integers(-10, 35),
        st.floats(0, 20),
        st.floats(0, 1),
    )


def check_bound(x, y, octaves):
    """An eighth of each number, or the least number of its block's window."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    largest = np.abs(x).max(axis=-1, keepdims=True)
    assert np.all(np.abs(y - x) <= np.maximum(np.abs(x) / 8, 1.25 * largest / octaves))
    assert np.all(y[x == 0] == 0)
    assert np.all(y * x >= 0)


@settings(max_examples=300, deadline=None)
@given(rows(-1), st.integers(0, 2**31 - 1))
def test_error_of_signed_blocks(x, count):
    check_bound(x, there_and_back(x, count), 2.0**15)


@settings(max_examples=300, deadline=None)
@given(rows(0), st.integers(0, 2**31 - 1))
def test_error_without_signs_and_nothing_positive_becomes_zero(x, count):
    y = np.asarray(there_and_back(x, count))
    check_bound(x, y, 2.0**31)
    assert np.all((y > 0) == (x > 0))


@settings(max_examples=200, deadline=None)
@given(rows(-1) | rows(0), st.integers(0, 2**31 - 2))
def test_what_is_rounded_is_not_rounded_again(x, count):
    once = there_and_back(x, count)
    np.testing.assert_array_equal(there_and_back(once, count + 1), once)


SHAPES = [
    (4096,),
    (4099,),  # a prime
    (129, 129),
    (1000, 10),
    (97, 43),
    (5, 7, 11, 13),
    (3, 3, 64, 64),
    (4096, 1),
    (2, 2500),
    (64, 1, 64),
    (1600, 3),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_shape(shape):
    """The largest of all is the largest of no other block: the bound holds anyway."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    record = jax.jit(lambda x: _codes.encoded(x, noise(shape)))(x)
    assert record.codes.shape == shape
    assert record.codes.nbytes + record.windows.nbytes <= 1.05 * x.size
    y = np.asarray(jax.jit(_codes.decoded)(record))
    error = np.maximum(np.abs(x) / 8, 1.25 * 2.0**-15 * np.abs(x).max())
    assert np.all(np.abs(y - x) <= error)
    assert np.abs(y - x).max() > 0.01


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_mean_is_the_number(back, sign):
    """Over the places of a leaf, each of which has noise of its own."""
    for size in (1.0, 1.06, 0.0123, 3e-4, 1e-5):
        x = np.full((4096, BLOCK), sign * size, np.float32)
        x[:, 0] = -sign  # with signs, of which the window has 15 octaves
        y = np.asarray(back(x, 7), np.float64)[:, 1:]
        error = max(y.std(), 2.0**-24 * size) / np.sqrt(y.size)
        assert abs(y.mean() - x[0, 1]) < 5 * error, size


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
def test_the_mean_over_steps_is_the_number(back):
    x = np.geomspace(1e-3, 1, BLOCK).astype(np.float32)[None]
    many = jax.vmap(back, (None, 0))(x, jnp.arange(10_000))
    off = np.abs(np.asarray(many, np.float64).mean(0) - x)
    # Of a coin between two neighbours an eighth apart, five deviations.
    assert np.all(off < 5 * x / 8 / 2 / np.sqrt(10_000))


def average(rounded, steps=5000, decay=0.999):
    """A slow average of squares of 1, kept as `rounded` keeps it."""

    def step(v, count):
        return rounded(decay * v + (1 - decay), count), None

    start = jnp.zeros((16, BLOCK))
    return np.asarray(jax.lax.scan(step, start, jnp.arange(steps))[0])


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
def test_slow_averages_arrive(back):
    expected = 1 - 0.999**5000
    np.testing.assert_allclose(average(back).mean(), expected, rtol=0.01)
    np.testing.assert_allclose(average(back), expected, rtol=0.25)


def test_slow_averages_stall_where_nothing_is_by_chance():
    """What the noise is for: bfloat16 rounded to the nearest stops at a half."""
    stalled = average(lambda v, count: v.astype(jnp.bfloat16).astype(jnp.float32))
    assert stalled.max() <= 0.5


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(back, bad):
    x = np.ones((2, BLOCK), np.float32)
    x[0, 5] = bad
    y = np.asarray(back(x, 3))
    np.testing.assert_array_equal(y[0, 5], bad)
    np.testing.assert_array_equal(y[1], 1)
    assert np.isfinite(np.delete(y[0], 5)).all()


def test_every_bit_pattern_of_a_nan():
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32)
    x = jnp.tile(jax.lax.bitcast_convert_type(jnp.asarray(bits), jnp.float32), 16)
    for count in range(8):
        assert jnp.isnan(there_and_back(x, count)).all()
        assert jnp.isnan(halved_and_back(x, count)).all()


def test_blocks_of_leaves_that_are_shared_out():
    """As many blocks as have most factors of two; whole small axes."""
    assert _codes._block_of((10, 1024)) == (1, 64)
    assert _codes._block_of((10, 1000)) == (1, 125)
    assert _codes._block_of((64, 64)) == (1, 64)
    assert _codes._block_of((1000, 10)) == (10, 10)
    assert _codes._block_of((2, 3)) == (2, 3)
