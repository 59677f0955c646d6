"""The mean of the weights."""

import jax

from optax_extras._checks import StepCount, StepCountOrZero, checked
from optax_extras._numerics import as_uint32, float_dtype
from optax_extras.averages._average import Average
from optax_extras.averages._phases import average_of


@checked
def uniform(
    start: StepCountOrZero = 0,
    every: StepCount = 1,
    window: StepCount | None = None,
) -> Average:
    r"""The mean of the weights since a step: stochastic weight averaging (SWA).

    The average of SWA, of PyTorch's ``AveragedModel`` by default, and of Polyak and
    Ruppert. It reduces the noise most, if the weights only fluctuate: begin it when
    they no longer improve much. :func:`ema` and :func:`power` forget the early weights.
    It equals :func:`decay` with ``"linear"``, which also stops at the end.

    For the :math:`n`-th snapshot:

    .. math::
        c_n = \frac1n, \qquad \text{with } K \text{ (`window`): }
        c_n = \frac1{1 + (n - 1) \bmod K}

    Args:
      start: The number of updates before the average begins; until then it is a copy of
        the weights.
      every: The number of updates from one snapshot to the next, such as an epoch. The
        first is taken after update ``start + every``; until then the average is a copy
        of the weights.
      window: :math:`K`: start again after so many snapshots. Read at the end of a
        window, after :math:`K, 2K, \dots` snapshots, it is the mean of the last
        :math:`K`, as in LAWA, but without :math:`K` copies of the weights. Read in
        between, it is the mean of those of the present window so far.

    Returns:
      An :class:`Average`, for ``oxe.with_average``.

    Examples:
      >>> import optax_extras as oxe
      >>> average = oxe.averages.uniform(start=2)
      >>> [round(float(average.weight(t)), 3) for t in (1, 2, 3, 4, 5)]
      [1.0, 1.0, 1.0, 0.5, 0.333]

    References:
      Izmailov et al., `Averaging weights leads to wider optima and better
      generalization <https://arxiv.org/abs/1803.05407>`_, 2018; Kaddour, `Stop wasting
      my time! Saving days of ImageNet and BERT training with latest weight averaging
      <https://arxiv.org/abs/2209.14981>`_, 2022
    """

    def weight(n: jax.Array) -> jax.Array:
        if window is not None:
            n = 1 + (n.astype("uint32") - 1) % as_uint32(window)
        return 1 / n.astype(float_dtype())

    return average_of(weight, start, every)
