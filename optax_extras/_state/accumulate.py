"""One update for several gradients, with extra arguments."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import StepCount, Transformation, checked
from optax_extras._numerics import (
    LAST_COUNT,
    cast_like,
    upcast_zeros,
    without_weak_type,
)
from optax_extras._types import Params, State, Updates


class AccumulateState(NamedTuple):
    """State of `accumulate`."""

    count: ArrayLike
    """Shape (), int32: the number of updates; it stops at 2**31 - 1."""
    num_accumulated: jax.Array
    """Shape (), int32: the gradients in the mean so far, fewer than `every`."""
    mean: Any
    """Like the params, float32 at least: the mean of these gradients, or of the last
    update if there are none."""
    inner_state: State
    """The state of the optimizer."""


@checked
def accumulate(
    tx: Transformation, every: StepCount
) -> optax.GradientTransformationExtraArgs:
    r"""Makes one update of an optimizer from the mean of several gradients.

    Use it for batches that do not fit in memory. ``optax.MultiSteps`` does not get
    extra arguments such as a metric if it is in a chain. It also runs the optimizer at
    every gradient and multiplies unwanted updates by 0, so that a NaN gets through.
    Here the optimizer runs only when the mean is complete, with the extra arguments of
    that call. In between, updates are 0 and extra arguments are ignored; to pass a
    metric more often, use :func:`observe`. The state has one buffer like the params
    besides the optimizer's, which is read and written at every gradient.

    .. math::
        \bar g = \frac1n \sum_{i=1}^n g_i, \qquad
        u_n = \mathrm{tx}(\bar g), \quad u_i = 0 \;\text{ for } i < n

    Args:
      tx: The optimizer. Its schedules count its own updates, one for n gradients.
      every: :math:`n`, the number of gradients for one update.

    Returns:
      An `optax.GradientTransformationExtraArgs` with an `AccumulateState`. Updates have
      the dtypes of the gradients, which are summed in float32 at least.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.accumulate(oxe.adagrad(oxe.plateau(0.1)), every=4)
      >>> tx = optax.chain(optax.clip(1.0), tx)
      >>> params = jnp.ones(3)
      >>> state = tx.init(params)
      >>> for loss in (1.0, 0.9, 0.8, 0.7):
      ...     updates, state = tx.update(params, state, params, value=loss)
      >>> [round(float(u), 3) for u in updates]
      [-0.1, -0.1, -0.1]
    """
    inner = optax.with_extra_args_support(tx)
    n: Any = min(every, LAST_COUNT) if isinstance(every, int) else every

    def init(params: Params) -> AccumulateState:
        zero, other = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        state = jax.tree.map(without_weak_type, inner.init(params))
        return AccumulateState(zero, other, jax.tree.map(upcast_zeros, params), state)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        num_accumulated = state.num_accumulated + 1
        first, full = num_accumulated == 1, num_accumulated >= n

        def joined(mean: Any, g: Any) -> Any:
            """The mean with one more gradient; the first one replaces the old mean."""
            if g is None:
                return jnp.where(first, 0, mean)
            g = jnp.asarray(g, mean.dtype)
            weight = 1 / num_accumulated.astype(mean.real.dtype)
            return jnp.where(first, g, mean + weight * (g - mean))

        mean = jax.tree.map(joined, state.mean, updates)

        def step(_, inner_state):
            grads = jax.tree.map(_as, mean, updates)
            us, new = inner.update(grads, inner_state, params, **extra)
            us = jax.tree.map(cast_like, updates, us)
            return us, jax.tree.map(cast_like, inner_state, new)

        # The second branch returns its operands unchanged, so they are not copied.
        none = jax.tree.map(jnp.zeros_like, updates)
        us, inner_state = jax.lax.cond(
            full, step, lambda *same: same, none, state.inner_state
        )
        count: Any = jnp.where(full, optax.safe_increment(state.count), state.count)
        return us, AccumulateState(
            count, jnp.where(full, 0, num_accumulated), mean, inner_state
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _as(mean: jax.Array, g: Any) -> Any:
    """The mean in the gradient's dtype; None if the gradient is None."""
    return None if g is None else mean.astype(jnp.result_type(g))
