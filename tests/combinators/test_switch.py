"""The switch: of rules against both optimizers by hand, of transformations likewise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.paths import buffers, gradients

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
# In the fast run those with Adam in them.
PAIRS = [
    pytest.param(
        a, b, id=f"{a}-{b}", marks=() if "adam" in (a, b) else pytest.mark.full
    )
    for a in RULES
    for b in RULES
    if a != b
]


def run(tx, grads, update=None, state=None, **extra):
    """All updates in float64, and the state at the end."""
    with jax.enable_x64(True):
        grads = [jax.tree.map(jnp.asarray, g) for g in grads]
        state = tx.init(grads[0]) if state is None else state
        update = jax.jit(tx.update) if update is None else update
        us = []
        for g in grads:
            u, state = update(g, state, g, **extra)
            us.append(np.asarray(u))
        return np.stack(us), state


def assert_like(us, expected, rtol=1e-10):
    scale = np.abs(expected).max(0)
    assert np.all(np.abs(us - expected) <= rtol * scale)


# ---- Of two rules --------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_rules(first, second):
    """Each as if it were alone, the second from zero moments and t = 1."""
    tx = oxe.scale_by_moments(oxe.switch(RULES[first], RULES[second], oxe.at_step(7)))
    us, state = run(tx, GRADS[:20])
    early, _ = run(oxe.scale_by_moments(RULES[first]), GRADS[:7])
    late, _ = run(oxe.scale_by_moments(RULES[second]), GRADS[7:20])
    assert_like(us[:7], early)
    assert_like(us[7:], late)
    assert (state.carry.switched, state.carry.switch_step) == (True, 7)
    assert (state.carry.first_count, state.carry.second_count) == (7, 13)


def test_three_phases_are_a_switch_in_a_switch():
    """Either way round; Optax by hand."""
    adam, momentum = oxe.rules.adam(), oxe.rules.momentum()
    right = oxe.switch(adam, oxe.switch(momentum, adam, oxe.at_step(6)), oxe.at_step(5))
    left = oxe.switch(oxe.switch(adam, momentum, oxe.at_step(5)), adam, oxe.at_step(11))
    parts = [optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_adam()]
    cuts = [GRADS[:5], GRADS[5:11], GRADS[11:]]
    expected = np.concatenate(
        [run(tx, g)[0] for tx, g in zip(parts, cuts, strict=True)]
    )
    for rule in (left, right):
        us, _ = run(oxe.scale_by_moments(rule), GRADS)
        for k, piece in enumerate(np.split(us, [5, 11])):
            assert_like(piece, np.split(expected, [5, 11])[k], 1e-12)


def test_the_moments_can_be_kept():
    rule = oxe.switch(
        oxe.rules.momentum(0.5), oxe.rules.momentum(0.9), oxe.at_step(3),
        keep_moments=True,
    )  # fmt: skip
    us, _ = run(oxe.scale_by_moments(rule), GRADS)
    z = 0
    for k, g in enumerate(GRADS):
        z = (0.5 if k < 3 else 0.9) * z + g
        np.testing.assert_allclose(us[k], z, rtol=1e-10, atol=1e-12)


def test_the_maximum_is_forgotten_and_kept():
    """With `keep_moments` the second AMSGrad remembers the first one's largest."""
    raw = oxe.rules.amsgrad(b1=0, b2=0.5, bias_correction=False)
    grads = np.array([[100.0], [1.0], [1.0]])
    for keep, top in ((True, 5000), (False, 0.5)):
        rule = oxe.switch(raw, raw, oxe.at_step(1), keep_moments=keep)
        _, state = run(oxe.scale_by_moments(rule), grads[:2])
        np.testing.assert_allclose(state.nu_max, top if keep else [0.5])


def test_a_buffer_of_the_other_rule_lies_still():
    """Neither filled before its phase nor worn away after it."""
    both = oxe.rules.momentum(0.5), oxe.rules.rmsprop(0.5)
    for (first, second), early in ((both, "mu"), (both[::-1], "nu")):
        late = "nu" if early == "mu" else "mu"
        rule = oxe.switch(first, second, oxe.at_step(3))
        _, three = run(oxe.scale_by_moments(rule), GRADS[:3])
        _, six = run(oxe.scale_by_moments(rule), GRADS[:6])
        assert not np.asarray(getattr(three, late)).any()
        assert np.asarray(getattr(six, late)).all()
        assert np.asarray(getattr(three, early)).all()
        np.testing.assert_array_equal(getattr(six, early), getattr(three, early))


def rates(state):
    return float(oxe.learning_rate(state))


def test_each_phase_may_carry_its_own_rate():
    """Its schedule counts its own updates; the rate of the phase in force is read."""
    slow, fast = lambda t: 0.1 / (1 + t), lambda t: 3.0 + t
    rule = oxe.switch(
        oxe.rules.rated(oxe.rules.sgd(), slow), oxe.rules.heavy_ball(fast, 0.0),
        oxe.at_step(3),
    )  # fmt: skip
    tx = optax.chain(oxe.scale_by_moments(rule), optax.scale(-1.0))
    g = jnp.ones(2)
    state, found, applied = tx.init(g), [], []
    assert rates(state) == pytest.approx(0.1)
    for _ in range(6):
        u, state = tx.update(g, state)
        found.append(rates(state))
        applied.append(-float(u[0]))
    np.testing.assert_allclose(found, [0.1, 0.05, 0.1 / 3, 3, 4, 5], rtol=1e-6)
    np.testing.assert_allclose(applied, found, rtol=1e-6)


def test_a_schedule_around_the_switch_goes_on():
    rule = oxe.switch(oxe.rules.sgd(), oxe.rules.momentum(0.0), oxe.at_step(2))
    tx = optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(lambda t: 1.0 + t))
    us, _ = run(tx, np.ones((5, 1)))
    np.testing.assert_allclose(us[:, 0], [-1, -2, -3, -4, -5])


def test_a_phase_without_a_rate_answers_nan():
    rule = oxe.switch(oxe.rules.heavy_ball(0.1), oxe.rules.momentum(), oxe.at_step(1))
    tx = oxe.scale_by_moments(rule)
    _, state = tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    assert rates(state) == pytest.approx(0.1)
    _, state = tx.update(jnp.ones(2), state)
    assert np.isnan(rates(state))


# ---- Conditions ----------------------------------------------------------------------


def spying(seen):
    def when(**kw):
        seen.append(kw)
        return kw["count"] >= 3

    return when


MAKERS = {
    "rules": lambda a, b, when, **kw: oxe.scale_by_moments(
        oxe.switch(
            oxe.rules.rated(oxe.rules.sgd(), a),
            oxe.rules.rated(oxe.rules.sgd(), b),
            when,
            **kw,
        )
    ),
    "transformations": lambda a, b, when, **kw: oxe.switch(
        optax.scale(a), optax.scale(b), when, **kw
    ),
}
each_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@each_kind
def test_when_is_called_with_everything(make):
    seen, g = [], jnp.arange(1.0, 4.0)
    tx = make(2.0, 5.0, spying(seen))
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
    """Fires when a value has been worse than the best so often, with a memory."""

    def init():
        return {"best": jnp.inf, "bad": 0}

    def update(watch, count, *, value, **seen):
        assert set(seen) == {"grads", "updates", "params"}
        bad = jnp.where(value < watch["best"], 0, watch["bad"] + 1)
        watch = {"best": jnp.minimum(value, watch["best"]), "bad": bad}
        return bad >= worse, watch

    return oxe.Condition(init, update)


@each_kind
@pytest.mark.parametrize("jit", [True, False])
def test_a_condition_with_a_memory(make, jit):
    values = [3.0, 2.0, 4.0, 1.0, 2.0, 3.0, 0.0, 5.0]
    tx = make(2.0, 5.0, patience(2))
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
    watch, step = optax.tree.get(state, "watch"), optax.tree.get(state, "switch_step")
    assert step == 6
    assert (watch["best"], watch["bad"]) == (1, 2)  # it looks no more


@each_kind
def test_the_extra_arguments_reach_both_phases(make):
    del make

    def after(t, carry, *, value, **_):
        return {"value": value}

    def rule(size):
        return oxe.Rule(
            lambda: {"value": jnp.zeros(())},
            lambda t, carry: (oxe.Tableau(n0=size + carry["value"]), carry),
            after,
            frozenset(),
        )

    tx = oxe.scale_by_moments(oxe.switch(rule(0.0), rule(100.0), oxe.at_step(2)))
    us, state = [], tx.init(jnp.ones(1))
    for value in (1.0, 2.0, 3.0, 4.0):
        u, state = jax.jit(tx.update)(jnp.ones(1), state, value=value)
        us.append(float(u[0]))
    assert us == [0, 1, 100, 103]


def test_the_extra_arguments_reach_both_transformations():
    def scaled(by):
        def update(u, state, params=None, *, value, **extra):
            return by * value * u, state

        return optax.GradientTransformationExtraArgs(lambda p: (), update)

    tx = oxe.switch(scaled(1), scaled(100), oxe.at_step(2))
    us, state = [], tx.init(jnp.ones(1))
    for value in (1.0, 2.0, 3.0, 4.0):
        u, state = jax.jit(tx.update)(jnp.ones(1), state, value=value)
        us.append(float(u[0]))
    assert us == [1, 2, 300, 400]


ASKERS = {
    **MAKERS,
    "restarted rule": lambda a, b, when: oxe.scale_by_moments(
        oxe.restart(oxe.rules.rated(oxe.rules.sgd(), a), when)
    ),
    "restarted": lambda a, b, when: oxe.restart(optax.scale(a), when),
}


@pytest.mark.parametrize("make", ASKERS.values(), ids=ASKERS)
@pytest.mark.parametrize("name", ["count", "grads", "t", "carry", "watch"])
def test_extra_arguments_with_names_that_are_in_use(make, name):
    """What a condition is given is ours; how we call things inside is our affair."""
    asked = []

    def when(*, count, grads, updates, params, **extra):
        asked.append((count, grads, extra))
        return False

    tx, g = make(2.0, 5.0, when), jnp.ones(2)
    if name in ("count", "grads"):
        with pytest.raises(ValueError, match=f"`{name}` must be no extra argument of"):
            tx.update(g, tx.init(g), g, **{name: 7.0})
    else:
        tx.update(g, tx.init(g), g, **{name: 7.0})
        ((count, grads, extra),) = asked
        assert (int(count), extra) == (1, {name: 7.0})
        np.testing.assert_array_equal(grads, g)


@pytest.mark.parametrize("name", ["count", "grads"])
def test_where_nobody_looks_on_no_name_is_in_use(name):
    tx = oxe.scale_by_moments(oxe.rules.adam())
    tx.update(jnp.ones(2), tx.init(jnp.ones(2)), **{name: 7.0})


@pytest.mark.parametrize("make", ASKERS.values(), ids=ASKERS)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda watch: False, "return the pair (fired, watch), got False"),
        (lambda watch: (False, (watch, watch)), "return a watch like the one that"),
        (lambda watch: (False, jnp.ones(2)), "return a watch like the one that"),
    ],
    ids=["no pair", "structure", "shape"],
)
def test_a_condition_that_does_not_keep_its_watch(make, answer, message):
    """A state that changed its shape would be found out in a scan, far from here."""
    when = oxe.Condition(lambda: 0.0, lambda watch, count, **seen: answer(watch))
    tx = make(2.0, 5.0, when)
    with pytest.raises((TypeError, ValueError)) as raised:
        jax.jit(tx.update)(jnp.ones(2), tx.init(jnp.ones(2)))
    assert f"`when.update` must {message}" in str(raised.value)


@pytest.mark.parametrize("n", [1, 3, np.int64(3), 2**40])
def test_at_step(n):
    tx = MAKERS["rules"](2.0, 5.0, oxe.at_step(n))
    us, _ = run(tx, np.ones((5, 1)))
    np.testing.assert_array_equal(us[:, 0], [2 if k < n else 5 for k in range(5)])


def test_many_switch_steps_in_one_program():
    def sizes(n):
        tx = MAKERS["rules"](2.0, 5.0, oxe.at_step(n))
        step = lambda s, _: tx.update(jnp.ones(1), s)[::-1]  # noqa: E731
        return jax.lax.scan(step, tx.init(jnp.ones(1)), length=5)[1][:, 0]

    got = jax.jit(jax.vmap(sizes))(jnp.arange(1, 5))
    for n, row in zip(range(1, 5), got, strict=True):
        np.testing.assert_array_equal(row, [2] * n + [5] * (5 - n))


# ---- Handing over --------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize(
    "odd",
    [
        lambda second: "nonsense",
        lambda second: jax.tree.map(lambda x: jnp.ones(3), (second, 1.0)),
    ],
)
def test_a_handoff_that_does_not_fit(make, odd):
    tx = make(2.0, 5.0, oxe.at_step(1), handoff=lambda second, **_: odd(second))
    with pytest.raises(ValueError, match=r"`handoff` must return what the second"):
        jax.jit(tx.update)(jnp.ones(2), tx.init(jnp.ones(2)))


def test_scalars_are_handed_over():
    """NAdam's product of momenta goes on in the second phase."""
    rule = oxe.switch(
        oxe.rules.nadam(), oxe.rules.nadam(), oxe.at_step(4),
        handoff=lambda *, watch, first, second: first,
    )  # fmt: skip
    tx = oxe.scale_by_moments(rule)
    _, at = run(tx, GRADS[:4])
    momenta = 0.9 * (1 - 0.5 * 0.96 ** (0.004 * np.arange(1, 5)))
    np.testing.assert_allclose(at.carry.second.product, momenta.prod(), rtol=1e-12)


def test_states_are_handed_over():
    """SGD goes on with Adam's first moment."""

    def handoff(*, watch, first, second):
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


@pytest.mark.parametrize(
    ("trace", "fits"),
    [(lambda g: 3.0 * g.astype("bfloat16"), True), (lambda g: jnp.ones(()), False)],
    ids=["dtype", "shape"],
)
def test_a_state_keeps_its_dtypes_and_its_shapes(trace, fits):
    def handoff(*, watch, first, second):
        return second._replace(trace=trace(second.trace + 1))

    tx = oxe.switch(
        optax.scale_by_adam(), optax.trace(0.5), oxe.at_step(1), handoff=handoff
    )
    g = jnp.ones(2)
    if not fits:
        with pytest.raises(ValueError, match="`handoff` must return what the second"):
            jax.jit(tx.update)(g, tx.init(g))
        return
    _, state = jax.jit(tx.update)(g, tx.init(g))
    u, state = jax.jit(tx.update)(g, state)
    np.testing.assert_allclose(u, 2.5)
    assert state.second.trace.dtype == jnp.float32


# ---- Of two transformations ----------------------------------------------------------


@pytest.mark.parametrize("jit", [True, False])
def test_two_transformations(jit):
    first, second = optax.adamw(0.1), optax.chain(optax.clip(0.5), optax.sgd(0.2, 0.9))
    tx = oxe.switch(first, second, oxe.at_step(7))
    us, state = run(tx, GRADS[:20], update=None if jit else tx.update)
    assert_like(us[:7], run(first, GRADS[:7])[0], 1e-12)
    assert_like(us[7:], run(second, GRADS[7:20])[0], 1e-12)
    assert (state.switched, state.switch_step) == (True, 7)


def test_transformations_nest():
    parts = [optax.scale_by_adam(), optax.trace(0.9), optax.scale_by_rms()]
    inner = oxe.switch(parts[1], parts[2], oxe.at_step(6))
    us, _ = run(oxe.switch(parts[0], inner, oxe.at_step(5)), GRADS)
    for piece, tx, g in zip(
        np.split(us, [5, 11]), parts, np.split(GRADS, [5, 11]), strict=True
    ):
        assert_like(piece, run(tx, g)[0], 1e-12)


def test_the_rate_of_the_transformation_in_force():
    tx = oxe.switch(
        oxe.adagrad(lambda t: 0.1 / (1 + t)),
        optax.chain(optax.trace(0.9), oxe.scale_by_rate(3.0)),
        oxe.at_step(2),
    )
    tx = optax.chain(optax.clip(1.0), tx)
    state, found = tx.init(jnp.ones(2)), []
    for _ in range(4):
        _, state = tx.update(jnp.ones(2), state)
        found.append(rates(state))
    np.testing.assert_allclose(found, [0.1, 0.05, 3, 3], rtol=1e-6)


def test_phases_with_moments_of_different_dtypes():
    """Both states are kept as they are."""
    tx = oxe.switch(
        optax.scale_by_adam(mu_dtype=jnp.bfloat16), optax.trace(0.9), oxe.at_step(2)
    )
    params = jnp.ones(3)
    state = tx.init(params)
    kinds = jax.tree.map(lambda x: x.dtype, state)
    for _ in range(4):
        u, state = jax.jit(tx.update)(params, state)
        assert u.dtype == jnp.float32
        assert jax.tree.map(lambda x: x.dtype, state) == kinds


# ---- Cost ----------------------------------------------------------------------------


def compiled(tx, size=1 << 16):
    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    params = jnp.ones(size)
    state = jax.eval_shape(tx.init, params)
    lowered = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    return lowered.compile()


def temporaries(tx, size=1 << 16):
    return compiled(tx, size).memory_analysis().temp_size_in_bytes / (4 * size)


def test_rules_switch_without_any_temporary():
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), oxe.at_step(5))
    tx = oxe.scale_by_moments(rule)
    assert temporaries(tx) < 0.01
    assert buffers(tx.init(jnp.ones(17)), jnp.ones(17)) == 2


def test_transformations_switch_with_one_temporary():
    """In place; a `cond` between the two phases makes three, and copies all states."""
    tx = oxe.switch(optax.adam(0.1), optax.sgd(0.1, 0.9), oxe.at_step(5))
    assert temporaries(tx) < 1.05


# ---- Bad gradients -------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
def test_the_second_phase_does_not_see_what_spoilt_the_first(bad):
    grads = GRADS.astype(np.float32)
    grads[3] = bad
    rule = oxe.switch(oxe.rules.adam(), oxe.rules.amsgrad(), oxe.at_step(7))
    tx, alone = map(oxe.scale_by_moments, (rule, oxe.rules.amsgrad()))
    us, expected = [], []
    state, other = tx.init(grads[0]), alone.init(grads[0])
    for k, g in enumerate(grads[:20]):
        u, state = tx.update(jnp.asarray(g), state)
        if k >= 7:
            us.append(u)
            v, other = alone.update(jnp.asarray(g), other)
            expected.append(v)
    assert np.all(np.isfinite(us))
    np.testing.assert_allclose(us, expected, rtol=1e-4, atol=1e-6)


# ---- Bad arguments -------------------------------------------------------------------

A, M = oxe.rules.adam(), oxe.rules.momentum()
WRONG = [
    (TypeError, (A, optax.sgd(0.1), oxe.at_step(1)), {}, "got a rule and a transf"),
    (TypeError, (optax.sgd(0.1), A, oxe.at_step(1)), {}, "must be of one kind"),
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


@pytest.mark.parametrize(("error", "args", "kw", "message"), WRONG)
def test_wrong_arguments(error, args, kw, message):
    with pytest.raises(error) as raised:
        oxe.switch(*args, **kw)
    assert "switch: " in str(raised.value)
    assert message in str(raised.value)


@each_kind
@pytest.mark.parametrize(
    ("error", "answer", "message"),
    [
        (TypeError, None, "`when` must return a bool, got None"),
        (TypeError, 1, "`when` must return a bool, got 1"),
        (ValueError, jnp.ones(2, bool), "`when` must return a bool of shape ()"),
        (ValueError, jnp.ones(()), "`when` must return a bool of shape ()"),
    ],
)
def test_a_condition_that_is_none(make, error, answer, message):
    tx = make(2.0, 5.0, lambda **_: answer)
    with pytest.raises(error) as raised:
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    assert message in str(raised.value)


def two_updates(tx, update):
    state = tx.init(jnp.ones(2))
    for _ in range(2):
        _, state = update(jnp.ones(2), state, jnp.ones(2))


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(
    "odd",
    [
        optax.stateless(lambda u, p: jax.tree.map(lambda x: x.astype("bfloat16"), u)),
        optax.stateless(lambda u, p: [u]),
        optax.stateless(lambda u, p: u[:1]),
    ],
    ids=["dtype", "structure", "shape"],
)
def test_phases_that_do_not_fit_together(odd, jit):
    for phases in ((odd, optax.sgd(0.1)), (optax.sgd(0.1), odd)):
        tx = oxe.switch(*phases, oxe.at_step(1))
        update = jax.jit(tx.update) if jit else tx.update
        with pytest.raises(ValueError, match="return updates of the structure"):
            two_updates(tx, update)


@pytest.mark.parametrize(("error", "n"), [(ValueError, 0), (TypeError, 1.5)])
def test_a_step_that_there_is_not(error, n):
    with pytest.raises(error, match="at_step: `n` must be an integer of at least 1"):
        oxe.at_step(n)


def without(*, count, grads):
    return count > 3


def in_order(count, grads, updates, params, /):
    return count > 3


def a_schedule(t):
    return 0.1


@each_kind
@pytest.mark.parametrize("when", [without, in_order, a_schedule])
def test_a_function_that_cannot_be_asked(make, when):
    must = "`when` must take the keywords `count`, `grads`, `updates`, `params`, got"
    with pytest.raises(TypeError, match=must):
        make(2.0, 5.0, when)


@each_kind
def test_functions_with_other_arguments(make):
    for condition, must in (
        (oxe.Condition((), lambda watch, count, **_: (True, watch)), "init` must be"),
        (oxe.Condition(tuple, lambda watch: (True, watch)), "update` must take 2"),
    ):
        with pytest.raises(TypeError, match=f"`when.{must}"):
            make(2.0, 5.0, condition)
    with pytest.raises(TypeError, match=r"`handoff` must take the keywords `watch`,"):
        make(2.0, 5.0, oxe.at_step(1), handoff=lambda first, second: second)


@pytest.mark.parametrize("schedule", [oxe.plateau(0.1), oxe.greedy(0.1)])
def test_a_metric_schedule_is_no_condition(schedule):
    """The mistake that lies nearest, with what to write instead."""
    sgd = optax.sgd(0.1)
    for name, make in (
        ("switch", lambda: oxe.switch(oxe.rules.adam(), oxe.rules.sgd(), schedule)),
        ("switch", lambda: oxe.switch(sgd, sgd, schedule)),
        ("restart", lambda: oxe.restart(sgd, schedule)),
    ):
        with pytest.raises(TypeError, match=f"^{name}: `when` must .*`oxe.on_plateau`"):
            make()
