"""Plots of schedules, learning rates and paths."""

from collections.abc import Hashable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._check_values import number_or_schedule, untraced
from optax_extras._checks import Size, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras.lab._checks_of_data import real_array
from optax_extras.lab._matplotlib_style import axes, line_style, with_legend
from optax_extras.lab._minimize import Trajectory
from optax_extras.lab._problem import Problem, check_problem

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GRID = 201
_MARKERS = ("o", "s", "^", "D", "v")


@checked
def plot_schedule(
    schedule: ArrayLike | optax.Schedule | Mapping[str, ArrayLike | optax.Schedule],
    steps: Size,
    *,
    ax: "Axes | None" = None,
    label: str | None = None,
) -> "Axes":
    """Plots the values of a schedule over the steps of a run.

    To plot the learning rates of a run that was made, use :func:`plot_rate`. Nothing is
    shown or saved.

    Args:
      schedule: A schedule, a number (a constant), or a dict of either by label.
      steps: The steps 0 to ``steps - 1`` are drawn.
      ax: The axes to add to. None opens a figure of pyplot.
      label: The name of the line in the legend, right of the axes; not with a dict.

    Examples:
      >>> import optax_extras as oxe
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().subplots()
      >>> ax = oxe.lab.plot_schedule(oxe.schedules.cosine(0.1, 100), 120, ax=ax)
      >>> ax.get_xlabel(), len(ax.lines)
      ('step', 1)
    """
    by_label = _by_label("schedule", "hold a schedule", schedule, label)
    curves = {name: _values_of(x, steps) for name, x in by_label.items()}
    ax = axes(ax)
    for name, values in curves.items():
        ax.plot(np.arange(steps), values, label=name, **line_style(len(ax.lines)))
    ax.set(xlabel="step", ylabel="value")
    return with_legend(ax, list(curves))


@checked
def plot_rate(
    rates: Trajectory | ArrayLike | Mapping[str, Trajectory | ArrayLike],
    *,
    ax: "Axes | None" = None,
    label: str | None = None,
) -> "Axes":
    """Plots the learning rate that was applied at each update of a run.

    The axis is logarithmic if the learning rates are above 0 and span more than a
    factor of 10. Nothing is shown or saved.

    Args:
      rates: The result of `minimize`; or, for your own run, what `oxe.learning_rate`
        read after each update, shape (n,); or a dict of either by label.
      ax: The axes to add to. None opens a figure of pyplot.
      label: The name of the line in the legend, right of the axes; not with a dict.

    Examples:
      >>> import optax_extras as oxe
      >>> from matplotlib.figure import Figure
      >>> ditch = oxe.lab.problems.ditch
      >>> tx = oxe.adagrad(oxe.plateau(1.5, patience=3))
      >>> path = oxe.lab.minimize(ditch, ditch.start, tx, 30)
      >>> ax = oxe.lab.plot_rate(path, ax=Figure().subplots())
      >>> ax.get_ylabel()
      'learning rate'
    """
    by_label = _by_label("rates", "hold a learning rate", rates, label)
    curves = {name: _applied(x) for name, x in by_label.items()}
    ax = axes(ax)
    for name, (steps, values) in curves.items():
        ax.plot(steps, values, label=name, **line_style(len(ax.lines)))
    drawn = np.concatenate([np.asarray(line.get_ydata()) for line in ax.lines])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size and 0 < 10 * drawn.min() < drawn.max():
        ax.set_yscale("log")
    ax.set(xlabel="step", ylabel="learning rate")
    return with_legend(ax, list(curves))


@checked
def plot_path(
    problem: Problem,
    path: Trajectory | Mapping[str, Trajectory],
    *,
    ax: "Axes | None" = None,
    label: str | None = None,
) -> "Axes":
    """Plots paths of optimizers over the contours of a function.

    Each point has a small marker, the last one a large marker. A cross marks the
    minimum, an empty circle each start. Contours are closer where the function is
    small: the areas that they enclose grow as squares, so the contours of a bowl are
    equally far apart. Nothing is shown or saved.

    Args:
      problem: The function, its minimum, and the bounds of the plot, which cut off a
        path that leaves them.
      path: The result of `minimize`, with `params` of shape (steps + 1, 2); or a dict
        of such paths by label.
      ax: The axes to add to. None opens a figure of pyplot.
      label: The name of the path in the legend, right of the axes; not with a dict.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> from matplotlib.figure import Figure
      >>> ditch = oxe.lab.problems.ditch
      >>> path = oxe.lab.minimize(ditch.fun, ditch.start, optax.sgd(0.95), 30)
      >>> ax = oxe.lab.plot_path(ditch, {"SGD": path}, ax=Figure().subplots())
      >>> ax.get_xlabel(), ax.get_ylabel()
      ('x', 'y')
    """
    check_problem("problem", problem)
    if problem.bounds is None or len(problem.bounds) != 2:
        refuse("problem", "have bounds of two coordinates", problem)
    by_label = _by_label("path", "hold a path", path, label)
    tracks = {name: _points_of(x) for name, x in by_label.items()}
    ax = axes(ax)
    _draw_contours(ax, problem)
    for name, points in tracks.items():
        i = len(ax.lines) // 2  # each path is two lines on the axes: itself and its end
        style = {"marker": _MARKERS[i % len(_MARKERS)], **line_style(i)}
        ax.plot(*points.T, lw=1, ms=3, label=name, **style)
        style["ls"] = ""
        ax.plot(*points[-1:].T, ms=9, mec="white", zorder=3, **style)
    mark = partial(ax.scatter, s=90, zorder=4)
    for points in tracks.values():
        mark(*points[0], label="start", marker="o", facecolor="none", edgecolor="black")
    mark(*np.asarray(problem.minimum), label="minimum", marker="x", color="black")
    ax.set(xlabel="x", ylabel="y", xlim=problem.bounds[0], ylim=problem.bounds[1])
    return with_legend(ax, list(tracks))


def _by_label(
    argument: str, must: str, x: Any, label: str | None
) -> Mapping[str | None, Any]:
    """What to draw, by label; an object that is not in a dict by `label`."""
    if not isinstance(label, Hashable):
        refuse_kind("label", "be hashable, as a str is", label)
    if not isinstance(x, Mapping):
        return {label: x}
    if not x:
        refuse(argument, must, x)
    if label is not None:
        refuse("label", "be left out where a dict has labels", label)
    return x


def _values_of(schedule: Any, steps: int) -> np.ndarray:
    untraced("schedule", number_or_schedule("schedule", schedule))
    if not callable(schedule):
        return np.full(steps, float(schedule))
    values = jax.vmap(schedule)(jnp.arange(steps, dtype=np.int32))
    return np.asarray(values, np.float64)


def _applied(x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Steps, counted from 0 as schedules count, and the learning rates there."""
    if isinstance(x, Trajectory):
        if x.rates is None:
            must = "have rates, from an optimizer whose state holds a learning rate"
            refuse("rates", must, None)
        return np.asarray(x.counts)[1:] - 1, np.asarray(x.rates, np.float64)
    rates = untraced("rates", real_array("rates", x))
    if rates.ndim != 1:
        refuse("rates", "be of shape (n,)", rates.shape)
    return np.arange(rates.size), np.asarray(rates, np.float64)


def _points_of(path: Any) -> np.ndarray:
    if not isinstance(path, Trajectory):
        refuse_kind("path", "be what `minimize` returned", path)
    shape = np.shape(path.params)
    if len(shape) != 2 or shape[1] != 2:
        refuse("path", "have params of shape (steps + 1, 2)", shape)
    return np.asarray(path.params, np.float64)


def _draw_contours(ax: "Axes", problem: Problem) -> None:
    x, y = (np.linspace(*bounds, _GRID) for bounds in problem.bounds or ())
    points = jnp.stack(jnp.meshgrid(x, y), axis=-1)
    heights = np.asarray(jax.vmap(jax.vmap(problem.fun))(points), np.float64)
    fractions = np.linspace(0, 1, 21)[1:-1] ** 2  # of the plot, below each contour
    levels = np.unique(np.quantile(heights[np.isfinite(heights)], fractions))
    heights = np.ma.masked_invalid(heights)
    ax.contour(x, y, heights, levels, colors="0.8", linewidths=0.8, zorder=0)
