"""Numbers that depend on the path of a param."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from optax_extras import _values
from optax_extras._by_path import DEFAULT, FROZEN, TIMES, ByPath
from optax_extras._checks import checked
from optax_extras._errors import refuse, refuse_kind


@checked
def by_path(
    values: Mapping[str | Callable[[str, Any], bool], Any],
    default: Any = None,
    *,
    times: Any = None,
) -> ByPath:
    """A number for each group of params, in place of one number for all of them.

    It stands for any number of the optimizers that are a rule (:mod:`rules`), and for
    the learning rate and the weight decay of the others. A group is a row of scalars:
    an update takes as long as without groups, and the state has the same arrays.
    ``optax.partition`` gives each group an optimizer and a state of its own; use it for
    groups with different optimizers that are not rules.

    A group is selected by the path of its params, the keys joined by ``/``, such as
    ``encoder/layers_0/attention/kernel``. :func:`describe_groups` shows the paths of a
    model and the group of each.

    The state of an optimizer can be used by one with other groups: the moments stay,
    new groups begin with their numbers, and so does the learning rate of a group that
    was frozen. A learning rate that is a number is stored in the state, which has to be
    of the new groups before ``jax.lax.scan``: call `update` once outside of it.

    Args:
      values: For each group a selector and a value. A selector is a regular expression
        that matches the whole path, or a function ``(path, leaf) -> bool``; of the leaf
        only the shape should be asked. The first that matches wins. A value is a
        number; where a schedule or metric schedule is taken, also one of these; or a
        vector with an entry for each index of the leaves' first axis, as in scanned
        layers. For a learning rate it may be `FROZEN`: the params do not move or decay,
        and their moments stay as they are.
      default: The value of all other params; it may depend on the path itself, as in
        ``by_path({"head/.*": 10}, layerwise(...))``. None: there must not be any.
      times: A number or schedule that multiplies all values, so that these are
        multiples of it.

    Returns:
      A value to give to an optimizer. With groups :func:`hyperparameters` lists the
      learning rate of each as ``"<selector>/learning_rate"``, ``"default/..."`` and
      ``"times/..."``. Those of groups cannot be set if there is `times`, which can. The
      rates of rules that apply the learning rate themselves (:func:`heavy_ball`,
      :func:`adabound`) can be listed, too, without that of `times`.

    Raises:
      ValueError: At `init`, if a selector matches no param, or if a param has neither
        group nor default.

    Examples:
      >>> import optax_extras as oxe
      >>> schedule = oxe.schedules.cosine(1e-3, 1000)
      >>> rate = oxe.by_path({"embed/.*": 0.1, "old/.*": oxe.FROZEN}, 1, times=schedule)
      >>> decay = oxe.by_path({".*(bias|scale)": 0.0}, default=0.1)
      >>> tx = oxe.adamw(
      ...     rate, b2=oxe.by_path({"head/.*": 0.95}, 0.999), weight_decay=decay
      ... )
    """
    if not isinstance(values, Mapping):
        refuse_kind("values", "be a dict of selectors and values", values)
    if not values and default is None:
        refuse("values", "hold a group if there is no default", values)
    if times is not None:
        _values.number_or_schedule("times", times)
    selectors = {_name(selector, values): _as_function(selector) for selector in values}
    may_be_empty = frozenset()
    groups = dict(zip(selectors, values.values(), strict=True))
    for reserved in (DEFAULT, TIMES):
        if reserved in groups:
            hint = f"Write '({reserved})'."
            refuse("values", "not have the selector of that name", reserved, hint)
    if isinstance(default, ByPath):
        if default.times is not None:
            refuse("default", "have no `times` of its own", default)
        for name, value in default.values.items():
            selector = default.selectors.get(name)
            if name in groups:
                if all(isinstance(x, partial) for x in (selectors[name], selector)):
                    continue  # the same expression, of which the first wins
                name = f"{name} (default)"
            groups[name] = value
            if selector is not None:
                selectors[name] = selector
        may_be_empty = default.may_be_empty
    elif default is not None:
        groups[DEFAULT] = default
    for name, value in groups.items():
        is_array = hasattr(value, "dtype") or isinstance(value, list)
        is_rule = hasattr(value, "_fields")
        is_number = _values.is_real(value) and not isinstance(value, bool)
        if not (is_number or is_array or is_rule or callable(value) or value is FROZEN):
            must = "be a number, a schedule, a vector, a rule or `oxe.FROZEN`"
            argument = DEFAULT if name == DEFAULT else f"values[{name}]"
            refuse_kind(argument, must, value)
    return ByPath(groups, selectors, times, may_be_empty)


def _as_function(selector: Any) -> Any:
    if callable(selector):
        return selector
    if not isinstance(selector, str):
        must = "have regular expressions or functions of path and leaf as keys"
        refuse_kind("values", must, selector)
    try:
        pattern = re.compile(selector)
    except re.error as error:
        refuse("values", f"have regular expressions as keys ({error})", selector)
    return partial(_matches, pattern)


def _matches(pattern: re.Pattern[str], path: str, leaf: Any) -> bool:
    del leaf
    return pattern.fullmatch(path) is not None


def _name(selector: Any, among: Any) -> str:
    """The name of a group: its selector, or the name of its function."""
    if not callable(selector):
        return selector
    name = getattr(selector, "__name__", type(selector).__name__)
    same = [x for x in among if callable(x) and getattr(x, "__name__", "") == name]
    number = same.index(selector) if selector in same else 0
    return f"{name}_{number + 1}" if number else name
