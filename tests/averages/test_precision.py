"""The float32 weights against float64 arithmetic, from the first count to the last."""

from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.averages.test_decay import SHAPES
from tests.schedules import exact

LAST = 2**31 - 1
MANY = 10**6
COUNTS = [1, 2, 3, 4, 10, 999, 1000, 1001, 65_537, 500_000, MANY - 1, MANY]
LATE = [2**24 + 1, 2**30, LAST - 1, LAST]
ULP = 2.0**-23


def in_float32(average, times):
    assert average.weight(jnp.int32(1)).dtype == jnp.float32
    return np.asarray(average.weight(jnp.asarray(times, jnp.int32)), np.float64)


def one_minus_ratio_power(t, p):
    """1 - (1 - 1/t)^p."""
    with np.errstate(divide="ignore"):
        return -np.expm1(p * np.log1p(-1 / t))


def warm(t, left):
    return np.where(t == 1, 1, left)


T = np.asarray([*COUNTS, *LATE], np.float64)
B, F = 0.9999, 0.05
AVERAGES = {
    "ema": (lambda: oxe.averages.ema(B), warm(T, 1 - B), 1),
    "ema-debias": (
        lambda: oxe.averages.ema(B, debias=True),
        (1 - B) / -np.expm1(T * np.log(B)),
        3,
    ),
    "ema-warmup": (
        lambda: oxe.averages.ema(oxe.averages.warmup(0.99999)),
        np.clip(T ** (-2 / 3), 1 - 0.99999, 1),
        8,
    ),
    "ema-num_updates": (
        lambda: oxe.averages.ema(
            oxe.averages.num_updates_warmup(0.99999), include_init=True
        ),
        np.maximum(9 / (10 + T), 1 - 0.99999),
        2,
    ),
    "uniform": (lambda: oxe.averages.uniform(), 1 / T, 1),
    "uniform-window": (
        lambda: oxe.averages.uniform(window=1000),
        1 / (1 + (T - 1) % 1000),
        1,
    ),
    "power": (
        lambda: oxe.averages.power(16.97),
        one_minus_ratio_power(T, 17.97),
        4,
    ),
    "half_life_fraction": (
        lambda: oxe.averages.half_life_fraction(F),
        -np.expm1(-np.log(2) / (F * T)),
        4,
    ),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages(name):
    make, wanted, ulps = AVERAGES[name]
    found = in_float32(make(), T)
    np.testing.assert_allclose(found, wanted, rtol=ulps * ULP, atol=0)


def exact_decay_weight(shape, n, i):
    """(D_i - D_{i+1}) / (1 - D_{i+1}) of 50 digits, from the definition."""
    power = Decimal(SHAPES[shape][0] or 1)
    risen = {  # 1 - d
        "linear": lambda x: x,
        "cosine": lambda x: (1 - exact.cos(exact.PI * x)) / 2,
        "1-sqrt": Decimal.sqrt,
        "exponential": lambda x: 2 - 2 * Decimal(2) ** -x,
        "power": lambda x: x**power,
        "polynomial": lambda x: 1 - (1 - x) ** power,
    }[shape]
    now, before = (risen(Decimal(k) / n) for k in (int(i), int(i) - 1))
    return float((now - before) / now)


@pytest.mark.parametrize("n", [1000, MANY, LAST])
@pytest.mark.parametrize("shape", SHAPES)
def test_decays(shape, n):
    ends = [n // 2 - 1, n // 2, n // 2 + 1, n - 999, n - 3, n - 2, n - 1, n]
    i = np.unique([1, 2, 3, 4, 10, 100, n // 4, n // 3, *ends])  # as many as in T
    wanted = [exact_decay_weight(shape, n, k) for k in i]
    average = oxe.averages.decay(shape, 0, n, power=SHAPES[shape][0])
    # The power of a tiny remaining fraction has the error of its logarithm's multiple.
    ulps = 12 if shape == "polynomial" else 6
    np.testing.assert_allclose(in_float32(average, i), wanted, rtol=ulps * ULP, atol=0)


def test_a_function_gives_the_average_of_its_rounded_values():
    """The factors that the float32 weights have, against d, for a long decay."""
    n = 200_000
    average = oxe.averages.decay(lambda x: (1 - x) ** 2, 0, n)
    i = jnp.arange(1, n + 1, dtype=jnp.int32)
    c = np.asarray(jax.vmap(average.weight)(i), np.float64)
    left = np.cumprod((1 - c[1:])[::-1])[::-1]  # the weight left to all before
    factor = 1 - left  # of update i + 1: the sum of the coefficients from there on
    wanted = (1 - np.arange(1, n) / n) ** 2
    np.testing.assert_allclose(factor, wanted, rtol=0, atol=2e-6)
