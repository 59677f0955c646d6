"""A classical optimizer as a value, and the transformation made from it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras._by_path import Lifted, freeze, is_by_path
from optax_extras._checks import FloatingDtype, checked
from optax_extras._errors import refuse, refuse_kind
from optax_extras._kernel._after_update import UpdatedLeaf, after_kwargs, run_after
from optax_extras._kernel.leaf_update import LeafUpdater
from optax_extras._kernel.tableau import Tableau, check_buffers, varying_scalars
from optax_extras._numerics import (
    as_float,
    as_operands,
    compute_dtype,
    dtype_of,
    in_dtype_of,
    real_dtype,
    strong_copy,
    zeros_like,
)
from optax_extras._types import Carry
from optax_extras._values import function, returned

_BUFFERS = ("mu", "nu", "nu_max")


class Rule(NamedTuple):
    """An optimizer described by the coefficients of its updates.

    :func:`scale_by_moments` makes a gradient transformation from a rule; :func:`switch`
    and :func:`restart` make rules from rules.

    `step` gets two arguments, `t` and the carry. `t` = 1, 2, ... (int32, shape ())
    counts the updates of this rule; in the second phase of a switch it begins at 1. The
    carry holds the scalars that the rule passes from one update to the next. `step`
    returns the coefficients of this update, a `Tableau`, and the new carry.

    `after`, if given, gets the update that was made and every extra arg, and returns
    the carry once more. If it reads `grads`, `updates` or `params`, it costs a pass
    over all leaves. A rule that needs `after` only for a while (a switch, until it has
    switched) has a `needs_after` that returns False afterwards, and the pass is
    skipped.
    """

    init: Callable[[], Any]
    """() -> carry: a NamedTuple of scalars, or ()."""
    step: Callable[[jax.Array, Any], tuple[Tableau, Any]]
    """(t, carry) -> (Tableau, carry)."""
    after: Callable[..., Any] | None = None
    """``(t, carry, *, grads, updates, params, **extra) -> carry``."""
    buffers: frozenset = frozenset({"mu", "nu"})
    """The names of the params-sized buffers that the rule needs, of "mu", "nu" and
    "nu_max", the last only with "nu"."""
    needs_after: Callable[[Any], Any] | None = None
    """carry -> bool, shape (): whether `after` is still needed; None: always."""


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
        _check_rule(rule)

    def init(params):
        leaves = jax.tree.leaves(params, is_leaf=_is_none)
        units = _units(rule, params, len(leaves), per_leaf, strict=True)
        rules = [unit.rule for unit in units] if is_by_path(rule) else [rule]
        needed = frozenset().union(*(x.buffers for x in rules))
        buffers: dict[str, Any] = dict.fromkeys(_BUFFERS)
        for name in filter(needed.__contains__, _BUFFERS):
            dtype = mu_dtype if name == "mu" and mu_dtype is not None else moments_dtype
            buffers[name] = jax.tree.map(partial(_zeros, dtype, name), params)
        if is_by_path(rule):
            carries = [_first_carry(unit.rule) for unit in units]
            carry = _joined(units, carries, per_leaf, ())
        else:
            carry = jax.tree.map(strong_copy, rule.init())
            if per_leaf:
                shape = (len(leaves),)
                carry = jax.tree.map(lambda x: jnp.full(shape, x, x.dtype), carry)
        return MomentsState(jnp.zeros((), jnp.int32), carry=carry, **buffers)

    def update(updates, state, params=None, **extra):
        t: Any = optax.safe_increment(state.count)
        grads, treedef = jax.tree.flatten(updates, is_leaf=_is_none)

        def leaves(tree):
            return [None] * len(grads) if tree is None else treedef.flatten_up_to(tree)

        buffers = {name: leaves(getattr(state, name)) for name in _BUFFERS}
        us: list[Any] = [None] * len(grads)
        units, carries = _units(rule, updates, len(grads), per_leaf), []
        old_carries = [_carry_of(unit, state.carry, per_leaf) for unit in units]
        steps = _step_units(rule, units, t, old_carries)
        for unit, old_carry, (tableau, carry) in zip(
            units, old_carries, steps, strict=True
        ):
            own = unit.rule.buffers
            check_buffers(own, [tableau])
            carries.append(jax.tree.map(in_dtype_of, old_carry, carry))
            updater, made = LeafUpdater(tableau), []
            for i in unit.leaves:
                old = [
                    rows[i] if name in own else None for name, rows in buffers.items()
                ]
                us[i], *moved = updater.update(grads[i], *old)
                for name, new in zip(buffers, moved, strict=True):
                    if name in own:
                        buffers[name][i] = new
                made.append(UpdatedLeaf(updater, grads[i], us[i], tuple(moved)))
            if unit.rule.after is None or (per_leaf and grads[unit.leaves[0]] is None):
                continue
            as_tree, given = treedef.unflatten, {"grads": updates, "params": params}
            if per_leaf or unit.group is not None:
                as_tree = partial(_tree_of, treedef, unit, per_leaf)
                own_params = [*map(leaves(params).__getitem__, unit.leaves)]
                given["grads"] = as_tree([leaf.g for leaf in made])
                given["params"] = None if params is None else as_tree(own_params)
            kwargs = after_kwargs(extra, **given)
            carries[-1] = run_after(unit.rule, t, carries[-1], made, as_tree, kwargs)
        new_buffers = {
            name: None if getattr(state, name) is None else treedef.unflatten(new)
            for name, new in buffers.items()
        }
        carry = _joined(units, carries, per_leaf, state.carry)
        return treedef.unflatten(us), MomentsState(t, carry=carry, **new_buffers)

    return freeze(optax.GradientTransformationExtraArgs(init, update), rule)


class _Unit(NamedTuple):
    """Leaves that are updated by the same tableau."""

    rule: Rule
    leaves: list[int]
    group: str | None = None
    """The name of the group; None if the rule does not depend on the path."""


def _units(
    rule: Any, tree: Any, count: int, per_leaf: bool, *, strict: bool = False
) -> list[_Unit]:
    """The units of a tree of so many leaves, in the order of their first leaves."""
    if not is_by_path(rule):
        every = [[i] for i in range(count)] if per_leaf else [[*range(count)]]
        return [_Unit(rule, leaves) for leaves in every]
    names, units = rule.names(tree, strict=strict), {}
    for i, name in enumerate(names):
        if name is None or rule.is_frozen(name):
            continue
        key = i if per_leaf else name
        if key not in units:
            of_group = rule.value(name)
            _check_rule(of_group)
            units[key] = _Unit(of_group, [], name)
        units[key].leaves.append(i)
    return [*units.values()]


def _step_units(
    rule: Any, units: list[_Unit], t: Any, carries: list[Any]
) -> list[tuple[Tableau, Any]]:
    """The tableau of each unit and its new carry."""
    pairs = zip(units, carries, strict=True)
    if not is_by_path(rule) or not units:
        return [_stepped(unit.rule, t, carry) for unit, carry in pairs]

    tableaus = _step_together(rule, units, t)
    if tableaus is not None:
        steps = list(zip(tableaus, carries, strict=True))
    else:
        steps = [_stepped(unit.rule, t, carry) for unit, carry in pairs]
        steps = [(_without_vectors_of_numpy(x), carry) for x, carry in steps]
    names = varying_scalars([tableau for tableau, _ in steps])
    scalars = as_operands(
        lambda: [{x: as_float(getattr(c, x)) for x in names} for c, _ in steps], t
    )
    return [
        (tableau._replace(**new), carry)
        for (tableau, carry), new in zip(steps, scalars, strict=True)
    ]


def _step_together(rule: Any, units: list[_Unit], t: Any) -> list[Tableau] | None:
    """The tableaus of groups whose rule carries nothing, from vectors over groups.

    XLA compiles a kernel for every scalar; of vectors there are a few for all groups.
    None if that is not possible.
    """
    names = [unit.group for unit in units]
    every = rule.together(names) if isinstance(rule, Lifted) else None
    if every is None or every.after is not None or jax.tree.leaves(every.init()):
        return None
    tableau, _ = _stepped(every, t, every.init())
    rows = []
    for k in range(len(units)):
        is_vector = (x is not None and np.ndim(x) == 1 for x in tableau)
        row = zip(tableau, is_vector, strict=True)
        rows.append(Tableau(*(x[k] if vector else x for x, vector in row)))
    return rows


def _without_vectors_of_numpy(tableau: Tableau) -> Tableau:
    """With arrays of JAX, which can be compared with None and with numbers."""
    vectors = {
        name: jnp.asarray(x)
        for name, x in tableau._asdict().items()
        if isinstance(x, np.ndarray)
    }
    return tableau._replace(**vectors)


def _check_rule(rule: Any) -> None:
    if not isinstance(rule, Rule):
        refuse_kind("rule", "be an `oxe.Rule`", rule)
    for name in ("init", "step"):
        function(f"rule.{name}", getattr(rule, name))
    names = rule.buffers
    unknown = not isinstance(names, frozenset | set) or names - {*_BUFFERS}
    if unknown or ("nu_max" in names and "nu" not in names):
        must = "be a set of 'mu', 'nu' and, with 'nu', 'nu_max'"
        refuse("rule.buffers", must, names)


def _first_carry(rule: Rule) -> Any:
    """The carry before any update, of vectors if the first step makes vectors."""
    carry = jax.tree.map(strong_copy, rule.init())
    if not jax.tree.leaves(carry):
        return carry
    one = jnp.ones((), jnp.int32)
    new = jax.eval_shape(lambda x: _stepped(rule, one, x)[1], carry)
    return jax.tree.map(
        lambda x, y: jnp.broadcast_to(x, jnp.broadcast_shapes(x.shape, y.shape)),
        carry,
        new,
    )


def _carry_of(unit: _Unit, carry: Any, per_leaf: bool) -> Any:
    """The carry of a unit, from a state that may be of another grouping."""
    if per_leaf:
        return jax.tree.map(lambda x: x[unit.leaves[0]], carry)
    by_group = isinstance(carry, Mapping)
    if unit.group is None and not by_group:
        return carry
    first = unit.rule.init()
    is_own = jax.tree.structure(carry) == jax.tree.structure(first)
    if unit.group is None and is_own:
        return carry
    if by_group and unit.group in carry:
        own = carry[unit.group]
        is_same = jax.tree.structure(own) == jax.tree.structure(first)
        return own if is_same else _with_own_numbers(own, first)
    other = next(iter(carry.values()), first) if by_group and not is_own else carry
    return _with_own_numbers(other, first)


def _with_own_numbers(carry: Any, first: Any) -> Any:
    """The carry of another group, but with the learning rate of this one.

    The first carry, if that of the other group is of another rule.
    """

    def is_rate(x: Any) -> bool:
        return getattr(x, "restarted_fields", None) == ()

    trees = [jax.tree.structure(x, is_leaf=is_rate) for x in (carry, first)]
    if trees[0] != trees[1]:
        return first
    return jax.tree.map(
        lambda x, own: own if is_rate(x) else x, carry, first, is_leaf=is_rate
    )


def _joined(units: list[_Unit], carries: list[Any], per_leaf: bool, old: Any) -> Any:
    """What a state holds of the carries: with groups a dict, by group.

    Vectors over leaves with `per_leaf`. A rule that carries nothing has the same state
    whatever the groups are.
    """
    if not carries or not jax.tree.leaves(carries):
        return carries[0] if carries else old
    if per_leaf:
        return jax.tree.map(lambda *xs: jnp.stack(xs), *carries)
    if units[0].group is None:
        return carries[0]
    others = old if isinstance(old, Mapping) else {}
    pairs = zip(units, carries, strict=True)
    return {**others, **{unit.group: carry for unit, carry in pairs}}


def _tree_of(treedef: Any, unit: _Unit, per_leaf: bool, values: list[Any]) -> Any:
    """A tree with the values at the leaves of a unit, and None at all others."""
    if per_leaf:
        (value,) = values
        return value
    row: list[Any] = [None] * treedef.num_leaves
    for i, value in zip(unit.leaves, values, strict=True):
        row[i] = value
    return treedef.unflatten(row)


def _stepped(rule: Rule, t: Any, carry: Carry) -> tuple[Tableau, Any]:
    made = rule.step(t, carry)
    pair = isinstance(made, tuple) and len(made) == 2
    if not pair or not isinstance(made[0], Tableau):
        refuse_kind("rule.step", "return an `oxe.Tableau` and the carry", made)
    if jax.tree.structure(made[1]) != jax.tree.structure(carry):
        must = "return a carry like the one it was given"
        refuse("rule.step", must, made[1])
    return made


def as_schedule(argument: str, x: Any) -> Callable[..., Any]:
    """A number, or a vector over groups, or a schedule as a function of the count.

    A rule may pass the function on to another rule.
    """
    if hasattr(x, "is_constant"):
        return x
    if callable(x):
        return lambda count: returned(argument, x(count))

    def constant(count: Any) -> Any:
        del count
        return x

    constant.is_constant = True
    return constant


def _is_none(x: Any) -> bool:
    return x is None


def _zeros(moments_dtype: Any, buffer: str, param: Any) -> jax.Array:
    """A zero moment for a leaf."""
    dtype = compute_dtype(dtype_of(param))
    if moments_dtype is not None:
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        least = np.complex64 if is_complex else moments_dtype
        dtype = jnp.result_type(moments_dtype, least)
    return zeros_like(param, dtype if buffer == "mu" else real_dtype(dtype))
