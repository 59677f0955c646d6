"""Places where a schedule once went wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_extras import schedules as s

LAST = 2**31 - 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int8, np.int32])
@pytest.mark.parametrize("three_phase", [False, True])
def test_traced_counts_of_any_integer_dtype(dtype, three_phase):
    def at(n):
        words = {"three_phase": three_phase, "anneal": "linear"}
        schedule = s.one_cycle(1.0, n, **words)
        return schedule(5), schedule.momentum(5)

    found = jax.vmap(at)(jnp.array([1, 10, 100], dtype))
    wanted = np.transpose([at(n) for n in (1, 10, 100)])
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("schedule", "t", "value"),
    [
        (s.exponential(0.0, 1.1), 2000, 0.0),
        (s.step(0.0, 1, 2.0), 1000, 0.0),
        (s.cyclic(0.1, 1.0, 1, mode="exp_range", gamma=1.01), 10**5, 0.1),
        (s.cyclic(0.0, 1.0, 1, floor_decay=1.1), 10**4, 0.0),
        (s.exponential(1.0, 0.5), LAST, 0.0),
    ],
    ids=["exponential", "step", "exp_range", "floor_decay", "underflow"],
)
def test_no_zero_times_infinity(schedule, t, value):
    assert schedule(t) == np.float32(value)


def test_a_floor_of_zero_that_grows_stays_zero():
    assert np.isfinite(s.warm_restarts(1.0, 10, floor_decay=1.5)(10001))


def test_parts_that_ignore_the_shape_of_t():
    constant = optax.constant_schedule(0.1)
    for schedule in (
        s.repeat(constant, 3),
        s.product(constant, constant),
        s.sequence([constant], []),
        s.warmup(2, constant),
        s.cooldown(constant, 2, 2),
    ):
        assert schedule(np.arange(5)).shape == (5,)


def test_parts_that_need_an_array():
    def cast(t):
        return 0.1 * t.astype(jnp.float32)

    assert s.warmup(2, cast)(0) == 0
    assert s.cooldown(cast, 5, 5)(3) == np.float32(0.1) * 3


@pytest.mark.parametrize("nest", [s.warmup, lambda n, x: s.cooldown(x, n, 5)])
def test_nested_ramps_grow_by_the_piece(nest):
    sizes, schedule = [], s.cosine(1.0, 10)
    for _ in range(6):
        schedule = nest(3, schedule)
        sizes.append(jax.jit(schedule).lower(0).as_text().count("\n"))
    steps = np.diff(sizes)
    assert max(steps) <= min(steps) + 3


def test_a_long_table_is_searched():
    """Comparing every step with every row would take gigabytes."""
    schedule = s.warm_restarts(1.0, 10, 1.01)
    compiled = jax.jit(schedule).lower(np.zeros(10**5, np.int32)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 10**7


def test_a_concrete_array_in_a_closure():
    gamma, factor = jnp.float32(1.0), jnp.float32(0.5)
    found = jax.jit(lambda t: s.cyclic(0.0, 1.0, 5, gamma=gamma)(t))(3)
    assert found == np.float32(0.6)
    assert jax.jit(lambda t: s.step(1.0, 2, factor)(t))(2) == 0.5


def test_a_horizon_without_end():
    assert s.cosine(1.0, 10**400)(LAST) == 1
    assert s.sequence([1.0, 2.0], [10**400])(LAST) == 1


def test_a_restart_at_the_last_step_of_a_phase_is_no_other():
    """What is over does not restart again and again."""
    schedule = s.sequence([s.warm_restarts(1.0, 5), s.cosine(1.0, 9)], [6])
    assert [t for t in range(40) if schedule.restarts(t)] == [5]


def test_a_period_of_one_restarts_at_every_step_but_the_first():
    found = s.repeat(1.0, 1).restarts(np.arange(4))
    np.testing.assert_array_equal(found, [False, True, True, True])


def test_the_end_of_the_last_cycle_is_exact_and_stays():
    """Also a floor of its own for every cycle, long after the last."""
    assert s.warm_restarts(1.0, 4, cycles=2)(8) == 0
    falling = s.warm_restarts(1.0, 4, end_value=0.5, floor_decay=0.5, cycles=2)
    np.testing.assert_array_equal(falling(np.array([8, 12, 16, 400])), 0.25)


@pytest.mark.parametrize("boundary", [0, 1, 2])
def test_a_schedule_is_never_asked_past_its_phase(boundary):
    """Of one that has a pole at its end, or right after, no slope is NaN."""

    def pole(scale):
        return lambda t: (
            scale
            / jnp.maximum(boundary, 1).astype(jnp.float32)
            / (1 - t / jnp.maximum(boundary, 1))
        )

    def at(scale, t):
        return s.sequence([pole(scale), 0.5], [boundary])(t)

    slopes = [jax.grad(at)(1.0, t) for t in range(4)]
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("traced", [False, True])
def test_a_cycle_that_begins_at_the_last_count(traced):
    """Of lengths 1, 2, 4, ... the 32nd begins at 2**31 - 1."""

    def at(period):
        schedule = s.warm_restarts(1.0, period, 2)
        return schedule(LAST), schedule.restarts(LAST), schedule.restarts(LAST - 1)

    value, here, before = jax.jit(at)(1) if traced else at(1)
    assert (value, here, before) == (1, True, False)
