"""`awake` and `settle` of rules that hold others: asleep when all has been seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe

ADAM, SGD, MOMENTUM = oxe.rules.adam(), oxe.rules.sgd(), oxe.rules.momentum()
PLATEAU = dict(init_value=1.0, factor=0.5, patience=0)


def once(step=2, second=MOMENTUM):
    return oxe.switch(ADAM, second, oxe.at_step(step))


# A rule, and the update after which there is nothing to be seen any more.
UNTIL = {
    "a switch": (once(), 2),
    "a switch in the second phase": (once(2, once(3)), 5),
    "one in the first": (oxe.switch(once(1), SGD, oxe.at_step(4)), 4),
    "a switch with a rate": (oxe.rules.rated(once(), 0.1), 2),
    "a rate in the second phase": (once(2, oxe.rules.rated(SGD, 0.1)), 2),
    "swats": (oxe.rules.swats(min_steps=3, max_steps=3), 3),
}


@pytest.mark.parametrize(("rule", "last"), UNTIL.values(), ids=UNTIL)
def test_awake_until_the_last_switch(rule, last):
    tx, g = oxe.scale_by_moments(rule), jnp.ones(3)
    state, awake = tx.init(g), []
    for _ in range(8):
        awake.append(bool(rule.awake(state.carry)))
        _, state = tx.update(g, state, g)
    assert awake == [k < last for k in range(8)]


# Rules with a rate that answers to a metric, at every update.
ANSWERING = {
    "alone": oxe.rules.rated(SGD, oxe.plateau(**PLATEAU)),
    "around a switch": oxe.rules.rated(
        oxe.switch(ADAM, SGD, oxe.at_step(1)), oxe.plateau(**PLATEAU)
    ),
    "in a second phase": once(1, oxe.rules.rated(SGD, oxe.plateau(**PLATEAU))),
    "in a second phase with a switch": once(
        1, oxe.rules.rated(once(2, SGD), oxe.plateau(**PLATEAU))
    ),
}


def fed(tx, state, metrics):
    update = jax.jit(tx.update)
    for metric in metrics:
        _, state = update(jnp.ones(3), state, jnp.ones(3), value=jnp.float32(metric))
    return state


@pytest.mark.parametrize("rule", ANSWERING.values(), ids=ANSWERING)
def test_a_rate_that_answers_never_sleeps(rule):
    """Each of the bad metrics halves it, for the update after."""
    tx = oxe.scale_by_moments(rule)
    state = fed(tx, tx.init(jnp.ones(3)), [2.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    assert oxe.learning_rate(state) == 2**-4


@pytest.mark.parametrize("name", [x for x in ANSWERING if x != "alone"])
def test_nor_when_the_switch_is_gone(name):
    tx = oxe.scale_by_moments(ANSWERING[name])
    state = fed(tx, tx.init(jnp.ones(3)), [2.0, 1.0])
    tx, state = oxe.settle(tx, state)
    state = fed(tx, state, [3.0, 3.0, 3.0, 3.0, 3.0])
    assert oxe.learning_rate(state) == 2**-4


def test_settled_twice_it_still_knows_when_to_sleep():
    rule = once(1, once(3))
    tx, g = oxe.scale_by_moments(rule), jnp.ones(3)
    state = tx.init(g)
    _, state = tx.update(g, state, g)
    left, state = oxe.settle(rule, state)
    tx, awake = oxe.scale_by_moments(left), []
    for _ in range(5):
        awake.append(bool(left.awake(state.carry)))
        _, state = tx.update(g, state, g)
    assert awake == [True, True, True, False, False]


def summing(dtype):
    """A rule that keeps the sum of the last update, as `after` saw it."""

    def after(t, carry, *, grads, updates, params, **extra):
        del grads, params, extra
        return {"sum": jnp.sum(updates), "until": carry["until"]}

    def init():
        return {"sum": jnp.zeros(()), "until": jnp.int32(5)}

    def step(t, carry):
        return oxe.Tableau(a1=0.9, c1=0.1, a2=0.9, c2=0.1, n1=1, d=1, e=1e-8), carry

    rule = oxe.Rule(init, step, after, awake=lambda carry: carry["until"] > 0)
    return oxe.scale_by_moments(rule, moments_dtype=dtype)


@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
def test_what_is_seen_is_what_was_made(dtype):
    """Also where the buffers are rounded when they are kept."""
    tx = summing(dtype)
    rng = np.random.default_rng(0)
    state, update = tx.init(jnp.zeros(7)), jax.jit(tx.update)
    for _ in range(3):
        u, state = update(jnp.asarray(rng.normal(1, 0.3, 7), jnp.float32), state)
        exact = float(np.sum(np.asarray(u, np.float64)))
        np.testing.assert_allclose(state.carry["sum"], exact, rtol=1e-6)


def test_a_second_phase_counts_its_own_updates():
    """A switch in it, at its first update, is made at the very first."""
    inner = oxe.switch(MOMENTUM, SGD, oxe.at_step(1))
    tx, g = oxe.scale_by_moments(once(2, inner)), jnp.ones(3)
    state, counts = tx.init(g), []

    def when(count, **seen):
        del seen
        return count >= 1

    spy = oxe.scale_by_moments(once(2, oxe.switch(MOMENTUM, SGD, when)))
    other = spy.init(g)
    for _ in range(4):
        _, state = tx.update(g, state, g)
        _, other = spy.update(g, other, g)
        counts.append(int(state.carry.second.switch_step))
        assert other.carry.second.switch_step == state.carry.second.switch_step
    assert counts == [-1, -1, 1, 1]


def seeing_its_count():
    """A rule that keeps the number that `after` is given."""

    def after(t, carry, **seen):
        del seen, carry
        return {"t": t}

    return oxe.Rule(
        lambda: {"t": jnp.int32(0)},
        lambda t, carry: (oxe.Tableau(n0=1), carry),
        after,
        frozenset(),
    )


def test_the_number_of_an_update_that_a_second_phase_sees():
    tx, g = oxe.scale_by_moments(once(2, seeing_its_count())), jnp.ones(3)
    state, seen = tx.init(g), []
    for _ in range(5):
        _, state = tx.update(g, state, g)
        seen.append(int(state.carry.second["t"]))
    assert seen == [0, 0, 1, 2, 3]
