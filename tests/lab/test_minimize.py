import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import Path, minimize
from optax_extras.lab.problems import ditch

FULL = pytest.mark.full
STEPS = 30


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def slope(w):
    return np.array([w[0] / 10, 2 * w[1]])


# The rules in NumPy: (weights, step number from 1, memory) -> (weights, memory).


def sgd(w, t, memory):
    return w - 0.95 * slope(w), memory


def heavy_ball(w, t, v):
    v = 0.9 * v - 0.1 * slope(w)
    return w + v, v


def adagrad(w, t, h):
    g = slope(w)
    h = h + g**2
    return w - 1.5 * g / (np.sqrt(h) + 1e-7), h


def adam(w, t, moments):
    """With Optax's eps, outside the corrected root."""
    g = slope(w)
    m, v = 0.9 * moments[0] + 0.1 * g, 0.999 * moments[1] + 0.001 * g**2
    m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return w - 0.3 * m_hat / (np.sqrt(v_hat) + 1e-8), np.array([m, v])


RULES = {
    "sgd": (lambda: optax.sgd(0.95), sgd, 0.0),
    "heavy_ball": (lambda: oxe.heavy_ball(0.1, 0.9), heavy_ball, 0.0),
    "adagrad": (lambda: oxe.adagrad(1.5, eps=1e-7), adagrad, 0.0),
    "adam": (lambda: optax.adam(0.3), adam, np.zeros((2, 2))),
}
# As in "Deep Learning from Scratch", chapter 6, whose Adam has its eps elsewhere.
ENDS = {
    "sgd": (-0.35039300, 0.08478232),
    "heavy_ball": (0.89641386, 0.08808560),
    "adagrad": (-0.12016232, 2.5e-17),
    "adam": (0.13600685, 0.31824538),
}


@pytest.mark.parametrize("name", RULES)
def test_ditch_against_numpy(x64, name):
    make, rule, memory = RULES[name]
    path = minimize(ditch.fun, ditch.start, make(), STEPS)
    points = [ditch.start]
    for t in range(1, STEPS + 1):
        w, memory = rule(points[-1], t, memory)
        points.append(w)
    points = np.array(points)
    np.testing.assert_allclose(path.params, points, rtol=0, atol=1e-12)
    values = points[:, 0] ** 2 / 20 + points[:, 1] ** 2
    np.testing.assert_allclose(path.values, values, rtol=0, atol=1e-12)
    atol = 1e-5 if name == "adam" else 1e-8
    np.testing.assert_allclose(path.params[-1], ENDS[name], rtol=0, atol=atol)


def test_sgd_closed_form(x64):
    path = minimize(ditch.fun, ditch.start, optax.sgd(0.95), STEPS)
    t = np.arange(STEPS + 1)
    points = np.stack([-7 * 0.905**t, 2 * (-0.9) ** t], axis=1)
    np.testing.assert_allclose(path.params, points, rtol=0, atol=1e-12)


def test_vmap_over_starts(x64):
    starts = jnp.array([[-7.0, 2.0], [3.0, 1.0], [0.0, 0.0]])

    def run(x0):
        return minimize(ditch.fun, x0, oxe.heavy_ball(0.1, 0.9), STEPS)

    rows = [run(x0) for x0 in starts]
    loop = jax.tree.map(lambda *xs: jnp.stack(xs), *rows)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-14),
        jax.vmap(run)(starts),
        loop,
    )


def test_vmap_over_rates(x64):
    rates = jnp.array([0.1, 0.5, 1.5])

    def run(rate):
        return minimize(ditch.fun, ditch.start, oxe.adagrad(rate), STEPS)

    together = jax.vmap(run)(rates)
    for i, rate in enumerate(rates):
        alone = run(float(rate))
        np.testing.assert_allclose(together.params[i], alone.params, atol=1e-14)
        np.testing.assert_allclose(together.rates[i], alone.rates, atol=1e-16)


def test_inside_jit_and_grad(x64):
    def end(rate):
        return minimize(ditch.fun, ditch.start, optax.sgd(rate), STEPS).params[-1, 0]

    # The end of x is -7 (1 - rate / 10) ** 30.
    expected = 7 * 30 / 10 * (1 - 0.095) ** 29
    assert jax.jit(jax.grad(end))(0.95) == pytest.approx(expected, rel=1e-12)


def test_rates_are_those_of_the_schedule(x64):
    schedule = oxe.schedules.warmup(5, oxe.schedules.cosine(0.5, 20))
    for tx in (
        oxe.heavy_ball(schedule, 0.9),
        oxe.adagrad(schedule),
        optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(schedule)),
        optax.inject_hyperparams(optax.sgd)(schedule),
    ):
        path = minimize(ditch.fun, ditch.start, tx, STEPS)
        expected = schedule(np.arange(STEPS))
        np.testing.assert_allclose(path.rates, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "tx",
    [
        optax.sgd(0.1),
        optax.adam(oxe.schedules.cosine(0.1, 10)),
        # Two rates are not one.
        optax.chain(oxe.scale_by_rate(0.1), oxe.scale_by_rate(0.5)),
    ],
    ids=["number", "schedule of Optax", "two"],
)
def test_no_rate_to_read(tx):
    path = minimize(ditch.fun, ditch.start, tx, 3)
    assert path.rates is None
    assert path.params.shape == (4, 2)


def noisy(x, key):
    return ditch.fun(x) + x @ jax.random.normal(key, (2,), x.dtype)


def test_stochastic(x64):
    key = jax.random.key(3)
    path = minimize(noisy, ditch.start, optax.sgd(0.1), 5, key=key)
    w = ditch.start
    for i in range(6):
        np.testing.assert_allclose(path.params[i], w, rtol=0, atol=1e-12)
        fresh = jax.random.fold_in(key, i)
        assert path.values[i] == pytest.approx(float(noisy(jnp.array(w), fresh)))
        w = w - 0.1 * (slope(w) + np.asarray(jax.random.normal(fresh, (2,))))


@pytest.mark.full
def test_longer_run_begins_as_the_shorter():
    tx, key = optax.adam(0.1), jax.random.PRNGKey(0)
    short = minimize(noisy, ditch.start, tx, 5, key=key)
    long = minimize(noisy, ditch.start, tx, 9, key=key)
    np.testing.assert_allclose(long.params[:6], short.params, rtol=1e-6)


def test_vmap_over_keys():
    keys = jax.random.split(jax.random.key(0), 4)
    tx = optax.sgd(0.1)
    ends = jax.vmap(lambda k: minimize(noisy, ditch.start, tx, 5, key=k).params[-1])(
        keys
    )
    assert len(np.unique(np.asarray(ends), axis=0)) == 4


def test_tree():
    def fun(tree):
        return jnp.sum(tree["w"] ** 2) + (tree["b"][0] - 1) ** 2

    x0 = {"w": np.ones((2, 3), np.float32), "b": (3, None)}
    path = minimize(fun, x0, optax.sgd(0.25), 4)
    assert jax.tree.structure(path.params) == jax.tree.structure(x0)
    halves = 0.5 ** np.arange(5)
    np.testing.assert_allclose(path.params["w"][:, 1, 2], halves)
    np.testing.assert_allclose(path.params["b"][0], 1 + 2 * halves)
    np.testing.assert_allclose(path.values, 10 * halves**2, rtol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["float32", "bfloat16", pytest.param("float16", marks=FULL)]
)
@pytest.mark.parametrize("name", RULES)
def test_dtype_is_kept(dtype, name):
    x0 = jnp.asarray(ditch.start, dtype)
    path = minimize(ditch.fun, x0, RULES[name][0](), 5)
    assert path.params.dtype == path.values.dtype == dtype
    assert path.rates is None or path.rates.dtype == "float32"
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(path))


@pytest.mark.parametrize("x0", [(-7, 2), (-7.0, 2.0), [np.int64(-7), 2]])
def test_python_numbers_become_floats(x0):
    path = minimize(ditch.fun, x0, optax.sgd(0.95), 3)
    assert type(path.params) is type(x0)
    whole = minimize(ditch.fun, ditch.start, optax.sgd(0.95), 3)
    np.testing.assert_allclose(np.stack(path.params, axis=1), whole.params, rtol=1e-6)


def test_integer_array_becomes_float():
    path = minimize(ditch.fun, np.array([-7, 2]), optax.sgd(0.95), 1)
    assert path.params.dtype == "float32"


def test_compiled_once():
    traces = []

    def fun(x):
        traces.append(x)
        return ditch.fun(x)

    tx = oxe.adagrad(1.0)
    minimize(fun, ditch.start, tx, 10)
    first = len(traces)
    for start in ([1.0, 1.0], [2.0, 3.0]):
        minimize(fun, np.array(start), tx, 10)
    assert len(traces) == first


@pytest.mark.parametrize(
    "tx",
    [
        optax.lbfgs(),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
        optax.polyak_sgd(),
        optax.chain(optax.sgd(0.5), optax.contrib.reduce_on_plateau(patience=2)),
    ],
    ids=["lbfgs", "backtracking", "polyak", "plateau"],
)
def test_rules_that_ask_for_the_value(tx):
    path = minimize(ditch.fun, ditch.start, tx, 10)
    assert path.values[-1] < path.values[0]


@pytest.mark.full
def test_line_search_sees_the_noise_of_its_step():
    """Its own objective decreases at every step: the same key inside and outside."""
    key = jax.random.key(0)
    tx = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15))
    path = minimize(noisy, ditch.start, tx, 10, key=key)
    for i in range(10):
        same = jax.random.fold_in(key, i)
        assert noisy(path.params[i + 1], same) < noisy(path.params[i], same)


def test_unlisted_arguments_reach_the_optimizer():
    seen = {}

    def update(updates, state, params, **extra):
        seen.update(extra)
        return updates, state

    tx = optax.GradientTransformationExtraArgs(lambda params: (), update)
    minimize(ditch.fun, ditch.start, tx, 2)
    assert set(seen) == {"value", "grad", "value_fn"}


FALLING = oxe.schedules.linear(0.3, 40)
FALLING_TX = optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(FALLING))


@pytest.mark.parametrize(
    ("every", "kept"),
    [
        (1, range(31)),
        pytest.param(10, [0, 10, 20, 30], marks=FULL),
        (7, [0, 7, 14, 21, 28, 30]),
        pytest.param(29, [0, 29, 30], marks=FULL),
        (30, [0, 30]),
        (1000, [0, 30]),
    ],
)
def test_some_points(every, kept, x64):
    """They, their values and rates are those of the whole run, with its noise."""
    kept, tx, schedule = np.array(kept), FALLING_TX, FALLING
    key = jax.random.key(5)
    path = minimize(noisy, ditch.start, tx, 30, key=key, record_every=every)
    assert path.counts.tolist() == kept.tolist()
    assert path.counts.dtype == "int32"
    whole = minimize(noisy, ditch.start, tx, 30, key=key)
    np.testing.assert_allclose(path.params, whole.params[kept], rtol=1e-12)
    np.testing.assert_allclose(path.values, whole.values[kept], rtol=1e-12)
    np.testing.assert_allclose(path.rates, schedule(kept[1:] - 1), rtol=1e-12)


def test_some_points_of_a_tree_without_a_rate():
    def fun(tree):
        return jnp.sum(tree["w"] ** 2)

    x0 = {"w": jnp.ones(3, jnp.bfloat16)}
    path = minimize(fun, x0, optax.sgd(0.25), 9, record_every=4)
    np.testing.assert_allclose(path.params["w"][:, 0], 0.5 ** np.array([0, 4, 8, 9]))
    assert path.values.dtype == "bfloat16"
    assert path.rates is None
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(path))


def test_some_points_under_vmap_and_grad(x64):
    def end(rate):
        tx = optax.sgd(rate)
        path = minimize(ditch.fun, ditch.start, tx, 30, record_every=30)
        return path.params[-1, 0]

    expected = 7 * 30 / 10 * (1 - 0.095) ** 29
    slopes = jax.vmap(jax.grad(end))(jnp.array([0.95, 0.5]))
    assert slopes[0] == pytest.approx(expected, rel=1e-12)


def test_memory_does_not_grow_with_the_steps():
    def needed(steps, every):
        def run(x0):
            return minimize(ditch.fun, x0, optax.adam(0.1), steps, record_every=every)

        memory = jax.jit(run).lower(jnp.zeros(2)).compile().memory_analysis()
        return memory.temp_size_in_bytes + memory.output_size_in_bytes

    assert needed(10**6, 10**6) <= needed(100, 100) + 64
    assert needed(10**6, 10**5) < 10_000 < needed(10**4, 1)


GOOD = {"fun": ditch.fun, "x0": ditch.start, "tx": optax.sgd(0.1), "steps": 3}
BAD = [
    ("fun", 3, TypeError, "be callable, got 3"),
    ("fun", lambda x: x, TypeError, r"return a real scalar, got .*\(2,\)"),
    ("fun", lambda x: (x[0], 1), TypeError, "return a real scalar, got .*tuple"),
    ("fun", lambda x: x[0] > 0, TypeError, "return a real scalar, got .*bool"),
    ("x0", "start", TypeError, "hold real numbers, got 'start'"),
    ("x0", {"w": np.ones(2, complex)}, TypeError, "hold real numbers, got .*1.*j"),
    ("x0", np.array([True]), TypeError, "hold real numbers, got .*True"),
    ("x0", jax.random.key(0), TypeError, "hold real numbers"),
    ("x0", {}, TypeError, "hold real numbers, got {}"),
    ("tx", 0.1, TypeError, "be an optax.GradientTransformation, got 0.1"),
    ("tx", optax.sgd, TypeError, "be an optax.GradientTransformation, got <function"),
    ("steps", 0, ValueError, "be an integer of at least 1, got 0"),
    ("steps", 2.5, TypeError, "be an integer of at least 1, got 2.5"),
    ("steps", True, TypeError, "be an integer of at least 1, got True"),
    ("record_every", 0, ValueError, "be an integer of at least 1, got 0"),
    ("record_every", 0.5, TypeError, "be an integer of at least 1, got 0.5"),
    ("record_every", None, TypeError, "be an integer of at least 1, got None"),
    ("key", 7, TypeError, "be a key of jax.random, got 7"),
    ("key", np.zeros(2), TypeError, "be a key of jax.random, got .*0."),
]


@pytest.mark.parametrize(("argument", "value", "kind", "must"), BAD)
def test_bad_arguments(argument, value, kind, must):
    with pytest.raises(kind, match=rf"^minimize: `{argument}` must {must}"):
        minimize(**{**GOOD, argument: value})


@pytest.mark.parametrize("x0", [(1.0,), 1.0, (1.0, 2.0, 3.0), np.ones((2, 2))])
def test_another_number_of_coordinates(x0):
    right = r"^minimize: `x0` must have as many coordinates as the problem, 2, got"
    with pytest.raises(ValueError, match=right):
        minimize(ditch, x0, optax.sgd(0.1), 3)
    minimize(ditch, (1.0, 2.0), optax.sgd(0.1), 3)


def test_batch_of_keys_is_refused():
    keys = jax.random.split(jax.random.key(0))
    with pytest.raises(TypeError, match="`key` must be a key"):
        minimize(**GOOD, key=keys)


@pytest.mark.parametrize("argument", ["steps", "record_every"])
def test_traced_steps_are_refused(argument):
    with pytest.raises(TypeError, match=f"`{argument}` must be known, as a sh"):
        jax.jit(lambda n: minimize(**{**GOOD, argument: n}))(3)


def test_path_is_a_tree():
    path = minimize(**{**GOOD, "tx": oxe.adagrad(0.1), "steps": np.int64(3)})
    assert isinstance(path, Path)
    assert [x.shape for x in jax.tree.leaves(path)] == [(4, 2), (4,), (3,), (4,)]
