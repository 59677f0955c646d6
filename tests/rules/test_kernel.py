"""The kernel behind all rules: what is in the program, in the state, and in between."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.optimizers.programs import work

# ---- A static 0 or 1 leaves no trace in the compiled step ----------------------------

# Arithmetic on whole leaves, from the formula of each rule counted by hand. A `select`
# is the zero guard of one coefficient that is only known at run time: the rate of heavy
# ball, Adam's bias corrections, and RAdam's d.
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
        {"mul": 5, "square": 1, "add": 3, "sqrt": 1, "div": 1, "select_n": 1},
    ),
    "adam, b1 0": (
        oxe.rules.adam(b1=0),
        {"mul": 3, "square": 1, "add": 2, "sqrt": 1, "div": 1, "select_n": 1},
    ),
    "radam": (
        oxe.rules.radam(),
        {"mul": 6, "square": 1, "add": 3, "sqrt": 1, "div": 1, "select_n": 2},
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
        {"mul": 5, "square": 1, "add": 3, "sqrt": 1, "div": 1, "select_n": 1, "max": 1},
    ),
    "amsgrad, raw": (
        oxe.rules.amsgrad(bias_correction=False),
        {"mul": 4, "square": 1, "add": 3, "sqrt": 1, "div": 1, "max": 1},
    ),
    "nadam": (
        oxe.rules.nadam(),
        {"mul": 6, "square": 1, "add": 4, "sqrt": 1, "div": 1, "select_n": 2},
    ),
}


@pytest.mark.parametrize(("rule", "expected"), WORK.values(), ids=WORK)
def test_work_per_weight(rule, expected):
    tx = oxe.scale_by_moments(rule)
    params = jnp.ones((3, 5))
    jaxpr = jax.make_jaxpr(tx.update)(params, tx.init(params)).jaxpr
    assert dict(work(jaxpr, params.shape)) == expected


@pytest.mark.parametrize("known", [int, float, np.float32, np.float64, np.int64])
def test_numpy_zeros_and_ones_are_known_too(known):
    def step(t, carry):
        one, zero = known(1), known(0)
        return oxe.Tableau(one, one, one, zero, one, zero, one, zero, one), carry

    tx = oxe.scale_by_moments(oxe.Rule(lambda: (), step))
    params = jnp.ones((3, 5))
    jaxpr = jax.make_jaxpr(tx.update)(params, tx.init(params)).jaxpr
    assert dict(work(jaxpr, params.shape)) == {"add": 1}  # mu + g, and nothing else


@pytest.mark.parametrize("absent", ["n0", "n1"])
def test_a_known_zero_leaves_no_trace_beside_a_traced_scale(absent):
    """Only the other term is multiplied, and guarded once."""

    def step(t, carry):
        c = {"a1": 1, "c1": 1, "n0": 1, "n1": 1, absent: 0, "s": 1.0 / t}
        return oxe.Tableau(**c), carry

    tx = oxe.scale_by_moments(oxe.Rule(lambda: (), step, buffers=frozenset({"mu"})))
    params = jnp.ones((3, 5))
    jaxpr = jax.make_jaxpr(tx.update)(params, tx.init(params)).jaxpr
    expected = {"add": 1, "mul": 1, "select_n": 1}
    assert dict(work(jaxpr, params.shape)) == expected


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


@pytest.mark.parametrize("name", BUFFERS)
def test_only_the_buffers_of_the_rule(name):
    rule, mu, nu = BUFFERS[name]
    nu_max = name in WITH_A_MAXIMUM
    tx, params = oxe.scale_by_moments(rule), {"w": jnp.ones(3), "b": jnp.ones(())}
    state = tx.init(params)
    for state in (state, tx.update(params, state)[1]):  # noqa: B020
        for buffer, there in ((state.mu, mu), (state.nu, nu), (state.nu_max, nu_max)):
            expected = jax.tree.structure(params if there else None)
            assert jax.tree.structure(buffer) == expected


# Optax's own, for what a step may need in memory.
NEIGHBOURS = {
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


def temporaries(tx, shapes):
    """Bytes of temporaries in one jitted step that donates params and state."""

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    state = jax.eval_shape(tx.init, params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    return compiled.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("leaves", [1, pytest.param(64, marks=pytest.mark.full)])
@pytest.mark.parametrize(("rule", "neighbour"), NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_no_temporaries_beyond_those_of_optax(rule, neighbour, leaves):
    size = 2**20 // leaves
    shapes = [(size,)] * leaves
    ours = optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(0.1))
    # Beyond theirs by scalars at most: a hundredth of one leaf.
    assert temporaries(ours, shapes) <= temporaries(neighbour(), shapes) + size // 25


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
# What the root is taken of has terms of its own.
ROOT = {**BASE, "q": 0.5, "k": 0.5}


def one_update(coefficients, g=1.0, mu=1.0, nu=1.0):
    """(u, mu', nu') of one update from given moments with a given tableau."""
    rule = oxe.Rule(lambda: (), lambda t, carry: (oxe.Tableau(**coefficients), carry))
    tx = oxe.scale_by_moments(rule)
    g, mu, nu = (jnp.full((2,), x, jnp.float32) for x in (g, mu, nu))
    state = tx.init(g)._replace(mu=mu, nu=nu)
    u, state = tx.update(g, state)
    return u, state.mu, state.nu


def absent(coefficient):
    setting = dict(ABSENT[coefficient])
    factors = {k: setting.pop(k) for k in ("g", "mu", "nu") if k in setting}
    return {**BASE, **setting}, factors


@pytest.mark.parametrize("coefficient", ABSENT)
def test_a_traced_zero_times_inf_is_absent(coefficient):
    coefficients, factors = absent(coefficient)
    traced = jax.jit(lambda c: one_update({**coefficients, coefficient: c}, **factors))
    static = one_update({**coefficients, coefficient: 0}, **factors)
    for got, expected in zip(traced(jnp.zeros(())), static, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2**-22)  # of two programs
        assert not np.isnan(got).any()


@pytest.mark.parametrize("coefficient", ABSENT)
def test_the_factor_is_seen_where_the_coefficient_is_not_zero(coefficient):
    """So that the test above does look at the term that it means."""
    coefficients, factors = absent(coefficient)
    present = one_update({**coefficients, coefficient: jnp.float32(0.25)}, **factors)
    without = one_update({**coefficients, coefficient: 0}, **factors)
    assert any(not np.array_equal(a, b) for a, b in zip(present, without, strict=True))


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("coefficient", ROOT)
@pytest.mark.parametrize("at", [0.0, 0.25])
def test_slopes_in_a_coefficient(coefficient, at, mode):
    """Also at exactly 0: the formula's own derivative by central differences."""
    g, mu, nu = 3.0, 2.0, 7.0

    def formula(c):
        k = {**ROOT, coefficient: c}
        m = k["a1"] * mu + k["c1"] * g
        v = k["a2"] * nu + k["c2"] * g**2
        root = (v - k["q"] * m**2 + k["k"]) ** 0.5
        return np.array([(k["n0"] * g + k["n1"] * m) / (k["d"] * root + 1), m, v])

    h = 1e-5
    expected = (formula(at + h) - formula(at - h)) / (2 * h)
    with jax.enable_x64(True):
        slope = mode(
            lambda c: jnp.stack(
                [x[0] for x in one_update({**ROOT, coefficient: c}, g, mu, nu)]
            ).astype(jnp.float64)
        )(jnp.float64(at))
    np.testing.assert_allclose(slope, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("coefficient", [*ROOT, "s", "e"])
@pytest.mark.parametrize("rooted", [True, False])
def test_a_known_coefficient_is_a_traced_one(coefficient, rooted):
    """Those that leave no trace are 0 and 1; -1 and 2 are as any other number."""
    base = {**ROOT, "s": 1.5, "e": 0.75} if rooted else {**BASE, "d": 0, "e": 0.75}
    run = lambda c: one_update({**base, coefficient: c}, 3.0, 2.0, 70.0)  # noqa: E731
    for value in (1, 2) if coefficient == "e" else (-1, 0, 1, 2):
        for a, b in zip(run(value), jax.jit(run)(jnp.float32(value)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


# ---- Inside the root -----------------------------------------------------------------


def root_of(**coefficients):
    """A tableau whose u is the gradient over the root, its buffers kept."""
    return {"n0": 1, "d": 1, "e": 0, "a1": 1, "a2": 1, **coefficients}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("q", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("k", [0.0, 0.5])
def test_the_root(q, k, traced):
    def run(q, k):
        return one_update(root_of(q=q, k=k), g=1.0, mu=3.0, nu=16.0)[0]

    got = jax.jit(run)(q, k) if traced else run(q, k)
    np.testing.assert_allclose(got, 1 / np.sqrt(16 - 9 * q + k), rtol=1e-6)


def test_inf_less_inf_is_inf():
    """Of one gradient too large: it is then passed over, as without centring."""
    (u, _), mu, _ = one_update(root_of(q=1), g=1.0, mu=1e20, nu=np.inf)
    assert mu[0] == np.float32(1e20)
    assert u == 0


@pytest.mark.parametrize("k", [0.0, 0.25])
def test_a_difference_of_averages_is_not_negative(k):
    """nu - mu^2 = -1 counts as 0; where k is 0 too, the smallest root divides."""
    (u, _), _, _ = one_update(root_of(q=1, k=k), g=1.0, mu=2.0, nu=3.0)
    least = np.sqrt(np.finfo(np.float32).tiny)
    np.testing.assert_allclose(u, 1 / max(np.sqrt(k), least), rtol=1e-6)


def test_the_maximum_takes_the_place_of_the_moment():
    """nu goes 4, 1, 9, 0; the root is of 4, 4, 9, 9."""
    step = lambda t, carry: (oxe.Tableau(c2=1, n0=1, d=1, e=0), carry)  # noqa: E731
    tx = oxe.scale_by_moments(
        oxe.Rule(lambda: (), step, buffers=frozenset({"nu", "nu_max"}))
    )
    state = tx.init(jnp.zeros(()))
    for g, top in ((2.0, 4), (-1.0, 4), (3.0, 9), (0.0, 9)):
        u, state = tx.update(jnp.float32(g), state)
        assert (state.nu, state.nu_max) == (g**2, top)
        np.testing.assert_allclose(u, g / np.sqrt(top), rtol=1e-6)


@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_the_maximum_of_half_precision_leaves_is_float32(half):
    """As the moment, of which it is the maximum: in bfloat16 both would freeze."""
    tx, grads = oxe.scale_by_moments(oxe.rules.amsgrad()), jnp.ones(2, half)
    state = tx.init(grads)
    for _ in range(3):
        _, state = tx.update(grads, state)
    np.testing.assert_array_equal(state.nu_max, state.nu)
    np.testing.assert_allclose(state.nu_max, 1 - 0.999**3, rtol=1e-4)


# ---- Limits on the effective rate ----------------------------------------------------

LIMITS = [(None, None), (None, 0.3), (0.3, None), (0.2, 0.3), (5.0, 9.0)]


@pytest.mark.parametrize("rooted", [True, False])
@pytest.mark.parametrize(("lo", "hi"), LIMITS)
def test_clipped_scale(lo, hi, rooted):
    s, e = 2.0, 1.5
    rule = oxe.Rule(
        lambda: (),
        lambda t, carry: (
            oxe.Tableau(
                a1=0.9, c1=0.1, a2=0.5, c2=0.5, n0=0.25, n1=0.75,
                s=s, d=1 if rooted else 0, e=e, lo=lo, hi=hi,
            ),
            carry,
        ),
    )  # fmt: skip
    tx = oxe.scale_by_moments(rule)
    grads = np.random.default_rng(0).normal(0, 10, (20, 6)).astype(np.float32)
    state, mu, nu = tx.init(grads[0]), 0.0, 0.0
    for g in grads:
        u, state = tx.update(jnp.asarray(g), state)
        g = g.astype(np.float64)
        mu, nu = 0.9 * mu + 0.1 * g, 0.5 * nu + 0.5 * g**2
        scale = s / ((np.sqrt(nu) if rooted else 0) + e)
        scale = np.clip(scale, -np.inf if lo is None else lo, hi)
        top = 0.25 * g + 0.75 * mu
        atol = 8 * 2**-24 * np.abs(scale) * (np.abs(g) + np.abs(mu))
        assert np.all(np.abs(u - scale * top) <= atol)


# ---- Trap 5: half precision ----------------------------------------------------------

HALVES = [jnp.bfloat16, jnp.float16]
RULES_WITH_MOMENTS = {name: case for name, case in BUFFERS.items() if name != "sgd"}


def moments(state):
    return [x for x in (state.mu, state.nu, state.nu_max) if x is not None]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", BUFFERS)
def test_moments_of_half_precision_leaves_are_float32(name, half):
    tx, grads = oxe.scale_by_moments(BUFFERS[name][0]), jnp.ones(3, half)
    state = tx.init(grads)
    u, after = tx.update(grads, state)
    assert u.dtype == half
    for moment in moments(state) + moments(after):
        assert moment.dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, "bfloat16", jnp.float32])
@pytest.mark.parametrize("params_dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", RULES_WITH_MOMENTS)
def test_moments_dtype(name, params_dtype, dtype):
    tx = oxe.scale_by_moments(BUFFERS[name][0], moments_dtype=dtype)
    grads = jnp.ones(3, params_dtype)
    state = tx.init(grads)
    u, after = tx.update(grads, state)
    assert u.dtype == params_dtype
    for moment in moments(state) + moments(after):
        assert moment.dtype == jnp.dtype(dtype)


def constant_gradient(rule, half, steps):
    """The last state after so many gradients of 1."""
    tx, grads = oxe.scale_by_moments(rule), jnp.ones((), half)

    def step(state, _):
        return tx.update(grads, state)[1], None

    return jax.jit(lambda s: jax.lax.scan(step, s, length=steps)[0])(tx.init(grads))


@pytest.mark.parametrize("half", HALVES)
def test_the_sum_of_adagrad_goes_on(half):
    """In bfloat16, 256 + 1 is 256; in float16, 2048 + 1 is 2048."""
    assert constant_gradient(oxe.rules.adagrad(), half, 3000).nu == 3000


@pytest.mark.parametrize("half", HALVES)
def test_the_second_moment_of_adam_goes_on(half):
    """In bfloat16 it would freeze at 0.5."""
    nu = constant_gradient(oxe.rules.adam(), half, 5000).nu
    np.testing.assert_allclose(nu, 1 - 0.999**5000, rtol=1e-4)


def test_a_gradient_of_300_in_float16():
    """Its square overflows there."""
    for name, (rule, _, _) in BUFFERS.items():
        tx = oxe.scale_by_moments(rule)
        state = tx.init(jnp.ones((), jnp.float16))
        for g in (300.0, 1.0, 0.0, 1.0):
            u, state = tx.update(jnp.asarray(g, jnp.float16), state)
            assert jnp.isfinite(u), name
        assert all(jnp.isfinite(x) for x in moments(state)), name


# ---- Complex leaves: |g|^2, and phases that survive ----------------------------------


@pytest.mark.parametrize("name", BUFFERS)
def test_a_turned_complex_gradient_gives_a_turned_direction(name):
    """All rules are isotropic in the complex plane: a real run times a phase."""
    rule = BUFFERS[name][0]
    real = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)
    phase = np.exp(0.7j).astype(np.complex64)

    def run(grads):
        tx = oxe.scale_by_moments(rule)
        state, us = tx.init(grads[0]), []
        for g in grads:
            u, state = tx.update(g, state)
            us.append(u)
        return np.stack(us), state

    straight, _ = run(jnp.asarray(real))
    turned, state = run(jnp.asarray(real * phase))
    assert turned.dtype == np.complex64
    assert state.nu is None or state.nu.dtype == np.float32
    np.testing.assert_allclose(turned, straight * phase, rtol=1e-5, atol=1e-6)


# ---- Trap 7: states own their arrays -------------------------------------------------


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
    """Each update is scaled by what the one before was seen to be."""

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
    state, us = tx.init(params), []
    for i, g in enumerate(grads):
        u, state = tx.update(g, state, params, value=jnp.float32(i), other=None)
        us.append(u)
    return us, state


def test_per_leaf_is_a_transformation_for_each_leaf():
    grads = [random_like(TREE, seed) for seed in range(4)]
    us, state = watched_run(TREE, grads, per_leaf=True)
    for i, name in enumerate(sorted(TREE)):
        alone, own = watched_run(TREE[name], [g[name] for g in grads], per_leaf=False)
        for u, expected in zip(us, alone, strict=True):
            np.testing.assert_allclose(u[name], expected, rtol=1e-6)
        for kept, expected in zip(state.carry, own.carry, strict=True):
            assert kept.shape == (3,)
            assert kept.dtype == expected.dtype
            np.testing.assert_allclose(kept[i], expected, rtol=1e-6)


def test_without_per_leaf_the_carry_is_of_the_whole_tree():
    grads = [random_like(TREE, seed) for seed in range(3)]
    _, state = watched_run(TREE, grads, per_leaf=False)
    flat = [jnp.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in grads]
    _, expected = watched_run(
        jnp.concatenate([x.ravel() for x in jax.tree.leaves(TREE)]), flat, False
    )
    for kept, other in zip(state.carry, expected.carry, strict=True):
        assert kept.shape == ()
        np.testing.assert_allclose(kept, other, rtol=1e-6)


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


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.int32, jnp.bool_])
@pytest.mark.parametrize("per_leaf", [False, True])
def test_a_carry_keeps_its_dtype(per_leaf, dtype):
    """Though what comes back is a Python number, or float32."""

    def rule(new):
        return oxe.Rule(
            lambda: Held(jnp.zeros((), dtype)),
            lambda t, carry: (oxe.Tableau(n0=1), carry),
            lambda t, carry, **_: Held(new),
            frozenset(),
        )

    for new in (1, 1.0, jnp.ones(())):
        tx = oxe.scale_by_moments(rule(new), per_leaf=per_leaf)
        before = tx.init(TREE)
        after = tx.update(TREE, before)[1]
        assert before.carry.scalar.dtype == after.carry.scalar.dtype == dtype
        assert not after.carry.scalar.weak_type
        assert np.all(np.asarray(after.carry.scalar, np.float32) == 1)


@pytest.mark.parametrize("per_leaf", [False, True])
@pytest.mark.parametrize("empty", [{}, (), None, {"a": None}])
def test_trees_without_leaves(empty, per_leaf):
    tx = oxe.scale_by_moments(watchful(), per_leaf=per_leaf)
    state = tx.init(empty)
    u, after = tx.update(empty, state, empty, value=jnp.float32(0))
    assert jax.tree.structure(u) == jax.tree.structure(empty)
    chex_like = [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
    assert chex_like == [(x.shape, x.dtype) for x in jax.tree.leaves(after)]


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


# ---- Bad arguments -------------------------------------------------------------------

WRONG = [
    (TypeError, "`rule`", lambda: oxe.scale_by_moments(oxe.rules.adam)),
    (TypeError, "`rule`", lambda: oxe.scale_by_moments(optax.adam(0.1))),
    *[
        (
            TypeError,
            f"`rule.{name}`",
            lambda name=name: oxe.scale_by_moments(
                oxe.rules.sgd()._replace(**{name: None})
            ),
        )
        for name in ("init", "step")
    ],
    (
        TypeError,
        "`per_leaf`",
        lambda: oxe.scale_by_moments(oxe.rules.sgd(), per_leaf=1),
    ),
    *[
        (
            TypeError,
            "`moments_dtype`",
            lambda wrong=wrong: oxe.scale_by_moments(
                oxe.rules.sgd(), moments_dtype=wrong
            ),
        )
        for wrong in (jnp.int32, jnp.complex64, bool)
    ],
]


@pytest.mark.parametrize(("error", "argument", "call"), WRONG)
def test_wrong_arguments(error, argument, call):
    with pytest.raises(error, match=f"scale_by_moments: {argument} must "):
        call()


@pytest.mark.parametrize(
    "buffers", [frozenset({"m"}), "mu", {"nu_max"}], ids=["unknown", "name", "alone"]
)
def test_buffers_that_there_are_not(buffers):
    rule = oxe.Rule(lambda: (), lambda t, c: (oxe.Tableau(n0=1), c), buffers=buffers)
    with pytest.raises(ValueError, match=r"scale_by_moments: `rule.buffers` must be"):
        oxe.scale_by_moments(rule)


@pytest.mark.parametrize("name", ["a1", "c1", "n1", "a2", "c2", "d"])
def test_a_coefficient_without_its_buffer(name):
    tableau = oxe.Tableau(n0=1, **{name: 0.5})
    rule = oxe.Rule(lambda: (), lambda t, c: (tableau, c), buffers=frozenset())
    tx = oxe.scale_by_moments(rule)
    with pytest.raises(ValueError, match=f"where `{name}` is not 0"):
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


def test_leaves_of_one_shape_are_guarded_by_one_trace(monkeypatch):
    """A custom derivative is slow to trace; some trees have a thousand leaves."""
    tx, tree = oxe.scale_by_moments(oxe.rules.adam()), [jnp.ones((3, 11))] * 20
    state, calls, where = tx.init(tree), [], jnp.where

    def counted(*args):
        calls.append(args)
        return where(*args)

    monkeypatch.setattr(jnp, "where", counted)
    program = str(jax.make_jaxpr(tx.update)(tree, state))
    assert program.count("name=_present") == program.count("name=_sqrt") == 20
    assert 0 < len(calls) < 10


@pytest.mark.parametrize(
    ("step", "error", "must"),
    [
        (lambda t, carry: oxe.Tableau(n0=1), TypeError, "an `oxe.Tableau` and the"),
        (lambda t, carry: 3, TypeError, "an `oxe.Tableau` and the carry, got 3"),
        (lambda t, carry: (3, carry), TypeError, "an `oxe.Tableau` and the carry"),
        (lambda t, carry: None, TypeError, "an `oxe.Tableau` and the carry, got None"),
        (lambda t, carry: (oxe.Tableau(n0=1), (t,)), ValueError, "a carry like the"),
    ],
)
@pytest.mark.parametrize("per_leaf", [False, True])
def test_a_step_that_returns_something_else(step, error, must, per_leaf):
    tx = oxe.scale_by_moments(oxe.Rule(lambda: (), step), per_leaf=per_leaf)
    with pytest.raises(error, match=f"`rule.step` must return {must}"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
