"""How two recursions of a moment differ, and the factor from one to the other.

A linear buffer m <- decay m + weight g of another weight is the same run in other
units: it is multiplied by the ratio of the weights.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Recursion(NamedTuple):
    """That of a moment: m <- decay m + weight x, for a gradient or its square x."""

    decay: float | None = None
    """None: not known; taken to be that of the other side."""
    weight: float | None = None
    """None: 1 - decay, that of an average."""
    rate: float | None = None
    """The learning rate that gradients are multiplied by, beside the weight. None:
    there is none; NaN: it is not known."""
    start: float | None = None
    """What is added to it in the root, as to AdaGrad's sum; None: not known."""
    later: "tuple[Recursion, ...]" = ()
    """That after some more updates; (): the same as now."""

    @property
    def is_forgotten(self) -> bool:
        """Whether the next update does not depend on its value."""
        return self.decay == 0 and not self.later


AVERAGE, SUM = Recursion(), Recursion(None, 1.0)
UNKNOWN = Recursion(None, math.nan)
Recursions = Mapping[str, Recursion] | Recursion  # by the path, or one for all


def recursion_at(recursions: Any, path: str) -> Any:
    """The recursion of one leaf; of one without a rule, that of an average."""
    is_by_path = isinstance(recursions, Mapping)
    return recursions.get(path, AVERAGE) if is_by_path else recursions


def conversion(source: Recursion, target: Recursion, count: int) -> tuple[float, str]:
    """The factor from one recursion to another, and what is lost; "" if nothing is.

    If both contain the learning rates of their gradients, these stay as they are.
    """
    if math.isnan(source.weight or 0.0):
        return 1.0, "its rule is not known: give `source`"
    if source == target:
        return 1.0, ""
    factor, lost = _conversion(source, target, count)
    if lost or not (source.later or (target.later and factor != 1)):
        return factor, lost
    sides = [x.later or itertools.repeat(x) for x in (source, target)]
    for old, new in zip(*sides, strict=False):
        later, lost = _conversion(old, new, count)
        if lost or not math.isclose(later, factor, rel_tol=1e-6):
            return factor, "the factor changes"
    return factor, ""


def _conversion(source: Recursion, target: Recursion, count: int) -> tuple[float, str]:
    if source.rate is not None and target.rate is not None:
        source, target = source._replace(rate=None), target._replace(rate=None)
    if any(math.isnan(x.rate or 0.0) for x in (source, target)):
        return 1.0, "it contains learning rates that are not known"
    old_decay = target.decay if source.decay is None else source.decay
    new_decay = source.decay if target.decay is None else target.decay
    if old_decay is None or new_decay is None:
        if (source.weight is None) != (target.weight is None):
            return 1.0, "the decays are not known"
        old_decay = new_decay = 0.0  # the ratio of the weights is that at any decay
    old_weight, new_weight = _weight(source, old_decay), _weight(target, new_decay)
    if 0 in (old_weight, new_weight):
        return 1.0, "one of the two does not use it now"
    if math.isclose(old_decay, new_decay, rel_tol=1e-6):
        both_averages = _is_average(old_weight, old_decay)
        both_averages &= _is_average(new_weight, new_decay)
        ratio = new_weight / old_weight
        is_copy = both_averages or math.isclose(ratio, 1, rel_tol=1e-6)
        return 1.0 if is_copy else ratio, ""
    limit = _limit(new_weight, new_decay, count)
    factor = limit / _limit(old_weight, old_decay, count)
    return factor, f"its decay was {old_decay:.6g}, here it is {new_decay:.6g}"


def _weight(recursion: Recursion, decay: float) -> float:
    weight = 1 - decay if recursion.weight is None else recursion.weight
    return weight if recursion.rate is None else weight * recursion.rate


def _is_average(weight: float, decay: float) -> bool:
    return math.isclose(weight, 1 - decay, rel_tol=1e-5, abs_tol=1e-9)


def _limit(weight: float, decay: float, count: int) -> float:
    """What the buffer of a constant gradient of 1 tends to."""
    return weight * max(count, 1) if decay == 1 else weight / (1 - decay)
