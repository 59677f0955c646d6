"""The common form of a state, between the library that wrote it and ours.

An optimizer is a chain of parts. A part has buffers like the params, named by what
they hold: `mu`, `nu`, `nu_max` and others.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from optax_extras._translation.arrays import TRANSPOSE_HINT
from optax_extras._translation.compare_recursions import AVERAGE, Recursions


class Buffer(NamedTuple):
    """A buffer like the params."""

    name: str
    """Its name in the source, for the report."""
    leaves: Mapping[str, Any]
    """Arrays by the path of the param."""
    recursions: Recursions | None = AVERAGE
    """None: taken to be those of the new state."""
    note: str = ""
    """What is assumed about it."""


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
    """Whether the recursions are those of its rule; else they are assumed."""

    def with_rule_of_target(self) -> "Part":
        """The part, whose buffers are taken to move as those of the new state."""
        buffers = {k: x._replace(recursions=None) for k, x in self.buffers.items()}
        return self._replace(buffers=buffers)


def of_group(scalars: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The numbers of the params of these paths, which are in one group."""
    found = {}
    for name, x in scalars.items():
        values = [x[p] for p in paths if p in x] if isinstance(x, Mapping) else [x]
        if values:
            found[name] = values[0]
    return found


class CommonForm(NamedTuple):
    """The state of an optimizer in the common form."""

    parts: list[Part]
    count: int | None
    """The updates that were made; None: the source does not count them."""
    missed: Mapping[str, int] = {}
    """How many of them a param has missed, by path, if it has missed any."""
    rates: Mapping[str, float] = {}
    """The learning rates by the path of the param; {}: not known."""
    states: tuple[tuple[str, Any], ...] = ()
    """Other states, with their places, which are copied to one of the same type."""
    schedule_counts: Mapping[str, int] = {}
    """The updates that the schedules have seen, by place: the new state may have one at
    the same place. {}: `count`."""
    hint: str = TRANSPOSE_HINT
    """What to do about an array of another shape than the new one."""
