"""What holds of a schedule whatever its arguments: bounds, joints, periods, parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_extras import schedules as s

LAST = 2**31 - 1
COUNTS = 48  # steps per example; always as many, so that XLA compiles each op once
modest = settings(deadline=None, derandomize=True, max_examples=30, database=None)

# Numbers that float32 holds, so that a bound is the same number here and there.
values = st.floats(-10, 10, width=32, allow_subnormal=False)
rates = st.floats(2**-20, 10, width=32)
shares = st.floats(0.125, 1, width=32)
lengths = st.one_of(st.integers(1, 30), st.integers(1, LAST), st.integers(1, 2**40))
short = st.integers(1, 1000)
counts = st.lists(
    st.one_of(st.integers(0, 60), st.integers(0, LAST)),
    min_size=COUNTS,
    max_size=COUNTS,
)
ULP = float(np.spacing(np.float32(10)))  # of the largest of `values`


def at(schedule, steps):
    found = np.asarray(schedule(np.array(steps, np.int64)))
    assert found.dtype == np.float32
    return found


def about(joints):
    """Steps around the joints and in between, COUNTS of them."""
    near = {t + d for t in (0, *joints, LAST) for d in (-2, -1, 0, 1, 2)}
    near |= {t // 2 for t in joints} | {t * 2 // 3 for t in joints}
    kept = sorted(min(max(t, 0), LAST) for t in near)[:COUNTS]
    return kept + [kept[-1]] * (COUNTS - len(kept))


def inside(found, *levels):
    """No value lies outside of the levels, by not even an ulp."""
    assert found.min() >= np.float32(min(levels))
    assert found.max() <= np.float32(max(levels))


DECAYS = {
    "linear": lambda a, n, b, p: s.linear(a, n, b),
    "polynomial": lambda a, n, b, p: s.polynomial(a, n, p, b),
    "cosine": lambda a, n, b, p: s.cosine(a, n, b),
    "rex": lambda a, n, b, p: s.rex(a, n, b),
}
each_decay = pytest.mark.parametrize("decay", DECAYS.values(), ids=DECAYS)


@each_decay
@modest
@given(a=values, n=lengths, b=values, p=st.floats(0.25, 4), steps=counts)
def test_decays_begin_and_end_exactly_and_stay_between(decay, a, n, b, p, steps):
    schedule = decay(a, n, b, p)
    inside(at(schedule, steps), a, b)
    found = at(schedule, about([n]))
    inside(found, a, b)
    assert found[0] == np.float32(a)
    assert at(schedule, [min(n, LAST)] * COUNTS)[0] == np.float32(b) or n > LAST


# Where each must have exactly this value: (schedule of a length, the step, the value).
# At these lengths n * (1 / n) is not 1 in float32, and XLA divides by a constant so.
AWKWARD = (41, 47, 55, 61, 82, 107)
EXACT = {
    "linear": lambda n: (s.linear(1.0, n), 0, 1.0),
    "linear end": lambda n: (s.linear(1.0, n, 0.25), n, 0.25),
    "polynomial": lambda n: (s.polynomial(1.0, n, 2.5), 0, 1.0),
    "root": lambda n: (s.polynomial(1.0, n, 0.5), 0, 1.0),
    "cosine": lambda n: (s.cosine(1.0, n), 0, 1.0),
    "cosine end": lambda n: (s.cosine(1.0, n, 0.25), n, 0.25),
    "rex": lambda n: (s.rex(1.0, n), 0, 1.0),
    "rise": lambda n: (s.warmup(n, 1.0, 0.25), 0, 0.25),
    "risen": lambda n: (s.warmup(n, 1.0, 0.25), n, 1.0),
    "fall": lambda n: (s.cooldown(1.0, 5, n), 5, 1.0),
    "fallen": lambda n: (s.cooldown(1.0, 5, n, 0.25), 5 + n, 0.25),
    "peak": lambda n: (s.cyclic(0.25, 1.0, n), n, 1.0),
    "base": lambda n: (s.cyclic(0.25, 1.0, 7, n), 7 + n, 0.25),
    "restart": lambda n: (s.warm_restarts(1.0, n), n, 1.0),
    "second restart": lambda n: (s.warm_restarts(1.0, n, 2), 3 * n, 1.0),
    "one_cycle": lambda n: (s.one_cycle(1.0, n, div_factor=4.0), 0, 0.25),
    "wsd": lambda n: (s.wsd(1.0, n, 0, 5, init_value=0.25), 0, 0.25),
    **{
        f"wsd {decay}": lambda n, decay=decay: (
            s.wsd(1.0, 5, 0, n, decay=decay),
            5,
            1.0,
        )
        for decay in ("linear", "cosine", "1-sqrt", "exponential")
    },
}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_exact_at_ends_and_joints_however_it_is_called(make):
    for n in AWKWARD:
        schedule, t, value = make(n)
        assert schedule(t) == value
        assert (at(schedule, [t] * COUNTS) == value).all()
    schedule, t, value = make(AWKWARD[0])
    assert jax.jit(schedule)(t) == value
    schedule, t, value = make(AWKWARD[-1])
    assert jax.jit(schedule)(t) == value


NEUTRAL = {
    "step": lambda: s.step(0.5, 3, 1.0),
    "step of an integer": lambda: s.step(0.5, 3, 1),
    "multistep": lambda: s.multistep(0.5, [3], 1.0),
    "no milestones": lambda: s.multistep(0.5, []),
    "no boundaries": lambda: s.piecewise_constant([0.5], []),
    "one of a sequence": lambda: s.sequence([0.5], []),
    "one of a product": lambda: s.product(0.5),
    "exponential": lambda: s.exponential(0.5, 1.0),
    "inverse_time": lambda: s.inverse_time(0.5, 0),
    "linear": lambda: s.linear(0.5, 3, 0.5),
    "exp_range": lambda: s.cyclic(0.5, 0.5, 3, mode="exp_range", gamma=1.0),
    "repeat": lambda: s.repeat(0.5, 3),
    "warmup": lambda: s.warmup(0, 0.5),
    "cooldown": lambda: s.cooldown(0.5, 3, 0, 0.5),
    "wsd": lambda: s.wsd(0.5, 0, 4, 0, end_value=0.5),
}


@pytest.mark.parametrize("make", NEUTRAL.values(), ids=NEUTRAL)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)], ids=str)
def test_what_never_moves_still_has_the_shape_of_the_count(make, shape):
    found = make()(np.full(shape, 7))
    np.testing.assert_array_equal(found, np.full(shape, 0.5, np.float32), strict=True)


NON_INCREASING = {
    "linear": lambda a, n, x: s.linear(a, n),
    "rex": lambda a, n, x: s.rex(a, n),
    "inverse_time": lambda a, n, x: s.inverse_time(a, x, n),
    "staircase": lambda a, n, x: s.inverse_time(a, x, n, staircase=True),
    "inverse_sqrt": lambda a, n, x: s.inverse_sqrt(a, x * n),
    "step": lambda a, n, x: s.step(a, n, min(x, 1.0)),
    "multistep": lambda a, n, x: s.multistep(a, [n, 2 * n, 3 * n], min(x, 1.0)),
}


@pytest.mark.parametrize("decay", NON_INCREASING.values(), ids=NON_INCREASING)
@modest
@given(a=rates, n=lengths, x=rates, steps=counts)
def test_decays_never_rise(decay, a, n, x, steps):
    """Those made of operations that IEEE rounds correctly, and so monotonically."""
    found = at(decay(a, n, x), sorted(steps))
    assert (np.diff(found) <= 0).all()
    inside(found, 0, a)


# How far the smooth ones may rise against their fall: two values, 8 ulps each.
@pytest.mark.parametrize("name", ["cosine", "polynomial"])
@modest
@given(a=rates, n=lengths, p=st.floats(0.25, 1), steps=counts)
def test_smooth_decays_rise_by_rounding_at_most(name, a, n, p, steps):
    found = at(DECAYS[name](a, n, 0.0, p), sorted(steps))
    assert np.diff(found).max() <= 16 * np.spacing(np.float32(a))


@modest
@given(a=rates, rate=st.floats(0.5, 1), n=lengths, steps=counts)
def test_exponential_between_zero_and_its_start(a, rate, n, steps):
    found = at(s.exponential(a, rate, n), sorted(steps))
    inside(found, 0, a)
    assert at(s.exponential(a, rate, n), [0] * COUNTS)[0] == np.float32(a)


# ---- Cycles --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["triangular", "triangular2"])
@modest
@given(base=values, peak=values, up=lengths, down=lengths, steps=counts)
def test_cyclic_stays_between_and_turns_at_its_bounds(
    mode, base, peak, up, down, steps
):
    schedule = s.cyclic(base, peak, up, down, mode=mode)
    inside(at(schedule, steps), base, peak)
    inside(at(schedule, about([up, up + down, 2 * up + down])), base, peak)
    bottom, top, again = at(schedule, [0, min(up, LAST), *[up + down] * (COUNTS - 2)])[
        :3
    ]
    assert bottom == np.float32(base)
    assert top == np.float32(peak) or up > LAST
    assert again == np.float32(base) or up + down > LAST


@modest
@given(
    bounds=st.tuples(values, values),
    up=short,
    down=short,
    k=st.integers(0, 10**6),
    steps=st.lists(st.integers(0, 5000), min_size=COUNTS, max_size=COUNTS),
)
def test_periods(bounds, up, down, k, steps):
    period, steps = up + down, np.array(steps)
    for schedule in (
        s.cyclic(*bounds, up, down),
        s.warm_restarts(bounds[1], period, 1, bounds[0]),
        s.repeat(s.cosine(bounds[1], 77, bounds[0]), period),
    ):
        first = at(schedule, steps % period)
        np.testing.assert_array_equal(at(schedule, steps % period + k * period), first)


@modest
@given(
    peak=values,
    end=values,
    period=lengths,
    mult=st.sampled_from([1, 2, 3, 1.5, 1.1]),
    steps=counts,
)
def test_warm_restarts_stay_between_and_restart_at_the_peak(
    peak, end, period, mult, steps
):
    schedule = s.warm_restarts(peak, period, mult, end)
    found, restarts = (
        at(schedule, steps),
        np.asarray(schedule.restarts(np.array(steps))),
    )
    inside(found, peak, end)
    assert at(schedule, [0] * COUNTS)[0] == np.float32(peak)
    whole = isinstance(mult, int)
    assert (found[restarts & whole] == np.float32(peak)).all()
    first = at(schedule, [min(period, LAST)] * COUNTS)[0]
    assert first == np.float32(peak) or period > LAST


@modest
@given(
    peak=rates,
    total=lengths,
    pct=st.floats(0, 0.5),
    steps=counts,
    anneal=st.sampled_from(["cos", "linear"]),
    three=st.booleans(),
)
def test_one_cycle_stays_between(peak, total, pct, steps, anneal, three):
    flags = {"pct_start": pct, "anneal": anneal, "three_phase": three}
    schedule = s.one_cycle(peak, total, **flags, div_factor=4.0, final_div_factor=64.0)
    turn = int(pct * total)
    for near in (steps, about([turn, 2 * turn, total])):
        inside(at(schedule, near), peak / 256, peak)
        inside(at(schedule.momentum, near), 0.85, 0.95)
    held = at(schedule, [min(total - 1, LAST), *[LAST] * (COUNTS - 1)])
    assert held[0] == held[1] == np.float32(peak / 256) or total > LAST


@modest
@given(
    peak=values,
    ends=st.tuples(values, values),
    lengths=st.tuples(*[st.integers(0, 2**29)] * 3),
    decay=st.sampled_from(["linear", "cosine", "1-sqrt", "exponential"]),
)
def test_wsd_passes_its_levels(peak, ends, lengths, decay):
    w, k, d = lengths
    schedule = s.wsd(peak, *lengths, init_value=ends[0], end_value=ends[1], decay=decay)
    inside(at(schedule, about([w, w + k, w + k + d])), peak, *ends)
    begin, top, last, over = at(schedule, [0, w, w + k, *[w + k + d] * (COUNTS - 3)])[
        :4
    ]
    after = ends[1] if d == 0 else peak
    assert begin == np.float32(ends[0] if w else peak if k or d else ends[1])
    assert top == np.float32(peak if k else after)
    assert last == np.float32(after)
    assert over == np.float32(ends[1])


# ---- Joints --------------------------------------------------------------------------

# One step moves a continuous schedule by at most its slope, and each of the two values
# may be off by 8 ulps (a composition by those of its parts, of which there are two).
PI = float(np.pi)
CONTINUOUS = {
    "cyclic": lambda a, b, n, m: (s.cyclic(a, b, n, m), 1 / min(n, m), [n, n + m]),
    "cooldown": lambda a, b, n, m: (
        s.cooldown(s.cosine(a, 2 * n, b), n, m, b),
        PI / 2 / min(2 * n, m),
        [n, n + m],
    ),
    "warmup": lambda a, b, n, m: (
        s.warmup(n, s.cosine(a, m, b), b),
        PI / 2 / min(n, m),
        [n, n + m],
    ),
    "wsd": lambda a, b, n, m: (
        s.wsd(a, n, 9, m, init_value=b, end_value=b, decay="cosine"),
        PI / 2 / min(n, m),
        [n, n + 9, n + 9 + m],
    ),
    "warm_restarts within a cycle": lambda a, b, n, m: (
        s.warm_restarts(a, n + m, 2, b, cycles=1),
        PI / 2 / (n + m),
        [n + m],
    ),
}


@pytest.mark.parametrize("make", CONTINUOUS.values(), ids=CONTINUOUS)
@modest
@given(a=values, b=values, n=st.integers(2, 2**29), m=st.integers(2, 2**29))
def test_no_jumps(make, a, b, n, m):
    schedule, slope, joints = make(a, b, n, m)
    steps = np.array(about(joints))
    before, after = at(schedule, steps), at(schedule, steps + 1)
    most = slope * abs(a - b) + 4 * 8 * ULP
    assert np.abs(after.astype(float) - before).max() <= most


# ---- Compositions against what they are made of --------------------------------------

PARTS = [
    lambda: s.cosine(0.7, 50, 0.1),
    lambda: s.cyclic(0.1, 0.9, 7, 3),
    lambda: s.inverse_sqrt(0.5, 10.0),
    lambda: s.warm_restarts(1.0, 5, 2),
    lambda: lambda t: 0.5 / (1 + t),  # anybody's function is a schedule
]
parts = st.sampled_from(PARTS).map(lambda make: make())
boundaries = st.lists(st.integers(0, 90), min_size=2, max_size=2).map(sorted)
early = st.lists(st.integers(0, 200), min_size=COUNTS, max_size=COUNTS).map(np.array)


def own(part, t):
    """A part called by itself, as the compositions call it: with int32."""
    return np.asarray(part(jnp.asarray(np.maximum(t, 0), jnp.int32)), np.float32)


@modest
@given(schedules=st.tuples(parts, parts, parts), bounds=boundaries, t=early)
def test_sequence_is_its_parts(schedules, bounds, t):
    found = at(s.sequence(schedules, bounds), t)
    a, b = bounds
    first, second, third = (
        own(p, t - o) for p, o in zip(schedules, (0, a, b), strict=True)
    )
    expected = np.where(t < a, first, np.where(t < b, second, third))
    np.testing.assert_array_equal(found, expected)


@modest
@given(then=parts, steps=st.integers(0, 90), init=st.floats(0, 1, width=32), t=early)
def test_warmup_is_a_line_and_its_part(then, steps, init, t):
    found = at(s.warmup(steps, then, init), t)
    np.testing.assert_array_equal(found[t >= steps], own(then, t - steps)[t >= steps])
    goal = float(own(then, np.zeros(COUNTS))[0])
    line = init + (goal - init) * t / max(steps, 1)
    np.testing.assert_allclose(found[t < steps], line[t < steps], rtol=0, atol=1e-6)


@modest
@given(part=parts, start=st.integers(0, 90), steps=st.integers(0, 60), t=early)
def test_cooldown_is_its_part_and_a_line(part, start, steps, t):
    found = at(s.cooldown(part, start, steps, 0.25), t)
    np.testing.assert_array_equal(found[t < start], own(part, t)[t < start])
    frozen = float(own(part, np.full(COUNTS, start))[0])
    line = frozen + (0.25 - frozen) * np.clip((t - start) / max(steps, 1), 0, 1)
    line = np.where(t - start >= steps, 0.25, line)
    np.testing.assert_allclose(found[t >= start], line[t >= start], rtol=0, atol=1e-6)
    assert (found[t >= start + steps] == np.float32(0.25)).all()


@modest
@given(schedules=st.lists(parts, min_size=1, max_size=3), t=early)
def test_product_is_the_product(schedules, t):
    expected = np.prod([own(p, t).astype(float) for p in schedules], axis=0)
    # Of values up to 1, two products, each rounded once.
    np.testing.assert_allclose(at(s.product(*schedules), t), expected, rtol=2**-22)


@modest
@given(part=parts, period=st.integers(1, 90), t=counts)
def test_repeat_is_its_part_again(part, period, t):
    found = at(s.repeat(part, period), t)
    np.testing.assert_array_equal(found, own(part, np.array(t) % period))


class Watched:
    """A schedule that notes the counts that it is asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, t):
        assert t.dtype == np.int32
        self.asked.append(np.asarray(t))
        return jnp.full(t.shape, 0.5)

    def within(self, first, last):
        assert self.asked
        return all((first <= t).all() and (t <= last).all() for t in self.asked)


def test_parts_are_asked_for_counts_of_their_own_phase():
    t = np.array([0, 1, 9, 10, 11, 29, 30, 31, 10**6, LAST])
    first, second, third = parts = [Watched() for _ in range(3)]
    s.sequence(parts, [10, 30])(t)
    assert first.within(0, 9)
    assert second.within(0, 19)
    assert third.within(0, LAST - 30)
    then = Watched()
    s.warmup(10, then)(t)
    assert then.within(0, LAST - 10)
    before = Watched()
    s.cooldown(before, 10, 5)(t)
    assert before.within(0, 10)
    again = Watched()
    s.repeat(again, 7)(t)
    assert again.within(0, 6)
