"""Adamax, with its epsilon in either place."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel._decay import Mask, descend
from optax_extras._kernel._leaves import by_leaf, real_zeros, zeros
from optax_extras._numerics import one_minus_power


class ScaleByAdamaxState(NamedTuple):
    """State of `scale_by_adamax`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    mu: Any
    """Like the params, float32 at least: the average gradient."""
    nu: Any
    """Like the params, real and float32 at least: the decaying maximum."""


def scale_by_adamax(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    eps_in_maximum: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `adamax` and its arguments, without rate and sign."""
    b1 = _checks.real("adamax", "b1", b1, "[0, 1)")
    b2 = _checks.real("adamax", "b2", b2, "[0, 1)")
    eps = _checks.real("adamax", "eps", eps, "[0, inf)")
    inside = _checks.flag("adamax", "eps_in_maximum", eps_in_maximum)

    def init(params: Any) -> ScaleByAdamaxState:
        count = jnp.zeros((), jnp.int32)
        return ScaleByAdamaxState(count, zeros(params), real_zeros(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        del params, extra
        t: Any = optax.safe_increment(state.count)
        share = one_minus_power(b1, t)

        def leaf(g, mu, nu):
            mu = b1 * mu + (1 - b1) * g
            nu = jnp.maximum(b2 * nu, jnp.abs(g) + (eps if inside else 0))
            bottom = share * (nu if inside else nu + eps)
            # Where nothing has ever come, 0 / 0 is 0.
            return mu / jnp.maximum(bottom, jnp.finfo(nu.dtype).tiny), mu, nu

        us, mu, nu = by_leaf(leaf, updates, state.mu, state.nu)
        return us, ScaleByAdamaxState(t, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def adamax(
    learning_rate: ArrayLike | optax.Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    eps_in_maximum: bool = True,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam with a decaying maximum of the gradients in the place of their mean square.

    Its steps are hardly ever longer than the rate, where a step of Adam after many
    gradients of 0 can be three times as long: prefer it for gradients that are mostly
    zero. As in PyTorch the epsilon is added to each gradient before the maximum is
    taken. ``optax.adamax`` has this form too, but keeps its buffers in the params'
    dtype; with ``eps_in_maximum=False`` the epsilon is added to the maximum, as in
    Keras. The paper has none.

    .. math::
        u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon), \qquad
        w_t = w_{t-1} - \frac{\eta_t}{1 - \beta_1^t} \frac{m_t}{u_t}

    with Adam's :math:`m_t` and :math:`u_0 = 0`; with ``eps_in_maximum=False``
    :math:`u_t + \epsilon` stands below, and no :math:`\epsilon` inside.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1), the decay of the average gradient.
      b2: :math:`\beta_2` in [0, 1), the decay of the maximum.
      eps: :math:`\epsilon \ge 0`.
      eps_in_maximum: Whether :math:`\epsilon` is added before the maximum is taken.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate,
      ``optax.tree.get(state, "mu")`` its :math:`m_t`, ``"nu"`` its :math:`u_t`.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adamax(2e-3)

    References:
      Kingma and Ba, `Adam: A method for stochastic optimization
      <https://arxiv.org/abs/1412.6980>`_, 2015, section 7.1
    """
    direction = scale_by_adamax(b1, b2, eps, eps_in_maximum=eps_in_maximum)
    return descend("adamax", direction, learning_rate, weight_decay, mask)
