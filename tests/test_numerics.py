"""Powers, fractions and counts against exact arithmetic."""

import decimal
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_extras import _numerics
from optax_extras._numerics import LAST_COUNT

PRECISION = 60


def ulps(got, exact):
    """The distance in float32 ulps of the exact number, a Decimal or Fraction."""
    assert np.asarray(got).dtype == np.float32
    unit = Fraction(float(np.spacing(np.float32(abs(float(exact))))))
    return float(abs(Fraction(float(got)) - Fraction(exact)) / unit)


def exact_power(base, n):
    """base**n, of the double itself."""
    with decimal.localcontext(prec=PRECISION):
        return decimal.Decimal(base) ** n


def exact_one_minus_power(base, t):
    with decimal.localcontext(prec=PRECISION):
        return 1 - decimal.Decimal(base) ** t


def both_ways(function, *counts):
    """The results eager and under jit, for one count or many at once."""
    ns = jnp.array(counts, jnp.int32)
    return np.stack(
        [
            np.array([function(n) for n in ns]),
            np.array([jax.jit(function)(n) for n in ns]),
            np.asarray(jax.jit(function)(ns)),
        ]
    )


# ---- 1 - b**t ------------------------------------------------------------------------

BASES = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
TIMES = [1, 2, 5, 10, 10**3, 10**6, LAST_COUNT]


@pytest.mark.parametrize("base", BASES)
def test_one_minus_power_of_a_known_base(base):
    for kind in (float, np.float64):
        got = both_ways(partial(_numerics.one_minus_power, kind(base)), *TIMES)
        for way in got:
            for t, x in zip(TIMES, way, strict=True):
                assert ulps(x, exact_one_minus_power(base, t)) <= 4, t


@pytest.mark.parametrize("base", BASES)
def test_one_minus_power_of_a_traced_base(base):
    """Right for the float32 that it is given: within what its logarithm allows."""
    rounded = np.float32(base)
    times = jnp.array(TIMES, jnp.int32)
    run = jax.jit(lambda b: jax.vmap(partial(_numerics.one_minus_power, b))(times))
    for t, x in zip(TIMES, run(rounded), strict=True):
        assert ulps(x, exact_one_minus_power(float(rounded), t)) <= 4, t


@pytest.mark.parametrize("kind", [int, float, np.float32, np.float64])
def test_one_minus_power_of_zero_is_one(kind):
    assert _numerics.one_minus_power(kind(0), jnp.int32(1)) == 1


def test_one_minus_power_of_a_traced_zero_is_one():
    times = jnp.array(TIMES, jnp.int32)
    run = jax.jit(lambda b: jax.vmap(partial(_numerics.one_minus_power, b))(times))
    np.testing.assert_array_equal(run(jnp.zeros(())), 1)


@pytest.mark.parametrize("base", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("where", ["outside jit", "inside jit"])
def test_one_minus_power_of_an_array_with_a_value(base, where):
    """A `jax.Array` is no tracer, and yet its operations are traced inside jit."""
    array = jnp.float32(base)

    def run(t):
        return jnp.asarray(_numerics.one_minus_power(array, t), jnp.float32)

    run = jax.jit(run) if where == "inside jit" else run
    for t in TIMES:
        exact = exact_one_minus_power(float(array), t)
        assert ulps(run(jnp.int32(t)), exact) <= 4


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("base", [0.0, 0.5, 0.999])
def test_slope_of_one_minus_power(base, mode):
    """-t b**(t - 1); at b = 0 that is -1 for t = 1, and 0 after it."""
    for t in (1, 2, 5, 1000):
        with jax.enable_x64(True):
            run = partial(_numerics.one_minus_power, t=jnp.int32(t))
            slope = mode(lambda b, run=run: run(b))(jnp.float64(base))
        expected = -t * float(exact_power(base, t - 1)) if t > 1 else -1.0
        np.testing.assert_allclose(slope, expected, rtol=1e-12)


def test_one_minus_power_in_float64():
    with jax.enable_x64(True):
        for base in BASES:
            for t in TIMES:
                got = float(_numerics.one_minus_power(base, jnp.int32(t)))
                exact = exact_one_minus_power(base, t)
                # ln b has half an ulp, and so has its product with t.
                assert abs(Fraction(got) / Fraction(exact) - 1) <= 4 * 2.0**-53


# ---- Powers and exponentials ---------------------------------------------------------


@pytest.mark.parametrize("base", [0.1, 0.5, 0.9, 0.97, 0.999, 0.99999, 1.0001, 1.5])
def test_power(base):
    """Of a few ulps wherever float32 has a normal number for it."""
    largest = int(80 / abs(float(np.log(base))))
    counts = [0, 1, 2, 3, 10, *np.linspace(11, min(largest, LAST_COUNT), 9, dtype=int)]
    counts = sorted({int(n) for n in counts if n <= largest})
    for way in both_ways(partial(_numerics.power, base), *counts):
        for n, x in zip(counts, way, strict=True):
            assert ulps(x, exact_power(base, n)) <= 4, n


@pytest.mark.parametrize("base", [1, 1.0, np.float64(1)])
def test_power_of_one(base):
    assert _numerics.power(base, jnp.int32(LAST_COUNT)) == 1


def test_power_runs_out_at_zero():
    assert _numerics.power(0.5, jnp.int32(LAST_COUNT)) == 0


@pytest.mark.parametrize("base", [0.5, 0.97, 0.999])
def test_power_of_a_traced_base(base):
    """The product n ln b and its logarithm are each half an ulp off, of n ln b."""
    rounded = np.float32(base)
    for n in (1, 10, 100):
        got = jax.jit(lambda b, n=n: _numerics.power(b, jnp.int32(n)))(rounded)
        slope = abs(n * float(np.log(float(rounded))))
        exact = exact_power(float(rounded), n)
        assert ulps(got, exact) <= 4 + 4 * slope


SLOPES = [(-1.0, 1), (-1e-3, 1), (-0.7, 1000), (-3e-9, 1), (-5.0, LAST_COUNT), (0.3, 7)]


@pytest.mark.parametrize(("slope", "divisor"), SLOPES)
def test_exp_linear(slope, divisor):
    rate = abs(Fraction(slope) / divisor)
    largest = min(LAST_COUNT, int(80 / rate))
    counts = sorted({0, 1, *(int(x) for x in np.linspace(2, max(largest, 2), 9))})
    run = partial(_numerics.exp_linear, slope=slope, divisor=divisor)
    for way in both_ways(run, *counts):
        for n, x in zip(counts, way, strict=True):
            with decimal.localcontext(prec=PRECISION):
                exact = (n * decimal.Decimal(slope) / divisor).exp()
            assert ulps(x, exact) <= 4, n


# ---- Fractions -----------------------------------------------------------------------

HORIZONS = [1, 3, 10, 2**24 + 1, LAST_COUNT, 2**31, 2**31 + 7, 2**40]


def counts_around(horizon):
    close = [0, 1, 2, horizon // 3, horizon - 1, horizon, horizon + 1, LAST_COUNT]
    return sorted({n for n in close if 0 <= n <= LAST_COUNT})


@pytest.mark.parametrize("horizon", HORIZONS)
def test_remaining(horizon):
    counts = counts_around(horizon)
    for way in both_ways(lambda t: _numerics.remaining(t, horizon), *counts):
        for t, x in zip(counts, way, strict=True):
            assert ulps(x, Fraction(max(0, horizon - t), horizon)) <= 2, t


@pytest.mark.parametrize("horizon", HORIZONS)
def test_elapsed(horizon):
    counts = counts_around(horizon)
    for way in both_ways(lambda t: _numerics.elapsed(t, horizon), *counts):
        for t, x in zip(counts, way, strict=True):
            assert ulps(x, Fraction(min(t, horizon), horizon)) <= 2, t


@pytest.mark.parametrize("horizon", [1, 3, 2**24 + 1, LAST_COUNT])
def test_fractions_of_a_traced_horizon(horizon):
    counts = counts_around(horizon)
    for function in (_numerics.remaining, _numerics.elapsed):
        traced = jax.jit(function)
        for t in counts:
            known = function(jnp.int32(t), horizon)
            assert traced(jnp.int32(t), jnp.int32(horizon)) == known


# ---- Counts --------------------------------------------------------------------------

COUNTS = [
    (-(2**40), 0),
    (-1, 0),
    (0, 0),
    (LAST_COUNT, LAST_COUNT),
    (2**31, LAST_COUNT),
    (2**40, LAST_COUNT),
    (np.int64(2**40), LAST_COUNT),
    (np.int64(-(2**40)), 0),
    (np.uint64(2**63), LAST_COUNT),
    (np.uint32(2**32 - 1), LAST_COUNT),
    (np.int8(-3), 0),
    (np.uint8(255), 255),
    (np.int16(5), 5),
]


@pytest.mark.parametrize(("given", "expected"), COUNTS)
def test_as_count(given, expected):
    got = _numerics.as_count(given, "rule")
    assert (got.dtype, got.shape, int(got)) == (jnp.int32, (), expected)


@pytest.mark.parametrize(("given", "expected"), COUNTS)
def test_as_count_of_arrays(given, expected):
    if isinstance(given, int):
        given = np.int64(given)
    array = np.array([[given], [np.zeros_like(given)]])
    got = _numerics.as_count(array, "rule")
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, [[expected], [0]])


def test_as_count_of_traced_counts():
    run = jax.jit(lambda t: _numerics.as_count(t, "rule"))
    for dtype in (jnp.int32, jnp.uint32, jnp.int8):
        last = jnp.iinfo(dtype).max
        assert run(jnp.array(last, dtype)) == min(last, LAST_COUNT)
    with jax.enable_x64(True):
        assert jax.jit(lambda t: _numerics.as_count(t, "rule"))(jnp.int64(2**40)) == (
            LAST_COUNT
        )


@pytest.mark.parametrize("given", [1.0, np.float32(1), jnp.ones(()), "1", None, True])
def test_as_count_of_anything_else(given):
    with pytest.raises(TypeError, match=r"^rule: `t` must be an integer .*got "):
        _numerics.as_count(given, "rule")


# ---- The root ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_sqrt_has_no_slope_at_zero(mode):
    xs = [0.0, 1e-30, 0.25, 4.0, 1e30]
    slopes = np.array([mode(_numerics.sqrt)(jnp.float32(x)) for x in xs])
    assert slopes[0] == 0
    np.testing.assert_allclose(slopes[1:], 0.5 / np.sqrt(xs[1:]), rtol=1e-6)


def test_sqrt_of_what_is_zero_with_any_slope():
    """sqrt(x**2) at 0, as a moment's root is: 0, not 0 * inf."""
    for mode in (jax.jacfwd, jax.jacrev):
        assert mode(lambda x: _numerics.sqrt(x**2))(0.0) == 0


def test_sqrt_is_the_root():
    xs = jnp.array([0.0, 1e-38, 2.0, 1e38, jnp.inf])
    np.testing.assert_array_equal(_numerics.sqrt(xs), jnp.sqrt(xs))


# ---- Dtypes --------------------------------------------------------------------------

DTYPES = [
    (("bfloat16",), "float32", "float32"),
    (("float16",), "float32", "float32"),
    (("float32", "bfloat16"), "float32", "float32"),
    (("complex64",), "complex64", "float32"),
    (("complex64", "float16"), "complex64", "float32"),
]


@pytest.mark.parametrize(("given", "compute", "real"), DTYPES)
def test_compute_dtype(given, compute, real):
    got = _numerics.compute_dtype(*map(jnp.dtype, given))
    assert (got, _numerics.real_dtype(got)) == (compute, real)


def test_float_dtype_follows_x64():
    assert _numerics.float_dtype() == np.float32
    with jax.enable_x64(True):
        assert _numerics.float_dtype() == np.float64
        assert _numerics.compute_dtype(jnp.float64) == np.float64
        assert _numerics.real_dtype(jnp.complex128) == np.float64


def test_as_float_is_a_copy():
    x = jnp.float32(3)
    assert _numerics.as_float(x).unsafe_buffer_pointer() != x.unsafe_buffer_pointer()
    assert not _numerics.as_float(3).weak_type


HALVES = [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn]
OTHERS = [jnp.float32, jnp.complex64, jnp.int8, jnp.bool_]


def test_half_precision():
    for dtype in HALVES:
        assert _numerics.is_half(jnp.ones(2, dtype))
        assert _numerics.wide(jnp.ones(2, dtype)).dtype == jnp.float32
    for x in (*(jnp.ones(2, dtype) for dtype in OTHERS), 1.0, None, jax.random.key(0)):
        assert not _numerics.is_half(x)
        assert _numerics.wide(x) is x


def test_weak_types():
    weak, other = jnp.asarray(1.0), jnp.float32(1.0)
    assert weak.weak_type
    for x in (_numerics.strong(weak), _numerics.like(other, weak)):
        assert not x.weak_type
        assert x.dtype == jnp.float32
    for x in (other, 1.0, None, jax.random.key(0)):
        assert _numerics.strong(x) is x
        assert _numerics.like(other if x is other else 2.0, x) is x
    assert _numerics.like(jnp.bfloat16(2), other).dtype == jnp.bfloat16
    key = jax.random.key(0)
    assert _numerics.like(jax.random.key(1), key) is key


# ---- Noise ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (5,), (1 << 16,), (256, 256), (64, 16, 64)])
@pytest.mark.parametrize("salt", [0, 1, 2**32 - 1])
def test_noise_is_another_number_at_every_place(shape, salt):
    """Each of its steps can be undone, so that no two places have the same."""
    found = np.asarray(_numerics.noise(shape, salt))
    assert (found.shape, found.dtype) == (shape, np.uint32)
    assert len(np.unique(found)) == found.size


def deviations(bits):
    """By how many standard deviations the mean of fair coins is off a half."""
    return abs(bits.mean() - 0.5) * 2 * bits.size**0.5


def test_every_bit_of_noise_is_a_fair_coin():
    """Alone, against its neighbours along both axes, and against another salt."""
    one, two = (np.asarray(_numerics.noise((512, 512), salt)) for salt in (7, 8))
    for bit in range(32):
        a, b = (one >> bit) & 1, (two >> bit) & 1
        pairs = (a, a[1:] ^ a[:-1], a[:, 1:] ^ a[:, :-1], a ^ b)
        assert max(map(deviations, pairs)) < 5, bit
        for other in range(bit):
            assert deviations(a ^ ((one >> other) & 1)) < 5.5, (bit, other)
