"""Sums over mesh axes; `jax.vmap` has a named axis, too."""

from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import optax_extras as oxe

RNG = np.random.default_rng(0)
# "a" is sharded over four devices, "b" is replicated.
U, G = ({"a": RNG.normal(1, 1, (4, 3)), "b": RNG.normal(1, 1, 2)} for _ in "UG")
PARTS = {"a": 0, "b": None}


def estimates(axis_names, leaves="ab"):
    """The estimate on each device for each `axis_name`, in one program."""

    def find(axis_name, u, g):
        when = oxe.projected_rate_settles(min_steps=1, axis_name=axis_name)
        _, condition_state = when.update(when.init(), 1, grads=g, updates=u, params=u)
        return condition_state.estimate

    def all_of_them(u, g):
        return [
            jax.vmap(partial(find, name), in_axes=(parts, parts), axis_name="data")(
                u, g
            )
            for name in axis_names
        ]

    parts = {x: PARTS[x] for x in leaves}
    u, g = ({x: np.float32(tree[x]) for x in leaves} for tree in (U, G))
    return jax.jit(all_of_them)(u, g)


def ratio(us, gs):
    return sum((u * u).sum() for u in us) / sum(
        (u * g).sum() for u, g in zip(us, gs, strict=True)
    )


def test_each_leaf_over_the_axes_that_it_is_split_over():
    specs = [
        {"a": P("data"), "b": P()},
        {"a": P(None, "data"), "b": P(None)},
        {"a": P(("data",)), "b": P()},
    ]
    whole = ratio(U.values(), G.values())
    for found in estimates(specs):
        np.testing.assert_allclose(found, np.full(4, whole), rtol=1e-5)


def test_one_name_for_all_leaves():
    """A prefix of the tree is enough, as a name or as a spec."""
    for found in estimates(["data", ("data",), P("data"), {"a": P("data")}], "a"):
        np.testing.assert_allclose(found, ratio([U["a"]], [G["a"]]), rtol=1e-5)


def test_no_name_is_no_sum():
    pairs = zip(U["a"], G["a"], strict=True)
    expected = [ratio((u, U["b"]), (g, G["b"])) for u, g in pairs]
    for found in estimates([None, (), P(), {"a": P(), "b": P(None)}]):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_specs_of_another_tree():
    must = "`axis_name` must be a prefix of the params' tree"
    for specs in ({"a": P("data")}, {"c": P()}, [P("data"), P()]):
        with pytest.raises(ValueError, match=must):
            estimates([specs])


def test_no_names():
    must = "`axis_name` must be None, a name, a tuple of names, or a tree of"
    for wrong in (1, ["x"], ("x", 1), {"a": "x"}, {}, {"a": None}):
        with pytest.raises(TypeError, match=must):
            oxe.projected_rate_settles(axis_name=wrong)


def test_per_leaf_takes_names_alone():
    for make in (partial(oxe.swats, 0.1), oxe.scale_by_swats):
        make(per_leaf=True, axis_name="data")
        with pytest.raises(TypeError, match="None, a name, a tuple of names, got"):
            make(per_leaf=True, axis_name={"a": P("data")})
