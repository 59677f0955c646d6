"""The schedules against Optax's, in Optax's transforms and around its schedules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras import schedules as s
from tests.schedules.calls import SIZE

# Around all joints below. int64: Optax turns int32 into float32, also under x64.
_JOINTS = (1, 7, 20, 25, 30, 40, 50, 60, 77, 90, 100, 120, 140, 150, 200, 260)
COUNTS = np.ravel([[t - 1, t, t + 1, t + 5] for t in _JOINTS])


class Case(NamedTuple):
    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    largest: float = 0.1


def sgdr(cycles, warmup_steps=0):
    """Optax's list of cycles, each of (length, first value, peak, end)."""
    names = ("decay_steps", "init_value", "peak_value", "end_value")
    listed = [dict(zip(names, cycle, strict=True)) for cycle in cycles]
    return optax.sgdr_schedule([{**c, "warmup_steps": warmup_steps} for c in listed])


SAME = {
    "linear": Case(
        lambda: optax.linear_schedule(0.1, 0.02, 100), lambda: s.linear(0.1, 100, 0.02)
    ),
    "linear-rise": Case(
        lambda: optax.linear_schedule(0.0, 0.1, 7), lambda: s.linear(0.0, 7, 0.1)
    ),
    "polynomial": Case(
        lambda: optax.polynomial_schedule(0.1, 0.01, 2.5, 90),
        lambda: s.polynomial(0.1, 90, 2.5, 0.01),
    ),
    "polynomial-root": Case(
        lambda: optax.polynomial_schedule(0.1, 0.0, 0.5, 200),
        lambda: s.polynomial(0.1, 200, 0.5),
    ),
    "polynomial-late": Case(
        lambda: optax.polynomial_schedule(0.1, 0.01, 2.0, 90, transition_begin=30),
        lambda: s.sequence([0.1, s.polynomial(0.1, 90, 2.0, 0.01)], [30]),
    ),
    "cosine": Case(
        lambda: optax.cosine_decay_schedule(0.1, 100), lambda: s.cosine(0.1, 100)
    ),
    "cosine-alpha": Case(
        lambda: optax.cosine_decay_schedule(0.1, 77, alpha=0.3),
        lambda: s.cosine(0.1, 77, 0.03),
    ),
    "exponential": Case(
        lambda: optax.exponential_decay(0.1, 10, 0.9),
        lambda: s.exponential(0.1, 0.9, 10),
    ),
    "exponential-staircase": Case(
        lambda: optax.exponential_decay(0.1, 10, 0.5, staircase=True),
        lambda: s.step(0.1, 10, 0.5),
    ),
    "piecewise": Case(
        lambda: optax.piecewise_constant_schedule(0.01, {3: 10.0, 60: 0.5, 61: 0.3}),
        lambda: s.multistep(0.01, [3, 60, 61], [10.0, 0.5, 0.3]),
    ),
    "warmup-constant": Case(
        lambda: optax.warmup_constant_schedule(0.01, 0.1, 25),
        lambda: s.warmup(25, 0.1, 0.01),
    ),
    # Optax's decay_steps include the warm-up.
    "warmup-cosine": Case(
        lambda: optax.warmup_cosine_decay_schedule(0.01, 0.1, 20, 200, 0.001),
        lambda: s.warmup(20, s.cosine(0.1, 180, 0.001), 0.01),
    ),
    # In its warm-up to an exponential they do not.
    "warmup-exponential": Case(
        lambda: optax.warmup_exponential_decay_schedule(0.0, 0.1, 20, 30, 0.5),
        lambda: s.warmup(20, s.exponential(0.1, 0.5, 30)),
    ),
    "sgdr-equal": Case(
        lambda: sgdr([(50, 0.1, 0.1, 0.01), (50, 0.1, 0.1, 0.01)]),
        lambda: s.warm_restarts(0.1, 50, 1, 0.01, cycles=2),
    ),
    "sgdr-growing": Case(
        lambda: sgdr([(20, 0, 0.1, 0.0), (40, 0, 0.1, 0.0), (80, 0, 0.1, 0.0)]),
        lambda: s.warm_restarts(0.1, 20, 2, cycles=3),
    ),
    "sgdr-falling": Case(
        lambda: sgdr(
            [(20, 0, 0.1, 0.01), (60, 0, 0.05, 0.008), (180, 0, 0.025, 0.0064)]
        ),
        lambda: s.warm_restarts(
            0.1, 20, 3, 0.01, peak_decay=0.5, floor_decay=0.8, cycles=3
        ),
    ),
    "sgdr-warmup": Case(
        lambda: sgdr([(50, 0.01, 0.1, 0.02)] * 6, warmup_steps=10),
        lambda: s.repeat(s.warmup(10, s.cosine(0.1, 40, 0.02), 0.01), 50),
    ),
    "wsd": Case(
        lambda: optax.join_schedules(
            [
                optax.linear_schedule(0.0, 0.1, 20),
                optax.constant_schedule(0.1),
                optax.linear_schedule(0.1, 0.01, 50),
            ],
            [20, 150],
        ),
        lambda: s.wsd(0.1, 20, 130, 50, end_value=0.01),
    ),
    "join": Case(
        lambda: optax.join_schedules(
            [
                optax.linear_schedule(0.0, 0.1, 20),
                optax.exponential_decay(0.08, 10, 0.9),
                optax.cosine_decay_schedule(0.05, 60),
            ],
            [20, 100],
        ),
        lambda: s.sequence(
            [s.linear(0.0, 20, 0.1), s.exponential(0.08, 0.9, 10), s.cosine(0.05, 60)],
            [20, 100],
        ),
    ),
}


def test_same_in_float64():
    for name, case in SAME.items():
        with jax.enable_x64(True):
            theirs = np.asarray(case.theirs()(COUNTS))
            ours = np.asarray(case.ours()(COUNTS))
        assert theirs.dtype == ours.dtype == np.float64, name
        atol = 1e-13 * case.largest
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)


def test_one_cycle_peaks_one_step_earlier():
    """Optax ends at step T, which T updates never reach; ours, as PyTorch, at T - 1."""
    with jax.enable_x64(True):
        theirs = jax.jit(jax.vmap(optax.cosine_onecycle_schedule(10, 1.0)))
        theirs = np.asarray(theirs(np.arange(12)))
        ours = np.asarray(s.one_cycle(1.0, 10)(np.arange(SIZE)))[:12]
    assert (theirs.argmax(), ours.argmax()) == (3, 2)
    np.testing.assert_allclose([theirs[0], ours[0]], 1 / 25, rtol=1e-12)
    np.testing.assert_allclose([theirs[3], ours[2]], 1.0, rtol=1e-12)
    np.testing.assert_allclose([theirs[10], ours[9]], 1 / 25 / 1e4, rtol=1e-9)
    np.testing.assert_allclose(ours[2:-1], theirs[3:], rtol=0, atol=1e-13)
    assert theirs[9] > 100 * ours[9]


def test_as_an_injected_hyperparameter():
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=s.linear(0.1, 10))
    update, state = jax.jit(tx.update), tx.init(jnp.zeros(2))
    rates = []
    for _ in range(12):
        updates, state = update(jnp.ones(2), state)
        rates.append(-float(updates[0]))
        assert state.hyperparams["learning_rate"] == -updates[0]
    expected = [0.1 * max(0, 10 - t) / 10 for t in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-9)


def test_inside_join_schedules():
    parts, steps = [s.linear(0.0, 10, 0.1), s.cosine(0.1, 50)], np.arange(SIZE)
    rise, fall = (np.asarray(part(steps)) for part in parts)
    found = optax.join_schedules(parts, [10])(steps)
    expected = np.where(steps < 10, rise, fall[steps - 10])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-8)


def test_around_schedules_of_optax():
    """Each composition against its definition."""
    decay = optax.cosine_decay_schedule(0.1, 40)
    rise = optax.linear_schedule(0.01, 0.2, 15)
    t = np.arange(SIZE)
    d, r = (np.asarray(schedule(t)) for schedule in (decay, rise))
    cases = {
        "warmup": (s.warmup(10, decay), np.where(t < 10, t / 10 * d[0], d[t - 10])),
        "cooldown": (
            s.cooldown(decay, 20, 10),
            np.where(t < 20, d, d[20] * np.maximum(0, 30 - t) / 10),
        ),
        "sequence": (
            s.sequence([rise, decay, 0.05], [15, 40]),
            np.select([t < 15, t < 40], [r, d[t - 15]], 0.05),
        ),
        "product": (s.product(rise, decay, 2.0), r * d * 2),
        "repeat": (s.repeat(decay, 12), d[t % 12]),
    }
    atol = 16 * np.spacing(np.float32(0.1))
    for name, (schedule, expected) in cases.items():
        np.testing.assert_allclose(schedule(t), expected, 0, atol, err_msg=name)

    @jax.jit
    def run(t):
        return [schedule(t) for schedule, _ in cases.values()]

    for found, (name, (_, expected)) in zip(run(t), cases.items(), strict=True):
        np.testing.assert_allclose(found, expected, 0, atol, err_msg=name)
