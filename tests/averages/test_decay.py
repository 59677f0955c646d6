"""A decay of the learning rate ends in the weights of its average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.averages.loops import (
    STEPS,
    coefficients,
    follow,
    weights_at_once,
    weights_of,
)

# d(x), in NumPy: the formulas of the docstring.
SHAPES = {
    "linear": (None, lambda x: 1 - x),
    "cosine": (None, lambda x: (1 + np.cos(np.pi * x)) / 2),
    "1-sqrt": (None, lambda x: 1 - np.sqrt(x)),
    "exponential": (None, lambda x: 2 * 2.0**-x - 1),
    "power": (3.5, lambda x: 1 - x**3.5),
    "polynomial": (1.2, lambda x: (1 - x) ** 1.2),
}
each_shape = pytest.mark.parametrize("shape", SHAPES)
START, LENGTH = 7, 30  # and three updates afterwards


def rates(d, end_fraction=0.0, start=START, steps=LENGTH):
    """The factor of the learning rate of updates 1, ..., start + steps."""
    falling = end_fraction + (1 - end_fraction) * d(np.arange(steps) / steps)
    return np.r_[np.ones(start), falling]


def updates():
    return np.random.default_rng(1).normal(size=(STEPS, 3))


def trained(factors):
    """The last weights of a run whose updates are multiplied by these factors."""
    u = updates()[: len(factors)]
    return (factors[:, None] * u).sum(0)


def average_of(shape, **kwargs):
    """The averages along a run at a constant rate with the same updates."""
    w = np.r_[np.zeros((1, 3)), np.cumsum(updates(), 0)]
    make = weights_of if callable(shape) else weights_at_once
    c = make(lambda: oxe.averages.decay(shape, START, LENGTH, **kwargs))
    return follow(c, w)


@pytest.mark.parametrize("end_fraction", [0.0, 0.1, 1.0])
@each_shape
def test_a_decayed_run_ends_in_its_average(shape, end_fraction):
    power, d = SHAPES[shape]
    a = average_of(shape, power=power, end_fraction=end_fraction)
    wanted = trained(rates(d, end_fraction))
    for t in range(START + LENGTH, STEPS + 1):  # it stays
        np.testing.assert_allclose(a[t], wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a[START], updates()[:START].sum(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt", "exponential"])
def test_the_words_are_those_of_wsd(shape):
    schedule = oxe.schedules.wsd(1.0, 0, START, LENGTH, decay=shape)
    factors = np.asarray(schedule(jnp.arange(START + LENGTH)), np.float64)
    a = average_of(shape)
    np.testing.assert_allclose(a[-1], trained(factors), rtol=0, atol=1e-5)


def test_the_word_polynomial_is_that_of_the_schedule():
    schedule = oxe.schedules.polynomial(1.0, LENGTH, 1.2)
    falling = np.asarray(schedule(jnp.arange(LENGTH)), np.float64)
    a = average_of("polynomial", power=1.2)
    wanted = trained(np.r_[np.ones(START), falling])
    np.testing.assert_allclose(a[-1], wanted, rtol=0, atol=1e-5)


@each_shape
def test_read_early_it_is_the_sum_so_far_over_its_coefficients(shape):
    power, d = SHAPES[shape]
    a = average_of(shape, power=power)
    w = np.cumsum(updates(), 0)[START:]
    falls = -np.diff(np.r_[d(np.arange(LENGTH) / LENGTH), 0])
    for n in (1, 2, 11, 29, 30):
        wanted = np.average(w[:n], 0, weights=falls[:n])
        np.testing.assert_allclose(a[START + n], wanted, rtol=0, atol=1e-12)


FUNCTIONS = {
    "not 0 at the end": lambda x: 1 - 0.7 * x,
    "flat at first": lambda x: jnp.minimum(1, 1.5 * (1 - x)),
    "in steps": lambda x: 1 - jnp.floor(4 * x) / 4,
    "constant": lambda x: 1 + 0 * x,
}


@pytest.mark.parametrize("end_fraction", [0.0, 0.2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_function(name, end_fraction):
    with jax.enable_x64(True):
        x = jnp.arange(LENGTH) / LENGTH
        falling = np.asarray(FUNCTIONS[name](x), np.float64)
    falling = end_fraction + (1 - end_fraction) * falling
    a = average_of(FUNCTIONS[name], end_fraction=end_fraction)
    wanted = trained(np.r_[np.ones(START), falling])
    np.testing.assert_allclose(a[START + LENGTH], wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(a[-1], wanted, rtol=0, atol=1e-12)


def test_before_a_function_falls_the_average_is_a_copy():
    average = oxe.averages.decay(lambda x: jnp.minimum(2 - 2 * x, 1), 2, 8)
    assert [average.weight(jnp.int32(t)) for t in range(1, 6)] == [1] * 5


@pytest.mark.parametrize("shape", ["linear", "cosine", "polynomial"])
def test_a_decay_of_one_step(shape):
    """Its only update has the whole learning rate."""
    power = SHAPES[shape][0]
    make = lambda: oxe.averages.decay(shape, 2, 1, power=power)  # noqa: E731
    np.testing.assert_array_equal(weights_at_once(make)[:5], [1, 1, 1, 0, 0])


def test_linear_is_uniform_and_power_is_power():
    pairs = [
        (
            lambda: oxe.averages.decay("linear", 0, STEPS),
            lambda: oxe.averages.uniform(),
        ),
        (
            lambda: oxe.averages.decay("power", 0, STEPS, power=7.94),
            lambda: oxe.averages.power(6.94),
        ),
        (
            lambda: oxe.averages.decay("1-sqrt", 0, STEPS),
            lambda: oxe.averages.decay("power", 0, STEPS, power=0.5),
        ),
    ]
    for first, second in pairs:
        found = [coefficients(weights_at_once(make)) for make in (first, second)]
        np.testing.assert_allclose(*found, rtol=0, atol=1e-14)
