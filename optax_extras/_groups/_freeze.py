"""Optimizers that do not see the leaves of a frozen group."""

import contextvars
from typing import Any

import jax

from optax_extras._boxes import is_none
from optax_extras._by_path import Names, leaves_with_paths, within
from optax_extras._errors import TRANSLATE_HINT, refuse
from optax_extras._leaves import dtype_of, zeros_like
from optax_extras._lifted import is_by_path
from optax_extras._types import Params, State, Updates

_frozen_leaves: contextvars.ContextVar[dict[str, str] | None] = contextvars.ContextVar(
    "frozen_leaves", default=None
)


def freeze(tx: Any, *arguments: Any) -> Any:
    """An optimizer that does not see the leaves of which an argument is `FROZEN`.

    Without a gradient neither their moments nor anything else changes.
    """
    freezing = [x for x in arguments if is_by_path(x) and x.freezes]
    if not freezing:
        return tx

    def groups(tree: Any) -> Names:
        """The frozen group of each leaf, or None."""
        columns = [x.names(tree) for x in freezing]
        pairs = (zip(freezing, row, strict=True) for row in zip(*columns, strict=True))
        return [next((y for x, y in row if x.is_frozen(y)), None) for row in pairs]

    def init(params: Params) -> Any:
        with _freezing(params, groups(params)):
            return tx.init(params)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        names = groups(updates)
        grads, treedef = jax.tree.flatten(updates, is_leaf=is_none)
        pairs = list(zip(names, grads, strict=True))
        moving = treedef.unflatten([g if name is None else None for name, g in pairs])
        with _freezing(updates, names):
            us, state = tx.update(moving, state, params, **extra)
        us = jax.tree.leaves(us, is_leaf=is_none)
        stopped = [
            u if name is None else zeros_like(g, dtype_of(g))
            for (name, g), u in zip(pairs, us, strict=True)
        ]
        return treedef.unflatten(stopped), state

    return tx._replace(init=init, update=update)


def check_structure(old: Any, new: Any) -> None:
    """Refuses another structure of a state where an update may be skipped."""
    if jax.tree.structure(new) != jax.tree.structure(old):
        hint = "An update that may be skipped cannot change the state's structure. "
        must = "be of an optimizer with the same groups and options"
        refuse("state", must, type(old).__name__, hint + TRANSLATE_HINT)


def _freezing(tree: Any, names: Names) -> Any:
    """Lets the optimizer inside know which leaves are frozen."""
    pairs = zip(leaves_with_paths(tree), names, strict=True)
    frozen = {path: name for (path, _), name in pairs if name is not None}
    return within(_frozen_leaves, {**frozen_leaves(), **frozen})


def frozen_leaves() -> dict[str, str]:
    """The groups of the leaves that the optimizer around freezes, by their paths."""
    return _frozen_leaves.get() or {}


def is_freezing() -> bool:
    """Whether the optimizer around freezes leaves, if there are any."""
    return _frozen_leaves.get() is not None
