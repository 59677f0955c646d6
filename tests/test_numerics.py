"""Powers, fractions and counts against exact arithmetic."""

import decimal
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_extras import _leaves, _numerics
from optax_extras._numerics import LAST_COUNT
from optax_extras._state._hash import hash_bits

PRECISION = 60
MODES = {"forward": jax.jacfwd, "reverse": jax.jacrev}


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


LENGTH = 16


def both_ways(functions, counts):
    """For each function and count the results, eager and as one program.

    All arrays are of one length, for the operations are compiled for each.
    """
    longer = [[*ns, *ns[-1:] * (LENGTH - len(ns))] for ns in counts]
    given = [jnp.array(ns, jnp.int32) for ns in longer]
    eager = [f(ns) for f, ns in zip(functions, given, strict=True)]
    jitted = jax.jit(
        lambda given: [f(ns) for f, ns in zip(functions, given, strict=True)]
    )(given)
    for ns, *ways in zip(counts, eager, jitted, strict=True):
        yield [
            (n, x) for way in ways for n, x in zip(ns, np.asarray(way), strict=False)
        ]


# ---- 1 - b**t ------------------------------------------------------------------------

BASES = [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
TIMES = [1, 2, 5, 10, 10**3, 10**6, LAST_COUNT]


def test_one_minus_power_of_a_known_base():
    bases = [*BASES, np.float64(0.999)]
    functions = [partial(_numerics.one_minus_power, base) for base in bases]
    found = both_ways(functions, [TIMES] * len(bases))
    for base, results in zip(bases, found, strict=True):
        for t, x in results:
            assert ulps(x, exact_one_minus_power(base, t)) <= 4, (base, t)


def each_traced(run, bases):
    """run(base, times) of traced bases, in one program."""
    times = jnp.array(TIMES, jnp.int32)
    return jax.jit(jax.vmap(lambda base: jax.vmap(partial(run, base))(times)))(bases)


def test_one_minus_power_of_a_traced_base():
    """Right for the float32 that it is given: within what its logarithm allows."""
    bases = np.float32([0.0, *BASES])
    zero, *found = each_traced(_numerics.one_minus_power, bases)
    np.testing.assert_array_equal(zero, 1)
    for base, row in zip(bases[1:], found, strict=True):
        for t, x in zip(TIMES, row, strict=True):
            assert ulps(x, exact_one_minus_power(float(base), t)) <= 4, (base, t)


def test_one_minus_power_of_zero_is_one():
    for kind in (int, float, np.float32, np.float64):
        assert _numerics.one_minus_power(kind(0), jnp.int32(1)) == 1


def test_one_minus_power_of_an_array_with_a_value():
    """A `jax.Array` is not a tracer, but its operations are traced inside jit."""
    arrays = [jnp.float32(base) for base in (0.0, 0.5, 0.999)]

    def run(array, t):
        found = _numerics.one_minus_power(array, t)
        return jnp.broadcast_to(jnp.asarray(found, jnp.float32), t.shape)

    functions = [partial(run, array) for array in arrays]
    found = both_ways(functions, [TIMES] * len(arrays))
    for array, results in zip(arrays, found, strict=True):
        for t, x in results:
            assert ulps(x, exact_one_minus_power(float(array), t)) <= 4, (array, t)


def test_slope_of_one_minus_power():
    """-t b**(t - 1); at b = 0 that is -1 for t = 1, and 0 after it."""
    bases = [0.0, 0.5, 0.999]
    for name, mode in MODES.items():
        with jax.enable_x64(True):
            found = each_traced(mode(_numerics.one_minus_power), jnp.array(bases))
        for base, row in zip(bases, found, strict=True):
            for t, slope in list(zip(TIMES, row, strict=True))[:5]:
                expected = -t * float(exact_power(base, t - 1)) if t > 1 else -1.0
                np.testing.assert_allclose(slope, expected, 1e-12, err_msg=name)


def test_one_minus_power_in_float64():
    with jax.enable_x64(True):
        times = jnp.array(TIMES, jnp.int32)
        found = [np.asarray(_numerics.one_minus_power(base, times)) for base in BASES]
    for base, row in zip(BASES, found, strict=True):
        assert row.dtype == np.float64
        for t, got in zip(TIMES, row, strict=True):
            exact = exact_one_minus_power(base, t)
            # ln b has half an ulp, and so has its product with t.
            assert abs(Fraction(float(got)) / Fraction(exact) - 1) <= 4 * 2.0**-53


# ---- Powers and exponentials ---------------------------------------------------------


def test_power():
    """Of a few ulps wherever float32 has a normal number for it."""
    bases, counts = [0.1, 0.5, 0.9, 0.97, 0.999, 0.99999, 1.0001, 1.5], []
    for base in bases:
        largest = min(int(80 / abs(float(np.log(base)))), LAST_COUNT)
        ns = {0, 1, 2, 3, 10, *np.linspace(11, largest, 9, dtype=int).tolist()}
        counts.append(sorted(n for n in ns if n <= largest))
    found = both_ways([partial(_numerics.power, base) for base in bases], counts)
    for base, results in zip(bases, found, strict=True):
        for n, x in results:
            assert ulps(x, exact_power(base, n)) <= 4, (base, n)


def test_power_at_its_ends():
    for base in (1, 1.0, np.float64(1)):
        assert _numerics.power(base, jnp.int32(LAST_COUNT)) == 1
    assert _numerics.power(0.5, jnp.int32(LAST_COUNT)) == 0


def test_power_of_a_traced_base():
    """The product n ln b and its logarithm are each half an ulp off, of n ln b."""
    bases = np.float32([0.5, 0.97, 0.999])
    counts = np.int32([1, 10, 100])
    run = jax.vmap(lambda b: jax.vmap(partial(_numerics.power, b))(counts))
    for base, row in zip(bases, jax.jit(run)(bases), strict=True):
        for n, got in zip(counts.tolist(), row, strict=True):
            slope = abs(n * float(np.log(float(base))))
            assert ulps(got, exact_power(float(base), n)) <= 4 + 4 * slope


SLOPES = [(-1.0, 1), (-1e-3, 1), (-0.7, 1000), (-3e-9, 1), (-5.0, LAST_COUNT), (0.3, 7)]


def test_exp_linear():
    functions, counts = [], []
    for slope, divisor in SLOPES:
        largest = max(2, min(LAST_COUNT, int(80 / abs(Fraction(slope) / divisor))))
        counts.append(sorted({0, 1, *map(int, np.linspace(2, largest, 9))}))
        kw = {"slope": slope, "divisor": divisor}
        functions.append(partial(_numerics.exp_linear, **kw))
    found = both_ways(functions, counts)
    for (slope, divisor), results in zip(SLOPES, found, strict=True):
        for n, x in results:
            with decimal.localcontext(prec=PRECISION):
                exact = (n * decimal.Decimal(slope) / divisor).exp()
            assert ulps(x, exact) <= 4, (slope, divisor, n)


# ---- Fractions -----------------------------------------------------------------------

HORIZONS = [1, 3, 10, 2**24 + 1, LAST_COUNT, 2**31, 2**31 + 7, 2**40]


def counts_around(horizon):
    close = [0, 1, 2, horizon // 3, horizon - 1, horizon, horizon + 1, LAST_COUNT]
    return sorted({n for n in close if 0 <= n <= LAST_COUNT})


def test_fractions():
    counts = [counts_around(horizon) for horizon in HORIZONS]
    for name, exact in (
        ("remaining", lambda t, h: Fraction(max(0, h - t), h)),
        ("elapsed", lambda t, h: Fraction(min(t, h), h)),
    ):
        function = getattr(_numerics, name)
        functions = [lambda t, f=function, h=h: f(t, h) for h in HORIZONS]
        found = both_ways(functions, counts)
        for horizon, results in zip(HORIZONS, found, strict=True):
            for t, x in results:
                assert ulps(x, exact(t, horizon)) <= 2, (name, horizon, t)


def test_fractions_of_a_traced_horizon():
    for function in (_numerics.remaining, _numerics.elapsed):
        traced = jax.jit(function)
        for horizon in (1, 3, 2**24 + 1, LAST_COUNT):
            for t in counts_around(horizon):
                known = function(jnp.int32(t), horizon)
                assert traced(jnp.int32(t), jnp.int32(horizon)) == known, (horizon, t)


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


def test_as_count():
    for given, expected in COUNTS:
        got = _numerics.as_count(given)
        assert (got.dtype, got.shape, int(got)) == (jnp.int32, (), expected)
        given = np.int64(given) if isinstance(given, int) else given
        array = np.array([[given], [np.zeros_like(given)]])
        got = _numerics.as_count(array)
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got, [[expected], [0]])


def test_as_count_of_traced_counts():
    run = jax.jit(lambda t: _numerics.as_count(t))
    for dtype in (jnp.int32, jnp.uint32, jnp.int8):
        last = jnp.iinfo(dtype).max
        assert run(jnp.array(last, dtype)) == min(last, LAST_COUNT)
    with jax.enable_x64(True):
        assert jax.jit(lambda t: _numerics.as_count(t))(jnp.int64(2**40)) == (
            LAST_COUNT
        )


def test_as_count_of_anything_else():
    for given in (1.0, np.float32(1), jnp.ones(()), "1", None, True):
        with pytest.raises(TypeError, match=r"^`t` must be an integer .*got "):
            _numerics.as_count(given)


# ---- The root ------------------------------------------------------------------------


def test_sqrt_has_no_slope_at_zero():
    """Nor has sqrt(x**2), as in a moment's root: it is 0, not 0 * inf."""
    xs = np.float32([0.0, 1e-30, 0.25, 4.0, 1e30])
    for mode in MODES.values():
        slopes = jax.jit(jax.vmap(mode(_numerics.sqrt)))(xs)
        assert slopes[0] == 0
        np.testing.assert_allclose(slopes[1:], 0.5 / np.sqrt(xs[1:]), rtol=1e-6)
        assert jax.jit(mode(lambda x: _numerics.sqrt(x**2)))(0.0) == 0


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


def test_compute_dtype():
    for given, compute, real in DTYPES:
        got = _leaves.compute_dtype(*map(jnp.dtype, given))
        assert (got, _leaves.real_dtype(got)) == (compute, real)


def test_float_dtype_follows_x64():
    assert _numerics.float_dtype() == np.float32
    with jax.enable_x64(True):
        assert _numerics.float_dtype() == np.float64
        assert _leaves.compute_dtype(jnp.float64) == np.float64
        assert _leaves.real_dtype(jnp.complex128) == np.float64


def test_as_float_is_a_copy():
    x = jnp.float32(3)
    assert _numerics.as_float(x).unsafe_buffer_pointer() != x.unsafe_buffer_pointer()
    assert not _numerics.as_float(3).weak_type


HALVES = [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn]
OTHERS = [jnp.float32, jnp.complex64, jnp.int8, jnp.bool_]


def test_half_precision():
    for dtype in HALVES:
        assert _leaves.is_half(jnp.ones(2, dtype))
        assert _leaves.upcast_half(jnp.ones(2, dtype)).dtype == jnp.float32
    for x in (*(jnp.ones(2, dtype) for dtype in OTHERS), 1.0, None, jax.random.key(0)):
        assert not _leaves.is_half(x)
        assert _leaves.upcast_half(x) is x


def test_weak_types():
    weak, other = jnp.asarray(1.0), jnp.float32(1.0)
    assert weak.weak_type
    for x in (_leaves.without_weak_type(weak), _leaves.cast_like(other, weak)):
        assert not x.weak_type
        assert x.dtype == jnp.float32
    for x in (other, 1.0, None, jax.random.key(0)):
        assert _leaves.without_weak_type(x) is x
        assert _leaves.cast_like(other if x is other else 2.0, x) is x
    assert _leaves.cast_like(jnp.bfloat16(2), other).dtype == jnp.bfloat16
    key = jax.random.key(0)
    assert _leaves.cast_like(jax.random.key(1), key) is key


# ---- Noise ---------------------------------------------------------------------------


def test_noise_is_another_number_at_every_place():
    """Each of its steps can be undone, so that no two places have the same."""
    for shape in ((), (5,), (1 << 16,), (256, 256), (64, 16, 64)):
        run = jax.jit(partial(hash_bits, shape))
        for salt in np.uint32([0, 1, 2**32 - 1]):
            found = np.asarray(run(salt))
            assert (found.shape, found.dtype) == (shape, np.uint32)
            assert len(np.unique(found)) == found.size, (shape, salt)


def deviations(bits):
    """By how many standard deviations the mean of fair coins is off a half."""
    return abs(bits.mean() - 0.5) * 2 * bits.size**0.5


def test_every_bit_of_noise_is_a_fair_coin():
    """Alone, against its neighbors along both axes, and against another salt."""
    one, two = (np.asarray(hash_bits((512, 512), salt)) for salt in (7, 8))
    for bit in range(32):
        a, b = (one >> bit) & 1, (two >> bit) & 1
        pairs = (a, a[1:] ^ a[:-1], a[:, 1:] ^ a[:, :-1], a ^ b)
        assert max(map(deviations, pairs)) < 5, bit
        for other in range(bit):
            assert deviations(a ^ ((one >> other) & 1)) < 5.5, (bit, other)
