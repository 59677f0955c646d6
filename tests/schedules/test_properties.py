"""Properties for all arguments: exact ends and joints, bounds, monotony, periods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from optax_extras import schedules as s
from tests.schedules.calls import LAST, SIZE

# float32 numbers, so that a bound is the same in the test and in the schedule.
values = st.floats(-10, 10, width=32, allow_subnormal=False)
rates = st.floats(2**-20, 10, width=32)
lengths = st.one_of(st.integers(1, 30), st.integers(1, LAST), st.integers(1, 2**40))
counts = st.lists(
    st.one_of(st.integers(0, 60), st.integers(0, LAST)), min_size=SIZE, max_size=SIZE
)


def property_test(**strategies):
    """A test by random examples: few in the fast run, many in the full one."""

    def decorate(check):
        @pytest.mark.parametrize(
            "examples", [15, pytest.param(200, marks=pytest.mark.full)]
        )
        def test(examples):
            limits = settings(
                deadline=None, derandomize=True, max_examples=examples, database=None
            )
            limits(given(**strategies)(check))()

        return test

    return decorate


def at(schedule, steps):
    """The values at up to SIZE steps."""
    found = np.asarray(schedule(np.resize(np.array(steps, np.int64), SIZE)))
    assert found.dtype == np.float32
    return found[: len(steps)]


def around(*joints):
    """Steps around the joints and between them."""
    near = {t + d for t in (0, *joints, LAST) for d in (-2, -1, 0, 1, 2)}
    near |= {t // 2 for t in joints} | {t * 2 // 3 for t in joints}
    return sorted(min(max(t, 0), LAST) for t in near)


def assert_between(found, *bounds):
    """No value is outside the bounds, not even by one ulp."""
    assert found.min() >= np.float32(min(bounds))
    assert found.max() <= np.float32(max(bounds))


def assert_exact(schedule, expected):
    """{step: value} to the last bit, for the steps that a count can reach."""
    reached = {t: np.float32(x) for t, x in expected.items() if t <= LAST}
    assert at(schedule, list(reached)).tolist() == list(reached.values())


@property_test(a=values, n=lengths, b=values, p=st.floats(0.25, 4), steps=counts)
def test_decays_have_exact_ends_and_stay_between(a, n, b, p, steps):
    for schedule in (
        s.linear(a, n, b),
        s.polynomial(a, n, p, b),
        s.cosine(a, n, b),
        s.rex(a, n, b),
    ):
        assert_exact(schedule, {0: a, n: b})
        assert_between(at(schedule, steps), a, b)
        assert_between(at(schedule, around(n)), a, b)


# (schedule of a length, the step, the exact value there). At these lengths n * (1 / n)
# is not 1 in float32. XLA replaces a division by a constant n with this multiplication.
AWKWARD = (41, 47, 55, 61, 82, 107)
EXACT = {
    "linear": lambda n: (s.linear(1.0, n), 0, 1.0),
    "linear end": lambda n: (s.linear(1.0, n, 0.25), n, 0.25),
    "polynomial": lambda n: (s.polynomial(1.0, n, 2.5), 0, 1.0),
    "root": lambda n: (s.polynomial(1.0, n, 0.5), 0, 1.0),
    "cosine": lambda n: (s.cosine(1.0, n), 0, 1.0),
    "cosine end": lambda n: (s.cosine(1.0, n, 0.25), n, 0.25),
    "rex": lambda n: (s.rex(1.0, n), 0, 1.0),
    "warmup": lambda n: (s.warmup(n, 1.0, 0.25), 0, 0.25),
    "warmup end": lambda n: (s.warmup(n, 1.0, 0.25), n, 1.0),
    "cooldown": lambda n: (s.cooldown(1.0, 5, n), 5, 1.0),
    "cooldown end": lambda n: (s.cooldown(1.0, 5, n, 0.25), 5 + n, 0.25),
    "peak": lambda n: (s.cyclic(0.25, 1.0, n), n, 1.0),
    "base": lambda n: (s.cyclic(0.25, 1.0, 7, n), 7 + n, 0.25),
    "restart": lambda n: (s.warm_restarts(1.0, n), n, 1.0),
    "one_cycle": lambda n: (s.one_cycle(1.0, n, div_factor=4.0), 0, 0.25),
    "wsd": lambda n: (s.wsd(1.0, n, 0, 5, init_value=0.25), 0, 0.25),
    "wsd linear": lambda n: (s.wsd(1.0, 5, 0, n), 5, 1.0),
    "wsd cosine": lambda n: (s.wsd(1.0, 5, 0, n, decay="cosine"), 5, 1.0),
    "wsd 1-sqrt": lambda n: (s.wsd(1.0, 5, 0, n, decay="1-sqrt"), 5, 1.0),
    "wsd halving": lambda n: (s.wsd(1.0, 5, 0, n, decay="exponential"), 5, 1.0),
}


def test_exact_ends_and_joints_eager_and_under_jit():
    for name, make in EXACT.items():
        for n in AWKWARD:
            schedule, t, value = make(n)
            assert schedule(t) == value, (name, n)
            assert (at(schedule, [t] * SIZE) == value).all(), (name, n)

    counts, expected = zip(*(make(107)[1:] for make in EXACT.values()), strict=True)

    @jax.jit
    def run(counts):
        made = [make(107)[0] for make in EXACT.values()]
        return [schedule(t) for schedule, t in zip(made, counts, strict=True)]

    for name, found, value in zip(EXACT, run(counts), expected, strict=True):
        assert found == value, name


NEUTRAL = {
    "step": s.step(0.5, 3, 1.0),
    "step of an integer": s.step(0.5, 3, 1),
    "multistep": s.multistep(0.5, [3], 1.0),
    "no milestones": s.multistep(0.5, []),
    "no boundaries": s.piecewise_constant([0.5], []),
    "one of a sequence": s.sequence([0.5], []),
    "one of a product": s.product(0.5),
    "exponential": s.exponential(0.5, 1.0),
    "inverse_time": s.inverse_time(0.5, 0),
    "linear": s.linear(0.5, 3, 0.5),
    "exp_range": s.cyclic(0.5, 0.5, 3, mode="exp_range", gamma=1.0),
    "repeat": s.repeat(0.5, 3),
    "warmup": s.warmup(0, 0.5),
    "cooldown": s.cooldown(0.5, 3, 0, 0.5),
    "wsd": s.wsd(0.5, 0, 4, 0, end_value=0.5),
}


def test_constant_schedules_have_the_shape_of_the_count():
    for name, schedule in NEUTRAL.items():
        found = at(schedule, np.full(SIZE, 7))
        np.testing.assert_array_equal(found, np.full(SIZE, 0.5), name)
        for shape in ((), (2, 3), (0,)):
            count = jax.ShapeDtypeStruct(shape, np.int32)
            assert jax.eval_shape(schedule, count).shape == shape, name


@property_test(a=rates, n=lengths, x=rates, steps=counts)
def test_decays_never_rise(a, n, x, steps):
    """Decays made of operations that IEEE rounds correctly, and so monotonically."""
    for schedule in (
        s.linear(a, n),
        s.rex(a, n),
        s.inverse_time(a, x, n),
        s.inverse_time(a, x, n, staircase=True),
        s.inverse_sqrt(a, x * n),
        s.step(a, n, min(x, 1.0)),
        s.multistep(a, [n, 2 * n, 3 * n], min(x, 1.0)),
    ):
        found = at(schedule, sorted(steps))
        assert (np.diff(found) <= 0).all(), schedule.__name__
        assert_between(found, 0, a)


@property_test(a=rates, n=lengths, p=st.floats(0.25, 1), steps=counts)
def test_smooth_decays_rise_by_rounding_at_most(a, n, p, steps):
    """Each of the two values may be off by 8 ulps."""
    for schedule in (s.cosine(a, n), s.polynomial(a, n, p)):
        found = at(schedule, sorted(steps))
        assert np.diff(found).max() <= 16 * np.spacing(np.float32(a))


@property_test(a=rates, rate=st.floats(0.5, 1), n=lengths, steps=counts)
def test_exponential_is_between_zero_and_its_start(a, rate, n, steps):
    schedule = s.exponential(a, rate, n)
    assert_between(at(schedule, steps), 0, a)
    assert_exact(schedule, {0: a})


@property_test(base=values, peak=values, up=lengths, down=lengths, steps=counts)
def test_cyclic_stays_between_and_turns_at_its_bounds(base, peak, up, down, steps):
    for mode in ("triangular", "triangular2"):
        schedule = s.cyclic(base, peak, up, down, mode=mode)
        assert_between(at(schedule, steps), base, peak)
        joints = around(up, up + down, 2 * up + down)
        assert_between(at(schedule, joints), base, peak)
        assert_exact(schedule, {0: base, up: peak, up + down: base})


@property_test(
    bounds=st.tuples(values, values),
    up=st.integers(1, 1000),
    down=st.integers(1, 1000),
    k=st.integers(0, 10**6),
    steps=st.lists(st.integers(0, 5000), min_size=SIZE, max_size=SIZE),
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


@property_test(
    peak=values,
    end=values,
    # With a growing period XLA compiles for each number of cycles.
    cycles=st.sampled_from(
        [(1, 2), (10, 2), (10, 1.5), *((n, 1) for n in (1, 7, 999))]
    ),
    steps=counts,
)
def test_warm_restarts_stay_between_and_restart_at_the_peak(peak, end, cycles, steps):
    schedule = s.warm_restarts(peak, *cycles, end)
    found = at(schedule, steps)
    restarts = np.asarray(schedule.restarts(np.array(steps)))
    assert_between(found, peak, end)
    assert_exact(schedule, {0: peak, cycles[0]: peak})
    assert cycles[1] == 1.5 or (found[restarts] == np.float32(peak)).all()


@property_test(
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
    for near in (steps, around(turn, 2 * turn, total)):
        assert_between(at(schedule, near), peak / 256, peak)
        assert_between(at(schedule.momentum, near), 0.85, 0.95)
    if total <= LAST:
        assert_exact(schedule, {total - 1: peak / 256, LAST: peak / 256})


@property_test(
    peak=values,
    ends=st.tuples(values, values),
    lengths=st.tuples(*[st.integers(0, 2**29)] * 3),
    decay=st.sampled_from(["linear", "cosine", "1-sqrt", "exponential"]),
)
def test_wsd_passes_its_levels(peak, ends, lengths, decay):
    w, k, d = lengths
    schedule = s.wsd(peak, *lengths, init_value=ends[0], end_value=ends[1], decay=decay)
    assert_between(at(schedule, around(w, w + k, w + k + d)), peak, *ends)
    first, top, last, over = at(schedule, [0, w, w + k, w + k + d])
    after = ends[1] if d == 0 else peak
    assert first == np.float32(ends[0] if w else peak if k or d else ends[1])
    assert top == np.float32(peak if k else after)
    assert last == np.float32(after)
    assert over == np.float32(ends[1])


# One step moves a continuous schedule by at most its slope, and each of the two values
# may be off by 8 ulps (by 16 in a composition of two parts).
STEEPEST = float(np.pi) / 2  # of half a cosine wave
CONTINUOUS = [
    lambda a, b, n, m: (s.cyclic(a, b, n, m), 1 / min(n, m), [n, n + m]),
    lambda a, b, n, m: (
        s.cooldown(s.cosine(a, 2 * n, b), n, m, b),
        STEEPEST / min(2 * n, m),
        [n, n + m],
    ),
    lambda a, b, n, m: (
        s.warmup(n, s.cosine(a, m, b), b),
        STEEPEST / min(n, m),
        [n, n + m],
    ),
    lambda a, b, n, m: (
        s.wsd(a, n, 9, m, init_value=b, end_value=b, decay="cosine"),
        STEEPEST / min(n, m),
        [n, n + 9, n + 9 + m],
    ),
    lambda a, b, n, m: (
        s.warm_restarts(a, n + m, 1, b, cycles=1),
        STEEPEST / (n + m),
        [n + m],
    ),
]


@property_test(a=values, b=values, n=st.integers(2, 2**29), m=st.integers(2, 2**29))
def test_no_jumps(a, b, n, m):
    for make in CONTINUOUS:
        schedule, slope, joints = make(a, b, n, m)
        steps = np.array(around(*joints))
        before, after = at(schedule, steps), at(schedule, steps + 1)
        most = slope * abs(a - b) + 4 * 8 * float(np.spacing(np.float32(10)))
        assert np.abs(after.astype(float) - before).max() <= most, schedule.__name__


class RecordingSchedule:
    """A schedule that records the counts that it is called with."""

    def __init__(self):
        self.counts = []

    def __call__(self, t):
        assert t.dtype == np.int32
        self.counts.append(np.asarray(t))
        return jnp.full(t.shape, 0.5)

    def called_within(self, first, last):
        assert self.counts
        return all((first <= t).all() and (t <= last).all() for t in self.counts)


def test_parts_are_called_with_counts_of_their_own_phase():
    t = np.resize([0, 1, 9, 10, 11, 29, 30, 31, 10**6, LAST], SIZE)
    first, second, third = parts = [RecordingSchedule() for _ in range(3)]
    s.sequence(parts, [10, 30])(t)
    assert first.called_within(0, 9)
    assert second.called_within(0, 19)
    assert third.called_within(0, LAST - 30)
    then, before, again = (RecordingSchedule() for _ in range(3))
    s.warmup(10, then)(t)
    assert then.called_within(0, LAST - 10)
    s.cooldown(before, 10, 5)(t)
    assert before.called_within(0, 10)
    s.repeat(again, 7)(t)
    assert again.called_within(0, 6)
