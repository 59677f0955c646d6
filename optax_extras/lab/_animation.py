"""A race as a moving picture."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optax_extras._checks import Size, SizeOfAtLeastTwo, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras.lab._matplotlib_style import drawing, new_figure
from optax_extras.lab._plot_runs import plot_race
from optax_extras.lab._plots import plot_path
from optax_extras.lab._race import Comparison, check_race

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_race(race: Comparison) -> "tuple[Figure, list[Any], list[Any]]":
    """The figure of a race, the lines of its losses, and those of its paths.

    Paths are drawn, to the left, where the problem is one of two coordinates.
    """
    bounds = race.problem.bounds
    flat = bounds is not None and len(bounds) == 2
    figure = new_figure(12 if flat else 7, 4.5)
    panels = figure.subplots(1, 2 if flat else 1, squeeze=False)[0]
    lines = list(plot_race(race, ax=panels[-1]).lines)
    if not flat:
        return figure, lines, []
    panels[-1].get_legend().remove()  # the other one says the same, and more
    return figure, lines, list(plot_path(race.problem, race.paths, ax=panels[0]).lines)


@checked
def animate_race(
    race: Comparison,
    file: str | os.PathLike,
    *,
    frames: SizeOfAtLeastTwo = 60,
    fps: Size = 12,
) -> "Figure":
    """Writes a race as a GIF: paths over the contours, and losses, as they grow.

    A race on a problem that is not of two coordinates shows its losses alone. The
    last picture stands for a second; then it begins again.

    Args:
      race: What `race` returned.
      file: Where the GIF goes, a name that ends in .gif; a file that is there is
        overwritten.
      frames: How many pictures at most, at least 2; with fewer points in the paths one
        for each.
      fps: Pictures in a second, at least 1.

    Returns:
      The matplotlib `Figure`, as the last picture shows it. Nothing else is shown.

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
    figure, losses, tracks = draw_race(race)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or the axes would move with what they show
    whole = [np.asarray(line.get_data()) for line in losses + tracks[::2]]
    rows = whole[0].shape[1]
    shown = np.unique(np.linspace(1, rows, min(frames, rows)).round().astype(int))
    writer = PillowWriter(fps=fps)
    with writer.saving(figure, os.fspath(file), dpi=80):
        for count in [*shown, *[rows] * (fps - 1)]:
            for line, data in zip(losses + tracks[::2], whole, strict=True):
                line.set_data(data[:, :count])
            for end, track in zip(tracks[1::2], tracks[::2], strict=True):
                end.set_data(np.asarray(track.get_data())[:, -1:])
            writer.grab_frame()
    return figure
