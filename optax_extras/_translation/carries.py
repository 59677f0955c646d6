"""The scalars of a state with moments: its carry, and the updates that were missed."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from optax_extras._hyperparameters._walker import map_numbers, numbers_in
from optax_extras._kernel._missed_updates import Missed, MissedUpdates, groups_of_leaves
from optax_extras._kernel.rule import Rule, step_rule
from optax_extras._learning_rates._source import CONSTANT, STATEFUL, Number, RateState
from optax_extras._leaves import in_dtype_of
from optax_extras._numerics import LAST_COUNT, as_float
from optax_extras._optimizers.adabound import AdaBoundState
from optax_extras._translation.arrays import placed
from optax_extras._translation.common_form import of_group
from optax_extras._translation.states import kinds_of
from optax_extras._types import Carry

_WALKED = 2**22  # about a second; NAdam's product is 0 long before


def _carry_after(rule: Rule, count: int) -> Carry:
    """The carry of a rule after so many updates, none of which met a condition."""
    first = rule.init()
    if not jax.tree.leaves(first) or not count:
        return first
    count = min(count, LAST_COUNT - 1)
    walked = min(count, _WALKED)

    def step(t: Any, carry: Carry) -> Carry:
        new = step_rule(rule, t, carry)[1]
        return jax.tree.map(in_dtype_of, carry, new)

    def skip(x: Any, last: Any) -> Any:
        """An integer counts updates; any other number has reached its limit."""
        moves = jnp.issubdtype(x.dtype, jnp.integer)
        return x + (x - last) * (count - walked - 1) if moves else x

    @jax.jit
    def walk(carry: Carry) -> Carry:
        last = jax.lax.fori_loop(1, walked, step, carry)
        new = step(jnp.int32(walked), last)
        if walked == count:
            return new
        return step(jnp.int32(count), jax.tree.map(skip, new, last))

    return walk(jax.tree.map(lambda x: jnp.asarray(x, jnp.result_type(x)), first))


def _may_be_copied(old: Carry, carry: Carry) -> bool:
    """Whether the old carry is of the same kind, and more than a learning rate."""
    if old is None or kinds_of(old) != kinds_of(carry):
        return False
    is_rate = isinstance(old, (RateState, AdaBoundState))
    return not is_rate or any(x.kind == STATEFUL for x in numbers_in(old).values())


def _with_constants_of(old: Carry, carry: Carry) -> Carry:
    """A copy of a carry with the constant learning rates of another one."""
    new = numbers_in(carry)

    def visit(path: Any, name: str, number: Number) -> Number:
        is_constant = number.kind == CONSTANT
        return number.with_value(new[path, name].value) if is_constant else number

    return jax.tree.map(jnp.array, map_numbers(old, visit))


def _with_named(carry: Carry, named: Any) -> Carry:
    if not hasattr(carry, "_fields"):
        return carry
    new = {
        name: in_dtype_of(getattr(carry, name), as_float(x))
        for name, x in named.items()
        if name in carry._fields
    }
    return carry._replace(**new)


def new_carry(
    first: Any, rules: Any, old: Carry, named: Any, count: int
) -> tuple[Any, str]:
    """The carry in place of a first one, and where from.

    `old` is that of the source, and `named` are its numbers by their names.
    """
    if _may_be_copied(old, first):
        new, source = _with_constants_of(old, first), "carry"
    else:
        made = {
            group: _with_named(_carry_after(rule, count), of_group(named, paths))
            for group, rule, paths in rules
        }
        is_one = None in made
        new = made[None] if is_one else {**first, **made}
        source = ", ".join(named) or "count"
    carry = jax.tree.map(
        lambda like, x: placed(
            jnp.broadcast_to(in_dtype_of(like, x), jnp.shape(like)), like
        ),
        first,
        jax.tree.structure(first).unflatten(jax.tree.leaves(new)),
    )
    return carry, source


def with_missed(first: Missed, missed: Mapping[str, int]) -> dict[str, MissedUpdates]:
    """The updates that params have missed, in the groups that are frozen now."""
    frozen, groups = groups_of_leaves(first), {}
    for path in dict.fromkeys([*frozen, *missed]):
        n = missed.get(path, 0)
        groups.setdefault((frozen.get(path, "translated"), n), {})[path] = ()
    new: dict[str, MissedUpdates] = {}
    for (name, n), leaves in groups.items():
        name = f"{name} {n}" if name in new else name
        new[name] = MissedUpdates(jnp.asarray(n, jnp.int32), leaves)
    return new
