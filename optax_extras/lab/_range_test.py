"""The learning-rate range test: one run with a rising rate, or a grid of runs."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from optax_extras._checks import Key, Positive, Size, SizeOfAtLeastTwo, checked
from optax_extras._errors import refuse
from optax_extras._numerics import float_dtype
from optax_extras._types import Params
from optax_extras._values import untraced
from optax_extras.lab import _runs
from optax_extras.lab._suggestions import (
    suggest_minimum,
    suggest_slide,
    suggest_steep,
    suggest_valley,
)

_MEMORY = 0.98  # the decay of the average that smooths a ramp
_SUGGESTIONS = suggest_valley, suggest_steep, suggest_minimum, suggest_slide


class RangeTest(NamedTuple):
    """What `lr_range_test` measured; every number float32, float64 under x64."""

    rates: jax.Array
    """Shape (n,): the learning rates, rising."""
    losses: jax.Array
    """Shape (seeds, n). Ramp: the loss before the update with that learning rate. Grid:
    the mean of the last tenth of the run, inf if one of its losses was not finite."""
    smoothed: jax.Array
    """Shape (n,): the mean over the seeds, smoothed if a ramp; NaN after the end."""
    valley: jax.Array
    """Shape (): the suggestion of :func:`suggest_valley`, NaN if there is none."""
    steep: jax.Array
    """Shape (): that of :func:`suggest_steep`."""
    minimum: jax.Array
    """Shape (): that of :func:`suggest_minimum`."""
    slide: jax.Array
    """Shape (): that of :func:`suggest_slide`."""


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
    A grid is a run from the start for each learning rate, all in one compiled program:
    it costs more, and treats all alike. Params, batches and key are not modified.

    The curve of a ramp is smoothed as in fastai, by a moving average with decay 0.98.
    A curve ends after the first value above four times its lowest so far, or before the
    first that is not finite. The suggestions leave out the first tenth of a ramp, and
    its last 5 values.

    Args:
      loss: From the params and one batch to a real scalar; traceable.
      params: A tree of floating arrays, such as a model of Flax NNX or Equinox; or a
        function from a key to one, which is called, not traced, once for each seed.
        Functions, bools, keys and uint32 in a model are not trained and do not change,
        so a layer with dropout drops the same units at every update.
      batches: A tree of arrays whose leading axis counts the batches; a run repeats
        them as often as it needs. Or an iterator or iterable of batches, such as the
        loaders of other libraries: up to `steps` are read and stay in memory.
      make_tx: From a traced learning rate to an optimizer, such as `optax.adam`. A ramp
        calls it for each update: the parts of the state that depend on the learning
        rate are replaced, the others stay.
      start: The lowest learning rate.
      stop: The highest learning rate, above `start`.
      mode: "exponential" or "linear": a ramp whose learning rates are equally far apart
        in logarithm or in value. "grid": the learning rates of "exponential".
      steps: The updates of a run; in a ramp also the number of learning rates.
      rates: The number of learning rates of a grid; without effect on a ramp.
      seeds: The number of runs of each.
      key: A key of `jax.random`. With a key each seed has its own order of batches;
        several seeds, and params made by a function, need one.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> def loss(w, batch):
      ...     return jnp.sum((w - batch) ** 2)
      >>> found = oxe.lab.lr_range_test(
      ...     loss, jnp.zeros(2), jnp.ones((1, 2)), optax.sgd, mode="grid", steps=3
      ... )
      >>> best = found.rates[jnp.nanargmin(found.smoothed)]
      >>> bool(0.4 < best < 0.6)  # 0.5 reaches the minimum in one step
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
    loss_of, trained, batches, total = _runs.prepare(
        "loss", loss, params, batches, keys, steps
    )

    def make(rate):
        return _runs.optimizer_of(make_tx, rate)

    program = _runs.Program(loss_of, make, steps)
    if mode != "grid":
        changed = _runs.depends_on_rate(make, trained[0], tried)
        program = program._replace(depends_on_rate=changed)

    @jax.jit
    def measure(rates, trained, batches, keys):
        """The losses of all seeds, (seeds, n)."""

        def run(params, order):
            data = params, batches, order
            if mode == "grid":
                return jax.vmap(lambda rate: program.end(rate, *data))(rates)
            return program.ramp(rates, *data)

        return jax.vmap(run)(*_runs.all_seeds(trained, keys, total))

    losses = measure(tried, trained, batches, keys)
    return _read(tried, losses, mode == "grid")


@partial(jax.jit, static_argnames="is_grid")
def _read(rates: Any, losses: jax.Array, is_grid: bool) -> RangeTest:
    smoothed = _smooth(jnp.mean(losses, axis=0), 0.0 if is_grid else _MEMORY)
    # In a ramp the first tenth is the warm-up, and the last 5 values diverge.
    first, cut = (0, 0) if is_grid else (rates.size // 10, 5)
    end = jnp.sum(jnp.isfinite(smoothed)) - cut
    curve = jnp.where(jnp.arange(rates.size) < end, smoothed, jnp.nan)
    found = [suggest(rates[first:], curve[first:]) for suggest in _SUGGESTIONS]
    return RangeTest(rates, losses, smoothed, *found)


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
