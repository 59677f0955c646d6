"""Calls of schedules: to build the schedule, or to evaluate it in exact arithmetic.

Every hyperparameter of a `Call`, and of the parts of a composition, can be found and
replaced. `CALLS` sets every hyperparameter of each schedule, a real number as a float
and a number of steps as an int. The contract tests use them.
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
SIZE = 64  # of all arrays of counts in this folder, so that XLA compiles once
PARTS = ("then", "schedule", "schedules")


def evaluate(schedule, steps):
    """The values at a multiple of SIZE steps."""
    rows = np.reshape(steps, (-1, SIZE))
    return np.concatenate([np.asarray(schedule(row)) for row in rows])


@dataclass(frozen=True, eq=False, repr=False)
class Call:
    name: str
    arguments: Mapping[str, Any]
    joints: tuple[int, ...] = ()
    until: int = LAST

    def __repr__(self):
        shown = [
            f"{name}={x}"
            for name, x in self.arguments.items()
            if isinstance(x, Call) or not callable(x)
        ]
        return f"{self.name}({', '.join(shown)})"

    def build(self):
        made = {name: _built(x) for name, x in self.arguments.items()}
        starred = made.pop("schedules") if self.name == "product" else []
        return getattr(oxe.schedules, self.name)(*starred, **made)

    def __call__(self, t):
        """The exact value at a step."""
        t = min(max(int(t), 0), LAST)
        if t not in self._computed:
            given = {
                k: _part(x) if k in PARTS else x for k, x in self.arguments.items()
            }
            starred = given.pop("schedules") if self.name == "product" else []
            reference = getattr(exact, self.name)
            self._computed[t] = reference(t, *starred, **given)
        return self._computed[t]

    @functools.cached_property
    def _computed(self):
        return {}

    @functools.cached_property
    def steps(self):
        """Joints, powers of two and both ends with their neighbors, random steps."""
        spots = [0, 2, *self.joints, 2**16, 2**24, 2**30, 10**9 + 2000, LAST]
        steps = {min(max(t + d, 0), self.until) for t in spots for d in (-1, 0, 1)}
        rng = random.Random(str(self))
        top = min(max(self.joints, default=100), self.until)
        while len(steps) % SIZE:
            steps.add(
                rng.randrange(1 + rng.choice([top, self.until >> rng.randrange(31)]))
            )
        return np.array(sorted(steps), np.int32)

    @functools.cached_property
    def largest(self):
        peak = exact.exact(self.arguments.get("peak_value", 0))  # even if never reached
        return max(peak, *(abs(self(t)) for t in self.steps))

    @property
    def roundings(self):
        """How many errors add up: a ramp adds one to those of its schedule."""
        inner = [x for name in PARTS for x in _list(self.arguments.get(name))]
        parts = [x.roundings if isinstance(x, Call) else 1 for x in inner]
        if self.name == "product":
            return sum(parts)
        own = self.name in ("warmup", "cooldown")
        return own + max(parts) * max(1, Decimal(self.arguments.get("power", 1)))

    def allowance(self, ulps=8, dtype=np.float32):
        """So many ulps of the largest value."""
        unit = Decimal(float(np.spacing(dtype(float(self.largest)))))
        return ulps * unit * self.roundings

    def check(self, found, steps=None, ulps=8, dtype=np.float32):
        """Fails where a value is further from the exact one than is allowed."""
        steps, found = self.steps if steps is None else steps, np.asarray(found)
        assert (found.shape, found.dtype) == (np.shape(steps), dtype), self
        allowed = self.allowance(ulps, dtype)
        for t, value in zip(steps, found, strict=True):
            assert np.isfinite(value), (self, int(t))
            error = abs(Decimal(float(value)) - self(t))
            assert error <= allowed, (
                self,
                int(t),
                float(value),
                error / allowed * ulps,
            )

    def leaves(self, kind):
        """{path: value} of the hyperparameters of a kind, parts included."""
        return {p: x for p, x in _leaves(self) if type(x) is kind}

    def replace(self, values):
        """A call with other values of some leaves, to be checked at the same steps."""
        made = self
        for path, value in values.items():
            made = _replaced(made, path, value)
        made.__dict__["steps"] = self.steps
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
        return Call(x.name, changed, x.joints, x.until)
    return [_replaced(y, rest, value) if i == head else y for i, y in enumerate(x)]


def call(rule, joints=(), /, until=LAST, **arguments):
    return Call(rule, arguments, tuple(joints), until)


def _restarts(period, mult):
    starts = exact.cycle_starts(period, mult, LAST)
    return [math.ceil(Fraction(start)) for start, _ in starts[:6] + starts[-3:]]


def _plain():
    yield call("piecewise_constant", (4, 9), values=[0.3, 0.02, 0.5], boundaries=[4, 9])
    yield call("step", (30, 60), init_value=0.3, step_size=30, factor=0.5)
    given = {"init_value": 0.3, "milestones": [3, 8, 8]}
    yield call("multistep", (3, 8), **given, factor=0.5)
    yield call("multistep", (3, 8), **given, factor=[0.5, 3.0, 0.7])
    for rate in (0.9, 0.999999):
        given = {"init_value": 0.3, "decay_rate": rate, "transition_steps": 3}
        yield call("exponential", (3,), **given)
    for staircase in (False, True):
        given = {"init_value": 0.3, "decay_rate": 0.7, "transition_steps": 10}
        yield call("inverse_time", (10, 20), **given, staircase=staircase)
    yield call("inverse_sqrt", peak_value=0.3, timescale=40.0)
    ends = {"init_value": 0.3, "end_value": 0.01}
    for power in (0.5, 3.0):
        yield call("polynomial", (50,), **ends, transition_steps=50, power=power)
    late = LAST // 20 * 20
    given = {"transition_steps": 20, "power": 2.0, "cycle": True}
    yield call("polynomial", (20, 40, late), **ends, **given)
    yield call("linear", (50,), **ends, transition_steps=50)
    yield call("cosine", (50,), **ends, decay_steps=50)
    turns = (50, 100, LAST // 100 * 100)
    yield call("cosine", turns, **ends, decay_steps=50, periodic=True)
    yield call("rex", (50,), **ends, decay_steps=50)


def _cyclic():
    joints = [k * 10 + d for k in (1, 2, LAST // 10) for d in (0, 6)]
    for scale in (
        {"mode": "triangular"},
        {"mode": "triangular2"},
        {"mode": "exp_range", "gamma": 0.99},
        {"scale_fn": lambda cycle: 1 / cycle},
        {"scale_fn": lambda t: 50 / (50 + t), "scale_mode": "iterations"},
        {"peak_decay": 0.9, "floor_decay": 0.5},
    ):
        bounds = {"base_value": 0.02, "peak_value": 0.3, "up_steps": 6, "down_steps": 4}
        yield call("cyclic", joints, **bounds, **scale)


def _warm_restarts():
    values = {"peak_value": 0.3, "end_value": 0.02}
    decays = {"peak_decay": 0.9, "floor_decay": 0.5}
    # A fractional multiple must stay concrete: as a NumPy float it is not a leaf.
    for mult in (2, np.float64(1.5)):
        given = dict(**values, period=10, **decays, period_mult=mult)
        yield call("warm_restarts", _restarts(10, mult), **given)
    given = {"period": 10, "cycles": 3, "swing_decay": 0.8}
    yield call("warm_restarts", (10, 20, 30, LAST), **values, **given)


def _one_cycle():
    for anneal in ("cos", "linear"):
        for three_phase in (False, True):
            given = {"peak_value": 0.3, "total_steps": 50, "pct_start": 0.263}
            given |= {"div_factor": 20.0, "final_div_factor": 100.0, "anneal": anneal}
            yield call("one_cycle", (13, 25, 49), **given, three_phase=three_phase)


def _wsd():
    for decay in ("linear", "cosine", "1-sqrt", "exponential"):
        given = {"warmup_steps": 5, "stable_steps": 9, "decay_steps": 20}
        given |= {"peak_value": 0.3, "init_value": 0.1, "end_value": 0.02}
        yield call("wsd", (5, 14, 34), **given, decay=decay)


def _compositions():
    cosine = call("cosine", init_value=0.3, decay_steps=20, end_value=0.05)
    power = call("polynomial", init_value=0.4, transition_steps=9, power=0.5)
    saw = call("warm_restarts", peak_value=0.2, period=9)
    yield call("warmup", (10, 30), steps=10, then=cosine, init_value=0.01)
    yield call("warmup", (10,), steps=10, then=0.5, init_value=0.01)
    for part, joints in [(cosine, (12,)), (saw, (9, 12))]:
        given = {"schedule": part, "start": 12, "steps": 8, "end_value": 0.01}
        yield call("cooldown", (*joints, 20), **given)
    parts = [power, saw, 0.7]
    yield call("sequence", (9, 18, 27, 33), schedules=parts, boundaries=[9, 33])
    yield call("product", (9, 18, 20), schedules=[saw, cosine, 0.5])
    yield call("repeat", (15, 20, LAST // 15 * 15), schedule=cosine, period=15)


CALLS = [
    *_plain(),
    *_cyclic(),
    *_warm_restarts(),
    *_one_cycle(),
    *_wsd(),
    *_compositions(),
]
