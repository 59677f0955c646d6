"""AdaGrad, as in the paper and in PyTorch."""

import optax

from optax_extras._checks import (
    LearningRate,
    Mask,
    NonNegative,
    WeightDecay,
    checked_by_path,
    checked_rule,
)
from optax_extras._kernel._assemble import chain_decay_and_rate
from optax_extras._kernel.rule import Rule
from optax_extras._kernel.scale_by_moments import scale_by_moments
from optax_extras._kernel.tableau import Tableau
from optax_extras._numerics import as_float


@checked_rule
def adagrad_rule(
    eps: NonNegative = 1e-10,
    *,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
) -> Rule:
    """The gradient over the root of the sum of its squares.

    Formula and arguments as in :func:`optax_extras.adagrad`. The buffer `nu` is the sum
    without `initial_accumulator_value`, which is added inside the root.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.adagrad())
    """
    steady = isinstance(lr_decay, int | float) and lr_decay == 0

    def step(t, carry):
        scale = 1 if steady else 1 / (1 + as_float(t - 1) * as_float(lr_decay))
        start = initial_accumulator_value
        return Tableau(a2=1, c2=1, n0=1, s=scale, d=1, e=eps, k=start), carry

    never_zero = frozenset({"s", "n0"})
    return Rule(lambda: (), step, buffers=frozenset({"nu"}), never_zero=never_zero)


@checked_by_path
def scale_by_adagrad(
    eps: NonNegative = 1e-10,
    *,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """:func:`adagrad` without learning rate and sign, with the same arguments."""
    rule = adagrad_rule(
        eps, lr_decay=lr_decay, initial_accumulator_value=initial_accumulator_value
    )
    return scale_by_moments(rule)


@checked_by_path
def adagrad(
    learning_rate: LearningRate,
    eps: NonNegative = 1e-10,
    *,
    lr_decay: NonNegative = 0.0,
    initial_accumulator_value: NonNegative = 0.0,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""SGD whose learning rate for each weight falls as its squared gradients add up.

    Prefer it for sparse gradients: weights of rare features continue to take long
    steps. Where steps must not shrink to zero, prefer a moving average, as in
    :func:`rmsprop` or Adam. This is the rule of the paper and of PyTorch.
    ``optax.adagrad`` is another one: its sum starts at 0.1 and its epsilon is inside
    the root, so its steps are shorter until the squares add up to much more than 0.1.

    .. math::
        h_t = h_{t-1} + g_t^2, \qquad
        w_t = w_{t-1} - \frac{\eta_t}{1 + (t - 1)\,\delta}
            \frac{g_t}{\sqrt{h_t} + \epsilon}

    at update :math:`t = 1, 2, \dots`. The state holds :math:`h_t - h_0` as `nu`, in
    float32 at least, because in bfloat16 a sum of ones stops growing at 256.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      eps: :math:`\epsilon`, added to the denominator.
      lr_decay: :math:`\delta`, PyTorch's inverse-time decay. It scales the direction;
        :func:`learning_rate` reads :math:`\eta_t` without it.
      initial_accumulator_value: :math:`h_0`, the initial value of the sum.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params. PyTorch's is
        L2: for that put ``optax.add_decayed_weights`` before this optimizer.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

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
