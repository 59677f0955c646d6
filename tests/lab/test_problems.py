import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import Trajectory, minimize, plot_path, problems

PROBLEMS = {
    name: getattr(problems, name)
    for name in problems.__all__
    if isinstance(getattr(problems, name), problems.Problem)
}
# Losses that are straight lines have no point where the gradient is 0.
LINES = {"reddi_theorem", "reddi_online", "reddi_stochastic"}
FULL = pytest.mark.full


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_fields():
    for name, problem in PROBLEMS.items():
        shape = (len(problem.bounds),) if len(problem.bounds) == 2 else ()
        for point in (problem.start, problem.minimum):
            assert isinstance(point, np.ndarray), name
            assert point.shape == shape, name
            for x, (low, high) in zip(np.ravel(point), problem.bounds, strict=True):
                assert low <= x <= high, name
        assert problem.stochastic == (name in ("noisy_quadratic", "reddi_stochastic"))


def test_traceable_in_every_dtype():
    for name, problem in PROBLEMS.items():
        key = jax.random.key(0) if problem.stochastic else None
        for dtype in (jnp.float32, jnp.bfloat16):
            start = jax.ShapeDtypeStruct(problem.start.shape, dtype)
            values = [jax.eval_shape(problem.fun, start)]
            if problem.sample is not None:
                values.append(jax.eval_shape(problem.sample, start, 3, key))
            for value in values:
                assert (value.shape, value.dtype) == ((), dtype), name
        path = jax.eval_shape(
            lambda p=problem, key=key: minimize(p, p.start, optax.sgd(0.1), 3, key=key)
        )
        assert path.params.shape == (4, *problem.start.shape), name


# Values and gradients worked out by hand from the formulas.
KNOWN = {
    "ditch": [((-7, 2), 49 / 20 + 4, (-0.7, 4))],
    "saddle": [
        ((2, 2), 2 - 2 + 4, (2, 6)),
        ((0, 1), -0.25, (0, 0)),
        ((0, 0), 0, (0, 0)),
    ],
    "monkey_saddle": [
        ((0, 0), 0, (0, 0)),
        ((-3, 0), -6.75, (0, 0)),
        ((1, 1), -1, (2, -4)),
    ],
    "rosenbrock": [((-1.2, 1), 24.2, (-215.6, -88)), ((1, 1), 0, (0, 0))],
    "beale": [((3, 0.5), 0, (0, 0)), ((0, 0), 14.203125, (-12.75, 0))],
    "himmelblau": [
        ((3, 2), 0, (0, 0)),
        ((0, 0), 170, (-14, -22)),
        ((-2.805118086952745, 3.131312518250573), 0, (0, 0)),
        ((-3.779310253377747, -3.283185991286170), 0, (0, 0)),
        ((3.584428340330492, -1.848126526964404), 0, (0, 0)),
    ],
    "rastrigin": [((0.5, 1), 0.25 + 20 + 1, (1, 2))],
    "sharp_and_flat": [
        ((2, 0), 0, (0, 0)),
        ((-2, 0), 0, (0, 0)),
        (
            (0, 0),
            100 * 4 / 104 / 2,
            ((100 * 4**2 - 4 * 100**2) / 104**2 / 2, 0),
        ),
    ],
    "noisy_quadratic": [((3, 2), 4.5 + 20, (3, 20))],
    "reddi_theorem": [(-1, -1 / 3, 1 / 3)],
    "reddi_online": [(-1, -10 / 101, 10 / 101)],
    "reddi_stochastic": [(-1, -0.2, 0.2)],
}


def test_values_and_minima():
    """The known values and gradients of every problem, from one program."""
    grids, steps = {}, 0.1 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    for name, problem in PROBLEMS.items():
        axes = [np.linspace(*bounds, 201) for bounds in problem.bounds]
        grids[name] = np.stack(np.meshgrid(*axes), -1).reshape(-1, len(axes))
        if name in LINES:
            grids[name] = grids[name][:, 0]

    @jax.jit
    def evaluate(points):
        found = {}
        for name, (known, others) in points.items():
            fun = PROBLEMS[name].fun
            slopes = jax.vmap(jax.value_and_grad(fun))(known)
            found[name] = *slopes, jax.vmap(fun)(others)
        hessian = jax.vmap(jax.hessian(problems.sharp_and_flat.fun))
        at_ends = hessian(jnp.array([[-2.0, 0], [2.0, 0]]))
        flat = jax.hessian(problems.monkey_saddle.fun)(jnp.zeros(2))
        return found, at_ends, flat

    points = {}
    for name, problem in PROBLEMS.items():
        assert name in KNOWN, f"add values and gradients of {name!r} to KNOWN"
        known = np.array([point for point, *_ in KNOWN[name]], float)
        near = problem.minimum + (steps if name not in LINES else 0.1)
        known = np.r_[known, problem.minimum[None]]
        points[name] = known, np.r_[np.atleast_1d(near), grids[name]]
    found, curvatures, flat = evaluate(points)
    for name, (values, slopes, others) in found.items():
        _, right, right_slopes = zip(*KNOWN[name], strict=True)
        close = dict(atol=1e-20, err_msg=name)
        np.testing.assert_allclose(values[:-1], right, rtol=1e-12, **close)
        np.testing.assert_allclose(slopes[:-1], right_slopes, atol=1e-6, err_msg=name)
        near = len(others) - len(grids[name])
        assert np.all(others[near:] >= values[-1] - 1e-12), name
        assert np.all(others[:near] > values[-1]), name
        if name not in LINES:
            np.testing.assert_allclose(slopes[-1], 0, atol=1e-12, err_msg=name)
    for found, curvature in zip(curvatures, (25, 1), strict=True):
        np.testing.assert_allclose(found, curvature * np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(flat, np.zeros((2, 2)))


def run(problem, tx, steps, start=None, **options):
    start = problem.start if start is None else start
    return minimize(problem, start, tx, steps, **options)


def test_where_rates_end():
    """SGD converges to the sharp minimum below 2/25, and to the flat one from 0.3."""

    def end(rate):
        points = run(problems.sharp_and_flat, optax.sgd(rate), 1000).params
        return points[-1], points[-2]

    ends, before = jax.jit(jax.vmap(end))(np.array([0.06, 0.1, 0.3]))
    moves = np.linalg.norm(ends - before, axis=1)
    np.testing.assert_allclose(ends[0], (-2, 0), atol=1e-6)
    assert ends[1, 0] < 0
    np.testing.assert_allclose(ends[2], (2, 0), atol=1e-6)
    assert moves[0] < 1e-9 < 0.1 < moves[1]


def test_saddles_hold_for_long():
    """Near a saddle y grows as (1 + rate)^t; on the ridge SGD never leaves."""

    @jax.jit
    def paths(starts):
        saddle, monkey = problems.saddle, problems.monkey_saddle
        many = jax.vmap(lambda x: run(saddle, optax.sgd(0.1), 1000, x).params)(starts)
        return many, run(monkey, optax.sgd(0.01), 1000).params[-1]

    (beside, ridge), end = paths(np.array([problems.saddle.start, [1.5, 0.0]]))
    t = np.arange(51)
    np.testing.assert_allclose(beside[:51, 0], 1.5 * 0.9**t, rtol=1e-12)
    np.testing.assert_allclose(beside[:51, 1], 0.001 * 1.1**t, rtol=0.01)
    np.testing.assert_allclose(ridge[-1], 0, atol=1e-12)
    np.testing.assert_allclose(end, problems.monkey_saddle.minimum, atol=1e-9)


def test_noise():
    """SGD becomes an autoregression of known variance; mean losses are right."""
    problem, key = problems.noisy_quadratic, jax.random.key(1)
    point, rates = np.array([1.0, -2.0]), np.array([0.05, 0.15])

    def walk(rate, key):
        return run(problem, optax.sgd(rate), 20_000, (0.0, 0.0), key=key).params

    @jax.jit
    def draw(key):
        keys = jax.random.split(key, 8)
        walks = jax.vmap(jax.vmap(walk, (None, 0)), (0, None))(rates, keys)
        many = jax.random.split(keys[0], 40_000)
        rare = problems.reddi_stochastic.sample
        seen = jax.vmap(lambda key: problem.sample(point, 0, key))(many)
        return walks, seen, jax.vmap(lambda key: rare(1.0, 0, key))(many)

    (x, y), *seen = jax.tree.map(np.asarray, draw(key))
    for axis, h in ((x, 1), (y, 10)):
        variances = axis[:, :, 1000:].var(axis=(1, 2))
        np.testing.assert_allclose(variances, rates / (h * (2 - rates * h)), rtol=0.05)
    for values, mean in zip(seen, (20.5, 0.2), strict=True):
        assert abs(values.mean() - mean) < 4 * values.std() / 200
    assert set(np.unique(seen[1])) == {-10, 1010}


def test_losses_of_a_cycle():
    """The first slope of a period is large, the others are small."""
    steps = np.arange(303)
    for problem, period, large, small in (
        (problems.reddi_theorem, 3, 3, -1),
        (problems.reddi_online, 101, 1010, -10),
    ):
        found = jax.vmap(lambda i, p=problem: p.sample(0.5, i, None))(steps)
        slopes = np.where(steps % period == 0, large, small)
        np.testing.assert_array_equal(found, 0.5 * slopes)
        np.testing.assert_array_equal(problem.project(np.array([3, -3])), [1, -1])


def over_root(rate):
    return lambda count: rate / jnp.sqrt(count + 1.0)


def adam(schedule, b1, b2):
    return optax.adam(schedule, b1, b2, eps=1e-30)


# `b2` and the rate of theorem 1; the ends and regrets are from an independent program.
B2 = 1 / (1 + 3**2)
THEOREM, ONLINE = over_root(0.9 * np.sqrt(1 - B2)), over_root(0.5)
REDDI = {
    "theorem, Adam": ("reddi_theorem", adam(THEOREM, 0, B2), 0.9972, 0.6691, 6e-5),
    "theorem, AMSGrad": (
        "reddi_theorem",
        oxe.amsgrad(THEOREM, 0, B2, 0),
        -1,
        0.0033,
        6e-5,
    ),
    "online, Adam": ("reddi_online", adam(ONLINE, 0.9, 0.99), 0.9928, 0.31, 0.005),
    "online, AMSGrad": (
        "reddi_online",
        oxe.amsgrad(ONLINE, 0.9, 0.99, 0),
        -0.9984,
        0.114,
        0.005,
    ),
}


@pytest.mark.parametrize("name", REDDI)
def test_reddi(name):
    """The end, and the regret of a step against staying at -1."""
    problem, tx, end, regret, tolerance = REDDI[name]
    path = run(getattr(problems, problem), tx, 100_000)
    assert float(path.params[-1]) == pytest.approx(end, abs=6e-5)
    assert np.abs(path.params).max() <= 1
    large, small, period = (3, -1, 3) if "theorem" in problem else (1010, -10, 101)
    slopes = np.where(np.arange(100_000) % period == 0, large, small)
    found = np.mean(path.values[:-1] + slopes)
    assert found == pytest.approx(regret, abs=tolerance)
    if tx is REDDI["theorem, Adam"][1]:
        assert float(path.params[1000]) == pytest.approx(0.9717, abs=6e-5)


@FULL
@pytest.mark.parametrize(
    ("tx", "end", "tolerance"),
    [
        (oxe.amsgrad(ONLINE, 0.9, 0.99, 0, bias_correction=False), -0.9842, 6e-5),
        (optax.amsgrad(ONLINE, 0.9, 0.99), -0.9436, 6e-5),
        (optax.radam(ONLINE, 0.9, 0.99), 0.9928, 6e-4),
    ],
    ids=["paper", "optax", "radam"],
)
def test_reddi_online(tx, end, tolerance):
    path = run(problems.reddi_online, tx, 100_000)
    assert float(path.params[-1]) == pytest.approx(end, abs=tolerance)


@FULL
def test_reddi_stochastic():
    """On average over seeds and the last million of 3e6 steps.

    AMSGrad is slow and noisy here: single seeds have not reached -1 yet.
    """
    problem = problems.reddi_stochastic
    keys = jax.random.split(jax.random.key(0), 4)

    def end(make):
        tx = make(over_root(1.0), 0.9, 0.99)

        def late(key):
            return run(problem, tx, 3_000_000, key=key).params[2_000_000:]

        return float(jax.jit(jax.vmap(late))(keys).mean())

    assert end(optax.adam) > 0.9
    assert end(oxe.amsgrad) < -0.7


class TestWilson:
    """The lemma and the closed form, on 12 positive and 8 negative labels."""

    DATA = problems.wilson()
    DECAYED = optax.exponential_decay(0.1, 1000, 0.5, staircase=True)

    def error(self, w):
        return np.mean(np.sign(self.DATA.x_test @ w) != self.DATA.y_test)

    def test_data(self):
        data = self.DATA
        assert (data.y == 1).sum() == 12
        assert (data.y == -1).sum() == 8
        assert data.y_test.tolist() == [1, -1] * 10
        assert data.x.shape == data.x_test.shape == (20, 3 + 5 * 40)
        np.testing.assert_array_equal(data.problem.start, np.zeros(203))
        points, labels = np.r_[data.x, data.x_test], np.r_[data.y, data.y_test]
        np.testing.assert_array_equal(points[:, 0], labels)
        np.testing.assert_array_equal(points[:, 1:3], 1)
        np.testing.assert_array_equal(points[:, 3:].sum(1), np.where(labels > 0, 1, 5))
        assert (points[:, 3:].sum(0) <= 1).all(), "private"
        # The condition of the lemma: X sign(X'y) is a multiple of y.
        np.testing.assert_array_equal(data.x @ np.sign(data.x.T @ data.y), 4 * data.y)
        assert (problems.wilson(seed=1).y != data.y).any()
        assert problems.wilson(n_test=6).x_test.shape == (6, 3 + 5 * 26)

    def test_least_norm(self):
        a = np.where(self.DATA.y > 0, 0.0378710338, -0.0501535312)
        w = self.DATA.problem.minimum
        np.testing.assert_allclose(w, self.DATA.x.T @ a, atol=1e-9)
        scores = self.DATA.x_test @ w
        expected = np.where(self.DATA.y_test > 0, 0.96213, -0.74923)
        np.testing.assert_allclose(scores, expected, atol=6e-6)

    @pytest.mark.parametrize("momentum", [None, pytest.param(0.9, marks=FULL)])
    def test_gradient_descent_generalizes(self, momentum):
        largest = np.linalg.eigvalsh(self.DATA.x @ self.DATA.x.T / 20)[-1]
        tx = optax.sgd(1 / largest, momentum)
        w = run(self.DATA.problem, tx, 20_000, record_every=20_000).params[-1]
        np.testing.assert_allclose(w, self.DATA.problem.minimum, atol=1e-12)
        assert self.error(w) == 0

    @pytest.mark.parametrize(
        "tx",
        [
            oxe.adagrad(0.1),
            pytest.param(optax.adam(DECAYED), marks=FULL),
            pytest.param(oxe.amsgrad(DECAYED), marks=FULL),
        ],
        ids=["adagrad", "adam", "amsgrad"],
    )
    def test_adaptive_rules_call_everything_positive(self, tx):
        w = run(self.DATA.problem, tx, 20_000, record_every=20_000).params[-1]
        expected = np.sign(self.DATA.x.T @ self.DATA.y) / 4
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-6)
        assert (self.DATA.x_test @ w > 0).all()
        assert self.error(w) == 0.5

    def test_bad_arguments(self):
        for arguments, kind, message in (
            ({"n": 1}, ValueError, "`n` must be an integer of at least 2, got 1"),
            ({"p": 0.5}, ValueError, r"`p` must be in \(0.5, 1\), got 0.5"),
            ({"n_test": 1}, ValueError, "`n_test` must be an integer of at least 2"),
            ({"seed": -1}, ValueError, "`seed` must be an integer of at least 0"),
            ({"n": 2, "p": 0.99}, ValueError, "`seed` must draw more labels 1"),
        ):
            with pytest.raises(kind, match=f"^wilson: {message}"):
                problems.wilson(**arguments)


def test_by_name():
    for name, problem in PROBLEMS.items():
        assert problems.by_name(name) is problem
    np.testing.assert_array_equal(problems.by_name("wilson").start, np.zeros(203))
    for name in ("rosenbrok", "Rosenbrock", "rosen"):
        right = rf"^by_name: `name` .*'rosenbrock'.*{name}"
        with pytest.raises(ValueError, match=right):
            problems.by_name(name)
    for name in ("Problem", "xyzzy", 3):
        with pytest.raises(ValueError, match=r"be the name of a problem, such as '"):
            problems.by_name(name)


def test_keys():
    """A stochastic problem needs a key; other problems ignore it."""
    ditch, tx = problems.ditch, optax.sgd(0.1)
    message = "^minimize: `key` must be given where the problem is stochastic, got None"
    with pytest.raises(ValueError, match=message):
        run(problems.noisy_quadratic, tx, 3)
    keyed = run(ditch, tx, 3, key=jax.random.key(0))
    np.testing.assert_array_equal(keyed.params, run(ditch, tx, 3).params)


def test_sample_and_project():
    """Step i evaluates sample i; compiled once."""
    traces = []

    def sample(x, i, key):
        traces.append(x)
        return (x - i) ** 2

    problem, tx = problems.reddi_online._replace(sample=sample), optax.sgd(0.1)
    path = run(problem, tx, 4)
    np.testing.assert_allclose(path.params, [0, 0, 0.2, 0.56, 1])
    first = len(traces)
    run(problem, tx, 4, 0.5)
    assert len(traces) == first
    path = Trajectory(path.params, path.values, None, path.counts)
    with pytest.raises(
        ValueError, match=r"^plot_path: `problem` must have bounds of two"
    ):
        plot_path(problem, path)


BAD_FIELDS = [
    ("fun", None, TypeError, "be callable, got None"),
    ("sample", 3, TypeError, "be callable, got 3"),
    ("project", 3, TypeError, "be callable, got 3"),
    ("start", None, TypeError, "hold real numbers, got None"),
    ("start", "here", TypeError, "hold real numbers, got 'here'"),
    ("minimum", {"x": 1j}, TypeError, "hold real numbers, got 1j"),
    ("stochastic", 1, TypeError, "be a bool, got 1"),
    ("bounds", 3, ValueError, "be pairs of finite numbers .*, got 3"),
    ("bounds", ((0, 1), "ab"), TypeError, "hold real numbers"),
    ("bounds", ((0, 1, 2),), ValueError, "be pairs of finite numbers"),
    ("bounds", ((0, 1), (2, 2)), ValueError, "be pairs of finite numbers"),
    ("bounds", ((0, 1), (0, np.inf)), ValueError, "be pairs of finite numbers"),
    ("bounds", ((0, 1), (-np.inf, 1)), ValueError, "be pairs of finite numbers"),
    ("bounds", ((0, 1), (np.nan, 1)), ValueError, "be pairs of finite numbers"),
]


def test_bad_fields():
    for field, value, kind, must in BAD_FIELDS:
        problem = problems.ditch._replace(**{field: value})
        with pytest.raises(kind, match=rf"^minimize: `fun.{field}` must {must}"):
            run(problem, optax.sgd(0.1), 3, problems.ditch.start)


def test_fields_of_jax_arrays():
    """Outside of a trace and inside, where they may be traced."""

    def end(start):
        bounds = 0 * start[0] + jnp.array([[-9, 9], [-9, 9]])
        fields = {"start": start, "minimum": jnp.zeros(2), "bounds": bounds}
        problem = problems.ditch._replace(**fields)
        return run(problem, optax.sgd(0.1), 3).values[-1]

    start = jnp.asarray(problems.ditch.start)
    x, y = -7 * 0.99**3, 2 * 0.8**3
    for found in (end(start), jax.jit(end)(start)):
        np.testing.assert_allclose(found, x**2 / 20 + y**2, rtol=1e-6)
