"""The kernel behind all rules: what is in the program, in the state, and in between."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.programs import work
from tests.parity.programs import quick_jit

# ---- A static 0 or 1 needs no operation in the compiled step -------------------------

# Operations on leaves, counted by hand from the formula of each rule. A `select` guards
# against 0 * inf for a coefficient that may be 0 at run time: the learning rate of
# heavy ball, the dampening, and RAdam's d; not Adam's bias corrections.
WORK = {
    "sgd": (oxe.rules.sgd(), {}),
    "momentum": (oxe.rules.momentum(), {"mul": 1, "add": 1}),
    "momentum, beta 0": (oxe.rules.momentum(0), {}),
    "nesterov": (oxe.rules.momentum(nesterov=True), {"mul": 2, "add": 2}),
    "dampened": (
        oxe.rules.momentum(dampening=0.5),
        {"mul": 2, "add": 1, "select_n": 1},
    ),
    "heavy_ball": (oxe.rules.heavy_ball(0.1), {"mul": 2, "add": 1, "select_n": 1}),
    "heavy_ball, nesterov": (
        oxe.rules.heavy_ball(0.1, nesterov=True),
        {"mul": 4, "add": 2, "select_n": 2},
    ),
    "adagrad": (
        oxe.rules.adagrad(),
        {"square": 1, "add": 2, "sqrt": 1, "div": 1},
    ),
    "adam": (
        oxe.rules.adam(),
        {"mul": 5, "square": 1, "add": 3, "sqrt": 1, "div": 1},
    ),
    "adam, b1 0": (
        oxe.rules.adam(b1=0),
        {"mul": 3, "square": 1, "add": 2, "sqrt": 1, "div": 1},
    ),
    "radam": (
        oxe.rules.radam(),
        {"mul": 6, "square": 1, "add": 3, "sqrt": 1, "div": 1, "select_n": 1},
    ),
    "adagrad, from 0.1": (
        oxe.rules.adagrad(initial_accumulator_value=0.1),
        {"square": 1, "add": 3, "sqrt": 1, "div": 1},
    ),
    "rmsprop": (
        oxe.rules.rmsprop(initial="zero"),
        {"mul": 2, "square": 1, "add": 2, "sqrt": 1, "div": 1},
    ),
    "rmsprop, eps_in_root": (
        oxe.rules.rmsprop(initial="zero", eps_in_root=True),
        {"mul": 2, "square": 1, "add": 3, "sqrt": 1, "div": 1},
    ),
    "rmsprop, centered": (
        oxe.rules.rmsprop(initial="zero", centered=True),
        {
            **{"mul": 4, "square": 2, "add": 3, "sub": 1, "sqrt": 1, "div": 1},
            **{"min": 1, "max": 1},  # neither inf - inf nor less than 0
        },
    ),
    "amsgrad": (
        oxe.rules.amsgrad(),
        {"mul": 5, "square": 1, "add": 3, "sqrt": 1, "div": 1, "max": 1},
    ),
    "amsgrad, raw": (
        oxe.rules.amsgrad(bias_correction=False),
        {"mul": 4, "square": 1, "add": 3, "sqrt": 1, "div": 1, "max": 1},
    ),
    "nadam": (
        oxe.rules.nadam(),
        {"mul": 6, "square": 1, "add": 4, "sqrt": 1, "div": 1},
    ),
}


SHAPE = (3, 5)


def work_of(rule):
    """The operations on leaves in one update."""
    tx, params = oxe.scale_by_moments(rule), jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    state = jax.eval_shape(tx.init, params)
    return dict(work(jax.make_jaxpr(tx.update)(params, state).jaxpr, SHAPE))


def constant_rule(tableau, **kw):
    """A rule with the same coefficients at every update."""
    return oxe.Rule(lambda: (), lambda t, carry: (tableau, carry), **kw)


def test_work_per_weight():
    for name, (rule, expected) in WORK.items():
        assert work_of(rule) == expected, name


def test_numpy_zeros_and_ones_are_known_too():
    for known in (int, float, np.float32, np.float64, np.int64):
        one, zero = known(1), known(0)
        tableau = oxe.Tableau(one, one, one, zero, one, zero, one, zero, one)
        assert work_of(constant_rule(tableau)) == {"add": 1}  # mu + g, nothing else


def test_a_known_zero_leaves_no_trace_beside_a_traced_scale():
    """Only the other term is multiplied, and guarded once."""
    for absent in ("n0", "n1"):

        def step(t, carry, absent=absent):
            c = {"a1": 1, "c1": 1, "n0": 1, "n1": 1, absent: 0, "s": 1.0 / t}
            return oxe.Tableau(**c), carry

        rule = oxe.Rule(lambda: (), step, buffers=frozenset({"mu"}))
        assert work_of(rule) == {"add": 1, "mul": 1, "select_n": 1}, absent


BUFFERS = {
    "sgd": (oxe.rules.sgd(), False, False),
    "momentum": (oxe.rules.momentum(), True, False),
    "heavy_ball": (oxe.rules.heavy_ball(0.1), True, False),
    "adagrad": (oxe.rules.adagrad(), False, True),
    "adam": (oxe.rules.adam(), True, True),
    "radam": (oxe.rules.radam(), True, True),
    "rmsprop": (oxe.rules.rmsprop(), False, True),
    "rmsprop, centered": (oxe.rules.rmsprop(centered=True), True, True),
    "nadam": (oxe.rules.nadam(), True, True),
    "amsgrad": (oxe.rules.amsgrad(), True, True),
}
WITH_A_MAXIMUM = {"amsgrad"}


def test_only_the_buffers_of_the_rule():
    params = {"w": jnp.ones(3), "b": jnp.ones(())}
    for name, (rule, mu, nu) in BUFFERS.items():
        tx = oxe.scale_by_moments(rule)
        state = jax.eval_shape(tx.init, params)
        for found in (state, jax.eval_shape(tx.update, params, state)[1]):
            needed = (mu, nu, name in WITH_A_MAXIMUM)
            for buffer, is_needed in zip(buffers_of(found), needed, strict=True):
                expected = jax.tree.structure(params if is_needed else None)
                assert jax.tree.structure(buffer) == expected, name


def buffers_of(state):
    return state.mu, state.nu, state.nu_max


# Optax's optimizers, to compare the memory that a step needs.
NEIGHBORS = {
    "sgd": (oxe.rules.sgd(), lambda: optax.sgd(0.1)),
    "momentum": (oxe.rules.momentum(), lambda: optax.sgd(0.1, 0.9)),
    "nesterov": (
        oxe.rules.momentum(nesterov=True),
        lambda: optax.sgd(0.1, 0.9, nesterov=True),
    ),
    "dampened": (oxe.rules.momentum(dampening=0.5), lambda: optax.sgd(0.1, 0.9)),
    "heavy_ball": (oxe.rules.heavy_ball(1.0), lambda: optax.sgd(0.1, 0.9)),
    "heavy_ball, nesterov": (
        oxe.rules.heavy_ball(1.0, nesterov=True),
        lambda: optax.sgd(0.1, 0.9, nesterov=True),
    ),
    "adagrad": (oxe.rules.adagrad(), lambda: optax.adagrad(0.1)),
    "adam": (oxe.rules.adam(), lambda: optax.adam(0.1)),
    "adam, eps_hat": (oxe.rules.adam(eps_hat=True), lambda: optax.adam(0.1)),
    "radam": (oxe.rules.radam(), lambda: optax.radam(0.1)),
    "rmsprop": (oxe.rules.rmsprop(), lambda: optax.rmsprop(0.1)),
    "rmsprop, centered": (
        oxe.rules.rmsprop(centered=True),
        lambda: optax.rmsprop(0.1, centered=True),
    ),
    "nadam": (oxe.rules.nadam(), lambda: optax.nadam(0.1)),
    "amsgrad": (oxe.rules.amsgrad(), lambda: optax.amsgrad(0.1)),
}


def temporaries(txs, sizes):
    """Bytes of temporaries in one jitted step that donates params and states.

    A size for each, so that buffers take the place of their own predecessors.
    """

    def step(params, states, grads):
        new = {}
        for name, tx in txs.items():
            u, state = tx.update(grads[name], states[name], params[name])
            new[name] = optax.apply_updates(params[name], u), state
        return new

    params = {
        name: [jax.ShapeDtypeStruct((size,), jnp.float32)] * leaves
        for name, (size, leaves) in zip(txs, sizes, strict=True)
    }
    states = {name: jax.eval_shape(tx.init, params[name]) for name, tx in txs.items()}
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, states, params)
    return compiled.compile().memory_analysis().temp_size_in_bytes


def with_a_rate(rule):
    return optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(0.1))


def test_no_temporaries():
    """All rules in one program: scalars at most, a hundredth of one leaf for each."""
    ours = {name: with_a_rate(rule) for name, (rule, _) in NEIGHBORS.items()}
    sizes = [(2**16 + 64 * i, 1) for i in range(len(ours))]
    assert temporaries(ours, sizes) <= len(ours) * 2**16 // 25


@pytest.mark.full
@pytest.mark.parametrize("leaves", [1, 64])
@pytest.mark.parametrize(("rule", "neighbor"), NEIGHBORS.values(), ids=NEIGHBORS)
def test_no_temporaries_beyond_those_of_optax(rule, neighbor, leaves):
    size = 2**20 // leaves
    ours, theirs = (
        temporaries({"": tx}, [(size, leaves)])
        for tx in (with_a_rate(rule), neighbor())
    )
    assert ours <= theirs + size // 25


# ---- Trap 1: a coefficient of 0 means absent -----------------------------------------

INF = jnp.inf
# The factor that is inf, and the coefficient that removes it.
ABSENT = {
    "a1": {"mu": INF},
    "c1": {"g": INF, "n0": 0},
    "a2": {"nu": INF},
    "c2": {"g": 1e20, "n0": 1},
    "n0": {"g": INF, "c1": 0, "c2": 0},
    "n1": {"mu": INF, "a1": 1},
    "d": {"nu": INF, "a2": 1},
    "q": {"mu": 1e20, "n1": 0},
}
BASE = {"a1": 0.5, "c1": 0.5, "a2": 0.5, "c2": 0.5, "n0": 0.5, "n1": 0.5, "d": 1}
# With the optional terms in the root.
ROOT = {**BASE, "q": 0.5, "k": 0.5}


def one_update(coefficients, g=1.0, mu=1.0, nu=1.0):
    """(u, mu', nu') of one update from given moments with a given tableau."""
    tx = oxe.scale_by_moments(constant_rule(oxe.Tableau(**coefficients)))
    g, mu, nu = (jnp.full((2,), x, jnp.float32) for x in (g, mu, nu))
    state = tx.init(g)._replace(mu=mu, nu=nu)
    u, state = tx.update(g, state)
    return u, state.mu, state.nu


def test_a_traced_zero_times_inf_is_absent():
    """Like a known zero. With another value the term is present."""

    def run(coefficient, c):
        setting = dict(ABSENT[coefficient])
        factors = {k: setting.pop(k) for k in ("g", "mu", "nu") if k in setting}
        return one_update({**BASE, **setting, coefficient: c}, **factors)

    traced = jax.jit(lambda c: {name: run(name, c) for name in ABSENT})
    absent, present = traced(0.0), traced(0.25)
    for name in ABSENT:
        known = run(name, 0)
        for got, expected in zip(absent[name], known, strict=True):
            np.testing.assert_allclose(got, expected, 2**-22)  # of two programs
            assert not np.isnan(got).any(), name
        pairs = zip(present[name], known, strict=True)
        assert any(not np.array_equal(*pair) for pair in pairs), name


def test_slopes_in_a_coefficient():
    """Also at exactly 0: the derivative of the formula by central differences."""
    g, mu, nu = 3.0, 2.0, 7.0

    def formula(k):
        m = k["a1"] * mu + k["c1"] * g
        v = k["a2"] * nu + k["c2"] * g**2
        root = (v - k["q"] * m**2 + k["k"]) ** 0.5
        return np.array([(k["n0"] * g + k["n1"] * m) / (k["d"] * root + 1), m, v])

    def run(values):
        found = one_update(dict(zip(ROOT, values, strict=True)), g, mu, nu)
        return jnp.stack([x[0] for x in found])

    def both_modes(values, direction):
        _, slope = jax.jvp(run, (values,), (direction,))
        return slope, jax.jacrev(run)(values) @ direction

    h, cases = 1e-5, [(name, at) for name in ROOT for at in (0.0, 0.25)]
    points = [list({**ROOT, name: at}.values()) for name, at in cases]
    directions = [[float(x == name) for x in ROOT] for name, _ in cases]
    with jax.enable_x64(True):
        given = jnp.array(points, jnp.float32), jnp.array(directions, jnp.float32)
        found = jax.device_get(quick_jit(jax.vmap(both_modes))(*given))
    for (name, at), *slopes in zip(cases, *found, strict=True):
        ahead, behind = (formula({**ROOT, name: at + x}) for x in (h, -h))
        for slope in slopes:
            expected = (ahead - behind) / (2 * h)
            np.testing.assert_allclose(slope, expected, 2e-6, 1e-7, err_msg=name)


def test_a_known_coefficient_is_a_traced_one():
    """Those that leave no trace are 0 and 1; -1 is as any other number."""
    bases = {True: {**ROOT, "s": 1.5, "e": 0.75}, False: {**BASE, "d": 0, "e": 0.75}}

    def run(coefficient, rooted, c):
        return one_update({**bases[rooted], coefficient: c}, 3.0, 2.0, 70.0)

    cases = [(name, rooted) for name in (*ROOT, "s", "e") for rooted in (True, False)]
    values = np.float32([1, -1, 0])
    traced = quick_jit(lambda: [jax.vmap(partial(run, *x))(values) for x in cases])()
    for (name, rooted), each in zip(cases, jax.device_get(traced), strict=True):
        for i, value in enumerate((1,) if name == "e" else (1, -1, 0)):
            for a, b in zip(run(name, rooted, value), each, strict=True):
                np.testing.assert_allclose(a, b[i], rtol=1e-6, err_msg=name)


# ---- Inside the root -----------------------------------------------------------------


def root_of(**coefficients):
    """A tableau whose u is the gradient over the root, with constant buffers."""
    return {"n0": 1, "d": 1, "e": 0, "a1": 1, "a2": 1, **coefficients}


def test_the_root():
    def run(q, k):
        return one_update(root_of(q=q, k=k), g=1.0, mu=3.0, nu=16.0)[0]

    cases = np.float32([(q, k) for q in (0.0, 0.25, 1.0) for k in (0.0, 0.5)])
    traced = jax.jit(jax.vmap(run))(*cases.T)
    for (q, k), got in zip(cases, traced, strict=True):
        expected = 1 / np.sqrt(16 - 9 * q + k)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        np.testing.assert_allclose(run(float(q), float(k)), expected, rtol=1e-6)


def test_inf_less_inf_is_inf():
    """Of one gradient too large: it is then passed over, as without centring."""
    (u, _), mu, _ = one_update(root_of(q=1), g=1.0, mu=1e20, nu=np.inf)
    assert mu[0] == np.float32(1e20)
    assert u == 0


def test_a_difference_of_averages_is_not_negative():
    """nu - mu^2 = -1 counts as 0; where k is 0 too, the smallest root divides."""
    least = np.sqrt(np.finfo(np.float32).tiny)
    for k in (0.0, 0.25):
        (u, _), _, _ = one_update(root_of(q=1, k=k), g=1.0, mu=2.0, nu=3.0)
        np.testing.assert_allclose(u, 1 / max(np.sqrt(k), least), rtol=1e-6)


def test_the_maximum_takes_the_place_of_the_moment():
    """nu is 4, 1, 9, 0 in turn; the root is taken of 4, 4, 9, 9."""
    tableau = oxe.Tableau(c2=1, n0=1, d=1, e=0)
    tx = oxe.scale_by_moments(
        constant_rule(tableau, buffers=frozenset({"nu", "nu_max"}))
    )
    state = tx.init(jnp.zeros(2))
    for g, top in ((2.0, 4), (-1.0, 4), (3.0, 9), (0.0, 9)):
        u, state = tx.update(jnp.full(2, g), state)
        assert (state.nu[0], state.nu_max[0]) == (g**2, top)
        np.testing.assert_allclose(u, g / np.sqrt(top), rtol=1e-6)


# ---- Limits on the effective rate ----------------------------------------------------

LIMITS = [(None, None), (None, 0.3), (0.3, None), (0.2, 0.3), (5.0, 9.0)]


def all_updates(tx, grads):
    """The updates, and the last state, in one scan."""

    def step(state, g):
        return tx.update(g, state)[::-1]

    state, us = jax.lax.scan(step, tx.init(grads[0]), grads)
    return us, state


def test_clipped_scale():
    s, e = 2.0, 1.5
    cases = {(*limits, d): None for limits in LIMITS for d in (1, 0)}
    for lo, hi, d in cases:
        tableau = oxe.Tableau(
            a1=0.9,
            c1=0.1,
            a2=0.5,
            c2=0.5,
            n0=0.25,
            n1=0.75,
            s=s,
            d=d,
            e=e,
            lo=lo,
            hi=hi,
        )
        cases[lo, hi, d] = oxe.scale_by_moments(constant_rule(tableau))
    grads = np.random.default_rng(0).normal(0, 10, (20, 6)).astype(np.float32)
    run = quick_jit(lambda grads: [all_updates(tx, grads)[0] for tx in cases.values()])
    for (lo, hi, d), us in zip(cases, run(grads), strict=True):
        mu = nu = 0.0
        for u, g in zip(us, grads.astype(np.float64), strict=True):
            mu, nu = 0.9 * mu + 0.1 * g, 0.5 * nu + 0.5 * g**2
            scale = np.clip(
                s / (d * np.sqrt(nu) + e), -np.inf if lo is None else lo, hi
            )
            top = 0.25 * g + 0.75 * mu
            atol = 8 * 2**-24 * np.abs(scale) * (np.abs(g) + np.abs(mu))
            assert np.all(np.abs(u - scale * top) <= atol), (lo, hi, d)


# ---- Half precision ------------------------------------------------------------------

HALVES = [jnp.bfloat16, jnp.float16]


def test_dtypes_of_moments():
    """float32 for half-precision leaves, unless `moments_dtype` is another."""
    asked = [(half, None) for half in HALVES]
    asked += [(jnp.float32, "bfloat16"), (jnp.bfloat16, jnp.float16)]
    asked += [(jnp.bfloat16, jnp.bfloat16), (jnp.bfloat16, jnp.float32)]
    for name, (rule, _, _) in BUFFERS.items():
        for dtype, moments_dtype in asked:
            tx = oxe.scale_by_moments(rule, moments_dtype=moments_dtype)
            grads = jax.ShapeDtypeStruct((3,), dtype)
            state = jax.eval_shape(tx.init, grads)
            u, after = jax.eval_shape(tx.update, grads, state)
            assert u.dtype == dtype, name
            moments = jax.tree.leaves((buffers_of(state), buffers_of(after)))
            expected = jnp.dtype(moments_dtype or jnp.float32)
            assert {x.dtype for x in moments} <= {expected}, (name, dtype)


def test_sums_and_averages_of_half_precision_leaves_go_on():
    """In bfloat16, 256 + 1 is 256, and an average would freeze at 0.5."""
    rules = oxe.rules.adagrad(), oxe.rules.adam(), oxe.rules.amsgrad()
    txs = [oxe.scale_by_moments(rule) for rule in rules]

    def last(tx, half):
        def step(state, _):
            return tx.update(jnp.ones((), half), state)[1], None

        first = tx.init(jnp.ones((), half))
        return jax.lax.scan(step, first, length=5000)[0]

    run = jax.jit(lambda: [[last(tx, half) for tx in txs] for half in HALVES])
    for adagrad, adam, amsgrad in run():
        assert adagrad.nu == 5000
        np.testing.assert_allclose(adam.nu, 1 - 0.999**5000, rtol=1e-4)
        np.testing.assert_allclose(amsgrad.nu_max, amsgrad.nu, rtol=0)


def runs_of_all(grads):
    txs = {name: oxe.scale_by_moments(rule) for name, (rule, *_) in BUFFERS.items()}
    return {name: all_updates(tx, grads) for name, tx in txs.items()}


def test_a_gradient_of_300_in_float16():
    """Its square overflows in float16."""
    found = quick_jit(runs_of_all)(jnp.array([300.0, 1.0, 0.0, 1.0], jnp.float16))
    for name, (us, state) in found.items():
        for x in (us, *jax.tree.leaves(buffers_of(state))):
            assert np.all(np.isfinite(x)), name


# ---- Complex leaves: |g|^2, and phases that survive ----------------------------------


def test_a_turned_complex_gradient_gives_a_turned_direction():
    """All rules are isotropic in the complex plane: a real run times a phase."""
    real = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    phase = np.exp(0.7j).astype(np.complex64)

    def both(real, turned):
        return runs_of_all(real), runs_of_all(turned)

    straight, turned = quick_jit(both)(real, real * phase)
    for name, (us, state) in turned.items():
        assert us.dtype == np.complex64, name
        assert state.nu is None or state.nu.dtype == np.float32, name
        np.testing.assert_allclose(us, straight[name][0] * phase, 1e-5, 1e-6)


# ---- States own their arrays ---------------------------------------------------------


class Held(NamedTuple):
    """Scalars that a rule carries, from an array that its author still holds."""

    scalar: Any


def carrying(array):
    def step(t, carry):
        return oxe.Tableau(a1=0.5, c1=carry.scalar, n1=1), carry

    return oxe.Rule(lambda: Held(array), step)


@pytest.mark.parametrize("per_leaf", [False, True])
def test_a_donated_state_takes_nothing_along(per_leaf):
    array, params = jnp.float32(2.0), {"w": jnp.ones(3), "b": jnp.ones(2)}
    tx = oxe.scale_by_moments(carrying(array), per_leaf=per_leaf)
    step = jax.jit(tx.update, donate_argnums=1)
    first, second = tx.init(params), tx.init(params)
    for state in (first, second, tx.init(params)):
        step(params, step(params, state)[1])
    assert array + 1 == 3
    assert params["w"].sum() == 3


# ---- per_leaf ------------------------------------------------------------------------


class Watch(NamedTuple):
    size: jax.Array  # of the last gradient, relative to that of the params
    seen: jax.Array  # int32
    value: jax.Array


def watchful():
    """A rule that scales each update by what `after` found in the one before."""

    def init():
        return Watch(jnp.ones(()), jnp.zeros((), jnp.int32), jnp.zeros(()))

    def step(t, carry):
        return oxe.Tableau(a1=0.9, c1=carry.size, n1=1 / (1 + carry.value)), carry

    def after(t, carry, *, grads, updates, params, value, **extra):
        del extra
        size = optax.tree.norm(grads) + optax.tree.norm(updates)
        return Watch(size / optax.tree.norm(params), carry.seen + t, value)

    return oxe.Rule(init, step, after, frozenset({"mu"}))


TREE = {"w": jnp.ones((2, 3)), "b": 3 * jnp.ones(2), "scale": jnp.float32(2.0)}


def random_like(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), tree)


def watched_run(params, grads, per_leaf):
    tx = oxe.scale_by_moments(watchful(), per_leaf=per_leaf)

    def step(state, given):
        value, g = given
        return tx.update(g, state, params, value=value, other=None)[::-1]

    values = jnp.arange(4.0)
    state, us = jax.lax.scan(step, tx.init(params), (values, grads))
    return us, state


def test_per_leaf_is_a_transformation_for_each_leaf():
    """Without `per_leaf` there is one carry for the whole tree."""
    grads = [random_like(TREE, seed) for seed in range(4)]
    grads = jax.tree.map(lambda *xs: jnp.stack(xs), *grads)

    def flat(tree, rows):
        return jnp.concatenate([x.reshape(rows) for x in jax.tree.leaves(tree)], -1)

    @quick_jit
    def runs(tree, grads):
        alone = {x: watched_run(tree[x], grads[x], False) for x in tree}
        one = watched_run(flat(tree, (-1,)), flat(grads, (4, -1)), False)
        pair = (watched_run(tree, grads, per_leaf) for per_leaf in (True, False))
        return *pair, alone, one

    (us, state), (_, whole), alone, (_, one) = runs(TREE, grads)
    for i, name in enumerate(sorted(TREE)):
        expected, own = alone[name]
        np.testing.assert_allclose(us[name], expected, rtol=1e-6)
        for kept, of_leaf in zip(state.carry, own.carry, strict=True):
            assert kept.shape == (3,)
            assert kept.dtype == of_leaf.dtype
            np.testing.assert_allclose(kept[i], of_leaf, rtol=1e-6)
    for kept, of_all in zip(whole.carry, one.carry, strict=True):
        assert kept.shape == ()
        np.testing.assert_allclose(kept, of_all, rtol=1e-6)


def test_after_sees_all_of_the_update():
    seen = {}

    def after(t, carry, **everything):
        seen.update(everything, t=t)
        return carry

    rule = oxe.Rule(
        lambda: (), lambda t, carry: (oxe.Tableau(n0=2), carry), after, frozenset()
    )
    tx = oxe.scale_by_moments(rule)
    params = {"w": jnp.ones(2)}
    grads = {"w": jnp.array([1.0, 2.0])}
    tx.update(grads, tx.init(params), params, value=5, more="x")
    assert set(seen) == {"t", "grads", "updates", "params", "value", "more"}
    assert (seen["t"], seen["value"], seen["more"]) == (1, 5, "x")
    assert seen["params"] is params
    np.testing.assert_array_equal(seen["grads"]["w"], [1, 2])
    np.testing.assert_array_equal(seen["updates"]["w"], [2, 4])


def test_a_carry_keeps_its_dtype():
    """Even if `step` returns a Python number or float32."""

    def rule(dtype, new):
        return oxe.Rule(
            lambda: Held(jnp.zeros((), dtype)),
            lambda t, carry: (oxe.Tableau(n0=1), carry),
            lambda t, carry, **_: Held(new),
            frozenset(),
        )

    def run(dtype, new, per_leaf):
        tx = oxe.scale_by_moments(rule(dtype, new), per_leaf=per_leaf)
        before = tx.init(TREE)
        after = tx.update(TREE, before)[1]
        return before.carry.scalar, after.carry.scalar

    cases = [
        (dtype, new, per_leaf)
        for dtype in (jnp.bfloat16, jnp.float32, jnp.int32, jnp.bool_)
        for new in (1, 1.0, np.ones((), np.float32))
        for per_leaf in (False, True)
    ]
    found = jax.jit(lambda: [run(*case) for case in cases])()
    for (dtype, *_), (before, after) in zip(cases, found, strict=True):
        assert before.dtype == after.dtype == dtype
        assert not after.weak_type
        assert np.all(np.asarray(after, np.float32) == 1)


def test_trees_without_leaves():
    for empty in ({}, (), None, {"a": None}):
        for per_leaf in (False, True):
            tx = oxe.scale_by_moments(watchful(), per_leaf=per_leaf)
            state = tx.init(empty)
            u, after = tx.update(empty, state, empty, value=jnp.float32(0))
            assert jax.tree.structure(u) == jax.tree.structure(empty)
            kinds, expected = (
                [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
                for tree in (after, state)
            )
            assert kinds == expected


def test_per_leaf_without_params():
    """`after` is then given None for them."""
    rule = oxe.Rule(
        lambda: Held(jnp.zeros(())),
        lambda t, carry: (oxe.Tableau(n0=1), carry),
        lambda t, carry, *, grads, updates, params: Held(params is None),
        frozenset(),
    )
    tx = oxe.scale_by_moments(rule, per_leaf=True)
    _, state = tx.update(TREE, tx.init(TREE))
    np.testing.assert_array_equal(state.carry.scalar, [1, 1, 1])


def test_per_leaf_passes_over_leaves_that_are_none():
    """A rule writes scalar code for arrays: a None leaf is none of its business."""
    rule = oxe.Rule(
        lambda: Held(jnp.zeros(())),
        lambda t, carry: (oxe.Tableau(n0=1), carry),
        lambda t, carry, *, grads, updates, params: Held(jnp.vdot(grads, updates)),
        frozenset(),
    )
    tx = oxe.scale_by_moments(rule, per_leaf=True)
    params = {"a": jnp.ones(2), "frozen": None, "w": jnp.ones(3)}
    _, state = tx.update(params, tx.init(params), params)
    got = [float(x) for x in state.carry.scalar]
    assert got[0] == 2
    assert got[-1] == 3


def test_map_params_leaves_the_scalars_of_leaves_alone():
    tx = oxe.scale_by_moments(watchful(), per_leaf=True)
    params = {"a": jnp.ones(3), "b": jnp.ones(3), "c": jnp.ones(3)}  # as many as leaves
    state = tx.init(params)
    mapped = optax.tree.map_params(tx, lambda x: x + 7, state)
    assert jax.tree.all(jax.tree.map(lambda x: bool(jnp.all(x == 7)), mapped.mu))
    np.testing.assert_array_equal(mapped.carry.size, state.carry.size)


# ---- Wrong arguments -----------------------------------------------------------------

SGD = oxe.rules.sgd()
WRONG = {
    "`rule`": [(oxe.rules.adam,), (optax.adam(0.1),)],
    "`rule.init`": [(SGD._replace(init=None),)],
    "`rule.step`": [(SGD._replace(step=None),)],
    "`per_leaf`": [(SGD, {"per_leaf": 1})],
    "`moments_dtype`": [
        (SGD, {"moments_dtype": wrong}) for wrong in (jnp.int32, jnp.complex64, bool)
    ],
}


def test_wrong_arguments():
    for argument, cases in WRONG.items():
        for rule, *kw in cases:
            with pytest.raises(TypeError, match=f"scale_by_moments: {argument} must "):
                oxe.scale_by_moments(rule, **(kw[0] if kw else {}))


def test_wrong_buffers():
    for buffers in (frozenset({"m"}), "mu", {"nu_max"}):
        rule = constant_rule(oxe.Tableau(n0=1), buffers=buffers)
        with pytest.raises(ValueError, match=r"scale_by_moments: `rule.buffers` must"):
            oxe.scale_by_moments(rule)


def test_a_coefficient_without_its_buffer():
    for name in ("a1", "c1", "n1", "q", "a2", "c2", "d"):
        rule = constant_rule(oxe.Tableau(n0=1, **{name: 0.5}), buffers=frozenset())
        tx = oxe.scale_by_moments(rule)
        with pytest.raises(ValueError, match=f"if `{name}` is not 0"):
            tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_a_division_by_zero():
    tx = oxe.scale_by_moments(
        constant_rule(oxe.Tableau(n0=1, e=0), buffers=frozenset())
    )
    wrong = (
        "scale_by_moments: `rule.step` must return an `e` other than 0 if `d` is 0, got"
    )
    with pytest.raises(ValueError, match=wrong):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_a_carry_of_python_numbers_is_strongly_typed():
    def step(t, carry):
        return oxe.Tableau(n0=1), {"n": carry["n"] + 1}

    rule = oxe.Rule(lambda: {"n": 0}, step, buffers=frozenset())
    tx = oxe.scale_by_moments(rule)
    state, update = tx.init(jnp.ones(2)), jax.jit(tx.update)
    for _ in range(3):
        _, state = update(jnp.ones(2), state)
    assert update._cache_size() == 1


def test_leaves_of_one_shape_are_traced_once():
    """Some trees have a thousand leaves."""
    tx = oxe.scale_by_moments(oxe.rules.adam())
    for shapes in ([(3, 11)] * 20, [(3, 11), (11, 3)] * 10):
        tree = [jnp.ones(shape) for shape in shapes]
        program = str(jax.make_jaxpr(tx.update)(tree, tx.init(tree)))
        assert program.count("name=_sqrt") == len(set(shapes))


NEVER_ZERO = {
    "adam": [oxe.rules.adam(b1=b1, b2=b2) for b1 in (0.0, 0.9) for b2 in (0.0, 0.999)],
    "adam, nesterov": [oxe.rules.adam(b1, nesterov=True) for b1 in (0.0, 1e-3, 0.9)],
    "adam, b1 a schedule": [
        oxe.rules.adam(lambda t: t % 2, nesterov=nesterov) for nesterov in (True, False)
    ],
    "amsgrad": [oxe.rules.amsgrad(bias_correction=x) for x in (True, False)],
    "nadam": [oxe.rules.nadam(b1, momentum_decay=0.0) for b1 in (0.0, 0.9)],
    "radam": [oxe.rules.radam(b1, b2) for b1 in (0.0, 0.9) for b2 in (0.5, 0.999)],
    "adagrad": [oxe.rules.adagrad(lr_decay=x) for x in (0.0, 10.0)],
    "rmsprop": [oxe.rules.rmsprop(x) for x in (0.0, 0.999999)],
}


@pytest.mark.parametrize("name", NEVER_ZERO)
def test_what_a_rule_says_is_never_zero_is_never_zero(name):
    for rule in NEVER_ZERO[name]:
        carry = rule.init()
        for t in (*range(1, 12), 10**4, 2**31 - 1):
            tableau, carry = rule.step(jnp.asarray(t), carry)
            for coefficient in rule.never_zero:
                assert getattr(tableau, coefficient) != 0, (coefficient, t)


def test_a_coefficient_that_becomes_zero_in_another_rule_is_guarded():
    """A learning rate or a switch may set to 0 what is never 0 in the rule itself."""
    adam = oxe.rules.adam()
    assert adam.never_zero
    others = (
        oxe.rules.with_learning_rate(adam, optax.linear_schedule(0.0, 1.0, 10)),
        oxe.switch(adam, oxe.rules.momentum(), oxe.at_step(3)),
        oxe.restart(adam, oxe.at_step(3)),
    )
    assert not any(rule.never_zero for rule in others)
    huge = jnp.array([1e30, 1.0])
    for direction in map(oxe.scale_by_moments, others):
        state = direction.init(huge)
        for _ in range(5):
            u, state = direction.update(huge, state)
            assert jnp.all(jnp.isfinite(u))


def test_a_step_that_returns_something_else():
    tableau, must = oxe.Tableau(n0=1), "an `oxe.Tableau` and the carry"
    cases = [
        (tableau, TypeError, must),
        (3, TypeError, f"{must}, got 3"),
        ((3, ()), TypeError, must),
        (None, TypeError, f"{must}, got None"),
        ((tableau, (1,)), ValueError, "a carry like the"),
    ]
    for made, error, must in cases:
        for per_leaf in (False, True):
            rule = oxe.Rule(lambda: (), lambda t, carry, made=made: made)
            tx = oxe.scale_by_moments(rule, per_leaf=per_leaf)
            with pytest.raises(error, match=f"`rule.step` must return {must}"):
                tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
