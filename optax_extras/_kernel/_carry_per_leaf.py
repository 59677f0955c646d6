"""A carry for each leaf, as vectors over leaves.

XLA compiles a kernel for every scalar. So the scalars of all leaves are computed
together, by `jax.vmap` over the entries of the vectors.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._kernel._after_update import UpdatedLeaf, after_kwargs, run_after
from optax_extras._kernel.tableau import Tableau
from optax_extras._leaves import in_dtype_of
from optax_extras._operands import row_indices, row_of
from optax_extras._types import Carry, Params, Updates


def step_leaves(
    step: Any, t: Any, carry: Carry, count: int
) -> tuple[list[Callable[[], Tableau]], Any]:
    """Functions that return the tableaus of so many leaves, and their new carries.

    `step` is that of one leaf.
    """
    if not jax.tree.leaves(carry) or not count:  # the same tableau for all leaves
        tableau = step(t, carry)[0]
        return [lambda: tableau] * count, carry
    constants: dict[str, Any] = {}  # filled while `vmap` traces `step_one`

    def step_one(old: Any) -> Any:
        tableau, new = step(t, old)
        scalars = {}
        for name, x in tableau._asdict().items():
            (scalars if isinstance(x, jax.Array) else constants)[name] = x
        return scalars, jax.tree.map(in_dtype_of, old, new)

    vectors, new = jax.vmap(step_one)(carry)
    names, columns = [*vectors], [*vectors.values()]

    table = jnp.stack(columns, 1) if columns else None

    def make(index: Any) -> Tableau:
        row = () if table is None else row_of(table, index)
        return Tableau(**constants, **dict(zip(names, row, strict=True)))

    return [partial(make, index) for index in row_indices(count, t)], new


def after_leaves(
    rule: Any,
    t: Any,
    carry: Carry,
    made: list[UpdatedLeaf],
    params: list[Any],
    extra: dict[str, Any],
) -> Any:
    """The vectors of carries that `rule.after` returns for each leaf by itself."""
    present = [k for k, leaf in enumerate(made) if leaf.g is not None]
    if rule.after is None or not present:
        return carry
    kwargs = after_kwargs(extra, grads=[made[k].g for k in present])
    kwargs["params"] = [params[k] for k in present]
    rows = [made[k] for k in present]
    if rule.after_parts is None:
        return _after_one_by_one(rule, t, carry, rows, present, kwargs)
    measure, decide = rule.after_parts

    def after(
        t: Any,
        old: Any,
        /,
        *,
        grads: Updates,
        updates: Updates,
        params: Params,
        **extra: Any,
    ):
        keys = ("grads", "updates", "params")
        leaves = zip(grads, updates, params, strict=True)
        measured = [measure(**dict(zip(keys, row, strict=True))) for row in leaves]
        vectors = jax.tree.map(lambda *xs: jnp.stack(xs), *measured)

        def decide_one(old: Any, measured: Any) -> Any:
            new = jax.tree.map(in_dtype_of, old, decide(t, old, measured, **extra))
            if rule.needs_after is None:
                return new
            needed = rule.needs_after(old)
            return jax.tree.map(lambda a, b: jnp.where(needed, a, b), new, old)

        every = len(present) == len(made)
        some = old if every else _rows(old, present)
        new = jax.vmap(decide_one)(some, vectors)
        return new if every else _with_rows(old, present, new)

    def needs_after(old: Any) -> Any:
        return jnp.any(jax.vmap(rule.needs_after)(old))

    together = rule._replace(
        after=after, needs_after=None if rule.needs_after is None else needs_after
    )
    return run_after(together, t, carry, rows, list, kwargs)


def _after_one_by_one(
    rule: Any, t: Any, carry: Carry, rows: Any, present: Any, kwargs: Any
) -> Any:
    """The same for an `after` that reads the leaves in its own way."""
    new = []
    for k, leaf, g, p in zip(
        present, rows, kwargs["grads"], kwargs["params"], strict=True
    ):
        old = jax.tree.map(lambda x, k=k: x[k], carry)
        of_leaf = {**kwargs, "grads": g, "params": p}
        new.append(run_after(rule, t, old, [leaf], lambda xs: xs[0], of_leaf))
    return _with_rows(carry, present, jax.tree.map(lambda *xs: jnp.stack(xs), *new))


def _rows(carry: Carry, at: list[int]) -> Any:
    return jax.tree.map(lambda x: x[jnp.array(at)], carry)


def _with_rows(carry: Carry, at: list[int], rows: Any) -> Any:
    return jax.tree.map(lambda x, new: x.at[jnp.array(at)].set(new), carry, rows)
