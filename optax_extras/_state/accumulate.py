"""One update for several gradients, with extra arguments."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _check_values
from optax_extras._checks import StepCount, Transformation, checked
from optax_extras._errors import refuse_kind
from optax_extras._groups._freeze import check_structure
from optax_extras._leaves import cast_like, in_dtype_of, upcast_zeros, without_weak_type
from optax_extras._numerics import LAST_COUNT, float_dtype
from optax_extras._types import Params, State, Updates


class AccumulateState(NamedTuple):
    """State of `accumulate`."""

    count: ArrayLike
    """Shape (), int32: the number of updates; it stops at 2**31 - 1."""
    num_accumulated: jax.Array
    """Shape (), int32: the gradients of this window so far, fewer than `every`."""
    total_weight: ArrayLike
    """Shape (), float32 (float64 under x64): the sum of their weights."""
    mean: Any
    """Like the params, float32 at least: their weighted mean; the mean of an earlier
    window if `total_weight` is 0."""
    inner_state: State
    """The state of the optimizer."""

    def made_update(self, old: "AccumulateState") -> Any:
        """Whether the call that led here from `old` completed a window."""
        return self.count != old.count


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
        \bar g = \frac{\sum_{i=1}^m w_i\, g_i}{\sum_{i=1}^m w_i}, \qquad
        u_m = \mathrm{tx}(\bar g), \quad u_i = 0 \;\text{ for } i < m

    The gradients of one update, the *window*, are :math:`m = n` (`every`), fewer if it
    is ended early. ``update`` has two extra arguments for this, which are not passed on
    to ``tx``. Both may be traced.

    ``weight``, a real number of at least 0, is :math:`w_i`; without it the weight is 1.
    If each gradient is that of a mean loss, give the number of its examples or tokens,
    and :math:`\bar g` is the gradient of the mean over all of them. A gradient of
    weight 0 is left out, even if it is NaN, but counts as one of the n. A window in
    which all weights are 0 makes no update: the optimizer does not run.

    ``flush=True`` ends the window with this gradient, as for the last batches of an
    epoch. To end it between two updates, pass zeros like the params as gradients,
    ``weight=0`` and ``flush=True``. If no gradients are waiting, this does nothing.

    Args:
      tx: The optimizer. Its schedules count its own updates, one for each window.
      every: :math:`n`, the number of gradients for one update.

    Returns:
      An `optax.GradientTransformationExtraArgs` with an `AccumulateState`. Updates have
      the dtypes of the gradients, which are summed in float32 at least.

    Examples:
      The loss goes to the plateau with every fourth gradient:

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

      An epoch of two batches, of 30 examples and of 10; (30 · 1 + 10 · 5) / 40 = 2:

      >>> tx = oxe.accumulate(optax.sgd(1.0), every=4)
      >>> state = tx.init(jnp.zeros(()))
      >>> _, state = tx.update(jnp.array(1.0), state, weight=30)
      >>> update, state = tx.update(jnp.array(5.0), state, weight=10, flush=True)
      >>> float(update)
      -2.0
    """
    n: Any = min(every, LAST_COUNT) if isinstance(every, int) else every

    def init(params: Params) -> AccumulateState:
        zeros = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
        state = jax.tree.map(without_weak_type, tx.init(params))
        mean = jax.tree.map(upcast_zeros, params)
        return AccumulateState(*zeros, jnp.zeros((), float_dtype()), mean, state)

    def update(
        updates: Updates,
        state: State,
        params: Params = None,
        *,
        weight: ArrayLike = 1,
        flush: ArrayLike = False,
        **extra: Any,
    ):
        if not _is_bool(flush):
            refuse_kind("flush", "be a bool", flush)
        weight = _check_values.real("weight", weight, "[0, inf)")
        # A concrete positive weight, such as the default, needs no selection.
        tiny = jnp.finfo(float_dtype()).tiny
        may_be_zero = (
            _check_values.is_traced(weight) or _check_values.concrete(weight) < tiny
        )
        w = jnp.asarray(weight, float_dtype())
        total = in_dtype_of(w, state.total_weight) + w
        fraction = w / jnp.where(total == 0, 1, total)
        num_accumulated = state.num_accumulated + 1
        ends = (num_accumulated >= n) | flush
        runs = ends & (total != 0) if may_be_zero else ends
        first = state.total_weight == 0

        def joined(mean: Any, g: Any) -> Any:
            """The mean with one more gradient, which is 0 if it is None."""
            g = jnp.asarray(0 if g is None else g, mean.dtype)
            # The first one replaces the old mean, which may be NaN.
            moved = mean + fraction.astype(mean.real.dtype) * (g - mean)
            new = jnp.where(first, g, moved)
            return jnp.where(w != 0, new, mean) if may_be_zero else new

        mean = jax.tree.map(joined, state.mean, updates)

        def step(_, inner_state):
            grads = jax.tree.map(_as, mean, updates)
            us, new = tx.update(grads, inner_state, params, **extra)
            us = jax.tree.map(cast_like, updates, us)
            check_structure(inner_state, new)
            return us, jax.tree.map(cast_like, inner_state, new)

        # The second branch returns its operands unchanged, so they are not copied.
        none = jax.tree.map(jnp.zeros_like, updates)
        us, inner_state = jax.lax.cond(
            runs, step, lambda *same: same, none, state.inner_state
        )
        count: Any = jnp.where(runs, optax.safe_increment(state.count), state.count)
        num_accumulated = jnp.where(ends, 0, num_accumulated)
        total = jnp.where(ends, 0, total)
        return us, AccumulateState(count, num_accumulated, total, mean, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _is_bool(x: Any) -> bool:
    """Whether `x` is a bool or a 0-d array of one, which may be traced."""
    return isinstance(x, bool) or (
        getattr(x, "dtype", None) == np.bool_ and jnp.shape(x) == ()
    )


def _as(mean: jax.Array, g: Any) -> Any:
    """The mean in the gradient's dtype; None if the gradient is None."""
    return None if g is None else mean.astype(jnp.result_type(g))
