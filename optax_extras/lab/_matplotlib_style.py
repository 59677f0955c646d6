"""What all plots share: axes, a legend, and the style of the i-th line.

They are readable without color: lines of two colors also differ in dashes or marker.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optax_extras._errors import refuse_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which color-blind people can tell apart.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))


def line_style(i: int) -> dict[str, Any]:
    """The color and the dashes of the i-th line on the axes."""
    return {"color": _COLORS[i % len(_COLORS)], "ls": _DASHES[i % len(_DASHES)]}


@contextmanager
def drawing() -> Iterator[None]:
    """Imports matplotlib inside; the error says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            "lab: drawing needs matplotlib: `pip install matplotlib`."
        ) from error


def axes(ax: Any) -> "Axes":
    """The given axes; for None, the axes of a new figure of pyplot."""
    with drawing():
        from matplotlib.axes import Axes
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(layout="constrained")[1]
    if not isinstance(ax, Axes):
        refuse_kind("ax", "be matplotlib Axes", ax)
    return ax


def new_figure(width: float, height: float) -> "Figure":
    """A figure that pyplot does not manage, so that it need not be closed."""
    with drawing():
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def with_legend(ax: "Axes", names: list[str | None]) -> "Axes":
    """Adds a legend to the right of the axes, unless the only name is None."""
    if names != [None]:
        handles, labels = ax.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        ax.legend(once.values(), once.keys(), frameon=False, **place)
    return ax
