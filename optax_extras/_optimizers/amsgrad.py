"""AMSGrad, in PyTorch's form and in the paper's."""

import optax

from optax_extras._checks import (
    Decay,
    DecayOrSchedule,
    LearningRate,
    Mask,
    NonNegative,
    checked,
)
from optax_extras._kernel._decay_and_rate import chain_decay_and_rate
from optax_extras._kernel.scale_by_moments import Rule, as_schedule, scale_by_moments
from optax_extras._optimizers.adam import adam_rule


@checked
def amsgrad_rule(
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> Rule:
    r"""Adam with the largest second moment so far: the rule of `oxe.amsgrad`.

    Its formula and its arguments are those of `oxe.amsgrad`.

    Returns:
      An `oxe.Rule` with the buffers `mu`, `nu` and `nu_max` (:math:`\hat v`).

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.amsgrad())
    """
    at = as_schedule("b1", b1)
    corrected = adam_rule(at, b2, eps, eps_hat=eps_hat)

    def step(t, carry):
        tableau, carry = corrected.step(t, carry)
        raw = tableau._replace(n1=1, s=1, e=eps)
        return tableau if bias_correction else raw, carry

    return corrected._replace(step=step, buffers=corrected.buffers | {"nu_max"})


@checked
def scale_by_amsgrad(
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """The direction of `amsgrad` and its arguments, without rate and sign."""
    rule = amsgrad_rule(b1, b2, eps, bias_correction=bias_correction, eps_hat=eps_hat)
    return scale_by_moments(rule)


@checked
def amsgrad(
    learning_rate: LearningRate,
    b1: DecayOrSchedule = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
    weight_decay: NonNegative = 0.0,
    mask: Mask | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam whose second moment never shrinks, so that it converges where Adam may not.

    The maximum is taken of the second moment as it is, and corrected afterwards, as in
    PyTorch and Keras. ``optax.amsgrad`` corrects first and takes the maximum of that.
    The first correction multiplies by :math:`1 / (1 - \beta_2)`, a thousand: a large
    first gradient is remembered there for ever at full size, and makes all later steps
    much shorter. With ``bias_correction=False`` it is the paper's own rule, without any
    correction. It keeps three buffers, Adam two.

    .. math::
        \hat v_t = \max(\hat v_{t-1}, v_t), \qquad
        w_t = w_{t-1} - \eta_t \frac{m_t / (1 - \beta_1^t)}
            {\sqrt{\hat v_t / (1 - \beta_2^t)} + \epsilon}

    with Adam's :math:`m_t` and :math:`v_t`.

    Args:
      learning_rate: :math:`\eta_t \ge 0`: a number, a schedule, which is called with
        the number of updates already made, or a metric schedule.
      b1: :math:`\beta_1` in [0, 1): a number, or a schedule as in :func:`rules.adam`.
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`; the paper has none.
      bias_correction: Whether :math:`m_t` and :math:`\hat v_t` are divided by
        :math:`1 - \beta_1^t` and :math:`1 - \beta_2^t`.
      eps_hat: Whether :math:`\epsilon` is added to :math:`\sqrt{\hat v_t}` before the
        correction, as in Keras; without a correction it changes nothing.
      weight_decay: :math:`\lambda \ge 0`, decoupled: :math:`\eta_t \lambda w` is
        subtracted as well, for which `update` needs the params.
      mask: What is decayed: a tree of bools like the params, or a function from the
        params to one. None means all.

    Returns:
      An `optax.GradientTransformationExtraArgs`; :func:`learning_rate` reads its rate,
      ``optax.tree.get(state, "mu")`` its :math:`m_t`, ``"nu"`` its :math:`v_t`,
      ``"nu_max"`` its :math:`\hat v_t`.

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
