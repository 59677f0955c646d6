"""Plots of range tests."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from optax_extras._checks import checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras.lab._matplotlib_style import axes, line_style, with_legend
from optax_extras.lab._range_test import RangeTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
