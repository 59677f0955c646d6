"""Calls of every schedule that know their hyperparameters, for the contract.

A `Call` is built as ours, or evaluated in exact arithmetic; each number in it, also in
the parts of a composition, can be found and replaced. `cases.py` has the long list of
values; here are few calls with every hyperparameter given: a real one as a float, a
number of steps as an int.
"""

import functools
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

import optax_extras as oxe
from tests.schedules import exact

LAST = 2**31 - 1
STEPS = 64  # tested per call; always as many, so that XLA compiles each op once
PARTS = ("then", "schedule", "schedules")


@dataclass(frozen=True, eq=False)
class Call:
    rule: str
    arguments: Mapping[str, Any]
    joints: tuple[int, ...] = ()
    id: str = ""

    def build(self):
        made = {name: _built(x) for name, x in self.arguments.items()}
        starred = made.pop("schedules") if self.rule == "product" else []
        return getattr(oxe.schedules, self.rule)(*starred, **made)

    def __call__(self, t):
        """The exact value at a step."""
        given = {k: _part(x) if k in PARTS else x for k, x in self.arguments.items()}
        starred = given.pop("schedules") if self.rule == "product" else []
        reference = getattr(exact, self.rule)
        return reference(min(max(int(t), 0), LAST), *starred, **given)

    @functools.cached_property
    def steps(self):
        """0, the joints and the last step with their neighbours, and random ones."""
        rng = random.Random(self.id)
        near = [0, 1, *self.joints, 2**24, 10**9, LAST]
        kept = sorted({min(max(t + d, 0), LAST) for t in near for d in (-1, 0, 1)})
        while len(kept) < STEPS:
            top = rng.choice([max(near[2:-3], default=1), 2 ** rng.randrange(1, 32)])
            kept.append(min(rng.randrange(top + 1), LAST))
        return np.array(kept[:STEPS], np.int32)

    @functools.cached_property
    def values(self):
        return [self(t) for t in self.steps]

    @functools.cached_property
    def largest(self):
        return max(map(abs, self.values))

    def allowance(self, ulps, dtype=np.float32):
        """Some ulps of the largest value; a composition adds its parts' errors."""
        own = ulps * Decimal(float(np.spacing(dtype(float(self.largest)))))
        own *= max(1, Decimal(self.arguments.get("power", 1)))
        inner = [x for name in PARTS for x in _list(self.arguments.get(name))]
        parts = [x.allowance(ulps, dtype) for x in inner if isinstance(x, Call)]
        return own + sum(parts)

    def leaves(self, kind):
        """{path: value} of the hyperparameters of a kind, parts included."""
        return {p: x for p, x in _leaves(self) if type(x) is kind}

    def replace(self, values):
        made = self
        for path, value in values.items():
            made = _replaced(made, path, value)
        return made


def _list(x):
    return x if isinstance(x, list) else [x]


def _built(x):
    if isinstance(x, Call):
        return x.build()
    return [_built(y) for y in x] if isinstance(x, list) else x


def _part(x):
    if isinstance(x, list):
        return [_part(y) for y in x]
    return x if isinstance(x, Call) else lambda t: exact.exact(x)


def _leaves(x, path=()):
    if isinstance(x, Call | list):
        inner = x.arguments.items() if isinstance(x, Call) else enumerate(x)
        return [leaf for key, y in inner for leaf in _leaves(y, (*path, key))]
    return [(path, x)]


def _replaced(x, path, value):
    if not path:
        return value
    head, *rest = path
    if isinstance(x, Call):
        changed = {**x.arguments, head: _replaced(x.arguments[head], rest, value)}
        return Call(x.rule, changed, x.joints, x.id)
    return [_replaced(y, rest, value) if i == head else y for i, y in enumerate(x)]


def call(rule, joints=(), label="", /, **arguments):
    return Call(rule, arguments, tuple(joints), f"{rule}{label and '-'}{label}")


def _restarts(period, mult, until):
    starts = exact.cycle_starts(period, mult, until)
    return [math.ceil(Fraction(start)) for start, _ in starts[:6] + starts[-3:]]


def _plain():
    yield call("piecewise_constant", (4, 9), values=[0.3, 0.02, 0.5], boundaries=[4, 9])
    yield call("step", (30, 60), init_value=0.3, step_size=30, factor=0.5)
    yield call("multistep", (3, 8), init_value=0.3, milestones=[3, 8, 8], factor=0.5)
    yield call(
        "multistep",
        (0, 8),
        "factors",
        init_value=0.3,
        milestones=[0, 8],
        factor=[0.5, 3.0],
    )
    for name, rate in [("fast", 0.9), ("slow", 0.999999)]:
        given = {"init_value": 0.3, "decay_rate": rate, "transition_steps": 3}
        yield call("exponential", (3,), name, **given)
    for staircase in (False, True):
        given = {"init_value": 0.3, "decay_rate": 0.7, "transition_steps": 10}
        label = "staircase" if staircase else ""
        yield call("inverse_time", (10, 20), label, **given, staircase=staircase)
    yield call("inverse_sqrt", (), peak_value=0.3, timescale=40.0)
    for power in (0.5, 3.0):
        given = {
            "init_value": 0.3,
            "transition_steps": 50,
            "power": power,
            "end_value": 0.01,
        }
        yield call("polynomial", (50,), f"{power}", **given)
    saw = {"init_value": 0.3, "transition_steps": 20, "power": 2.0, "end_value": 0.01}
    late = LAST // 20 * 20
    yield call("polynomial", (20, 40, late), "cycle", **saw, cycle=True)
    yield call("linear", (50,), init_value=0.3, transition_steps=50, end_value=0.01)
    wave = {"init_value": 0.3, "decay_steps": 50, "end_value": 0.01}
    yield call("cosine", (50,), **wave)
    turns = (50, 100, LAST // 100 * 100)
    yield call("cosine", turns, "periodic", **wave, periodic=True)
    yield call("rex", (50,), init_value=0.3, decay_steps=50, end_value=0.01)


def _cyclic():
    joints = [k * 10 + d for k in (1, 2, LAST // 10) for d in (0, 6)]
    bounds = {"base_value": 0.02, "peak_value": 0.3, "up_steps": 6, "down_steps": 4}
    for mode in ("triangular", "triangular2"):
        yield call("cyclic", joints, mode, **bounds, mode=mode)
    yield call("cyclic", joints, "exp_range", **bounds, mode="exp_range", gamma=0.99)
    yield call("cyclic", joints, "function", **bounds, scale_fn=lambda c: 1 / c)
    steps = {"scale_fn": lambda t: 50 / (50 + t), "scale_mode": "iterations"}
    yield call("cyclic", joints, "function of t", **bounds, **steps)
    yield call("cyclic", joints, "decay", **bounds, peak_decay=0.9, floor_decay=0.5)


def _warm_restarts():
    values = {"peak_value": 0.3, "end_value": 0.02}
    decays = {"peak_decay": 0.9, "floor_decay": 0.5}
    for label, mult in [("same", 1), ("doubling", 2), ("real", 1.5)]:
        given = dict(**values, period=10, **decays)
        # A real multiple is concrete, so it is no leaf: NumPy's float is not a float.
        mult = np.float64(mult) if isinstance(mult, float) else mult
        joints = _restarts(10, mult, LAST) if mult > 1 else [10, 20, LAST // 10 * 10]
        yield call("warm_restarts", joints, label, **given, period_mult=mult)
    given = dict(**values, period=10, period_mult=2, swing_decay=0.8)
    yield call("warm_restarts", _restarts(10, 2, LAST), "swing", **given)
    given = dict(**values, period=10, period_mult=2, cycles=3)
    yield call("warm_restarts", (10, 30, 70), "limited", **given)


def _one_cycle():
    divisors = {"div_factor": 20.0, "final_div_factor": 100.0}
    for anneal in ("cos", "linear"):
        for three_phase in (False, True):
            label = f"{anneal}-{'three' if three_phase else 'two'}"
            given = dict(peak_value=0.3, total_steps=50, pct_start=0.263, **divisors)
            flags = {"anneal": anneal, "three_phase": three_phase}
            yield call("one_cycle", (13, 25, 49), label, **given, **flags)


def _wsd():
    for decay in ("linear", "cosine", "1-sqrt", "exponential"):
        given = {
            "peak_value": 0.3,
            "warmup_steps": 5,
            "stable_steps": 9,
            "decay_steps": 20,
        }
        ends = {"init_value": 0.1, "end_value": 0.02}
        yield call("wsd", (5, 14, 34), decay, **given, **ends, decay=decay)


def _compositions():
    cosine = call("cosine", init_value=0.3, decay_steps=20, end_value=0.05)
    power = call("polynomial", init_value=0.4, transition_steps=9, power=0.5)
    saw = call("warm_restarts", peak_value=0.2, period=7, period_mult=2)
    yield call("warmup", (10, 30), steps=10, then=cosine, init_value=0.01)
    yield call("warmup", (10,), "number", steps=10, then=0.5, init_value=0.01)
    for label, part, joints in [("", cosine, (12,)), ("restarts", saw, (7, 12))]:
        given = {"schedule": part, "start": 12, "steps": 8, "end_value": 0.01}
        yield call("cooldown", (*joints, 20), label, **given)
    parts = [power, saw, 0.7]
    yield call("sequence", (9, 16, 30, 33), schedules=parts, boundaries=[9, 33])
    yield call("product", (7, 20, 21), schedules=[saw, cosine, 0.5])
    yield call("repeat", (15, 20, LAST // 15 * 15), schedule=cosine, period=15)


CALLS = [
    *_plain(),
    *_cyclic(),
    *_warm_restarts(),
    *_one_cycle(),
    *_wsd(),
    *_compositions(),
]
