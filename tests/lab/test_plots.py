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
from optax_extras.lab import Trajectory, plot_path, plot_rate, plot_schedule
from optax_extras.lab._matplotlib_style import line_style
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


def path_of(x, y, **fields):
    """A result of `minimize`, without values, which are not drawn."""
    params, counts = np.stack([x, y], 1), np.arange(len(x), dtype=np.int32)
    rest = {"values": None, "rates": None, "counts": counts}
    return Trajectory(params, **{**rest, **fields})


T = np.arange(31)
PATHS = {
    "SGD": path_of(-7 * 0.905**T, 2 * (-0.9) ** T),
    "slow": path_of(-7 * 0.95**T, 2 * 0.5**T),
}


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_schedule(ax):
    assert plot_schedule(lambda count: count**2, 5, ax=ax) is ax
    (line,) = ax.lines
    assert line.get_xydata().tolist() == [[0, 0], [1, 1], [2, 4], [3, 9], [4, 16]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "value")
    assert ax.get_legend() is None


def test_numbers_and_schedules_of_optax(ax):
    """Optax's constant schedule returns a Python number for every count."""
    curves = {
        "a": optax.constant_schedule(0.5),
        "b": optax.linear_schedule(1, 0, 2),
        "c": 1,
        "d": np.float32(0.25),
    }
    plot_schedule(curves, 3, ax=ax)
    drawn = [x.get_ydata().tolist() for x in ax.lines]
    assert drawn == [[0.5] * 3, [1, 0.5, 0], [1] * 3, [0.25] * 3]


def test_labels(ax):
    plot_schedule({"one": 1.0, "two": 2.0}, 3, ax=ax)
    plot_schedule(3.0, 3, ax=ax, label="three")
    assert texts(ax.get_legend()) == ["one", "two", "three"]
    assert len({line.get_linestyle() for line in ax.lines}) == 3
    assert len({line.get_color() for line in ax.lines}) == 3


def test_rate_of_a_path(ax):
    rates, counts = np.array([0.5, 0.4, 0.3]), np.array([0, 7, 14, 16])
    path = path_of(*np.zeros((2, 4)), rates=rates, counts=counts)
    assert plot_rate(path, ax=ax) is ax
    steps, values = ax.lines[0].get_data()
    assert steps.tolist() == [6, 13, 15]
    np.testing.assert_array_equal(values, rates)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")


def test_rates_of_a_run_of_your_own(ax):
    plot_rate({"mine": [0.1, 0.2, 0.3], "jax": jnp.full(4, 0.25)}, ax=ax)
    assert ax.get_yscale() == "linear"
    plot_rate(np.array([1e-3, 1e-4]), ax=ax, label="low")
    assert ax.get_yscale() == "log"
    assert texts(ax.get_legend()) == ["mine", "jax", "low"]
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 2]


def test_bad_rates(ax):
    for rates, kind, message in (
        (PATHS["SGD"], ValueError, "have rates, from an optimizer whose"),
        (np.ones((2, 3)), ValueError, r"be of shape \(n,\), got \(2, 3\)"),
        ({}, ValueError, "hold a learning rate, "),
        ([[0.1], [0.1, 0.2]], TypeError, "hold real nu"),
        ([0.1, None], TypeError, "hold real nu"),
        (["a"], TypeError, "hold real nu"),
        ({"mine": np.ones(2) * 1j}, TypeError, "hold real nu"),
    ):
        with pytest.raises(kind, match=f"^plot_rate: `rates` must {message}"):
            plot_rate(rates, ax=ax)
    with pytest.raises(TypeError, match=r"^plot_rate: `rates` must be concrete, no"):
        jax.jit(lambda x: plot_rate([x, 0.1], ax=ax))(0.1)
    assert not ax.lines


def test_path(ax):
    assert plot_path(ditch, PATHS["SGD"], ax=ax) is ax
    line, end = ax.lines
    np.testing.assert_array_equal(line.get_xydata(), PATHS["SGD"].params)
    np.testing.assert_array_equal(end.get_xydata(), PATHS["SGD"].params[-1:])
    start, minimum = (c.get_offsets().tolist() for c in ax.collections[1:])
    assert (start, minimum) == ([[-7, 2]], [[0, 0]])
    assert (ax.get_xlim(), ax.get_ylim()) == ditch.bounds
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    assert ax.get_legend() is None


def test_contours_are_those_of_the_function(ax):
    plot_path(ditch, PATHS["SGD"], ax=ax)
    contours = ax.collections[0]
    rings = zip(contours.levels, contours.get_paths(), strict=True)
    drawn = 0
    for level, ring in rings:
        if len(ring.vertices):
            x, y = ring.vertices.T
            # Between grid points y² is up to 0.1² / 4 lower than its interpolation.
            np.testing.assert_allclose(x**2 / 20 + y**2, level, rtol=0, atol=0.003)
            drawn += 1
    assert drawn >= 15


def test_several_paths(ax):
    plot_path(ditch, PATHS, ax=ax)
    assert texts(ax.get_legend()) == ["SGD", "slow", "start", "minimum"]
    lines = ax.lines[::2]
    for line, path in zip(lines, PATHS.values(), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), path.params)
    for name in ("linestyle", "marker", "color"):
        assert len({getattr(line, f"get_{name}")() for line in lines}) == 2
    assert [line.get_color() for line in lines] == [
        line_style(i)["color"] for i in (0, 1)
    ]


def test_paths_one_by_one(ax):
    for name, path in PATHS.items():
        plot_path(ditch, path, ax=ax, label=name)
    assert sorted(texts(ax.get_legend())) == ["SGD", "minimum", "slow", "start"]
    assert ax.lines[0].get_marker() != ax.lines[2].get_marker()


def test_legend_covers_no_data(ax):
    plot_path(ditch, PATHS, ax=ax)
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1


def test_function_that_is_not_finite_everywhere(ax):
    def fun(point):
        x, y = point
        return x - jnp.log(x) + y**2

    problem = Problem(fun, np.array([2.0, 1.0]), np.array([1.0, 0.0]), ditch.bounds)
    plot_path(problem, path_of([2.0, 1.5], [1.0, 0.5]), ax=ax)
    drawn = [ring for ring in ax.collections[0].get_paths() if len(ring.vertices)]
    assert len(drawn) >= 15


def test_figures_of_pyplot(ax):
    """One for each call without axes, none for the others."""
    plot_schedule(1.0, 3, ax=ax)
    plot_path(ditch, PATHS, ax=ax)
    assert not pyplot.get_fignums()
    one, two = plot_schedule(1.0, 3), plot_path(ditch, PATHS)
    assert isinstance(one, matplotlib.axes.Axes)
    assert one.figure is not two.figure
    assert len(pyplot.get_fignums()) == 2


@pytest.mark.ci
def test_pyplot_is_imported_for_a_figure_of_its_own_only():
    code = """
import sys
import optax_extras.lab as lab
assert "matplotlib" not in sys.modules
from matplotlib.figure import Figure
lab.plot_schedule(0.1, 3, ax=Figure().subplots())
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=oxe.__path__[0] + "/.."
    )


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)  # an import of it fails
    right = r"^lab: drawing needs matplotlib: `pip install matplotlib`.$"
    with pytest.raises(ImportError, match=right):
        plot_schedule(0.1, 3)


def test_bad_schedules(ax):
    for arguments, kind, message in (
        (("cosine", 3), TypeError, "`schedule` must be a number or a schedule"),
        (({"a": "cosine"}, 3), TypeError, "`schedule` must be a number or a sch.*'cos"),
        (({}, 3), ValueError, "`schedule` must hold a schedule, got {}"),
        ((0.1, 0), ValueError, "`steps` must be an integer of at least 1, got 0"),
    ):
        with pytest.raises(kind, match=f"^plot_schedule: {message}"):
            plot_schedule(*arguments, ax=ax)
    with pytest.raises(TypeError, match=r"^plot_schedule: `schedule` must be concrete"):
        jax.jit(lambda x: plot_schedule(x, 3, ax=ax))(0.1)
    with pytest.raises(
        TypeError, match=r"^plot_schedule: `ax` must be matplotlib Axes"
    ):
        plot_schedule(0.1, 3, ax=ax.figure)
    with pytest.raises(TypeError, match=r"^plot_schedule: `label` must be hashable"):
        plot_schedule(0.1, 3, ax=ax, label=[])
    assert not ax.lines


def test_bad_paths(ax):
    line = PATHS["SGD"]._replace(params=np.ones(4))
    for arguments, kind, message in (
        (
            (ditch.fun, PATHS),
            TypeError,
            "`problem` must be an oxe.lab.problems.Problem",
        ),
        (
            (ditch._replace(fun=None), PATHS),
            TypeError,
            "`problem.fun` must be callable, got None",
        ),
        (
            (ditch._replace(bounds=None), PATHS),
            ValueError,
            "`problem` must have bounds of two coordinates",
        ),
        ((ditch, 3), TypeError, "`path` must be what `minimize` returned, got 3"),
        ((ditch, {}), ValueError, "`path` must hold a path, got {}"),
        ((ditch, line), ValueError, r"`path` must have params of shape .* got \(4,\)"),
        (
            (ditch, line._replace(params=np.ones((4, 3)))),
            ValueError,
            r"`path` must have params of shape .* got \(4, 3\)",
        ),
    ):
        with pytest.raises(kind, match=f"^plot_path: {message}"):
            plot_path(*arguments, ax=ax)
    assert not ax.lines


def test_label_with_a_dict(ax):
    message = "`label` must be left out where a dict has labels, got 'b'"
    with pytest.raises(ValueError, match=message):
        plot_schedule({"a": 1.0}, 3, ax=ax, label="b")
    with pytest.raises(ValueError, match=message):
        plot_path(ditch, PATHS, ax=ax, label="b")
