"""Small leaves of one shape in stacks: fewer of them for a program to go over."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax
import optax

from optax_extras._checks import Size, SizeOrZero, Transformation, checked
from optax_extras._numerics import with_updates
from optax_extras._state._stacking import (
    Plan,
    follows,
    is_grouped,
    plan,
    restore_missing_rows,
    state_complaint,
    without,
)
from optax_extras._types import Params, State, Updates


@checked
def stacked(
    tx: Transformation, *, group: Size = 32, max_size: SizeOrZero = 1024
) -> optax.GradientTransformationExtraArgs:
    r"""Works on stacks of small leaves of one shape, for trees of very many of them.

    XLA compiles and starts a loop of its own for every leaf: a thousand leaves take
    seconds to compile, and at every step longer to start than to compute. Here leaves
    of one shape and dtype are stacked along a new axis, `group` at a time, and the
    optimizer keeps its state in stacks. Use it for a few hundred leaves and more; with
    fewer there is nothing to gain. ``optax.flatten`` makes one vector of the whole
    tree, of one dtype, which takes even longer to compile and loses every sharding.

    The numbers are those of the optimizer alone, which has to be **elementwise**: what
    it does to a weight may depend on its own gradients and on scalars, among them sums
    over all leaves (in another order, so rounded differently), but not on the other
    elements of its leaf, its place or the leaf's shape. Norms of single leaves (LARS,
    LAMB), matrices (Muon), factors (Adafactor), noise (``optax.add_noise``) and rules
    that treat biases and matrices differently give other numbers in a stack, without an
    error: put them outside of `stacked`, and try an optimizer that you are not sure of
    with :func:`optax_extras.lab.check_elementwise`, in a test of your own. `init`
    refuses what the state shows: another shape or dtype in a stack, a state that
    depends on the number of leaves, and masks and labels, which would be asked about
    stacks: ``optax.masked`` and ``optax.partition`` go around `stacked`, not into it. A
    collective over an axis of the mesh stays outside, too. The condition of a
    :func:`switch` or :func:`restart` inside is given the stacks, as `GroupedLeaves`,
    where it would be given trees like the params.

    A stack lies over the devices as its leaves do, which have to lie alike. Under `jit`
    with a mesh of automatic axes that cannot be seen; leaves that lie differently are
    then gathered at every step, so give those of each sharding a `stacked` of their
    own, with ``optax.partition``.

    Args:
      tx: The optimizer, or a part of a chain.
      group: How many leaves make a stack at most, 1 or more. Very large stacks compile
        more slowly again.
      max_size: Leaves of more elements than this, 0 or more, stay as they are: stacking
        copies them, which beyond a thousand elements or so takes longer than it saves.

    Returns:
      An `optax.GradientTransformationExtraArgs` with the state of `tx`, in which a
      `GroupedLeaves` stands for each tree like the params, if any leaves are stacked.
      An extra argument that is a tree like the params is stacked, too; a function (such
      as ``value_fn``) is still called with trees like the params; others are handed on.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.stacked(optax.adamw(1e-3))
      >>> params = {str(i): jnp.ones(3) for i in range(40)}
      >>> [x.shape for x in optax.tree.get(tx.init(params), "mu").stacks]
      [(32, 3), (8, 3)]

      What is not elementwise stays outside:

      >>> tx = optax.chain(
      ...     oxe.stacked(optax.scale_by_adam()),
      ...     optax.add_decayed_weights(1e-2, mask=lambda p: {x: x > "2" for x in p}),
      ...     optax.scale_by_learning_rate(1e-3),
      ... )
    """
    inner = optax.with_extra_args_support(tx)

    def init(params: Params) -> Any:
        layout = plan(params, group, max_size)
        state = inner.init(layout.stack("params", params))
        if complaint := state_complaint(state, layout, inner.init):
            raise ValueError(_REFUSED.format(complaint))
        return state

    def find_layout(state: State, updates: Updates, params: Params) -> Any:
        """The plan by which the state was stacked, and the params that it is for."""
        like = updates if params is None else params
        for tree in (like, with_updates(updates, like)):
            with contextlib.suppress(TypeError):  # a leaf that is not an array
                layout = plan(tree, group, max_size)
                if follows(state, layout):
                    return layout, tree
        raise ValueError(_OTHER_STATE)

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        layout, like = find_layout(state, updates, params)
        groups = None if params is None else layout.stack("params", like)
        grads = layout.stack("updates", updates)
        extra = {name: _for_stacks(layout, name, x) for name, x in extra.items()}
        try:
            us, new = inner.update(grads, state, groups, **extra)
        except (TypeError, ValueError, AttributeError) as error:
            first = jax.eval_shape(inner.init, grads if groups is None else groups)
            if jax.tree.structure(state) != jax.tree.structure(first):
                raise ValueError(_OTHER_STATE) from error
            raise
        missing = layout.missing(updates)
        us = layout.unstack(us)
        us = without(missing, layout, us) if any(missing) else us
        return us, restore_missing_rows(missing, state, new)

    return optax.GradientTransformationExtraArgs(init, update)


def _for_stacks(layout: Plan, name: str, x: Any) -> Any:
    """An extra argument as the transformation inside is given it."""
    if callable(x):
        return _of_leaves(layout, x)
    return layout.stack(name, x) if layout.groups and layout.is_like(x) else x


def _of_leaves(layout: Plan, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of trees like the params, to be called with stacks."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = jax.tree.map(
            lambda x: layout.unstack(x) if is_grouped(x) else x,
            (args, kwargs),
            is_leaf=is_grouped,
        )
        return function(*given[0], **given[1])

    return call


_REFUSED = (
    "stacked: `tx` must be elementwise, got {}. Stack the part that is, as in "
    "`optax.chain(oxe.stacked(optax.scale_by_adam()), optax.scale_by_trust_ratio())`, "
    "and put `stacked` inside of `optax.masked` and `optax.partition`."
)
_OTHER_STATE = (
    "stacked: `state` must be what `init` makes of params like those that `update` is "
    "given, with this `group` and `max_size`, got one of other params, of other stacks "
    "or of an optimizer that is not stacked (or gradients with None, without `params`)."
)
