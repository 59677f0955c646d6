"""Values at every kind of step, against 50-digit arithmetic."""

import jax
import numpy as np
import pytest

from optax_extras import schedules as s
from tests.schedules import exact
from tests.schedules.calls import LAST, SIZE, call, evaluate
from tests.schedules.cases import (
    CASES,
    GROWING,
    MORE_CASES,
    MORE_RESTARTS,
    RESTARTS,
    starts,
)


def of(rule, cases):
    return [case for case in cases if case.name == rule]


RULES = [
    *((rule, of(rule, CASES)) for rule in s.__all__),
    *(
        pytest.param(rule, of(rule, MORE_CASES), marks=pytest.mark.full)
        for rule in ("warm_restarts", "one_cycle")
    ),
]
each_rule = pytest.mark.parametrize(("rule", "cases"), RULES, ids=lambda x: str(x)[:20])


@each_rule
def test_float32(rule, cases):
    assert cases, f"{rule} has no cases"
    for case in cases:
        case.check(evaluate(case.build(), case.steps))


@each_rule
def test_float64(rule, cases):
    with jax.enable_x64(True):
        for case in cases:
            found = evaluate(case.build(), case.steps)
            case.check(found, ulps=16, dtype=np.float64)


def test_growth_keeps_its_digits():
    for case in GROWING:
        case.check(evaluate(case.build(), case.steps))
        with jax.enable_x64(True):
            found = evaluate(case.build(), case.steps)
            case.check(found, ulps=64, dtype=np.float64)


def restart_steps(period, mult):
    """Steps around the beginnings of cycles."""
    return call("warm_restarts", starts(period, mult), period=period).steps


@pytest.mark.parametrize(
    "pairs", [RESTARTS, pytest.param(MORE_RESTARTS, marks=pytest.mark.full)], ids=len
)
def test_restarts_are_where_cycles_begin(pairs):
    for period, mult in pairs:
        steps = restart_steps(period, mult)
        for cycles in (None, 3):
            schedule = s.warm_restarts(1.0, period, mult, cycles=cycles)
            found = evaluate(schedule.restarts, steps)
            assert found.dtype == bool
            expected = [exact.restarts(t, period, mult, cycles) for t in steps.tolist()]
            assert found.tolist() == expected, (period, mult, cycles)


@pytest.mark.parametrize("mult", [2, 3.0, 2**40])
def test_traced_period_with_a_known_multiple(mult):

    @jax.jit
    def both(n, t):
        schedule = s.warm_restarts(1.0, n, mult)
        return schedule(t), schedule.restarts(t)

    for period in (1, 7, 1000):
        case = call("warm_restarts", peak_value=1.0, period=period, period_mult=mult)
        steps = restart_steps(period, mult)
        case.check(evaluate(lambda t, n=period: both(n, t)[0], steps), steps)
        restarts = evaluate(lambda t, n=period: both(n, t)[1], steps)
        expected = [exact.restarts(t, period, mult) for t in steps.tolist()]
        assert restarts.tolist() == expected, period


def check_momenta(totals, fractions):
    for total in totals:
        for pct in fractions:
            for three_phase in (False, True):
                words = {"pct_start": pct, "three_phase": three_phase}
                momentum = s.one_cycle(1.0, total, **words).momentum
                turn = int(pct * total)
                joints = [max(turn - 1, 0), max(2 * turn - 2, 0), total - 1]
                steps = call("one_cycle", joints, total=total, **words).steps
                expected = [
                    float(exact.one_cycle_momentum(t, total, **words))
                    for t in steps.tolist()
                ]
                np.testing.assert_allclose(
                    evaluate(momentum, steps),
                    expected,
                    rtol=0,
                    atol=8 * np.spacing(np.float32(0.95)),
                    err_msg=f"{total} {words}",
                )


def test_momentum_of_one_cycle():
    check_momenta((1, 2, 1000, 2**31 + 3), (0.0, 0.29, 0.5))


def test_restarts_of_compositions():
    saw = s.warm_restarts(1.0, 10)

    def restarts(schedule):
        return np.flatnonzero(schedule.restarts(np.arange(SIZE))).tolist()

    assert restarts(saw) == [10, 20, 30, 40, 50, 60]
    assert restarts(s.warmup(5, saw)) == [15, 25, 35, 45, 55]
    assert restarts(s.cooldown(saw, 25, 10)) == [10, 20]
    assert restarts(s.sequence([saw, 0.1, saw], [15, 30])) == [10, 40, 50, 60]
    product = s.product(saw, s.repeat(0.5, 25), s.linear(1.0, 5))
    assert restarts(product) == [10, 20, 25, 30, 40, 50, 60]
    assert restarts(s.repeat(saw, 25)) == [10, 20, 25, 35, 45, 50, 60]
    assert restarts(s.repeat(1.0, 1)) == list(range(1, SIZE))
    # A cycle that begins at the last step of a phase restarts once, not at later steps.
    assert restarts(s.sequence([s.warm_restarts(1.0, 5), 0.1], [6])) == [5]
    assert not hasattr(s.warmup(5, s.linear(1.0, 10)), "restarts")
    assert not hasattr(s.cosine(1.0, 10), "restarts")


def test_counts_end_where_those_of_optax_do():
    assert np.iinfo(np.int32).max == LAST
    assert s.linear(1.0, 2**33)(LAST) == s.linear(1.0, 2**33)(2**40)
