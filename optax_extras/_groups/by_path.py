"""Numbers that depend on the path of a param."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from optax_extras import _check_values
from optax_extras._by_path import DEFAULT, FROZEN, TIMES, ByPath, Expression
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

    Give it to an optimizer in place of a number. For the classical optimizers, such as
    :func:`sgd`, :func:`adamw` and :func:`nadam`, every number can depend on the path;
    for most others the learning rate and the weight decay can. There is one optimizer
    with one state, and an update takes hardly longer than without groups.
    ``optax.partition`` makes an optimizer and a state for each group; use it for groups
    with different optimizers. (Groups with different rules can be given to
    :func:`scale_by_moments`.)

    The path of a param is its keys joined by ``/``, such as
    ``encoder/layers_0/attention/kernel``. :func:`describe_groups` shows the paths of a
    model and the group of each. :func:`layerwise` and :func:`mup` make groups whose
    learning rates follow from the depth and from the width.

    An optimizer can continue with the state of one that had other groups. The moments
    stay. A new group, or one that was frozen, begins with its own learning rate; a
    group with the same selector continues with the learning rate in the state, unless a
    schedule sets it or there is `times`. The first update adds the new learning rates
    to the state, which ``jax.lax.scan`` does not allow: make one update before it. The
    bias correction of Adam goes by the updates of each param, without those that it has
    missed while it was frozen, as in PyTorch.

    Args:
      values: A dict with a selector and a value for each group. A selector is a regular
        expression that matches the whole path, or a function ``(path, leaf) -> bool``
        that asks of the leaf only its shape. The first that matches wins. A value is a
        number, or a schedule or metric schedule where the argument takes one. It can
        also be a list or an array with a number for each index of the leaves' first
        axis, as for scanned layers. A learning rate can be `FROZEN`: the params do not
        move or decay, and their moments stay as they are.
      default: The value of all other params. It can be another :func:`by_path` or a
        :func:`layerwise`, as in ``by_path({"head/.*": 10}, layerwise(...))``. None:
        every param must have a group.
      times: A number or a schedule that multiplies all values. The values are then
        multiples of it.

    Returns:
      A value to give to an optimizer. :func:`hyperparameters` lists the learning rates
      by names such as ``"head/.*/learning_rate"``, ``"default/learning_rate"`` and
      ``"times/learning_rate"``. With `times`, that of `times` can be set, but not those
      of the groups. For rules that apply the learning rate themselves
      (:func:`heavy_ball`, :func:`adabound`), that of `times` is not listed.

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
        refuse("values", "have a group if there is no default", values)
    if times is not None:
        _check_values.number_or_schedule("times", times)
    functions = map(_as_function, values)
    selectors = dict(zip(_names(values), functions, strict=True))
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
                if selectors.get(name) == selector:
                    continue  # the same expression, of which the first wins
                name = f"{name} (default)"
            groups[name] = value
            if selector is not None:
                selectors[name] = selector
        may_be_empty = default.may_be_empty
    elif default is not None:
        groups[DEFAULT] = default
    for name, value in groups.items():
        is_array = hasattr(value, "dtype") or isinstance(value, list | tuple)
        is_rule = hasattr(value, "_fields")
        is_number = _check_values.is_real(value) and not isinstance(value, bool)
        if not (is_number or is_array or is_rule or callable(value) or value is FROZEN):
            must = "be a number, a schedule, a vector, a rule or `oxe.FROZEN`"
            argument = DEFAULT if name == DEFAULT else f"values[{name}]"
            refuse_kind(argument, must, value)
    return ByPath(groups, selectors, times, may_be_empty)


def _as_function(selector: Any) -> Any:
    if callable(selector):
        hint = "A function that makes a selector has to be called: `oxe.vectors()`."
        return _check_values.of_path_and_leaf(
            f"values[{_name_of(selector)}]", selector, hint
        )
    if not isinstance(selector, str):
        must = "have regular expressions or functions of path and leaf as keys"
        refuse_kind("values", must, selector)
    try:
        pattern = re.compile(selector)
    except re.error as error:
        refuse("values", f"have regular expressions as keys ({error})", selector)
    return Expression(pattern)


def _names(selectors: Collection[Any]) -> list[str]:
    """The names of the groups: selectors, or the names of their functions."""
    taken = {x for x in selectors if isinstance(x, str)}
    names = []
    for selector in selectors:
        name = selector
        if callable(selector):
            name, number = _name_of(selector), 1
            while name in taken:
                number += 1
                name = f"{_name_of(selector)}_{number}"
            taken.add(name)
        names.append(name)
    return names


def _name_of(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
