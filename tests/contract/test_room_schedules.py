"""What the schedules of `oxe.pytorch` and `oxe.keras` keep, wherever they come from.

Their values are compared in `tests/parity`; here is what they are as JAX functions. No
other library is needed: what returns a schedule says so in its annotation.
"""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.schedules import _curve

pt, ks = oxe.pytorch, oxe.keras
LAST = 2**31 - 1
ROOMS = {"pytorch": pt, "keras": ks}
SCHEDULE_TYPES = (_curve.Schedule, _curve.RestartingSchedule, _curve.MomentumSchedule)


def scheduling(room):
    """The names of a room that make a schedule."""
    made = {name: inspect.signature(getattr(room, name)) for name in room.__all__}
    return {n for n, found in made.items() if found.return_annotation in SCHEDULE_TYPES}


# Each as a function of the base rate.
CALLS = {
    "pytorch": {
        "LambdaLR": lambda lr: pt.LambdaLR(lr, lambda t: 1 / (1 + t // 10)),
        "MultiplicativeLR": lambda lr: pt.MultiplicativeLR(
            lr, lambda t: 0.99, total_steps=40
        ),
        "StepLR": lambda lr: pt.StepLR(lr, 10),
        "MultiStepLR": lambda lr: pt.MultiStepLR(lr, [9, 2, 50]),
        "ConstantLR": lambda lr: pt.ConstantLR(lr, total_iters=9),
        "LinearLR": lambda lr: pt.LinearLR(lr, total_iters=9),
        "ExponentialLR": lambda lr: pt.ExponentialLR(lr, 0.99),
        "PolynomialLR": lambda lr: pt.PolynomialLR(lr, 50, 2.0),
        "CosineAnnealingLR": lambda lr: pt.CosineAnnealingLR(lr, 10, 0.01),
        "CosineAnnealingWarmRestarts": lambda lr: pt.CosineAnnealingWarmRestarts(
            lr, 10, 2
        ),
        "SWALR": lambda lr: pt.SWALR(lr, 0.05, 10),
        "CyclicLR": lambda lr: pt.CyclicLR(0.01, lr, 10, mode="triangular2"),
        "OneCycleLR": lambda lr: pt.OneCycleLR(lr, 50),
        "SequentialLR": lambda lr: pt.SequentialLR(
            [pt.LinearLR(lr), pt.CosineAnnealingWarmRestarts(lr, 10)], [5]
        ),
        "ChainedScheduler": lambda lr: pt.ChainedScheduler(
            lr, [pt.ConstantLR(1.0), pt.CosineAnnealingWarmRestarts(1.0, 10)]
        ),
    },
    "keras": {
        "ExponentialDecay": lambda lr: ks.ExponentialDecay(lr, 10, 0.9),
        "InverseTimeDecay": lambda lr: ks.InverseTimeDecay(lr, 10, 0.9),
        "PiecewiseConstantDecay": lambda lr: ks.PiecewiseConstantDecay(
            [3, 9], [lr, 0.1, 0.2]
        ),
        "PolynomialDecay": lambda lr: ks.PolynomialDecay(lr, 10, cycle=True),
        "CosineDecay": lambda lr: ks.CosineDecay(
            0.01, 30, 0.1, warmup_target=lr, warmup_steps=7
        ),
        "CosineDecayRestarts": lambda lr: ks.CosineDecayRestarts(
            lr, 10, m_mul=0.9, alpha=0.1
        ),
        "CyclicLR": lambda lr: ks.CyclicLR(0.01, lr, 10, mode="exp_range", gamma=0.99),
    },
}
RESTART = {
    "pytorch": {"CosineAnnealingWarmRestarts", "SequentialLR", "ChainedScheduler"},
    "keras": {"CosineDecayRestarts"},
}
EACH = [(room, name) for room, calls in CALLS.items() for name in calls]
each = pytest.mark.parametrize(("room", "name"), EACH, ids=[".".join(x) for x in EACH])
COUNTS = np.array([0, 1, 2, 3, 5, 9, 10, 11, 49, 50, 51, 255], np.int32)
FAR = np.array([0, 1, 12, 50, 10**6, 2**24 + 1, 10**9, LAST], np.int64)


@pytest.mark.parametrize("room", ROOMS)
def test_every_schedule_has_a_call(room):
    assert set(CALLS[room]) == scheduling(ROOMS[room])


def assert_near(found, expected, ulps=4):
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, np.float32)
    atol = ulps * np.spacing(np.float32(abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def curves(room, name, lr=0.3):
    """The schedule, and that of its momentum if it has one."""
    made = CALLS[room][name](lr)
    return [made, made.momentum] if hasattr(made, "momentum") else [made]


@each
def test_counts_of_every_kind(room, name):
    for curve in curves(room, name):
        expected = curve(COUNTS)
        assert (expected.shape, expected.dtype) == (COUNTS.shape, np.float32)
        assert not expected.weak_type
        for kind in (np.uint8, np.int16, np.int64, np.uint64):
            np.testing.assert_array_equal(curve(COUNTS.astype(kind)), expected)
        for i in (0, 4, -1):
            for t in (int(COUNTS[i]), COUNTS[i], jnp.int32(COUNTS[i])):
                found = curve(t)
                assert (found.shape, found.dtype) == ((), np.float32)
                assert not found.weak_type
                assert_near(found, expected[i])
        np.testing.assert_array_equal(curve(-5), curve(0))
        np.testing.assert_array_equal(curve(2**40), curve(LAST))
        assert np.isfinite(curve(FAR)).all()
        with jax.enable_x64(True):
            wide = curve(COUNTS)
            assert wide.dtype == np.float64
            np.testing.assert_allclose(wide, expected, rtol=1e-5, atol=1e-6)


@each
def test_a_count_of_another_kind_is_refused_by_their_name(room, name):
    for curve in curves(room, name):
        for t in (1.0, True, None):
            with pytest.raises(TypeError, match=f"^{name}: `t` must be an integer"):
                curve(t)


@each
def test_jit_and_vmap_over_the_count(room, name):
    for curve in curves(room, name):
        for counts in (COUNTS, FAR.astype(np.int32)):
            expected = curve(counts)
            assert_near(jax.jit(curve)(counts), expected)
            assert_near(jax.vmap(curve)(jnp.asarray(counts)), expected)


@each
def test_vmap_over_the_rate(room, name):
    rates = jnp.array([0.1, 0.3, 0.9])
    rows = jax.vmap(lambda lr: CALLS[room][name](lr)(COUNTS))(rates)
    for lr, row in zip(rates, rows, strict=True):
        assert_near(row, CALLS[room][name](float(lr))(COUNTS))
    slopes = jax.jacfwd(lambda lr: CALLS[room][name](lr)(COUNTS))(0.3)
    assert np.isfinite(slopes).all()
    assert np.any(slopes != 0)


@each
def test_float64_counts_of_a_rate_of_float32(room, name):
    """A rate that is a float32 array does not lower the rest."""
    with jax.enable_x64(True):
        found = CALLS[room][name](jnp.float32(0.5))(COUNTS)
        assert found.dtype == np.float64
        np.testing.assert_allclose(
            found, CALLS[room][name](0.5)(COUNTS), rtol=1e-12, atol=1e-15
        )


@each
def test_in_a_chain_under_scan(room, name):
    """Made inside jit, of a traced rate, as the rate of an optimizer."""

    def run(lr):
        tx = optax.sgd(CALLS[room][name](lr))

        def update(carry, _):
            w, state = carry
            updates, state = tx.update(jnp.float32(1.0), state, w)
            return (optax.apply_updates(w, updates), state), -updates

        w = jnp.float32(0.0)
        return jax.lax.scan(update, (w, tx.init(w)), length=12)[1]

    steps = np.arange(12, dtype=np.int32)
    assert_near(jax.jit(run)(0.3), CALLS[room][name](0.3)(steps))


@each
def test_restarts_go_along(room, name):
    made = CALLS[room][name](0.3)
    assert hasattr(made, "restarts") == (name in RESTART[room])
    if hasattr(made, "restarts"):
        found = np.flatnonzero(made.restarts(np.arange(40)))
        doubling = not name.startswith(("Sequential", "Chained"))
        shifted = 5 * (name == "SequentialLR")
        expected = [10, 30] if doubling else [10 + shifted, 20 + shifted, 30 + shifted]
        assert found.tolist() == expected[: len(found)]
        assert len(found) >= 2


@each
def test_it_is_called_what_it_is(room, name):
    assert CALLS[room][name](0.1).__name__ == name


GROWING = {
    "pytorch.CosineAnnealingLR": lambda n: pt.CosineAnnealingLR(0.1, n),
    "pytorch.CosineAnnealingWarmRestarts": lambda n: pt.CosineAnnealingWarmRestarts(
        0.1, n, 2
    ),
    "pytorch.CyclicLR": lambda n: pt.CyclicLR(0.1, 1.0, n),
    "pytorch.StepLR": lambda n: pt.StepLR(0.1, n),
    "keras.PolynomialDecay": lambda n: ks.PolynomialDecay(0.1, n, cycle=True),
    "keras.CosineDecayRestarts": lambda n: ks.CosineDecayRestarts(0.1, n),
    "keras.CyclicLR": lambda n: ks.CyclicLR(0.1, 1.0, n),
    "pytorch.MultiplicativeLR": lambda n: pt.MultiplicativeLR(
        0.1, lambda t: 0.9, total_steps=min(n, 3000)
    ),
}


def size(curve):
    """Lines of the program, the contents of a constant aside."""
    text = jax.jit(curve).lower(0).as_text()
    return len(re.sub(r"dense<.*?>", "dense<>", text).splitlines())


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING)
def test_graph_does_not_grow(make):
    assert abs(size(make(2)) - size(make(10**9))) <= 8
