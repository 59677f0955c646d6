"""Pictures of what was measured: range tests and races."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from optax_extras._checks import checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras.lab._matplotlib_style import axes, line_style, with_legend
from optax_extras.lab._race import Comparison, check_race
from optax_extras.lab._range_test import RangeTest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUGGESTIONS = {"valley": "o", "steep": "^", "minimum": "s", "slide": "D"}


@checked
def plot_range_test(
    test: RangeTest | Mapping[str, RangeTest], *, ax: "Axes | None" = None
) -> "Axes":
    """Draws the losses of a range test over the rates, and marks the suggestions.

    The smoothed curve is a line, the losses of the single seeds are grey points. What
    is far above nearly all of the curve, as its end may be, is cut off.

    Args:
      test: What `lr_range_test` returned, or a dict of such by label. Of several only
        the curves and their `valley` are drawn.
      ax: The axes to draw into; None opens a figure of pyplot.

    Returns:
      The matplotlib `Axes`. Nothing is shown or saved.

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
    tests = test if isinstance(test, Mapping) else {"smoothed": test}
    if not tests:
        refuse("test", "hold a range test", test)
    for one in tests.values():
        if not isinstance(one, RangeTest):
            refuse_kind("test", "be what `lr_range_test` returned", one)
    ax = axes(ax)
    alone = not isinstance(test, Mapping)
    for i, (name, one) in enumerate(tests.items()):
        if alone:
            _draw_seeds(ax, one)
        color, dashes, _ = line_style(i)
        ax.plot(one.rates, one.smoothed, color=color, ls=dashes, label=name)
        for suggestion in _SUGGESTIONS if alone else ["valley"]:
            _draw_suggestion(ax, one, suggestion, color)
    ax.set(xlabel="learning rate", ylabel="loss")
    _set_scales(ax, list(tests.values()), lowest=_lowest(test) if alone else np.inf)
    return with_legend(ax, list(tests))


@checked
def plot_race(race: Comparison, *, ax: "Axes | None" = None) -> "Axes":
    """Draws the value that each optimizer of a race had reached after each update.

    It is that of `fun`, without noise, above its value at the minimum; the axis is
    logarithmic unless that is below 0 somewhere, and ends at ten times the start.

    Args:
      race: What `race` returned.
      ax: The axes to draw into; None opens a figure of pyplot.

    Returns:
      The matplotlib `Axes`. Nothing is shown or saved.

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
        color, dashes, _ = line_style(i)
        counts = race.paths[name].counts
        ax.plot(counts, height, color=color, ls=dashes, label=name)
    if all(np.nanmin(height) >= 0 for height in heights.values()):
        ax.set_yscale("log")
    top = 10 * next(iter(heights.values()))[0]
    if top > 0 and any(np.any(height > top) for height in heights.values()):
        ax.set_ylim(top=top)
    ax.set(xlabel="update", ylabel="value above the minimum")
    return with_legend(ax, list(heights))


def _draw_seeds(ax: "Axes", test: RangeTest) -> None:
    losses = np.asarray(test.losses, np.float64)
    losses = np.where(np.isfinite(losses), losses, np.nan)
    for row in losses:
        ax.plot(test.rates, row, ".", color="0.7", ms=3, zorder=1, label="each seed")


def _draw_suggestion(ax: "Axes", test: RangeTest, name: str, color: Any) -> None:
    rate = float(getattr(test, name))
    if np.isfinite(rate):
        valid = np.isfinite(test.smoothed)
        rates, curve = np.asarray(test.rates)[valid], np.asarray(test.smoothed)[valid]
        height = np.interp(np.log(rate), np.log(rates), curve)
        style = {"marker": _SUGGESTIONS[name], "ls": "", "ms": 8, "zorder": 3}
        style |= {"color": color, "mfc": "white", "mew": 1.5}
        ax.plot([rate], [height], label=f"{name}: {rate:.2g}", **style)


def _lowest(test: Any) -> float:
    """Of the losses of the single seeds, which are drawn too."""
    losses = np.asarray(test.losses, np.float64)
    return np.min(losses, initial=np.inf, where=np.isfinite(losses))


def _set_scales(ax: "Axes", tests: list[RangeTest], lowest: float) -> None:
    steps = np.diff(np.asarray(tests[0].rates, np.float64))
    ax.set_xscale("linear" if np.allclose(steps, steps[0], rtol=1e-3) else "log")
    heights = np.concatenate([np.asarray(x.smoothed, np.float64) for x in tests])
    heights = heights[np.isfinite(heights)]
    if heights.size:
        low, high = min(heights.min(), lowest), heights.max()
        most = np.quantile(heights, 0.95)
        high = min(high, most + max(most - low, 1e-6))
        room = 0.1 * (high - low or 1.0)
        ax.set_ylim(low - room, high + room)
