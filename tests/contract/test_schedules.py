"""What every schedule keeps: kinds of counts, transformations, dtypes, derivatives."""

import functools
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.schedules.calls import CALLS, LAST

ULPS = 8  # of the contract
each_call = pytest.mark.parametrize("call", CALLS, ids=[call.id for call in CALLS])

# The momentum of a schedule is a schedule itself, and keeps the clauses about counts.
SCHEDULES = {call.id: call.build for call in CALLS} | {
    f"{call.id}-momentum": lambda call=call: call.build().momentum
    for call in CALLS
    if call.rule == "one_cycle"
}
each_schedule = pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)

# In the fast run the dearer clauses are for the first call of every rule.
FIRST = [call.id for call in {call.rule: call for call in reversed(CALLS)}.values()]


def rest_is_full(name):
    return () if name.removesuffix("-momentum") in FIRST else pytest.mark.full


some_calls = pytest.mark.parametrize(
    "call", [pytest.param(c, id=c.id, marks=rest_is_full(c.id)) for c in CALLS]
)
some_schedules = pytest.mark.parametrize(
    "make",
    [
        pytest.param(x, id=name, marks=rest_is_full(name))
        for name, x in SCHEDULES.items()
    ],
)

NEAR = np.array([0, 1, 2, 3, 5, 9, 10, 49, 50, 51, 100, 255])
FAR = np.array([0, 1, 12, 50, 10**6, 2**24 + 1, 10**9, LAST - 1, LAST])


def test_every_schedule_has_a_call():
    assert {call.rule for call in CALLS} == set(oxe.schedules.__all__)


def largest(schedule):
    return np.abs(np.asarray(schedule(np.arange(64)))).max()


def assert_near(found, expected, scale, ulps=2):
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    atol = ulps * np.spacing(found.dtype.type(scale))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def assert_exact(found, call, steps, ulps=ULPS, dtype=np.float32):
    found = np.asarray(found)
    assert (found.shape, found.dtype) == (np.shape(steps), dtype)
    allowed = call.allowance(ulps, dtype)
    for t, value in zip(steps, found, strict=True):
        assert np.isfinite(value)
        off = abs(Decimal(float(value)) - call(t))
        assert off <= allowed, (int(t), float(value), float(off / allowed * ulps))


# ---- Counts --------------------------------------------------------------------------


@some_schedules
def test_arrays_of_every_integer_type(make):
    schedule = make()
    expected = schedule(NEAR.astype(np.int32))
    assert (expected.shape, expected.dtype) == (NEAR.shape, np.float32)
    assert not expected.weak_type
    for dtype in ("int16", "int64", "uint8", "uint16", "uint32", "uint64"):
        found = schedule(NEAR.astype(dtype))
        assert found.dtype == np.float32, dtype
        assert not found.weak_type, dtype
        np.testing.assert_array_equal(found, expected, dtype)
    for dtype in ("int32", "uint8", "uint32"):
        np.testing.assert_array_equal(schedule(jnp.asarray(NEAR, dtype)), expected)
    np.testing.assert_array_equal(
        schedule(FAR.astype(np.uint32)), schedule(FAR.astype(np.int32))
    )


@some_schedules
def test_scalars_of_every_integer_type(make):
    schedule = make()
    for t in (0, 10, 49, 255):
        expected = schedule(t)
        assert (expected.shape, expected.dtype) == ((), np.float32)
        assert not expected.weak_type
        kinds = (np.int32, np.int64, np.uint8, np.uint32, jnp.int32, jnp.uint8)
        for kind in (*kinds, np.array):
            found = schedule(kind(t))
            assert (found.shape, found.dtype) == ((), np.float32)
            assert not found.weak_type
            np.testing.assert_array_equal(found, expected)


@some_schedules
def test_scalars_jit_and_vmap_equal_the_array(make):
    schedule = make()
    expected, scale = schedule(FAR), largest(schedule)
    assert_near(jnp.stack([schedule(int(t)) for t in FAR]), expected, scale)
    assert_near(jax.jit(schedule)(FAR), expected, scale)
    assert_near(jax.vmap(schedule)(jnp.asarray(FAR, jnp.int32)), expected, scale)


@some_schedules
def test_shapes(make):
    schedule = make()
    square = schedule(NEAR.reshape(3, 4))
    assert square.shape == (3, 4)
    np.testing.assert_array_equal(np.ravel(square), schedule(NEAR))
    for shape in ((0,), (2, 0, 3)):
        empty = schedule(np.zeros(shape, np.int32))
        assert (empty.shape, empty.dtype) == (shape, np.float32)


@some_schedules
def test_negative_counts_are_zero_and_late_ones_stop(make):
    schedule = make()
    first, last = schedule(0), schedule(LAST)
    for t in (-1, -(2**31), -(2**70), np.int8(-5), np.int64(-(2**40)), jnp.int32(-9)):
        np.testing.assert_array_equal(schedule(t), first)
    for t in (2**31, 2**32, 2**70, np.int64(2**40), np.uint32(2**32 - 1)):
        np.testing.assert_array_equal(schedule(t), last)
    ends = schedule(np.array([-(2**40), -1, 2**31, 2**32, 2**62]))
    assert_near(ends, jnp.stack([first, first, last, last, last]), largest(schedule))


BAD_COUNTS = (1.0, np.float32(3), True, np.bool_(True), "3", None, 2 + 0j)


@each_schedule
def test_counts_that_are_no_integers(make):
    schedule = make()
    arrays = (np.array([1.0]), jnp.array([True]), jnp.float32(1), [1, 2])
    for t in (*BAD_COUNTS, *arrays):
        with pytest.raises(TypeError):
            schedule(t)
    with pytest.raises(TypeError):
        jax.jit(schedule)(1.5)


@some_schedules
def test_float64_under_x64(make):
    with jax.enable_x64(True):
        schedule = make()
        for t in (3, np.uint8(3), jnp.int32(3), jnp.int64(3), NEAR):
            found = schedule(t)
            assert found.dtype == np.float64
            assert not found.weak_type
        assert jax.jit(schedule)(3).dtype == np.float64


RESTARTING = [call for call in CALLS if hasattr(call.build(), "restarts")]


def test_what_restarts():
    found = {call.rule for call in RESTARTING}
    assert found == {"warm_restarts", "repeat", "sequence", "product", "cooldown"}


@pytest.mark.parametrize("call", RESTARTING, ids=[call.id for call in RESTARTING])
def test_restarts_of_every_count(call):
    restarts = call.build().restarts
    expected = np.asarray(restarts(call.steps))
    assert (expected.shape, expected.dtype) == (call.steps.shape, bool)
    assert expected.any()
    for other in (jax.jit(restarts), jax.vmap(restarts)):
        np.testing.assert_array_equal(other(jnp.asarray(call.steps)), expected)
    np.testing.assert_array_equal(restarts(call.steps.astype(np.int64)), expected)
    assert not any(bool(restarts(t)) for t in (0, -1, np.int64(-7)))
    np.testing.assert_array_equal(restarts(2**40), restarts(LAST))
    with pytest.raises(TypeError):
        restarts(1.0)


# ---- Values, and hyperparameters of every kind ---------------------------------------


@each_call
def test_values(call):
    assert_exact(call.build()(call.steps), call, call.steps)


@some_calls
def test_values_of_schedules_made_inside_jit(call):
    found = jax.jit(lambda t: call.build()(t))(call.steps)
    assert_exact(found, call, call.steps)


@some_calls
def test_vmap_over_every_real_hyperparameter(call):
    for path, value in call.leaves(float).items():
        values = np.array([0.75, 0.9, 1.0], np.float32) * np.float32(value)

        def run(h, path=path):
            return call.replace({path: h}).build()(call.steps)

        for h, row in zip(values, jax.jit(jax.vmap(run))(values), strict=True):
            assert_exact(row, call.replace({path: float(h)}), call.steps)


@some_calls
def test_vmap_over_every_number_of_steps(call):
    for path, value in call.leaves(int).items():
        values = np.array([max(1, value - 1), value, value + 1])

        def run(n, path=path):
            return call.replace({path: n}).build()(call.steps)

        rows = jax.vmap(run)(jnp.asarray(values, jnp.int32))
        for n, row in zip(values.tolist(), rows, strict=True):
            assert_exact(row, call.replace({path: n}), call.steps)


@some_calls
def test_all_hyperparameters_traced_at_once(call):
    reals, counts = call.leaves(float), call.leaves(int)
    rounded = {p: float(np.float32(x)) for p, x in reals.items()}

    @jax.jit
    def run(reals, counts, t):
        return call.replace(dict(zip(paths, [*reals, *counts], strict=True))).build()(t)

    paths = [*reals, *counts]
    found = run(list(rounded.values()), list(counts.values()), call.steps)
    assert_exact(found, call.replace(rounded), call.steps)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, np.float32])
@some_calls
def test_hyperparameters_of_every_float_dtype(call, dtype):
    for path, value in call.leaves(float).items():
        h = jnp.asarray(value * 0.9, dtype)
        found = call.replace({path: h}).build()(call.steps)
        assert not found.weak_type
        assert_exact(found, call.replace({path: float(h)}), call.steps)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, jnp.int32, np.array])
@some_calls
def test_numbers_of_steps_of_every_kind(call, kind):
    given = {path: kind(n) for path, n in call.leaves(int).items()}
    assert_exact(call.replace(given).build()(call.steps), call, call.steps)


# ---- Derivatives ---------------------------------------------------------------------

# How far to go to either side; the share of the run is rounded to float64 on the way.
DELTAS = {"pct_start": Decimal("1e-6")}


def slopes(call, path, value):
    """The exact derivative at every step; None where it is not the same both ways."""
    delta = DELTAS.get(path[-1], Decimal("1e-20"))
    ends = [Decimal(value) - delta, Decimal(value), Decimal(value) + delta]
    low, mid, high = ([call.replace({path: x})(t) for t in call.steps] for x in ends)
    scale = max(abs(b - a) / (2 * delta) for a, b in zip(low, high, strict=True))
    return [
        (c - a) / (2 * delta) if abs(c - 2 * b + a) <= delta * scale / 1000 else None
        for a, b, c in zip(low, mid, high, strict=True)
    ]


def derivatives(call, differentiate):
    reals = call.leaves(float)

    def run(values, t):
        given = dict(zip(reals, values, strict=True))
        return call.replace(given).build()(t)

    values = [
        jnp.asarray(x, jax.dtypes.canonicalize_dtype(float)) for x in reals.values()
    ]
    return jax.jit(jax.vmap(differentiate(run), (None, 0)))(values, call.steps)


@some_calls
@pytest.mark.parametrize(
    "differentiate", [jax.grad, pytest.param(jax.jacfwd, marks=pytest.mark.full)]
)
def test_derivatives_are_finite(call, differentiate):
    for path, found in zip(
        call.leaves(float), derivatives(call, differentiate), strict=True
    ):
        assert found.dtype == np.float32
        wrong = call.steps[~np.isfinite(np.asarray(found))]
        assert not wrong.size, (path, wrong)


@pytest.mark.full
@some_calls
def test_derivatives_are_right(call):
    reals = call.leaves(float)
    with jax.enable_x64(True):
        backward, forward = (derivatives(call, d) for d in (jax.grad, jax.jacfwd))
    for (path, value), back, on in zip(reals.items(), backward, forward, strict=True):
        expected = slopes(call, path, value)
        scale = max(abs(float(x)) for x in expected if x is not None)
        smooth = np.array([x is not None for x in expected])
        assert smooth.sum() > len(smooth) / 2, path
        wanted = np.array([float(x or 0) for x in expected])
        for found in (back, on):
            assert found.dtype == np.float64
            np.testing.assert_allclose(
                np.asarray(found)[smooth],
                wanted[smooth],
                rtol=0,
                atol=1e-7 * scale,
                err_msg=str(path),
            )


# ---- In use --------------------------------------------------------------------------


@some_calls
def test_in_a_chain_under_scan(call):
    schedule = call.build()
    tx = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(schedule))
    grads = jnp.ones((6, 2))

    @jax.jit
    def run(params):
        def update(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            return (params, state), updates

        return jax.lax.scan(update, (params, tx.init(params)), grads)[1]

    # Adam's direction of a constant gradient of 1 is 1, up to its eps and rounding.
    expected = np.repeat(np.asarray(schedule(np.arange(6)))[:, None], 2, axis=1)
    np.testing.assert_allclose(run(jnp.zeros(2)), expected, rtol=1e-5, atol=1e-7)


@functools.cache
def graph(name, arguments):
    made = getattr(oxe.schedules, name)(**dict(arguments))
    made = made.restarts if name == "restarts" else made
    return jax.jit(made).lower(0).as_text().splitlines()


LENGTHS = {  # (name, arguments, the argument that sets the number of cycles)
    "cyclic": ("cyclic", {"base_value": 0.1, "peak_value": 1.0}, "up_steps"),
    "warm_restarts": ("warm_restarts", {"peak_value": 1.0}, "period"),
    "growing": ("warm_restarts", {"peak_value": 1.0, "period_mult": 2}, "period"),
    "real": ("warm_restarts", {"peak_value": 1.0, "period_mult": 1.1}, "period"),
    "repeat": ("repeat", {"schedule": oxe.schedules.linear(1.0, 7)}, "period"),
    "step": ("step", {"init_value": 1.0, "factor": 0.5}, "step_size"),
}


@pytest.mark.parametrize(("name", "given", "length"), LENGTHS.values(), ids=LENGTHS)
def test_graph_does_not_grow_with_the_cycles(name, given, length):
    many, few = (graph(name, tuple({**given, length: n}.items())) for n in (1, 10**9))
    assert abs(len(many) - len(few)) <= 8
    assert len(many) < 300


def lengths(call):
    """The numbers of steps that may grow alone; a boundary must not pass the next."""
    for path in call.leaves(int):
        *_, name, last = (None, *path)
        in_order = name in ("boundaries", "milestones")
        if not in_order or last == len(call.arguments[name]) - 1:
            yield path


HORIZONS = [LAST, 2**31, 2**31 + 5, 2**32 - 1, 2**32, 2**33, 10**12, 2**70]


@pytest.mark.parametrize("horizon", HORIZONS)
@some_calls
def test_every_concrete_number_of_steps_may_be_large(call, horizon):
    for path in lengths(call):
        made = call.replace({path: horizon})
        steps = np.array([0, 1, 5, LAST - 1, LAST])
        found = np.asarray(made.build()(steps))
        for t, value in zip(steps, found, strict=True):
            off = abs(Decimal(float(value)) - made(t))
            assert off <= call.allowance(ULPS), (path, int(t))


@each_schedule
def test_in_the_modes_in_which_errors_are_looked_for(make):
    """No NaN on the way, dtypes that need no rule to meet, nothing behind a jit."""
    with (
        jax.debug_nans(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
        jax.disable_jit(),
    ):
        schedule = make()
        for steps in (3, jnp.int32(7), NEAR, FAR):
            assert np.isfinite(schedule(steps)).all()
