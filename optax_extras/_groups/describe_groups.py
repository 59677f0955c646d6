"""A table of the groups that the params of a model fall into."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._by_path import (
    FROZEN,
    ByPath,
    Leaves,
    Names,
    is_vector,
    leaves_with_paths,
    recording,
)
from optax_extras._check_values import is_real, is_traced
from optax_extras._checks import Transformation, checked
from optax_extras._errors import refuse_kind
from optax_extras._leaves import is_array_like
from optax_extras._table import as_text
from optax_extras._types import Params


@checked
def describe_groups(tx: Transformation, params: Params) -> str:
    """Text that shows each param's path and size, and the group it falls into.

    Print it before a run, to see whether a selector takes too much or too little. The
    first table has a line for each param, with its group for each argument that depends
    on the path. The second has a line for each group, with its value and its number of
    leaves and of params. If these are 0, earlier selectors have taken all that the
    selector of the group matches; a layer of :func:`layerwise` may have no params. A
    schedule is shown by its ``__name__``. If several transformations have an argument
    of one name, the later ones are numbered.

    Args:
      tx: An optimizer with numbers by path, also inside of chains and wrappers.
      params: The params, or their shapes as `jax.ShapeDtypeStruct`.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax_extras as oxe
      >>> rate = oxe.by_path({"head/.*": 1e-2}, default=1e-3)
      >>> tx = oxe.adamw(rate, weight_decay=oxe.by_path({".*/bias": 0}, default=0.1))
      >>> layer = {"kernel": jnp.ones((8, 8)), "bias": jnp.ones(8)}
      >>> print(oxe.describe_groups(tx, {"body": layer, "head": layer}))
      path         shape   params  learning_rate  weight_decay
      body/bias    (8,)         8  default        .*/bias
      body/kernel  (8, 8)      64  default        default
      head/bias    (8,)         8  head/.*        .*/bias
      head/kernel  (8, 8)      64  head/.*        default
      <BLANKLINE>
      argument       group    value  leaves  params
      learning_rate  head/.*  0.01        2      72
      learning_rate  default  0.001       2      72
      weight_decay   .*/bias  0           2      16
      weight_decay   default  0.1         2     128
    """
    for path, leaf in leaves_with_paths(params):
        if not (leaf is None or is_array_like(leaf)):
            hint = "For a module of Equinox, give `eqx.filter(model, eqx.is_array)`."
            refuse_kind(
                "params", f"have arrays as leaves, also at {path!r}", leaf, hint
            )
    found: dict[str, tuple[ByPath, Leaves, Names]] = {}

    def record(values: ByPath, leaves: Leaves, names: Names) -> None:
        title, new = values.argument, (values, leaves, names)
        count = 1
        while title in found and _identity(*found[title]) != _identity(*new):
            count += 1
            title = f"{values.argument} {count}"
        found.setdefault(title, new)

    with recording(record):
        # Of a new function: JAX does not trace one again that it has seen.
        jax.eval_shape(lambda tree: tx.init(tree), params)
    found = dict(sorted(found.items(), key=lambda x: x[1][0].argument not in _RATES))
    if not found:
        return "No number depends on the path."
    rows: dict[str, Any] = {}
    for _, leaves, _ in found.values():
        rows |= {path: leaf for path, leaf in leaves if leaf is not None}
    columns: dict[str, Any] = {
        "path": [*rows],
        "shape": [str(jnp.shape(leaf)) for leaf in rows.values()],
        "params": [_size(leaf) for leaf in rows.values()],
    }
    for argument, (_, leaves, names) in found.items():
        groups = {path: x for (path, _), x in zip(leaves, names, strict=True)}
        names = (groups.get(path) for path in rows)
        columns[argument] = ["-" if name is None else name for name in names]
    return f"{as_text(columns)}\n\n{as_text(_groups(found))}"


_RATES = ("learning_rate", "lr", "rate")  # they come first


def _identity(values: ByPath, leaves: Leaves, names: Names) -> Any:
    """What transformations with the same values for the same leaves have in common."""
    ids = [id(x) for x in (*values.values.values(), values.times)]
    return [*values.values], ids, [path for path, _ in leaves], names


def _groups(found: dict[str, tuple[ByPath, Leaves, Names]]) -> dict[str, Any]:
    """A row for each group of each argument."""
    rows = []
    for argument, (values, leaves, names) in found.items():
        for name, value in values.values.items():
            pairs = zip(leaves, names, strict=True)
            sizes = [_size(leaf) for (_, leaf), x in pairs if x == name]
            shown = _shown(value)
            if values.times is not None and value is not FROZEN:
                shown = f"{shown} * {_shown(values.times)}"
            rows.append((argument, name, shown, len(sizes), sum(sizes)))
    heads = ("argument", "group", "value", "leaves", "params")
    return dict(zip(heads, zip(*rows, strict=True), strict=True))


def _shown(value: Any) -> str:
    if value is FROZEN:
        return "frozen"
    if is_vector(value):
        numbers = [_shown(x) for x in value]
        shown = numbers if len(numbers) <= 4 else [*numbers[:2], "...", numbers[-1]]
        return f"[{', '.join(shown)}]"
    if isinstance(value, optax.schedules.StatefulSchedule):
        return repr(value)
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if not is_real(value):
        return type(value).__name__
    return "traced" if is_traced(value) else f"{float(value):.4g}"


def _size(leaf: Any) -> int:
    return math.prod(jnp.shape(leaf))
