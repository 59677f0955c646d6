"""Special arguments for which a schedule once was wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_extras import schedules as s
from tests.schedules import exact
from tests.schedules.calls import LAST, SIZE, evaluate


def test_traced_total_steps_of_an_unsigned_integer_dtype():
    @jax.jit
    @jax.vmap
    def run(n):
        words = {"anneal": "linear"}
        made = [s.one_cycle(1.0, n, **words, three_phase=x) for x in (False, True)]
        return [(schedule(5), schedule.momentum(5)) for schedule in made]

    totals = (1, 10, 100)
    for three_phase, found in enumerate(run(np.array(totals, np.uint8))):
        words = {"anneal": "linear", "three_phase": bool(three_phase)}
        rates = [exact.one_cycle(5, 1.0, n, **words) for n in totals]
        momenta = [exact.one_cycle_momentum(5, n, **words) for n in totals]
        expected = np.array([rates, momenta], float)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_zero_times_infinity():
    for schedule, t, value in (
        (s.exponential(0.0, 1.1), 2000, 0.0),
        (s.step(0.0, 1, 2.0), 1000, 0.0),
        (s.cyclic(0.1, 1.0, 1, mode="exp_range", gamma=1.01), 10**5, 0.1),
        (s.cyclic(0.0, 1.0, 1, floor_decay=1.1), 10**4, 0.0),
        (s.exponential(1.0, 0.5), LAST, 0.0),
    ):
        assert schedule(t) == np.float32(value), schedule.__name__
    assert np.isfinite(s.warm_restarts(1.0, 10, floor_decay=1.5)(10001))


def test_parts_that_ignore_the_shape_of_the_count():
    constant = optax.constant_schedule(0.1)
    for schedule in (
        s.repeat(constant, 3),
        s.product(constant, constant),
        s.sequence([constant], []),
        s.warmup(2, constant),
        s.cooldown(constant, 2, 2),
    ):
        assert schedule(np.arange(SIZE)).shape == (SIZE,), schedule.__name__


def test_parts_that_need_an_array():
    def cast(t):
        return 0.1 * t.astype(jnp.float32)

    assert s.warmup(2, cast)(0) == 0
    assert s.cooldown(cast, 5, 5)(3) == np.float32(0.1) * 3


def test_nested_ramps_grow_by_the_piece():
    for nest in (s.warmup, lambda n, x: s.cooldown(x, n, 5)):
        sizes, schedule = [], s.cosine(1.0, 10)
        for _ in range(6):
            schedule = nest(3, schedule)
            sizes.append(str(jax.make_jaxpr(schedule)(0)).count("\n"))
        added = np.diff(sizes)
        assert max(added) <= min(added) + 3


def test_a_long_table_is_searched():
    """Comparing every step with every row would take gigabytes."""
    schedule = s.warm_restarts(1.0, 10, 1.01)
    compiled = jax.jit(schedule).lower(np.zeros(10**5, np.int32)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 10**7


def test_concrete_arrays_in_a_closure():
    gamma, factor = jnp.float32(1.0), jnp.float32(0.5)

    @jax.jit
    def run(t):
        return s.cyclic(0.0, 1.0, 5, gamma=gamma)(t), s.step(1.0, 2, factor)(t)

    assert run(3) == (np.float32(0.6), 0.5)


def test_horizons_without_end():
    assert s.cosine(1.0, 10**400)(LAST) == 1
    assert s.sequence([1.0, 2.0], [10**400])(LAST) == 1


def test_the_end_of_the_last_cycle_is_exact_and_holds():
    """Also the end value of the last cycle, long after it."""
    assert s.warm_restarts(1.0, 4, cycles=2)(8) == 0
    falling = s.warm_restarts(1.0, 4, end_value=0.5, floor_decay=0.5, cycles=2)
    assert (evaluate(falling, np.resize([8, 12, 16, 400], SIZE)) == 0.25).all()


def test_a_schedule_is_not_called_past_its_phase():
    """A schedule that is infinite at its end, or right after, makes no gradient NaN."""
    for boundary in (0, 1, 2):

        def run(scale, n=boundary):
            def pole(t):
                return scale / jnp.float32(max(n, 1)) / (1 - t / max(n, 1))

            return s.sequence([pole, 0.5], [n])(np.arange(SIZE)).sum()

        assert np.isfinite(jax.grad(run)(1.0)), boundary


def test_a_cycle_that_begins_at_the_last_count():
    """With lengths 1, 2, 4, ... the 32nd cycle begins at 2**31 - 1."""

    def run(period):
        schedule = s.warm_restarts(1.0, period, 2)
        return schedule(LAST), schedule.restarts(LAST), schedule.restarts(LAST - 1)

    for call in (run, jax.jit(run)):
        assert call(1) == (1, True, False)


@pytest.mark.parametrize(
    "then",
    [
        s.cosine(1e-3, 0),
        s.linear(1e-3, 0),
        s.linear(1e-3, 0, 1e-5),
        s.polynomial(1e-3, 0, 2.0),
        s.wsd(1e-3, 0, 0, 0),
        s.product(s.cosine(2e-3, 0), 0.5),
        s.repeat(s.cosine(1e-3, 0), 5),
        s.cooldown(1e-3, 0, 0),
        s.cooldown(s.cosine(1e-3, 0), 5, 5),
        s.sequence([s.cosine(1e-3, 0), 1e-4], [7]),
        s.sequence([1.0, s.cosine(1e-3, 0)], [0]),
        s.warmup(0, s.linear(1e-3, 0)),
    ],
)
def test_a_warmup_that_is_the_complete_run(then):
    """It rises to where the decay of no steps starts, and ends where the decay does."""
    schedule = s.warmup(100, then)
    np.testing.assert_allclose(
        schedule(np.arange(100)), 1e-5 * np.arange(100), 1e-6, 1e-9
    )
    assert schedule(100) == then(0) < 1e-3


@pytest.mark.parametrize(
    "decay",
    [
        lambda n: s.cosine(1e-3, n),
        lambda n: s.rex(1e-3, n),
        lambda n: s.cooldown(1e-3, n, n),
        lambda n: s.warmup(n, s.cosine(1e-3, n)),
    ],
)
def test_a_warmup_of_a_traced_number_of_steps(decay):
    run = jax.jit(lambda n: s.warmup(100, decay(n))(np.arange(101)))
    np.testing.assert_allclose(run(0)[:100], 1e-5 * np.arange(100), 1e-6, 1e-9)
    assert run(0)[100] == 0
    later = s.warmup(100, decay(9))(np.arange(101))
    np.testing.assert_allclose(run(9), later, 1e-6, 1e-9)
