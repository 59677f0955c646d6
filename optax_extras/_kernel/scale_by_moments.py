"""A classical optimizer as a value, and the transformation that is made of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from optax_extras import _checks
from optax_extras._kernel._after import Made, given, see
from optax_extras._kernel._per_leaf import stack, unstack
from optax_extras._kernel.tableau import Tableau, check_buffers, move
from optax_extras._numerics import (
    compute_dtype,
    in_dtype_of,
    own,
    real_dtype,
    zeros_like,
)

_BUFFERS = ("mu", "nu", "nu_max")


class Rule(NamedTuple):
    """A classical optimizer as a value, to be combined before it becomes a transform.

    `step` is given t = 1, 2, ... (int32, shape ()), the number of the rule's own
    update, and the scalars that the rule carries; it returns the coefficients of this
    update, a `Tableau`, and the new carry. `after`, where there is one, is given the
    update that was made, with every extra arg, and returns the carry once more. It
    costs a pass over all leaves: a rule that needs it only for a while (a switch, until
    it has switched) has `needs_after` return False afterwards, and the pass is skipped.
    """

    init: Callable[[], Any]
    """() -> carry: a NamedTuple of scalars, or ()."""
    step: Callable[[jax.Array, Any], tuple[Tableau, Any]]
    """(t, carry) -> (Tableau, carry)."""
    after: Callable[..., Any] | None = None
    """``(t, carry, *, grads, updates, params, **extra) -> carry``."""
    buffers: frozenset = frozenset({"mu", "nu"})
    """Which params-sized buffers the rule needs, by name: of "mu", "nu" and "nu_max",
    the last only with "nu"."""
    needs_after: Callable[[Any], Any] | None = None
    """carry -> bool, shape (): whether `after` has anything to do; None: always."""


class MomentsState(NamedTuple):
    """State of `scale_by_moments`."""

    count: ArrayLike
    """Shape (), int32: updates made; it stops at 2**31 - 1."""
    mu: Any
    """Like the params, in `moments_dtype`, or else float32 at least; None in a rule
    without it."""
    nu: Any
    """Likewise, but real; None in a rule without it."""
    carry: Any
    """The rule's scalars; with `per_leaf` vectors with an entry for each leaf."""
    nu_max: Any = None
    """The running maximum of `nu`, like that; None in a rule without it."""


def scale_by_moments(
    rule: Rule, *, moments_dtype: Any = None, per_leaf: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Makes a gradient transformation of a rule.

    Its updates are the direction :math:`u` of `Tableau`, without rate and sign, unless
    the rule has the rate inside. Arithmetic is float32 at least; updates keep their
    dtypes, integer ones too, whose fractions are cut off.

    Args:
      rule: The rule, from `oxe.rules` or of your own.
      moments_dtype: The floating dtype of all buffers. None: that of the params, but
        float32 for half-precision params. Complex params keep complex first moments.
      per_leaf: Whether every leaf of the params carries scalars of its own, so that
        `step` and `after` are run leaf by leaf; a switch then comes leaf by leaf.

    Returns:
      An `optax.GradientTransformationExtraArgs` with a `MomentsState`.

    Raises:
      ValueError: If the rule names a buffer that there is not, or `nu_max` without
        `nu`; in `update`, if it gives a coefficient to a buffer that it did not name,
        or an extra arg is called `grads` and the rule has an `after`, or `step` returns
        a carry of another structure.
      TypeError: If `rule` is no `Rule` or its `init` or `step` no function,
        `moments_dtype` no floating dtype or `per_leaf` no bool; in `update`, if `step`
        returns no `Tableau` and carry.

    Examples:
      >>> import optax
      >>> import optax_extras as oxe
      >>> direction = oxe.scale_by_moments(oxe.rules.adam(b1=0.95))
      >>> tx = optax.chain(direction, oxe.scale_by_rate(1e-3))

      A rule of your own, an average of the gradients, and Signum, which is its sign:

      >>> def average(beta):
      ...     step = lambda t, carry: (oxe.Tableau(a1=beta, c1=1 - beta, n1=1), carry)
      ...     return oxe.Rule(lambda: (), step, buffers=frozenset({"mu"}))
      >>> direction = oxe.scale_by_moments(average(0.9))
      >>> tx = optax.chain(direction, optax.scale_by_sign(), oxe.scale_by_rate(1e-3))
    """
    if not isinstance(rule, Rule):
        _checks.refuse_kind("scale_by_moments", "rule", "be an `oxe.Rule`", rule)
    for name in ("init", "step"):
        _checks.function("scale_by_moments", f"rule.{name}", getattr(rule, name))
    _checks.flag("scale_by_moments", "per_leaf", per_leaf)
    unknown = not isinstance(rule.buffers, frozenset | set) or rule.buffers - {
        *_BUFFERS
    }
    if unknown or ("nu_max" in rule.buffers and "nu" not in rule.buffers):
        must = "be a set of 'mu', 'nu' and, with 'nu', 'nu_max'"
        _checks.refuse("scale_by_moments", "rule.buffers", must, rule.buffers)
    if moments_dtype is not None:
        _checks.floating("scale_by_moments", "moments_dtype", moments_dtype)

    def init(params):
        zeros = partial(_zeros, moments_dtype)
        buffers = {
            name: jax.tree.map(partial(zeros, name), params)
            if name in rule.buffers
            else None
            for name in _BUFFERS
        }
        carry = jax.tree.map(own, rule.init())
        if per_leaf:
            leaves = len(jax.tree.leaves(params, is_leaf=_is_none))
            carry = jax.tree.map(lambda x: jnp.full((leaves,), x, x.dtype), carry)
        count = jnp.zeros((), jnp.int32)
        return MomentsState(count, carry=carry, **buffers)

    def update(updates, state, params=None, **extra):
        t: Any = optax.safe_increment(state.count)
        grads, treedef = jax.tree.flatten(updates, is_leaf=_is_none)

        def leaves(tree):
            return [None] * len(grads) if tree is None else treedef.flatten_up_to(tree)

        carries = unstack(state.carry, len(grads)) if per_leaf else [state.carry]
        steps = [_stepped(rule, t, carry) for carry in carries]
        check_buffers(rule.buffers, [tableau for tableau, _ in steps])
        tableaus = [tableau for tableau, _ in steps] * (1 if per_leaf else len(grads))
        olds = [getattr(state, name) for name in _BUFFERS]
        moved = map(move, tableaus, grads, *map(leaves, olds))
        us, *news = zip(*moved, strict=True) if grads else ((), (), (), ())
        directions = treedef.unflatten(us)

        carries = [
            jax.tree.map(in_dtype_of, old, new)
            for old, (_, new) in zip(carries, steps, strict=True)
        ]
        if rule.after is not None:
            buffers = zip(*news, strict=True)
            made = list(map(Made, tableaus, grads, us, buffers))

            def look(carry, made, shape, g, p):
                seen = given("scale_by_moments", extra, grads=g, params=p)
                return see(rule, t, carry, made, shape, seen)

            if per_leaf:
                carries = [
                    carry if one.g is None else look(carry, [one], _only, one.g, p)
                    for carry, one, p in zip(carries, made, leaves(params), strict=True)
                ]
            else:
                shape = treedef.unflatten
                carries = [look(carries[0], made, shape, updates, params)]
        kept = stack(carries, state.carry) if per_leaf else carries[0]
        buffers = {
            name: None if old is None else treedef.unflatten(new)
            for name, old, new in zip(_BUFFERS, olds, news, strict=True)
        }
        return directions, MomentsState(t, carry=kept, **buffers)

    return optax.GradientTransformationExtraArgs(init, update)


def _stepped(rule: Rule, t: Any, carry: Any) -> tuple[Tableau, Any]:
    made = rule.step(t, carry)
    pair = isinstance(made, tuple) and len(made) == 2
    if not pair or not isinstance(made[0], Tableau):
        must = "return an `oxe.Tableau` and the carry"
        _checks.refuse_kind("scale_by_moments", "rule.step", must, made)
    if jax.tree.structure(made[1]) != jax.tree.structure(carry):
        must = "return a carry like the one it was given"
        _checks.refuse("scale_by_moments", "rule.step", must, made[1])
    return made


def _only(items: Any) -> Any:
    (item,) = items
    return item


def as_schedule(rule: str, argument: str, x: Any, interval: str) -> Callable[..., Any]:
    """A hyperparameter as a function of the count; a number stays as it is."""
    x = _checks.number_or_schedule(rule, argument, x, interval)
    if not callable(x):
        return lambda count: x
    return lambda count: _checks.returned(rule, argument, x(count))


def _is_none(x: Any) -> bool:
    return x is None


def _zeros(moments_dtype: Any, buffer: str, param: Any) -> jax.Array:
    """A zero moment for a leaf."""
    param = jnp.asarray(param)
    dtype = compute_dtype(param.dtype)
    if moments_dtype is not None:
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        least = np.complex64 if is_complex else moments_dtype
        dtype = jnp.result_type(moments_dtype, least)
    return zeros_like(param, dtype if buffer == "mu" else real_dtype(dtype))
