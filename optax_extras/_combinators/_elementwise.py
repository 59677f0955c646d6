"""Whether a transformation works weight by weight: read from its program."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_extras._combinators._groups import GroupedLeaves, is_grouped, outside
from optax_extras._combinators._marks import PLACE, REDUCING, Marks, walk

# No two extents alike: what turns or mixes axes shows. One is small, one is large
# enough for what an optimizer does with large leaves only.
_SHAPES = ((2, 3), (211, 307))
# Two leaves of each shape apart and in stacks: of a transformation that is given either
# of them the program has to be the same, but for its shapes. In trees of their own, for
# what is done with scalars, vectors, matrices only.
_TREES = (((4,), (7,)), ((),), ((3, 5),), ((2, 3, 5),))
# Which differ between them, and so do reductions, which have been looked at before.
_RESHAPING = {"reshape", "squeeze", "broadcast_in_dim", "copy", "concatenate", "stack"}


def objection(tx: Any) -> str | None:
    """Why a transformation cannot work on stacks; None if nothing is found.

    It is tried on leaves without values. Sums over the whole tree are the same for
    stacks; what belongs to one leaf alone, as its norm, is not.
    """
    state = jax.eval_shape(tx.init, _leaves(_SHAPES))
    if any(map(_is_masked, jax.tree.leaves(state, is_leaf=_is_masked))):
        return "one with a mask or labels, which know no stacks"
    if not all(map(_of_its_shape, filter(is_grouped, _parts(state)))):
        return "one whose state of a leaf has another shape"
    twice = jax.eval_shape(tx.init, _leaves(_SHAPES * 2))
    if _kinds(outside(state)) != _kinds(outside(twice)):
        return "one whose state counts the leaves"
    extra = _metric
    try:
        trial = _traced(tx, _SHAPES, extra)
    except (TypeError, KeyError) as error:  # for want of an extra argument
        extra = _line_search
        try:
            trial = _traced(tx, _SHAPES, extra)
        except (TypeError, KeyError):
            return (
                "one that cannot be tried without more arguments, or on a tree of "
                f"another kind ({first_line(error)})"
            )
    closed, results, given = trial
    made = walk(closed.jaxpr, [Marks(own) for own in _owners(given)])
    owners = _owners(results)
    if any(PLACE in marks.mixed for marks in made):
        return "one that goes by the places of elements, as noise does"
    if any(
        marks.mixed or marks.part or marks.known or not marks.own <= own
        for marks, own in zip(made, owners, strict=True)
    ):
        return "one in which the elements of a leaf know of each other"
    for shapes in _TREES:
        twice = tuple(shape for shape in shapes for _ in range(2))
        stacks = tuple((2, *shape) for shape in shapes)
        apart, together = (_traced(tx, x, extra)[0] for x in (twice, stacks))
        if set(_words(apart.jaxpr)) != set(_words(together.jaxpr)):
            return "one that goes by the shapes, the sizes or the number of leaves"
    return None


def _leaves(shapes: Any) -> GroupedLeaves:
    return GroupedLeaves((), [jax.ShapeDtypeStruct(x, jnp.float32) for x in shapes])


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _parts(state: Any) -> list[Any]:
    return jax.tree.leaves(state, is_leaf=is_grouped)


def _of_its_shape(kept: GroupedLeaves) -> bool:
    return all(
        x.shape == shape
        for part, shape in zip(kept.alone, _SHAPES, strict=True)
        for x in jax.tree.leaves(part)
    )


def _metric(grads: Any, value: Any) -> dict[str, Any]:
    del grads
    return {"value": value}


def _line_search(grads: Any, value: Any) -> dict[str, Any]:
    """What Optax's line searches are given."""

    def value_fn(params, *args, **kwargs):
        return sum(map(jnp.sum, jax.tree.leaves(params)), value)

    return {"value": value, "grad": grads, "value_fn": value_fn}


def _traced(tx: Any, shapes: Any, extra: Any) -> tuple[Any, Any, Any]:
    """The program of an update of such leaves, what it returns and what it is given."""
    params = _leaves(shapes)
    value = jax.ShapeDtypeStruct((), jnp.float32)

    def update(grads, state, params, value):
        return tx.update(grads, state, params, **extra(grads, value))

    given = params, jax.eval_shape(tx.init, params), params, value
    return *jax.make_jaxpr(update, return_shape=True)(*given), given


def _words(jaxpr: Any) -> Iterator[str]:
    """The operations of a program, and the numbers that are written in it.

    Not which number in which operation, and no zeros: a constant is written where it
    meets a scalar, and made an array of before it meets one.
    """
    for equation in jaxpr.eqns:
        parts = jax.tree.leaves(equation.params, is_leaf=_is_program)
        inner = [getattr(x, "jaxpr", x) for x in parts if _is_program(x)]
        for one in inner:
            yield from _words(one)
        name = equation.primitive.name
        if not inner:
            numbers = [x.val for x in equation.invars if hasattr(x, "val")]
            yield from (str(x) for x in numbers if x != 0)
            if name not in _RESHAPING | REDUCING.keys():
                yield name


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


def _owners(tree: Any) -> list[frozenset]:
    """Of every leaf of a tree the number of the params' leaf that it belongs to."""

    def of(x: Any) -> list[frozenset]:
        if not is_grouped(x):
            return [frozenset()]
        return [
            frozenset({i})
            for i, part in enumerate(x.alone)
            for _ in jax.tree.leaves(part)
        ]

    return [own for x in _parts(tree) for own in of(x)]


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedState | optax.MultiTransformState)


def _kinds(leaves: list[Any]) -> list[Any]:
    return [(jnp.shape(x), jnp.result_type(x)) for x in leaves]
