"""Whether a transformation works weight by weight: read from its program."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_extras._combinators._groups import GroupedLeaves, outside

# No two extents alike: what turns or mixes axes shows. One is small, one is large
# enough for what an optimizer does with large leaves only.
_SHAPES = ((2, 3), (211, 307))
# The same leaves apart and in stacks: of a transformation that is given either of them
# the program has to be the same, but for its shapes.
_APART = ((4,), (4,), (7,), (7,))
_TOGETHER = ((2, 4), (2, 7))
_RESHAPING = {"reshape", "squeeze", "broadcast_in_dim", "copy"}
# These keep the shape, and mix nonetheless.
_MIXING = {"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "rev"}
_MIXING |= {"dot_general", "fft", "dynamic_update_slice"}
# These give each place of an array a number of its own.
_PLACING = {"iota", "random_bits", "random_gamma"}
_PLACE = -1  # stands for them among the numbers of leaves


def objection(tx: Any) -> str | None:
    """Why a transformation cannot work on stacks; None if nothing is found.

    It is tried on leaves without values. Sums over the whole tree are the same for
    stacks; what belongs to one leaf alone, as its norm, is not.
    """
    state = jax.eval_shape(tx.init, _leaves(_SHAPES))
    if any(map(_is_masked, jax.tree.leaves(state, is_leaf=_is_masked))):
        return "one with a mask or labels, which know no stacks"
    twice = jax.eval_shape(tx.init, _leaves(_SHAPES * 2))
    if _kinds(outside(state)) != _kinds(outside(twice)):
        return "one whose state counts the leaves"
    try:
        closed, results, given = _traced(tx, _SHAPES)
        apart, together = (_traced(tx, x)[0] for x in (_APART, _TOGETHER))
    except (TypeError, KeyError):  # for want of an extra argument
        return None
    made = _walk(closed.jaxpr, [_Marks(own) for own in _owners(given)])
    owners = _owners(results)
    if any(_PLACE in marks.mixed for marks in made):
        return "one that goes by the places of elements, as noise does"
    if any(
        marks.mixed or not marks.own <= own
        for marks, own in zip(made, owners, strict=True)
    ):
        return "one in which the elements of a leaf know of each other"
    if set(_words(apart.jaxpr)) != set(_words(together.jaxpr)):
        return "one that goes by the shapes, the sizes or the number of leaves"
    return None


def _leaves(shapes: Any) -> GroupedLeaves:
    return GroupedLeaves((), [jax.ShapeDtypeStruct(x, jnp.float32) for x in shapes])


def _traced(tx: Any, shapes: Any) -> tuple[Any, Any, Any]:
    """The program of an update of such leaves, what it returns and what it is given."""
    params = _leaves(shapes)
    value = jax.ShapeDtypeStruct((), jnp.float32)

    def update(grads, state, params, value):
        return tx.update(grads, state, params, value=value)

    given = params, jax.eval_shape(tx.init, params), params, value
    return *jax.make_jaxpr(update, return_shape=True)(*given), given


def _words(jaxpr: Any) -> Iterator[tuple[str, ...]]:
    """The operations of a program, each with the numbers that are written in it."""
    for equation in jaxpr.eqns:
        parts = jax.tree.leaves(equation.params, is_leaf=_is_program)
        inner = [getattr(x, "jaxpr", x) for x in parts if _is_program(x)]
        for one in inner:
            yield from _words(one)
        name = equation.primitive.name
        if not inner and name not in _RESHAPING:
            numbers = (str(x.val) for x in equation.invars if hasattr(x, "val"))
            yield name, *numbers


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


class _Marks(NamedTuple):
    """From which leaves a value comes."""

    own: frozenset = frozenset()
    """Element by element."""
    mixed: frozenset = frozenset()
    """Mixed together, as in a norm."""


def _join(marks: Any) -> _Marks:
    marks = list(marks)
    none: frozenset = frozenset()
    return _Marks(
        none.union(*(x.own for x in marks)), none.union(*(x.mixed for x in marks))
    )


def _owners(tree: Any) -> list[frozenset]:
    """Of every leaf of a tree the number of the params' leaf that it belongs to."""

    def of(x: Any) -> list[frozenset]:
        if not isinstance(x, GroupedLeaves):
            return [frozenset()]
        return [
            frozenset({i})
            for i, part in enumerate(x.alone)
            for _ in jax.tree.leaves(part)
        ]

    found = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, GroupedLeaves))
    return [own for x in found for own in of(x)]


def _walk(jaxpr: Any, given: list[_Marks]) -> list[_Marks]:
    """The marks of a program's results, of those of its arguments."""
    marks = dict(zip(jaxpr.invars, given, strict=True))

    def look(atom: Any) -> _Marks:
        return _Marks() if hasattr(atom, "val") else marks.get(atom, _Marks())

    for equation in jaxpr.eqns:
        made = _step(equation, [look(x) for x in equation.invars])
        marks |= {
            out: _resolved(x, out.aval.shape)
            for out, x in zip(equation.outvars, made, strict=True)
        }
    return [look(x) for x in jaxpr.outvars]


def _step(equation: Any, given: list[_Marks]) -> list[_Marks]:
    if equation.primitive.name in _PLACING:
        return [_Marks(mixed=frozenset({_PLACE}))]
    both = _join(given)
    if "branches" in equation.params:
        branches = equation.params["branches"]
        platforms = equation.params.get("branches_platforms")
        if platforms:  # which all do the same; the last one is for those not named
            branches = branches[-1:]
        runs = [_walk(x.jaxpr, given[1:]) for x in branches]
        return [
            _join([*outs, _all_mixed(given[0])]) for outs in zip(*runs, strict=True)
        ]
    inner = [getattr(x, "jaxpr", x) for x in equation.params.values()]
    inner = [x for x in inner if hasattr(x, "eqns")]
    is_call = len(inner) == 1 and len(inner[0].invars) == len(given)
    if is_call and equation.primitive.name not in ("scan", "while"):
        return _walk(inner[0], given)
    shapes = [
        x.aval.shape for x, m in zip(equation.invars, given, strict=True) if m.own
    ]
    shapes += [x.aval.shape for x in equation.outvars]
    is_elementwise = not inner and len(set(shapes)) == 1
    if not is_elementwise or equation.primitive.name in _MIXING:
        both = _all_mixed(both)
    return [both] * len(equation.outvars)


def _all_mixed(marks: _Marks) -> _Marks:
    return _Marks(mixed=marks.own | marks.mixed)


def _resolved(marks: _Marks, shape: tuple[int, ...]) -> _Marks:
    """A scalar of the whole tree is the same for stacks, and has no places."""
    if shape == ():
        marks = marks._replace(mixed=marks.mixed - {_PLACE})
    whole = len(marks.mixed) == len(_SHAPES) and not marks.own and shape == ()
    return _Marks() if whole else marks


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedState | optax.MultiTransformState)


def _kinds(leaves: list[Any]) -> list[Any]:
    return [(jnp.shape(x), jnp.result_type(x)) for x in leaves]
