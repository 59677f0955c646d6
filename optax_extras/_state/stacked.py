"""Stacks small leaves of the same shape, so that a program has fewer arrays."""

import functools
from typing import Any

import jax
import optax

from optax_extras._by_path import without_paths
from optax_extras._checks import Size, SizeOrZero, Transformation, checked
from optax_extras._leaves import is_array_like, with_updates
from optax_extras._state._stacking import (
    Stacks,
    is_grouped,
    is_stacked_as,
    restore_missing_rows,
    stacks_of,
    why_not_elementwise,
)
from optax_extras._types import Params, State, Updates


@checked
def stacked(
    tx: Transformation, *, group: Size = 32, max_size: SizeOrZero = 1024
) -> optax.GradientTransformationExtraArgs:
    r"""Runs an optimizer on stacks of small leaves, for trees of very many leaves.

    XLA compiles a loop for every leaf and starts it at every step. With a thousand
    leaves, compiling takes seconds, and starting the loops takes longer than computing.
    Here leaves of the same
    shape and dtype are stacked along a new axis, up to `group` at a time, and the
    optimizer's state is made of stacks. Use it for a few hundred leaves and more; with
    fewer it gains nothing. ``optax.flatten`` makes one vector of one dtype from the
    whole tree; it takes even longer to compile and loses every sharding.

    The results are those of the optimizer alone if it is **elementwise**: its update of
    a weight may depend on the weight's own gradients and on scalars, such as sums over
    all leaves (in another order, so rounded differently), but not on other elements of
    the leaf, on its place in the tree or on its shape. These give other results in a
    stack, without an error: norms of single leaves (LARS, LAMB), matrices (Muon),
    factors (Adafactor), noise (``optax.add_noise``), different rules for biases and
    matrices. Put them outside of `stacked`. If you are not sure of an optimizer, try it
    with :func:`optax_extras.lab.check_elementwise` in a test.

    `init` refuses what the state reveals: another shape or dtype in a stack; a state
    that depends on the number of leaves; masks and labels, which would be computed for
    stacks (put ``optax.masked`` and ``optax.partition`` around `stacked`, not inside).
    A collective over an axis of the mesh belongs outside of `stacked`, too. The
    condition of a :func:`switch` or :func:`restart` inside gets the stacks, as
    `GroupedLeaves`, instead of trees like the params.

    A stack is sharded as its leaves, which must all be sharded in the same way. Under
    `jit` on a mesh of automatic axes this cannot be checked: leaves of different
    shardings are then gathered at every step. Give the leaves of each sharding their
    own `stacked`, by ``optax.partition``.

    Args:
      tx: The optimizer, or a part of a chain.
      group: The largest number of leaves in a stack. Very large stacks compile more
        slowly again.
      max_size: Leaves of more elements than this are not stacked: stacking copies them,
        which beyond about a thousand elements takes longer than it saves.

    Returns:
      An `optax.GradientTransformationExtraArgs` with the state of `tx`, in which a
      `GroupedLeaves` replaces each tree like the params, if any leaves are stacked. An
      extra argument that is a tree like the params is stacked, too. A function (such as
      ``value_fn``) is still called with trees like the params. Other extra arguments
      are passed on unchanged.

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> import optax_extras as oxe
      >>> tx = oxe.stacked(optax.adamw(1e-3))
      >>> params = {str(i): jnp.ones(3) for i in range(40)}
      >>> [x.shape for x in optax.tree.get(tx.init(params), "mu").stacks]
      [(32, 3), (8, 3)]

      Weight decay with a mask is not elementwise, so it stays outside:

      >>> tx = optax.chain(
      ...     oxe.stacked(optax.scale_by_adam()),
      ...     optax.add_decayed_weights(1e-2, mask=lambda p: {x: x > "2" for x in p}),
      ...     optax.scale_by_learning_rate(1e-3),
      ... )
    """

    def init(params: Params) -> Any:
        stacks = stacks_of(params, group, max_size)
        with without_paths(_NO_PATHS):
            state = tx.init(stacks.stack("params", params))
        if complaint := why_not_elementwise(state, stacks, tx.init):
            raise ValueError(_REFUSED.format(complaint))
        return state

    def find_stacks(state: State, updates: Updates, params: Params) -> Any:
        """The stacks of a state, and the params that it is for."""
        like = updates if params is None else params
        if stacks := stacks_if_fitting(state, like):
            return stacks, like
        trained = with_updates(updates, like)
        if stacks := stacks_if_fitting(state, trained):
            return stacks, trained
        raise ValueError(_OTHER_STATE)

    def stacks_if_fitting(state: State, tree: Any) -> Stacks | None:
        if not all(map(is_array_like, jax.tree.leaves(tree))):
            return None
        stacks = stacks_of(tree, group, max_size)
        return stacks if is_stacked_as(state, stacks) else None

    def update(updates: Updates, state: State, params: Params = None, **extra: Any):
        stacks, like = find_stacks(state, updates, params)
        groups = None if params is None else stacks.stack("params", like)
        grads = stacks.stack("updates", updates)
        extra = {name: _for_stacks(stacks, name, x) for name, x in extra.items()}
        try:
            us, new = tx.update(grads, state, groups, **extra)
        except (TypeError, ValueError, AttributeError) as error:
            first = jax.eval_shape(tx.init, grads if groups is None else groups)
            if jax.tree.structure(state) != jax.tree.structure(first):
                raise ValueError(_OTHER_STATE) from error
            raise
        missing = stacks.missing(updates)
        us = stacks.unstack(us)
        us = with_updates(updates, us) if any(missing) else us
        return us, restore_missing_rows(missing, state, new)

    return optax.GradientTransformationExtraArgs(init, update)


def _for_stacks(stacks: Stacks, name: str, x: Any) -> Any:
    """An extra argument, as the inner transformation gets it."""
    if not callable(x):
        return stacks.stack(name, x) if stacks.is_like(x) else x

    @functools.wraps(x)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = jax.tree.map(
            lambda x: stacks.unstack(x) if is_grouped(x) else x,
            (args, kwargs),
            is_leaf=is_grouped,
        )
        return x(*args, **kwargs)

    return call


_REFUSED = (
    "stacked: `tx` must be elementwise, got {}. Wrap only the elementwise part, as in "
    "`optax.chain(oxe.stacked(optax.scale_by_adam()), optax.scale_by_trust_ratio())`, "
    "and put `stacked` inside of `optax.masked` and `optax.partition`."
)
_NO_PATHS = (
    "Stack only what does not depend on the path, as in "
    "`optax.chain(oxe.stacked(optax.scale_by_adam()), oxe.scale_by_rate(by_path))`."
)
_OTHER_STATE = (
    "stacked: `state` must be what `init` makes for the params that `update` gets, "
    "with this `group` and `max_size`, got one for other params, for other stacks or "
    "of an optimizer that is not stacked (or gradients with None, without `params`)."
)
