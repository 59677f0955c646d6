"""States of other kinds: copied to one of the same type."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._translation.arrays import converted
from optax_extras._translation.states import kinds_of, own_fields, place_of
from optax_extras._types import State


def copied_state(
    place: str,
    state: State,
    sources: list[tuple[str, Any]],
    say: Callable[..., None],
    hint: str,
) -> Any:
    """The first of the sources that fits, but for the states inside; else None.

    It is then taken from the sources.
    """
    fields = own_fields(state)
    for i, (old_place, old) in enumerate(sources):
        old_fields = own_fields(old)
        if type(old) is not type(state) or fields.keys() != old_fields.keys():
            continue
        chosen = {name: _chosen(x, old_fields[name]) for name, x in fields.items()}
        if any(kinds_of(chosen[name]) != kinds_of(x) for name, x in fields.items()):
            continue
        del sources[i]
        new = {}
        for name, x in fields.items():
            where, source = place_of(place, name), place_of(old_place, name)
            new[name], is_exact = _cast(where, chosen[name], x, hint)
            say(where, source, "copied" if is_exact else "rounded", exact=is_exact)
            if chosen[name] is not old_fields[name]:
                for key in old_fields[name]:
                    if key not in x:
                        say("", f"{source}[{key!r}]", "left over", exact=False)
        return new[""] if "" in new else state._replace(**new)
    return None


def _chosen(field: Any, old: Any) -> Any:
    """Of two dicts, the entries of the old one that the new one has."""
    both = isinstance(field, Mapping) and isinstance(old, Mapping)
    if both and field.keys() <= old.keys():
        return {key: old[key] for key in field}
    return old


def _cast(where: str, tree: Any, like: Any, hint: str) -> tuple[Any, bool]:
    """A tree in the dtypes and shardings of another one, and if that is exact."""
    leaves, treedef = jax.tree.flatten(like)
    exact, new = True, []
    for x, y in zip(jax.tree.leaves(tree), leaves, strict=True):
        dtype, old = jnp.result_type(y), jnp.result_type(x)
        exact &= dtype == old or jnp.promote_types(dtype, old) == dtype
        new.append(converted(where, "", x, 1.0, y, hint)[0])
    return treedef.unflatten(new), exact
