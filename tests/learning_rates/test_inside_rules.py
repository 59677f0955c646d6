"""A metric reaches a learning rate inside a rule, with an update and between two."""

import jax
import jax.numpy as jnp
import optax
import pytest

import optax_extras as oxe

RATE = dict(init_value=0.1, factor=0.5, patience=0)


def rated(rate):
    rule = oxe.rules.with_learning_rate(oxe.rules.adam(), rate)
    return optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))


def switched(rate):
    first = oxe.rules.with_learning_rate(oxe.rules.adam(), rate)
    rule = oxe.switch(first, oxe.rules.sgd(), oxe.at_step(100))
    return optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))


MAKERS = {
    "heavy_ball": oxe.heavy_ball,
    "adabound": oxe.adabound,
    "rated": rated,
    "within a switch": switched,
    "a switch of transformations": lambda rate: oxe.switch(
        oxe.adagrad(rate), optax.sgd(0.1), oxe.at_step(100)
    ),
    "swats": lambda rate: oxe.swats(rate, second_rate=0.1),
}


@pytest.mark.parametrize("between", [False, True], ids=["in update", "observed"])
def test_the_rate_falls(between):
    w = jnp.ones(2)
    optimizers = {name: make(oxe.plateau(**RATE)) for name, make in MAKERS.items()}

    @jax.jit
    def run():
        rates = {}
        for name, tx in optimizers.items():

            def step(state, metric, tx=tx):
                extra = {} if between else {"value": metric}
                _, state = tx.update(w, state, w, **extra)
                return oxe.observe(state, metric) if between else state, None

            state, _ = jax.lax.scan(step, tx.init(w), jnp.ones(3))
            _, state = tx.update(w, state, w)
            rates[name] = oxe.learning_rate(state)
        return rates

    for name, rate in run().items():
        assert rate == pytest.approx(0.025), name
