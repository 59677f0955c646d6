"""Groups that a function of path and leaf names."""

from collections.abc import Callable, Mapping
from typing import Any

from optax_extras._by_path import ByPath
from optax_extras._errors import named


def by_name(
    function: str,
    name_of: Callable[[str, Any], str],
    values: Mapping[str, Any],
    times: Any = None,
) -> ByPath:
    """A value for each name; refusals of `name_of` begin with the public function."""
    name_of = named(function, name_of)

    def selector(name: str) -> Callable[[str, Any], bool]:
        return lambda path, leaf: name_of(path, leaf) == name

    selectors = {name: selector(name) for name in values}
    return ByPath(values, selectors, times, frozenset(values))
