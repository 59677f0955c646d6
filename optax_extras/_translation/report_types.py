"""What a translation did with each buffer and number of a state."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from optax_extras._errors import refusal
from optax_extras._table import as_text

NOT_COMPARED = "not compared"  # until a trial step agrees
_ANSWERS = {True: "yes", False: "NO", None: "?"}


class TranslationRow(NamedTuple):
    """What became of one buffer, scalar or option."""

    target: str
    """Its place in the new state; "" if it has none."""
    source: str
    """Its name in the source; "" if the source has none."""
    how: str
    """The map, such as ``"copied"`` or ``"times 10"``."""
    exact: bool | None = True
    """Whether the map is exact: up to rounding, `tx` would hold the same after the
    gradients of the source. The next updates are then those of the source if the rule
    and the options are the same, too. None: the source does not tell."""
    ulps: float | None = None
    """The largest rounding error, in units in the last place of the new dtype; None if
    nothing was converted or it is not known."""
    note: str = ""
    """What is assumed, or what differs."""


class TranslationReport(NamedTuple):
    """What a translation did; printed, it is a table.

    :func:`translate`, :func:`load_optax_state`, `pytorch.load_state_dict` and
    `keras.load_variables` return one beside the state.
    """

    rows: tuple[TranslationRow, ...]

    @property
    def exact(self) -> bool:
        """Whether no row is known to be inexact."""
        return not self.inexact

    @property
    def inexact(self) -> tuple[TranslationRow, ...]:
        """The rows that are not exact."""
        return tuple(row for row in self.rows if row.exact is False)

    def checked(self, strict: bool) -> "TranslationReport":
        """The report itself; if `strict`, only one that is exact."""
        if strict and not self.exact:
            lost = ", ".join(
                f"{row.target or row.source}: {row.how}"
                + (f" ({row.note})" if row.note else "")
                for row in self.inexact
            )
            raise refusal(
                ValueError, "strict", "be False", "True", f"Not exact: {lost}."
            )
        return self

    def __str__(self) -> str:
        columns: dict[str, Any] = {
            "new state": [row.target or "-" for row in self.rows],
            "source": [row.source or "-" for row in self.rows],
            "map": [row.how for row in self.rows],
            "exact": [_ANSWERS[row.exact] for row in self.rows],
            "ulps": [_digits(row.ulps) for row in self.rows],
            "note": [row.note for row in self.rows],
        }
        return as_text(columns)


OPTIONS = TranslationRow(
    "",
    "options",
    NOT_COMPARED,
    exact=None,
    note="a state does not hold them: give `source` and `gradients`",
)
"""The row for the options of an optimizer of Optax or of this library."""


def some_of(names: Iterable[str]) -> str:
    """The first three, for a note."""
    names = [*names]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _digits(ulps: float | None) -> str:
    return "" if ulps is None else f"{ulps:.2g}"
