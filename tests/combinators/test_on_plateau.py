"""The condition that holds when a metric stalls: the rule of `plateau`."""

import jax
import jax.numpy as jnp
import pytest

import optax_extras as oxe


def rated(rate):
    return oxe.rules.rated(oxe.rules.sgd(), rate)


def rules(when):
    rule = oxe.switch(rated(1.0), rated(0.1), when)
    return oxe.scale_by_moments(rule), lambda state: state.carry


def transformations(when):
    tx = oxe.switch(oxe.heavy_ball(1.0, 0.0), oxe.heavy_ball(0.1, 0.0), when)
    return tx, lambda state: state


FORMS = pytest.mark.parametrize("form", [rules, transformations])
METRICS = [3.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0]


@FORMS
def test_it_switches_where_plateau_would_lower_the_rate(form):
    rate, falls = oxe.plateau(1.0, 0.5, 1), []
    state = rate.init()
    for metric in METRICS:
        state = rate.update(state, value=metric)
        falls.append(float(rate(state)) < 1)
    tx, switch = form(oxe.on_plateau(1))
    state, g = tx.init(jnp.ones(2)), jnp.ones(2)
    for step, metric in enumerate(METRICS):
        _, state = jax.jit(tx.update)(g, state, g, value=jnp.float32(metric))
        assert bool(switch(state).switched) == falls[step]
    assert switch(state).switch_step == 1 + falls.index(True) == 6


@FORMS
def test_observed_between_updates(form):
    tx, switch = form(oxe.on_plateau(0, mode="max", monitor="accuracy"))
    state, g = tx.init(jnp.ones(2)), jnp.ones(2)
    for accuracy, expected in [(0.5, False), (0.6, False), (0.6, True)]:
        for _ in range(3):
            _, state = tx.update(g, state, g)
        state = oxe.observe(state, accuracy=accuracy)
        _, state = tx.update(g, state, g)
        assert bool(switch(state).switched) == expected


def test_it_looks_afresh_after_it_has_held():
    tx = oxe.scale_by_moments(oxe.restart(oxe.rules.sgd(), oxe.on_plateau(0)))
    state, since = tx.init(jnp.ones(2)), []
    for metric in [1.0, 1.0, 2.0, 2.0, 1.0]:
        _, state = tx.update(jnp.ones(2), state, value=metric)
        since.append(int(state.carry.since))
    assert since == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("error", "kw", "argument"),
    [
        (ValueError, {"patience": -1}, "patience"),
        (ValueError, {"mode": "least"}, "mode"),
        (ValueError, {"threshold": -0.1}, "threshold"),
        (TypeError, {"average_over": 1.5}, "average_over"),
        (TypeError, {"monitor": 3}, "monitor"),
    ],
)
def test_wrong_arguments(error, kw, argument):
    with pytest.raises(error, match=f"^on_plateau: `{argument}` must"):
        oxe.on_plateau(**kw)
