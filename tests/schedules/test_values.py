"""The value at every kind of step, against 50-digit arithmetic."""

from fractions import Fraction

import jax
import numpy as np
import pytest

import optax_extras as oxe
from optax_extras import schedules
from tests.schedules import exact as ref
from tests.schedules.cases import CASES, GROWTH, GROWTH_UNTIL, LAST, near, restart_words


def at(curve, steps):
    """The values at the steps, through arrays of one size, so that little compiles."""
    size = 128
    padded = np.resize(np.array(steps), -(-len(steps) // size) * size)
    values = [np.asarray(curve(part)) for part in padded.reshape(-1, size)]
    return np.concatenate(values)[: len(steps)]


def errors(case, steps):
    """Deviations from the reference, as exact numbers."""
    found = at(case.make(), steps).astype(np.float64)
    pairs = zip(found, steps, strict=True)
    return [abs(Fraction(float(v)) - Fraction(case.value(t))) for v, t in pairs]


def check(case, steps, dtype, ulps):
    bound = Fraction(float(np.spacing(dtype(case.largest)))) * ulps
    for t, error in zip(steps, errors(case, steps), strict=True):
        assert error <= bound * Fraction(case.scale), (t, float(error / bound))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_float32(case):
    check(case, near(case.joints), np.float32, 8)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_float64(case):
    with jax.enable_x64(True):
        assert case.make()(0).dtype == np.float64
        check(case, near(case.joints), np.float64, 16)


@pytest.mark.parametrize(
    ("case", "until"),
    list(zip(GROWTH, GROWTH_UNTIL, strict=True)),
    ids=lambda x: getattr(x, "id", str(x)),
)
def test_growth_keeps_its_digits(case, until):
    check(case, near(case.joints, until), np.float32, 8)
    with jax.enable_x64(True):
        check(case, near(case.joints, until), np.float64, 64)


@pytest.mark.parametrize(
    "curve",
    [
        schedules.linear(0.1, 10, 3.0),
        schedules.cosine(0.1, 10, 3.0),
        schedules.rex(0.1, 10, 3.0),
        schedules.polynomial(0.1, 10, end_value=3.0, power=2.0),
    ],
    ids=lambda curve: curve.__name__,
)
def test_both_ends_to_the_last_bit(curve):
    """Though 3 + (0.1 - 3) is another number."""
    low, high = np.float32(0.1), np.float32(3.0)
    assert high + (low - high) != low
    assert curve(0) == low
    assert curve(10) == curve(LAST) == high


def test_every_schedule_has_cases():
    named = {case.id.split("(")[0].split()[-1] for case in CASES}
    assert set(schedules.__all__) <= named


@pytest.mark.parametrize("words", list(restart_words()), ids=lambda w: str(w[:2]))
def test_restarts_are_where_cycles_begin(words):
    period, mult, joints = words
    steps = near(joints)
    for cycles in (None, 3):
        schedule = schedules.warm_restarts(1.0, period, mult, cycles=cycles)
        found = at(schedule.restarts, steps)
        assert found.dtype == bool
        wanted = [ref.restarts(t, period, mult, cycles) for t in steps]
        assert found.tolist() == wanted


@pytest.mark.parametrize("mult", [1.1, 1.5, 2.5, 3])
@pytest.mark.parametrize("period", [1, 7, 1000])
def test_a_traced_period(period, mult):
    """Here the cycles are found by arithmetic on long integers, at run time."""
    joints = [start for start, _ in ref.all_cycles(period, mult)]
    steps = near([int(joint) for joint in joints])

    @jax.jit
    def both(n, t):
        schedule = schedules.warm_restarts(1.0, n, mult)
        return schedule(t), schedule.restarts(t)

    wanted = [float(ref.warm_restarts(t, 1.0, period, mult)) for t in steps]
    np.testing.assert_allclose(
        at(lambda t: both(period, t)[0], steps),
        wanted,
        rtol=0,
        atol=8 * np.spacing(np.float32(1)),
    )
    begins = [ref.restarts(t, period, mult) for t in steps]
    assert at(lambda t: both(period, t)[1], steps).tolist() == begins


@pytest.mark.parametrize("total", [1, 2, 10, 1000, 2**31 + 3])
@pytest.mark.parametrize("pct", [0.0, 0.25, 0.29, 0.5])
@pytest.mark.parametrize("three_phase", [False, True])
def test_momentum_of_one_cycle(total, pct, three_phase):
    words = {"pct_start": pct, "three_phase": three_phase}
    momentum = schedules.one_cycle(1.0, total, **words).momentum
    steps = near([int(pct * total) - 1, 2 * int(pct * total) - 2, total - 1])
    found = at(momentum, steps).astype(np.float64)
    wanted = [float(ref.one_cycle_momentum(t, total, **words)) for t in steps]
    np.testing.assert_allclose(
        found, wanted, rtol=0, atol=8 * np.spacing(np.float32(1))
    )


def test_restarts_go_along():
    s = schedules
    saw = s.warm_restarts(1.0, 10)
    steps = np.arange(60)

    def where(schedule):
        return np.flatnonzero(at(schedule.restarts, steps)).tolist()

    assert where(saw) == [10, 20, 30, 40, 50]
    assert where(s.warmup(5, saw)) == [15, 25, 35, 45, 55]
    assert where(s.cooldown(saw, 25, 10)) == [10, 20]
    assert where(s.sequence([saw, 0.1, saw], [15, 30])) == [10, 40, 50]
    assert where(s.product(saw, s.repeat(0.5, 25), s.linear(1.0, 5))) == sorted(
        {10, 20, 30, 40, 50, 25}
    )
    assert where(s.repeat(saw, 25)) == [10, 20, 25, 35, 45, 50]
    assert not hasattr(s.warmup(5, s.linear(1.0, 10)), "restarts")
    assert not hasattr(s.cosine(1.0, 10), "restarts")


def test_the_last_count_is_where_optax_stops():
    assert np.iinfo(np.int32).max == LAST
    assert oxe.schedules.linear(1.0, 2**33)(LAST) == oxe.schedules.linear(1.0, 2**33)(
        2**40
    )
