"""The range of a numeric argument, as the error of its function for NaN states it."""

import re
from typing import NamedTuple


class Interval(NamedTuple):
    low: float
    high: float
    has_low: bool
    has_high: bool

    @classmethod
    def parse(cls, text):
        """`[0, 1)`, as errors and docstrings write it."""
        low, high = map(float, text[1:-1].split(","))
        return cls(low, high, text[0] == "[", text[-1] == "]")

    def __contains__(self, x):
        above = x > self.low or (self.has_low and x == self.low)
        below = x < self.high or (self.has_high and x == self.high)
        return above and below


PATTERN = r"[\[(](?:-?[\d.]+|-inf), (?:-?[\d.]+|inf)[\])]"
ANY = Interval(float("-inf"), float("inf"), False, False)


def range_of(call, nan=float("nan")):
    """The range in the error of `call(nan)`; `must be finite` means any number."""
    try:
        call(nan)
    except ValueError as error:
        if "must be finite, got" in str(error):
            return ANY
        found = re.search(rf"must be in ({PATTERN}), got", str(error))
        return found and Interval.parse(found[1])
    return None
