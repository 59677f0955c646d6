"""Restarts: at every step like a direction re-initialized by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import gradients
from tests.parity.programs import quick_jit

GRADS = gradients(40, 5, (-2, 2))
SCHEDULE = oxe.schedules.warm_restarts(0.1, period=5, period_mult=2)
RESTARTS = (5, 15, 35)  # with a period of 5, twice as long each time
RULES = {
    "adam": oxe.rules.adam(),
    "momentum": oxe.rules.momentum(dampening=0.5),
    "nadam": oxe.rules.nadam(),
    "radam": oxe.rules.radam(),
    "amsgrad": oxe.rules.amsgrad(),
    "rmsprop": oxe.rules.rmsprop(),
}
TRANSFORMATIONS = {
    "optax.adam": optax.scale_by_adam(),
    "optax.trace": optax.trace(0.9),
    "optax.amsgrad": optax.scale_by_amsgrad(),
}
FAST = ("momentum", "nadam", "amsgrad", "optax.adam")


def scan(tx, grads):
    def step(state, g):
        u, state = tx.update(g, state)
        return state, u

    state, us = jax.lax.scan(step, tx.init(grads[0]), grads)
    return us, state


def by_hand(direction, grads):
    """The direction is reset; the count of the schedule goes on."""

    def step(state, x):
        g, rate, begins = x
        first = direction.init(g)
        state = jax.tree.map(lambda a, b: jnp.where(begins, a, b), first, state)
        u, state = direction.update(g, state)
        return state, -rate * u

    steps = jnp.arange(len(grads))
    begins = jnp.isin(steps, jnp.array(RESTARTS))
    xs = grads, jax.vmap(SCHEDULE)(steps), begins
    return jax.lax.scan(step, direction.init(grads[0]), xs)[1]


def compare(txs, direction):
    """Compares transformations with those made by hand; returns the last states."""

    @quick_jit
    def runs(grads):
        return [scan(tx, grads) for tx in txs], by_hand(direction, grads)

    with jax.enable_x64(True):
        found, expected = jax.device_get(runs(GRADS))
    for us, _ in found:
        assert np.all(np.abs(us - expected) <= 1e-11 * np.abs(expected).max(0))
    return [state for _, state in found]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(x, marks=() if x in FAST else pytest.mark.full)
        for x in (*RULES, *TRANSFORMATIONS)
    ],
)
def test_rules_and_transformations(name):
    inner = RULES.get(name) or TRANSFORMATIONS[name]
    restarted, plain = oxe.restart(inner, SCHEDULE), inner
    if name in RULES:
        restarted, plain = map(oxe.scale_by_moments, (restarted, inner))
    tx = optax.chain(restarted, oxe.scale_by_rate(SCHEDULE))
    (state,) = compare([tx], plain)
    state = state[0].carry if name in RULES else state[0]
    assert (state.count, state.count_since_restart) == (40, 5)


def test_schedules_within_a_transformation_go_on():
    adam = optax.scale_by_adam()
    last = oxe.scale_by_rate(SCHEDULE), optax.scale_by_learning_rate(SCHEDULE)
    compare([oxe.restart(optax.chain(adam, x), SCHEDULE) for x in last], adam)


def test_metric_schedules_within_a_transformation_go_on():
    ours = oxe.scale_by_metric(oxe.plateau(1.0, factor=0.5, patience=0))
    theirs = optax.contrib.reduce_on_plateau(factor=0.5, patience=1)
    for last in (ours, theirs):
        tx, g = optax.chain(optax.identity(), last), jnp.ones(())
        both = {"alone": tx, "restarted": oxe.restart(tx, oxe.at_step(4))}

        @jax.jit
        def run(g, both=both):
            def step(states, _):
                found = {
                    name: tx.update(g, states[name], g, value=1.0)
                    for name, tx in both.items()
                }
                states = {name: state for name, (_, state) in found.items()}
                return states, {name: u for name, (u, _) in found.items()}

            states = {name: tx.init(g) for name, tx in both.items()}
            return jax.lax.scan(step, states, length=8)[1]

        us = run(g)
        np.testing.assert_array_equal(us["restarted"], us["alone"])
        assert us["alone"][-1] < us["alone"][3] < us["alone"][0]


@pytest.mark.parametrize("inner", [oxe.rules.adam(), optax.scale_by_adam()])
def test_what_a_condition_begins_with_is_not_donated(inner):
    first = jnp.zeros(())
    counted = oxe.Condition(
        lambda: first, lambda condition_state, count, **_: (False, condition_state + 1)
    )
    tx = oxe.restart(inner, counted)
    tx = oxe.scale_by_moments(tx) if isinstance(tx, oxe.Rule) else tx
    g = jnp.ones(2)
    jax.jit(tx.update, donate_argnums=1)(g, tx.init(g), g)
    assert first == 0
    assert optax.tree.get(tx.init(g), "condition_state") == 0


def test_the_step_number_of_the_bias_correction_begins_again():
    """Adam's first step is of length 1; with zero moments and an old count, 3.16.

    A NaN in the moments is gone.
    """
    tx = oxe.scale_by_moments(oxe.restart(oxe.rules.adam(), lambda **_: True))
    update, g = jax.jit(tx.update), jnp.ones(2)
    _, state = update(jnp.array([jnp.nan, 1e20]), tx.init(g))
    for _ in range(3):
        u, state = update(g, state)
        np.testing.assert_allclose(u, 1, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda when: oxe.scale_by_moments(oxe.restart(oxe.rules.momentum(), when)),
        lambda when: oxe.restart(optax.trace(0.9), when),
    ],
)
def test_a_condition_sees_everything(make):
    """Here: an update is too long; the state counts how often."""

    def update(condition_state, count, *, grads, updates, params, value):
        assert (grads.shape, params) == ((2,), None)
        fired = jnp.max(updates) > value
        return fired, condition_state + fired

    tx = make(oxe.Condition(lambda: 0, update))
    g, us, step = jnp.ones(2), [], jax.jit(tx.update)
    state = tx.init(g)
    for _ in range(8):
        u, state = step(g, state, value=2.5)
        us.append(float(u[0]))
    np.testing.assert_allclose(us, [1, 1.9, 2.71, 1, 1.9, 2.71, 1, 1.9], rtol=1e-6)
    assert optax.tree.get(state, "condition_state") == 2


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
    """A restarted switch begins with its first phase."""
    rule = oxe.switch(
        oxe.rules.sgd(),
        oxe.rules.with_learning_rate(oxe.rules.sgd(), 5.0),
        oxe.at_step(2),
    )
    tx = oxe.scale_by_moments(oxe.restart(rule, lambda *, count, **_: count % 3 == 0))
    us, _ = jax.jit(lambda grads: scan(tx, grads))(jnp.ones((7, 1)))
    assert us[:, 0].tolist() == [1, 1, 5, 1, 1, 5, 1]


def test_wrong_arguments():
    for inner, when, message in (
        (None, SCHEDULE, "`inner` must be an `oxe.Rule` or a gradient"),
        (oxe.rules.adam, SCHEDULE, "`inner` must be an `oxe.Rule` or a gradient"),
        (oxe.rules.adam(), 100, "`when` must be callable"),
        (optax.sgd(0.1), 100, "`when` must be callable"),
        # A schedule without restarts.
        (optax.sgd(0.1), oxe.schedules.cosine(0.1, 10), "`when` must take the keyw"),
    ):
        with pytest.raises(TypeError, match=f"restart: {message}"):
            oxe.restart(inner, when)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: oxe.scale_by_moments(
            oxe.restart(
                oxe.rules.with_learning_rate(oxe.rules.sgd(), lambda t: 1.0 / (1 + t)),
                s,
            )
        ),
        lambda s: oxe.restart(optax.inject_hyperparams(optax.sgd)(s, momentum=0.5), s),
        lambda s: oxe.restart(oxe.scheduled(optax.sgd)(s, momentum=0.5), s),
        lambda s: oxe.restart(oxe.adagrad(s), s),
    ],
    ids=["rated", "injected", "scheduled", "adagrad"],
)
def test_the_learning_rate_that_is_read_is_that_of_the_last_update(make):
    """Also at the restart; schedules behind the direction go on."""
    schedule = oxe.schedules.warm_restarts(1.0, period=4, period_mult=2)
    tx, g = make(schedule), jnp.ones(3)
    state, update = tx.init(g), jax.jit(tx.update)
    expected = [float(schedule(t)) for t in range(14)]
    if hasattr(state, "carry"):  # a rule inside counts by its own updates
        expected = [
            1 / (1 + t - max(k for k in (0, 4, 12) if k <= t)) for t in range(14)
        ]
    for rate in expected:
        _, state = update(g, state, g)
        assert oxe.learning_rate(state) == pytest.approx(rate, rel=1e-6)


def test_at_step_restarts_once():
    tx = oxe.scale_by_moments(oxe.restart(oxe.rules.sgd(), oxe.at_step(3)))
    state, since, update = tx.init(jnp.ones(())), [], jax.jit(tx.update)
    for _ in range(6):
        _, state = update(jnp.ones(()), state)
        since.append(int(state.carry.count_since_restart))
    assert since == [1, 2, 0, 1, 2, 3]
