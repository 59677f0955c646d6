"""The common form of a state, between the library that wrote it and ours.

An optimizer is a chain of parts. A part has buffers like the params, named by what
they hold: `mu`, `nu`, `nu_max` and others. A linear buffer m <- decay m + weight g of
another weight is the same run in other units: it is multiplied by the ratio of the
weights.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from optax_extras._translation.arrays import TURN


class Form(NamedTuple):
    """How a moment moves: m <- decay m + weight x, for a gradient or its square x."""

    decay: float | None = None
    """None: not known; taken to be that of the other side."""
    weight: float | None = None
    """None: 1 - decay, that of an average."""
    rate: float | None = None
    """The learning rate that gradients are multiplied by, beside the weight. None:
    there is none; NaN: it is not known."""
    start: float | None = None
    """What is added to it in the root, as to AdaGrad's sum; None: not known."""
    later: "tuple[Form, ...]" = ()
    """How it moves after some more updates; (): as now."""

    @property
    def is_forgotten(self) -> bool:
        """Whether the next update does not depend on its value."""
        return self.decay == 0 and not self.later


AVERAGE, SUM = Form(), Form(None, 1.0)
UNKNOWN = Form(None, math.nan)


class Buffer(NamedTuple):
    """A buffer like the params."""

    name: str
    """Its name in the source, for the report."""
    leaves: Mapping[str, Any]
    """Arrays by the path of the param."""
    forms: Mapping[str, Form] | Form | None = AVERAGE
    """By the path of the param, or one for all; None: taken to be that of the new
    state."""
    note: str = ""
    """What is assumed about it."""

    def form(self, path: str, other: Form) -> Form:
        """The form of one leaf; `other` is that of the new state."""
        return other if self.forms is None else form_at(self.forms, path)


class Part(NamedTuple):
    """The buffers of one transformation of a chain."""

    buffers: dict[str, Buffer]
    """By what they hold: "mu", "nu", ..."""
    scalars: Mapping[str, Any] = {}
    """Numbers by their names in our states: a product of momenta, a step size. One that
    depends on the param is a dict by path."""
    carry: Any = None
    """The carry of a state of ours."""
    count: int | None = None
    """The updates that it has made; None: the source's count."""
    in_force: bool = True
    """False in a switch's other phase."""
    has_rule: bool = False
    """Whether the forms are those of its rule; else they are assumed."""

    def with_rule_of_target(self) -> "Part":
        """The part, whose buffers are taken to move as those of the new state."""
        buffers = {k: x._replace(forms=None) for k, x in self.buffers.items()}
        return self._replace(buffers=buffers)


def of_group(scalars: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The numbers of the params of these paths, which are in one group."""
    found = {}
    for name, x in scalars.items():
        values = [x[p] for p in paths if p in x] if isinstance(x, Mapping) else [x]
        if values:
            found[name] = values[0]
    return found


class Source(NamedTuple):
    """The state of an optimizer in the common form."""

    parts: list[Part]
    count: int | None
    """The updates that were made; None: the source does not count them."""
    missed: Mapping[str, int] = {}
    """How many of them a param has missed, by path, if it has missed any."""
    rates: Mapping[str, float] | None = None
    """The learning rates by the path of the param; None: not known."""
    states: tuple[tuple[str, Any], ...] = ()
    """Other states, with their places, which are copied to one of the same type."""
    rate_count: int | None = None
    """The updates that the schedules have seen; None: `count`."""
    counts: Mapping[str, int] = {}
    """The same by the place of each, where the new state may have the same place."""
    hint: str = TURN
    """What to do about an array of another shape than the new one."""


def form_at(forms: Mapping[str, Form] | Form, path: str) -> Form:
    """The form of one leaf; of one without a rule, that of an average."""
    return forms if isinstance(forms, Form) else forms.get(path, AVERAGE)


def conversion(source: Form, target: Form, count: int) -> tuple[float, str]:
    """The factor from one form to another, and what is lost; "" if nothing is.

    If both contain the learning rates of their gradients, these stay as they are.
    """
    if math.isnan(source.weight or 0.0):
        return 1.0, "its rule is not known: give `source`"
    if source == target:
        return 1.0, ""
    factor, lost = _conversion(source, target, count)
    if lost or not (source.later or (target.later and factor != 1)):
        return factor, lost
    sides = [form.later or itertools.repeat(form) for form in (source, target)]
    for one, other in zip(*sides, strict=False):
        later, lost = _conversion(one, other, count)
        if lost or not math.isclose(later, factor, rel_tol=1e-6):
            return factor, "the factor changes"
    return factor, ""


def _conversion(source: Form, target: Form, count: int) -> tuple[float, str]:
    if source.rate is not None and target.rate is not None:
        source, target = source._replace(rate=None), target._replace(rate=None)
    if any(math.isnan(form.rate or 0.0) for form in (source, target)):
        return 1.0, "it contains learning rates that are not known"
    one = target.decay if source.decay is None else source.decay
    other = source.decay if target.decay is None else target.decay
    if one is None or other is None:
        if (source.weight is None) != (target.weight is None):
            return 1.0, "the decays are not known"
        one = other = 0.0  # the ratio of the weights is that at any decay
    if 0 in (_weight(source, one), _weight(target, other)):
        return 1.0, "one of the two does not use it now"
    same = math.isclose(one, other, rel_tol=1e-6)
    both_averages = _is_average(source, one) and _is_average(target, other)
    if same and both_averages:
        return 1.0, ""
    if same:
        ratio = _weight(target, other) / _weight(source, one)
        factor = 1.0 if math.isclose(ratio, 1, rel_tol=1e-6) else ratio
        return factor, ""
    factor = _gain(target, other, count) / _gain(source, one, count)
    return factor, f"its decay was {one:.6g}, here it is {other:.6g}"


def _weight(form: Form, decay: float) -> float:
    weight = 1 - decay if form.weight is None else form.weight
    return weight if form.rate is None else weight * form.rate


def _is_average(form: Form, decay: float) -> bool:
    return math.isclose(_weight(form, decay), 1 - decay, rel_tol=1e-5, abs_tol=1e-9)


def _gain(form: Form, decay: float, count: int) -> float:
    """What the buffer of a constant gradient of 1 tends to."""
    weight = _weight(form, decay)
    return weight * max(count, 1) if decay == 1 else weight / (1 - decay)
