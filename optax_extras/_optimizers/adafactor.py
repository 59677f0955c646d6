"""Adafactor, as in the paper and in PyTorch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._boxes import fit_boxes
from optax_extras._checks import (
    AtLeastOne,
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked,
)
from optax_extras._kernel._assemble import add_decay_with_inner_rate
from optax_extras._kernel._map_leaves import map_leaves, real_zeros, require_params
from optax_extras._learning_rates._sources_by_path import (
    check_groups,
    of_leaves,
    rate_source,
)
from optax_extras._leaves import (
    along_first_axis,
    in_compute_dtype,
    machine_epsilon,
    placeholder,
    with_updates,
)
from optax_extras._lifted import is_by_path
from optax_extras._numerics import as_float
from optax_extras._types import Params, State, Updates


class AdafactorState(NamedTuple):
    """State of `adafactor`.

    A leaf (..., m, n) of two or more dimensions has the mean squares of its rows and
    columns here, any other leaf the mean squares of its entries. A tree that
    stores nothing for a leaf has a single 0 in its place.
    """

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    nu: Any
    """Like the params, real and float32 at least: the mean square of each entry."""
    nu_row: Any
    """The same, shapes (..., m, 1): the mean square of each row."""
    nu_column: Any
    """The same, shapes (..., 1, n): the mean square of each column."""
    rate: Any
    """The learning rate of the last update, as it was given."""

    buffers_hold = (("nu", "nu"), ("nu_row", "nu_row"), ("nu_column", "nu_column"))
    shares_count = True


@checked
def adafactor(
    learning_rate: LearningRate = 1e-2,
    decay_rate: NonNegative = 0.8,
    *,
    eps: NonNegative | None = None,
    eps_in_square: bool = False,
    min_scale: NonNegative = 1e-3,
    clipping_threshold: AtLeastOne = 1.0,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adaptive steps that store one number for each row and column of a matrix.

    Adam stores a second moment for each entry of a matrix, Adafactor one for each row
    and one for each column. Prefer it if Adam's state does not fit into memory.

    This is PyTorch's form: the paper's rule without momentum and with another epsilon.
    Every matrix is factored. The learning rate is relative to the size of the weights
    and never above :math:`1/\sqrt t`. The paper adds epsilon to every square, as Keras
    does and `eps_in_square` does here; otherwise epsilon is a lower limit of the
    divisors. ``optax.adafactor`` differs: it factors matrices of at least 128 rows and
    columns, along the two longest dimensions, starts its average differently, adds
    epsilon as in the paper and has no limit of :math:`1/\sqrt t`.

    .. math::
        R_t &= R_{t-1} + t^{-c} (\mathrm{mean}_{\mathrm{row}}\, g_t^2 - R_{t-1}),
            \quad C_t \text{ likewise}, \quad
            \hat V_t = \frac{R_t C_t}{\max(\mathrm{mean}\, R_t, \epsilon)} \\
        u_t &= \frac{g_t}{\max(\sqrt{\hat V_t}, \epsilon)}, \\
        w_t &= w_{t-1} - \max(\epsilon_2, \mathrm{rms}\, w_{t-1})
            \min\Big(\eta_t, \frac{1}{\sqrt t}\Big)
            \frac{u_t}{\max(1, \mathrm{rms}(u_t) / d)}

    at update :math:`t = 1, 2, \dots`, with the mean square of every row in :math:`R_t`
    and of every column in :math:`C_t`, and rms the root mean square of a leaf. A leaf
    of fewer than two dimensions is not factored and has a full :math:`V_t`. A leaf of
    more than two is a stack of matrices, in its last two axes.

    Clip the gradients: the square of a gradient of 1e20 overflows, which makes its leaf
    NaN permanently (only its entry, if the leaf is not factored), as in PyTorch. Such a
    gradient is finite, so ``optax.apply_if_finite`` does not stop it.

    Inside ``jax.shard_map`` every device needs complete leaves, because the means are
    not taken over devices. Under ``jax.jit`` leaves may be sharded.

    Args:
      learning_rate: The learning rate :math:`\eta_t`, relative to the weights' size.
      decay_rate: :math:`c`; PyTorch's ``beta2_decay`` is :math:`-c`.
      eps: :math:`\epsilon`. None: machine epsilon of the leaf's dtype, as in PyTorch;
        with `eps_in_square` 1e-30, as in the paper.
      eps_in_square: Add :math:`\epsilon` to every :math:`g_t^2` instead, as in the
        paper.
      min_scale: :math:`\epsilon_2`, the least root mean square of the weights that
        scales a step, so that weights of 0 move too.
      clipping_threshold: :math:`d`, the largest root mean square of :math:`u_t`; a
        larger :math:`u_t` is scaled down to it.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Returns:
      Its `update` needs the params; :func:`learning_rate` reads :math:`\eta_t`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adafactor(1e-2)

    References:
      Shazeer and Stern, `Adafactor: Adaptive learning rates with sublinear memory cost
      <https://arxiv.org/abs/1804.04235>`_, 2018
    """
    rate = rate_source("learning_rate", learning_rate)
    eps = 1e-30 if eps is None and eps_in_square else eps

    def init(params: Params) -> AdafactorState:
        check_groups(rate, params)
        zeros = real_zeros(params)
        nu, row, column = (
            fit_boxes(jax.tree.map(partial(_buffer, axis), zeros), zeros)
            for axis in (None, -1, -2)
        )
        return AdafactorState(jnp.zeros((), jnp.int32), nu, row, column, rate.init())

    def epsilon_of(param):
        return in_compute_dtype(machine_epsilon(param) if eps is None else eps, param)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        require_params(updates, params)
        eta, rate_state = rate.step(state.count, state.rate, **extra)
        t: Any = optax.safe_increment(state.count)
        time = as_float(t)
        weight = time ** -as_float(decay_rate)
        bounds = jax.tree.map(lambda x: jnp.minimum(x, time**-0.5), eta)

        def leaf(g, nu, row, column, w, epsilon, bound):
            real = w.real.dtype
            # At an epsilon of 0 the divisors stay above 0, so that 0 / 0 is 0.
            tiny, added = jnp.finfo(real).tiny, 0
            least_mean = least_root = jnp.maximum(epsilon, tiny**0.5)
            if eps_in_square:
                least_mean, least_root, added = tiny, tiny**0.5, epsilon
            square, step = jnp.square(jnp.abs(g)) + added, weight.astype(real)
            if g.ndim < 2:
                nu = estimate = _moved(nu, square, step)
            else:
                row = _moved(row, _mean(square, -1), step)
                column = _moved(column, _mean(square, -2), step)
                estimate = row * (column / jnp.maximum(_mean(row, -2), least_mean))
            u = g / jnp.maximum(jnp.sqrt(estimate), least_root)
            length = _at_least(1, _rms(u) / clipping_threshold)
            bound = along_first_axis(bound, g)
            scale = _at_least(min_scale, _rms(w)) * bound.astype(real) / length
            return -scale * u, nu, row, column

        params = with_updates(updates, params)
        epsilons = jax.tree.map(epsilon_of, params)
        inputs = params, epsilons, of_leaves(rate, bounds, updates)
        buffers = state.nu, state.nu_row, state.nu_column
        us, nu, row, column = map_leaves(leaf, updates, *buffers, inputs=inputs)
        return us, AdafactorState(t, nu, row, column, rate_state)

    tx = optax.GradientTransformationExtraArgs(init, update)
    if not is_by_path(learning_rate):
        return add_decay_with_inner_rate(tx, weight_decay, mask)
    return add_decay_with_inner_rate(
        tx, weight_decay, mask, lambda state: state.rate.by_group(), learning_rate
    )


def _moved(old: jax.Array, new: jax.Array, weight: jax.Array) -> jax.Array:
    """The average, moved toward `new`; at a weight of 1 it is `new` to the last digit.

    As in PyTorch, a NaN or infinity makes it NaN for ever.
    """
    change = new - old
    near = new - change * (1 - weight)
    return jnp.where(weight < 0.5, old + weight * change, near)


def _mean(x: jax.Array, axis: int) -> jax.Array:
    """The mean along an axis, with `keepdims`; 0 along an empty axis."""
    return jnp.sum(x, axis, keepdims=True) / max(x.shape[axis], 1)


def _buffer(axis: int | None, zero: jax.Array) -> jax.Array:
    """Zeros for the means along an axis, or for the entries of a leaf (axis None)."""
    if (axis is None) != (zero.ndim < 2):
        return placeholder(zero, zero.dtype)
    # A sum of zeros has the leaf's sharding.
    return zero if axis is None else jnp.sum(zero, axis=axis, keepdims=True)


def _at_least(least: Any, x: jax.Array) -> jax.Array:
    # Also for a NaN: one NaN entry does not stop the others, as in PyTorch.
    return jnp.where(x > least, x, least)


def _rms(x: jax.Array) -> jax.Array:
    """The root mean square of a leaf, 0 for an empty one."""
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(x))) / max(x.size, 1))
