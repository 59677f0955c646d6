"""AdaGrad, as in the paper and in PyTorch."""

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel._decay import Mask, descend
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import as_float


def adagrad_rule(
    eps: ArrayLike = 1e-10,
    *,
    lr_decay: ArrayLike = 0.0,
    initial_accumulator_value: ArrayLike = 0.0,
) -> Rule:
    r"""The gradient over the root of the sum of its squares; see `oxe.adagrad`.

    .. math::
        h \leftarrow h + g^2, \qquad
        u = \frac{1}{1 + (t - 1)\,\delta} \frac{g}{\sqrt{h_0 + h} + \epsilon}

    Args:
      eps: :math:`\epsilon \ge 0`.
      lr_decay: :math:`\delta \ge 0`, the decay of the rate per update, as in PyTorch.
      initial_accumulator_value: :math:`h_0 \ge 0`; it is added inside the root, and
        the buffer `nu` holds the sum :math:`h` without it.

    Returns:
      An `oxe.Rule` with the buffer `nu`.

    Raises:
      ValueError: If a number is negative or not finite.
      TypeError: If what must be a number is not one.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.adagrad())
    """
    eps = _checks.real("adagrad", "eps", eps, "[0, inf)")
    lr_decay = _checks.real("adagrad", "lr_decay", lr_decay, "[0, inf)")
    start = _checks.real(
        "adagrad",
        "initial_accumulator_value",
        initial_accumulator_value,
        "[0, inf)",
    )
    steady = isinstance(lr_decay, int | float) and lr_decay == 0

    def step(t, carry):
        share = 1 if steady else 1 / (1 + as_float(t - 1) * as_float(lr_decay))
        return Tableau(a2=1, c2=1, n0=1, s=share, d=1, e=eps, k=start), carry

    return Rule(lambda: (), step, None, frozenset({"nu"}))


def scale_by_adagrad(
    eps: ArrayLike = 1e-10,
    *,
    lr_decay: ArrayLike = 0.0,
    initial_accumulator_value: ArrayLike = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `adagrad` and its arguments, without rate and sign."""
    rule = adagrad_rule(
        eps, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
    )
    return scale_by_moments(rule)


def adagrad(
    learning_rate: ArrayLike | optax.Schedule,
    eps: ArrayLike = 1e-10,
    *,
    lr_decay: ArrayLike = 0.0,
    initial_accumulator_value: ArrayLike = 0.0,
    weight_decay: ArrayLike = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent with a rate for each weight that shrinks as gradients add up.

    The rule of the paper and of PyTorch. ``optax.adagrad`` is another one of the same
    name: its sum starts at 0.1 and its epsilon stands inside the root, so that steps
    are shorter until the squares add up to much more than 0.1. Rarely met features keep
    a high rate: prefer it for sparse gradients. Where the rate must not die away,
    prefer a moving average, as in :func:`rmsprop` or Adam.

    .. math::
        h_t = h_{t-1} + g_t^2, \qquad
        w_t = w_{t-1} - \frac{\eta_t}{1 + (t - 1)\,\delta}
            \frac{g_t}{\sqrt{h_t} + \epsilon}

    at update :math:`t = 1, 2, \dots`. The sum is kept in float32 at least: in bfloat16
    a sum of ones stops growing at 256.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      eps: :math:`\epsilon \ge 0`, added to the root.
      lr_decay: :math:`\delta \ge 0`, PyTorch's inverse-time decay. It scales the
        direction; the rate that :func:`learning_rate` reads is :math:`\eta_t`.
      initial_accumulator_value: :math:`h_0 \ge 0`, what the sum starts with.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params. PyTorch's is not
        decoupled: for that put ``optax.add_decayed_weights`` before this optimizer.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate,
      ``optax.tree.get(state, "nu")`` its sum without the start, :math:`h_t - h_0`.

    Raises:
      ValueError: If a number is out of range.
      TypeError: If an argument is not of the kind said above.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.adagrad(0.01)

    References:
      Duchi et al., `Adaptive subgradient methods for online learning and stochastic
      optimization <https://jmlr.org/papers/v12/duchi11a.html>`_, 2011
    """
    direction = scale_by_adagrad(
        eps, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
    )
    return descend("adagrad", direction, learning_rate, weight_decay, mask)
