import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import optax_extras as oxe
from optax_extras.lab import minimize, plot_path, plot_rate, plot_schedule
from optax_extras.lab.problems import Problem, ditch

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def pyplot_alone():
    """No test leaves a figure of pyplot open."""
    assert not pyplot.get_fignums()
    yield
    pyplot.close("all")


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture(scope="module")
def paths():
    txs = {"SGD": optax.sgd(0.95), "Momentum": oxe.heavy_ball(0.1, 0.9)}
    return {k: minimize(ditch.fun, ditch.start, tx, 30) for k, tx in txs.items()}


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_schedule(ax):
    schedule = oxe.schedules.cyclic(0.1, 1.0, 7)
    assert plot_schedule(schedule, 50, ax=ax) is ax
    (line,) = ax.lines
    x, y = line.get_data()
    assert x.tolist() == list(range(50))
    np.testing.assert_array_equal(y, schedule(np.arange(50)))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "value")
    assert ax.get_legend() is None


@pytest.mark.parametrize("constant", [0.25, 1, np.float32(0.5)])
def test_number(ax, constant):
    plot_schedule(constant, 3, ax=ax)
    assert ax.lines[0].get_ydata().tolist() == [constant] * 3


def test_schedules_of_optax(ax):
    """One returns a Python number whatever the count; one wants a scalar count."""
    plot_schedule(
        {"a": optax.constant_schedule(0.5), "b": optax.linear_schedule(1, 0, 2)},
        3,
        ax=ax,
    )
    assert [x.get_ydata().tolist() for x in ax.lines] == [[0.5] * 3, [1, 0.5, 0]]


def test_labels(ax):
    plot_schedule({"one": 1.0, "two": 2.0}, 3, ax=ax)
    plot_schedule(3.0, 3, ax=ax, label="three")
    assert texts(ax.get_legend()) == ["one", "two", "three"]
    assert len({line.get_linestyle() for line in ax.lines}) == 3
    assert len({line.get_color() for line in ax.lines}) == 3


def test_rate_of_a_path(ax):
    schedule = oxe.schedules.linear(0.5, 30)
    tx = oxe.scale_by_rate(schedule)
    path = minimize(ditch, ditch.start, tx, 30, record_every=7)
    assert plot_rate(path, ax=ax) is ax
    steps, values = ax.lines[0].get_data()
    assert steps.tolist() == [6, 13, 20, 27, 29]
    np.testing.assert_allclose(values, schedule(steps), rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "rate applied")


def test_rates_of_a_run_of_your_own(ax):
    plot_rate({"mine": [0.1, 0.2, 0.3], "jax": jnp.full(4, 0.25)}, ax=ax)
    assert ax.get_yscale() == "linear"
    plot_rate(np.array([1e-3, 1e-4]), ax=ax, label="low")
    assert ax.get_yscale() == "log"
    assert texts(ax.get_legend()) == ["mine", "jax", "low"]
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2]


def test_bad_rates(ax, paths):
    for rates, message in (
        (paths["SGD"], "`rates` must have rates, those of an optimizer whose"),
        (np.ones((2, 3)), r"`rates` must be of shape \(n,\), got \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"^plot_rate: {message}"):
            plot_rate(rates, ax=ax)
    assert not ax.lines


def test_no_rates(ax):
    """Beside what the axes hold, too."""
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^plot_rate: `rates` must hold a rate, "):
            plot_rate({}, ax=ax)
        plot_rate([0.1], ax=ax)


def test_rates_that_are_no_numbers(ax):
    for rates in ([[0.1], [0.1, 0.2]], [0.1, None], ["a"], {"mine": np.ones(2) * 1j}):
        with pytest.raises(TypeError, match=r"^plot_rate: `rates` must hold real nu"):
            plot_rate(rates, ax=ax)
    with pytest.raises(TypeError, match=r"^plot_rate: `rates` must be known, as a s"):
        jax.jit(lambda x: plot_rate([x, 0.1], ax=ax))(0.1)
    assert not ax.lines


def test_path(ax, paths):
    assert plot_path(ditch, paths["SGD"], ax=ax) is ax
    line, end = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), paths["SGD"].params)
    np.testing.assert_array_equal(end.get_xydata(), paths["SGD"].params[-1:])
    start, minimum = (c.get_offsets().tolist() for c in ax.collections[1:])
    assert (start, minimum) == ([[-7, 2]], [[0, 0]])
    assert (ax.get_xlim(), ax.get_ylim()) == ditch.bounds
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    assert ax.get_legend() is None


def test_contours_are_those_of_the_function(ax, paths):
    plot_path(ditch, paths["SGD"], ax=ax)
    contours = ax.collections[0]
    rings = zip(contours.levels, contours.get_paths(), strict=True)
    drawn = 0
    for level, ring in rings:
        if len(ring.vertices):
            x, y = ring.vertices.T
            # Between the points of the grid y² is up to 0.1² / 4 lower than it seems.
            np.testing.assert_allclose(x**2 / 20 + y**2, level, rtol=0, atol=0.003)
            drawn += 1
    assert drawn >= 15


def test_several_paths(ax, paths):
    plot_path(ditch, paths, ax=ax)
    assert texts(ax.get_legend()) == ["SGD", "Momentum", "start", "minimum"]
    lines = ax.lines[::2]
    for line, path in zip(lines, paths.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), path.params)
    for look in ("linestyle", "marker", "color"):
        assert len({getattr(line, f"get_{look}")() for line in lines}) == 2


def test_paths_one_by_one(ax, paths):
    for name, path in paths.items():
        plot_path(ditch, path, ax=ax, label=name)
    assert sorted(texts(ax.get_legend())) == ["Momentum", "SGD", "minimum", "start"]
    assert ax.lines[0].get_marker() != ax.lines[2].get_marker()


def test_legend_covers_no_data(ax, paths):
    for draw in (
        lambda: plot_path(ditch, paths, ax=ax),
        lambda: plot_schedule({"a": 1.0}, 3, ax=ax),
    ):
        draw()
        ax.figure.canvas.draw()
        assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1


def test_function_that_is_not_finite_everywhere(ax):
    def fun(point):
        x, y = point
        return x - jnp.log(x) + y**2

    problem = Problem(fun, np.array([2.0, 1.0]), np.array([1.0, 0.0]), ditch.bounds)
    path = minimize(fun, problem.start, optax.sgd(0.1), 5)
    plot_path(problem, path, ax=ax)
    ax.figure.canvas.draw()


def test_pyplot_is_left_alone(ax, paths):
    plot_schedule(1.0, 3, ax=ax)
    plot_path(ditch, paths, ax=ax)
    assert not pyplot.get_fignums()


def test_own_figure(paths):
    one, two = plot_schedule(1.0, 3), plot_path(ditch, paths)
    assert isinstance(one, matplotlib.axes.Axes)
    assert one.figure is not two.figure
    assert len(pyplot.get_fignums()) == 2


def test_matplotlib_is_imported_by_drawing_only():
    code = """
import sys
from matplotlib.figure import Figure
import optax_extras.lab as lab
lab.plot_schedule(0.1, 3, ax=Figure().subplots())
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=oxe.__path__[0] + "/.."
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("cosine", 3), TypeError, "`schedule` must be a number or a schedule"),
        (({"a": "cosine"}, 3), TypeError, "`schedule` must be a number or a sch.*'cos"),
        (({}, 3), ValueError, "`schedule` must hold a schedule, got {}"),
        ((0.1, 0), ValueError, "`steps` must be an integer of at least 1, got 0"),
        ((0.1, 1.5), TypeError, "`steps` must be an integer of at least 1, got 1.5"),
    ],
)
def test_bad_schedule(ax, arguments, kind, message):
    with pytest.raises(kind, match=f"^plot_schedule: {message}"):
        plot_schedule(*arguments, ax=ax)
    assert not ax.lines


def test_bad_path(ax, paths):
    line = minimize(lambda x: x**2, 1.0, optax.sgd(0.1), 3)
    for arguments, kind, message in (
        (
            (ditch.fun, paths),
            TypeError,
            "`problem` must be an oxe.lab.problems.Problem",
        ),
        (
            (ditch._replace(fun=None), paths),
            TypeError,
            "`problem.fun` must be callable, got None",
        ),
        ((ditch, 3), TypeError, "`path` must be what `minimize` returned, got 3"),
        ((ditch, {}), ValueError, "`path` must hold a path, got {}"),
        ((ditch, line), ValueError, r"`path` must have params of shape .* got \(4,\)"),
    ):
        with pytest.raises(kind, match=f"^plot_path: {message}"):
            plot_path(*arguments, ax=ax)
    assert not ax.lines


def test_label_with_a_dict(ax, paths):
    message = "`label` must be left out where a dict brings labels, got 'b'"
    with pytest.raises(ValueError, match=message):
        plot_schedule({"a": 1.0}, 3, ax=ax, label="b")
    with pytest.raises(ValueError, match=message):
        plot_path(ditch, paths, ax=ax, label="b")
