"""The condition of SWATS: SGD's learning rate, projected from Adam's steps."""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._check_values import is_traced
from optax_extras._checks import Decay, Positive, StepCount, checked
from optax_extras._errors import refuse
from optax_extras._leaves import compute_dtype
from optax_extras._numerics import as_float, as_uint32, float_dtype, one_minus_power
from optax_extras._switching._collectives import check_axes, sum_of_leaves
from optax_extras._switching.conditions import Condition


class ProjectionState(NamedTuple):
    """State of `projected_rate_settles`; numbers of shape (), float32 at least.

    An update can be projected if its u.g is not 0 and all numbers are finite.
    """

    num_projected: jax.Array
    """int32: updates that could be projected."""
    numerator: jax.Array
    """The average of the projected rates, without correction; with `"ratio"`, of
    u.u."""
    denominator: jax.Array
    """The bias correction; with `"ratio"` the average of u.g."""
    estimate: jax.Array
    """`numerator / denominator`, the running estimate; 0 before any."""
    last_ratio: jax.Array
    """The projected rate of the last update that could be projected; 0 before any."""


@checked
def projected_rate_settles(
    tolerance: Positive = 1e-3,
    *,
    tolerance_mode: Literal["relative", "absolute"] = "relative",
    min_steps: StepCount = 1000,
    max_steps: StepCount | None = None,
    require_positive: bool = True,
    estimator: Literal["average", "ratio"] = "average",
    decay: Decay = 0.999,
    axis_name: Any = None,
) -> Condition:
    r"""Fires when the learning rate that SGD would need agrees with its average.

    The condition of :func:`swats`, for :func:`switch`. Its state is a
    `ProjectionState`. For each update :math:`-u` there is a learning rate
    :math:`\gamma`, the projected rate: with it, a step of SGD, :math:`-\gamma g`,
    projected onto the direction of the update, is exactly that update. The condition
    fires when the :math:`\gamma` of an update agrees with the average of all so far,
    the estimate :math:`\Lambda`. With :math:`k` the number of updates averaged:

    .. math::
        \gamma_k = \frac{u \cdot u}{u \cdot g}, \quad
        \lambda \leftarrow \beta \lambda + (1 - \beta) \gamma_k, \quad
        \Lambda = \frac{\lambda}{1 - \beta^k}, \quad
        |\Lambda - \gamma_k| < \epsilon \Lambda

    :math:`\gamma` is noisy, so they agree by chance; the average may still change. A
    negative :math:`\gamma`, of a step against the gradient, is averaged like any other,
    as in the paper.

    An update is skipped if its :math:`u \cdot g` is 0, or if any of these numbers is
    not finite: it is not averaged and cannot agree. Only `max_steps` can fire there,
    and only if both products are finite.

    Args:
      tolerance: :math:`\epsilon`.
      tolerance_mode: ``"relative"`` as above, or ``"absolute"``:
        :math:`|\Lambda - \gamma_k| < \epsilon`, as in the paper, whose 1e-9 in practice
        never holds.
      min_steps: The first update of the first phase at which it may fire. The very
        first, where :math:`\Lambda = \gamma`, does not count as agreement.
      max_steps: From this update on, at least `min_steps`, it fires without agreement,
        as soon as there is an estimate. None: never.
      require_positive: Whether it waits until :math:`\Lambda > 0`, also past
        `max_steps`.
      estimator: ``"average"`` as above, or ``"ratio"``: :math:`\Lambda` is the average
        of :math:`u \cdot u` over that of :math:`u \cdot g`, which is much less noisy.
      decay: :math:`\beta`, the decay of the averages.
      axis_name: The mesh axes over which to sum both products inside `jax.shard_map`,
        where each device has a part of the params. A name or a tuple of names if every
        leaf is sharded over these axes; the params' tree of `PartitionSpec` if some
        leaves are replicated. None: no such sum, right everywhere else, also under
        `jit` with sharded params.

    Examples:
      >>> import optax_extras as oxe
      >>> when = oxe.projected_rate_settles(tolerance=1e-2, min_steps=200)
      >>> rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), when)
      >>> tx = oxe.scale_by_moments(rule)
    """
    return projection_condition(
        tolerance,
        relative=tolerance_mode == "relative",
        min_steps=min_steps,
        max_steps=max_steps,
        require_positive=require_positive,
        ratio_of_averages=estimator == "ratio",
        decay=decay,
        axis_name=axis_name,
    )


def projection_condition(
    tolerance: Any,
    *,
    relative: bool,
    min_steps: Any,
    require_positive: bool,
    decay: Any,
    axis_name: Any,
    max_steps: Any = None,
    ratio_of_averages: bool = False,
    correct_every_step: bool = False,
) -> Condition:
    """The same; with `correct_every_step` (Algorithm 1) k counts skipped updates."""
    known = max_steps is not None and not any(map(is_traced, (min_steps, max_steps)))
    if known and max_steps < min_steps:
        refuse("max_steps", f"be at least `min_steps`, {min_steps}", max_steps)
    check_axes(axis_name)

    def init():
        # Four arrays: one array in several fields would be donated several times.
        zeros = map(as_float, [0] * 4)
        return ProjectionState(jnp.zeros((), jnp.int32), *zeros)

    def update(condition_state, count, /, *, grads, updates, params, **extra):
        measured = measure(grads=grads, updates=updates, params=params)
        return decide(condition_state, count, measured, **extra)

    def measure(*, grads, updates, params):
        del params
        pairs = zip(*map(jax.tree.leaves, (updates, grads)), strict=True)
        products = [(_dot(u, u), _dot(u, g)) for u, g in pairs]
        if products:
            uu, ug = sum_of_leaves(axis_name, products, updates)
        else:
            uu = ug = jnp.zeros((), float_dtype())
        return uu, ug

    def decide(condition_state, count, measured, /, **extra):
        del extra
        uu, ug = measured
        finite = jnp.isfinite(uu) & jnp.isfinite(ug)
        valid = finite & (ug != 0)
        # Both operands are guarded: 0/0 behind the `where` would make gradients NaN.
        ratio = jnp.where(valid, uu, 1) / jnp.where(valid, ug, 1)
        valid = valid & jnp.isfinite(ratio)

        def average(old, new):
            # Subtracted before the cast: in float32 1 - 0.999 has few correct digits.
            return as_float(decay) * old + as_float(1 - decay) * new

        old = condition_state
        used: Any = optax.safe_increment(old.num_projected)
        if ratio_of_averages:
            top, bottom = average(old.numerator, uu), average(old.denominator, ug)
        else:
            top = average(old.numerator, ratio)
            bottom = one_minus_power(decay, count if correct_every_step else used)
        divisible = bottom != 0
        estimate = jnp.where(divisible, top, 0) / jnp.where(divisible, bottom, 1)
        new = ProjectionState(used, *map(as_float, (top, bottom, estimate, ratio)))
        new = jax.tree.map(functools.partial(jnp.where, valid), new, old)
        if correct_every_step:
            new = new._replace(estimate=new.numerator / bottom)

        scale = new.estimate if relative else 1
        difference = jnp.abs(new.estimate - new.last_ratio)
        fires = difference < as_float(tolerance) * scale
        fires = fires & valid & (as_uint32(count) >= as_uint32(min_steps))
        if not correct_every_step:  # the average of the first projection is itself
            fires = fires & (new.num_projected > 1)
        if max_steps is not None:
            fires = fires | (as_uint32(count) >= as_uint32(max_steps))
        if require_positive:
            fires = fires & (new.estimate > 0)
        has_estimate = (new.num_projected > 0) & jnp.isfinite(new.estimate)
        return fires & finite & has_estimate, new

    return Condition(init, update, (measure, decide))


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """The real inner product of two leaves, in float32 at least."""
    dtype = compute_dtype(jnp.result_type(x), jnp.result_type(y))
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.sum(x.real * y.real + x.imag * y.imag)
    return jnp.sum(x * y)
