"""The condition that holds when a metric stalls: the rule of `plateau`."""

import jax
import jax.numpy as jnp
import pytest

import optax_extras as oxe

METRICS = [3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0]


def rated(rate):
    return oxe.rules.with_learning_rate(oxe.rules.sgd(), rate)


def of_rules(when):
    rule = oxe.switch(rated(1.0), rated(0.1), when)
    return oxe.scale_by_moments(rule), lambda state: state.carry


def of_transformations(when):
    tx = oxe.switch(oxe.heavy_ball(1.0, 0.0), oxe.heavy_ball(0.1, 0.0), when)
    return tx, lambda state: state


each_form = pytest.mark.parametrize("form", [of_rules, of_transformations])


@each_form
def test_it_switches_where_plateau_would_lower_the_rate(form):
    rate, falls = oxe.plateau(1.0, 0.5, 1), []
    state = rate.init()
    for metric in METRICS:
        state = rate.update(state, value=metric)
        falls.append(float(rate(state)) < 1)
    tx, switch = form(oxe.on_plateau(1))
    state, g, update = tx.init(jnp.ones(2)), jnp.ones(2), jax.jit(tx.update)
    for step, metric in enumerate(METRICS):
        _, state = update(g, state, g, value=jnp.float32(metric))
        assert bool(switch(state).switched) == falls[step]
    assert switch(state).switch_step == 1 + falls.index(True) == 6


@each_form
def test_observed_between_updates(form):
    tx, switch = form(oxe.on_plateau(0, mode="max", monitor="accuracy"))
    state, g, update = tx.init(jnp.ones(2)), jnp.ones(2), jax.jit(tx.update)
    for accuracy, expected in [(0.5, False), (0.6, False), (0.6, True)]:
        for _ in range(2):
            _, state = update(g, state, g)
        state = oxe.observe(state, accuracy=accuracy)
        _, state = update(g, state, g)
        assert bool(switch(state).switched) == expected


def test_it_begins_again_after_it_has_held():
    tx = oxe.scale_by_moments(oxe.restart(oxe.rules.sgd(), oxe.on_plateau(0)))
    state, since, update = tx.init(jnp.ones(2)), [], jax.jit(tx.update)
    for metric in [1.0, 1.0, 2.0, 2.0, 1.0]:
        _, state = update(jnp.ones(2), state, value=metric)
        since.append(int(state.carry.count_since_restart))
    assert since == [1, 0, 1, 0, 1]


@each_form
def test_the_state_of_another_condition(form):
    g, conditions = jnp.ones(2), (oxe.at_step(3), oxe.on_plateau(3))
    conditions += (oxe.on_plateau(3, mode="max"), oxe.on_plateau(3, monitor="loss"))
    for when in conditions:
        for other in conditions:
            if other is not when:
                with pytest.raises((TypeError, ValueError), match="same condition"):
                    form(when)[0].update(g, form(other)[0].init(g), g)


def test_wrong_arguments():
    for error, argument, value in (
        (ValueError, "patience", -1),
        (ValueError, "mode", "least"),
        (ValueError, "threshold", -0.1),
        (TypeError, "average_over", 1.5),
        (TypeError, "monitor", 3),
    ):
        with pytest.raises(error, match=f"^on_plateau: `{argument}` must"):
            oxe.on_plateau(**{argument: value})
