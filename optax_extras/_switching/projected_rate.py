"""The condition of SWATS: the rate of SGD that Adam's steps amount to has settled."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._checks import Decay, Positive, StepCount, checked
from optax_extras._errors import refuse
from optax_extras._numerics import (
    as_float,
    as_phase,
    compute_dtype,
    float_dtype,
    one_minus_power,
)
from optax_extras._switching._collectives import check_axes, sum_of_leaves
from optax_extras._switching.conditions import Condition
from optax_extras._values import is_traced


class ProjectionState(NamedTuple):
    """What `projected_rate_settles` carries; numbers of shape (), float32 at least.

    An update can be projected if its u.g is not 0 and all numbers are finite.
    """

    num_projected: jax.Array
    """int32: updates that could be projected."""
    numerator: jax.Array
    """The average of the projected rates, not corrected; of u.u with `"ratio"`."""
    denominator: jax.Array
    """What it is divided by: the correction, or the average of u.g with `"ratio"`."""
    estimate: jax.Array
    """Their quotient, the running estimate; 0 before any."""
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
    r"""Fires when the rate that SGD would need for an update agrees with its average.

    The condition of SWATS. For each update there is a rate :math:`\gamma` at which a
    step of SGD, :math:`-\gamma g`, projected onto the direction of the update, is
    exactly that update, :math:`-u`. It fires when the :math:`\gamma` of an update
    agrees with the average of all so far, the estimate :math:`\Lambda`; with :math:`k`
    the number of updates averaged:

    .. math::
        \gamma_k = \frac{u \cdot u}{u \cdot g}, \quad
        \lambda \leftarrow \beta \lambda + (1 - \beta) \gamma_k, \quad
        \Lambda = \frac{\lambda}{1 - \beta^k}, \quad
        |\Lambda - \gamma_k| < \epsilon \Lambda

    :math:`\gamma` is noisy, so that the moment of agreement is a chance one; the
    average need not have come to rest. A negative :math:`\gamma`, of a step against the
    gradient, is averaged like any other, as in the paper.

    An update whose :math:`u \cdot g` is 0, or for which any of these numbers is not
    finite, is passed over: it is not averaged, and there is no agreement at it. Only
    `max_steps` can fire there, and only where both products are finite.

    Args:
      tolerance: :math:`\epsilon > 0`.
      tolerance_mode: ``"relative"`` as above, or ``"absolute"``:
        :math:`|\Lambda - \gamma_k| < \epsilon`, as in the paper, whose 1e-9 in practice
        never holds.
      min_steps: The first update of the first phase at which it may fire, an integer of
        at least 1. The very first, where :math:`\Lambda = \gamma`, does not count as
        agreement.
      max_steps: From this update on it fires without agreement, as soon as there is an
        estimate at all; an integer of at least `min_steps`. None: never.
      require_positive: Whether it waits, also past `max_steps`, until
        :math:`\Lambda > 0`.
      estimator: ``"average"`` as above, or ``"ratio"``: :math:`\Lambda` is the average
        of :math:`u \cdot u` over that of :math:`u \cdot g`, which is much less noisy.
      decay: :math:`\beta` in [0, 1), of the averages.
      axis_name: Only inside of `jax.shard_map`, where a device sees a part of the
        params: over which axes of the mesh the two products are summed further, so that
        they are those of all params. A name or a tuple of names where every leaf is
        split over these; the tree of `PartitionSpec` of the params where some leaves
        are whole. None, which is right everywhere else, also under `jit` with sharded
        params: the sums over what is seen.

    Returns:
      A `Condition` for :func:`switch`; its condition_state is a `ProjectionState`.

    Examples:
      >>> import optax_extras as oxe
      >>> when = oxe.projected_rate_settles(tolerance=1e-2, min_steps=200)
      >>> rule = oxe.switch(oxe.rules.adam(), oxe.rules.momentum(), when)
      >>> tx = oxe.scale_by_moments(rule)

    References:
      Keskar and Socher, `Improving generalization performance by switching from Adam
      to SGD <https://arxiv.org/abs/1712.07628>`_, 2017
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
    max_steps: Any,
    require_positive: bool,
    ratio_of_averages: bool,
    decay: Any,
    axis_name: Any,
    correct_every_step: bool = False,
) -> Condition:
    """The same; Algorithm 1 also corrects the average for updates passed over."""
    known = max_steps is not None and not any(map(is_traced, (min_steps, max_steps)))
    if known and max_steps < min_steps:
        refuse("max_steps", f"be at least `min_steps`, {min_steps}", max_steps)
    check_axes(axis_name)

    def init():
        return ProjectionState(jnp.zeros((), jnp.int32), *(as_float(0) for _ in "1234"))

    def update(condition_state, count, /, *, grads, updates, params, **extra):
        del params, extra
        pairs = list(zip(*map(jax.tree.leaves, (updates, grads)), strict=True))
        products = [(_dot(u, u), _dot(u, g)) for u, g in pairs]
        if products:
            uu, ug = sum_of_leaves(axis_name, products, updates)
        else:
            uu = ug = jnp.zeros((), float_dtype())
        finite = jnp.isfinite(uu) & jnp.isfinite(ug)
        valid = finite & (ug != 0)
        ratio = jnp.where(valid, uu, 1) / jnp.where(valid, ug, 1)
        valid = valid & jnp.isfinite(ratio)

        def average(old, new):
            return as_float(decay) * old + as_float(1 - decay) * new

        used: Any = optax.safe_increment(condition_state.num_projected)
        if ratio_of_averages:
            top, bottom = (
                average(condition_state.numerator, uu),
                average(condition_state.denominator, ug),
            )
        else:
            top = average(condition_state.numerator, ratio)
            bottom = one_minus_power(decay, count if correct_every_step else used)
        divisible = bottom != 0
        estimate = jnp.where(divisible, top, 0) / jnp.where(divisible, bottom, 1)
        new = ProjectionState(used, *map(as_float, (top, bottom, estimate, ratio)))
        condition_state = jax.tree.map(
            lambda a, b: jnp.where(valid, a, b), new, condition_state
        )
        if correct_every_step:
            condition_state = condition_state._replace(
                estimate=condition_state.numerator / bottom
            )

        scale = condition_state.estimate if relative else 1
        agrees = (
            jnp.abs(condition_state.estimate - condition_state.last_ratio)
            < as_float(tolerance) * scale
        )
        fires = agrees & valid & (as_phase(count) >= as_phase(min_steps))
        if not correct_every_step:  # the average of the first projection is itself
            fires = fires & (condition_state.num_projected > 1)
        if max_steps is not None:
            fires = fires | (as_phase(count) >= as_phase(max_steps))
        if require_positive:
            fires = fires & (condition_state.estimate > 0)
        known = (condition_state.num_projected > 0) & jnp.isfinite(
            condition_state.estimate
        )
        return fires & finite & known, condition_state

    return Condition(init, update)


def _dot(x: jax.Array, y: jax.Array) -> jax.Array:
    """The real inner product of two leaves, in float32 at least."""
    dtype = compute_dtype(jnp.result_type(x), jnp.result_type(y))
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.sum(x.real * y.real + x.imag * y.imag)
    return jnp.sum(x * y)
