"""Each average against the recursion of the library or paper that it comes from."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import optax_extras as oxe
from tests.averages.loops import (
    STEPS,
    TIMES,
    coefficients,
    follow,
    walk,
    weights_at_once,
    weights_of,
)

CLOSE = dict(rtol=0, atol=1e-12)
few = settings(max_examples=12, deadline=None)
decays = st.floats(0, 0.9999)
starts, gaps = st.integers(0, 12), st.integers(1, 5)


def snapshots(start, every, w):
    """The averaged weights, and for each update how many are taken by then."""
    taken = w[1:][start + every - 1 :: every]
    return taken, np.maximum(0, np.arange(1, STEPS + 1) - start) // every


def by_snapshots(mean, start, every, w):
    """`mean` of the first n snapshots after each update; before the first, a copy."""
    taken, counts = snapshots(start, every, w)
    return np.stack([mean(taken[:n]) if n else w[t] for t, n in enumerate(counts, 1)])


@few
@given(decays, starts, gaps)
def test_ema(b, start, every):
    def mean(taken):
        a = taken[0]
        for w in taken[1:]:
            a = b * a + (1 - b) * w
        return a

    w = walk()
    c = weights_at_once(lambda: oxe.averages.ema(b, start=start, every=every))
    np.testing.assert_allclose(
        follow(c, w)[1:], by_snapshots(mean, start, every, w), **CLOSE
    )


@few
@given(decays, starts, gaps)
def test_debiased_ema_is_the_mean_with_powers_as_weights(b, start, every):
    def mean(taken):
        return np.average(taken, 0, weights=b ** np.arange(len(taken) - 1.0, -1, -1))

    w = walk()
    c = weights_at_once(
        lambda: oxe.averages.ema(b, debias=True, start=start, every=every)
    )
    np.testing.assert_allclose(
        follow(c, w)[1:], by_snapshots(mean, start, every, w), **CLOSE
    )


@few
@given(decays)
def test_ema_with_the_initial_params(b):
    c = weights_at_once(lambda: oxe.averages.ema(b, include_init=True))
    wanted = np.r_[b**STEPS, (1 - b) * b ** np.arange(STEPS - 1.0, -1, -1)]
    np.testing.assert_allclose(coefficients(c), wanted, **CLOSE)


@few
@given(decays, starts, gaps)
def test_snapshots_after_the_initial_params(b, start, every):
    """Of the weights before the first snapshot only those of update `start` count."""

    def mean(taken):
        a = w[start]
        for x in taken:
            a = b * a + (1 - b) * x
        return a

    w = walk()
    c = weights_at_once(
        lambda: oxe.averages.ema(b, include_init=True, start=start, every=every)
    )
    taken, counts = snapshots(start, every, w)
    wanted = [mean(taken[:n]) if t > start else w[t] for t, n in enumerate(counts, 1)]
    np.testing.assert_allclose(follow(c, w)[1:], np.stack(wanted), **CLOSE)


@few
@given(starts, gaps, st.none() | st.integers(1, 7))
def test_uniform(start, every, window):
    def mean(taken):
        n = len(taken) if window is None else 1 + (len(taken) - 1) % window
        return taken[-n:].mean(0)

    w = walk()
    c = weights_at_once(lambda: oxe.averages.uniform(start, every, window))
    np.testing.assert_allclose(
        follow(c, w)[1:], by_snapshots(mean, start, every, w), **CLOSE
    )


def test_uniform_at_the_end_of_a_window_is_lawa():
    """The mean of the last 5 of the snapshots of every 4th update."""
    w = walk()
    a = follow(weights_at_once(lambda: oxe.averages.uniform(0, 4, 5)), w)
    np.testing.assert_allclose(a[20], w[4:21:4].mean(0), **CLOSE)
    np.testing.assert_allclose(a[40], w[24:41:4].mean(0), **CLOSE)


@few
@given(st.floats(0, 40), starts)
def test_power_has_the_differences_of_powers_as_weights(gamma, start):
    c = weights_at_once(lambda: oxe.averages.power(gamma, start=start))
    t = np.arange(STEPS - start + 1) / (STEPS - start)
    wanted = np.r_[np.zeros(start + 1), np.diff(t ** (gamma + 1))]
    np.testing.assert_allclose(coefficients(c), wanted, **CLOSE)


@few
@given(st.floats(0.005, 0.28867))
def test_sigma_rel_is_the_relative_standard_deviation(sigma):
    """In the continuous limit, where t/T has the density (γ + 1) x^γ on [0, 1]."""
    g = oxe.averages.power(sigma_rel=sigma).gamma
    variance = (g + 1) / (g + 3) - ((g + 1) / (g + 2)) ** 2
    assert np.sqrt(variance) == pytest.approx(sigma, rel=1e-10)


def test_sigma_rel_of_the_paper():
    """As in Karras et al., by the roots of the polynomial in their appendix."""
    for sigma, published in ((0.05, 16.97), (0.10, 6.94)):
        s = sigma**-2
        root = np.roots([1, 7, 16 - s, 12 - s]).real.max()
        gamma = oxe.averages.power(sigma_rel=sigma).gamma
        assert gamma == pytest.approx(root, rel=1e-12)
        assert gamma == pytest.approx(published, abs=5e-3)
    uniform = oxe.averages.power(sigma_rel=12**-0.5).gamma
    assert 0 <= uniform == pytest.approx(0, abs=1e-12)


@few
@given(st.floats(0.01, 1), starts)
def test_half_life_fraction(f, start):
    w = walk()
    wanted, a = [], w[0]
    for t in TIMES:
        b = 2.0 ** (-1 / (f * max(t - start, 1)))
        a = w[t] if t <= start else b * a + (1 - b) * w[t]
        wanted.append(a)
    c = weights_at_once(lambda: oxe.averages.half_life_fraction(f, start=start))
    np.testing.assert_allclose(follow(c, w)[1:], wanted, **CLOSE)


def timm_decay(step, decay, after, gamma, power, min_decay):
    """The formula of ModelEmaV3, for the update number `step`, 1 at the first."""
    k = max(0, step - after - 1)
    if k <= 0:
        return 0.0
    return max(min(1 - (1 + k / gamma) ** -power, decay), min_decay)


@few
@given(
    st.floats(0.5, 0.9999),
    starts,
    st.floats(0.2, 9),
    st.sampled_from([0.5, 2 / 3, 0.75, 1.0]),
    st.floats(0, 0.5),
)
def test_warmup_is_that_of_timm_and_ema_pytorch(decay, start, gamma, power, least):
    w, wanted, a = walk(), [], walk()[0]
    for t in TIMES:
        b = timm_decay(t, decay, start, gamma, power, least)
        a = b * a + (1 - b) * w[t]
        wanted.append(a)

    def make():
        b = oxe.averages.warmup(decay, power=power, gamma=gamma, min_decay=least)
        return oxe.averages.ema(b, start=start)

    np.testing.assert_allclose(follow(weights_at_once(make), w)[1:], wanted, **CLOSE)


def tensorflow_decay(num_updates, decay):
    return min(decay, (1 + num_updates) / (10 + num_updates))


def test_num_updates_warmup_is_that_of_kauldron():
    def make():
        b = oxe.averages.num_updates_warmup(0.5)
        return oxe.averages.ema(b, include_init=True)

    w, wanted, a = walk(), [], walk()[0]
    for t in TIMES:  # their count is incremented before it is used
        b = tensorflow_decay(t, 0.5)
        a = b * a + (1 - b) * w[t]
        wanted.append(a)
    np.testing.assert_allclose(follow(weights_at_once(make), w)[1:], wanted, **CLOSE)


def test_num_updates_warmup_of_diffusers_is_one_update_later():
    def make():
        b = oxe.averages.num_updates_warmup(0.5)
        return oxe.averages.ema(lambda k: b(k - 1))

    w, wanted, a = walk(), [], walk()[0]
    for t in TIMES:
        b = tensorflow_decay(t - 1, 0.5) if t > 1 else 0.0
        a = b * a + (1 - b) * w[t]
        wanted.append(a)
    np.testing.assert_allclose(follow(weights_of(make), w)[1:], wanted, **CLOSE)


def test_a_decay_may_be_a_function_of_the_count():
    c = weights_of(
        lambda: oxe.averages.ema(lambda k: 1 - 1 / (k + 2.0), include_init=True)
    )
    np.testing.assert_allclose(c, 1 / (TIMES + 1.0), **CLOSE)


def test_a_schedule_may_be_a_decay():
    schedule = oxe.schedules.linear(0.5, 10, 0.9)
    c = weights_of(lambda: oxe.averages.ema(schedule), TIMES[:12])
    wanted = 1 - np.interp(np.arange(12), [0, 10], [0.5, 0.9])
    np.testing.assert_allclose(c, np.r_[1, wanted[1:]], **CLOSE)


def test_the_count_may_be_a_python_integer():
    assert float(oxe.averages.uniform().weight(4)) == 0.25
    assert float(oxe.averages.uniform().weight(jnp.int32(4))) == 0.25
