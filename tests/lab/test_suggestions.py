"""The four rules against plain Python, for many curves in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_extras import lab
from tests.lab import fastai

RULES = {name: getattr(lab, f"suggest_{name}") for name in fastai.RULES}
N = 104
RATES = np.geomspace(1e-7, 10, N)
X = np.linspace(0, 1, 100)
DRAW = np.random.default_rng(0)
NOISE = DRAW.normal(size=(5, 100))

# Loss curves of the usual shapes.
CURVES = {
    "plateau, descent, explosion": 2.3
    - 1.8 / (1 + np.exp(-25 * (X - 0.6)))
    + np.exp(40 * (X - 0.97)),
    "noisy": 2.3 - 1.5 / (1 + np.exp(-20 * (X - 0.5))) + 0.1 * NOISE[0],
    "noisy and smoothed": fastai.smooth(
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
# With ties, of every length.
CURVES |= {
    f"integers, {n}": DRAW.integers(-20, 20, n).astype(float) for n in range(1, 61)
}
TAILS = {"NaN": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@jax.jit
def all_rules(rates, losses):
    return {name: rule(rates, losses) for name, rule in RULES.items()}


def test_many_curves():
    """A curve ends before its first loss that is not finite."""
    rows = {}
    for curve, losses in CURVES.items():
        for tail, bad in TAILS.items():
            full = [*losses, bad, -100.0, 0.5, *[bad] * N]
            rows[f"{curve}, then {tail}"] = losses, np.array(full[:N])
    rows["whole"] = np.r_[CURVES["noisy"], NOISE[0, :4]], None
    rows["empty"] = np.array([]), np.full(N, np.nan)
    table = np.stack([x if full is None else full for x, full in rows.values()])
    found = jax.vmap(all_rules, (None, 0))(RATES, table)
    for i, (row, (losses, _)) in enumerate(rows.items()):
        for name, plain in fastai.RULES.items():
            expected = plain(RATES[: len(losses)], losses) if len(losses) else np.nan
            right = dict(rtol=1e-12, err_msg=f"{name}: {row}")
            np.testing.assert_allclose(found[name][i], expected, **right)


def test_small_arrays():
    """Curves with no loss after their end; the rules need different numbers of them."""
    for n in (1, 15, 16):
        rates, losses = RATES[:n], CURVES["sixteen"][:n]
        for name, found in all_rules(rates, losses).items():
            expected = fastai.RULES[name](rates, losses)
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)


def test_by_hand():
    """Worked out from the definitions."""
    losses = [7.0, 6.5, 6.0, 3.0, 2.0, 1.0, 9.0]
    found = all_rules(2.0 ** np.arange(16), np.array(losses + [np.nan] * 9))
    # A descent of 6 that ends at index 5: index -1 + 2 + 1.
    assert found["valley"] == 4
    assert found["steep"] == 4
    assert found["minimum"] == pytest.approx(3.2)
    assert np.isnan(found["slide"])


def test_dtype():
    with jax.enable_x64(False):
        for name, rule in RULES.items():
            assert jax.eval_shape(rule, RATES, CURVES["one"][[0] * N]).dtype == (
                "float32"
            ), name


def test_bad_shapes():
    for name, rule in RULES.items():
        with pytest.raises(
            ValueError, match=rf"^suggest_{name}: `losses` must be of th"
        ):
            rule(RATES, RATES[:3])
        with pytest.raises(
            ValueError, match=rf"^suggest_{name}: `rates` must be of sh"
        ):
            rule(1.0, 1.0)
        with pytest.raises(TypeError, match=rf"^suggest_{name}: `losses` must hold r"):
            rule(RATES[:2], ["a", "b"])
    with pytest.raises(
        ValueError, match=r"^suggest_valley: `rates` must be of shape \("
    ):
        lab.suggest_valley([], [])


def test_kinds_of_numbers():
    """Integers beyond 32 bits, and lists of traced numbers."""
    large = np.arange(2**40, 2**40 - 16 * 2**35, -(2**35))
    rates = np.arange(1, large.size + 1)
    with jax.enable_x64(False):
        for losses in (large, large.tolist(), large * 1.0):
            assert lab.suggest_minimum(rates, losses) == pytest.approx(1.6)
        suggested = jax.jit(lambda *losses: lab.suggest_minimum(rates, losses))
        traced = suggested(*(large * 1.0))
        assert traced == pytest.approx(1.6)
    for losses in ([[1.0], [1.0, 2.0]], [None] * rates.size):
        with pytest.raises(TypeError, match=r"^suggest_minimum: `losses` must hold re"):
            lab.suggest_minimum(rates, losses)


BAD_RATES = {
    "unsorted": ([1.0, 3.0, 2.0], r"`rates` must be rising, got .*\[1., 3., 2.\]"),
    "twice": ([1.0, 2.0, 2.0], r"`rates` must be rising"),
    "alike in float32": ([1.0, 1 + 1e-12, 2.0], r"`rates` must be rising"),
    "zero": ([0, 1, 2], r"`rates`\[0\] must be in \(0, inf\), got .*0"),
    "NaN": ([1.0, np.nan, 2.0], r"`rates`\[1\] must be in \(0, inf\), got .*nan"),
    "inf": ([1.0, 2.0, np.inf], r"`rates`\[2\] must be in \(0, inf\), got .*inf"),
}


def test_bad_rates():
    """Refused if concrete; not if traced."""
    losses = [3.0, 2.0, 1.0]
    with jax.enable_x64(False):
        for name, rule in RULES.items():
            for rates, message in BAD_RATES.values():
                with pytest.raises(ValueError, match=rf"^suggest_{name}: {message}"):
                    rule(rates, losses)
        rates, message = BAD_RATES["unsorted"]
        with pytest.raises(ValueError, match=message):
            lab.suggest_minimum(jnp.array(rates), losses)
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(lambda x: lab.suggest_minimum(rates, x), np.array(losses))
        jax.eval_shape(lab.suggest_minimum, np.array(rates), np.array(losses))
