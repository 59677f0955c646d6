"""Eight bits for a float: errors by block, means, what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from optax_extras._state import _quantize
from optax_extras._state._hash import hash_bits, salt_of_count

BLOCK = 64


def noise(shape, count=0):
    return hash_bits(shape, salt_of_count(count))


@jax.jit
def there_and_back(x, count):
    return _quantize.dequantize(_quantize.quantize(x, noise(x.shape, count)))


@jax.jit
def halved_and_back(x, count):
    return _quantize.from_bfloat16_bits(
        _quantize.to_bfloat16_bits(x, noise(x.shape, count))
    )


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


FEW = settings(max_examples=40, deadline=None, derandomize=True)
MANY = settings(max_examples=300, deadline=None)


def check_signed(x, count):
    check_bound(x, there_and_back(x, count), 2.0**15)


def check_unsigned(x, count):
    y = np.asarray(there_and_back(x, count))
    check_bound(x, y, 2.0**31)
    assert np.all((y > 0) == (x > 0))  # nothing positive becomes 0


def check_twice(x, count):
    """What is rounded is not rounded again."""
    once = there_and_back(x, count)
    np.testing.assert_array_equal(there_and_back(once, count + 1), once)


COUNTS = st.integers(0, 2**31 - 2)
test_error_of_signed_blocks = FEW(given(rows(-1), COUNTS)(check_signed))
test_error_of_unsigned_blocks = FEW(given(rows(0), COUNTS)(check_unsigned))
test_rounding_twice = FEW(given(rows(-1) | rows(0), COUNTS)(check_twice))
test_error_of_many_signed_blocks = pytest.mark.full(
    MANY(given(rows(-1), COUNTS)(check_signed))
)
test_error_of_many_unsigned_blocks = pytest.mark.full(
    MANY(given(rows(0), COUNTS)(check_unsigned))
)


# The fast run has a prime, an edge that is not a multiple of a block, small axes.
SHAPES = {
    (4099,): "fast",
    (129, 129): "fast",
    (3, 3, 64, 64): "fast",
    (4096,): "full",
    (1000, 10): "full",
    (97, 43): "full",
    (5, 7, 11, 13): "fast",
    (4096, 1): "full",
    (2, 2500): "full",
    (64, 1, 64): "full",
    (1600, 3): "full",
}


@pytest.mark.parametrize(
    "speed", ["fast", pytest.param("full", marks=pytest.mark.full)]
)
def test_any_shape(speed):
    """The largest of all is the largest of no other block: the bound holds anyway."""
    shapes = [shape for shape, when in SHAPES.items() if when == speed]
    xs = [np.random.default_rng(0).normal(size=n).astype(np.float32) for n in shapes]

    @jax.jit
    def back(xs):
        records = [_quantize.quantize(x, noise(x.shape)) for x in xs]
        return records, [_quantize.dequantize(record) for record in records]

    for x, record, y in zip(xs, *back(xs), strict=True):
        assert record.values.shape == x.shape
        assert record.values.nbytes + record.exponents.nbytes <= 1.05 * x.size
        error = np.maximum(np.abs(x) / 8, 1.25 * 2.0**-15 * np.abs(x).max())
        assert np.all(np.abs(y - x) <= error), x.shape
        assert np.abs(y - x).max() > 0.01, x.shape


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
def test_the_mean_is_the_number(back):
    """On average over the elements of a leaf, each with its own noise."""
    for sign in (-1, 1):
        for size in (1.0, 1.06, 0.0123, 3e-4, 1e-5):
            x = np.full((4096, BLOCK), sign * size, np.float32)
            x[:, 0] = -sign  # with signs, of which the window has 15 octaves
            y = np.asarray(back(x, 7), np.float64)[:, 1:]
            error = max(y.std(), 2.0**-24 * size) / np.sqrt(y.size)
            assert abs(y.mean() - x[0, 1]) < 5 * error, (sign, size)


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
def test_the_mean_over_steps_is_the_number(back):
    x = np.geomspace(1e-3, 1, BLOCK).astype(np.float32)[None]
    many = jax.jit(jax.vmap(back, (None, 0)))(x, np.arange(10_000))
    off = np.abs(np.asarray(many, np.float64).mean(0) - x)
    # Of a coin between two neighbors an eighth apart, five deviations.
    assert np.all(off < 5 * x / 8 / 2 / np.sqrt(10_000))


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
def test_slow_averages_converge(back):
    """Of squares of 1; bfloat16 that is rounded to the nearest stops at a half."""

    def step(v, count):
        return back(0.999 * v + 0.001, count), None

    start, counts = jnp.zeros((16, BLOCK)), np.arange(5000)
    average = np.asarray(jax.lax.scan(step, start, counts)[0])
    expected = 1 - 0.999**5000
    np.testing.assert_allclose(average.mean(), expected, rtol=0.01)
    np.testing.assert_allclose(average, expected, rtol=0.25)


@pytest.mark.parametrize("back", [there_and_back, halved_and_back])
def test_what_is_not_finite_stays_so(back):
    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        x = np.ones((3, BLOCK), np.float32)
        x[0, 5] = bad
        y = np.asarray(back(x, 3))
        np.testing.assert_array_equal(y[0, 5], bad)
        np.testing.assert_array_equal(y[1:], 1)
        assert np.isfinite(np.delete(y[0], 5)).all(), bad


def test_every_bit_pattern_of_a_nan():
    bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32)
    x = np.tile(bits.view(np.float32), 48).reshape(3, BLOCK)
    for count in range(8):
        assert jnp.isnan(there_and_back(x, count)).all()
        assert jnp.isnan(halved_and_back(x, count)).all()


def test_blocks_of_sharded_leaves():
    """The number of blocks has the most factors of two; small axes are not split."""
    assert _quantize._block_of((10, 1024)) == (1, 64)
    assert _quantize._block_of((10, 1000)) == (1, 125)
    assert _quantize._block_of((64, 64)) == (1, 64)
    assert _quantize._block_of((1000, 10)) == (10, 10)
    assert _quantize._block_of((2, 3)) == (2, 3)


def test_signed_blocks_of_the_smallest_numbers():
    """Their window begins at 0, and still says that there are signs."""
    x = np.tile(np.float32([1e-35, -2e-35]), 96).reshape(3, BLOCK)
    check_bound(x, there_and_back(x, 3), 2.0**15)
