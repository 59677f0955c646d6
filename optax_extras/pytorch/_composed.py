"""PyTorch's schedulers made of schedulers."""

from collections.abc import Sequence

from optax_extras import schedules
from optax_extras._checks import NonNegative, StepCounts
from optax_extras._errors import refuse
from optax_extras._values import function, items
from optax_extras.pytorch import _unsupported
from optax_extras.schedules._curve import Schedule


@_unsupported.scheduler
def SequentialLR(schedulers: Sequence[Schedule], milestones: StepCounts) -> Schedule:
    """PyTorch's ``SequentialLR``: one scheduler after another, each with its own count.

    Each begins at its own base rate when its turn comes. In PyTorch a ``CyclicLR`` or
    ``OneCycleLR`` changes the rate of the phases before it, a ``MultiplicativeLR`` goes
    on from the rate it finds, and a ``SequentialLR`` or ``ChainedScheduler`` inside is
    a step off or not possible; none of this is so here.

    Args:
      schedulers: The schedulers, at least one, each with its own `lr`. No numbers.
      milestones: The sorted numbers of updates, 0 or more, at which the next one
        begins: its step 0. One fewer than `schedulers`.

    Returns:
      A schedule: step count -> value. It carries `restarts` if one of them does.

    Examples:
      >>> import optax_extras as oxe
      >>> warm = oxe.pytorch.LinearLR(0.1, start_factor=0.5, total_iters=4)
      >>> decay = oxe.pytorch.ExponentialLR(0.1, gamma=0.5)
      >>> schedule = oxe.pytorch.SequentialLR([warm, decay], milestones=[4])
      >>> [round(float(schedule(t)), 4) for t in (0, 2, 4, 5)]
      [0.05, 0.075, 0.1, 0.05]
    """
    curves = _curves("schedulers", schedulers)
    if len(items("milestones", milestones)) != len(curves) - 1:
        must = f"have one item fewer than the {len(curves)} `schedulers`"
        refuse("milestones", must, milestones)
    return schedules.sequence(curves, milestones)


@_unsupported.scheduler
def ChainedScheduler(lr: NonNegative, factors: Sequence[Schedule]) -> Schedule:
    """PyTorch's ``ChainedScheduler``: the product of schedulers, all from step 0.

    PyTorch lets every one of them step on the rate in turn. That is their product where
    each multiplies the rate it finds; but ``LambdaLR``, ``CyclicLR``, ``OneCycleLR``
    and ``CosineAnnealingWarmRestarts`` overwrite it, and ``CosineAnnealingLR`` adds to
    it where it climbs or has an `eta_min`. Here it is the product of all.

    Args:
      lr: The base rate, a number of at least 0.
      factors: The schedulers, at least one, each made with the base rate 1.

    Returns:
      A schedule: step count -> value. It carries `restarts` if one of them does.

    Examples:
      >>> import optax_extras as oxe
      >>> half = oxe.pytorch.ConstantLR(1.0, factor=0.5, total_iters=2)
      >>> decay = oxe.pytorch.ExponentialLR(1.0, gamma=0.5)
      >>> schedule = oxe.pytorch.ChainedScheduler(0.1, [half, decay])
      >>> [round(float(schedule(t)), 4) for t in (0, 1, 2)]
      [0.05, 0.025, 0.025]
    """
    return schedules.product(lr, *_curves("factors", factors))


def _curves(argument: str, schedulers: Sequence[Schedule]) -> list[Schedule]:
    """At least one scheduler; a number is none, as in PyTorch."""
    curves = items(argument, schedulers)
    if not curves:
        refuse(argument, "have at least one item", schedulers)
    return [function(f"{argument}[{i}]", x) for i, x in enumerate(curves)]
