"""Adafactor, as in the paper and in PyTorch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._checks import AtLeastOne, LearningRate, Mask, NonNegative, checked
from optax_extras._kernel._decay_and_rate import add_decay_with_inner_rate
from optax_extras._kernel._map_leaves import map_leaves, real_zeros, require_params
from optax_extras._learning_rates._source import RateState, as_rate
from optax_extras._numerics import (
    as_float,
    compute_dtype,
    dtype_of,
    placeholder,
    real_dtype,
)
from optax_extras._sharding import fit_boxes
from optax_extras._types import Params, State, Updates


class AdafactorState(NamedTuple):
    """State of `adafactor`.

    Of a leaf (..., m, n) of two dimensions or more it keeps the mean squares of rows
    and columns, of any other leaf those of its entries. In the trees where a leaf has
    nothing there is one 0 for it.
    """

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    nu: Any
    """Like the params, real and float32 at least: the second moments of vectors."""
    nu_row: Any
    """The same, shapes (..., m, 1): the mean square of each row."""
    nu_column: Any
    """The same, shapes (..., 1, n): the mean square of each column."""
    rate: RateState
    """The rate of the last update, as it was given."""


@checked
def adafactor(
    learning_rate: LearningRate = 1e-2,
    decay_rate: NonNegative = 0.8,
    *,
    eps: NonNegative | None = None,
    min_scale: NonNegative = 1e-3,
    clipping_threshold: AtLeastOne = 1.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adaptive steps with a second moment of a row and a column for each matrix.

    In the place of a second moment for each entry it keeps one number for each row and
    one for each column: prefer it to Adam where Adam's state does not fit into memory.
    It is the paper's rule without momentum, as PyTorch has it: every matrix is
    factored, the rate is relative to the size of the weights, and never above
    :math:`1/\sqrt t`. The paper adds an epsilon to every square; here, as in PyTorch,
    it is what is divided by at least. ``optax.adafactor`` is another form: it factors
    from 128 rows and columns on and along the two longest dimensions, starts its
    average differently, adds its epsilon as the paper does and does not bound the rate.

    .. math::
        R_t &= R_{t-1} + t^{-c} (\mathrm{mean}_{\mathrm{row}}\, g_t^2 - R_{t-1}),
            \quad C_t \text{ likewise}, \quad
            \hat V_t = \frac{R_t C_t}{\max(\mathrm{mean}\, R_t, \epsilon)} \\
        u_t &= \frac{g_t}{\max(\sqrt{\hat V_t}, \epsilon)}, \\
        w_t &= w_{t-1} - \max(\epsilon_2, \mathrm{rms}\, w_{t-1})
            \min\Big(\eta_t, \frac{1}{\sqrt t}\Big)
            \frac{u_t}{\max(1, \mathrm{rms}(u_t) / d)}

    at update :math:`t = 1, 2, \dots`, with the mean square of every row in :math:`R_t`
    and of every column in :math:`C_t`, and rms the root mean square over a leaf. A leaf
    of fewer than two dimensions has its whole :math:`V_t`; one of more than two is a
    stack of matrices, those of its last two axes. A gradient of 1e20, whose square
    overflows, makes its leaf NaN for good, as in PyTorch, and as it is finite it also
    passes ``optax.apply_if_finite``: clip the gradients.

    Inside of ``jax.shard_map`` every device needs whole leaves: the means here are not
    taken over devices. Under ``jax.jit`` leaves may lie split.

    Args:
      learning_rate: :math:`\eta_t \ge 0`, relative to the size of the weights: a
        number, a schedule, which is called with the number of updates already made, or
        a metric schedule.
      decay_rate: :math:`c \ge 0`; PyTorch's ``beta2_decay`` is :math:`-c`.
      eps: :math:`\epsilon \ge 0`; None: the machine epsilon of the leaf's dtype, as in
        PyTorch.
      min_scale: :math:`\epsilon_2 \ge 0`: weights whose root mean square is smaller
        count as if it were this, so that those of 0 move too.
      clipping_threshold: :math:`d \ge 1`, how large the root mean square of
        :math:`u_t` may be; a larger :math:`u_t` is scaled down to it.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs` with an `AdafactorState`, whose update
      needs the params; :func:`learning_rate` reads :math:`\eta_t`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adafactor(1e-2)

    References:
      Shazeer and Stern, `Adafactor: Adaptive learning rates with sublinear memory cost
      <https://arxiv.org/abs/1804.04235>`_, 2018
    """
    rate = as_rate("learning_rate", learning_rate)

    def init(params: Params) -> AdafactorState:
        zeros = real_zeros(params)
        parts = (jax.tree.map(part, zeros) for part in _PARTS)
        nu, row, column = (fit_boxes(part, zeros) for part in parts)
        return AdafactorState(jnp.zeros((), jnp.int32), nu, row, column, rate.init())

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        require_params(updates, params)
        eta, rate_state = rate.step(state.count, state.rate, **extra)
        t: Any = optax.safe_increment(state.count)
        time = as_float(t)
        weight = time ** -as_float(decay_rate)
        bound = jnp.minimum(eta, time**-0.5)

        def leaf(g, nu, row, column, w, epsilon):
            real = w.real.dtype
            # For an epsilon of 0: 0 / 0 is 0.
            bottom = jnp.maximum(epsilon, jnp.finfo(real).tiny ** 0.5)
            square, step = jnp.square(jnp.abs(g)), weight.astype(real)
            if g.ndim < 2:
                nu = estimate = nu + step * (square - nu)
            else:
                row = row + step * (_mean(square, -1) - row)
                column = column + step * (_mean(square, -2) - column)
                estimate = row * (column / jnp.maximum(_mean(row, -2), bottom))
            u = g / jnp.maximum(jnp.sqrt(estimate), bottom)
            # Where one entry is NaN the others go on, as in PyTorch.
            length = _larger(_rms(u) / clipping_threshold, 1)
            scale = _larger(_rms(w), min_scale) * bound.astype(real) / length
            return -scale * u, nu, row, column, w, epsilon

        epsilons = jax.tree.map(partial(_epsilon, eps), params)
        moments = (state.nu, state.nu_row, state.nu_column)
        others = (*moments, params, epsilons)
        us, nu, row, column, _, _ = map_leaves(leaf, updates, *others)
        return us, AdafactorState(t, nu, row, column, rate_state)

    tx = optax.GradientTransformationExtraArgs(init, update)
    return add_decay_with_inner_rate(tx, weight_decay, mask)


def _epsilon(eps: Any, param: Any) -> jax.Array:
    """That of the leaf's own dtype where none is given."""
    dtype = dtype_of(param)
    work = compute_dtype(dtype)
    rounded = dtype if jnp.issubdtype(dtype, jnp.inexact) else work
    value = jnp.finfo(rounded).eps if eps is None else eps
    return jnp.asarray(value, real_dtype(work))


def _mean(x: jax.Array, axis: int) -> jax.Array:
    """The mean along an axis, which stays; 0 along an empty one."""
    return jnp.sum(x, axis, keepdims=True) / max(x.shape[axis], 1)


def _entries(zero: jax.Array) -> jax.Array:
    return zero if zero.ndim < 2 else placeholder(zero, zero.dtype)


def _along(axis: int, zero: jax.Array) -> jax.Array:
    # A sum of zeros, so that it is sharded as the leaf is.
    if zero.ndim < 2:
        return placeholder(zero, zero.dtype)
    return jnp.sum(zero, axis=axis, keepdims=True)


_PARTS = (_entries, partial(_along, -1), partial(_along, -2))


def _larger(x: jax.Array, least: Any) -> jax.Array:
    return jnp.where(x > least, x, least)


def _rms(x: jax.Array) -> jax.Array:
    """The root mean square of a leaf, 0 for an empty one."""
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(x))) / max(x.size, 1))
