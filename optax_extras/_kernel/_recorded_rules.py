"""Which rules a transformation is made of, asked by running its `init`."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from optax_extras._by_path import within
from optax_extras._kernel.rule import Rule


class RecordedRules(NamedTuple):
    """The rules of one `MomentsState`."""

    count: Any
    """The array `count` of that state: its identity tells which one."""
    rules: list[tuple[str | None, Rule, list[str]]]
    """The group of each rule (None: there are no groups), the rule, and the paths of
    its leaves."""


Record = Callable[[RecordedRules], None]
_record: contextvars.ContextVar[Record | None] = contextvars.ContextVar(
    "record_rules", default=None
)


def record_rules(count: Any, rules: Callable[[], Any]) -> None:
    """Says which rules a new state belongs to, if somebody asks."""
    record = _record.get()
    if record is not None:
        record(RecordedRules(count, rules()))


@contextlib.contextmanager
def recording_rules() -> Iterator[list[RecordedRules]]:
    """The rules of every state that an `init` within it makes, in a list."""
    found: list[RecordedRules] = []
    with within(_record, found.append):
        yield found
