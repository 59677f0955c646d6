"""SWATS: Algorithm 1 in NumPy, cases worked out by hand, and what breaks others."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.devices import on_eight_devices
from tests.optimizers.algorithm_1 import absolute, algorithm_1, relative, wilson
from tests.optimizers.paths import buffers, difference, gradients

ROOT = Path(__file__).parents[2]


def run(tx, grads, dtype="float64", start=0.0, state=None):
    """The weights after each update, and the state at the end."""

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), params

    with jax.enable_x64(dtype == "float64"):
        grads = jax.tree.map(lambda g: jnp.asarray(g, dtype), grads)
        first = jax.tree.map(lambda g: jnp.zeros_like(g[0]) + start, grads)
        state = tx.init(first) if state is None else state
        scan = jax.jit(lambda carry: jax.lax.scan(step, carry, grads))
        (_, state), path = scan((first, state))
        both = jax.tree.map(lambda a, b: np.concatenate([a[None], b]), first, path)
        return both, jax.tree.map(np.asarray, state)


def get(state, name):
    return optax.tree.get(state, name)


def rate_of(state):
    with jax.enable_x64(get(state, "estimate").dtype == np.float64):
        return np.asarray(oxe.learning_rate(state))


def random_gradients(seed, size, steps=4000, mean=0.3):
    return np.random.default_rng(seed).normal(mean, 1, (steps, size))


# ---- Algorithm 1 ---------------------------------------------------------------------

ALPHA = 1e-3
# Seed, size, tolerance: the switch falls anywhere from the 2nd to the 1498th step, or
# never.
ABSOLUTE = [(0, 3, 1e-6), (0, 20, 1e-6), (2, 20, 1e-6), (2, 3, 1e-4), (0, 20, 1e-4)]
RELATIVE = [(0, 3, 1e-4), (0, 20, 1e-3), (1, 3, 1e-3), (1, 20, 1e-3), (2, 3, 1e-3)]


def test_the_cases_switch_at_all_times():
    found = {
        algorithm_1(random_gradients(seed, size), ALPHA, absolute(tol)).switch_step
        for seed, size, tol in ABSOLUTE
    }
    assert len(found) == 5
    assert min(found) == 2
    assert max(found) > 1000


@pytest.mark.parametrize(("seed", "size", "tolerance"), ABSOLUTE)
@pytest.mark.parametrize("paper", [True, False])
def test_algorithm_1(seed, size, tolerance, paper):
    """Ours compares without the rate: the same with a tolerance divided by it."""
    grads = random_gradients(seed, size)
    expected = algorithm_1(grads, ALPHA, absolute(tolerance))
    if paper:
        tx = oxe.swats(ALPHA, tolerance=tolerance, paper=True)
    else:
        tx = oxe.swats(
            ALPHA,
            eps=1e-9,
            tolerance=tolerance / ALPHA,
            tolerance_mode="absolute",
            min_steps=1,
            require_positive=False,
        )
    path, state = run(tx, grads)
    assert get(state, "switch_step") == expected.switch_step > 0
    np.testing.assert_allclose(rate_of(state), expected.rate, rtol=1e-12)
    assert difference(path, expected.path) <= 1e-12


@pytest.mark.parametrize("eps", [1e-9, 1e-5])
def test_one_epsilon_for_both(eps):
    """The paper has one symbol, in Adam's denominator and as the threshold: 1e-9."""
    grads = random_gradients(0, 3)
    expected = algorithm_1(grads, ALPHA, absolute(eps), eps=eps)
    settings = {} if eps == 1e-9 else {"eps": eps}
    path, state = run(oxe.swats(ALPHA, paper=True, **settings), grads)
    assert get(state, "switch_step") == expected.switch_step
    assert (expected.switch_step == -1) == (eps == 1e-9)
    assert difference(path, expected.path) <= 1e-12


@pytest.mark.parametrize(("seed", "size", "tolerance"), RELATIVE)
@pytest.mark.parametrize("first", [2, 100])
def test_a_relative_tolerance(seed, size, tolerance, first):
    grads = random_gradients(seed, size)
    expected = algorithm_1(grads, ALPHA, relative(tolerance), first=first, eps=1e-8)
    tx = oxe.swats(ALPHA, tolerance=tolerance, min_steps=first)
    path, state = run(tx, grads)
    assert get(state, "switch_step") == expected.switch_step
    if expected.switch_step > 0:
        np.testing.assert_allclose(rate_of(state), expected.rate, rtol=1e-12)
    assert difference(path, expected.path) <= 1e-12


def test_zero_gradients_are_skipped_as_in_the_paper():
    """k goes on, so that Algorithm 1's correction is off afterwards."""
    grads = random_gradients(0, 20)
    grads[:3] = grads[10] = grads[20:25] = 0
    expected = algorithm_1(grads, ALPHA, absolute(2e-6))
    path, state = run(oxe.swats(ALPHA, tolerance=2e-6, paper=True), grads)
    assert get(state, "switch_step") == expected.switch_step > 25
    assert difference(path, expected.path) <= 1e-12


def test_the_estimate_can_be_read_while_it_is_made():
    grads = random_gradients(0, 5, steps=50)
    expected = algorithm_1(grads, 1.0, absolute(1e-30), eps=1e-8)
    for steps in (1, 7, 50):
        _, state = run(oxe.swats(0.1), grads[:steps])
        np.testing.assert_allclose(
            get(state, "estimate"), expected.estimates[steps - 1], rtol=1e-12
        )
        np.testing.assert_allclose(
            get(state, "last"), expected.ratios[steps - 1], rtol=1e-12
        )
        assert (get(state, "switch_step"), get(state, "switched")) == (-1, False)
        np.testing.assert_allclose(rate_of(state), 0.1)


def test_the_ratio_of_averages():
    """As fast as an average forgets, so do the two; the bias corrections cancel."""
    grads = random_gradients(0, 5, steps=200)
    _, state = run(oxe.swats(0.1, estimator="ratio"), grads)
    us, _ = run(oxe.scale_by_moments(oxe.rules.adam(eps_hat=True)), grads)
    us = np.diff(us, axis=0)
    weights = 0.999 ** np.arange(200)[::-1]
    top, bottom = weights @ (us * us).sum(1), weights @ (us * grads).sum(1)
    np.testing.assert_allclose(get(state, "estimate"), top / bottom, rtol=1e-10)


# ---- What can be worked out by hand --------------------------------------------------

CONSTANT = np.array([1, 2, 4, 0.1, 0.3])


@pytest.mark.parametrize("paper", [True, False])
def test_a_constant_gradient(paper):
    """p = -alpha sign(g): switch at the second step, Lambda = alpha n / |g|_1."""
    options = {"paper": True} if paper else {"min_steps": 1}
    tx = oxe.swats(1e-3, eps=0.0, tolerance=1e-9, **options)
    path, state = run(tx, np.tile(CONSTANT, (5, 1)))
    assert get(state, "switch_step") == 2
    np.testing.assert_allclose(rate_of(state), 1e-3 * 5 / CONSTANT.sum(), rtol=1e-13)
    np.testing.assert_allclose(rate_of(state), 6.7567567567567568e-4)
    steps = np.diff(path, axis=0)
    np.testing.assert_allclose(steps[:2], -1e-3 * np.ones((2, 5)), rtol=1e-12)
    rate = 1e-3 * 5 / CONSTANT.sum()
    for j, step in enumerate(steps[2:], 1):
        np.testing.assert_allclose(step, -rate * CONSTANT * (1 - 0.9**j), rtol=1e-12)
    np.testing.assert_allclose(
        steps[2:, 0], [-6.756756757e-05, -1.283783784e-04, -1.831081081e-04]
    )


def test_per_leaf_and_global():
    """Some ports take the last leaf's estimate for all: 5e-2."""
    grads = {"a": np.tile([1.0, 2, 4], (6, 1)), "b": np.tile([0.1, 0.3], (6, 1))}
    options = {"eps": 0.0, "tolerance": 1e-9, "min_steps": 1}
    _, state = run(oxe.swats(1e-2, **options), grads)
    np.testing.assert_allclose(rate_of(state), 6.756757e-3, rtol=1e-6)
    path, state = run(oxe.swats(1e-2, per_leaf=True, **options), grads)
    np.testing.assert_allclose(rate_of(state), [4.285714e-3, 5e-2], rtol=1e-6)
    np.testing.assert_array_equal(get(state, "switch_step"), [2, 2])
    for name, rate in (("a", 1e-2 * 3 / 7), ("b", 5e-2)):
        last = np.diff(path[name], axis=0)[-1]
        expected = -rate * grads[name][0] * (1 - 0.9**4)
        np.testing.assert_allclose(last, expected, rtol=1e-10)


def test_leaves_switch_one_by_one():
    """Each as a run of its own."""
    grads = {"a": random_gradients(0, 3), "b": random_gradients(1, 20)}
    kw = {"tolerance": 1e-3, "min_steps": 100}
    path, state = run(oxe.swats(1e-3, per_leaf=True, **kw), grads)
    # On the steps that Algorithm 1 gives for each.
    rule = {"agrees": relative(1e-3), "first": 100, "eps": 1e-8}
    steps = [algorithm_1(grads[x], 1, **rule).switch_step for x in "ab"]
    assert 0 < steps[0] != steps[1] > 0
    np.testing.assert_array_equal(get(state, "switch_step"), steps)
    for name, step in zip("ab", steps, strict=True):
        alone, own = run(oxe.swats(1e-3, **kw), grads[name])
        assert get(own, "switch_step") == step
        assert difference(path[name], alone) <= 1e-14


@pytest.mark.parametrize(("tolerance", "step"), [(1e-9, -1), (1e-5, 3)])
def test_four_hundred_gradients(tolerance, step):
    """By a transcription of the paper made elsewhere, and by ours."""
    grads = 1 + 0.5 * np.random.default_rng(0).normal(size=(400, 7))
    expected = algorithm_1(grads, 1e-3, absolute(tolerance))
    path, state = run(oxe.swats(1e-3, tolerance=tolerance, paper=True), grads)
    assert get(state, "switch_step") == expected.switch_step == step
    assert get(state, "used") == (400 if step < 0 else step)
    if step > 0:
        np.testing.assert_allclose(rate_of(state), 0.0010408878827410705, rtol=1e-13)
    last = expected.estimates[-1]
    np.testing.assert_allclose(get(state, "estimate"), last, rtol=1e-12)
    assert difference(path, expected.path) <= 1e-12


# ---- Rates, decay, Nesterov ----------------------------------------------------------


def falling(t):
    return 0.05 / (1 + t)


def forced(step, **kw):
    return {"min_steps": step, "max_steps": step, "tolerance": 1e-30, **kw}


def test_a_schedule_drives_both_phases_and_leaves_the_estimate_alone():
    grads = gradients(40, 4, (-1, 1))
    unit, _ = run(optax.chain(oxe.scale_by_swats(**forced(20)), optax.scale(-1)), grads)
    _, constant = run(oxe.swats(0.1, **forced(20)), grads)
    path, state = run(oxe.swats(falling, **forced(20)), grads)
    rates = falling(np.arange(40))
    np.testing.assert_allclose(
        np.diff(path, axis=0), rates[:, None] * np.diff(unit, axis=0), rtol=1e-9
    )
    size = get(constant, "rate_factor")
    np.testing.assert_allclose(get(state, "rate_factor"), size, rtol=1e-14)
    np.testing.assert_allclose(rate_of(constant), 0.1 * size, rtol=1e-14)
    np.testing.assert_allclose(rate_of(state), rates[-1] * size, rtol=1e-12)


def test_the_rate_that_is_read_is_the_last_updates():
    """The update after which it switches is still Adam's."""
    grads = np.tile(CONSTANT, (3, 1))
    for steps, size in ((1, 1), (2, 1), (3, 5 / CONSTANT.sum())):
        _, state = run(oxe.swats(falling, eps=0.0, **forced(2)), grads[:steps])
        expected = falling(steps - 1) * size
        np.testing.assert_allclose(rate_of(state), expected, rtol=1e-12)
    assert get(state, "switch_step") == 2


@pytest.mark.parametrize("second_rate", [0.3, lambda t: 0.3 / (1 + t)])
def test_a_rate_of_ones_own_for_the_second_phase(second_rate):
    """A schedule counts the second phase's own updates."""
    grads = random_gradients(0, 5, 30, mean=1)
    path, state = run(oxe.swats(0.1, second_rate=second_rate, **forced(20)), grads)
    adam, _ = run(oxe.swats(0.1), grads)
    np.testing.assert_allclose(path[:21], adam[:21], rtol=1e-12)
    m, w = 0.0, path[20]
    for j, g in enumerate(grads[20:]):
        m = 0.9 * m + 0.1 * g
        rate = second_rate(j) if callable(second_rate) else second_rate
        w = w - rate * m
        np.testing.assert_allclose(path[21 + j], w, rtol=1e-10)
    np.testing.assert_allclose(rate_of(state), rate, rtol=1e-12)


def test_a_second_rate_per_leaf():
    grads = {"a": random_gradients(0, 3, 10), "b": random_gradients(1, 4, 10)}
    kw = forced(5, second_rate=0.3)
    path, state = run(oxe.swats(0.1, per_leaf=True, **kw), grads)
    np.testing.assert_allclose(rate_of(state), [0.3, 0.3])
    for name in grads:
        alone, _ = run(oxe.swats(0.1, **kw), grads[name])
        assert difference(path[name], alone) <= 1e-14


def numpy_rule(grads, alpha, switch, decay, decoupled, nesterov, b1=0.9, b2=0.999):
    """The update as in the docstring, in the dissolved form; weights from 1 on."""
    w, m, v, lam = np.ones(grads.shape[1]), 0.0, 0.0, 0.0
    for k, g in enumerate(grads, 1):
        g = g if decoupled else g + decay * w
        step = alpha * decay * w if decoupled else 0
        if k == switch + 1:
            m = 0.0
        m = b1 * m + (1 - b1) * g
        if k <= switch:
            v = b2 * v + (1 - b2) * g**2
            u = m / (1 - b1**k) * np.sqrt(1 - b2**k) / (np.sqrt(v) + 1e-8)
            lam = b2 * lam + (1 - b2) * (u @ u) / (u @ g)
            rate, size = alpha, lam / (1 - b2**k)
        else:
            u, rate = b1 * m + (1 - b1) * g if nesterov else m, alpha * size
        w = w - rate * u - step
    return w


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_weight_decay_and_nesterov(decoupled, nesterov):
    grads = random_gradients(0, 5, 60, mean=1)
    options = {"decoupled": decoupled, "nesterov": nesterov}
    tx = oxe.swats(0.01, weight_decay=0.1, **options, **forced(30))
    path, _ = run(tx, grads, start=1.0)
    expected = numpy_rule(grads, 0.01, 30, 0.1, **options)
    np.testing.assert_allclose(path[-1], expected, rtol=1e-11)


def test_decoupled_decay_with_a_second_rate():
    """It keeps the strength of the first rate, and what is masked does not decay."""
    grads = {"a": np.zeros((9, 2)), "b": np.zeros((9, 2))}
    grads["b"][:5] = 1
    tx = oxe.swats(
        0.1, second_rate=5.0, weight_decay=0.1, decoupled=True,
        mask={"a": True, "b": False}, **forced(3),
    )  # fmt: skip
    path, state = run(tx, grads, start=1.0)
    assert get(state, "switch_step") == 3
    np.testing.assert_allclose(path["a"][:, 0], 0.99 ** np.arange(10), rtol=1e-12)


def test_weight_decay_in_algorithm_1():
    """To the gradient, so that it enters gamma."""
    grads = random_gradients(0, 3)
    tx = oxe.swats(1e-3, eps=1e-4, paper=True, weight_decay=0.1)
    path, state = run(tx, grads, start=1.0)
    # The only path that these gradients lead along with its own weights added to them.
    expected = algorithm_1(
        grads + 0.1 * path[:-1], 1e-3, absolute(1e-4), eps=1e-4, w=1.0
    )
    assert get(state, "switch_step") == expected.switch_step > 0
    assert difference(path, expected.path) <= 1e-10


# ---- Memory --------------------------------------------------------------------------


@pytest.mark.parametrize("kw", [{}, {"paper": True}, {"per_leaf": True}])
def test_two_buffers(kw):
    params = jnp.ones(17)
    assert buffers(oxe.swats(0.1, **kw).init(params), params) == 2


def temporaries(tx, leaves, size=1 << 16):
    """How many params-sized temporaries a donated step has."""
    params = {str(i): jnp.ones(size) for i in range(leaves)}

    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    state = jax.eval_shape(tx.init, params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    return compiled.compile().memory_analysis().temp_size_in_bytes / (4 * leaves * size)


def test_no_temporary_but_the_one_of_the_dot_products():
    assert temporaries(optax.adam(0.1), 1) < 0.01
    assert temporaries(oxe.swats(0.1), 1) < 1.01
    assert temporaries(oxe.swats(0.1), 32) < 1.01
    # The sum with the weights is read by the dot products too, and is the second.
    for decoupled, most in ((True, 1.01), (False, 2.01)):
        tx = oxe.swats(0.1, weight_decay=0.1, decoupled=decoupled)
        assert temporaries(tx, 1) < most


# ---- Bad gradients -------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_gradients_that_are_not_finite_do_not_reach_the_estimate(bad, everywhere):
    """Adam's moments they spoil, as in any Adam; the estimate stays what it was."""
    grads = random_gradients(0, 4, 30)
    grads[10, slice(None) if everywhere else 0] = bad
    options = {"tolerance": 1e6, "min_steps": 11, "max_steps": 11}
    _, before = run(oxe.swats(0.1, **options), grads[:10])
    _, state = run(oxe.swats(0.1, **options), grads[:11])
    assert not get(state, "switched")
    for name in ("estimate", "top", "bottom", "last", "used"):
        assert get(state, name) == get(before, name)
        assert np.isfinite(get(state, name))


def test_a_nan_is_forgotten_with_the_moments():
    """A skipped NaN, under apply_if_finite: the estimate goes on, and switches."""
    grads = random_gradients(0, 4, 30)
    dirty = np.insert(grads, 10, np.nan, axis=0)
    tx = optax.apply_if_finite(oxe.swats(0.1, **forced(20)), 3)
    path, state = run(tx, dirty)
    expected, _ = run(oxe.swats(0.1, **forced(20)), grads)
    assert get(state, "switch_step") == 20
    np.testing.assert_allclose(path[-1], expected[-1], rtol=1e-13)


def test_a_nan_in_one_leaf_leaves_the_others_alone():
    grads = {"a": random_gradients(0, 3, 30), "b": random_gradients(1, 3, 30)}
    grads["a"][10] = np.nan
    tx = oxe.swats(0.1, per_leaf=True, **forced(20))
    path, state = run(tx, grads)
    np.testing.assert_array_equal(get(state, "switch_step"), [-1, 20])
    alone, _ = run(oxe.swats(0.1, **forced(20)), grads["b"])
    np.testing.assert_allclose(path["b"], alone, rtol=1e-12)


@pytest.mark.parametrize("require_positive", [True, False])
def test_zero_gradients(require_positive):
    """Nothing is divided, nothing switches, nothing moves."""
    tx = oxe.swats(0.1, require_positive=require_positive, **forced(2))
    path, state = run(tx, np.zeros((5, 3)), "float32", start=1.0)
    np.testing.assert_array_equal(path, np.ones((6, 3)))
    assert (get(state, "used"), get(state, "switch_step")) == (0, -1)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_late_gradients_count_from_the_first_one():
    """Ours corrects by the updates that were used: no bias after zeros."""
    grads = np.concatenate([np.zeros((50, 3)), np.tile([1.0, 2, 3], (1, 1))])
    _, state = run(oxe.swats(0.1), grads)
    np.testing.assert_allclose(get(state, "estimate"), get(state, "last"), rtol=1e-12)


def against_the_momentum():
    """One step against the gradient: the second one, small and turned."""
    return np.array([[1.0, 1.0], [-0.01, -0.01], [1.0, 1.0]])


def test_a_step_against_the_gradient_enters_as_it_is():
    grads = against_the_momentum()
    expected = algorithm_1(grads, 1.0, absolute(1e-30), eps=1e-8)
    assert expected.ratios[1] < 0
    _, state = run(oxe.swats(1.0), grads)
    np.testing.assert_allclose(get(state, "estimate"), expected.estimates[-1])


@pytest.mark.parametrize("require_positive", [True, False])
def test_waiting_for_a_positive_estimate(require_positive):
    """Past max_steps, too; without the guard it climbs, as in Algorithm 1."""
    grads = against_the_momentum()
    grads = np.concatenate([grads[:2], np.full((400, 2), 1.0)])
    expected = algorithm_1(grads, 1.0, absolute(1e-30), eps=1e-8)
    assert expected.estimates[1] < 0 < expected.estimates[-1]
    tx = oxe.swats(1.0, require_positive=require_positive, **forced(2))
    _, state = run(tx, grads)
    first = 1 + np.argmax(expected.estimates[1:] > 0) + 1
    assert get(state, "switch_step") == (first if require_positive else 2)
    assert (get(state, "rate_factor") > 0) == require_positive


@pytest.mark.parametrize("when", ["first", "second"])
@pytest.mark.parametrize(("size", "dtype"), [(1e20, "float32"), (300.0, "float16")])
def test_one_huge_gradient(size, dtype, when):
    """In either phase: afterwards it is what a true SGD phase would be."""
    steps, switch = 60, 30
    grads = random_gradients(0, 4, steps, mean=1).astype(dtype).astype(np.float64)
    grads[10 if when == "first" else 40, 0] = size
    tx = oxe.swats(0.01, **forced(switch))
    us, state = updates(tx, grads, dtype)
    assert get(state, "switch_step") == switch
    rate = np.float64(rate_of(state))
    assert 0 < rate < 10
    m = 0.0
    for k in range(switch, steps):
        m = 0.9 * m + 0.1 * grads[k]
        tolerance = 1e-3 if dtype == "float16" else 1e-5
        np.testing.assert_allclose(us[k], -rate * m, rtol=tolerance, atol=1e-6)
    assert np.all(np.isfinite(us))


def updates(tx, grads, dtype):
    state, found = tx.init(jnp.zeros(grads.shape[1], dtype)), []
    update = jax.jit(tx.update)
    for g in grads:
        u, state = update(jnp.asarray(g, dtype), state)
        found.append(np.asarray(u, np.float64))
    return np.stack(found), state


# ---- bfloat16, many devices, saving --------------------------------------------------


def test_bfloat16_switches_with_float32():
    """On well-scaled gradients; four runs side by side."""
    grads = []
    for seed in range(1, 5):
        rng = np.random.default_rng(seed)
        common = rng.normal(size=(300, 1))
        grads.append((common + rng.normal(1, 1, (300, 2000))) / 2)
    grads = np.asarray(jnp.asarray(grads, jnp.bfloat16), np.float32)
    tx = oxe.swats(0.01, tolerance=5e-2, min_steps=5)

    @jax.jit
    @jax.vmap
    def last(grads):
        def step(carry, g):
            u, state = tx.update(g, carry[1], carry[0])
            return (optax.apply_updates(carry[0], u), state), None

        params = jnp.zeros_like(grads[0])
        return jax.lax.scan(step, (params, tx.init(params)), grads)[0][1]

    wide, state = last(grads), last(jnp.asarray(grads, jnp.bfloat16))
    steps = get(wide, "switch_step")
    assert np.all((steps >= 5) & (steps < 300))
    np.testing.assert_array_equal(get(state, "switch_step"), steps)
    for name in ("estimate", "top", "last", "rate_factor"):
        assert get(state, name).dtype == np.float32
        np.testing.assert_allclose(get(state, name), get(wide, name), rtol=1e-2)


# In a process of its own: the number of CPU devices is fixed when JAX starts.
SHARDED = """
import inspect
import json
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
spread = {"a": NamedSharding(mesh, P("x")), "b": NamedSharding(mesh, P())}
rng = np.random.default_rng(0)
shapes = {"a": (64, 8), "b": (5,)}
grads = [
    {k: rng.normal(0.3, 1, s).astype("float32") for k, s in shapes.items()}
    for _ in range(60)
]
report = []
for per_leaf in (False, True):
    tx = oxe.swats(1e-2, tolerance=1e-2, min_steps=5, max_steps=40, per_leaf=per_leaf)
    step, found, weights = jax.jit(tx.update, donate_argnums=1), [], []
    for shardings in (None, spread):
        put = lambda x: x if shardings is None else jax.device_put(x, shardings)
        params = put({k: jnp.zeros(s) for k, s in shapes.items()})
        state = tx.init(params)
        for g in grads:
            u, state = step(put(g), state, params)
            params = optax.apply_updates(params, u)
        names = "switch_step", "rate_factor", "estimate"
        found.append([np.asarray(optax.tree.get(state, n)).tolist() for n in names])
        weights.append(np.asarray(params["a"]).tolist())
        mu = optax.tree.get(state, "mu")["a"]
    slices = [s.data.shape for s in mu.addressable_shards]
    report.append((found, [len(slices), slices[0]], weights))
print(json.dumps(report))
"""


def test_eight_devices():
    (one, *_), (each, *_) = runs = on_eight_devices(SHARDED)
    for (alone, many), moment, weights in runs:
        assert moment == [8, [8, 8]]  # a slice of "a" on every device
        assert many[0] == alone[0]
        np.testing.assert_allclose(many[1:], alone[1:], rtol=1e-5)
        np.testing.assert_allclose(*weights, rtol=1e-5, atol=1e-7)
    # By agreement and not at the last possible step; each leaf at a step of its own.
    assert 5 <= one[0][0] < 40
    assert each[0][0][0] != each[0][0][1]


@pytest.mark.parametrize("per_leaf", [False, True])
@pytest.mark.parametrize("stop", [10, 20, 25])
def test_a_resumed_run_is_the_same_run(stop, per_leaf):
    """Before the switch, at it, and after it."""
    grads = {"a": random_gradients(0, 3, 40), "b": random_gradients(1, 2, 40)}
    tx = oxe.swats(falling, per_leaf=per_leaf, **forced(20))
    params = {"a": jnp.zeros(3), "b": jnp.zeros(2)}
    update = jax.jit(tx.update, donate_argnums=1)
    state, expected = tx.init(params), []
    for k in range(40):
        if k == stop:
            treedef = jax.tree.structure(state)
            saved = [np.array(x) for x in jax.tree.leaves(state)]
        g = jax.tree.map(lambda x: jnp.asarray(x[k], jnp.float32), grads)  # noqa: B023
        u, state = update(g, state, params)
        expected.append(u)
    state = treedef.unflatten(map(jnp.asarray, saved))
    for k in range(stop, 40):
        g = jax.tree.map(lambda x: jnp.asarray(x[k], jnp.float32), grads)  # noqa: B023
        u, state = update(g, state, params)
        for a, b in zip(u.values(), expected[k].values(), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert np.all(get(state, "switch_step") == 20)


# ---- What it converges to ------------------------------------------------------------


def on_wilsons_data(make, *xs, n=20, steps=5000):
    """For each x: the error on a balanced test set, the loss, Lambda, the switch."""
    data, y = map(jnp.asarray, wilson(n, 0.7, 0))

    def run_to_the_end(*x):
        tx = make(*x)

        def step(carry, _):
            w, state = carry
            u, state = tx.update(data.T @ (data @ w - y) / n, state, w)
            return (w + u, state), None

        w = jnp.zeros(data.shape[1])
        (w, state), _ = jax.lax.scan(step, (w, tx.init(w)), length=steps)
        # A new point has private features that no weight has seen.
        wrong = w[0] + w[1] + w[2] <= 0, -w[0] + w[1] + w[2] >= 0
        found = (get(state, name) for name in ("estimate", "switch_step"))
        error = jnp.mean(jnp.asarray(wrong))
        return error, jnp.mean((data @ w - y) ** 2), *found

    with jax.enable_x64(True):
        batch = jax.vmap if xs else lambda f: f
        found = jax.jit(batch(run_to_the_end))(*map(jnp.asarray, xs))
        return jax.tree.map(np.asarray, found)


def largest_rate():
    """1 / L of Wilson's data: gradient descent converges below twice that."""
    x, y = wilson(20, 0.7, 0)
    assert ((y > 0).sum(), (y < 0).sum()) == (12, 8)
    return 20 / np.linalg.norm(x, 2) ** 2


STEPS, ERRORS = [5, 20, 25, 40], [0, 0, 0.5, 0.5]


def test_a_late_switch_does_not_help_on_wilsons_data():
    """Adam labels everything positive; so does what switches at step 25, not at 20."""
    rate = largest_rate()
    assert on_wilsons_data(lambda: optax.adam(1e-2))[0] == 0.5
    assert on_wilsons_data(lambda: optax.sgd(rate))[0] == 0
    second = lambda k: oxe.swats(1e-2, second_rate=rate, **forced(k))  # noqa: E731
    errors, losses, *_, steps = on_wilsons_data(second, STEPS)
    np.testing.assert_array_equal(errors, ERRORS)
    np.testing.assert_array_equal(steps, STEPS)
    assert np.all(losses < 1e-20)


NEVER = 2**31 - 1


def test_the_projected_rate_on_wilsons_data():
    """SGD's rate need not be given: the projected one is below 1 / L, and converges.

    By itself, however, the switch never comes, and SWATS ends where Adam does.
    """
    found = on_wilsons_data(
        lambda first, last: oxe.swats(1e-2, min_steps=first, max_steps=last),
        [*STEPS, 2],
        [*STEPS, NEVER],
    )
    errors, losses, sizes, steps = found
    np.testing.assert_array_equal(errors, [*ERRORS, 0.5])
    np.testing.assert_array_equal(steps, [*STEPS, -1])
    assert np.all(losses[:-1] < 1e-20)
    rates = sizes[:-1] * 1e-2
    assert np.all((0.1 * largest_rate() < rates) & (rates < largest_rate()))


def reddi(make, *xs, steps=100_000):
    """1010 x every 101st time, -10 x else, on [-1, 1]: the best point is -1.

    All points, from 0 on, and the last state; for each of some arguments of `make`.
    """

    def run_to_the_end(*x):
        tx = make(*x)

        def step(carry, g):
            x, state = carry
            u, state = tx.update(g, state, x)
            return (jnp.clip(x + u, -1, 1), state), x

        x = jnp.zeros(())
        (_, state), path = jax.lax.scan(
            step, (x, tx.init(x)), reddis(jnp.arange(steps))
        )
        return path, state

    with jax.enable_x64(True):
        batch = jax.vmap if xs else lambda f: f
        found = jax.jit(batch(run_to_the_end))(*map(jnp.asarray, xs))
        return jax.tree.map(np.asarray, found)


def reddis(t):
    return jnp.where(t % 101 == 0, 1010.0, -10.0)


def reddis_rate(t):
    return 0.5 / jnp.sqrt(t + 1.0)


REDDIS = {"b1": 0.9, "b2": 0.99}


def test_what_they_converge_to_on_reddis_example():
    """Adam walks to the worst point; AMSGrad, SGD, and SWATS once it is SGD, do not."""
    slow = lambda t: 0.1 / jnp.sqrt(t + 1.0)  # noqa: E731
    second = {"second_rate": slow, **REDDIS, **forced(1000)}
    assert reddi(lambda: optax.adam(reddis_rate, **REDDIS))[0][-1] > 0.9
    for make in (
        lambda: oxe.amsgrad(reddis_rate, **REDDIS),
        lambda: optax.sgd(slow),
        lambda: oxe.swats(reddis_rate, **second),
    ):
        assert reddi(make)[0][-1] < -0.9


def test_the_projected_rate_on_reddis_example():
    """By itself it never switches. Made to, it goes SGD's way, at a rate of 0.005."""
    kw = {"min_steps": 1000, **REDDIS}
    (alone, made), state = reddi(
        lambda last: oxe.swats(reddis_rate, max_steps=last, **kw), [NEVER, 1000]
    )
    np.testing.assert_array_equal(get(state, "switch_step"), [-1, 1000])
    assert alone[-1] > 0.9
    with jax.enable_x64(True):
        t = np.arange(1000, len(made) - 1)
        steps = np.asarray(reddis_rate(t) * reddis(t))
    steps = get(state, "rate_factor")[1] * steps
    assert np.sum(steps) > 0.1
    np.testing.assert_allclose(made[1000] - made[-1], np.sum(steps), rtol=0.05)


# ---- Bad arguments -------------------------------------------------------------------

WRONG = {
    "b1": (ValueError, {"b1": 1.0}, "`b1` must be in"),
    "b2": (ValueError, {"b2": 1.0}, "`b2` must be in"),
    "eps": (ValueError, {"eps": -1.0}, "`eps` must be in"),
    "tolerance": (ValueError, {"tolerance": 0.0}, "`tolerance` must be in (0, inf)"),
    "negative": (ValueError, {"tolerance": -1.0}, "`tolerance` must be in (0, inf)"),
    "mode": (ValueError, {"tolerance_mode": "rel"}, "`tolerance_mode` must be one of"),
    "estimator": (ValueError, {"estimator": "mean"}, "`estimator` must be one of"),
    "min": (ValueError, {"min_steps": 0}, "`min_steps` must be an integer of at least"),
    "float": (TypeError, {"min_steps": 1e3}, "`min_steps` must be an integer"),
    "max": (
        ValueError,
        {"min_steps": 10, "max_steps": 9},
        "`max_steps` must be at least `min_steps`, 10, got 9",
    ),
    "flag": (TypeError, {"require_positive": 1}, "`require_positive` must be True or"),
    "nesterov": (TypeError, {"nesterov": "no"}, "`nesterov` must be True or False"),
    "per_leaf": (TypeError, {"per_leaf": 1}, "`per_leaf` must be True or False"),
    "paper": (TypeError, {"paper": 1}, "`paper` must be True or False"),
    "decoupled": (TypeError, {"decoupled": 1}, "`decoupled` must be True or False"),
    "decay": (ValueError, {"weight_decay": -1.0}, "`weight_decay` must be in"),
    "second": (ValueError, {"second_rate": -1.0}, "`second_rate` must be in"),
    "schedule": (
        ValueError,
        {"paper": True, "learning_rate": falling},
        "`learning_rate` must be a number with `paper`",
    ),
    **{
        f"paper {name}": (ValueError, {"paper": True, name: x}, f"`{name}` must be")
        for name, x in {
            "estimator": "ratio", "min_steps": 9, "max_steps": 5000, "second_rate": 0.1,
            "decoupled": True, "nesterov": True, "per_leaf": True,
        }.items()
    },
}  # fmt: skip


@pytest.mark.parametrize(("error", "kw", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(error, kw, message):
    with pytest.raises(error) as raised:
        oxe.swats(**{"learning_rate": 0.1, **kw})
    assert str(raised.value).startswith(f"swats: {message}")


def test_what_the_paper_has_not_may_be_written_out():
    """At its default: another integer of the same value is no other value."""
    said = int("1000")
    assert said is not inspect.signature(oxe.swats).parameters["min_steps"].default
    oxe.swats(0.1, paper=True, min_steps=said, nesterov=False, estimator="average")


def test_a_second_schedule_cannot_be_per_leaf():
    with pytest.raises(ValueError, match="`second_rate` must be a number with"):
        oxe.swats(0.1, second_rate=falling, per_leaf=True)


def test_the_first_projection_is_compared_with_nothing():
    """A leaf that wakes up late: of its first projection the average is itself."""
    tx, params = oxe.swats(1e-3, min_steps=2, per_leaf=True), {"a": 1.0, "b": 1.0}
    params = jax.tree.map(jnp.float32, params)
    state, rng = tx.init(params), np.random.default_rng(0)
    for step in range(30):
        late = rng.normal() if step >= 20 else 0.0
        grads = {"a": jnp.float32(rng.normal()), "b": jnp.float32(late)}
        _, state = tx.update(grads, state, params)
        if step == 20:
            assert optax.tree.get(state, "used")[1] == 1
            assert optax.tree.get(state, "switch_step")[1] == -1


@pytest.mark.parametrize("broken", [1e20, -1e25])
def test_max_steps_comes_after_a_huge_gradient_too(broken):
    """Adam never moves again; SGD begins with the last estimate there was."""
    tx, params = oxe.swats(1e-3, min_steps=10, max_steps=20), jnp.ones(4)
    state, rng = tx.init(params), np.random.default_rng(0)
    for step in range(40):
        g = jnp.asarray(rng.normal(size=4) + 1, jnp.float32)
        u, state = tx.update(jnp.full(4, broken) if step == 3 else g, state, params)
    assert optax.tree.get(state, "switch_step") == 20
    assert np.all(np.isfinite(u))
    assert np.all(u != 0)


def test_an_average_of_nothing_is_an_estimate_of_nothing():
    """The averages of u.g may cancel: no estimate then, and no switch."""
    when = oxe.projected_rate_settles(
        10.0, estimator="ratio", decay=0.5, min_steps=1, require_positive=False
    )
    watch, fired = when.init(), []
    for k, g in enumerate((1.0, -0.5), start=1):
        u, g = jnp.array([2.0]), jnp.array([g])
        fire, watch = when.update(watch, k, grads=g, updates=u, params=u)
        fired.append(bool(fire))
    assert watch.bottom == 0
    assert watch.top == 3
    assert watch.estimate == 0
    assert fired == [False, False]


def test_the_tolerance_is_not_reached_by_equality():
    """The paper's test is strict: |Lambda - gamma| < epsilon."""

    def fires(tolerance):
        when = oxe.projected_rate_settles(
            tolerance, tolerance_mode="absolute", decay=0.5, min_steps=2
        )
        watch = when.init()
        for k, g in enumerate((1.0, 0.5), start=1):
            u, g = jnp.array([2.0]), jnp.array([g])
            fire, watch = when.update(watch, k, grads=g, updates=u, params=u)
        return bool(fire), float(jnp.abs(watch.estimate - watch.last))

    _, distance = fires(1.0)  # gamma is 2, then 4
    assert 0.5 < distance < 1
    assert not fires(distance)[0]
    assert fires(float(np.nextafter(np.float32(distance), np.float32(1))))[0]


def test_algorithm_1_goes_over_to_a_rate_below_zero():
    """As it is written; `require_positive` is ours."""
    grads = against_the_momentum()
    expected = algorithm_1(grads, ALPHA, absolute(1e9))
    path, state = run(oxe.swats(ALPHA, tolerance=1e9, paper=True), grads)
    assert expected.rate < 0
    assert get(state, "switch_step") == expected.switch_step == 2
    np.testing.assert_allclose(rate_of(state), expected.rate, rtol=1e-12)
    assert difference(path, expected.path) <= 1e-12


def projected(pairs, **kw):
    """Whether it fires after each pair of an update and a gradient, and the watch."""
    when = oxe.projected_rate_settles(min_steps=1, **kw)
    watch, fired = when.init(), []
    for k, pair in enumerate(pairs, start=1):
        u, g = map(jnp.asarray, pair)
        fire, watch = when.update(watch, k, grads=g, updates=u, params=u)
        fired.append(bool(fire))
    return fired, watch


def test_the_projection_of_complex_leaves_is_that_of_their_parts():
    u = np.array([1 + 2j, -3 + 0.5j], np.complex64)
    g = np.array([0.5 + 1j, -1 - 4j], np.complex64)
    parts = [np.concatenate([x.real, x.imag]) for x in (u, g)]
    _, watch = projected([(u, g)])
    _, expected = projected([parts])
    by_hand = (1 + 4 + 9 + 0.25) / (0.5 + 2 + 3 - 2)
    np.testing.assert_allclose(watch.estimate, by_hand, rtol=1e-5)
    np.testing.assert_allclose(watch.estimate, expected.estimate, rtol=1e-6)


def test_the_first_projection_may_be_the_last_step():
    one = np.ones(2, np.float32)
    assert projected([(one, one)], max_steps=1)[0] == [True]


def test_an_estimate_of_zero_is_not_positive():
    """The squares of updates of 1e-30 are 0 in float32; SGD would stand still."""
    u, g = np.full(2, 1e-30, np.float32), np.ones(2, np.float32)
    fired, watch = projected([(u, g)], max_steps=1)
    assert (watch.used, watch.estimate) == (1, 0)
    assert fired == [False]
    assert projected([(u, g)], max_steps=1, require_positive=False)[0] == [True]


@pytest.mark.parametrize("huge", ["update", "gradient"])
def test_no_switch_at_a_step_whose_projection_is_not_finite(huge):
    """Of u.u and u.g one alone is inf; `max_steps` waits for the next step."""
    one, inf = np.ones(4, np.float32), np.full(4, 2e38, np.float32)
    broken = (inf, 1e-30 * one) if huge == "update" else (one, inf)
    fired, watch = projected([(one, one), broken, (one, one)], max_steps=2)
    assert fired == [False, False, True]
    assert watch.used == 2


def test_the_second_rate_is_asked_about_no_count_below_zero():
    """Before the switch too, when nothing is made of the answer yet."""
    tx = oxe.swats(0.1, second_rate=lambda t: 0.5 / (1.0 + t), **forced(3))
    params = jnp.ones(2)
    state = tx.init(params)
    for _ in range(5):
        _, state = tx.update(params, state, params)
        found = [x for _, x in optax.tree.get_all_with_path(state, "learning_rate")]
        assert np.all(np.isfinite(found))
        assert np.max(found) <= 0.5
