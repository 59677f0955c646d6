"""From what a reader found in a model to a layout, with what the user says besides."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import leaves_with_paths
from optax_extras._errors import refuse, refuse_kind
from optax_extras._groups._matrix_axes import MatrixAxes, describe
from optax_extras._leaves import dtype_of
from optax_extras.layouts._kernels import Found, Unknown

Layout = Callable[[str, Any], MatrixAxes | None]


def as_layout(
    found: Mapping[str, tuple[Any, Found]], others: Any, matrices: Any, prefix: str = ""
) -> Layout:
    """The function to pass as `layout`, of each path's leaf and axes.

    A path may begin with `prefix`, which those of `found` have not.
    """
    axes = {
        path: x if jnp.issubdtype(dtype_of(leaf), jnp.floating) else None
        for path, (leaf, x) in found.items()
    }
    said: dict[str, MatrixAxes] = {}
    for pattern, given in (matrices or {}).items():
        if not isinstance(given, MatrixAxes):
            refuse_kind(f"matrices[{pattern!r}]", "be an oxe.MatrixAxes", given)
        said = dict.fromkeys(_matching("matrices", pattern, axes), given) | said
    axes |= said
    if callable(others):
        chosen = [path for path, (leaf, _) in found.items() if others(path, leaf)]
    else:
        chosen = [path for x in others for path in _matching("others", x, axes)]
    axes |= dict.fromkeys(chosen)
    known = {path: x for path, x in axes.items() if not isinstance(x, Unknown)}
    if len(known) < len(axes):
        _refuse({path: found[path] for path in axes if path not in known})

    def layout(path: str, leaf: Any) -> MatrixAxes | None:
        del leaf
        path = path.removeprefix(prefix)
        if path not in known:
            refuse("path", "be of a param of the model", path, _listed(known))
        return known[path]

    return layout


def paths(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, without boxes, by their paths as :func:`muon` has them."""
    return {path: leaf for path, leaf in leaves_with_paths(tree) if leaf is not None}


def eval_shape(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The shapes of what a function returns; it gets bools and numbers as they are."""
    leaves, treedef = jax.tree.flatten((args, kwargs))
    arrays = {
        i: x
        for i, x in enumerate(leaves)
        if hasattr(x, "shape") and not isinstance(x, np.generic)
    }

    def call(arrays: dict[int, Any]) -> Any:
        merged = [arrays.get(i, x) for i, x in enumerate(leaves)]
        args, kwargs = treedef.unflatten(merged)
        return function(*args, **kwargs)

    return jax.eval_shape(call, arrays)


def _matching(argument: str, pattern: str, among: Iterable[str]) -> list[str]:
    chosen = [path for path in among if re.fullmatch(pattern, path)]
    if not chosen:
        refuse(argument, "match the whole path of a param", pattern, _listed(among))
    return chosen


def _refuse(unknown: dict[str, tuple[Any, Any]]) -> NoReturn:
    got = {
        path: f"{describe(leaf)} of {x.owner}" for path, (leaf, x) in unknown.items()
    }
    path = next(iter(got))
    axes = "oxe.MatrixAxes(inputs=..., outputs=..., batch=...)"
    hint = f"Say what each is: `matrices={{{path!r}: {axes}}}` or `others={path!r}`."
    refuse("model", "have only params whose axes are known", got, hint)


def _listed(found: Iterable[str], most: int = 30) -> str:
    every = [*found]
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return f"The paths are {', '.join(every[:most])}{rest}."
