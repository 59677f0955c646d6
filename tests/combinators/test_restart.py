"""Restarts: step by step what a direction re-initialised by hand does."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import gradients

GRADS = gradients(40, 5, (-2, 2))
SCHEDULE = oxe.schedules.warm_restarts(0.1, period=5, period_mult=2)
RESTARTS = (5, 15, 35)  # with a period of 5, twice as long each time
RULES = {
    "momentum": oxe.rules.momentum(dampening=0.5),
    "adam": oxe.rules.adam(),
    "nadam": oxe.rules.nadam(),
    "radam": oxe.rules.radam(),
    "amsgrad": oxe.rules.amsgrad(),
    "rmsprop": oxe.rules.rmsprop(),
}


def by_hand(direction, schedule):
    """The schedule's count goes on; the direction is made anew."""
    path, rate = [], optax.scale_by_learning_rate(schedule)
    g = jnp.asarray(GRADS[0])
    state, rates = direction.init(g), rate.init(g)
    for k, g in enumerate(GRADS):
        if k in RESTARTS:
            state = direction.init(g)
        u, state = direction.update(jnp.asarray(g), state)
        u, rates = rate.update(u, rates)
        path.append(np.asarray(u))
    return np.array(path)


def run(tx):
    state, us = tx.init(jnp.asarray(GRADS[0])), []
    update = jax.jit(tx.update)
    for g in GRADS:
        u, state = update(jnp.asarray(g), state)
        us.append(np.asarray(u))
    return np.array(us), state


def assert_like(us, expected):
    assert np.all(np.abs(us - expected) <= 1e-11 * np.abs(expected).max(0))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule(rule):
    with jax.enable_x64(True):
        direction = oxe.scale_by_moments(oxe.restart(rule, SCHEDULE))
        us, state = run(optax.chain(direction, oxe.scale_by_rate(SCHEDULE)))
        assert_like(us, by_hand(oxe.scale_by_moments(rule), SCHEDULE))
        assert (state[0].carry.count, state[0].carry.since) == (40, 5)
        np.testing.assert_allclose(oxe.learning_rate(state), SCHEDULE(39), rtol=1e-12)


@pytest.mark.parametrize(
    "inner", [optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_amsgrad()]
)
def test_a_transformation(inner):
    with jax.enable_x64(True):
        tx = optax.chain(oxe.restart(inner, SCHEDULE), oxe.scale_by_rate(SCHEDULE))
        us, state = run(tx)
        assert_like(us, by_hand(inner, SCHEDULE))
        assert (state[0].count, state[0].since) == (40, 5)


@pytest.mark.parametrize("last", [oxe.scale_by_rate, optax.scale_by_learning_rate])
def test_schedules_within_a_transformation_go_on(last):
    with jax.enable_x64(True):
        tx = oxe.restart(optax.chain(optax.scale_by_adam(), last(SCHEDULE)), SCHEDULE)
        assert_like(run(tx)[0], by_hand(optax.scale_by_adam(), SCHEDULE))


@pytest.mark.parametrize(
    "last",
    [
        oxe.scale_by_metric(oxe.plateau(1.0, factor=0.5, patience=0)),
        optax.contrib.reduce_on_plateau(factor=0.5, patience=1),
    ],
    ids=["ours", "Optax's"],
)
def test_metric_schedules_within_a_transformation_go_on(last):
    tx, g = optax.chain(optax.identity(), last), jnp.ones(())
    again, state, alone = oxe.restart(tx, oxe.at_step(4)), tx.init(g), []
    restarted, us = again.init(g), []
    for _ in range(8):
        u, state = tx.update(g, state, g, value=1.0)
        v, restarted = again.update(g, restarted, g, value=1.0)
        alone.append(float(u))
        us.append(float(v))
    assert us == alone
    assert us[-1] < us[3] < us[0]


@pytest.mark.parametrize("inner", [oxe.rules.adam(), optax.scale_by_adam()])
def test_what_a_condition_begins_with_is_not_donated(inner):
    first = jnp.zeros(())
    counted = oxe.Condition(lambda: first, lambda watch, count, **_: (False, watch + 1))
    tx = oxe.restart(inner, counted)
    tx = oxe.scale_by_moments(tx) if isinstance(tx, oxe.Rule) else tx
    g = jnp.ones(2)
    jax.jit(tx.update, donate_argnums=1)(g, tx.init(g), g)
    assert first == 0
    assert optax.tree.get(tx.init(g), "watch") == 0


def test_moments_alone_would_not_do():
    """Adam's first step is of length 1; with zero moments and an old count, 3.16."""
    rule = oxe.restart(oxe.rules.adam(), oxe.at_step(1))
    tx = oxe.scale_by_moments(rule)
    g = jnp.ones(3)
    _, state = tx.update(g, tx.init(g))
    for _ in range(3):  # at_step holds from then on: every update is a first one
        u, state = tx.update(g, state)
        np.testing.assert_allclose(u, 1, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda when: oxe.scale_by_moments(oxe.restart(oxe.rules.momentum(), when)),
        lambda when: oxe.restart(optax.trace(0.9), when),
    ],
)
def test_a_condition_sees_everything(make):
    """Here that an update has grown too long, with a memory of how often."""

    def update(watch, count, *, grads, updates, params, value):
        assert (grads.shape, params) == ((2,), None)
        fired = jnp.max(updates) > value
        return fired, watch + fired

    tx = make(oxe.Condition(lambda: 0, update))
    g, us = jnp.ones(2), []
    state = tx.init(g)
    for _ in range(8):
        u, state = jax.jit(tx.update)(g, state, value=2.5)
        us.append(float(u[0]))
    np.testing.assert_allclose(us, [1, 1.9, 2.71, 1, 1.9, 2.71, 1, 1.9], rtol=1e-6)
    assert optax.tree.get(state, "watch") == 2


def test_what_spoilt_the_moments_is_gone():
    tx = oxe.scale_by_moments(oxe.restart(oxe.rules.adam(), oxe.at_step(1)))
    _, state = tx.update(jnp.array([jnp.nan, 1e20]), tx.init(jnp.ones(2)))
    u, _ = tx.update(jnp.ones(2), state)
    np.testing.assert_allclose(u, 1, rtol=1e-6)


def test_no_temporary():
    def step(params, state, grads):
        u, state = tx.update(grads, state)
        return params - u, state

    tx = oxe.scale_by_moments(oxe.restart(oxe.rules.adam(), SCHEDULE))
    params = jnp.ones(1 << 16)
    state = jax.eval_shape(tx.init, params)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    assert lowered.compile().memory_analysis().temp_size_in_bytes < params.nbytes / 100


def test_a_switch_can_be_restarted():
    """And then begins with its first phase."""
    rule = oxe.switch(
        oxe.rules.sgd(), oxe.rules.rated(oxe.rules.sgd(), 5.0), oxe.at_step(2)
    )
    tx = oxe.scale_by_moments(oxe.restart(rule, lambda *, count, **_: count % 3 == 0))
    g, us = jnp.ones(1), []
    state = tx.init(g)
    for _ in range(7):
        u, state = tx.update(g, state)
        us.append(float(u[0]))
    assert us == [1, 1, 5, 1, 1, 5, 1]


@pytest.mark.parametrize(
    ("inner", "when", "message"),
    [
        (None, SCHEDULE, "`inner` must be an `oxe.Rule` or a gradient"),
        (oxe.rules.adam, SCHEDULE, "`inner` must be an `oxe.Rule` or a gradient"),
        (oxe.rules.adam(), 100, "`when` must be callable"),
        (optax.sgd(0.1), 100, "`when` must be callable"),
    ],
)
def test_wrong_arguments(inner, when, message):
    with pytest.raises(TypeError, match=f"restart: {message}"):
        oxe.restart(inner, when)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: oxe.scale_by_moments(
            oxe.restart(oxe.rules.rated(oxe.rules.adam(), lambda t: 1.0 / (1 + t)), s)
        ),
        lambda s: oxe.restart(optax.inject_hyperparams(optax.adam)(s), s),
        lambda s: oxe.restart(oxe.scheduled(optax.adam)(learning_rate=s), s),
        lambda s: oxe.restart(oxe.nadam(s), s),
    ],
    ids=["rated", "injected", "scheduled", "nadam"],
)
def test_the_rate_that_is_read_is_that_of_the_last_update(make):
    """At the restart too; schedules beside the direction go on."""
    schedule = oxe.schedules.warm_restarts(1.0, period=4, period_mult=2)
    tx, g = make(schedule), jnp.ones(3)
    state = tx.init(g)
    for t in range(14):
        _, state = tx.update(g, state, g)
        expected = schedule(t)
        if hasattr(state, "carry"):  # a rule inside counts by its own updates
            start = max(k for k in (0, 4, 12) if k <= t)
            expected = 1.0 / (1 + t - start)
        assert oxe.learning_rate(state) == pytest.approx(float(expected), rel=1e-6)


def test_at_step_restarts_once():
    tx, g = oxe.scale_by_moments(oxe.restart(oxe.rules.sgd(), oxe.at_step(3))), 1.0
    state = tx.init(jnp.asarray(g))
    since = []
    for _ in range(6):
        _, state = tx.update(jnp.asarray(g), state)
        since.append(int(state.carry.since))
    assert since == [1, 2, 0, 1, 2, 3]


def test_a_schedule_without_restarts():
    with pytest.raises(TypeError, match=r"restart: `when` must take the keywords"):
        oxe.restart(oxe.rules.adam(), oxe.schedules.cosine(0.1, 10))
