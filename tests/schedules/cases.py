"""Calls whose values are difficult: extreme horizons, lengths and turning points."""

import math

from tests.schedules import exact
from tests.schedules.calls import LAST, call

HORIZONS = [1, 2, 3, 100, 10**5, 10**9, LAST, 2**31, 2**31 + 5, 2**32, 10**12]


def _decays():
    for n in HORIZONS:
        ends = [n // 2, n]
        turns = [k * n for k in (1, 2, 3, LAST // n - 1, LAST // n)]
        yield call("linear", ends, init_value=0.1, transition_steps=n)
        rise = {"init_value": -0.5, "end_value": 3.0}
        yield call("linear", ends, **rise, transition_steps=n)
        fall = {"init_value": 1.0, "end_value": 0.01}
        yield call("cosine", ends, **fall, decay_steps=n)
        yield call("cosine", [n // 2, *turns], **fall, decay_steps=n, periodic=True)
        yield call("rex", ends, init_value=1.0, decay_steps=n)
        yield call("rex", ends, init_value=0.1, decay_steps=n, end_value=0.5)
        for power in (0.5, 1.0, 2.0, 9.5):
            given = {**fall, "transition_steps": n, "power": power}
            yield call("polynomial", ends, **given)
            if power < 9:
                yield call("polynomial", turns, **given, cycle=True)
    yield call("linear", init_value=0.1, transition_steps=0, end_value=3.0)
    yield call("cosine", init_value=0.1, decay_steps=0, end_value=3.0)


def _rates():
    yield call("exponential", init_value=0.1, decay_rate=0.9)
    yield call("exponential", [10**6], init_value=1.0, decay_rate=1 - 1e-6)
    for n in (10, 10**9, LAST, 2**40):
        given = {"init_value": 0.1, "decay_rate": 0.3, "transition_steps": n}
        yield call("exponential", [n], **given)
    for n in (1, 30, 10**9, 2**33):
        for staircase in (False, True):
            given = {"init_value": 0.1, "decay_rate": 0.7, "transition_steps": n}
            yield call("inverse_time", [n, 5 * n], **given, staircase=staircase)
    for timescale in (0.5, 1, 4000, 1e9, 2**40):
        yield call("inverse_sqrt", peak_value=1e-3, timescale=timescale)


def _steps():
    yield call("piecewise_constant", values=[0.1], boundaries=[])
    for bounds in ([0, 3, 3, 10], [1, 2**24, 2**24 + 1, LAST], [5, 6, 2**31, 2**40]):
        values = [0.1, 5.0, -2.0, 1e-3, 0.7]
        yield call("piecewise_constant", bounds, values=values, boundaries=bounds)
        for factor in (0.1, [0.5, 2.0, 0.1, 0.3]):
            given = {"init_value": 1.0, "milestones": bounds, "factor": factor}
            yield call("multistep", bounds, **given)
    for n in (1, 30, 5 * 10**7, LAST, 2**31 + 7):
        joints = [k * n for k in (1, 2, 3, 10, 39, LAST // n)]
        for factor in (0.5, 0.97):
            yield call("step", joints, init_value=0.1, step_size=n, factor=factor)


def _cyclic():
    lengths = [(1, 1), (3, 5), (2000, 2000), (7, 10**6), (10**9, 3), (10, 0)]
    lengths += [(2**30, 2**30), (LAST, LAST), (2**31 + 5, 7), (5, 2**33)]
    for up, down in lengths:
        period = up + down
        late = LAST // period
        joints = [k * period + x for k in (0, 1, 2, late - 1, late) for x in (0, up)]
        for scale in (
            {},
            {"mode": "triangular2"},
            {"mode": "exp_range", "gamma": 0.9999},
            {"scale_fn": lambda cycle: 1 / cycle},
            {"scale_fn": lambda t: 9 / (9 + t), "scale_mode": "iterations"},
            {"peak_decay": 0.9, "floor_decay": 0.99},
        ):
            given = {"base_value": 0.1, "peak_value": 1.0, "up_steps": up}
            given |= scale if up == down else {**scale, "down_steps": down}
            yield call("cyclic", joints, **given)
    yield call("cyclic", [7], base_value=0.95, peak_value=0.8, up_steps=7)


# (period, period_mult) of warm restarts. With a fractional multiple some cycles begin
# between two steps. XLA compiles once for each number of cycles.
RESTARTS = [(n, 1) for n in (1, 2, 3, 10, 1000, 10**6, 2**30, LAST, 2**31, 2**33)]
RESTARTS += [(1, 2), (10, 2), (2**30, 2), (LAST, 2), (2**31, 2), (2**33, 3)]
RESTARTS += [(1, 1.1), (10, 1.5), (LAST, 1.5), (2**31, 1.5)]
MORE_RESTARTS = [
    *((n, mult) for n in (1, 2, 3, 10, 1000) for mult in (2, 3, 1.5, 1.1, 2.7)),
    *((10**6, mult) for mult in (2, 7, 1.01)),
    *((n, mult) for n in (2**30, 2**33) for mult in (2, 1.5)),
]


def starts(period, period_mult):
    """The first step of every cycle, or of a few if all have the same length."""
    if period_mult == 1:
        late = LAST // period
        return [k * period for k in (1, 2, 3, late - 1, late)]
    return [math.ceil(start) for start, _ in exact.all_cycles(period, period_mult)]


def _warm_restarts(pairs):
    for period, mult in pairs:
        joints = starts(period, mult)
        given = {"peak_value": 1.0, "period": period, "period_mult": mult}
        yield call("warm_restarts", joints, **given, end_value=0.01)
        yield call("warm_restarts", joints, **given, peak_decay=0.8, floor_decay=0.5)
        given |= {"end_value": 0.1, "swing_decay": 0.7}
        yield call("warm_restarts", joints, **given, cycles=3)


def _one_cycle(totals, fractions):
    for total in totals:
        for pct in fractions:
            for anneal in ("cos", "linear"):
                for three_phase in (False, True) if pct <= 0.5 else (False,):
                    turn = int(pct * total)
                    joints = [max(turn - 1, 0), max(2 * turn - 2, 0), total - 1, total]
                    given = {"total_steps": total, "pct_start": pct, "anneal": anneal}
                    given |= {"peak_value": 1.0, "three_phase": three_phase}
                    yield call("one_cycle", joints, **given)


def _wsd():
    lengths = [(5, 10, 20), (0, 0, 7), (3, 0, 1), (0, 9, 0), (10**9,) * 3]
    for decay in ("linear", "cosine", "1-sqrt", "exponential"):
        for a, b, c in [*lengths, (2**30, 2**30, 2**33)]:
            given = {"warmup_steps": a, "stable_steps": b, "decay_steps": c}
            given |= {"peak_value": 1.0, "init_value": 0.1, "end_value": 0.01}
            yield call("wsd", [a, a + b, a + b + c], **given, decay=decay)


def _compositions():
    cosine = call("cosine", init_value=0.3, decay_steps=50, end_value=0.1)
    saw = call("warm_restarts", peak_value=1.0, period=9, period_mult=2)
    for n in (0, 1, 10, 10**9, LAST, 2**32):
        yield call("warmup", [n, n + 50], steps=n, then=cosine, init_value=0.01)
        ends = {"start": n, "steps": 100, "end_value": 0.05}
        yield call("cooldown", [n, n + 100], schedule=saw, **ends)
        yield call("repeat", [n + 1, 2 * n + 2], schedule=cosine, period=n + 1)
    for bounds in ([0, 5], [3, 3], [10, 2**30], [LAST, LAST], [2**31, 2**35]):
        given = {"schedules": [0.2, saw, cosine], "boundaries": bounds}
        yield call("sequence", bounds, **given)
    yield call("product", [9, 27, 49, 50], schedules=[saw, cosine, 0.5])
    fall = call("cooldown", schedule=cosine, start=9, steps=9)
    late = call("sequence", schedules=[saw, fall], boundaries=[2**30])
    yield call("warmup", [2**30, LAST - 4], steps=2**30, then=late)


CASES = [
    *_decays(),
    *_rates(),
    *_steps(),
    *_cyclic(),
    *_warm_restarts(RESTARTS),
    *_one_cycle((1, 2, 11, 1000, LAST, 2**31 + 3, 2**34), (0.0, 0.29, 0.5, 1.0)),
    *_wsd(),
    *_compositions(),
]
MORE_CASES = [  # for the full run
    *_warm_restarts(MORE_RESTARTS),
    *_one_cycle((3, 10, 10**6), (0.0, 0.25, 0.3, 0.5, 1.0)),
]
_quick = {"init_value": 1e-7, "decay_rate": 1e8 ** (1 / 100)}
_slow = {"init_value": 1e-7, "decay_rate": 1e8, "transition_steps": 10**6}
GROWING = [  # only up to `until`: later values overflow float32
    call("exponential", [100], **_quick, until=100),
    call("exponential", [10**6], **_slow, until=10**6),
    call("step", [10, 90], init_value=1.0, step_size=10, factor=2.0, until=100),
]
