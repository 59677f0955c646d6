"""AdaGrad."""

from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._numerics import as_float
from optax_extras.rules._kernel import Rule
from optax_extras.rules._tableau import Tableau


def adagrad(
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
