"""The learning-rate range test: one run with a rising rate, or a grid of runs."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._check_values import untraced
from optax_extras._checks import Key, Positive, Size, SizeOfAtLeastTwo, checked
from optax_extras._errors import refuse
from optax_extras._numerics import float_dtype
from optax_extras._types import Params
from optax_extras.lab import _runs
from optax_extras.lab._suggestions import (
    suggest_minimum,
    suggest_slide,
    suggest_steep,
    suggest_valley,
)

_MEMORY = 0.98  # the decay of the average that smooths a ramp
_ROUNDING = 100  # losses whose relative difference is this many eps are equal
_RULES = suggest_valley, suggest_steep, suggest_minimum, suggest_slide


class RangeTest(NamedTuple):
    """What `lr_range_test` measured; every number float32, float64 under x64.

    `valley`, `steep`, `minimum` and `slide` are suggestions of a ramp, and NaN for a
    grid; `best` and `range` are those of a grid, and NaN for a ramp. All are NaN if the
    loss never falls.
    """

    rates: jax.Array
    """Shape (n,): the learning rates, rising."""
    losses: jax.Array
    """Shape (seeds, n). Ramp: the loss before the update with that learning rate. Grid:
    the mean of the last tenth of the run, inf if one of its losses was not finite."""
    smoothed: jax.Array
    """Shape (n,): the mean over the seeds, smoothed if a ramp; NaN after the end."""
    valley: jax.Array
    """Shape (): what :func:`suggest_valley` suggests."""
    steep: jax.Array
    """Shape (): what :func:`suggest_steep` suggests."""
    minimum: jax.Array
    """Shape (): what :func:`suggest_minimum` suggests."""
    slide: jax.Array
    """Shape (): what :func:`suggest_slide` suggests."""
    best: jax.Array
    """Shape (): the learning rate with the lowest mean loss over the seeds."""
    range: jax.Array
    """Shape (2,): the lowest and the highest learning rate of the stretch around `best`
    in which every mean loss exceeds that of `best` by at most the standard deviation
    over the seeds at `best` (divisor: seeds - 1). With one seed both are `best`."""


@checked
def lr_range_test(
    loss: Callable[[Any, Any], jax.Array],
    params: Params,
    batches: Any,
    make_tx: Callable[..., optax.GradientTransformation],
    *,
    start: Positive = 1e-6,
    stop: Positive = 10.0,
    mode: Literal["exponential", "linear", "grid"] = "exponential",
    steps: SizeOfAtLeastTwo = 100,
    rates: SizeOfAtLeastTwo = 64,
    seeds: Size = 1,
    key: Key | None = None,
) -> RangeTest:
    r"""Tries learning rates from too low to too high, and suggests some.

    A ramp, as in Smith's paper and in fastai, is one run whose learning rate rises at
    each update. It is cheap, but each learning rate starts where the lower ones ended.
    A grid is a run from the initial params for each learning rate, all in one compiled
    program. It costs more, but every learning rate is tried under the same conditions.
    Params, batches and key are not modified.

    The curve of a ramp is smoothed as in fastai, by a moving average with decay 0.98.
    A curve ends after the first value above four times its lowest so far, or before the
    first that is not finite.

    A ramp suggests `valley`, `steep`, `minimum` and `slide`, by fastai's four rules.
    They leave out the first tenth of the curve and its last 5 values. A grid suggests
    `best`, the learning rate with the lowest loss, and `range`, the learning rates
    around it whose loss is as low within the noise of the seeds. The suggestions of the
    other mode are NaN. All are NaN if the loss never falls: if the smoothed curve of a
    ramp is never below its value after the first tenth, or if the lowest mean loss of a
    grid is not below that of the initial params on the same batches.

    Args:
      loss: From the params and one batch to a real scalar; traceable.
      params: A tree of floating arrays, such as a model of Flax NNX or Equinox; or a
        function from a key to one, which is called, not traced, once for each seed.
        Functions, bools, keys and uint32 in a model are not trained and do not change,
        so a layer with dropout drops the same units at every update.
      batches: A tree of arrays whose leading axis counts the batches, such as a tuple
        or dict. Or a list, iterator or iterable of batches, such as the data loaders of
        other libraries: up to `steps` batches are read from it and stay in memory, so
        an iterator is used up that far. All batches have the same shapes; a last one
        with fewer examples is left out. A run repeats the batches as often as it needs.
      make_tx: A function that returns an optimizer for a learning rate, which is
        traced, such as `optax.adam`. A ramp calls it for each update: the parts of the
        state that depend on the learning rate are replaced, the others stay.
      start: The lowest learning rate.
      stop: The highest learning rate, above `start`.
      mode: "exponential" or "linear": a ramp whose learning rates are equally far apart
        in logarithm or in value. "grid": the learning rates of "exponential".
      steps: The updates of a run; in a ramp also the number of learning rates.
      rates: The number of learning rates of a grid; without effect on a ramp.
      seeds: The number of runs of the ramp, or for each learning rate of the grid.
      key: A key of `jax.random`, split into one for each seed. It draws the order of
        the batches, and the params if a function makes them. Several seeds, and such a
        function, need a key. None: the batches in their order.

    Returns:
      A `RangeTest`: the learning `rates`, the `losses`, the `smoothed` curve, and the
      suggestions.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> def loss(w, batch):
      ...     return jnp.sum((w - batch) ** 2)
      >>> found = oxe.lab.lr_range_test(
      ...     loss, jnp.zeros(2), jnp.ones((1, 2)), optax.sgd, mode="grid", steps=3
      ... )
      >>> bool(0.4 < found.best < 0.6)  # 0.5 reaches the minimum in one step
      True

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017;
      Howard and Gugger, `Fastai: A layered API for deep learning
      <https://arxiv.org/abs/2002.04688>`_, 2020
    """
    low, high = untraced("start", start), untraced("stop", stop)
    if low >= high:
        refuse("start", f"be below `stop`, {high!r}", low)
    spread = np.linspace if mode == "linear" else np.geomspace
    n = rates if mode == "grid" else steps
    tried = spread(float(low), float(high), n).astype(float_dtype())
    keys = _runs.split(key, seeds)
    loss_at, trained, batches = _runs.prepare(
        "loss", loss, params, batches, keys, steps
    )
    make = partial(_runs.optimizer_of, make_tx)
    is_grid = mode == "grid"
    depends = () if is_grid else _runs.depends_on_rate(make, trained[0], tried)

    @jax.jit
    def measure(rates, trained, batches, keys):
        """The losses of all seeds, (seeds, n); for a grid also the initial ones."""

        def run(params, places):
            data = partial(loss_at, batches), params, places
            if not is_grid:
                return _runs.measure_ramp(make, depends, rates, *data), None
            ends = jax.vmap(lambda rate: _runs.measure_end(make(rate), *data))
            return ends(rates), _runs.measure_unmoved(*data)

        return jax.vmap(run)(*_runs.stack_seeds(trained, keys, batches, steps))

    losses, unmoved = measure(tried, trained, batches, keys)
    if is_grid:
        return _read_grid(tried, losses, unmoved)
    return _read_ramp(tried, losses)


@jax.jit
def _read_ramp(rates: Any, losses: jax.Array) -> RangeTest:
    smoothed = _smooth(jnp.mean(losses, axis=0), _MEMORY)
    # The first tenth is the warm-up, and the last 5 values diverge.
    first, end = rates.size // 10, jnp.sum(jnp.isfinite(smoothed)) - 5
    falls = _is_below(jnp.nanmin(smoothed[first:]), smoothed[first])
    curve = jnp.where(falls & (jnp.arange(rates.size) < end), smoothed, jnp.nan)
    found = [suggest(rates[first:], curve[first:]) for suggest in _RULES]
    nan = jnp.full_like(found[0], jnp.nan)
    ends = jnp.stack([nan, nan])
    return RangeTest(rates, losses, smoothed, *found, best=nan, range=ends)


@jax.jit
def _read_grid(rates: Any, losses: jax.Array, unmoved: jax.Array) -> RangeTest:
    """`unmoved` are the losses of the initial params, of shape (seeds,)."""
    means, places = jnp.mean(losses, axis=0), jnp.arange(rates.size)
    means = jnp.where(jnp.isfinite(means), means, jnp.inf)
    best = jnp.argmin(means)
    is_near = places == best
    if len(losses) > 1:
        is_near = means <= means[best] + jnp.std(losses[:, best], ddof=1)
    # The stretch ends beside the first place on each side that is not near.
    low = jnp.max(places + 1, initial=0, where=~is_near & (places < best))
    high = jnp.min(places - 1, initial=rates.size - 1, where=~is_near & (places > best))
    falls = _is_below(means[best], jnp.mean(unmoved))
    found = jnp.where(falls, jnp.asarray(rates)[jnp.stack([best, low, high])], jnp.nan)
    nans, smoothed = [jnp.full_like(found[0], jnp.nan)] * 4, _smooth(means, 0.0)
    return RangeTest(rates, losses, smoothed, *nans, best=found[0], range=found[1:])


def _is_below(loss: jax.Array, start: jax.Array) -> jax.Array:
    """Whether a loss is below another one by more than rounding."""
    return loss < start - _ROUNDING * jnp.finfo(start.dtype).eps * jnp.abs(start)


def _smooth(losses: jax.Array, memory: float) -> jax.Array:
    """The exponential moving average of the losses, corrected for its bias to 0.

    NaN from the first value that is not finite, and after the first that exceeds the
    lowest so far by more than 3 times its absolute value: if the lowest is above 0,
    the first above 4 times the lowest.
    """

    def step(carry, loss):
        average, weight, lowest, over = carry
        average = memory * average + (1 - memory) * loss
        weight = memory * weight + (1 - memory)
        smoothed = average / weight
        finite = jnp.isfinite(smoothed)
        lowest = jnp.where(finite, jnp.minimum(lowest, smoothed), lowest)
        shown = jnp.where(over | ~finite, jnp.nan, smoothed)
        over |= ~finite | (smoothed - lowest > 3 * jnp.abs(lowest))
        return (average, weight, lowest, over), shown

    zero = jnp.zeros((), losses.dtype)
    start = zero, zero, zero + jnp.inf, jnp.array(False)
    return jax.lax.scan(step, start, losses)[1]
