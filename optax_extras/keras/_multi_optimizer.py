"""Keras' optimizer that has another optimizer for some of the params."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from optax_extras import _check_values
from optax_extras._boxes import rebuild
from optax_extras._by_path import DEFAULT, ByPath
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._leaves import with_updates
from optax_extras._types import Params, State, Updates
from optax_extras.keras import _unsupported


class _Map(NamedTuple):
    """The optimizers by regular expression, that of all other params as `DEFAULT`."""

    optimizers: Mapping[Any, Any]


@checked
def OptimizerMap(
    default_optimizer: Transformation,
    optimizer_map: Mapping[str, optax.GradientTransformation] | None = None,
) -> Any:
    """``keras.optimizers.OptimizerMap``: which params have which optimizer.

    Keras also adds optimizers one by one, ``map["encoder/.*"] = Adam()``. Here give
    all of them in a dict.

    Args:
      default_optimizer: The optimizer of the params that no expression matches.
      optimizer_map: A dict from regular expressions to optimizers, any of Optax's, too.
        An expression must match the whole path of a param, such as
        ``encoder/dense_1/kernel``; one that is equal to the path comes before others.

    Returns:
      The argument of :func:`MultiOptimizer`.

    Examples:
      >>> import optax_extras as oxe
      >>> groups = {"encoder/.*": oxe.keras.Adam(1e-4)}
      >>> tx = oxe.keras.MultiOptimizer(oxe.keras.OptimizerMap(oxe.keras.SGD(), groups))
    """
    given = {} if optimizer_map is None else optimizer_map
    found = {
        key: _check_values.transformation(f"optimizer_map[{key}]", tx)
        for key, tx in _check_values.by_path("optimizer_map", given).items()
    }
    if DEFAULT in found:
        hint = f"Write '({DEFAULT})'."
        refuse("optimizer_map", "not have the expression of that name", DEFAULT, hint)
    return _Map({**found, DEFAULT: default_optimizer})


@_unsupported.multi_optimizer
def MultiOptimizer(optimizer_map: Any) -> optax.GradientTransformationExtraArgs:
    """``keras.optimizers.MultiOptimizer``: several optimizers, each for some params.

    It is ``optax.partition`` with Keras' rule of which optimizer a param has. If only
    numbers of one optimizer differ between params, use :func:`by_path` instead, whose
    state has one tree for all params.

    Keras also accepts a function of the variable instead of an :func:`OptimizerMap`;
    with such a function use ``optax.partition``. Paths are those of your params, which
    need not be Keras' paths, so an expression that matches no param is refused.

    Args:
      optimizer_map: An :func:`OptimizerMap`.

    Raises:
      ValueError: At `init`, if an expression matches no param, or if several match
        one and none is equal to its path.

    Returns:
      Its state is that of ``optax.partition``; the keys of its dict `inner_states` are
      the expressions and ``"default"``.

    Examples:
      >>> import optax_extras as oxe
      >>> groups = {"encoder/.*": oxe.keras.Adam(1e-4), "head/bias": oxe.keras.SGD()}
      >>> groups = oxe.keras.OptimizerMap(oxe.keras.AdamW(1e-3), groups)
      >>> tx = oxe.keras.MultiOptimizer(groups)
    """
    if not isinstance(optimizer_map, _Map):
        hint = "For a function of the param use `optax.partition`."
        refuse_kind("optimizer_map", "be an OptimizerMap", optimizer_map, hint)
    optimizers = optimizer_map.optimizers
    expressions = [key for key in optimizers if key != DEFAULT]
    selectors = {key: _selector(key, expressions) for key in expressions}
    groups = ByPath(dict.fromkeys(optimizers, 0), selectors, argument="optimizer_map")

    def labels(tree: Any) -> Any:
        return rebuild(tree, groups.names(tree))

    inner = optax.with_extra_args_support(optax.partition(optimizers, labels))

    def init(params: Params) -> State:
        groups.names(params, strict=True)
        return inner.init(params)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        params = None if params is None else with_updates(updates, params)
        return inner.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def _selector(key: str, expressions: list[str]) -> Callable[[str, Any], bool]:
    """Whether a param has the optimizer of an expression."""

    def matches(path: str, leaf: Any) -> bool:
        del leaf
        if path in expressions:
            return path == key
        found = [x for x in expressions if re.fullmatch(x, path)]
        if len(found) > 1:
            refuse("optimizer_map", f"have one expression that matches {path!r}", found)
        return found == [key]

    return matches
