import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import minimize, plot_path, problems

PROBLEMS = {
    name: getattr(problems, name)
    for name in problems.__all__
    if isinstance(getattr(problems, name), problems.Problem)
}
# Straight lines between two ends have no point where the slope is 0.
LINES = {"reddi_theorem", "reddi_online", "reddi_stochastic"}
LANDSCAPES = {name: p for name, p in PROBLEMS.items() if name not in LINES}


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
class TestEvery:
    def test_record(self, problem):
        shape = (len(problem.bounds),) if len(problem.bounds) == 2 else ()
        assert np.shape(problem.start) == np.shape(problem.minimum) == shape
        for point in (problem.start, problem.minimum):
            for x, (low, high) in zip(np.ravel(point), problem.bounds, strict=True):
                assert low <= x <= high

    def test_traceable_and_keeps_dtype(self, problem):
        for dtype in (jnp.float32, jnp.bfloat16):
            start = jnp.asarray(problem.start, dtype)
            value = jax.jit(problem.fun)(start)
            assert (value.shape, value.dtype) == ((), dtype)
            if problem.sample is not None:
                seen = jax.jit(problem.sample)(start, 3, jax.random.key(0))
                assert (seen.shape, seen.dtype) == ((), dtype)

    def test_holds_no_jax_array(self, problem):
        assert isinstance(problem.start, np.ndarray)
        assert isinstance(problem.minimum, np.ndarray)

    def test_runs(self, problem):
        key = jax.random.key(0) if problem.stochastic else None
        path = minimize(problem, problem.start, optax.sgd(1e-4), 3, key=key)
        assert np.isfinite(path.values).all()


@pytest.mark.parametrize("problem", LANDSCAPES.values(), ids=LANDSCAPES)
def test_minimum(problem, x64):
    lowest = problem.fun(problem.minimum)
    slope = jax.grad(problem.fun)(jnp.asarray(problem.minimum))
    assert np.allclose(slope, 0, atol=1e-12)
    (low_x, high_x), (low_y, high_y) = problem.bounds
    grid = np.meshgrid(np.linspace(low_x, high_x, 201), np.linspace(low_y, high_y, 201))
    points = np.stack(grid, axis=-1).reshape(-1, 2)
    assert np.all(jax.vmap(problem.fun)(points) >= lowest - 1e-12)
    near = problem.minimum + 0.1 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert np.all(jax.vmap(problem.fun)(near) > lowest)


# Values worked out by hand from the formulas.
@pytest.mark.parametrize(
    ("name", "point", "value", "slope"),
    [
        ("ditch", (-7, 2), 49 / 20 + 4, (-0.7, 4)),
        ("saddle", (2, 2), 2 - 2 + 4, (2, 6)),
        ("saddle", (0, 1), -0.25, (0, 0)),
        ("saddle", (0, 0), 0, (0, 0)),
        ("monkey_saddle", (0, 0), 0, (0, 0)),
        ("monkey_saddle", (-3, 0), -6.75, (0, 0)),
        ("monkey_saddle", (1, 1), -1, (2, -4)),
        ("rosenbrock", (-1.2, 1), 24.2, (-215.6, -88)),
        ("rosenbrock", (1, 1), 0, (0, 0)),
        ("beale", (3, 0.5), 0, (0, 0)),
        ("beale", (0, 0), 14.203125, (-12.75, 0)),
        ("himmelblau", (3, 2), 0, (0, 0)),
        ("himmelblau", (0, 0), 170, (-14, -22)),
        ("himmelblau", (-2.805118086952745, 3.131312518250573), 0, (0, 0)),
        ("himmelblau", (-3.779310253377747, -3.283185991286170), 0, (0, 0)),
        ("himmelblau", (3.584428340330492, -1.848126526964404), 0, (0, 0)),
        ("rastrigin", (0.5, 1), 0.25 + 20 + 1, (1, 2)),
        ("sharp_and_flat", (2, 0), 0, (0, 0)),
        ("sharp_and_flat", (-2, 0), 0, (0, 0)),
        (
            "sharp_and_flat",
            (0, 0),
            100 * 4 / 104 / 2,
            ((100 * 4**2 - 4 * 100**2) / 104**2 / 2, 0),
        ),
        ("noisy_quadratic", (3, 2), 4.5 + 20, (3, 20)),
        ("reddi_theorem", -1, -1 / 3, 1 / 3),
        ("reddi_online", -1, -10 / 101, 10 / 101),
        ("reddi_stochastic", -1, -0.2, 0.2),
    ],
)
def test_known_values(name, point, value, slope, x64):
    problem = getattr(problems, name)
    point = jnp.asarray(point, float)
    np.testing.assert_allclose(problem.fun(point), value, rtol=1e-12, atol=1e-20)
    np.testing.assert_allclose(jax.grad(problem.fun)(point), slope, atol=1e-6)


@pytest.mark.parametrize(("point", "curvature"), [((-2, 0), 25), ((2, 0), 1)])
def test_sharp_and_flat(point, curvature, x64):
    hessian = jax.hessian(problems.sharp_and_flat.fun)(jnp.asarray(point, float))
    np.testing.assert_allclose(hessian, curvature * np.eye(2), atol=1e-12)


def test_where_rates_end(x64):
    """At rest in the sharp minimum below 2/25, restless above, across from 0.3 on."""
    problem = problems.sharp_and_flat

    def end(rate):
        points = minimize(problem, problem.start, optax.sgd(rate), 1000).params
        return points[-1], jnp.linalg.norm(points[-1] - points[-2])

    (low, high, higher), moves = jax.vmap(end)(jnp.array([0.06, 0.1, 0.3]))
    np.testing.assert_allclose(low, (-2, 0), atol=1e-6)
    assert high[0] < 0
    np.testing.assert_allclose(higher, (2, 0), atol=1e-6)
    assert moves[0] < 1e-9 < 0.1 < moves[1]


def test_saddles_hold_for_long(x64):
    """Near one y grows as (1 + rate)^t; near the other there is hardly a slope."""
    path = minimize(problems.saddle, problems.saddle.start, optax.sgd(0.1), 50)
    t = np.arange(51)
    np.testing.assert_allclose(path.params[:, 0], 1.5 * 0.9**t, rtol=1e-12)
    np.testing.assert_allclose(path.params[:, 1], 0.001 * 1.1**t, rtol=0.01)
    monkey = problems.monkey_saddle
    flat = jax.hessian(monkey.fun)(jnp.zeros(2))
    np.testing.assert_array_equal(flat, np.zeros((2, 2)))
    path = minimize(monkey, monkey.start, optax.sgd(0.01), 1000)
    np.testing.assert_allclose(path.params[-1], monkey.minimum, atol=1e-9)


def test_on_the_ridge_nothing_leaves(x64):
    path = minimize(problems.saddle, np.array([1.5, 0.0]), optax.sgd(0.1), 1000)
    np.testing.assert_allclose(path.params[-1], 0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.05, 0.15])
def test_noise_of_the_quadratic(rate, x64):
    """SGD ends as an autoregression, of a variance known exactly."""
    problem, keys = problems.noisy_quadratic, jax.random.split(jax.random.key(1), 8)
    run = jax.vmap(
        lambda key: minimize(problem, (0.0, 0.0), optax.sgd(rate), 20_000, key=key)
    )
    x, y = (leaf[:, 1000:] for leaf in run(keys).params)
    for axis, h in ((x, 1), (y, 10)):
        variance = rate / (h * (2 - rate * h))
        assert axis.var() == pytest.approx(variance, rel=0.05)


def test_noise_is_none_on_average(x64):
    keys = jax.random.split(jax.random.key(0), 40_000)
    point = jnp.array([1.0, -2.0])
    for name in ("noisy_quadratic", "reddi_stochastic"):
        problem = getattr(problems, name)
        x = point if name == "noisy_quadratic" else point[0]
        seen = jax.vmap(lambda key, p=problem, x=x: p.sample(x, 0, key))(keys)
        sigma = np.std(seen) / 200
        assert abs(seen.mean() - problem.fun(x)) < 4 * sigma


def over_root(rate):
    return lambda count: rate / jnp.sqrt(count + 1.0)


def run_reddi(problem, tx, steps, **options):
    return minimize(problem, problem.start, tx, steps, **options)


def regret(path, problem, steps):
    """Per step, against staying at -1."""
    best = jax.vmap(lambda i: problem.sample(-1.0, i, None))(jnp.arange(steps))
    return float((path.values[:steps] - best).mean())


def adam(schedule, b1, b2):
    return optax.adam(schedule, b1, b2, eps=1e-30)


class TestReddi:
    # `b2` and the rate of theorem 1; the numbers are from an independent program.
    B2 = 1 / (1 + 3**2)
    RATE = 0.9 * np.sqrt(1 - B2)

    def test_theorem_adam(self, x64):
        problem = problems.reddi_theorem
        path = run_reddi(problem, adam(over_root(self.RATE), 0, self.B2), 100_000)
        assert float(path.params[1000]) == pytest.approx(0.9717, abs=6e-5)
        assert float(path.params[-1]) == pytest.approx(0.9972, abs=6e-5)
        assert regret(path, problem, 100_000) == pytest.approx(0.6691, abs=6e-5)

    def test_theorem_amsgrad(self, x64):
        problem = problems.reddi_theorem
        tx = oxe.amsgrad(over_root(self.RATE), 0, self.B2, 0)
        path = run_reddi(problem, tx, 100_000)
        assert float(path.params[100]) == pytest.approx(-1, abs=6e-5)
        assert regret(path, problem, 100_000) == pytest.approx(0.0033, abs=6e-5)

    @pytest.mark.parametrize(
        ("make", "end", "tolerance"),
        [
            (lambda r: adam(r, 0.9, 0.99), 0.9928, 6e-5),
            (lambda r: oxe.amsgrad(r, 0.9, 0.99, 0), -0.9984, 6e-5),
            (
                lambda r: oxe.amsgrad(r, 0.9, 0.99, 0, bias_correction=False),
                -0.9842,
                6e-5,
            ),
            (lambda r: optax.amsgrad(r, 0.9, 0.99), -0.9436, 6e-5),
            (lambda r: optax.radam(r, 0.9, 0.99), 0.9928, 6e-4),
        ],
        ids=["adam", "amsgrad", "paper", "optax", "radam"],
    )
    def test_online(self, x64, make, end, tolerance):
        path = run_reddi(problems.reddi_online, make(over_root(0.5)), 100_000)
        assert float(path.params[-1]) == pytest.approx(end, abs=tolerance)

    def test_online_regret(self, x64):
        problem = problems.reddi_online
        for tx, expected in (
            (adam(over_root(0.5), 0.9, 0.99), 0.31),
            (oxe.amsgrad(over_root(0.5), 0.9, 0.99, 0), 0.114),
        ):
            path = run_reddi(problem, tx, 100_000)
            assert regret(path, problem, 100_000) == pytest.approx(expected, abs=0.005)

    def test_never_outside(self):
        for problem in (problems.reddi_theorem, problems.reddi_online):
            path = run_reddi(problem, optax.sgd(1.0), 50)
            assert np.abs(path.params).max() == 1

    @pytest.mark.full
    def test_stochastic(self, x64):
        """On average over seeds and the last million of 3e6 steps.

        AMSGrad is slow and noisy here: single seeds are still on their way to -1.
        """
        problem = problems.reddi_stochastic
        keys = jax.random.split(jax.random.key(0), 4)

        def end(make):
            tx = make(over_root(1.0), 0.9, 0.99)

            def late(key):
                return run_reddi(problem, tx, 3_000_000, key=key).params[2_000_000:]

            return float(jax.jit(jax.vmap(late))(keys).mean())

        assert end(optax.adam) > 0.9
        assert end(oxe.amsgrad) < -0.7


class TestWilson:
    """The lemma and the closed form, on 12 positive and 8 negative labels."""

    DATA = problems.wilson()

    def end(self, tx, steps=20_000):
        return np.asarray(
            minimize(self.DATA.problem, self.DATA.problem.start, tx, steps).params[-1]
        )

    def error(self, w):
        return np.mean(np.sign(self.DATA.x_test @ w) != self.DATA.y_test)

    def test_data(self):
        data = self.DATA
        assert (data.y == 1).sum() == 12
        assert (data.y == -1).sum() == 8
        assert data.y_test.sum() == 0
        assert data.x.shape == data.x_test.shape == (20, 3 + 5 * 40)
        points, labels = np.r_[data.x, data.x_test], np.r_[data.y, data.y_test]
        np.testing.assert_array_equal(points[:, 0], labels)
        np.testing.assert_array_equal(points[:, 1:3], 1)
        np.testing.assert_array_equal(points[:, 3:].sum(1), np.where(labels > 0, 1, 5))
        assert (points[:, 3:].sum(0) <= 1).all(), "private"
        # Of the lemma: X sign(X'y) is a multiple of y.
        np.testing.assert_array_equal(data.x @ np.sign(data.x.T @ data.y), 4 * data.y)

    def test_least_norm(self):
        a = np.where(self.DATA.y > 0, 0.0378710338, -0.0501535312)
        w = self.DATA.problem.minimum
        np.testing.assert_allclose(w, self.DATA.x.T @ a, atol=1e-9)
        scores = self.DATA.x_test @ w
        expected = np.where(self.DATA.y_test > 0, 0.96213, -0.74923)
        np.testing.assert_allclose(scores, expected, atol=6e-6)

    @pytest.mark.parametrize("momentum", [None, 0.9])
    def test_gradient_descent_generalises(self, momentum, x64):
        largest = np.linalg.eigvalsh(self.DATA.x @ self.DATA.x.T / 20)[-1]
        w = self.end(optax.sgd(1 / largest, momentum))
        np.testing.assert_allclose(w, self.DATA.problem.minimum, atol=1e-12)
        assert self.error(w) == 0

    @pytest.mark.parametrize(
        "tx",
        [
            oxe.adagrad(0.1),
            optax.adam(optax.exponential_decay(0.1, 1000, 0.5, staircase=True)),
            oxe.amsgrad(optax.exponential_decay(0.1, 1000, 0.5, staircase=True)),
        ],
        ids=["adagrad", "adam", "amsgrad"],
    )
    def test_adaptive_rules_call_everything_positive(self, tx, x64):
        w = self.end(tx)
        expected = np.sign(self.DATA.x.T @ self.DATA.y) / 4
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-6)
        assert (self.DATA.x_test @ w > 0).all()
        assert self.error(w) == 0.5

    def test_seed(self):
        again, other = problems.wilson(), problems.wilson(seed=1)
        np.testing.assert_array_equal(again.y, self.DATA.y)
        assert (other.y != self.DATA.y).any()
        assert problems.wilson(n_test=6).x_test.shape == (6, 3 + 5 * 26)

    @pytest.mark.parametrize(
        ("arguments", "kind", "message"),
        [
            ({"n": 1}, ValueError, "`n` must be an integer of at least 2, got 1"),
            ({"n": 2.0}, TypeError, "`n` must be an integer"),
            ({"p": 0.5}, ValueError, r"`p` must be in \(0.5, 1\), got 0.5"),
            ({"n_test": 0}, ValueError, "`n_test` must be an integer of at least 2"),
            ({"seed": -1}, ValueError, "`seed` must be an integer of at least 0"),
            ({"n": 2, "p": 0.99}, ValueError, "`seed` must draw more labels 1"),
        ],
    )
    def test_bad(self, arguments, kind, message):
        with pytest.raises(kind, match=f"^wilson: {message}"):
            problems.wilson(**arguments)


def test_by_name():
    for name, problem in PROBLEMS.items():
        assert problems.by_name(name) is problem
    np.testing.assert_array_equal(problems.by_name("wilson").start, np.zeros(203))


@pytest.mark.parametrize("name", ["rosenbrok", "Rosenbrock", "rosen"])
def test_near_names_are_offered(name):
    with pytest.raises(ValueError, match=rf"^by_name: `name` .*'rosenbrock'.*{name}"):
        problems.by_name(name)


@pytest.mark.parametrize("name", ["Problem", "by_name", "xyzzy", 3])
def test_no_such_problem(name):
    with pytest.raises(ValueError, match=r"be the name of a problem, such as '"):
        problems.by_name(name)


@pytest.mark.parametrize("name", ["noisy_quadratic", "reddi_stochastic"])
def test_a_stochastic_problem_wants_a_key(name):
    problem = getattr(problems, name)
    message = "^minimize: `key` must be given where the problem is stochastic, got None"
    with pytest.raises(ValueError, match=message):
        minimize(problem, problem.start, optax.sgd(0.1), 3)


def test_a_key_is_no_harm_to_a_problem_without_noise():
    ditch, tx = problems.ditch, optax.sgd(0.1)
    for problem in (ditch, problems.reddi_online):
        keyed = minimize(problem, problem.start, tx, 3, key=jax.random.key(0))
        plain = minimize(problem, problem.start, tx, 3)
        np.testing.assert_array_equal(keyed.params, plain.params)


def test_a_problem_compiles_once():
    traces = []

    def sample(x, i, key):
        traces.append(x)
        return (x - i) ** 2

    problem = problems.reddi_online._replace(sample=sample)
    tx = optax.sgd(0.1)
    path = minimize(problem, 0.0, tx, 4)
    np.testing.assert_allclose(path.params, [0, 0, 0.2, 0.56, 1])
    first = len(traces)
    minimize(problem, 0.5, tx, 4)
    assert len(traces) == first


def test_what_cannot_be_drawn_is_refused():
    problem = problems.reddi_online
    path = minimize(problem, 0.0, optax.sgd(0.1), 3)
    with pytest.raises(ValueError, match=r"^plot_path: `problem` must be one of two"):
        plot_path(problem, path)


@pytest.mark.parametrize(
    ("field", "value", "kind", "must"),
    [
        ("fun", None, TypeError, "be callable, got None"),
        ("fun", "ditch", TypeError, "be callable, got 'ditch'"),
        ("sample", 3, TypeError, "be callable, got 3"),
        ("project", 3, TypeError, "be callable, got 3"),
        ("start", None, TypeError, "hold real numbers, got None"),
        ("start", "here", TypeError, "hold real numbers, got 'here'"),
        ("minimum", {"x": 1j}, TypeError, "hold real numbers, got 1j"),
        ("stochastic", 1, TypeError, "be True or False, got 1"),
        ("bounds", 3, ValueError, "be pairs of finite numbers .*, got 3"),
        ("bounds", ((0, 1), "ab"), TypeError, "hold real numbers"),
        ("bounds", ((0, 1, 2),), ValueError, "be pairs of finite numbers"),
        ("bounds", ((0, 1), (2, 2)), ValueError, "be pairs of finite numbers"),
        ("bounds", ((0, 1), (0, np.inf)), ValueError, "be pairs of finite numbers"),
        ("bounds", ((0, 1), (np.nan, 1)), ValueError, "be pairs of finite numbers"),
    ],
)
def test_bad_fields(field, value, kind, must):
    problem = problems.ditch._replace(**{field: value})
    with pytest.raises(kind, match=rf"^minimize: `fun.{field}` must {must}"):
        minimize(problem, problems.ditch.start, optax.sgd(0.1), 3)


def test_fields_of_jax_arrays():
    """Outside of a trace and inside, where a start may be traced."""

    def end(start):
        problem = problems.ditch._replace(
            start=start, minimum=jnp.zeros(2), bounds=jnp.array([[-9, 9], [-9, 9]])
        )
        return minimize(problem, start, optax.sgd(0.1), 3).values[-1]

    start = jnp.asarray(problems.ditch.start)
    np.testing.assert_allclose(jax.jit(end)(start), end(start), rtol=1e-6)
