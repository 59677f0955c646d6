"""Rprop, as in PyTorch."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._by_path import FROZEN, ByPath
from optax_extras._checks import (
    AboveOne,
    LearningRate,
    NonNegative,
    OpenFraction,
    Positive,
    checked,
)
from optax_extras._errors import refuse
from optax_extras._groups._freeze import freeze
from optax_extras._kernel._map_leaves import (
    map_leaves,
    real_zeros,
    refuse_complex,
    zeros,
)
from optax_extras._learning_rates._source import as_rate, starts_at_zero
from optax_extras._learning_rates._sources_by_path import (
    check_groups,
    of_leaves,
    rate_source,
)
from optax_extras._leaves import along_first_axis
from optax_extras._types import Params, State, Updates


class RpropState(NamedTuple):
    """State of `rprop`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    step_sizes: Any
    """Like the params, real and float32 at least: the step size of each weight."""
    previous: Any
    """Like the params, float32 at least: the last sign, 0 where the sign changed."""
    rate: Any
    """The learning rate that the step sizes started with."""

    buffers_hold = (("step_sizes", "step_sizes"), ("previous", "previous"))


@checked
def rprop(
    learning_rate: LearningRate,
    eta_minus: OpenFraction = 0.5,
    eta_plus: AboveOne = 1.2,
    min_step_size: NonNegative = 1e-6,
    max_step_size: Positive = 50.0,
) -> optax.GradientTransformationExtraArgs:
    r"""Steps by the sign of the gradient, with a step size that adapts for each weight.

    Use it only with gradients of the complete data: with small batches signs change at
    random, and the step sizes shrink. This is PyTorch's form: where the gradient's sign
    changes, the weight does not move in that update. ``optax.rprop`` has the same
    arguments, but takes each step one update late: its first update is 0.

    .. math::
        \Delta_t &= \mathrm{clip}\big(\Delta_{t-1} \cdot
            \{\eta^+, \eta^-, 1\}, \Delta_{\min}, \Delta_{\max}\big)
            \quad \text{for } g_t\, g_{t-1} \{> 0, < 0, = 0\}, \\
        w_t &= w_{t-1} - \mathrm{sign}(g_t)\, \Delta_t

    The factor is :math:`\eta^+` where :math:`g_t\, g_{t-1}` is positive,
    :math:`\eta^-` where it is negative, and 1 where it is 0. Where it is negative,
    :math:`g_t` is replaced by 0, in this step and in the product of the next update. A
    NaN is always replaced by 0. PyTorch multiplies the gradients, and the product of
    small ones may underflow to 0; here only their signs are multiplied.

    Args:
      learning_rate: The first step size :math:`\Delta_0`. Only the first value of
        a schedule or metric schedule is used, as in PyTorch; it must not be 0.
      eta_minus: :math:`\eta^-`, the factor where the sign has changed.
      eta_plus: :math:`\eta^+`, the factor where the sign is the same.
      min_step_size: :math:`\Delta_{\min}`, the least step size.
      max_step_size: :math:`\Delta_{\max}`, the largest step size.

    Returns:
      Its state is an `RpropState`, whose `step_sizes` are :math:`\Delta_t`;
      :func:`learning_rate` reads :math:`\Delta_0`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.rprop(1e-2)

    References:
      Riedmiller and Braun, `A direct adaptive method for faster backpropagation
      learning <https://doi.org/10.1109/ICNN.1993.298623>`_, 1993
    """
    rate = rate_source("learning_rate", learning_rate)
    check_first_value("learning_rate", learning_rate)

    def init(params: Params) -> RpropState:
        refuse_complex(params)
        check_groups(rate, params)

        def size(zero: jax.Array, value: jax.Array) -> jax.Array:
            # A sum with zeros, because under `jit` `full_like` has no sharding.
            return zero + along_first_axis(value, zero)

        sizes = jax.tree.map(size, real_zeros(params), first_sizes(params))
        return RpropState(jnp.zeros((), jnp.int32), sizes, zeros(params), rate.init())

    def first_sizes(tree: Any) -> Any:
        values, _ = rate.step(jnp.zeros((), jnp.int32), rate.init())
        return of_leaves(rate, values, tree)

    def leaf(g, size, previous, first):
        # That of a param that was frozen from the beginning is 0.
        size = jnp.where(size == 0, along_first_axis(first, g), size)
        sign = jnp.where(jnp.isnan(g), 0, jnp.sign(g))
        agreement = sign * previous  # the product of the gradients may underflow
        turned = agreement < 0
        # The division comes last because XLA never computes a quotient twice. Without
        # it, XLA on a CPU copies the old sizes and computes the new ones twice from
        # them: once as the state and once within the updates.
        divisor = jnp.where(agreement > 0, 1 / eta_plus, 1)
        divisor = jnp.where(turned, 1 / eta_minus, divisor)
        least, most = min_step_size * divisor, max_step_size * divisor
        size = jnp.clip(size, least, most) / divisor
        sign = jnp.where(turned, 0, sign)
        return -sign * size, size, sign

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        del params, extra
        old, first = (state.step_sizes, state.previous), first_sizes(updates)
        us, sizes, previous = map_leaves(leaf, updates, *old, inputs=(first,))
        t: Any = optax.safe_increment(state.count)
        return us, RpropState(t, sizes, previous, state.rate)

    return freeze(optax.GradientTransformationExtraArgs(init, update), learning_rate)


def check_first_value(argument: str, learning_rate: Any) -> None:
    """Raises for a schedule that starts at 0: no weight would ever move."""
    given = [learning_rate]
    if isinstance(learning_rate, ByPath):
        given = [learning_rate.value(x) for x in learning_rate.values]
    if any(starts_at_zero(as_rate(argument, x)) for x in given if x is not FROZEN):
        must = "not start at 0: only the first value of a schedule is used"
        hint = "Give the first step size, a number, instead."
        refuse(argument, must, learning_rate, hint)
