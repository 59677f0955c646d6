import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import Trajectory, minimize
from optax_extras.lab.problems import ditch

STEPS = 30


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def slope(w):
    return w * np.array([0.1, 2])


def test_adagrad_in_the_ditch():
    """As by NumPy and in "Deep Learning from Scratch", chapter 6; compiled once."""
    traces = []

    def fun(x):
        traces.append(x)
        return ditch.fun(x)

    tx = oxe.adagrad(1.5, eps=1e-7)
    path = minimize(fun, ditch.start, tx, STEPS)
    points, h = [ditch.start], 0.0
    for _ in range(STEPS):
        g = slope(points[-1])
        h = h + g**2
        points.append(points[-1] - 1.5 * g / (np.sqrt(h) + 1e-7))
    points = np.array(points)
    np.testing.assert_allclose(path.params, points, rtol=0, atol=1e-12)
    values = points[:, 0] ** 2 / 20 + points[:, 1] ** 2
    np.testing.assert_allclose(path.values, values, rtol=0, atol=1e-12)
    end = (-0.12016232, 2.5e-17)
    np.testing.assert_allclose(path.params[-1], end, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(path.rates, 1.5)
    assert isinstance(path, Trajectory)
    shapes = [(31, 2), (31,), (30,), (31,)]
    assert [x.shape for x in jax.tree.leaves(path)] == shapes
    first = len(traces)
    minimize(fun, np.array([1.0, 1.0]), tx, np.int64(STEPS))
    assert len(traces) == first


def test_vmap_and_grad():
    """Over starts and learning rates, recording all points or only the last."""

    def run(x0, rate, every):
        return minimize(ditch.fun, x0, optax.sgd(rate), STEPS, record_every=every)

    rates, starts = np.array([0.95, 0.5]), np.array([[-7.0, 2.0], [3.0, 1.0]])
    path = jax.jit(jax.vmap(lambda *x: run(*x, 1)))(starts, rates)
    t = np.arange(STEPS + 1)
    for x0, rate, points in zip(starts, rates, path.params, strict=True):
        x, y = x0[0] * (1 - rate / 10) ** t, x0[1] * (1 - 2 * rate) ** t
        np.testing.assert_allclose(points, np.stack([x, y], 1), rtol=0, atol=1e-12)

    def end(rate):
        return run(ditch.start, rate, STEPS).params[-1, 0]

    # The end of x is -7 (1 - rate / 10) ** 30.
    expected = 7 * 30 / 10 * (1 - rates / 10) ** 29
    slopes = jax.jit(jax.vmap(jax.grad(end)))(rates)
    np.testing.assert_allclose(slopes, expected, rtol=1e-12)


def tilt(key):
    """A number that looks random."""
    return jax.random.key_data(key) / 2**32


def noisy(x, key):
    return ditch.fun(x) + x @ tilt(key)


FALLING = oxe.schedules.linear(0.3, 40)
SEEN = {}


def asking(updates, state, params, *, value, grad, value_fn, **extra):
    """Passes the gradient on; changes it if `value` and `value_fn` disagree."""
    SEEN["others"] = extra
    wrong = value_fn(params) - value
    return jax.tree.map(lambda g, x: (g + x) / 2 + wrong, updates, grad), state


def test_noise_and_some_points():
    """Step i uses the key folded with i; points, values and rates are as by NumPy."""
    key = jax.random.key(3)
    fold = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
    noise = np.asarray(tilt(fold(key, np.arange(STEPS + 1))))
    points, rates = [ditch.start], 0.3 * (1 - np.arange(STEPS) / 40)
    for rate, push in zip(rates, noise, strict=False):
        points.append(points[-1] - rate * (slope(points[-1]) + push))
    points = np.array(points)
    values = points[:, 0] ** 2 / 20 + points[:, 1] ** 2 + (points * noise).sum(1)
    tx = optax.chain(
        optax.GradientTransformationExtraArgs(optax.init_empty_state, asking),
        oxe.scale_by_rate(FALLING),
    )
    for every, kept in (
        (7, [0, 7, 14, 21, 28, 30]),
        (1000, [0, 30]),
    ):
        path = minimize(noisy, ditch.start, tx, STEPS, key=key, record_every=every)
        kept = np.array(kept)
        assert path.counts.tolist() == kept.tolist()
        assert path.counts.dtype == "int32"
        np.testing.assert_allclose(path.params, points[kept], rtol=0, atol=1e-12)
        np.testing.assert_allclose(path.values, values[kept], rtol=0, atol=1e-12)
        np.testing.assert_allclose(path.rates, rates[kept[1:] - 1], rtol=1e-12)
    assert SEEN["others"] == {}


@pytest.mark.full
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
def test_optimizers_that_ask_for_the_value(tx):
    path = minimize(ditch.fun, ditch.start, tx, 10)
    assert path.values[-1] < path.values[0]


def test_no_rate_to_read():
    """A chain with two learning rates has no single one."""
    two = optax.chain(oxe.scale_by_rate(0.1), oxe.scale_by_rate(0.5))
    for tx in (optax.sgd(0.1), two):
        path = jax.eval_shape(lambda tx=tx: minimize(ditch.fun, ditch.start, tx, 3))
        assert path.rates is None
        assert path.params.shape == (4, 2)


def test_tree():
    """Some points of a tree; each leaf keeps its dtype."""

    def fun(tree):
        return jnp.sum(tree["w"] ** 2) + (tree["b"][0] - 1) ** 2

    x0 = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": (np.float32(3), None)}
    path = minimize(fun, x0, optax.sgd(0.25), 9, record_every=4)
    assert jax.tree.structure(path.params) == jax.tree.structure(x0)
    halves = 0.5 ** np.array([0, 4, 8, 9])
    np.testing.assert_array_equal(path.params["w"][:, 1, 2], halves)
    np.testing.assert_array_equal(path.params["b"][0], 1 + 2 * halves)
    np.testing.assert_allclose(path.values, 10 * halves**2, rtol=1e-6)
    dtypes = [x.dtype for x in jax.tree.leaves(path)]
    assert dtypes == ["float32", "bfloat16", "float32", "int32"]


def test_dtypes():
    """Floats keep their dtype; integers and Python numbers become floats."""
    x64s = {False: "float32", True: "float64"}
    array = np.array([-7, 2])
    for x64, default in x64s.items():
        for x0, dtype in (
            (jnp.asarray(array, "bfloat16"), "bfloat16"),
            (array.astype("float32"), "float32"),
            (array, default),
            ((-7, 2), default),
            ([-7.0, np.int64(2)], default),
        ):
            with jax.enable_x64(x64):
                path = jax.eval_shape(
                    lambda x0=x0: minimize(ditch.fun, x0, oxe.heavy_ball(0.1), 5)
                )
            assert type(path.params) in (type(x0), jax.ShapeDtypeStruct)
            for leaf in jax.tree.leaves((path.params, path.values)):
                assert leaf.dtype == dtype, x0
            assert path.rates.dtype == default
            assert not any(leaf.weak_type for leaf in jax.tree.leaves(path))


def test_numbers_of_python():
    path = minimize(ditch, (-7, 2.0), optax.sgd(0.95), 1)
    np.testing.assert_allclose(np.stack(path.params), [[-7, -6.335], [2, -1.8]])


def test_memory_does_not_grow_with_the_steps():
    def run(x0):
        tx = optax.sgd(0.1)
        return minimize(ditch.fun, x0, tx, 10**6, record_every=10**5)

    memory = jax.jit(run).lower(jnp.zeros(2)).compile().memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 10_000


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
    ("tx", optax.sgd, TypeError, "be an optax.GradientTransformation, got <function"),
    ("steps", 0, ValueError, "be an integer of at least 1, got 0"),
    ("steps", True, TypeError, "be an integer of at least 1, got True"),
    ("record_every", 0, ValueError, "be an integer of at least 1, got 0"),
    ("record_every", None, TypeError, "be an integer of at least 1, got None"),
    ("key", 7, TypeError, "be a key of jax.random, got 7"),
    ("key", jax.random.split(jax.random.key(0)), TypeError, "be a key of jax.random"),
]


def test_bad_arguments():
    for argument, value, kind, must in BAD:
        with pytest.raises(kind, match=rf"^minimize: `{argument}` must {must}"):
            minimize(**{**GOOD, argument: value})
    for argument in ("steps", "record_every"):
        with pytest.raises(TypeError, match=f"`{argument}` must be concrete, not tr"):
            jax.eval_shape(lambda n, x=argument: minimize(**{**GOOD, x: n}), 3)
    right = r"^minimize: `x0` must have as many coordinates as the problem, 2, got"
    for x0 in (1.0, (1.0, 2.0, 3.0), np.ones((2, 2))):
        with pytest.raises(ValueError, match=right):
            minimize(ditch, x0, optax.sgd(0.1), 3)
