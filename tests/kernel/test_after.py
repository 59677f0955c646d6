"""When the `after` of a rule that holds others is run, and what it sees."""

import jax
import jax.numpy as jnp
import numpy as np

import optax_extras as oxe

ADAM, SGD, MOMENTUM = oxe.rules.adam(), oxe.rules.sgd(), oxe.rules.momentum()
ONES = jnp.ones(3)


def scanned(rules, read, metrics, states=None):
    """What `read` finds before each update and after the last, and the last states."""
    txs = {name: oxe.scale_by_moments(rule) for name, rule in rules.items()}

    def look(states):
        return {name: read(rules[name], state) for name, state in states.items()}

    def step(states, metric):
        new = {
            name: txs[name].update(ONES, state, ONES, value=metric)[1]
            for name, state in states.items()
        }
        return new, look(states)

    @jax.jit
    def run(states):
        states = states or {name: tx.init(ONES) for name, tx in txs.items()}
        last, found = jax.lax.scan(step, states, jnp.float32(metrics))
        return jax.tree.map(lambda xs, x: [*xs, x], found, look(last)), last

    return run(states)


def one_switch(step=2, second=MOMENTUM):
    return oxe.switch(ADAM, second, oxe.at_step(step))


# A rule, and the update from which on `after` is not needed.
LAST = {
    "a switch": (one_switch(), 2),
    "a switch in the second phase": (one_switch(2, one_switch(3)), 5),
    "one in the first": (oxe.switch(one_switch(1), SGD, oxe.at_step(4)), 4),
    "a switch with a rate": (oxe.rules.with_learning_rate(one_switch(), 0.1), 2),
    "a rate in the second phase": (
        one_switch(2, oxe.rules.with_learning_rate(SGD, 0.1)),
        2,
    ),
    "swats": (oxe.rules.swats(min_steps=3, max_steps=3), 3),
}


def is_awake(rule, state):
    return rule.needs_after(state.carry)


def test_until_the_last_switch():
    rules = {name: rule for name, (rule, _) in LAST.items()}
    found, _ = scanned(rules, is_awake, np.ones(7))
    for name, (_, last) in LAST.items():
        expected = [k < last for k in range(8)]
        assert [bool(x) for x in found[name]] == expected, name


def of_a_metric(rule):
    return oxe.rules.with_learning_rate(
        rule, oxe.plateau(init_value=1.0, factor=0.5, patience=0)
    )


# Rules with a rate that answers to a metric, at every update.
ANSWERING = {
    "alone": of_a_metric(SGD),
    "around a switch": of_a_metric(oxe.switch(ADAM, SGD, oxe.at_step(1))),
    "in a second phase": one_switch(1, of_a_metric(SGD)),
    "in a second phase with a switch": one_switch(1, of_a_metric(one_switch(2, SGD))),
}


def rate(rule, state):
    return oxe.learning_rate(state)


def test_always_where_a_rate_answers_to_a_metric():
    """Each of the bad metrics halves it, for the update after."""
    good, bad = [2.0, 1.0], [3.0] * 5
    found, _ = scanned(ANSWERING, rate, good + bad)
    for name in ANSWERING:
        assert found[name][-1] == 2**-4, name


def summing():
    """A rule that keeps the sum of the last update, as `after` saw it."""

    def after(t, carry, *, grads, updates, params, **extra):
        del grads, params, extra
        return {"sum": jnp.sum(updates), "until": carry["until"]}

    def init():
        return {"sum": jnp.zeros(()), "until": jnp.int32(5)}

    def step(t, carry):
        return oxe.Tableau(a1=0.9, c1=0.1, a2=0.9, c2=0.1, n1=1, d=1, e=1e-8), carry

    return oxe.Rule(init, step, after, needs_after=lambda carry: carry["until"] > 0)


def test_what_is_seen_is_what_was_made():
    """Also if the buffers are stored with rounding."""
    grads = np.random.default_rng(0).normal(1, 0.3, (3, 7))
    txs = [
        oxe.scale_by_moments(summing(), moments_dtype=dtype)
        for dtype in (None, jnp.float32, jnp.bfloat16)
    ]

    def run(tx, grads):
        def step(state, g):
            u, state = tx.update(g, state)
            return state, (u, state.carry["sum"])

        return jax.lax.scan(step, tx.init(grads[0]), grads)[1]

    for us, sums in jax.jit(lambda g: [run(tx, g) for tx in txs])(jnp.float32(grads)):
        exact = np.asarray(us, np.float64).sum(1)
        np.testing.assert_allclose(sums, exact, rtol=1e-6)


def seeing_its_count():
    """A rule that keeps the number that `after` is given."""

    def after(t, carry, **seen):
        del seen, carry
        return {"t": t}

    def step(t, carry):
        return oxe.Tableau(n0=1), carry

    return oxe.Rule(lambda: {"t": jnp.int32(0)}, step, after, frozenset())


def test_a_second_phase_counts_its_own_updates():
    """A switch in it, at its first update, is made at the very first."""

    def when(count, **seen):
        del seen
        return count >= 1

    rules = {
        "at_step": one_switch(2, oxe.switch(MOMENTUM, SGD, oxe.at_step(1))),
        "function": one_switch(2, oxe.switch(MOMENTUM, SGD, when)),
        "seen": one_switch(2, seeing_its_count()),
    }

    def read(rule, state):
        second = state.carry.second
        return second["t"] if isinstance(second, dict) else second.switch_step

    found, _ = scanned(rules, read, np.ones(5))
    assert [int(x) for x in found["at_step"][1:]] == [-1, -1, 1, 1, 1]
    assert [int(x) for x in found["function"][1:]] == [-1, -1, 1, 1, 1]
    assert [int(x) for x in found["seen"][1:]] == [0, 0, 1, 2, 3]
