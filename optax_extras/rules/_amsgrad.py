"""AMSGrad."""

import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras.rules._adam import adam
from optax_extras.rules._kernel import Rule, as_schedule


def amsgrad(
    b1: ArrayLike | optax.Schedule = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    *,
    bias_correction: bool = True,
    eps_hat: bool = False,
) -> Rule:
    r"""Adam with the largest second moment so far; see `oxe.amsgrad`.

    With the :math:`m` and :math:`v` of :func:`adam`,

    .. math::
        \hat v \leftarrow \max(\hat v, v), \qquad
        u = \frac{m / (1 - \beta_1^t)}{\sqrt{\hat v / (1 - \beta_2^t)} + \epsilon}

    Args:
      b1: :math:`\beta_1` in [0, 1): a number, or a schedule as in :func:`adam`.
      b2: :math:`\beta_2` in [0, 1).
      eps: :math:`\epsilon \ge 0`.
      bias_correction: Whether the moments are corrected as above; without it
        :math:`u = m / (\sqrt{\hat v} + \epsilon)`, as in the paper.
      eps_hat: Whether :math:`\epsilon` joins the uncorrected root, as in :func:`adam`;
        without correction it makes no difference.

    Returns:
      An `oxe.Rule` with the buffers `mu`, `nu` and `nu_max` (:math:`\hat v`).

    Raises:
      ValueError: If a number is out of range.
      TypeError: If what must be a number is not one, `b1` neither number nor schedule,
        or a flag no bool.

    Examples:
      >>> import optax_extras as oxe
      >>> tx = oxe.scale_by_moments(oxe.rules.amsgrad())
    """
    at = as_schedule("amsgrad", "b1", b1, "[0, 1)")
    b2 = _checks.real("amsgrad", "b2", b2, "[0, 1)")
    eps = _checks.real("amsgrad", "eps", eps, "[0, inf)")
    bias_correction = _checks.flag("amsgrad", "bias_correction", bias_correction)
    eps_hat = _checks.flag("amsgrad", "eps_hat", eps_hat)
    corrected = adam(at, b2, eps, eps_hat=eps_hat)

    def step(t, carry):
        tableau, carry = corrected.step(t, carry)
        raw = tableau._replace(n1=1, s=1, e=eps)
        return tableau if bias_correction else raw, carry

    return corrected._replace(step=step, buffers=corrected.buffers | {"nu_max"})
