"""Which parameter of another library is which leaf."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optax_extras._by_path import leaves_with_paths
from optax_extras._errors import refuse, refuse_kind
from optax_extras._translation.arrays import refuse_traced
from optax_extras._translation.report_types import TranslationRow, some_of
from optax_extras._types import Params

Order = Sequence[Any] | Mapping[Any, str] | None
Transpose = Callable[[str, Any], Any] | None


def check_params(params: Params) -> None:
    """Refuses params without arrays of floats, of JAX or NumPy, that have values."""
    refuse_traced(params=params)
    tensor = next((x for x in jax.tree.leaves(params) if hasattr(x, "detach")), None)
    if tensor is not None:
        refuse_kind("params", "be arrays of JAX or NumPy: convert the weights", tensor)
    if not trained(params):
        refuse("params", "have an array of floats", params)


def trained(params: Params) -> dict[str, Any]:
    """The leaves of floats by path, in the order of the tree."""
    leaves = {p: x for p, x in leaves_with_paths(params) if hasattr(x, "dtype")}
    return {
        path: x for path, x in leaves.items() if jnp.issubdtype(x.dtype, jnp.inexact)
    }


def paths_in_order(
    order: Order, params: Params, names: Sequence[str] | None = None
) -> list[str]:
    """The paths of the leaves by PyTorch's indices."""
    known = [*trained(params)]
    if order is None:
        return _by_name(names, known) or known
    if isinstance(order, Mapping):
        if all(isinstance(key, str) for key in order):
            if names is None:
                must = "have indices as keys if the `state_dict` has no `param_names`"
                refuse("order", must, [*order][:3])
            paths: Any = [order.get(name) for name in names]
        else:
            paths = [order.get(i) for i in range(len(order))]
        if None in paths:
            lost = paths.index(None)
            refuse(
                "order", f"have the parameter {names[lost] if names else lost}", order
            )
    elif isinstance(order, str) or not isinstance(order, Sequence):
        refuse_kind("order", "be a list of paths, or a dict of them", order)
    else:
        groups = [[item] if isinstance(item, str) else item for item in order]
        for group in groups:
            if not isinstance(group, Sequence):
                refuse_kind("order", "have paths, or a list for each group", group)
        paths = [path for group in groups for path in group]
    for path in paths:
        if path not in known:
            refuse("order", f"have paths of `params`, such as {known[:3]}", path)
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        refuse("order", "have each path once", twice[0])
    return paths


def _by_name(names: Sequence[str] | None, paths: Iterable[str]) -> list[str]:
    """The params' paths of these names, if each name is that of a param."""
    found = [name.replace(".", "/") for name in names or ()]
    return found if {*found} <= {*paths} and len({*found}) == len(found) else []


def order_rows(
    order: Order, names: Sequence[str], leaves: Mapping[str, Any]
) -> list[TranslationRow]:
    """A row that warns about params of one shape, whose order cannot be checked."""
    is_named = order is None and bool(_by_name(names, leaves))
    if is_named or (isinstance(order, Mapping) and names):
        return []
    paths_of: dict[tuple, list[str]] = {}
    for path, x in leaves.items():
        paths_of.setdefault(np.shape(x), []).append(path)
    same = next((paths for paths in paths_of.values() if len(paths) > 1), [])
    note = f"{some_of(same)} have one shape: check the order" if same else ""
    source = f"{names[0]}, ..." if names else "order"
    how = "that of `params`" if order is None else "as given"
    return [TranslationRow("", source, how, note=note)] if note or order is None else []


def groups_in_order(order: Order) -> list[list[str]] | None:
    """The groups, if `order` is a list of lists."""
    is_nested = isinstance(order, Sequence) and not isinstance(order, str)
    if not is_nested or not order or isinstance(order[0], str):
        return None
    return [[*group] for group in order]


def transposed(transpose: Transpose, path: str, x: Any) -> Any:
    """An array as the other side has it."""
    x = as_array(x)
    return x if transpose is None or x.ndim == 0 else np.asarray(transpose(path, x))


def changes_orientation(transpose: Transpose, leaves: Mapping[str, Any]) -> bool:
    """Whether it changes that of an array."""
    probes = {path: _probe(x) for path, x in leaves.items()}
    return any(
        not np.array_equal(transposed(transpose, path, x), x)
        for path, x in probes.items()
    )


def _probe(param: Any) -> np.ndarray:
    return np.arange(np.size(param)).reshape(np.shape(param))


def swap_factors(
    arrays: dict[str, Any], param: Any, path: str, transpose: Transpose
) -> dict[str, Any]:
    """Adafactor's means: rows of a matrix are the columns of the transposed one."""
    if transpose is None or not {"row_var", "col_var"} <= {*arrays}:
        return arrays
    probe = _probe(param)
    if np.array_equal(transposed(transpose, path, probe), np.swapaxes(probe, -1, -2)):
        row, column = arrays["row_var"], arrays["col_var"]
        return {**arrays, "row_var": column, "col_var": row}
    return arrays


def as_array(x: Any) -> np.ndarray:
    """A tensor of PyTorch, or what NumPy takes, as an array."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        if str(x.dtype) in ("torch.bfloat16", "torch.float16"):
            x = x.float()  # NumPy has no bfloat16
        x = x.resolve_conj() if hasattr(x, "resolve_conj") else x
        return x.numpy()
    return np.asarray(x)


def square_rows(
    buffers: Iterable[Mapping[str, Any]],
    leaves: Mapping[str, Any],
    transpose: Transpose,
) -> list[TranslationRow]:
    """A row that warns about buffers of square matrices.

    `buffers` are those of the source by path, `leaves` the params.
    """
    square: dict[str, None] = {}
    for path, x in (pair for buffer in buffers for pair in buffer.items()):
        shape = np.shape(leaves[path])
        if np.shape(x) == shape and len(shape) == 2 and shape[0] == shape[1] > 1:
            square[path] = None
    if not square:
        return []
    how = "as they are" if transpose is None else "by `transpose`"
    note = f"square: {some_of(square)} would fit transposed, too"
    return [TranslationRow("", "square matrices", how, note=note)]
