"""Learning rates suggested by a range test: fastai's four rules, as pure functions.

A curve ends before its first loss that is not finite.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from optax_extras._check_values import is_traced, reals
from optax_extras._checks import checked
from optax_extras._errors import refuse
from optax_extras._numerics import float_dtype
from optax_extras.lab._checks_of_data import real_array

_APART = 15  # the distance between the two cursors of `slide`
_LEVEL = 0.005  # slopes that differ by at most this are equal for `slide`


@checked
def suggest_valley(rates: ArrayLike, losses: ArrayLike) -> jax.Array:
    """Suggests the middle of the longest descent: fastai's `valley`, its default.

    The rule finds the longest subsequence of losses in which each is below the one
    before; losses in between may be left out. If it has l losses and the last is at
    index E, the suggestion is the learning rate at E - l + ⌊l/3⌋ + ⌊l/6⌋. This is the
    middle if none was left out, as fastai assumes. Of several of the same length the
    first counts.

    Args:
      rates: The learning rates, shape (n,), above 0, rising.
      losses: Shape (n,). The curve ends before the first that is not finite.

    Returns:
      One of the learning rates, shape (); NaN if there is no loss.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> losses = jnp.array([5.0, 5.0, 4.0, 3.0, 2.0, 1.0, 9.0])
      >>> float(oxe.lab.suggest_valley(jnp.arange(1.0, 8.0), losses))
      2.0
    """
    lr, curve, in_curve = _curve(rates, losses)
    lengths = _descents(curve, in_curve)
    end = jnp.argmax(lengths)
    length = lengths[end]
    middle = end - length + length // 3 + length // 6
    return _rate_at(lr, jnp.maximum(middle, 0), jnp.any(in_curve))


@jax.jit  # or the loop would be compiled at each call
def _descents(curve: jax.Array, in_curve: jax.Array) -> jax.Array:
    """The length of the longest descent that ends at each index."""
    place = jnp.arange(curve.size)

    def extend(i, lengths):
        before = (place < i) & in_curve[i] & (curve > curve[i])
        longest = 1 + jnp.max(jnp.where(before, lengths, 0), initial=0)
        return lengths.at[i].set(longest)

    lengths = jax.lax.fori_loop(1, curve.size, extend, jnp.ones_like(place))
    return jnp.where(in_curve, lengths, 0)


@checked
def suggest_steep(rates: ArrayLike, losses: ArrayLike) -> jax.Array:
    """Suggests where the loss falls fastest over log learning rates: fastai's `steep`.

    Args:
      rates: The learning rates, shape (n,), above 0, rising.
      losses: Shape (n,). The curve ends before the first that is not finite.

    Returns:
      The learning rate before the steepest step, shape (); NaN for under two losses.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> rates = jnp.array([1.0, 2.0, 4.0, 8.0])
      >>> float(oxe.lab.suggest_steep(rates, jnp.array([9.0, 8.0, 3.0, 2.0])))
      2.0
    """
    lr, curve, in_curve = _curve(rates, losses)
    if curve.size < 2:
        return jnp.full((), jnp.nan, lr.dtype)
    slopes = jnp.diff(curve) / jnp.diff(jnp.log(lr))
    slopes = jnp.where(in_curve[1:], slopes, jnp.inf)
    return _rate_at(lr, jnp.argmin(slopes), in_curve[1])


@checked
def suggest_minimum(rates: ArrayLike, losses: ArrayLike) -> jax.Array:
    """Suggests a tenth of the learning rate with the lowest loss: fastai's `minimum`.

    Args:
      rates: The learning rates, shape (n,), above 0, rising.
      losses: Shape (n,). The curve ends before the first that is not finite.

    Returns:
      The suggestion, shape (); NaN if there is no loss.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> rates, losses = jnp.array([10.0, 20.0, 40.0]), jnp.array([3.0, 1.0, 2.0])
      >>> float(oxe.lab.suggest_minimum(rates, losses))
      2.0
    """
    lr, curve, in_curve = _curve(rates, losses)
    lowest = jnp.argmin(jnp.where(in_curve, curve, jnp.inf))
    return _rate_at(lr, lowest, jnp.any(in_curve)) / 10


@checked
def suggest_slide(rates: ArrayLike, losses: ArrayLike) -> jax.Array:
    """Suggests a learning rate before the losses begin to rise: fastai's `slide`.

    Two cursors 15 indices apart start with the right one at the last loss. They move
    left while the slopes at both differ by more than 0.005 (loss per index). The
    suggestion is the learning rate at the last position of the left cursor where they
    differed, or else at its first position.

    Args:
      rates: The learning rates, shape (n,), above 0, rising.
      losses: Shape (n,). The curve ends before the first that is not finite.

    Returns:
      One of the learning rates, shape (); NaN for under 16 losses.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> x = jnp.arange(1.0, 41.0)
      >>> float(oxe.lab.suggest_slide(x, jnp.maximum(x - 31.0, 0.0)))
      16.0
    """
    lr, curve, in_curve = _curve(rates, losses)
    if curve.size <= _APART:
        return jnp.full((), jnp.nan, lr.dtype)
    slopes = _slopes(curve, in_curve)
    unlike = jnp.abs(slopes[_APART:] - slopes[:-_APART]) > _LEVEL
    beyond = ~in_curve[_APART:]  # the right cursor starts at the last loss
    # The leftmost index reached; without a move, where the left cursor starts.
    stops = jnp.where(unlike | beyond, 0, jnp.arange(1, unlike.size + 1))
    first = jnp.sum(in_curve) - 1 - _APART
    reached = jnp.minimum(jnp.max(stops), first)
    return _rate_at(lr, jnp.maximum(reached, 0), first >= 0)


def _slopes(losses: jax.Array, in_curve: jax.Array) -> jax.Array:
    """Central differences with steps of 1, one-sided at both ends of the curve."""
    steps = jnp.diff(losses)
    steps = jnp.where(in_curve[1:], steps, 0)
    left = jnp.concatenate([steps[:1], steps])
    right = jnp.concatenate([steps, steps[-1:]])
    last = ~jnp.concatenate([in_curve[1:], jnp.zeros(1, bool)])
    return jnp.where(last, left, (left + right) / 2)


def _curve(rates: Any, losses: Any) -> tuple[Any, Any, Any]:
    """Both as floats, with losses of 0 after the end; and where the curve is."""
    tried = real_array("rates", rates)
    rates = jnp.asarray(tried, float_dtype())
    losses = jnp.asarray(real_array("losses", losses), float_dtype())
    if rates.ndim != 1 or not rates.size:
        refuse("rates", "be of shape (n,)", rates.shape)
    if losses.shape != rates.shape:
        must = f"be of the shape of `rates`, {rates.shape}"
        refuse("losses", must, losses.shape)
    if not is_traced(tried):
        tried = np.asarray(tried)
        reals("rates", tried, "(0, inf)")
        rounded = tried.astype(float_dtype())  # two close rates may round to one
        if not (rounded[1:] > rounded[:-1]).all():
            refuse("rates", "be rising", tried)
    places = jnp.arange(losses.size)
    end = jnp.min(places, initial=losses.size, where=~jnp.isfinite(losses))
    in_curve = places < end
    return rates, jnp.where(in_curve, losses, 0), in_curve


def _rate_at(rates: jax.Array, place: Any, found: Any) -> jax.Array:
    return jnp.where(found, rates[place], jnp.nan)
