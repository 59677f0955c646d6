"""Plots of races, and animations of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
