"""The schedules against Optax's own, and inside of Optax and around it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_extras import schedules as s

COUNTS = np.arange(260)  # int64: of int32 Optax makes float32, under x64 too


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
    # The decay_steps of Optax include the warm-up.
    "warmup-cosine": Case(
        lambda: optax.warmup_cosine_decay_schedule(0.01, 0.1, 20, 200, 0.001),
        lambda: s.warmup(20, s.cosine(0.1, 180, 0.001), 0.01),
    ),
    # Those of its warm-up to an exponential do not.
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


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_same_in_float64(case):
    with jax.enable_x64(True):
        theirs, ours = (
            np.asarray(case.theirs()(COUNTS)),
            np.asarray(case.ours()(COUNTS)),
        )
    assert theirs.dtype == ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * case.largest)


@pytest.mark.parametrize("case", SAME.values(), ids=SAME)
def test_same_in_float32(case):
    """Within our 8 ulps and as many for Optax."""
    theirs = np.asarray(jax.vmap(case.theirs())(COUNTS.astype(np.int32)))
    ours = np.asarray(case.ours()(COUNTS))
    assert theirs.dtype == ours.dtype == np.float32
    atol = 16 * np.spacing(np.float32(case.largest))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)


def test_one_cycle_peaks_one_step_earlier():
    """Optax ends at step T, which T updates never reach; ours at T - 1, as PyTorch."""
    with jax.enable_x64(True):
        theirs = optax.cosine_onecycle_schedule(10, 1.0)
        theirs = np.asarray([theirs(t) for t in range(12)])
        ours = np.asarray(s.one_cycle(1.0, 10)(np.arange(12)))
    assert (theirs.argmax(), ours.argmax()) == (3, 2)
    np.testing.assert_allclose([theirs[0], ours[0]], 1 / 25, rtol=1e-12)
    np.testing.assert_allclose([theirs[3], ours[2]], 1.0, rtol=1e-12)
    np.testing.assert_allclose([theirs[10], ours[9]], 1 / 25 / 1e4, rtol=1e-9)
    np.testing.assert_allclose(ours[2:-1], theirs[3:], rtol=0, atol=1e-13)
    assert theirs[9] > 100 * ours[9]


# One of each kind; no schedule of ours needs more than the count to run inside Optax.
INSIDE = {
    "piecewise_constant": lambda: s.piecewise_constant([0.1, 0.02, 0.3], [5, 9]),
    "step": lambda: s.step(0.1, 4),
    "multistep": lambda: s.multistep(0.1, [3, 7]),
    "exponential": lambda: s.exponential(0.1, 0.9),
    "inverse_time": lambda: s.inverse_time(0.1, 0.5),
    "inverse_sqrt": lambda: s.inverse_sqrt(0.1, 10),
    "polynomial": lambda: s.polynomial(0.1, 15, 2.0),
    "linear": lambda: s.linear(0.1, 15),
    "cosine": lambda: s.cosine(0.1, 15),
    "rex": lambda: s.rex(0.1, 15),
    "cyclic": lambda: s.cyclic(0.01, 0.1, 3, 2),
    "warm_restarts": lambda: s.warm_restarts(0.1, 4, 1.5),
    "one_cycle": lambda: s.one_cycle(0.1, 20),
    "wsd": lambda: s.wsd(0.1, 4, 8, 8),
    "warmup": lambda: s.warmup(5, s.cosine(0.1, 15)),
    "cooldown": lambda: s.cooldown(0.1, 10, 10),
    "sequence": lambda: s.sequence([0.1, s.linear(0.1, 10)], [10]),
    "product": lambda: s.product(s.cyclic(0.01, 0.1, 3), s.linear(1.0, 20)),
    "repeat": lambda: s.repeat(s.linear(0.1, 6), 6),
}


def test_every_schedule_is_tried_inside():
    assert sorted(INSIDE) == sorted(s.__all__)


def updates(tx, grads):
    """What a transform makes of the gradients, one after another, in one program."""

    def one(state, grad):
        update, state = tx.update(grad, state)
        return state, update

    return jax.jit(lambda xs: jax.lax.scan(one, tx.init(xs[0]), xs)[1])(grads)


@pytest.mark.parametrize("make", INSIDE.values(), ids=INSIDE)
def test_inside_a_scanned_chain(make):
    grads = jnp.asarray(np.random.default_rng(0).normal(size=(21, 3)), jnp.float32)
    schedule = make()
    chain = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(schedule))
    found = np.asarray(updates(chain, grads))
    plain = np.asarray(updates(optax.scale_by_adam(), grads))
    rates = np.asarray([schedule(t) for t in range(21)])
    np.testing.assert_allclose(found, plain * rates[:, None], rtol=2e-6, atol=1e-9)


def test_as_the_learning_rate_of_an_alias():
    grads = jnp.asarray(np.random.default_rng(1).normal(size=(120, 3)), jnp.float32)
    ours = updates(optax.adam(s.cosine(0.1, 100)), grads)
    theirs = updates(optax.adam(optax.cosine_decay_schedule(0.1, 100)), grads)
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-8)


def test_as_an_injected_hyperparameter():
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=s.linear(0.1, 10))
    state = tx.init(jnp.zeros(2))
    seen = []
    for _ in range(12):
        update, state = jax.jit(tx.update)(jnp.ones(2), state)
        seen.append(-float(update[0]))
        assert state.hyperparams["learning_rate"] == -update[0]
    expected = [0.1 * max(0, 10 - t) / 10 for t in range(12)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6, atol=1e-9)


def test_inside_their_join():
    ours = optax.join_schedules([s.linear(0.0, 10, 0.1), s.cosine(0.1, 50)], [10])
    theirs = optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 60)
    found = [ours(jnp.int32(t)) for t in range(70)]
    expected = [theirs(jnp.int32(t)) for t in range(70)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-8)


# Optax's schedules where ours take one: the composition by its definition.

DECAY = optax.cosine_decay_schedule(0.1, 40)
RISE = optax.linear_schedule(0.01, 0.2, 15)


def then_decay(t):
    return t / 10 * DECAY(0) if t < 10 else DECAY(t - 10)


def cooled(t):
    return DECAY(t) if t < 20 else DECAY(20) * max(0, 30 - t) / 10


def in_turn(t):
    return RISE(t) if t < 15 else DECAY(t - 15) if t < 40 else 0.05


AROUND = {
    "warmup": (lambda: s.warmup(10, DECAY), then_decay),
    "cooldown": (lambda: s.cooldown(DECAY, 20, 10), cooled),
    "sequence": (lambda: s.sequence([RISE, DECAY, 0.05], [15, 40]), in_turn),
    "product": (lambda: s.product(RISE, DECAY, 2.0), lambda t: RISE(t) * DECAY(t) * 2),
    "repeat": (lambda: s.repeat(DECAY, 12), lambda t: DECAY(t % 12)),
}


@pytest.mark.parametrize("call", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("make", "expected"), AROUND.values(), ids=AROUND)
def test_around_schedules_of_optax(make, expected, call):
    found = call(make())(np.arange(70))
    theirs = [float(expected(t)) for t in range(70)]
    atol = 16 * np.spacing(np.float32(0.1))
    np.testing.assert_allclose(found, theirs, rtol=0, atol=atol)
