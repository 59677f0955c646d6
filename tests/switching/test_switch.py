"""The switch of rules and of transformations, against both optimizers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import buffers, gradients
from tests.parity.programs import quick_jit

GRADS = gradients(40, 5, (-2, 2))
RULES = {
    "sgd": oxe.rules.sgd(),
    "momentum": oxe.rules.momentum(0.9, dampening=0.3),
    "nesterov": oxe.rules.momentum(0.8, nesterov=True),
    "heavy_ball": oxe.rules.heavy_ball(0.1),
    "adagrad": oxe.rules.adagrad(),
    "rmsprop": oxe.rules.rmsprop(),
    "centered": oxe.rules.rmsprop(centered=True),
    "adam": oxe.rules.adam(),
    "nadam": oxe.rules.nadam(),
    "radam": oxe.rules.radam(),
    "amsgrad": oxe.rules.amsgrad(),
    "adabound": oxe.rules.adabound(0.1),
    "amsbound": oxe.rules.amsbound(0.1),
}
PAIRS = [
    ("momentum", "nadam"),
    ("adam", "amsgrad"),
    ("amsgrad", "centered"),
    ("adabound", "adam"),
    ("radam", "nesterov"),
    ("nadam", "amsbound"),
]


def scan(tx, grads):
    """All updates, and the state at the end."""

    def step(state, g):
        u, state = tx.update(g, state, g)
        return state, u

    state, us = jax.lax.scan(step, tx.init(grads[0]), grads)
    return us, state


def run_all(runs):
    """Of many transformations with their gradients, in one program and in float64."""
    grads = {name: g for name, (_, g) in runs.items()}

    def program(grads):
        return {name: scan(tx, grads[name]) for name, (tx, _) in runs.items()}

    with jax.enable_x64(True):
        return jax.device_get(quick_jit(program)(grads))


def run(tx, grads):
    return run_all({"": (tx, np.asarray(grads, np.float64))})[""]


def assert_like(us, expected, rtol=1e-10, what=""):
    scale = np.abs(expected).max(0)
    assert np.all(np.abs(us - expected) <= rtol * scale), what


# ---- Of two rules --------------------------------------------------------------------


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(PAIRS, id="some"),
        *[
            pytest.param(
                [(a, b) for b in RULES if a != b], id=a, marks=pytest.mark.full
            )
            for a in RULES
        ],
    ],
)
def test_two_rules(pairs):
    """Each as if alone; the second one from zero moments and t = 1."""
    tx = {name: oxe.scale_by_moments(rule) for name, rule in RULES.items()}
    runs = {}
    for a, b in pairs:
        rule = oxe.switch(RULES[a], RULES[b], oxe.at_step(7))
        runs[f"{a}, {b}"] = oxe.scale_by_moments(rule), GRADS[:20]
        runs[f"{a} first"] = tx[a], GRADS[:7]
        runs[f"{b} second"] = tx[b], GRADS[7:20]
    found = run_all(runs)
    for a, b in pairs:
        us, state = found[f"{a}, {b}"]
        assert_like(us[:7], found[f"{a} first"][0], what=(a, b))
        assert_like(us[7:], found[f"{b} second"][0], what=(a, b))
        assert (state.carry.switched, state.carry.switch_step) == (True, 7)
        assert (state.carry.first_count, state.carry.second_count) == (7, 13)


def test_three_phases_are_a_switch_in_a_switch():
    """Either way round, of rules and of transformations; Optax by hand."""
    adam, momentum = oxe.rules.adam(), oxe.rules.momentum()
    parts = [optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_adam()]
    right = oxe.switch(adam, oxe.switch(momentum, adam, oxe.at_step(6)), oxe.at_step(5))
    left = oxe.switch(oxe.switch(adam, momentum, oxe.at_step(5)), adam, oxe.at_step(11))
    inner = oxe.switch(*parts[1:], oxe.at_step(6))
    nested = {
        "left": oxe.scale_by_moments(left),
        "right": oxe.scale_by_moments(right),
        "transformations": oxe.switch(parts[0], inner, oxe.at_step(5)),
    }
    cuts = np.split(GRADS, [5, 11])
    found = run_all(
        {name: (tx, GRADS) for name, tx in nested.items()}
        | {f"part {k}": (parts[k], cuts[k]) for k in range(3)}
    )
    for name in nested:
        for k, piece in enumerate(np.split(found[name][0], [5, 11])):
            assert_like(piece, found[f"part {k}"][0], 1e-12, name)


def test_keep_moments():
    rule = oxe.switch(
        oxe.rules.momentum(0.5), oxe.rules.momentum(0.9), oxe.at_step(3),
        keep_moments=True,
    )  # fmt: skip
    us, _ = run(oxe.scale_by_moments(rule), GRADS)
    z = 0
    for k, g in enumerate(GRADS):
        z = (0.5 if k < 3 else 0.9) * z + g
        np.testing.assert_allclose(us[k], z, rtol=1e-10, atol=1e-12)


def test_the_maximum_with_and_without_keep_moments():
    """With it the second AMSGrad begins with the first one's largest."""
    raw = oxe.rules.amsgrad(b1=0, b2=0.5, bias_correction=False)
    grads, runs = np.array([[100.0], [1.0]]), {}
    for keep in (True, False):
        rule = oxe.switch(raw, raw, oxe.at_step(1), keep_moments=keep)
        runs[keep] = oxe.scale_by_moments(rule), grads
    found = run_all(runs)
    np.testing.assert_allclose(found[True][1].nu_max, 5000)
    np.testing.assert_allclose(found[False][1].nu_max, [0.5])


def test_a_buffer_of_the_other_rule_stays_as_it_is():
    """Neither filled before its phase nor decayed after it."""
    both, runs = (oxe.rules.momentum(0.5), oxe.rules.rmsprop(0.5)), {}
    for buffer, pair in (("mu", both), ("nu", both[::-1])):
        tx = oxe.scale_by_moments(oxe.switch(*pair, oxe.at_step(3)))
        runs |= {(buffer, steps): (tx, GRADS[:steps]) for steps in (3, 6)}
    found = run_all(runs)
    for first, second in (("mu", "nu"), ("nu", "mu")):
        three, six = found[first, 3][1], found[first, 6][1]
        assert not getattr(three, second).any()
        assert getattr(six, second).all()
        assert getattr(three, first).all()
        np.testing.assert_array_equal(getattr(six, first), getattr(three, first))


def rates_and_updates(tx, steps):
    """The learning rate that is read after each update, and the update itself."""
    g, rates, us = jnp.ones(2), [], []
    state, update = tx.init(g), jax.jit(tx.update)
    assert oxe.learning_rate(state) == np.float32(0.1)
    for _ in range(steps):
        u, state = update(g, state)
        rates.append(float(oxe.learning_rate(state)))
        us.append(float(u[0]))
    return rates, us


def test_each_phase_may_have_its_own_learning_rate():
    """Its schedule counts its updates; the current phase's learning rate is read."""
    slow, fast = lambda t: 0.1 / (1 + t), lambda t: 3.0 + t
    rule = oxe.switch(
        oxe.rules.with_learning_rate(oxe.rules.sgd(), slow),
        oxe.rules.heavy_ball(fast, 0.0),
        oxe.at_step(3),
    )
    tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    found, us = rates_and_updates(tx, 6)
    np.testing.assert_allclose(found, [0.1, 0.05, 0.1 / 3, 3, 4, 5], rtol=1e-6)
    np.testing.assert_allclose(us, np.negative(found), rtol=1e-6)
    tx = oxe.switch(
        oxe.adagrad(slow),
        optax.chain(optax.trace(0.9), oxe.scale_by_rate(3.0)),
        oxe.at_step(2),
    )
    found, _ = rates_and_updates(optax.chain(optax.clip(1.0), tx), 4)
    np.testing.assert_allclose(found, [0.1, 0.05, 3, 3], rtol=1e-6)


def test_a_schedule_around_the_switch_goes_on():
    rule = oxe.switch(oxe.rules.sgd(), oxe.rules.momentum(0.0), oxe.at_step(2))
    tx = optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(lambda t: 1.0 + t))
    us, _ = run(tx, np.ones((5, 1)))
    np.testing.assert_allclose(us[:, 0], [-1, -2, -3, -4, -5])


def test_the_learning_rate_of_a_phase_without_one_is_nan():
    rule = oxe.switch(oxe.rules.heavy_ball(0.1), oxe.rules.momentum(), oxe.at_step(1))
    rates, _ = rates_and_updates(oxe.scale_by_moments(rule), 2)
    assert rates[0] == pytest.approx(0.1)
    assert np.isnan(rates[1])


# ---- Conditions ----------------------------------------------------------------------


MAKERS = {
    "rules": lambda a, b, when, **kw: oxe.scale_by_moments(
        oxe.switch(
            oxe.rules.with_learning_rate(oxe.rules.sgd(), a),
            oxe.rules.with_learning_rate(oxe.rules.sgd(), b),
            when,
            **kw,
        )
    ),
    "transformations": lambda a, b, when, **kw: oxe.switch(
        optax.scale(a), optax.scale(b), when, **kw
    ),
}
each_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
WITH_CONDITION = {
    **MAKERS,
    "restarted rule": lambda a, b, when: oxe.scale_by_moments(
        oxe.restart(oxe.rules.with_learning_rate(oxe.rules.sgd(), a), when)
    ),
    "restarted": lambda a, b, when: oxe.restart(optax.scale(a), when),
}


def update_once(tx, **extra):
    """Without computing anything."""
    g = jnp.ones(2)
    return jax.eval_shape(lambda: tx.update(g, tx.init(g), g, **extra))


@each_kind
def test_when_is_called_with_everything(make):
    seen, g = [], jnp.arange(1.0, 4.0)

    def when(**given):
        seen.append(given)
        return given["count"] >= 3

    tx = make(2.0, 5.0, when)
    state = tx.init(g)
    for _ in range(5):
        _, state = tx.update(g, state, 7 * g, value=jnp.float32(4), more="x")
    assert [int(kw["count"]) for kw in seen] == [1, 2, 3]
    for kw in seen:
        assert set(kw) == {"count", "grads", "updates", "params", "value", "more"}
        np.testing.assert_array_equal(kw["grads"], g)
        np.testing.assert_array_equal(kw["updates"], 2 * g)
        np.testing.assert_array_equal(kw["params"], 7 * g)
        assert (kw["value"], kw["more"]) == (4, "x")


def patience(worse):
    """Fires when a value has been worse than the best `n` times; has a state."""

    def init():
        return {"best": jnp.inf, "bad": 0}

    def update(condition_state, count, *, value, **seen):
        assert set(seen) == {"grads", "updates", "params"}
        bad = jnp.where(value < condition_state["best"], 0, condition_state["bad"] + 1)
        condition_state = {
            "best": jnp.minimum(value, condition_state["best"]),
            "bad": bad,
        }
        return bad >= worse, condition_state

    return oxe.Condition(init, update)


@pytest.mark.parametrize(
    ("kind", "jit"),
    [("rules", True), ("transformations", True), ("transformations", False)],
)
def test_a_condition_with_a_memory(kind, jit):
    values = [3.0, 2.0, 4.0, 1.0, 2.0, 3.0, 0.0, 5.0]
    tx = MAKERS[kind](2.0, 5.0, patience(2))
    g = jnp.ones(2)
    state = tx.init(g)
    kinds = jax.tree.map(lambda x: (x.dtype, x.weak_type), state)
    update = jax.jit(tx.update) if jit else tx.update
    sizes = []
    for value in values:
        u, state = update(g, state, value=value)
        sizes.append(float(u[0]))
        assert jax.tree.map(lambda x: (x.dtype, x.weak_type), state) == kinds
    assert sizes == [2] * 6 + [5] * 2
    condition_state, step = (
        optax.tree.get(state, "condition_state"),
        optax.tree.get(state, "switch_step"),
    )
    assert step == 6
    assert (condition_state["best"], condition_state["bad"]) == (
        1,
        2,
    )  # it is no longer called


def test_extra_arguments_reach_both_phases():
    def rule(size):
        return oxe.Rule(
            lambda: {"value": jnp.zeros(())},
            lambda t, carry: (oxe.Tableau(n0=size + carry["value"]), carry),
            lambda t, carry, *, value, **_: {"value": value},
            frozenset(),
        )

    def scaled(by):
        def update(u, state, params=None, *, value, **extra):
            return by * value * u, state

        return optax.GradientTransformationExtraArgs(lambda p: (), update)

    rules = oxe.switch(rule(0.0), rule(100.0), oxe.at_step(2))
    for tx, expected in (
        (oxe.scale_by_moments(rules), [0, 1, 100, 103]),
        (oxe.switch(scaled(1), scaled(100), oxe.at_step(2)), [1, 2, 300, 400]),
    ):
        us, state, update = [], tx.init(jnp.ones(1)), jax.jit(tx.update)
        for value in (1.0, 2.0, 3.0, 4.0):
            u, state = update(jnp.ones(1), state, value=value)
            us.append(float(u[0]))
        assert us == expected


@pytest.mark.parametrize("make", WITH_CONDITION.values(), ids=WITH_CONDITION)
def test_names_of_extra_arguments(make):
    """Names of the condition's arguments are refused, those of our functions not."""
    asked = []

    def when(*, count, grads, updates, params, **extra):
        asked.append((count, grads, extra))
        return False

    tx, g = make(2.0, 5.0, when), jnp.ones(2)
    for name in ("count", "grads"):
        with pytest.raises(
            ValueError, match=f"`{name}` must not be an extra argument of"
        ):
            update_once(tx, **{name: 7.0})
    assert not asked
    given = {"t": 7.0, "carry": 8.0, "condition_state": 9.0}
    tx.update(g, tx.init(g), g, **given)
    ((count, grads, extra),) = asked
    assert (int(count), extra) == (1, given)
    np.testing.assert_array_equal(grads, g)


def test_without_a_condition_every_name_is_free():
    update_once(oxe.scale_by_moments(oxe.rules.adam()), count=7.0, grads=7.0)


@pytest.mark.parametrize("make", WITH_CONDITION.values(), ids=WITH_CONDITION)
def test_a_condition_that_does_not_keep_its_state(make):
    """A scan would refuse a changed shape much later."""
    for answer, message in (
        (
            lambda condition_state: False,
            r"return the pair \(fired, condition_state\), got False",
        ),
        (
            lambda condition_state: (False, (condition_state, condition_state)),
            "return a condition_state like the one that",
        ),
        (
            lambda condition_state: (False, jnp.ones(2)),
            "return a condition_state like the one that",
        ),
    ):
        when = oxe.Condition(
            lambda: 0.0,
            lambda condition_state, count, answer=answer, **seen: answer(
                condition_state
            ),
        )
        must = f"`when.update` must {message}"
        with pytest.raises((TypeError, ValueError), match=must):
            update_once(make(2.0, 5.0, when))


def test_at_step():
    steps, grads = (1, np.int64(3), 2**40), np.ones((5, 1))
    makes = {n: MAKERS["rules"](2.0, 5.0, oxe.at_step(n)) for n in steps}
    found = run_all({n: (tx, grads) for n, tx in makes.items()})
    for n in steps:
        assert found[n][0][:, 0].tolist() == [2 if k < n else 5 for k in range(5)]


def test_many_switch_steps_in_one_program():
    def sizes(n):
        tx = MAKERS["rules"](2.0, 5.0, oxe.at_step(n))
        return scan(tx, jnp.ones((5, 1)))[0][:, 0]

    got = jax.jit(jax.vmap(sizes))(jnp.arange(1, 5))
    for n, row in zip(range(1, 5), got, strict=True):
        np.testing.assert_array_equal(row, [2] * n + [5] * (5 - n))


# ---- Handoff -------------------------------------------------------------------------


def test_scalars_are_handed_over():
    """NAdam's product of momenta goes on in the second phase."""
    rule = oxe.switch(
        oxe.rules.nadam(), oxe.rules.nadam(), oxe.at_step(4),
        handoff=lambda *, condition_state, first, second: first,
    )  # fmt: skip
    _, state = run(oxe.scale_by_moments(rule), GRADS[:4])
    momenta = 0.9 * (1 - 0.5 * 0.96 ** (0.004 * np.arange(1, 5)))
    np.testing.assert_allclose(state.carry.second.product, momenta.prod(), rtol=1e-12)


def test_states_are_handed_over():
    """SGD goes on with Adam's first moment."""

    def handoff(*, condition_state, first, second):
        return second._replace(trace=first.mu)

    tx = oxe.switch(
        optax.scale_by_adam(), optax.trace(0.9), oxe.at_step(4), handoff=handoff
    )
    us, _ = run(tx, GRADS[:6])
    m = 0
    for g in GRADS[:4]:
        m = 0.9 * m + 0.1 * g
    for k in (4, 5):
        m = 0.9 * m + GRADS[k]
        np.testing.assert_allclose(us[k], m, rtol=1e-10)


def test_a_state_that_is_handed_over_keeps_its_dtypes():
    def handoff(*, condition_state, first, second):
        return second._replace(trace=3.0 * (second.trace + 1).astype("bfloat16"))

    tx = oxe.switch(
        optax.scale_by_adam(), optax.trace(0.5), oxe.at_step(1), handoff=handoff
    )
    g, update = jnp.ones(2), jax.jit(tx.update)
    _, state = update(g, tx.init(g))
    u, state = update(g, state)
    np.testing.assert_allclose(u, 2.5)
    assert state.second.trace.dtype == jnp.float32


def test_a_handoff_that_does_not_fit():
    def ones(second):
        return jax.tree.map(lambda x: jnp.ones(3), (second, 1.0))

    def scalar(second):
        return second._replace(trace=jnp.ones(()))

    pair = optax.scale_by_adam(), optax.trace(0.5), oxe.at_step(1)
    for odd in (lambda second: "nonsense", ones):
        for make in MAKERS.values():
            handoff = lambda second, odd=odd, **_: odd(second)  # noqa: E731
            tx = make(2.0, 5.0, oxe.at_step(1), handoff=handoff)
            with pytest.raises(ValueError, match="`handoff` must return a state like"):
                update_once(tx)
    tx = oxe.switch(*pair, handoff=lambda second, **_: scalar(second))
    with pytest.raises(ValueError, match="`handoff` must return a state like"):
        update_once(tx)


# ---- Of two transformations ----------------------------------------------------------


def test_two_transformations():
    first, second = optax.adamw(0.1), optax.chain(optax.clip(0.5), optax.sgd(0.2, 0.9))
    found = run_all(
        {
            "switch": (oxe.switch(first, second, oxe.at_step(7)), GRADS[:20]),
            "first": (first, GRADS[:7]),
            "second": (second, GRADS[7:20]),
        }
    )
    us, state = found["switch"]
    assert_like(us[:7], found["first"][0], 1e-12)
    assert_like(us[7:], found["second"][0], 1e-12)
    assert (state.switched, state.switch_step) == (True, 7)


def test_phases_with_moments_of_different_dtypes():
    """Both states keep their dtypes."""
    adam = optax.scale_by_adam(mu_dtype=jnp.bfloat16)
    tx, params = oxe.switch(adam, optax.trace(0.9), oxe.at_step(2)), jnp.ones(3)
    state = jax.eval_shape(tx.init, params)
    u, new = jax.eval_shape(tx.update, params, state)
    assert u.dtype == jnp.float32
    assert new == state
    assert state.first.mu.dtype == jnp.bfloat16


# ---- Cost ----------------------------------------------------------------------------


def temporaries(tx, size=1 << 16):
    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    params = jnp.ones(size)
    state = jax.eval_shape(tx.init, params)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    return lowered.compile().memory_analysis().temp_size_in_bytes / (4 * size)


def test_rules_switch_without_any_temporary():
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(5))
    tx, params = oxe.scale_by_moments(rule), jnp.ones(17)
    assert temporaries(tx) < 0.01
    assert buffers(jax.eval_shape(tx.init, params), params) == 2


def test_transformations_switch_with_one_temporary():
    """In place; a `cond` between the two phases makes three, and copies all states."""
    tx = oxe.switch(optax.adam(0.1), optax.sgd(0.1, 0.9), oxe.at_step(5))
    assert temporaries(tx) < 1.05


# ---- Bad gradients -------------------------------------------------------------------


def test_a_bad_gradient_in_the_first_phase_does_not_reach_the_second():
    grads = np.stack([GRADS[:20].astype(np.float32)] * 3)
    grads[:, 3] = np.array([np.nan, np.inf, 1e20])[:, None]
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.amsgrad(), oxe.at_step(7))
    tx, alone = map(oxe.scale_by_moments, (rule, oxe.rules.amsgrad()))
    us, expected = jax.jit(
        jax.vmap(lambda g: (scan(tx, g)[0][7:], scan(alone, g[7:])[0]))
    )(grads)
    assert np.all(np.isfinite(us))
    np.testing.assert_allclose(us, expected, rtol=1e-4, atol=1e-6)


# ---- Wrong arguments -----------------------------------------------------------------

A, M = oxe.rules.adam(), oxe.rules.momentum()
WRONG = [
    (TypeError, (A, optax.sgd(0.1), oxe.at_step(1)), {}, "got a rule and a transf"),
    (TypeError, (optax.sgd(0.1), A, oxe.at_step(1)), {}, "must be of the same kind"),
    (TypeError, (oxe.rules.adam, M, oxe.at_step(1)), {}, "`first` must be an `oxe.R"),
    (TypeError, (A, None, oxe.at_step(1)), {}, "`second` must be an `oxe.Rule` or"),
    (TypeError, (A, M, 100), {}, "`when` must be callable"),
    (TypeError, (A, M, oxe.at_step(1)), {"handoff": 1}, "`handoff` must be callable"),
    (TypeError, (A, M, oxe.at_step(1)), {"keep_moments": 1}, "`keep_moments` must be"),
    (
        ValueError,
        (optax.adam(0.1), optax.sgd(0.1), oxe.at_step(1)),
        {"keep_moments": True},
        "`keep_moments` must be False for transformations",
    ),
]


def test_wrong_arguments():
    for error, args, kw, message in WRONG:
        with pytest.raises(error, match=f"^switch: .*{message}"):
            oxe.switch(*args, **kw)
    for error, n in ((ValueError, 0), (TypeError, 1.5)):
        with pytest.raises(error, match="at_step: `n` must be an integer of at least"):
            oxe.at_step(n)


@each_kind
def test_a_condition_that_returns_no_bool(make):
    for error, answer, message in (
        (TypeError, None, "`when` must return a bool, got None"),
        (TypeError, 1, "`when` must return a bool, got 1"),
        (ValueError, jnp.ones(2, bool), "`when` must return a bool of shape ()"),
        (ValueError, jnp.ones(()), "`when` must return a bool of shape ()"),
    ):
        with pytest.raises(error) as raised:
            update_once(make(2.0, 5.0, lambda answer=answer, **_: answer))
        assert message in str(raised.value)


def two_updates(tx):
    state = tx.init(jnp.ones(2))
    for _ in range(2):
        _, state = tx.update(jnp.ones(2), state, jnp.ones(2))


@pytest.mark.parametrize("jit", [True, False])
def test_phases_that_do_not_fit_together(jit):
    for odd in (
        lambda u, p: jax.tree.map(lambda x: x.astype("bfloat16"), u),
        lambda u, p: [u],
        lambda u, p: u[:1],
    ):
        for phases in (
            (optax.stateless(odd), optax.sgd(0.1)),
            (optax.sgd(0.1), optax.stateless(odd)),
        ):
            tx = oxe.switch(*phases, oxe.at_step(1))
            with pytest.raises(ValueError, match="return updates of the structure"):
                update_once(tx) if jit else two_updates(tx)


def without(*, count, grads):
    return count > 3


def in_order(count, grads, updates, params, /):
    return count > 3


def a_schedule(t):
    return 0.1


@each_kind
def test_functions_with_other_arguments(make):
    must = "`when` must take the keywords `count`, `grads`, `updates`, `params`, got"
    for when in (without, in_order, a_schedule):
        with pytest.raises(TypeError, match=must):
            make(2.0, 5.0, when)
    for condition, must in (
        (
            oxe.Condition(
                (), lambda condition_state, count, **_: (True, condition_state)
            ),
            "init` must be",
        ),
        (
            oxe.Condition(tuple, lambda condition_state: (True, condition_state)),
            "update` must take 2",
        ),
    ):
        with pytest.raises(TypeError, match=f"`when.{must}"):
            make(2.0, 5.0, condition)
    with pytest.raises(
        TypeError, match=r"`handoff` must take the keywords `condition_state`,"
    ):
        make(2.0, 5.0, oxe.at_step(1), handoff=lambda first, second: second)


def test_a_metric_schedule_is_no_condition():
    """A likely mistake; the message says what to write instead."""
    sgd = optax.sgd(0.1)
    for schedule in (oxe.plateau(0.1), oxe.greedy(0.1)):
        for name, make, args in (
            ("switch", oxe.switch, (A, M, schedule)),
            ("switch", oxe.switch, (sgd, sgd, schedule)),
            ("restart", oxe.restart, (sgd, schedule)),
        ):
            with pytest.raises(TypeError, match=f"^{name}: `when` must .*`oxe.on_plat"):
                make(*args)


def test_a_function_without_a_signature_is_taken_as_it_is():
    """`max` shows no arguments; an error comes when it is called."""
    oxe.switch(oxe.rules.adam(), oxe.rules.sgd(), max)
