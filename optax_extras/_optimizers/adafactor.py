"""Adafactor, as in the paper and in PyTorch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel._decay import Mask, decayed
from optax_extras._kernel._leaves import by_leaf, needs_params, real_zeros
from optax_extras._learning_rates._source import RateState, as_rate
from optax_extras._numerics import as_float, compute_dtype, real_dtype


class FactoredMoment(NamedTuple):
    """The second moment of a matrix, or of each matrix of a leaf (..., m, n)."""

    row: jax.Array
    """Shape (..., m, 1), real and float32 at least: the mean square of each row."""
    column: jax.Array
    """Shape (..., 1, n), the same of each column."""


class AdafactorState(NamedTuple):
    """State of `adafactor`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    nu: Any
    """The second moments: a `FactoredMoment` for each leaf of two dimensions or more,
    an array like the leaf for any other."""
    rate: RateState
    """The rate of the last update, as it was given."""


def adafactor(
    learning_rate: ArrayLike | optax.Schedule = 1e-2,
    decay_rate: ArrayLike = 0.8,
    *,
    eps: ArrayLike | None = None,
    min_scale: ArrayLike = 1e-3,
    clipping_threshold: ArrayLike = 1.0,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
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

    Raises:
      ValueError: If a number is out of range, or an update is not given the params.
      TypeError: If an argument is not of the kind said above.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adafactor(1e-2)

    References:
      Shazeer and Stern, `Adafactor: Adaptive learning rates with sublinear memory cost
      <https://arxiv.org/abs/1804.04235>`_, 2018
    """
    rate = as_rate("adafactor", "learning_rate", learning_rate)
    power = _checks.real("adafactor", "decay_rate", decay_rate, "[0, inf)")
    if eps is not None:
        eps = _checks.real("adafactor", "eps", eps, "[0, inf)")
    least = _checks.real("adafactor", "min_scale", min_scale, "[0, inf)")
    threshold = _checks.real(
        "adafactor", "clipping_threshold", clipping_threshold, "[1, inf)"
    )

    def init(params: Any) -> AdafactorState:
        nu = jax.tree.map(_moment, real_zeros(params))
        return AdafactorState(jnp.zeros((), jnp.int32), nu, rate.init())

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        needs_params("adafactor", updates, params)
        eta, kept = rate.step(state.count, state.rate, **extra)
        t: Any = optax.safe_increment(state.count)
        time = as_float(t)
        share, bound = time ** -as_float(power), jnp.minimum(eta, time**-0.5)

        def leaf(g, nu, w, epsilon):
            real = w.real.dtype
            # For an epsilon of 0: 0 / 0 is 0.
            bottom = jnp.maximum(epsilon, jnp.finfo(real).tiny ** 0.5)
            nu, estimate = _averaged(g, nu, share.astype(real), bottom)
            u = g / jnp.maximum(jnp.sqrt(estimate), bottom)
            # Where one entry is NaN the others go on, as in PyTorch.
            length = _larger(_rms(u) / threshold, 1)
            scale = _larger(_rms(w), least) * bound.astype(real) / length
            return -scale * u, nu, w, epsilon

        epsilons = jax.tree.map(partial(_epsilon, eps), params)
        us, nu, *_ = by_leaf(leaf, updates, state.nu, params, epsilons)
        return us, AdafactorState(t, nu, kept)

    tx = optax.GradientTransformationExtraArgs(init, update)
    return decayed("adafactor", tx, weight_decay, mask)


def _epsilon(eps: Any, param: Any) -> jax.Array:
    """That of the leaf's own dtype where none is given."""
    dtype = jnp.asarray(param).dtype
    work = compute_dtype(dtype)
    rounded = dtype if jnp.issubdtype(dtype, jnp.inexact) else work
    value = jnp.finfo(rounded).eps if eps is None else eps
    return jnp.asarray(value, real_dtype(work))


def _moment(zero: jax.Array) -> Any:
    if zero.ndim < 2:
        return zero
    # Sums of zeros, so that they are sharded as the leaf is.
    row, column = (jnp.sum(zero, axis=axis, keepdims=True) for axis in (-1, -2))
    return FactoredMoment(row, column)


def _averaged(g: jax.Array, nu: Any, share: jax.Array, eps: Any) -> tuple[Any, Any]:
    """The new moment, and the estimate of each entry's second moment."""
    square = jnp.square(jnp.abs(g))
    if not isinstance(nu, FactoredMoment):
        nu = nu + share * (square - nu)
        return nu, nu
    row, column = (
        old
        + share * (jnp.sum(square, axis, keepdims=True) / max(g.shape[axis], 1) - old)
        for old, axis in zip(nu, (-1, -2), strict=True)
    )
    mean = jnp.sum(row, -2, keepdims=True) / max(row.shape[-2], 1)
    return FactoredMoment(row, column), row * (column / jnp.maximum(mean, eps))


def _larger(x: jax.Array, least: Any) -> jax.Array:
    return jnp.where(x > least, x, least)


def _rms(x: jax.Array) -> jax.Array:
    """The root mean square of a leaf, 0 for an empty one."""
    return jnp.sqrt(jnp.sum(jnp.square(jnp.abs(x))) / max(x.size, 1))
