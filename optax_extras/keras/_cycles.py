"""The cycles of a well-known callback for Keras."""

from collections.abc import Callable
from typing import Literal

import jax
from jax.typing import ArrayLike

from optax_extras import schedules
from optax_extras._checks import IntegralSteps, NonNegative, Positive
from optax_extras.keras import _unsupported
from optax_extras.schedules._curve import Schedule
from optax_extras.schedules._cyclic import scale_options


@_unsupported.schedule
def CyclicLR(
    base_lr: NonNegative = 0.001,
    max_lr: NonNegative = 0.006,
    step_size: IntegralSteps = 2000,
    mode: str = "triangular",
    gamma: Positive = 1.0,
    scale_fn: Callable[[jax.Array], ArrayLike] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
) -> Schedule:
    r"""The curve of the callback ``CyclicLR`` of bckenstler/CLR, which Keras lacks.

    With the number of the cycle :math:`c = \lfloor 1 + t / 2S \rfloor` and the scale
    :math:`s_t`, which is 1 (``"triangular"``), :math:`2^{1 - c}` (``"triangular2"``),
    :math:`\gamma^t` (``"exp_range"``), or what `scale_fn` returns:

    .. math::
        \eta_t = \text{base} + (\text{max} - \text{base})
            \max\left(0, 1 - \left|\frac tS - 2c + 1\right|\right) s_t

    The callback also takes a fractional `step_size` and a `gamma` of 0 or below, which
    are refused here. PyTorch's class of the same name is `oxe.pytorch.CyclicLR`. It
    goes on for ever.

    Args:
      base_lr: The rate at the start of every cycle, at least 0.
      max_lr: The rate at the peak where the scale is 1, at least 0.
      step_size: Steps :math:`S \ge 1` from base to peak, and as many back; a whole
        number, though it may be a float.
      mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``; not looked at where
        `scale_fn` is given.
      gamma: :math:`\gamma > 0` per step, for ``"exp_range"`` alone.
      scale_fn: A function, traceable, to the scale :math:`s_t`; it is given a float,
        the number of the cycle, 1 in the first, or the number of updates made.
      scale_mode: Which of the two `scale_fn` is given: ``"cycle"`` or
        ``"iterations"``.

    Returns:
      A schedule: step count -> value.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.keras.CyclicLR(step_size=10, mode="triangular2")
      >>> [round(float(schedule(t)), 4) for t in (0, 10, 20, 30)]
      [0.001, 0.006, 0.001, 0.0035]

    References:
      Smith, `Cyclical learning rates for training neural networks
      <https://arxiv.org/abs/1506.01186>`_, 2017;
      the callback: `bckenstler/CLR <https://github.com/bckenstler/CLR>`_
    """
    scale = scale_options(mode, gamma, scale_fn, scale_mode)
    return schedules.cyclic(base_lr, max_lr, step_size, **scale)
