"""A metric reaches a rate that is inside a rule, with an update and between two."""

import jax.numpy as jnp
import optax
import pytest

import optax_extras as oxe

RATE = dict(init_value=0.1, factor=0.5, patience=0)


def rated(rate):
    rule = oxe.rules.rated(oxe.rules.adam(), rate)
    return optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))


def switched(rate):
    first = oxe.rules.rated(oxe.rules.adam(), rate)
    rule = oxe.switch(first, oxe.rules.sgd(), oxe.at_step(100))
    return optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))


MAKERS = {
    "heavy_ball": oxe.heavy_ball,
    "adabound": oxe.adabound,
    "amsbound": oxe.amsbound,
    "rated": rated,
    "within a switch": switched,
    "a switch of transformations": lambda rate: oxe.switch(
        oxe.nadam(rate), optax.sgd(0.1), oxe.at_step(100)
    ),
    "swats": lambda rate: oxe.swats(rate, second_rate=0.1),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("between", [False, True], ids=["in update", "observed"])
def test_the_rate_falls(make, between):
    tx, w = make(oxe.plateau(**RATE)), jnp.ones(2)
    state = tx.init(w)
    for metric in (1.0, 1.0, 1.0):
        extra = {} if between else {"value": jnp.float32(metric)}
        _, state = tx.update(w, state, w, **extra)
        if between:
            state = oxe.observe(state, metric)
    _, state = tx.update(w, state, w)
    assert oxe.learning_rate(state) == pytest.approx(0.025)
