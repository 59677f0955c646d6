"""States of other kinds: copied to one of the same type."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._translation.arrays import converted
from optax_extras._translation.states import kinds_of, own_fields


def copied_state(
    place: str,
    state: Any,
    sources: list[tuple[str, Any]],
    say: Callable[..., None],
    hint: str,
) -> Any:
    """The first of the sources that fits, but for the states inside; else None.

    It is then taken from the sources.
    """
    for i, (old_place, old) in enumerate(sources):
        fields = own_fields(state)
        if type(old) is not type(state) or fields.keys() != own_fields(old).keys():
            continue
        pairs = {
            name: (_chosen(field, own_fields(old)[name]), field)
            for name, field in fields.items()
        }
        if any(kinds_of(x) != kinds_of(field) for x, field in pairs.values()):
            continue
        del sources[i]
        new = {}
        for name, (x, field) in pairs.items():
            where, source = (
                f"{at}.{name}" if name else at for at in (place, old_place)
            )
            new[name], is_exact = _cast(where, x, field, hint)
            how = "copied" if is_exact else "rounded"
            say(where, source, how, exact=is_exact)
            _say_lost(source, x, own_fields(old)[name], say)
        return new[""] if "" in new else state._replace(**new)
    return None


def _chosen(field: Any, old: Any) -> Any:
    """Of two dicts, the entries of the old one that the new one has."""
    both = isinstance(field, Mapping) and isinstance(old, Mapping)
    if both and field.keys() <= old.keys():
        return {key: old[key] for key in field}
    return old


def _say_lost(source: str, x: Any, old: Any, say: Callable[..., None]) -> None:
    for key in old if x is not old and isinstance(old, Mapping) else ():
        if key not in x:
            say("", f"{source}[{key!r}]", "left over", exact=False)


def _cast(where: str, tree: Any, like: Any, hint: str) -> tuple[Any, bool]:
    """A tree in the dtypes and shardings of another one, and if that is exact."""
    leaves, treedef = jax.tree.flatten(like)
    exact, new = True, []
    for x, y in zip(jax.tree.leaves(tree), leaves, strict=True):
        dtype, old = jnp.result_type(y), jnp.result_type(x)
        exact &= dtype == old or jnp.promote_types(dtype, old) == dtype
        new.append(converted(where, "", x, 1.0, y, hint)[0])
    return treedef.unflatten(new), exact
