"""AMSGrad, in PyTorch's form and in the paper's."""

import optax

from optax_extras._checks import (
    Decay,
    DecayOrSchedule,
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
from optax_extras._optimizers.adam import adam_rule


@checked_rule
def amsgrad_rule(
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> Rule:
    r"""Adam with the largest second moment so far.

    Formula and arguments as in :func:`optax_extras.amsgrad`. Buffers: `mu`, `nu` and
    `nu_max` (:math:`\hat v`).

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.amsgrad())
    """
    corrected = adam_rule(b1, b2, eps, eps_hat=eps_hat)

    def step(t, carry):
        tableau, carry = corrected.step(t, carry)
        raw = tableau._replace(n1=1, s=1, e=eps)
        return tableau if bias_correction else raw, carry

    return corrected._replace(step=step, buffers=corrected.buffers | {"nu_max"})


@checked_by_path
def scale_by_amsgrad(
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """:func:`amsgrad` without learning rate and sign, with the same arguments."""
    rule = amsgrad_rule(b1, b2, eps, bias_correction=bias_correction, eps_hat=eps_hat)
    return scale_by_moments(rule)


@checked_by_path
def amsgrad(
    learning_rate: LearningRate,
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
    weight_decay: WeightDecay = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam with the largest second moment so far: it converges where Adam may not.

    It takes the maximum of the uncorrected second moment and corrects the bias
    afterwards, as PyTorch and Keras do. ``optax.amsgrad`` takes the maximum of the
    corrected moment. The first correction multiplies by :math:`1 / (1 - \beta_2)`, a
    thousand: a large first gradient stays in that maximum forever at full size, and
    makes all later steps much shorter. With ``bias_correction=False`` it is the paper's
    rule, without any correction. It needs three buffers, Adam two.

    .. math::
        \hat v_t = \max(\hat v_{t-1}, v_t), \qquad
        w_t = w_{t-1} - \eta_t \frac{m_t / (1 - \beta_1^t)}
            {\sqrt{\hat v_t / (1 - \beta_2^t)} + \epsilon}

    with Adam's :math:`m_t` and :math:`v_t`. In its state `mu` is :math:`m_t`, `nu` is
    :math:`v_t` and `nu_max` is :math:`\hat v_t`.

    Args:
      learning_rate: The learning rate :math:`\eta_t`.
      b1: :math:`\beta_1`, the decay of the first moment. A schedule works as in
        :func:`rules.adam`.
      b2: :math:`\beta_2`, the decay of the second moment.
      eps: :math:`\epsilon`, added to the denominator; the paper has none.
      bias_correction: Divide :math:`m_t` and :math:`\hat v_t` by
        :math:`1 - \beta_1^t` and :math:`1 - \beta_2^t`.
      eps_hat: Add :math:`\epsilon` to :math:`\sqrt{\hat v_t}` before the correction, as
        in Keras; without a correction it changes nothing.
      weight_decay: Decoupled weight decay: each update also subtracts learning rate
        times weight decay times params. `update` then needs the params.
      mask: The leaves that decay: a tree of bools, or a function of the params that
        returns one. None: all.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.amsgrad(1e-3)

    References:
      Reddi et al., `On the convergence of Adam and beyond
      <https://arxiv.org/abs/1904.09237>`_, 2018
    """
    direction = scale_by_amsgrad(
        b1, b2, eps, bias_correction=bias_correction, eps_hat=eps_hat
    )
    return chain_decay_and_rate(direction, learning_rate, weight_decay, mask)
