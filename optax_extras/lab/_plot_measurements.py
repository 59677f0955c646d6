"""Plots of measurements: range tests, races, and animations of races."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from optax_extras._checks import Size, SizeOfAtLeastTwo, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras.lab._matplotlib_style import (
    axes,
    drawing,
    line_style,
    new_figure,
    with_legend,
)
from optax_extras.lab._plot_curves import plot_path
from optax_extras.lab._race import Comparison, check_race
from optax_extras.lab._range_test import RangeTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SUGGESTIONS = {"valley": "o", "steep": "^", "minimum": "s", "slide": "D"}


@checked
def plot_range_test(
    test: RangeTest | Mapping[str, RangeTest], *, ax: "Axes | None" = None
) -> "Axes":
    """Plots the losses of a range test over the learning rates, with suggestions.

    The smoothed curve is a line, the losses of each seed are gray points. Values far
    above nearly all of the curve, such as its end, are cut off. The suggestions of a
    ramp are marks on the curve. For a grid, `best` is a vertical line and `range` is
    shaded. Suggestions that are NaN are left out. Nothing is shown or saved.

    Args:
      test: The result of `lr_range_test`, or a dict of several by label, of which only
        the curves and `valley`, or `best` of a grid, are drawn.
      ax: The axes to add to. None opens a figure of pyplot.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> from matplotlib.figure import Figure
      >>> def loss(w, batch):
      ...     return jnp.sum((w - batch) ** 2)
      >>> found = oxe.lab.lr_range_test(loss, jnp.zeros(2), jnp.ones((1, 2)), optax.sgd)
      >>> ax = oxe.lab.plot_range_test(found, ax=Figure().subplots())
      >>> ax.get_xscale()
      'log'
    """
    is_single = not isinstance(test, Mapping)
    tests = {"smoothed": test} if is_single else test
    if not tests:
        refuse("test", "hold a range test", test)
    for one in tests.values():
        if not isinstance(one, RangeTest):
            refuse_kind("test", "be what `lr_range_test` returned", one)
    ax = axes(ax)
    lowest = _draw_seeds(ax, test) if is_single else np.inf
    for i, (name, one) in enumerate(tests.items()):
        style = line_style(i)
        ax.plot(one.rates, one.smoothed, label=name, **style)
        for suggestion in _SUGGESTIONS if is_single else ["valley"]:
            _draw_suggestion(ax, one, suggestion, style["color"])
        _draw_best(ax, one, style["color"], with_range=is_single)
    ax.set(xlabel="learning rate", ylabel="loss")
    _set_scales(ax, list(tests.values()), lowest)
    return with_legend(ax, list(tests))


@checked
def plot_race(race: Comparison, *, ax: "Axes | None" = None) -> "Axes":
    """Plots the value that each optimizer of a race has reached after each update.

    It is the value of `fun`, without noise, minus its value at the minimum. The axis is
    logarithmic unless a value is below 0, and ends at ten times the start. Nothing is
    shown or saved.

    Args:
      race: What `race` returned.
      ax: The axes to add to. None opens a figure of pyplot.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> from matplotlib.figure import Figure
      >>> run = oxe.lab.race("beale", {"Adam": optax.adam(0.1)}, steps=30)
      >>> ax = oxe.lab.plot_race(run, ax=Figure().subplots())
      >>> ax.get_xlabel(), ax.get_yscale()
      ('update', 'log')
    """
    check_race(race)
    ax = axes(ax)
    fun, lowest = race.problem.fun, float(race.problem.fun(race.problem.minimum))
    heights = {
        name: np.asarray(jax.vmap(fun)(path.params), np.float64) - lowest
        for name, path in race.paths.items()
    }
    for i, (name, height) in enumerate(heights.items()):
        ax.plot(race.paths[name].counts, height, label=name, **line_style(i))
    if all(np.nanmin(height) >= 0 for height in heights.values()):
        ax.set_yscale("log")
    top = 10 * next(iter(heights.values()))[0]
    if top > 0 and any(np.any(height > top) for height in heights.values()):
        ax.set_ylim(top=top)
    ax.set(xlabel="update", ylabel="value above the minimum")
    return with_legend(ax, list(heights))


def draw_race(race: Comparison) -> "Figure":
    """Draws the losses of a race; on their left the paths, if they are in a plane."""
    bounds = race.problem.bounds
    flat = bounds is not None and len(bounds) == 2
    figure = new_figure(12 if flat else 7, 4.5)
    panels = figure.subplots(1, 2 if flat else 1, squeeze=False)[0]
    plot_race(race, ax=panels[-1])
    if flat:
        panels[-1].get_legend().remove()  # that of the paths says the same, and more
        plot_path(race.problem, race.paths, ax=panels[0])
    return figure


@checked
def animate_race(
    race: Comparison,
    file: str | os.PathLike,
    *,
    frames: SizeOfAtLeastTwo = 60,
    fps: Size = 12,
) -> "Figure":
    """Writes a race as a GIF: growing paths over contours, and growing loss curves.

    A problem that does not have two coordinates shows only the losses. The last frame
    stays for a second; then the animation starts again.

    Args:
      race: What `race` returned.
      file: The name of the GIF, ending in .gif. An existing file is overwritten.
      frames: The most frames; paths with fewer points have a frame for each point.
      fps: Frames per second.

    Returns:
      The matplotlib `Figure` of the last frame. Nothing is shown.

    Examples:
      >>> import tempfile
      >>> import optax
      >>> import optax_extras as oxe
      >>> run = oxe.lab.race("ditch", {"SGD": optax.sgd(0.95)}, steps=4)
      >>> with tempfile.NamedTemporaryFile(suffix=".gif") as file:
      ...     figure = oxe.lab.animate_race(run, file.name)
      ...     file.read(6)
      b'GIF89a'
    """
    check_race(race)
    if not isinstance(file, str | os.PathLike):
        refuse_kind("file", "be a path", file)
    if Path(os.fsdecode(file)).suffix.lower() != ".gif":
        refuse("file", "end in .gif", file)
    with drawing():
        from matplotlib.animation import PillowWriter
    figure = draw_race(race)
    *landscape, losses = figure.axes
    tracks = [line for ax in landscape for line in ax.lines]
    paths, ends = tracks[::2], tracks[1::2]  # `plot_path` draws two lines for each
    lines = [*losses.lines, *paths]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # else the axes would move from frame to frame
    full = [np.asarray(line.get_data()) for line in lines]
    rows = full[0].shape[1]
    shown = np.unique(np.linspace(1, rows, min(frames, rows)).round().astype(int))
    writer = PillowWriter(fps=fps)
    with writer.saving(figure, os.fspath(file), dpi=80):
        for count in [*shown, *[rows] * (fps - 1)]:
            for line, data in zip(lines, full, strict=True):
                line.set_data(data[:, :count])
            for path, end in zip(paths, ends, strict=True):
                end.set_data(np.asarray(path.get_data())[:, -1:])
            writer.grab_frame()
    return figure


def _draw_seeds(ax: "Axes", test: Any) -> float:
    """Draws the losses of each seed; returns the lowest."""
    losses = np.asarray(test.losses, np.float64)
    is_finite = np.isfinite(losses)
    for row in np.where(is_finite, losses, np.nan):
        ax.plot(test.rates, row, ".", color="0.7", ms=3, zorder=1, label="each seed")
    return np.min(losses, initial=np.inf, where=is_finite)


def _draw_suggestion(ax: "Axes", test: RangeTest, name: str, color: Any) -> None:
    rate = float(getattr(test, name))
    if np.isfinite(rate):
        valid = np.isfinite(test.smoothed)
        rates, curve = np.asarray(test.rates)[valid], np.asarray(test.smoothed)[valid]
        height = np.interp(np.log(rate), np.log(rates), curve)
        style = {"marker": _SUGGESTIONS[name], "ls": "", "ms": 8, "zorder": 3}
        style |= {"color": color, "mfc": "white", "mew": 1.5}
        ax.plot([rate], [height], label=f"{name}: {rate:.2g}", **style)


def _draw_best(ax: "Axes", test: RangeTest, color: Any, *, with_range: bool) -> None:
    best, (low, high) = float(test.best), np.asarray(test.range, np.float64)
    if np.isfinite(best):
        ax.axvline(best, color=color, lw=1, zorder=0, label=f"best: {best:.2g}")
    if with_range and low < high:
        span = {"color": color, "alpha": 0.12, "lw": 0, "zorder": 0}
        ax.axvspan(low, high, label=f"range: {low:.2g} to {high:.2g}", **span)


def _set_scales(ax: "Axes", tests: list[RangeTest], lowest: float) -> None:
    steps = np.diff(np.asarray(tests[0].rates, np.float64))
    ax.set_xscale("linear" if np.allclose(steps, steps[0], rtol=1e-3) else "log")
    heights = np.concatenate([np.asarray(x.smoothed, np.float64) for x in tests])
    heights = heights[np.isfinite(heights)]
    if heights.size:
        low, high = min(heights.min(), lowest), heights.max()
        most = np.quantile(heights, 0.95)
        high = min(high, most + max(most - low, 1e-6))
        margin = 0.1 * (high - low or 1.0)
        ax.set_ylim(low - margin, high + margin)
