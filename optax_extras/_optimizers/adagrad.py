"""AdaGrad, as in the paper and in PyTorch."""

import optax

from optax_extras._checks import LearningRate, Mask, NonNegative, checked
from optax_extras._kernel._decay_and_rate import chain_decay_and_rate
from optax_extras._kernel.scale_by_moments import Rule, scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import as_float


@checked
def adagrad_rule(
    eps: NonNegative = 1e-10,
    *,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
) -> Rule:
    """The gradient over the root of the sum of its squares: the rule of `oxe.adagrad`.

    Its formula and its arguments are those of `oxe.adagrad`. The buffer holds the sum
    without `initial_accumulator_value`, which is added inside the root.

    Returns:
      An `oxe.Rule` with the buffer `nu`.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.adagrad())
    """
    steady = isinstance(lr_decay, int | float) and lr_decay == 0

    def step(t, carry):
        rate = 1 if steady else 1 / (1 + as_float(t - 1) * as_float(lr_decay))
        start = initial_accumulator_value
        return Tableau(a2=1, c2=1, n0=1, s=rate, d=1, e=eps, k=start), carry

    return Rule(lambda: (), step, None, frozenset({"nu"}))


@checked
def scale_by_adagrad(
    eps: NonNegative = 1e-10,
    *,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `adagrad` and its arguments, without rate and sign."""
    rule = adagrad_rule(
        eps, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
    )
    return scale_by_moments(rule)


@checked
def adagrad(
    learning_rate: LearningRate,
    eps: NonNegative = 1e-10,
    *,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
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
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
