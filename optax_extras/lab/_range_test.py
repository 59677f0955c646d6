"""The learning-rate range test: one run up a ramp of rates, or a grid of runs."""

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

_MEMORY = 0.98  # of the average that smooths a ramp
_SUGGESTIONS = suggest_valley, suggest_steep, suggest_minimum, suggest_slide


class RangeTest(NamedTuple):
    """What `lr_range_test` measured; every number float32, float64 under x64."""

    rates: jax.Array
    """Shape (n,): the rates, rising."""
    losses: jax.Array
    """Shape (seeds, n). Of a ramp: the loss before the update with that rate. Of a
    grid: the mean of the last tenth of the run, inf if it met a loss not finite."""
    smoothed: jax.Array
    """Shape (n,): the mean over the seeds, of a ramp smoothed; NaN once diverged."""
    valley: jax.Array
    """Shape (): the rate that :func:`suggest_valley` suggests, as do the next three."""
    steep: jax.Array
    """Shape ()."""
    minimum: jax.Array
    """Shape ()."""
    slide: jax.Array
    """Shape ()."""


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
    r"""Tries learning rates, from too low to too high, and suggests some.

    A ramp, as Smith and fastai do it, is one run whose rate rises at each update: it
    is cheap, but each rate is tried from where the lower ones have led. A grid is a run
    from the start for each rate, all in one compiled program: dearer, and fair. Nothing
    handed in is changed.

    The curve of a ramp is smoothed as fastai does, by a moving average that keeps 0.98
    of its past at each step. A curve ends behind the first value above four times its
    lowest so far, or before the first that is not finite. The suggestions leave out the
    first tenth of a ramp, and its last 5 places.

    Args:
      loss: From the params and one batch to a real scalar; traceable.
      params: A tree of floating arrays, such as a model of Flax NNX or Equinox; or a
        function from a key to one, not traced, called once for each seed. What else a
        model may hold (functions, bools, keys and uint32) is not trained and stays as
        it is; so a layer with dropout drops the same at every update.
      batches: A tree of arrays whose leading axis counts the batches, which are gone
        through again and again; or an iterator or iterable of batches, such as the
        loaders of other libraries, of which up to `steps` are read and kept in memory.
      make_tx: From a rate, traced, to an optimizer, such as `optax.adam`. In a ramp it
        is called for each update; those parts of the state that depend on the rate are
        replaced, the others kept.
      start: The lowest rate, above 0.
      stop: The highest rate, above `start`.
      mode: "exponential" or "linear", a ramp with rates equally far apart in logarithm
        or in value; or "grid", whose rates are as those of "exponential".
      steps: The updates of a run, at least 2; in a ramp also the number of rates.
      rates: How many rates a grid has, at least 2; without effect on a ramp.
      seeds: How many runs there are of each, at least 1.
      key: A key of `jax.random`. With one every seed has an order of batches of its
        own; several seeds, and params made by a function, need it.

    Returns:
      A :class:`RangeTest`: `rates`, `losses`, `smoothed` and the suggestions, NaN where
      a rule found none.

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
      >>> bool(0.4 < best < 0.6)  # 0.5 arrives in one step
      True

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017;
      Howard and Gugger, `Fastai: A layered API for deep learning
      <https://arxiv.org/abs/2002.04688>`_, 2020
    """
    tried = _rates(start, stop, mode, rates if mode == "grid" else steps)
    keys = _runs.split(key, seeds)
    trained, rebuild = _runs.take_apart(_runs.models(params, keys))
    batches, total = _runs.stack(batches, steps)

    def loss_of(params, batch):
        return loss(rebuild(params), batch)

    def made(rate):
        return _runs.optimizer_of(make_tx, rate)

    _runs.check_loss("loss", loss_of, trained[0], batches)
    program = _runs.Program(loss_of, made, steps)
    if mode != "grid":
        renewed = _runs.renewed(made, trained[0], tried)
        program = program._replace(renewed=renewed)
    run = program.grid if mode == "grid" else program.ramp

    @jax.jit
    def measure(rates, trained, batches, keys):
        """The losses of all seeds, (seeds, n)."""
        orders = _runs.orders(keys, total)
        each = jax.vmap(lambda params, order: run(rates, params, batches, order))
        return each(_runs.side_by_side(trained), orders)

    losses = measure(tried, trained, batches, keys)
    return _read(tried, losses, mode == "grid")


def _rates(start: Any, stop: Any, mode: str, n: int) -> np.ndarray:
    for name, rate in (("start", start), ("stop", stop)):
        untraced(name, rate)
    if start >= stop:
        refuse("start", f"be below `stop`, {stop!r}", start)
    spread = np.linspace if mode == "linear" else np.geomspace
    return spread(float(start), float(stop), n).astype(float_dtype())


@partial(jax.jit, static_argnames="is_grid")
def _read(rates: Any, losses: jax.Array, is_grid: bool) -> RangeTest:
    smoothed = _smooth(jnp.mean(losses, axis=0), 0.0 if is_grid else _MEMORY)
    # Of a ramp the first tenth is warming up, and the last 5 places are diverging.
    first, cut = (0, 0) if is_grid else (rates.size // 10, 5)
    end = jnp.sum(jnp.isfinite(smoothed)) - cut
    curve = jnp.where(jnp.arange(rates.size) < end, smoothed, jnp.nan)
    found = [suggest(rates[first:], curve[first:]) for suggest in _SUGGESTIONS]
    return RangeTest(rates, losses, smoothed, *found)


def _smooth(losses: jax.Array, memory: float) -> jax.Array:
    """The exponential average of all losses so far, without bias to 0.

    NaN after the first that is above four times the lowest so far; or not finite.
    Written so that it means the same below 0: up by 3 times its size.
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
