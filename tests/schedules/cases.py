"""Calls of every schedule, with the reference, and the steps that may go wrong."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from optax_extras import schedules as s
from tests.schedules import exact as ref

LAST = 2**31 - 1


class Case(NamedTuple):
    id: str
    make: Callable[[], Any]  # the schedule under test
    value: Callable[[int], Any]  # the reference
    largest: float  # of the values at the steps tested
    joints: list[int]
    scale: float = 1.0  # by how much more than a plain schedule it may err


def near(joints, until=LAST):
    """Each joint and its neighbours, ends, powers of two, and some steps at random."""
    powers = [2**16, 2**24, 2**30, 10**9 + 2000]
    spots = [0, 1, 2, 3, LAST - 1, LAST, *joints, *powers]
    rng = np.random.default_rng(len(spots))
    some = [int(x) for top in (100, 10**5, LAST) for x in rng.integers(0, top, 4)]
    steps = {spot + d for spot in spots for d in (-1, 0, 1)} | set(some)
    return sorted(t for t in steps if 0 <= t <= min(until, LAST))


def plain(name, largest, joints, *, scale=1.0, **kwargs):
    """A case of a schedule that takes no other: reference and call share the words."""
    shown = ",".join(f"{k}={v}" for k, v in kwargs.items() if not callable(v))
    make = partial(getattr(s, name), **kwargs)
    value = partial(getattr(ref, name), **kwargs)
    return Case(f"{name}({shown})", make, value, largest, joints, scale)


HORIZONS = [1, 2, 3, 7, 100, 10**5, 10**9, LAST, 2**31, 2**31 + 5]
HORIZONS += [2**32 - 1, 2**32, 2**33, 10**12]


def _decays():
    for horizon in HORIZONS:
        ends = [horizon // 2, horizon]
        yield plain("linear", 0.1, ends, init_value=0.1, transition_steps=horizon)
        yield plain(
            "linear",
            3.0,
            ends,
            init_value=-0.5,
            transition_steps=horizon,
            end_value=3.0,
        )
        yield plain("cosine", 0.1, ends, init_value=0.1, decay_steps=horizon)
        yield plain(
            "cosine", 1.0, ends, init_value=1.0, decay_steps=horizon, end_value=0.01
        )
        turns = [k * horizon for k in (1, 2, 3, LAST // horizon - 1, LAST // horizon)]
        words = {"init_value": 1.0, "decay_steps": horizon, "end_value": 0.01}
        yield plain("cosine", 1.0, [horizon // 2, *turns], **words, periodic=True)
        for power in (0.5, 1.0, 3.0):
            yield plain(
                "polynomial",
                1.0,
                turns,
                scale=max(1, power),
                init_value=1.0,
                transition_steps=horizon,
                power=power,
                end_value=0.1,
                cycle=True,
            )
        yield plain("rex", 1.0, ends, init_value=1.0, decay_steps=horizon)
        yield plain(
            "rex", 0.5, ends, init_value=0.1, decay_steps=horizon, end_value=0.5
        )
        for power in (0.5, 1.0, 2.0, 9.5):
            yield plain(
                "polynomial",
                1.0,
                ends,
                scale=max(1, power),
                init_value=1.0,
                transition_steps=horizon,
                power=power,
                end_value=0.1,
            )
    yield plain("linear", 3.0, [], init_value=0.1, transition_steps=0, end_value=3.0)
    yield plain("cosine", 3.0, [], init_value=0.1, decay_steps=0, end_value=3.0)
    yield plain("exponential", 0.1, [], init_value=0.1, decay_rate=0.9)
    yield plain("exponential", 1.0, [10**6], init_value=1.0, decay_rate=1 - 1e-6)
    for steps in (10, 10**9, LAST, 2**40):
        yield plain(
            "exponential",
            0.1,
            [steps],
            init_value=0.1,
            decay_rate=0.3,
            transition_steps=steps,
        )
    for steps in (1, 30, 10**9, 2**33):
        for stairs in (False, True):
            yield plain(
                "inverse_time",
                0.1,
                [steps, 5 * steps],
                init_value=0.1,
                decay_rate=0.7,
                transition_steps=steps,
                staircase=stairs,
            )
    for timescale in (0.5, 1, 4000, 1e9, 2**40):
        yield plain("inverse_sqrt", 1e-3, [], peak_value=1e-3, timescale=timescale)


def _steps():
    yield plain("piecewise_constant", 0.1, [], values=[0.1], boundaries=[])
    for bounds in ([0, 3, 3, 10], [1, 2**24, 2**24 + 1, LAST], [5, 6, 2**31, 2**40]):
        yield plain(
            "piecewise_constant",
            5.0,
            [b for b in bounds if b <= LAST],
            values=[0.1, 5.0, -2.0, 1e-3, 0.7],
            boundaries=bounds,
        )
        for factor in (0.1, [0.5, 2.0, 0.1, 0.3]):
            yield plain(
                "multistep",
                1.0,
                [b for b in bounds if b <= LAST],
                init_value=1.0,
                milestones=bounds,
                factor=factor,
            )
    for size in (1, 30, 5 * 10**7, LAST, 2**31 + 7):
        joints = [k * size for k in (1, 2, 3, 10, 39, LAST // size)]
        yield plain("step", 0.1, joints, init_value=0.1, step_size=size, factor=0.5)
        yield plain("step", 0.1, joints, init_value=0.1, step_size=size, factor=0.97)


def _cycles():
    lengths = [(1, None), (3, 5), (2000, None), (7, 10**6), (10**9, 3), (10, 0)]
    lengths += [(2**30, 2**30), (LAST, LAST), (2**31 + 5, 7), (5, 2**33)]
    for up, down in lengths:
        period = up + (up if down is None else down)
        late = LAST // period
        joints = [k * period + x for k in (0, 1, 2, late - 1, late) for x in (0, up)]
        for more in (
            {},
            {"mode": "triangular2"},
            {"mode": "exp_range", "gamma": 0.9999},
            {"scale_fn": lambda cycle: 1 / cycle},
            {"scale_fn": lambda t: 9 / (9 + t), "scale_mode": "iterations"},
            {"peak_decay": 0.9, "floor_decay": 0.99},
        ):
            words = {"base_value": 0.1, "peak_value": 1.0, "up_steps": up}
            yield plain("cyclic", 1.0, joints, **words, down_steps=down, **more)
    yield plain("cyclic", 0.95, [7], base_value=0.95, peak_value=0.8, up_steps=7)


def restart_words():
    """(period, period_mult) of warm restarts, with steps where a cycle begins."""
    for period, mult in [
        *((T, m) for T in (1, 2, 3, 10, 1000) for m in (1, 2, 3, 1.5, 1.1, 2.7)),
        *((10**6, m) for m in (1, 2, 7, 1.01)),
        *((T, m) for T in (2**30, LAST, 2**31, 2**33) for m in (1, 2, 1.5)),
    ]:
        if mult == 1:
            late = LAST // period
            yield period, mult, [k * period for k in (1, 2, 3, late - 1, late)]
        else:
            starts = ref.cycle_starts(period, mult, LAST)
            yield period, mult, [ref.ceil(start) for start, _ in starts]


def _warm_restarts():
    for period, mult, joints in restart_words():
        words = {"peak_value": 1.0, "period": period, "period_mult": mult}
        yield plain("warm_restarts", 1.0, joints, **words, end_value=0.01)
        yield plain(
            "warm_restarts", 1.0, joints, **words, peak_decay=0.8, floor_decay=0.5
        )
        words |= {"end_value": 0.1, "swing_decay": 0.7}
        yield plain("warm_restarts", 1.0, joints, **words, cycles=3)


def _one_cycles():
    for total in (1, 2, 3, 10, 11, 1000, 10**6, LAST, 2**31 + 3, 2**34):
        for pct in (0.0, 0.25, 0.29, 0.3, 0.5, 1.0):
            for anneal in ("cos", "linear"):
                for three in (False, True) if pct <= 0.5 else (False,):
                    turn = int(pct * total)
                    joints = [turn - 1, 2 * turn - 2, total - 1, total]
                    words = {"total_steps": total, "pct_start": pct}
                    words |= {"anneal": anneal, "three_phase": three}
                    yield plain("one_cycle", 1.0, joints, peak_value=1.0, **words)


def _wsds():
    for decay in ("linear", "cosine", "1-sqrt", "exponential"):
        for steps in ((5, 10, 20), (0, 0, 7), (3, 0, 1), (0, 9, 0), (10**9,) * 3):
            a, b, c = steps
            yield plain(
                "wsd",
                1.0,
                [a, a + b, a + b + c],
                peak_value=1.0,
                warmup_steps=a,
                stable_steps=b,
                decay_steps=c,
                init_value=0.1,
                end_value=0.01,
                decay=decay,
            )
        yield plain(
            "wsd",
            1.0,
            [10**8, 2 * 10**8],
            peak_value=1.0,
            warmup_steps=2**30,
            stable_steps=2**30,
            decay_steps=2**33,
            decay=decay,
        )


def _compositions():
    ours, theirs = s.cosine(0.3, 50, 0.1), partial(ref.cosine, init_value=0.3)
    theirs = partial(theirs, decay_steps=50, end_value=0.1)
    saw = s.warm_restarts(1.0, 7, 2)
    saw_ref = partial(ref.warm_restarts, peak_value=1.0, period=7, period_mult=2)
    for steps in (0, 1, 10, 10**9, LAST, 2**32):
        yield Case(
            f"warmup({steps})",
            partial(s.warmup, steps, ours, 0.01),
            partial(ref.warmup, steps=steps, then=theirs, init_value=0.01),
            0.3,
            [steps, steps + 50],
            2,
        )
        yield Case(
            f"cooldown({steps})",
            partial(s.cooldown, saw, steps, 100, 0.05),
            partial(
                ref.cooldown, schedule=saw_ref, start=steps, steps=100, end_value=0.05
            ),
            1.0,
            [steps, steps + 100],
            2,
        )
        yield Case(
            f"repeat({steps + 1})",
            partial(s.repeat, ours, steps + 1),
            partial(ref.repeat, schedule=theirs, period=steps + 1),
            0.3,
            [steps + 1, 2 * steps + 2],
        )
    for bounds in ([0, 5], [3, 3], [10, 2**30], [LAST, LAST], [2**31, 2**35]):
        yield Case(
            f"sequence({bounds})",
            partial(s.sequence, [0.2, saw, ours], bounds),
            partial(
                ref.sequence,
                schedules=[lambda t: ref.exact(0.2), saw_ref, theirs],
                boundaries=bounds,
            ),
            1.0,
            bounds,
        )
    yield Case(
        "product",
        partial(s.product, saw, ours, 0.5),
        lambda t: ref.product(t, saw_ref, theirs, lambda t: ref.exact(0.5)),
        0.15,
        [7, 21, 49, 50],
        3,
    )
    yield Case(
        "nested warmup",
        lambda: s.warmup(2**30, s.sequence([saw, s.cooldown(ours, 9, 9)], [2**30])),
        lambda t: ref.warmup(
            t,
            2**30,
            lambda t: ref.sequence(
                t, [saw_ref, lambda t: ref.cooldown(t, theirs, 9, 9)], [2**30]
            ),
        ),
        1.0,
        [2**30, 2**31 - 5],
        3,
    )


CASES = [
    *_decays(),
    *_steps(),
    *_cycles(),
    *_warm_restarts(),
    *_one_cycles(),
    *_wsds(),
    *_compositions(),
]
GROWTH = [
    plain("exponential", 10.0, [100], init_value=1e-7, decay_rate=1e8 ** (1 / 100)),
    plain(
        "exponential",
        10.0,
        [10**6],
        init_value=1e-7,
        decay_rate=1e8,
        transition_steps=10**6,
    ),
    plain("step", 1024.0, [10, 90, 100], init_value=1.0, step_size=10, factor=2.0),
]
GROWTH_UNTIL = [100, 10**6, 100]
