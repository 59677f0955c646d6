"""The gradient transformation of a rule."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from optax_extras._boxes import is_none
from optax_extras._by_path import leaves_with_paths
from optax_extras._checks import FloatingDtype, checked
from optax_extras._errors import TRANSLATE_HINT, refuse
from optax_extras._groups._freeze import freeze, frozen_leaves, is_freezing
from optax_extras._kernel._after_update import UpdatedLeaf, after_kwargs, run_after
from optax_extras._kernel._carry_per_leaf import after_leaves, step_leaves
from optax_extras._kernel._grouped import (
    Unit,
    carry_of,
    first_carry,
    joined_carries,
    part_of,
    rules_of_groups,
    split_units,
    step_units,
    tree_of,
    units_of,
)
from optax_extras._kernel._map_leaves import real_zeros, zeros
from optax_extras._kernel._missed_updates import first_missed, missed_after
from optax_extras._kernel._recorded_rules import record_rules
from optax_extras._kernel.leaf_update import LeafUpdater
from optax_extras._kernel.rule import (
    BUFFERS,
    Rule,
    check_rule,
    check_tableau,
    step_rule,
)
from optax_extras._kernel.tableau import Tableau
from optax_extras._leaves import in_dtype_of, is_placeholder_of_optax, strong_copy
from optax_extras._lifted import is_by_path
from optax_extras._types import Carry, Params, Updates


class MomentsState(NamedTuple):
    """State of `scale_by_moments`."""

    count: ArrayLike
    """Shape (), int32: the number of updates; it stops at 2**31 - 1."""
    mu: Any
    """Like the params, in `mu_dtype` or `moments_dtype`, or else float32 at least; None
    in a rule without it."""
    nu: Any
    """Likewise, but real; None in a rule without it."""
    carry: Carry
    """The rule's scalars; with `per_leaf`, vectors with an entry for each leaf."""
    nu_max: Any = None
    """The running maximum of `nu`, in its dtype; None in a rule without it."""
    missed: Any = None
    """For params that are or were frozen a dict of `MissedUpdates`, else None."""

    buffers_hold = (("mu", "mu"), ("nu", "nu"), ("nu_max", "nu_max"))


@checked
def scale_by_moments(
    rule: Rule,
    *,
    moments_dtype: FloatingDtype | None = None,
    mu_dtype: FloatingDtype | None = None,
    per_leaf: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """Makes a gradient transformation from a rule.

    Its updates are the direction :math:`u` of `Tableau`. They are not multiplied by -1,
    nor by a learning rate, unless the rule itself contains one. It computes in float32
    at least. Updates have the dtypes of the gradients; if these are integers, the
    fractions of the updates are cut off.

    Args:
      rule: A rule from `oxe.rules` or your own.
      moments_dtype: The dtype of all buffers. None: that of the params, but float32 for
        half-precision params. Complex params keep complex first moments.
      mu_dtype: The dtype of `mu`, if it is another one.
      per_leaf: Whether every leaf of the params has a carry of its own: `step` and
        `after` then run once for each leaf, and each leaf switches by itself.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `MomentsState`.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> direction = oxe.scale_by_moments(oxe.rules.adam(b1=0.95))
      >>> tx = optax.chain(direction, oxe.scale_by_rate(1e-3))

      Your own rule, an average of the gradients, and Signum, which takes its sign:

      >>> def average(beta):
      ...     step = lambda t, carry: (oxe.Tableau(a1=beta, c1=1 - beta, n1=1), carry)
      ...     return oxe.Rule(lambda: (), step, buffers=frozenset({"mu"}))
      >>> direction = oxe.scale_by_moments(average(0.9))
      >>> tx = optax.chain(direction, optax.scale_by_sign(), oxe.scale_by_rate(1e-3))
    """
    if not is_by_path(rule):
        check_rule(rule)
    elif per_leaf:
        refuse("per_leaf", "be False if the rule depends on the path", per_leaf)

    def init(params):
        num_leaves = len(jax.tree.leaves(params, is_leaf=is_none))
        units = units_of(rule, params, num_leaves, strict=True)
        rules = [unit.rule for unit in units] if is_by_path(rule) else [rule]
        if is_by_path(rule):
            carry = joined_carries(units, list(map(first_carry, rules)), ())
        else:
            carry = jax.tree.map(strong_copy, rule.init())
        if per_leaf:
            shape = (num_leaves,)
            carry = jax.tree.map(lambda x: jnp.full(shape, x, x.dtype), carry)
        missed: Any = first_missed(_frozen_among(params)) or None
        if is_placeholder_of_optax(params):
            # `optax.tree.map_params` calls `init` with a placeholder, and compares the
            # result as a prefix: one leaf stands for a dict with any keys.
            any_groups = jnp.zeros((), jnp.int32)
            if is_by_path(rule):
                rules = rules_of_groups(rule)
                has_carry = any(jax.tree.leaves(x.init()) for x in rules)
                carry = any_groups if has_carry else carry
            missed = any_groups if is_freezing() else None
        buffers = _first_buffers(
            rules, params, mu_dtype or moments_dtype, moments_dtype
        )
        count = jnp.zeros((), jnp.int32)
        # `translate` finds the rules by the identity of this array: store it uncopied.
        record_rules(count, lambda: _rules_with_paths(units, params))
        return MomentsState(count, carry=carry, **buffers, missed=missed)

    def update(updates, state, params=None, **extra):
        if not isinstance(state, MomentsState):
            got = type(state).__name__
            refuse("state", "be a `MomentsState`", got, TRANSLATE_HINT)
        t: Any = optax.safe_increment(state.count)
        leaves = _Leaves(updates, state)
        if per_leaf:
            carry = _update_each(rule, t, state, leaves, params, extra)
        else:
            carry = _update_groups(rule, t, state, leaves, params, extra)
        us, buffers = leaves.trees(state)
        missed = missed_after(state.missed or {}, _frozen_among(updates)) or None
        return us, MomentsState(t, carry=carry, **buffers, missed=missed)

    return freeze(optax.GradientTransformationExtraArgs(init, update), rule)


def _first_buffers(
    rules: list[Rule], params: Params, mu_dtype: Any, moments_dtype: Any
) -> dict[str, Any]:
    """The buffers that one of the rules needs; None for the others."""
    needed = frozenset().union(*(rule.buffers for rule in rules))
    make = {
        "mu": lambda: zeros(params, mu_dtype),
        "nu": lambda: real_zeros(params, moments_dtype),
        "nu_max": lambda: real_zeros(params, moments_dtype),
    }
    return {name: make[name]() if name in needed else None for name in BUFFERS}


class _Leaves:
    """The leaves of an update: the gradients, the buffers, the directions made."""

    def __init__(self, updates: Updates, state: MomentsState):
        self.updates = updates
        self.grads, self.treedef = jax.tree.flatten(updates, is_leaf=is_none)
        self._buffers = {name: self.of(getattr(state, name)) for name in BUFFERS}
        self._us: list[Any] = [None] * len(self.grads)
        self._jitted: dict[Any, Any] = {}

    def of(self, tree: Any) -> list[Any]:
        """The leaves of a tree like the gradients; of None as many times None."""
        count = len(self.grads)
        return [None] * count if tree is None else self.treedef.flatten_up_to(tree)

    def update(
        self, rule: Rule, make: Callable[[], Tableau], never_zero: Any, at: list[int]
    ) -> list[UpdatedLeaf]:
        """Updates the leaves at these places by a tableau."""
        updater = LeafUpdater(make, never_zero, self._jitted)
        check_tableau(rule, updater.tableau)
        columns = [self._buffers[x] if x in rule.buffers else None for x in BUFFERS]
        made = []
        for i in at:
            old = [None if column is None else column[i] for column in columns]
            u, *new = updater.update(self.grads[i], *old)
            self._us[i] = u
            for column, x in zip(columns, new, strict=True):
                if column is not None:
                    column[i] = x
            made.append(UpdatedLeaf(updater, self.grads[i], u, tuple(new)))
        return made

    def trees(self, state: MomentsState) -> tuple[Updates, dict[str, Any]]:
        """The directions and the new buffers."""
        unflatten = self.treedef.unflatten
        buffers = {
            name: None if getattr(state, name) is None else unflatten(column)
            for name, column in self._buffers.items()
        }
        return unflatten(self._us), buffers


def _update_each(
    rule: Rule, t: Any, state: MomentsState, leaves: _Leaves, params: Params, extra: Any
) -> Carry:
    """Updates each leaf by its own carry, and returns the new carries."""
    makers, carry = step_leaves(
        partial(step_rule, rule), t, state.carry, len(leaves.grads)
    )
    rows = (
        leaves.update(rule, make, rule.never_zero, [i]) for i, make in enumerate(makers)
    )
    made = [leaf for row in rows for leaf in row]
    return after_leaves(rule, t, carry, made, leaves.of(params), extra)


def _update_groups(
    rule: Any, t: Any, state: MomentsState, leaves: _Leaves, params: Params, extra: Any
) -> Carry:
    """Updates the leaves of each group together, and returns the new carry."""
    updates, missed = leaves.updates, state.missed or {}
    units = split_units(units_of(rule, updates, len(leaves.grads)), updates, missed)
    old_carries = [carry_of(unit, state.carry) for unit in units]
    steps = step_units(rule, units, t, missed, old_carries)
    carries = []
    for unit, old, step in zip(units, old_carries, steps, strict=True):
        carry = jax.tree.map(in_dtype_of, old, step.carry)
        make = partial(_given_tableau, step.tableau)
        made = leaves.update(unit.rule, make, step.never_zero, unit.leaves)
        if unit.rule.after is not None:
            as_tree, given = leaves.treedef.unflatten, (updates, params)
            if unit.group is not None:
                as_tree = partial(tree_of, leaves.treedef, unit)
                given = tuple(part_of(leaves.treedef, unit, x) for x in given)
            kwargs = after_kwargs(extra, grads=given[0], params=given[1])
            carry = run_after(unit.rule, t, carry, made, as_tree, kwargs)
        carries.append(carry)
    return joined_carries(units, carries, state.carry)


def _frozen_among(tree: Any) -> dict[str, str]:
    """The groups of the frozen leaves of a tree, by their paths."""
    frozen = frozen_leaves()
    if not frozen:
        return {}
    paths = [path for path, _ in leaves_with_paths(tree)]
    return {path: frozen[path] for path in paths if path in frozen}


def _rules_with_paths(units: list[Unit], params: Params) -> list[Any]:
    paths = [path for path, _ in leaves_with_paths(params)]
    return [(x.group, x.rule, [paths[i] for i in x.leaves]) for x in units]


def _given_tableau(tableau: Tableau) -> Tableau:
    return tableau
