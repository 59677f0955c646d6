"""Every clause of the contract of a schedule, for every schedule.

A clause is tested with all calls of a schedule; counts are arrays of one size, so that
XLA compiles each operation once.
"""

from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.schedules.calls import CALLS, LAST, SIZE, evaluate

RULES = {name: [c for c in CALLS if c.name == name] for name in oxe.schedules.__all__}
each_rule = pytest.mark.parametrize("calls", RULES.values(), ids=RULES)
SMALL = np.arange(0, 2 * SIZE, 2)  # fits every integer dtype


def ends(calls):
    """The first and the last call, which differ in their options."""
    return dict.fromkeys([calls[0], calls[-1]])


def schedules(calls):
    """The schedules of two calls; the momentum of one is a schedule itself."""
    for call in ends(calls):
        schedule = call.build()
        yield call, schedule
        if hasattr(schedule, "momentum"):
            yield call, schedule.momentum


def assert_rate(found, shape=(SIZE,), dtype=np.float32):
    assert (found.shape, found.dtype, found.weak_type) == (shape, dtype, False)


def test_every_schedule_has_a_call():
    assert all(RULES.values()), RULES
    assert sum(map(len, RULES.values())) == len(CALLS)


# ---- Counts --------------------------------------------------------------------------


@each_rule
def test_counts_of_every_integer_type(calls):
    for call, schedule in schedules(calls):
        expected = schedule(SMALL.astype(np.int32))
        assert_rate(expected)
        for dtype in ("int8", "int64", "uint32", "uint64"):
            found = schedule(SMALL.astype(dtype))
            assert_rate(found)
            np.testing.assert_array_equal(found, expected, f"{call} {dtype}")
        for dtype in ("uint8", "uint32"):
            found = schedule(jnp.asarray(SMALL, dtype))
            np.testing.assert_array_equal(found, expected, f"{call} {dtype}")
        late = [schedule(call.steps[-SIZE:].astype(x)) for x in ("int32", "uint32")]
        np.testing.assert_array_equal(*late, str(call))


@each_rule
def test_scalar_counts(calls):
    for call, schedule in schedules(calls):
        t, array = call.steps[9], schedule(call.steps[:SIZE])
        found = schedule(int(t))
        assert_rate(found, ())
        np.testing.assert_allclose(
            found, array[9], rtol=0, atol=2 * np.spacing(np.abs(array).max())
        )
        for kind in (np.int64, np.array, jnp.int32):
            assert_rate(schedule(kind(t)), ())
            assert schedule(kind(t)) == found, (call, kind)


@each_rule
def test_shape_of_the_count(calls):
    """Values at a matrix of counts are in `test_traced_hyperparameters`."""
    for _, schedule in schedules(calls):
        for shape in ((8, 8), (0,), (2, 0, 3)):
            count = jax.ShapeDtypeStruct(shape, np.int32)
            assert_rate(jax.eval_shape(schedule, count), shape)


@each_rule
def test_counts_below_zero_and_past_the_last(calls):
    below = np.resize([-(2**40), -1, 0], SIZE)
    past = np.resize([LAST, 2**31, 2**32, 2**62], SIZE)
    for call, schedule in schedules(calls):
        first, last = schedule(np.full(SIZE, 0)), schedule(np.full(SIZE, LAST))
        for t in (below, below.astype(np.int8), jnp.asarray(below % -9, np.int32)):
            np.testing.assert_array_equal(schedule(t), first, str(call))
        for t in (past, past.astype(np.uint64), np.uint32(2**32 - 1) - SMALL * 0):
            np.testing.assert_array_equal(schedule(t), last, str(call))
        assert schedule(-(2**70)) == schedule(0), call
        assert schedule(2**70) == schedule(LAST), call


NOT_INTEGERS = [
    *(1.0, True, "1", None, 1j, [1], np.float32(1), np.True_, jnp.float32(1)),
    *(np.arange(3.0), np.array([True]), np.array(["1"])),
]


@each_rule
def test_counts_that_are_not_integers(calls):
    for call, schedule in schedules(calls):
        curves = [schedule, *filter(None, [getattr(schedule, "restarts", None)])]
        for curve in curves:
            for t in NOT_INTEGERS:
                with pytest.raises(TypeError) as caught:
                    curve(t)
                assert str(caught.value).startswith(f"{call.name}: `t` must "), call
                assert f"got {t!r}" in str(caught.value), call
            for t in (1.5, True):
                with pytest.raises(TypeError, match=f"^{call.name}: `t` must "):
                    jax.eval_shape(curve, t)


@each_rule
def test_float64_under_x64(calls):
    """The values are in tests/schedules/test_values.py."""
    with jax.enable_x64(True):
        for _, schedule in schedules(calls):
            for t in (3, np.uint8(3), jnp.int32(3), jnp.int64(3)):
                assert_rate(jax.eval_shape(schedule, t), (), np.float64)


RESTARTING = [call for call in CALLS if hasattr(call.build(), "restarts")]


def test_restarts_of_every_count():
    assert {"warm_restarts", "repeat"} <= {call.name for call in RESTARTING}
    for call in RESTARTING:
        restarts = call.build().restarts
        expected = np.asarray(restarts(call.steps))
        assert (expected.shape, expected.dtype) == (call.steps.shape, bool), call
        assert expected.any(), call
        assert (restarts(call.steps.astype(np.int64)) == expected).all(), call
        traced = jax.jit(jax.vmap(restarts))(call.steps)
        np.testing.assert_array_equal(traced, expected, str(call))
        assert not any(restarts(t) for t in (0, -1, np.int64(-7))), call
        assert restarts(2**40) == restarts(LAST), call


# ---- Values, and hyperparameters of every kind ---------------------------------------


@each_rule
def test_values(calls):
    for call in calls:
        call.check(call.build()(call.steps))


@each_rule
def test_values_of_schedules_made_inside_jit_at_each_count(calls):

    @jax.jit
    def run(steps):
        return [jax.vmap(call.build())(t) for call, t in zip(calls, steps, strict=True)]

    for call, found in zip(calls, run([call.steps for call in calls]), strict=True):
        call.check(found)


def real_variations(call):
    """Several values of every real hyperparameter, changed by various factors."""
    factors = np.array([[1.0, 0.75, 0.9], [1.0, 0.9, 0.75]], np.float32)
    reals = enumerate(call.leaves(float).items())
    return {path: factors[i % 2] * np.float32(x) for i, (path, x) in reals}


def step_variations(call, dtype=np.uint8):
    """Several values of every number of steps, all one smaller or larger."""
    counts = call.leaves(int)
    return {p: np.array([n, max(1, n - 1), n + 1], dtype) for p, n in counts.items()}


def check_traced(calls, vary):
    """Under jit and vmap, at a matrix of counts, all calls in one program."""

    @jax.jit
    def run(variations):
        return [
            jax.vmap(lambda x, c=c: c.replace(x).build()(c.steps.reshape(8, 8)))(given)
            for c, given in zip(calls, variations, strict=True)
        ]

    variations = [vary(call) for call in calls]
    for call, given, rows in zip(calls, variations, run(variations), strict=True):
        for i, row in enumerate(rows):
            varied = call.replace({path: x[i].item() for path, x in given.items()})
            assert row.shape == (8, 8)
            varied.check(row.ravel())


@each_rule
def test_traced_numbers_of_steps(calls):
    check_traced([x for x in ends(calls) if x.leaves(int)], step_variations)


@each_rule
def test_traced_hyperparameters(calls):
    """All at once; real ones alone are in `test_derivatives_are_finite`."""
    last = calls[-1:]
    check_traced(last, lambda c: real_variations(c) | step_variations(c, np.int32))


@each_rule
def test_hyperparameters_of_every_float_dtype(calls):
    for call in ends(calls):
        for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, np.float32):
            given = {p: dtype(x * 0.9) for p, x in call.leaves(float).items()}
            found = call.replace(given).build()(call.steps)
            assert_rate(found)
            concrete = {path: float(x) for path, x in given.items()}
            call.replace(concrete).check(found, call.steps)


@each_rule
def test_numbers_of_steps_of_every_kind(calls):
    for call in ends(calls):
        for kind in (np.int64, np.uint8, jnp.int32, np.array):
            given = {path: kind(n) for path, n in call.leaves(int).items()}
            call.check(call.replace(given).build()(call.steps))


# ---- Derivatives ---------------------------------------------------------------------


@each_rule
def test_derivatives_are_finite(calls):
    """And the values are right where all real hyperparameters are traced.

    The derivative is that of the sum over all steps: a NaN of one would be one of it.
    """
    for call in calls:
        reals = {
            path: float(np.float32(0.9 * x)) for path, x in call.leaves(float).items()
        }
        varied = call.replace(reals)
        found, pull_back = jax.vjp(
            lambda x, c=call: c.replace(x).build()(c.steps), reals
        )
        varied.check(found)
        (slopes,) = pull_back(jnp.ones(found.shape))
        assert {p: x for p, x in slopes.items() if not np.isfinite(x)} == {}, call


# How far to go to either side; the fraction of the run is rounded to float64.
DELTAS = {"pct_start": Decimal("1e-6")}


def exact_derivatives(call, path, value):
    """The derivative at every step; None where it is not the same both ways."""
    delta = DELTAS.get(path[-1], Decimal("1e-20"))
    ends = [Decimal(value) - delta, Decimal(value), Decimal(value) + delta]
    low, mid, high = ([call.replace({path: x})(t) for t in call.steps] for x in ends)
    scale = max(abs(b - a) / (2 * delta) for a, b in zip(low, high, strict=True))
    return [
        (c - a) / (2 * delta) if abs(c - 2 * b + a) <= delta * scale / 1000 else None
        for a, b, c in zip(low, mid, high, strict=True)
    ]


def derivatives(call, differentiate):
    """At every step, by every real hyperparameter."""

    def run(values, t):
        return call.replace(values).build()(t)

    values = {path: jnp.asarray(x) for path, x in call.leaves(float).items()}
    return jax.jit(jax.vmap(differentiate(run), (None, 0)))(values, call.steps)


@pytest.mark.full
@pytest.mark.parametrize("differentiate", [jax.grad, jax.jacfwd])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_derivatives_are_right(call, differentiate):
    for path, found in derivatives(call, differentiate).items():
        assert found.dtype == np.float32
        assert np.isfinite(found).all(), path
    with jax.enable_x64(True):
        slopes = derivatives(call, differentiate)
    for path, value in call.leaves(float).items():
        assert slopes[path].dtype == np.float64
        expected = exact_derivatives(call, path, value)
        smooth = np.array([x is not None for x in expected])
        assert smooth.sum() > len(smooth) / 2, path
        expected = np.array([float(x or 0) for x in expected])
        np.testing.assert_allclose(
            np.asarray(slopes[path])[smooth],
            expected[smooth],
            rtol=0,
            atol=1e-7 * np.abs(expected).max(),
            err_msg=str(path),
        )


# ---- In use --------------------------------------------------------------------------


def test_as_the_schedules_of_an_optax_chain_under_scan():
    made = {name: calls[0].build() for name, calls in RULES.items()}
    chains = {name: optax.scale_by_schedule(x) for name, x in made.items()}
    tx = optax.partition(chains, {name: name for name in made})
    grads = dict.fromkeys(made, jnp.full((SIZE, 2), 0.5))

    @jax.jit
    def run(grads):
        params = {name: g[0] for name, g in grads.items()}

        def update(state, g):
            updates, state = tx.update(g, state, params)
            return state, updates

        return jax.lax.scan(update, tx.init(params), grads)[1]

    for name, found in run(grads).items():
        rates = np.asarray(made[name](np.arange(SIZE)))
        expected = np.repeat(rates[:, None], 2, axis=1) / 2
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, 1e-5, 1e-7, err_msg=name)


LENGTHS = {  # of a cycle: (name, other arguments, the argument that is the length)
    "cyclic": ("cyclic", {"base_value": 0.1, "peak_value": 1.0}, "up_steps"),
    "equal": ("warm_restarts", {"peak_value": 1.0}, "period"),
    "doubling": ("warm_restarts", {"peak_value": 1.0, "period_mult": 2}, "period"),
    "real": ("warm_restarts", {"peak_value": 1.0, "period_mult": 1.1}, "period"),
    "repeat": ("repeat", {"schedule": oxe.schedules.linear(1.0, 7)}, "period"),
    "step": ("step", {"init_value": 1.0, "factor": 0.5}, "step_size"),
}


def test_graph_does_not_grow_with_the_cycles():
    for label, (name, given, length) in LENGTHS.items():
        many, few = (
            str(jax.make_jaxpr(getattr(oxe.schedules, name)(**given, **{length: n}))(0))
            for n in (1, 10**9)
        )
        assert abs(many.count("\n") - few.count("\n")) <= 8, label
        assert many.count("\n") < 300, label


def lengths(call):
    """The numbers of steps that may grow alone; a boundary must not pass the next."""
    for path in call.leaves(int):
        *_, name, last = (None, *path)
        in_order = name in ("boundaries", "milestones")
        if not in_order or last == len(call.arguments[name]) - 1:
            yield path


@each_rule
def test_concrete_numbers_of_steps_may_be_large(calls):
    steps = [0, 1, 5, LAST - 1, LAST]
    for call in ends(calls):
        for path in lengths(call):
            for horizon in (LAST, 2**31, 2**32 + 5, 2**70):
                made = call.replace({path: horizon})
                found = evaluate(made.build(), np.resize(steps, SIZE))[: len(steps)]
                off = [
                    abs(Decimal(float(x)) - made(t))
                    for t, x in zip(steps, found, strict=True)
                ]
                assert max(off) <= call.allowance(), (call, path, horizon, off)


@each_rule
def test_debugging_modes(calls):
    """No NaN on the way, and neither dtypes nor shapes are promoted implicitly."""
    for call, schedule in schedules(calls):
        with jax.debug_nans(True):
            assert np.isfinite(schedule(SMALL)).all(), call
            assert np.isfinite(schedule(call.steps[-SIZE:])).all(), call
        with (
            jax.numpy_dtype_promotion("strict"),
            jax.numpy_rank_promotion("raise"),
            jax.disable_jit(),
        ):
            for t in (np.int32(3), SMALL, call.steps):
                assert_rate(jax.eval_shape(call.build(), t), np.shape(t))
