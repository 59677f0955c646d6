"""What all pictures share: their axes, their legend, the style of the i-th line.

Readable without colour: what differs in colour also differs in dashes or in marker.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optax_extras._errors import refuse_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", ":", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v")


def line_style(i: int) -> tuple[Any, ...]:
    """Colour, dashes and marker of the i-th thing on the axes."""
    return tuple(styles[i % len(styles)] for styles in (_COLORS, _DASHES, _MARKERS))


@contextmanager
def drawing() -> Iterator[None]:
    """Around an import of matplotlib: says how to install it."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            "lab: drawing needs matplotlib: `pip install matplotlib`."
        ) from error


def axes(ax: Any) -> "Axes":
    """Those given; for None, some in a figure of pyplot of their own."""
    with drawing():
        from matplotlib.axes import Axes
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(layout="constrained")[1]
    if not isinstance(ax, Axes):
        refuse_kind("ax", "be the Axes of a picture", ax)
    return ax


def new_figure(width: float, height: float) -> "Figure":
    """A figure that pyplot does not know of."""
    with drawing():
        from matplotlib.figure import Figure
    return Figure(figsize=(width, height), layout="constrained")


def with_legend(ax: "Axes", names: list[str | None]) -> "Axes":
    """Says, where a thing has a name, what is what: right of the axes, over nothing."""
    if names != [None]:
        handles, labels = ax.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
        ax.legend(once.values(), once.keys(), frameon=False, **place)
    return ax
