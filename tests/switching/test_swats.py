"""SWATS: Algorithm 1 in NumPy, cases worked out by hand, and gradients that fail."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.devices import on_eight_devices
from tests.optimizers.paths import buffers, difference
from tests.parity.programs import quick_jit
from tests.switching.algorithm_1 import absolute, algorithm_1, relative

ALPHA = 1e-3
NEVER = 2**31 - 1
STEPS, SIZE = 1600, 20


def get(state, name):
    return optax.tree.get(state, name)


def after_each_update(tx, grads, start=0.0):
    """The updates, the weights, and what can be read, after each update."""
    names = (
        "switch_step",
        "switched",
        "num_projected",
        "numerator",
        "denominator",
        "estimate",
        "last_ratio",
    )

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        params = optax.apply_updates(params, u)
        found = {name: get(state, name) for name in names}
        found["factor"] = get(state, "rate_factor")
        found["rate"] = oxe.learning_rate(state)
        return (params, state), {"update": u, "path": params, **found}

    first = jax.tree.map(lambda g: jnp.full_like(g[0], start), grads)
    found = jax.lax.scan(step, (first, tx.init(first)), grads)[1]
    found["path"] = jax.tree.map(
        lambda x, path: jnp.concatenate([x[None], path]), first, found["path"]
    )
    return found


def run_cases(make, cases, dtype="float64"):
    """Runs of one program: for each name the gradients and the arguments of `make`.

    The last argument is the weights' first value.
    """
    with jax.enable_x64(dtype == "float64"):
        grads, *numbers = (
            jax.tree.map(lambda *xs: np.stack(xs), *column)
            for column in zip(*cases.values(), strict=True)
        )
        grads = jax.tree.map(lambda g: jnp.asarray(g, dtype), grads)

        def run(grads, *numbers):
            return after_each_update(make(*numbers[:-1]), grads, numbers[-1])

        found = jax.device_get(quick_jit(jax.vmap(run))(grads, *numbers))
    return {
        name: jax.tree.map(lambda x, i=i: x[i], found) for i, name in enumerate(cases)
    }


def random_gradients(seed, size, steps=STEPS, mean=0.3):
    return np.random.default_rng(seed).normal(mean, 1, (steps, size))


def padded(grads, steps=STEPS, size=SIZE):
    """Pads with zero gradients to a common shape; dot products do not change."""
    grads = np.asarray(grads, np.float64)
    return np.pad(grads, ((0, steps - len(grads)), (0, size - grads.shape[1])))


def assert_as_in_algorithm_1(found, expected, rate=1.0, weights=1e-12):
    """The switch, the weights, and before it the estimates times the learning rate."""
    step = expected.switch_step
    assert found["switch_step"][-1] == step
    assert difference(found["path"], expected.path) <= weights
    known = slice(0, step if step > 0 else None)
    for name, values in (
        ("estimate", expected.estimates),
        ("last_ratio", expected.ratios),
    ):
        values = np.asarray(values)[known]
        np.testing.assert_allclose(
            rate * found[name][: len(values)], values, rtol=1e-11
        )
    rates = np.full(STEPS, ALPHA)
    if step > 0:
        assert not found["switched"][step - 2]
        assert found["switched"][step - 1]
        rates[step:] = expected.rate
    np.testing.assert_allclose(found["rate"], rates, rtol=1e-12)


# ---- Algorithm 1 ---------------------------------------------------------------------

# Seed, size, tolerance: the switch falls anywhere from the 2nd to the 1498th step, or
# never.
ABSOLUTE = [(0, 3, 1e-6), (0, 20, 1e-6), (2, 20, 1e-6), (2, 3, 1e-4), (0, 20, 1e-4)]
RELATIVE = [(0, 3, 1e-4), (0, 20, 1e-3), (1, 3, 1e-3), (1, 20, 1e-3), (2, 3, 1e-3)]


def of_the_paper(tolerance, eps, decay):
    return oxe.swats(
        ALPHA, eps=eps, tolerance=tolerance, weight_decay=decay, paper=True
    )


def with_zeros():
    grads = random_gradients(0, 20)
    grads[:3] = grads[10] = grads[20:25] = 0
    return grads


def against_the_momentum(steps=3):
    """One step against the gradient: the second one, small and turned."""
    return np.concatenate([[[1.0, 1.0], [-0.01, -0.01]], np.ones((steps - 2, 2))])


def test_algorithm_1_to_the_letter():
    four_hundred = 1 + 0.5 * np.random.default_rng(0).normal(size=(400, 7))
    cases = {
        **{
            f"{seed}, {size}, {tolerance}": (
                random_gradients(seed, size), tolerance, 1e-9, 0.0, 0.0,
            )
            for seed, size, tolerance in ABSOLUTE
        },
        "never": (random_gradients(0, 3), 1e-9, 1e-9, 0.0, 0.0),
        "a large epsilon": (random_gradients(0, 3), 1e-5, 1e-5, 0.0, 0.0),
        # k goes on, so that Algorithm 1's correction is off afterwards.
        "zeros are skipped": (with_zeros(), 2e-6, 1e-9, 0.0, 0.0),
        "a rate below zero": (against_the_momentum(), 1e9, 1e-9, 0.0, 0.0),
        "four hundred": (four_hundred, 1e-5, 1e-9, 0.0, 0.0),
        # To the gradient, so that it enters gamma.
        "weight decay": (random_gradients(0, 3), 1e-4, 1e-4, 0.1, 1.0),
    }  # fmt: skip
    cases = {name: (padded(x[0]), *x[1:]) for name, x in cases.items()}
    found, expected = run_cases(of_the_paper, cases), {}
    for name, (grads, tolerance, eps, decay, start) in cases.items():
        # The gradients with L2 decay, along the path that was found.
        grads = grads + decay * found[name]["path"][:-1]
        expected[name] = algorithm_1(
            grads, ALPHA, absolute(tolerance), eps=eps, w=start
        )
        weights = 1e-10 if decay else 1e-12
        assert_as_in_algorithm_1(found[name], expected[name], weights=weights)
    steps = {name: run.switch_step for name, run in expected.items()}
    assert len({*steps.values()}) >= 8
    assert max(steps.values()) > 1000
    assert steps["zeros are skipped"] > 25
    assert steps["never"] == -1
    assert steps["a rate below zero"] == 2
    assert expected["a rate below zero"].rate < 0
    # From an independent implementation of the paper.
    assert steps["four hundred"] == 3
    rate = found["four hundred"]["rate"][-1]
    np.testing.assert_allclose(rate, 0.0010408878827410705, rtol=1e-13)


def test_one_epsilon_for_both():
    """The paper has one symbol, in Adam's denominator and as the threshold: 1e-9."""

    def program(**settings):
        tx, x = oxe.swats(ALPHA, paper=True, **settings), jnp.ones(3)
        return str(jax.make_jaxpr(tx.update)(x, tx.init(x), x))

    assert program() == program(eps=1e-9, tolerance=1e-9)
    assert program(eps=1e-5) == program(eps=1e-5, tolerance=1e-5)
    assert len({program(), program(eps=1e-5), program(tolerance=1e-5)}) == 3


def in_absolute_terms(tolerance, first, last):
    return oxe.swats(
        ALPHA, eps=1e-9, tolerance=tolerance, tolerance_mode="absolute",
        min_steps=first, max_steps=last, require_positive=False,
    )  # fmt: skip


def test_an_absolute_tolerance():
    """Ours compares without the learning rate: the tolerance is divided by it."""
    cases = {
        f"{seed}, {size}, {tolerance}": (
            padded(random_gradients(seed, size)), tolerance / ALPHA, 1, NEVER, 0.0,
        )
        for seed, size, tolerance in ABSOLUTE[1:4]
    }  # fmt: skip
    waiting = padded(against_the_momentum(402))
    cases["forced"] = (waiting, 1e-30, 2, 2, 0.0)
    cases["zero gradients"] = (padded(np.zeros((5, 3))), 1e-30, 2, 2, 1.0)
    found = run_cases(in_absolute_terms, cases)
    for name, (grads, tolerance, *_) in list(cases.items())[:3]:
        expected = algorithm_1(grads, ALPHA, absolute(tolerance * ALPHA))
        assert_as_in_algorithm_1(found[name], expected, ALPHA)
    # Without the guard it climbs, as in Algorithm 1.
    assert found["forced"]["switch_step"][-1] == 2
    assert found["forced"]["factor"][-1] < 0
    assert_nothing_happens(found["zero gradients"])


def assert_nothing_happens(found):
    """Nothing is divided, nothing switches, nothing moves."""
    np.testing.assert_array_equal(found["path"], 1)
    assert (found["num_projected"][-1], found["switch_step"][-1]) == (0, -1)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))


def in_relative_terms(eps, tolerance, first, last):
    return oxe.swats(
        ALPHA, eps=eps, tolerance=tolerance, min_steps=first, max_steps=last
    )


CONSTANT = np.array([1, 2, 4, 0.1, 0.3])


def test_a_relative_tolerance():
    cases = {
        f"{seed}, {size}, {tolerance}, {first}": (
            random_gradients(seed, size), 1e-8, tolerance, first, NEVER, 0.0,
        )
        for first in (2, 100)
        for seed, size, tolerance in RELATIVE[:: 1 if first == 2 else 2]
    }  # fmt: skip
    waiting = against_the_momentum(402)
    late = np.concatenate([np.zeros((50, 3)), [[1.0, 2, 3]]])
    by_algorithm_1 = [*cases, "against the momentum"]
    cases |= {
        "against the momentum": (against_the_momentum(), 1e-8, 1e-30, 9, NEVER, 0.0),
        "waiting": (waiting, 1e-8, 1e-30, 2, 2, 0.0),
        "late": (late, 1e-8, 1e-30, 1, NEVER, 0.0),
        "zero gradients": (np.zeros((5, 3)), 1e-8, 1e-30, 2, 2, 1.0),
        "constant": (np.tile(CONSTANT, (5, 1)), 0.0, 1e-9, 1, NEVER, 0.0),
    }
    for bad in (np.nan, np.inf, -np.inf):
        for where in (slice(None), 0):
            grads = random_gradients(0, 4, 30)
            grads[10, where] = bad
            cases[f"{bad} at {where}"] = (grads, 1e-8, 1e6, 11, 11, 0.0)
    cases = {name: (padded(x[0]), *x[1:]) for name, x in cases.items()}
    found = run_cases(in_relative_terms, cases)

    for name in by_algorithm_1:
        grads, _, tolerance, first, *_ = cases[name]
        agrees = relative(tolerance)
        expected = algorithm_1(grads, ALPHA, agrees, first=first, eps=1e-8)
        if name == "against the momentum":  # then zeros, for which k goes on there
            assert expected.ratios[1] < 0
            expected = expected._replace(estimates=expected.estimates[:3])
        assert_as_in_algorithm_1(found[name], expected, ALPHA)

    # Past max_steps, until the estimate is positive.
    estimates = algorithm_1(waiting, 1.0, absolute(1e-30), eps=1e-8).estimates
    assert estimates[1] < 0 < estimates[-1]
    first = 1 + np.argmax(estimates[1:] > 0) + 1
    assert found["waiting"]["switch_step"][-1] == first
    assert found["waiting"]["factor"][-1] > 0

    # Ours corrects by the updates that were used: no bias after zeros.
    estimate, last = (found["late"][name][50] for name in ("estimate", "last_ratio"))
    np.testing.assert_allclose(estimate, last, rtol=1e-12)
    assert last > 0
    assert_nothing_happens(found["zero gradients"])
    assert_switch_under_a_constant_gradient(found["constant"])

    # They spoil Adam's moments, as in any Adam; the estimate does not change.
    for name in list(cases)[-6:]:
        assert not found[name]["switched"][10]
        for of in (
            "estimate",
            "numerator",
            "denominator",
            "last_ratio",
            "num_projected",
        ):
            before, after = found[name][of][9:11]
            assert before == after, (name, of)
            assert np.isfinite(after), (name, of)
            assert after > 0, (name, of)


def assert_switch_under_a_constant_gradient(found):
    """p = -alpha sign(g): switch at the second step, Lambda = alpha n / |g|_1."""
    assert found["switch_step"][-1] == 2
    rate = 1e-3 * 5 / CONSTANT.sum()
    np.testing.assert_allclose(found["rate"][4], rate, rtol=1e-13)
    np.testing.assert_allclose(rate, 6.7567567567567568e-4)
    steps = np.diff(found["path"], axis=0)[:5, :5]
    np.testing.assert_allclose(steps[:2], -1e-3 * np.ones((2, 5)), rtol=1e-12)
    for j, step in enumerate(steps[2:], 1):
        np.testing.assert_allclose(step, -rate * CONSTANT * (1 - 0.9**j), rtol=1e-12)
    np.testing.assert_allclose(
        steps[2:, 0], [-6.756756757e-05, -1.283783784e-04, -1.831081081e-04]
    )


def each_by_itself(eps, tolerance, first, last):
    return oxe.swats(
        ALPHA, eps=eps, tolerance=tolerance, min_steps=first, max_steps=last,
        per_leaf=True,
    )  # fmt: skip


def test_leaves_switch_one_by_one():
    """Each like a separate run; some ports use the last leaf's estimate for all."""
    steps = 1000
    random = {"a": padded(random_gradients(0, 3, steps), steps, 3)}
    random["b"] = random_gradients(1, 20, steps)
    spoilt = {name: np.array(g) for name, g in random.items()}
    spoilt["a"][10] = np.nan
    late = {name: np.array(g) for name, g in random.items()}
    late["b"][:20] = 0
    constant = {
        "a": padded(np.tile([1.0, 2, 4], (6, 1)), steps, 3),
        "b": padded(np.tile([0.1, 0.3], (6, 1)), steps, 20),
    }
    found = run_cases(
        each_by_itself,
        {
            "random": (random, 1e-8, 1e-3, 100, NEVER, 0.0),
            "spoilt": (spoilt, 1e-8, 1e-30, 20, 20, 0.0),
            "late": (late, 1e-8, 1e-3, 2, NEVER, 0.0),
            "constant": (constant, 0.0, 1e-9, 1, NEVER, 0.0),
        },
    )
    for i, leaf in enumerate("ab"):
        run = found["random"]
        expected = algorithm_1(random[leaf], ALPHA, relative(1e-3), first=100, eps=1e-8)
        assert run["switch_step"][-1, i] == expected.switch_step > 0
        np.testing.assert_allclose(run["rate"][-1, i], expected.rate, rtol=1e-12)
        assert difference(run["path"][leaf], expected.path) <= 1e-12
    assert len({*found["random"]["switch_step"][-1].tolist()}) == 2

    # A NaN in one leaf does not affect the other.
    run, expected = (
        found["spoilt"],
        algorithm_1(random["b"], ALPHA, absolute(0), forced=20, eps=1e-8),
    )
    np.testing.assert_array_equal(run["switch_step"][-1], [-1, 20])
    assert difference(run["path"]["b"], expected.path) <= 1e-12

    # The first projection is its own average, with which it is not compared.
    assert found["late"]["num_projected"][20, 1] == 1
    assert found["late"]["switch_step"][20, 1] == -1

    run = found["constant"]
    np.testing.assert_array_equal(run["switch_step"][-1], [2, 2])
    rates = ALPHA * 3 / 7, ALPHA * 5
    np.testing.assert_allclose(run["rate"][-1], rates, rtol=1e-12)
    for leaf, rate, g in zip("ab", rates, ([1, 2, 4], [0.1, 0.3]), strict=True):
        step = np.diff(run["path"][leaf], axis=0)[5, : len(g)]
        expected = -rate * np.array(g) * (1 - 0.9**4)
        np.testing.assert_allclose(step, expected, rtol=1e-10)


# ---- Learning rates, decay, Nesterov -------------------------------------------------


def falling(t):
    return 0.05 / (1 + t)


def forced(step, **kw):
    return {"min_steps": step, "max_steps": step, "tolerance": 1e-30, **kw}


def formula(
    grads, rate=falling, switch=20, decay=0.0, decoupled=False, nesterov=False,
    second=None, b1=0.9, b2=0.999,
):  # fmt: skip
    """The formula of the docstring with L2 decay: weights from 1 on, learning rates."""
    w, m, v, lam = np.ones(grads.shape[1]), 0.0, 0.0, 0.0
    path, rates = [w], []
    for k, g in enumerate(grads, 1):
        alpha = rate(k - 1) if callable(rate) else rate
        g = g if decoupled else g + decay * w
        step = alpha * decay * w if decoupled else 0
        if k == switch + 1:
            m = 0.0
        m = b1 * m + (1 - b1) * g
        if k <= switch:
            v = b2 * v + (1 - b2) * g**2
            u = m / (1 - b1**k) * np.sqrt(1 - b2**k) / (np.sqrt(v) + 1e-8)
            lam = b2 * lam + (1 - b2) * (u @ u) / (u @ g)
            size = lam / (1 - b2**k)
        else:
            u = b1 * m + (1 - b1) * g if nesterov else m
            alpha = alpha * size if second is None else second
            alpha = alpha(k - switch - 1) if callable(alpha) else alpha
        w = w - alpha * u - step
        path.append(w)
        rates.append(alpha)
    return np.array(path), np.array(rates)


def own(t):
    """A schedule that is inf before the first count."""
    return 0.3 / (1 + t)


# What ours and the formula are given.
OPTIONS = {
    "schedule": ({}, {}),
    "number": (
        {"learning_rate": 0.1, "b1": 0.5, "b2": 0.9},
        {"rate": 0.1, "b1": 0.5, "b2": 0.9},
    ),
    "second schedule": ({"second_rate": own}, {"second": own}),
    "decoupled": (
        {"weight_decay": 0.1, "decoupled": True},
        {"decay": 0.1, "decoupled": True},
    ),
    "second rate, decay": (
        {"second_rate": 0.3, "weight_decay": 0.1, "nesterov": True},
        {"second": 0.3, "decay": 0.1, "nesterov": True},
    ),
    # It uses the first learning rate throughout; masked leaves do not decay.
    "second rate, decoupled": (
        {"second_rate": own, "weight_decay": 0.1, "decoupled": True, "mask": [1, 0]},
        {"second": own, "decay": np.array([0.1, 0.1, 0, 0]), "decoupled": True},
    ),
    "decay, masked": (
        {"weight_decay": 0.1, "mask": [1, 0]},
        {"decay": np.array([0.1, 0.1, 0, 0])},
    ),
    "a NaN is passed over": ({}, {}),
}


def test_options():
    """A switch at update 20: the weights, and the learning rate that is read."""
    grads = random_gradients(0, 4, 40, mean=1)
    makers, given = {}, {}
    for name, (ours, _) in OPTIONS.items():
        kw = {"learning_rate": falling, **forced(20), **ours}
        split = "mask" in kw
        if split:
            kw["mask"] = [bool(x) for x in kw["mask"]]
        makers[name] = oxe.swats(**kw)
        given[name] = [grads[:, :2], grads[:, 2:]] if split else grads
    # A skipped one, under apply_if_finite: the estimate goes on, and switches.
    skipped = "a NaN is passed over"
    makers[skipped] = optax.apply_if_finite(makers[skipped], 3)
    given[skipped] = np.insert(grads, 10, np.nan, axis=0)
    with jax.enable_x64(True):
        found = jax.device_get(
            quick_jit(
                lambda given: {
                    name: after_each_update(tx, given[name], 1.0)
                    for name, tx in makers.items()
                }
            )(jax.tree.map(jnp.asarray, given))
        )
    for name, (_, theirs) in OPTIONS.items():
        path, rates = formula(grads, **theirs)
        run = found[name]
        got = run["path"]
        got = np.concatenate(got, 1) if isinstance(got, list) else got
        if name == skipped:
            got, run["rate"] = np.delete(got, 11, 0), np.delete(run["rate"], 10)
        assert run["switch_step"][-1] == 20, name
        np.testing.assert_allclose(got, path, rtol=1e-10, err_msg=name)
        np.testing.assert_allclose(run["rate"], rates, rtol=1e-10, err_msg=name)


def test_the_ratio_of_averages():
    """Both averages have the same decay, so their bias corrections cancel."""
    grads = random_gradients(0, 5, steps=200)
    first = oxe.scale_by_moments(oxe.rules.adam(eps_hat=True))
    with jax.enable_x64(True):
        found, path = jax.jit(
            lambda grads: (
                after_each_update(oxe.swats(0.1, estimator="ratio"), grads),
                jax.lax.scan(
                    lambda s, g: first.update(g, s)[::-1], first.init(grads[0]), grads
                )[1],
            )
        )(jnp.asarray(grads))
    us = np.asarray(path)
    weights = 0.999 ** np.arange(200)[::-1]
    top, bottom = weights @ (us * us).sum(1), weights @ (us * grads).sum(1)
    np.testing.assert_allclose(found["estimate"][-1], top / bottom, rtol=1e-10)


def test_per_leaf_with_a_second_rate():
    """Each leaf uses the second learning rate once it has switched."""
    grads = {"a": random_gradients(0, 3, 40), "b": random_gradients(1, 2, 40)}
    tx = oxe.swats(falling, second_rate=0.3, per_leaf=True, **forced(20))
    with jax.enable_x64(True):
        grads = jax.tree.map(jnp.asarray, grads)
        found = jax.jit(lambda grads: after_each_update(tx, grads, 1.0))(grads)
    for i, name in enumerate("ab"):
        path, rates = formula(np.asarray(grads[name]), second=0.3)
        np.testing.assert_allclose(found["path"][name], path, rtol=1e-10)
        np.testing.assert_allclose(found["rate"][:, i], rates, rtol=1e-10)


def test_the_second_schedule_is_asked_about_no_count_below_zero():
    """Also before the switch, when its value is not used."""
    tx = oxe.swats(0.1, second_rate=own, **forced(3))
    params, update = jnp.ones(2), jax.jit(tx.update)
    state = tx.init(params)
    for _ in range(5):
        _, state = update(params, state, params)
        found = [x for _, x in optax.tree.get_all_with_path(state, "learning_rate")]
        assert np.all(np.isfinite(found))
        assert np.max(found) <= 0.3


# ---- Memory --------------------------------------------------------------------------


def test_two_buffers():
    params = jnp.ones(17)
    for kw in ({}, {"paper": True}, {"per_leaf": True}):
        state = jax.eval_shape(oxe.swats(0.1, **kw).init, params)
        assert buffers(state, params) == 2, kw


def temporaries(tx, leaves=1, size=1 << 16):
    """How many params-sized temporaries a donated step has."""
    params = [jax.ShapeDtypeStruct((size,), jnp.float32)] * leaves

    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    state = jax.eval_shape(tx.init, params)
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, state, params)
    return compiled.compile().memory_analysis().temp_size_in_bytes / (4 * leaves * size)


def test_no_temporary_but_the_one_of_the_dot_products():
    """That of one leaf and without decay is in tests/optimizers/test_compiled.py."""
    assert temporaries(oxe.swats(0.1), 4) < 1.01
    # The sum with the weights is read by the dot products too, and is the second.
    for decoupled, most in ((True, 1.01), (False, 2.01)):
        tx = oxe.swats(0.1, weight_decay=0.1, decoupled=decoupled)
        assert temporaries(tx) < most


# ---- Huge gradients and half precision -----------------------------------------------


def at_rate_one_hundredth(first, last):
    return oxe.swats(0.01, tolerance=1e-30, min_steps=first, max_steps=last)


@pytest.mark.parametrize(("size", "dtype"), [(1e20, "float32"), (300.0, "float16")])
def test_one_huge_gradient(size, dtype):
    """In either phase: afterwards it is like a true SGD phase."""
    grads = random_gradients(0, 4, 60, mean=1).astype(dtype).astype(np.float64)
    cases = {k: (grads.copy(), 30, 30, 0.0) for k in (10, 40)}
    for k, (g, *_) in cases.items():
        g[k, 0] = size
    if dtype == "float32":  # Adam never moves again; SGD begins with the last estimate.
        for broken in (1e20, -1e25):
            everywhere = grads.copy()
            everywhere[3] = broken
            cases[broken] = (everywhere, 10, 20, 0.0)
    found = run_cases(at_rate_one_hundredth, cases, dtype)
    close = {"rtol": 1e-3 if dtype == "float16" else 1e-5, "atol": 1e-6}
    for name, run in found.items():
        switch = cases[name][2]
        assert run["switch_step"][-1] == switch
        assert np.all(np.isfinite(run["update"]))
        assert np.all(run["update"][-1] != 0)
        rate, m = float(run["rate"][-1]), 0.0
        assert 0 < rate < 10
        for k in range(switch, len(grads)):
            m = 0.9 * m + 0.1 * cases[name][0][k]
            np.testing.assert_allclose(run["update"][k], -rate * m, **close)


def test_bfloat16_switches_with_float32():
    """On well-scaled gradients."""
    grads = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        common = rng.normal(size=(300, 1))
        grads.append((common + rng.normal(1, 1, (300, 250))) / 2)
    grads = np.asarray(jnp.asarray(grads, jnp.bfloat16), np.float32)
    cases = {str(i): (g, 5, NEVER, 0.0) for i, g in enumerate(grads)}

    def make(first, last):
        return oxe.swats(0.01, tolerance=5e-2, min_steps=first, max_steps=last)

    runs = (run_cases(make, cases, dtype) for dtype in ("float32", "bfloat16"))
    for wide, half in zip(*(run.values() for run in runs), strict=True):
        assert 5 <= wide["switch_step"][-1] < 300
        assert half["switch_step"][-1] == wide["switch_step"][-1]
        for name in ("estimate", "numerator", "last_ratio", "factor"):
            assert half[name].dtype == np.float32
            np.testing.assert_allclose(half[name][-1], wide[name][-1], rtol=1e-2)


# ---- Many devices --------------------------------------------------------------------

# In a separate process: the number of CPU devices is fixed when JAX starts.
SHARDED = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
spread = {"a": NamedSharding(mesh, P("x")), "b": NamedSharding(mesh, P())}
rng = np.random.default_rng(0)
shapes = {"a": (16, 4), "b": (5,)}
grads = [
    {k: rng.normal(0.3, 1, s).astype("float32") for k, s in shapes.items()}
    for _ in range(20)
]
report = []
for per_leaf in (False, True):
    tx = oxe.swats(1e-2, tolerance=1e-1, min_steps=3, max_steps=16, per_leaf=per_leaf)
    step, found, weights = jax.jit(tx.update, donate_argnums=1), [], []
    for shardings in (None, spread):
        put = lambda x: x if shardings is None else jax.device_put(x, shardings)
        params = put({k: jnp.zeros(s) for k, s in shapes.items()})
        state = tx.init(params)
        for g in grads:
            u, state = jax.block_until_ready(step(put(g), state, params))
            params = jax.block_until_ready(optax.apply_updates(params, u))
        names = "switch_step", "rate_factor", "estimate"
        found.append([np.asarray(optax.tree.get(state, n)).tolist() for n in names])
        weights.append(np.asarray(params["a"]).tolist())
        mu = optax.tree.get(state, "mu")["a"]
    slices = [s.data.shape for s in mu.addressable_shards]
    report.append((found, [len(slices), slices[0]], weights))
print(json.dumps(report))
"""


@pytest.mark.ci
def test_eight_devices():
    (one, *_), (each, *_) = runs = on_eight_devices(SHARDED)
    for (alone, many), moment, weights in runs:
        assert moment == [8, [2, 4]]  # a slice of "a" on every device
        assert many[0] == alone[0]
        np.testing.assert_allclose(many[1:], alone[1:], rtol=1e-5)
        np.testing.assert_allclose(*weights, rtol=1e-5, atol=1e-7)
    # By agreement and not at the last possible step; each leaf at its own step.
    assert 3 <= one[0][0] < 16
    assert each[0][0][0] != each[0][0][1]


# ---- Wrong arguments -----------------------------------------------------------------

WRONG = [
    ({"b1": 1.0}, "`b1` must be in"),
    ({"b2": 1.0}, "`b2` must be in"),
    ({"eps": -1.0}, "`eps` must be in"),
    ({"tolerance": 0.0}, "`tolerance` must be in (0, inf)"),
    ({"tolerance": -1.0}, "`tolerance` must be in (0, inf)"),
    ({"tolerance_mode": "rel"}, "`tolerance_mode` must be one of"),
    ({"estimator": "mean"}, "`estimator` must be one of"),
    ({"min_steps": 0}, "`min_steps` must be an integer of at least"),
    ({"max_steps": 0}, "`max_steps` must be an integer of at least"),
    (
        {"min_steps": 10, "max_steps": 9},
        "`max_steps` must be at least `min_steps`, 10, got 9",
    ),
    ({"weight_decay": -1.0}, "`weight_decay` must be in"),
    ({"second_rate": -1.0}, "`second_rate` must be in"),
    (
        {"second_rate": falling, "per_leaf": True},
        "`second_rate` must be a number with",
    ),
    (
        {"paper": True, "learning_rate": falling},
        "`learning_rate` must be a number with `paper`",
    ),
    *[
        ({"paper": True, name: x}, f"`{name}` must be")
        for name, x in {
            "estimator": "ratio", "min_steps": 9, "max_steps": 5000, "second_rate": 0.1,
            "decoupled": True, "nesterov": True, "per_leaf": True,
        }.items()
    ],
]  # fmt: skip
WRONG_KINDS = [
    ({"min_steps": 1e3}, "`min_steps` must be an integer"),
    *[
        ({name: 1}, f"`{name}` must be a bool")
        for name in ("require_positive", "nesterov", "per_leaf", "paper", "decoupled")
    ],
]


def test_wrong_arguments():
    for error, cases in ((ValueError, WRONG), (TypeError, WRONG_KINDS)):
        for kw, message in cases:
            with pytest.raises(error) as raised:
                oxe.swats(**{"learning_rate": 0.1, **kw})
            assert str(raised.value).startswith(f"swats: {message}"), kw


def test_a_default_may_be_written_out_with_paper():
    """An integer of another type is the same value."""
    same = int("1000")
    assert same is not inspect.signature(oxe.swats).parameters["min_steps"].default
    oxe.swats(0.1, paper=True, min_steps=same, nesterov=False, estimator="average")


def test_steps_of_half_a_tree_switch_their_leaves_alone():
    """SWATS for each leaf, where a param has no gradient: as without this param."""
    tree = {"a": jnp.array([1.0, -2.0]), "b": jnp.ones(2), "c": jnp.ones(3)}
    some = {"a": tree["a"], "b": None, "c": tree["c"]}
    rest = {"a": tree["a"], "c": tree["c"]}
    tx = oxe.swats(0.1, per_leaf=True, min_steps=2)
    state, alone = tx.init(tree), tx.init(rest)
    for i in range(6):
        scale = 1 + 0.1 * i
        grads = jax.tree.map(lambda x, scale=scale: scale * x, some)
        updates, state = tx.update(grads, state, tree)
        del grads["b"]
        expected, alone = tx.update(grads, alone, rest)
        np.testing.assert_array_equal(updates["a"], expected["a"])
        np.testing.assert_array_equal(updates["c"], expected["c"])
