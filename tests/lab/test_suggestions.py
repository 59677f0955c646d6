import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_extras.lab import minimum, slide, steep, valley

# fastai's rules as plain Python, on curves that end before the first NaN.


def plain_valley(rates, losses):
    n = len(losses)
    lengths, end = [1] * n, 0
    for i in range(n):
        for j in range(i):
            if losses[j] > losses[i]:
                lengths[i] = max(lengths[i], lengths[j] + 1)
        if lengths[i] > lengths[end]:
            end = i
    length = lengths[end]
    if length == 1:
        return rates[0]
    return rates[max(end - length + length // 3 + length // 6, 0)]


def plain_steep(rates, losses):
    if len(losses) < 2:
        return math.nan
    slopes = [
        (losses[i + 1] - losses[i]) / (math.log(rates[i + 1]) - math.log(rates[i]))
        for i in range(len(losses) - 1)
    ]
    return rates[slopes.index(min(slopes))]


def plain_minimum(rates, losses):
    return rates[list(losses).index(min(losses))] / 10


def plain_slide(rates, losses):
    if len(losses) < 16:
        return math.nan
    slopes = np.gradient(losses)
    right = len(losses) - 1
    left = right - 15
    found = rates[left]
    while left >= 0 and abs(slopes[right] - slopes[left]) > 0.005:
        found = rates[left]
        right, left = right - 1, left - 1
    return found


RULES = {
    valley: plain_valley,
    steep: plain_steep,
    minimum: plain_minimum,
    slide: plain_slide,
}
FULL = pytest.mark.full
RATES = np.geomspace(1e-7, 10, 100)
X = np.linspace(0, 1, 100)
NOISE = np.random.default_rng(0).normal(size=(5, 100))


def smooth(losses):
    average, out = 0.0, []
    for i, x in enumerate(losses):
        average = 0.98 * average + 0.02 * x
        out.append(average / (1 - 0.98 ** (i + 1)))
    return np.array(out)


# Loss curves of the usual shapes.
CURVES = {
    "plateau, descent, explosion": 2.3
    - 1.8 / (1 + np.exp(-25 * (X - 0.6)))
    + np.exp(40 * (X - 0.97)),
    "noisy": 2.3 - 1.5 / (1 + np.exp(-20 * (X - 0.5))) + 0.1 * NOISE[0],
    "noisy and smoothed": smooth(
        2.3 - 1.5 / (1 + np.exp(-20 * (X - 0.5))) + 0.3 * NOISE[1]
    ),
    "two descents": np.cos(12 * X) - X + 0.02 * NOISE[2],
    "only down": 3.0 - X,
    "only up": X**2,
    "flat": np.ones(100),
    "noise": NOISE[3],
    "below zero": -5 * np.sin(3 * X) + 0.01 * NOISE[4],
    "short": np.array([3.0, 2.0, 1.0, 1.5]),
    "fifteen": 15 - np.arange(15.0) ** 2,
    "sixteen": 16 - np.arange(16.0) ** 2,
    "one": np.array([2.0]),
}


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("curve", CURVES)
class TestRules:
    def test_as_in_plain_python(self, rule, curve):
        losses = CURVES[curve]
        rates = RATES[: len(losses)]
        expected = RULES[rule](rates, losses)
        np.testing.assert_allclose(jax.jit(rule)(rates, losses), expected, rtol=1e-12)
        if curve == "noisy":
            np.testing.assert_allclose(rule(rates, losses), expected, rtol=1e-12)

    @pytest.mark.parametrize(
        "bad", [np.nan, *(pytest.param(x, marks=FULL) for x in (np.inf, -np.inf))]
    )
    def test_ends_before_what_is_not_finite(self, rule, curve, bad):
        losses = np.r_[CURVES[curve], bad, -100.0, 0.5, bad]
        rates = np.geomspace(1e-7, 10, len(losses))
        expected = RULES[rule](rates, losses[:-4])
        np.testing.assert_allclose(jax.jit(rule)(rates, losses), expected, rtol=1e-12)


def test_by_hand():
    """Worked out from the definitions."""
    rates = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    losses = jnp.array([7.0, 6.5, 6.0, 3.0, 2.0, 1.0, 9.0])
    # A descent of 6, ending at place 5: from place -1, 2 and 1 further.
    assert valley(rates, losses) == 4
    assert steep(rates, losses) == 4
    assert minimum(rates, losses) == pytest.approx(3.2)
    assert np.isnan(slide(rates, losses))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(-20, 20), min_size=40, max_size=40),
    st.integers(0, 40),
)
def test_any_curve(losses, end):
    """With ties, and of any length: what follows the end is NaN."""
    losses = np.where(np.arange(40) < end, losses, np.nan)
    with jax.enable_x64(True):
        for rule, plain in RULES.items():
            expected = plain(RATES[:end], losses[:end]) if end else np.nan
            found = jax.jit(rule)(RATES[:40], losses)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_vmap_and_dtype(rule):
    curves = np.stack([CURVES["noisy"], CURVES["only down"]])
    both = jax.jit(jax.vmap(rule, in_axes=(None, 0)))(RATES, curves)
    np.testing.assert_allclose(
        both, [jax.jit(rule)(RATES, x) for x in curves], rtol=1e-14
    )
    with jax.enable_x64(False):
        assert jax.eval_shape(rule, RATES, curves[0]).dtype == "float32"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_bad_shapes(rule):
    name = rule.__name__
    with pytest.raises(ValueError, match=rf"^{name}: `losses` must be of the shape"):
        rule(RATES, RATES[:3])
    with pytest.raises(ValueError, match=rf"^{name}: `rates` must be of shape \(n,\)"):
        rule(1.0, 1.0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_numbers_come_in(rule):
    """Counts beyond 32 bits, and lists of what is traced; no words."""
    large = np.arange(2**40, 2**40 - 30 * 2**35, -(2**35))
    rates = np.arange(1, large.size + 1)
    with jax.enable_x64(False):
        right = rule(rates, large * 1.0)
        np.testing.assert_array_equal(rule(rates, large), right)
        np.testing.assert_array_equal(rule(rates, large.tolist()), right)
        traced = jax.jit(lambda *losses: rule(rates, losses))(*(large * 1.0))
        np.testing.assert_allclose(traced, right, rtol=1e-6)
    for losses in (["a"] * rates.size, [[1.0], [1.0, 2.0]], [None] * rates.size):
        right = rf"^{rule.__name__}: `losses` must hold real numbers, got \["
        with pytest.raises(TypeError, match=right):
            rule(rates, losses)


BAD_RATES = {
    "unsorted": ([1.0, 3.0, 2.0], r"`rates` must be rising, got .*\[1., 3., 2.\]"),
    "falling": ([3, 2, 1], r"`rates` must be rising, got .*\[3, 2, 1\]"),
    "twice": ([1.0, 2.0, 2.0], r"`rates` must be rising"),
    "alike in float32": ([1.0, 1 + 1e-12, 2.0], r"`rates` must be rising"),
    "negative": ([-1.0, 1.0, 2.0], r"`rates`\[0\] must be in \(0, inf\), got .*-1"),
    "zero": ([0, 1, 2], r"`rates`\[0\] must be in \(0, inf\), got .*0"),
    "NaN": ([1.0, np.nan, 2.0], r"`rates`\[1\] must be in \(0, inf\), got .*nan"),
    "inf": ([1.0, 2.0, np.inf], r"`rates`\[2\] must be in \(0, inf\), got .*inf"),
}


@pytest.mark.parametrize("bad", BAD_RATES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_bad_rates(rule, bad):
    """Where they are known; not where they are traced."""
    rates, message = BAD_RATES[bad]
    losses = [3.0, 2.0, 1.0]
    with jax.enable_x64(False):
        for given in (rates, np.array(rates), jnp.array(rates)):
            with pytest.raises(ValueError, match=rf"^{rule.__name__}: {message}"):
                rule(given, losses)
        with pytest.raises(ValueError, match=rf"^{rule.__name__}: {message}"):
            jax.jit(lambda losses: rule(rates, losses))(jnp.array(losses))
        jax.eval_shape(rule, np.array(rates), np.array(losses))
