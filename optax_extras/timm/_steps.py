"""timm's schedulers that are constant between steps."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras import schedules
from optax_extras._check_values import concrete, count, counts, is_traced
from optax_extras._checks import (
    AtLeastOne,
    IntegralStepsOrZero,
    NonNegative,
    Positive,
    StepCount,
)
from optax_extras._errors import refuse
from optax_extras._numerics import NEVER, as_float, as_uint32, power
from optax_extras.schedules._curve import Schedule, steps_after
from optax_extras.schedules._piecewise import whole_steps
from optax_extras.timm import _unsupported
from optax_extras.timm._warmup import counted, warmed_up

_LARGEST_DENOMINATOR = 1000


@_unsupported.scheduler
def StepLRScheduler(
    lr: NonNegative,
    decay_t: AtLeastOne,
    decay_rate: Positive = 1.0,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
    *,
    updates_per_epoch: StepCount | None = None,
) -> Schedule:
    r"""The ``StepLRScheduler`` of timm: multiplies by `decay_rate` every `decay_t`.

    `oxe.schedules.step` is the same in updates and without a warm-up, for an integer.
    With :math:`\eta` (`lr`), :math:`\gamma` (`decay_rate`) and :math:`S` (`decay_t`),
    which may be a fraction such as 2.4 epochs:

    .. math::
        \eta_t = \eta\, \gamma^{\lfloor t / S \rfloor}

    While timm's count is below `warmup_t` the learning rate is on a line from
    `warmup_lr_init` to `lr`. :math:`t` is that count, minus `warmup_t` if
    `warmup_prefix` is True, as it is by default here. See :func:`CosineLRScheduler` for
    what it counts.

    timm divides by the float next to `decay_t`, which for 1.1 is a little larger, so
    that it multiplies at 12 and not at 11; here 1.1 is 11/10. timm also accepts a
    `decay_t` below 1 and a `decay_rate` of 0 or below, which raise a ValueError here.

    Args:
      lr: The base learning rate :math:`\eta`, in place of timm's `optimizer`.
      decay_t: :math:`S`: a number of at least 1 whose fraction has a denominator of at
        most 1000, or a traced integer.
      decay_rate: The factor :math:`\gamma`.
      warmup_t: The length of the warm-up.
      warmup_lr_init: The learning rate at the start of the warm-up.
      warmup_prefix: Whether :math:`t` is 0 at the end of the warm-up.
      t_in_epochs: Whether every length counts epochs.
      updates_per_epoch: Updates in an epoch, for a schedule of the update count. None:
        a schedule of :math:`t` itself. Refused if `t_in_epochs` is False.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.StepLRScheduler(
      ...     0.1, decay_t=2.4, decay_rate=0.5, updates_per_epoch=100
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 299, 300, 499, 500)]
      [0.1, 0.1, 0.05, 0.05, 0.025]
    """
    decays = _whole_parts(decay_t)

    def value(t):
        return as_float(lr) * power(decay_rate, decays(t))

    warm = warmed_up(value, lr, warmup_t, warmup_lr_init, warmup_prefix)
    return counted(warm, t_in_epochs, updates_per_epoch)


@_unsupported.scheduler
def MultiStepLRScheduler(
    lr: NonNegative,
    decay_t: Sequence[int],
    decay_rate: Positive = 1.0,
    warmup_t: IntegralStepsOrZero = 0,
    warmup_lr_init: NonNegative = 0.0,
    warmup_prefix: bool = True,
    t_in_epochs: bool = True,
    *,
    updates_per_epoch: StepCount | None = None,
) -> Schedule:
    r"""The ``MultiStepLRScheduler`` of timm: multiplies just *before* each milestone.

    A milestone :math:`m` acts from :math:`t = m - 1` on, as in timm, which keeps this
    on purpose. In PyTorch and in `oxe.schedules.multistep` it acts from :math:`t = m`
    on. With :math:`\eta` (`lr`) and :math:`\gamma` (`decay_rate`):

    .. math::
        \eta_t = \eta\, \gamma^k, \quad k = \#\{m : m \le t + 1\}

    See :func:`StepLRScheduler` for :math:`t` and the warm-up. Without a warm-up the
    learning rate is `lr` at :math:`t = 0` whatever the milestones are, as in timm. timm
    also accepts unsorted milestones, of which it misses some, and a `decay_rate` of 0
    or below; both raise a ValueError here.

    Args:
      lr: The base learning rate :math:`\eta`, in place of timm's `optimizer`.
      decay_t: The milestones :math:`m`, sorted integers of at least 0; one that is
        listed twice multiplies twice.
      decay_rate: The factor :math:`\gamma`.
      warmup_t: The length of the warm-up.
      warmup_lr_init: The learning rate at the start of the warm-up.
      warmup_prefix: Whether :math:`t` is 0 at the end of the warm-up.
      t_in_epochs: Whether every length counts epochs.
      updates_per_epoch: Updates in an epoch, for a schedule of the update count. None:
        a schedule of :math:`t` itself. Refused if `t_in_epochs` is False.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.timm.MultiStepLRScheduler(
      ...     0.1, decay_t=[30, 60], decay_rate=0.1, t_in_epochs=False
      ... )
      >>> [round(float(schedule(t)), 4) for t in (0, 28, 29, 59)]
      [0.1, 0.1, 0.01, 0.001]
    """
    milestones = counts("decay_t", whole_steps("decay_t", decay_t))
    value = schedules.multistep(lr, [steps_after(1, m) for m in milestones], decay_rate)
    warm = warmed_up(value, lr, warmup_t, warmup_lr_init, warmup_prefix)
    return counted(warm, t_in_epochs, updates_per_epoch)


def _whole_parts(size: Any) -> Callable[[jax.Array], jax.Array]:
    """A function: t -> the whole part of t / size, exact for a fraction, too."""
    if is_traced(size):
        count("decay_t", size)
        return lambda t: as_uint32(t) // as_uint32(size)
    given = concrete(size)
    exact = Fraction(given).limit_denominator(_LARGEST_DENOMINATOR)
    if abs(exact - Fraction(given)) > 1e-9 * exact:
        most = f"whose fraction has a denominator of at most {_LARGEST_DENOMINATOR}"
        refuse("decay_t", f"be a number {most}", size, "Write 2.4 for 12/5.")
    # `parts` sizes take `steps` steps; the k-th of them is over at step `ends[k]`.
    steps, parts = exact.numerator, exact.denominator
    ends = [min(-(-k * steps // parts), NEVER) for k in range(1, parts)]

    def whole_parts(t):
        times, rest = jnp.divmod(as_uint32(t), as_uint32(steps))
        over = jnp.searchsorted(
            np.array(ends, np.uint32), rest, "right", method="scan_unrolled"
        )
        return times * parts + over.astype(np.uint32)

    return whole_parts if ends else lambda t: as_uint32(t) // as_uint32(steps)
