"""Sums over axes of the mesh, of which `jax.vmap` has one too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import optax_extras as oxe

RNG = np.random.default_rng(0)
# Of "a" each of four devices has a part, of "b" each the whole.
U, G = ({"a": RNG.normal(1, 1, (4, 3)), "b": RNG.normal(1, 1, 2)} for _ in "UG")
PARTS = {"a": 0, "b": None}


def estimates(axis_name, u=U, g=G, parts=PARTS):
    """What each device finds."""
    when = oxe.projected_rate_settles(min_steps=1, axis_name=axis_name)

    def find(u, g):
        _, watch = when.update(when.init(), 1, grads=g, updates=u, params=u)
        return watch.estimate

    mapped = jax.vmap(find, in_axes=(parts, parts), axis_name="data", axis_size=4)
    return np.asarray(mapped(*jax.tree.map(jnp.asarray, (u, g))))


def ratio(us, gs):
    return sum((u * u).sum() for u in us) / sum(
        (u * g).sum() for u, g in zip(us, gs, strict=True)
    )


SPECS = {
    "named": {"a": P("data"), "b": P()},
    "behind": {"a": P(None, "data"), "b": P(None)},
    "in a tuple": {"a": P(("data",)), "b": P()},
}


@pytest.mark.parametrize("specs", SPECS.values(), ids=SPECS)
def test_each_leaf_over_the_axes_that_its_parts_lie_on(specs):
    whole = ratio(U.values(), G.values())
    np.testing.assert_allclose(estimates(specs), np.full(4, whole), rtol=1e-5)


@pytest.mark.parametrize("axis_name", ["data", ("data",), P("data"), {"a": P("data")}])
def test_one_name_for_all_leaves(axis_name):
    """A prefix of the tree will do, as a name or as a spec."""
    u, g = {"a": U["a"]}, {"a": G["a"]}
    found = estimates(axis_name, u, g, {"a": 0})
    np.testing.assert_allclose(found, ratio(u.values(), g.values()), rtol=1e-5)


@pytest.mark.parametrize("axis_name", [None, (), P(), {"a": P(), "b": P(None)}])
def test_no_name_is_no_sum(axis_name):
    expected = [ratio((u, U["b"]), (g, G["b"])) for u, g in zip(U["a"], G["a"])]  # noqa: B905
    np.testing.assert_allclose(estimates(axis_name), expected, rtol=1e-5)


@pytest.mark.parametrize("specs", [{"a": P("data")}, {"c": P()}, [P("data"), P()]])
def test_specs_of_another_tree(specs):
    must = "`axis_name` must be a prefix of the params' tree"
    with pytest.raises(ValueError, match=must):
        estimates(specs)


@pytest.mark.parametrize("wrong", [1, ["x"], ("x", 1), {"a": "x"}, {}, {"a": None}])
def test_no_names(wrong):
    must = "`axis_name` must be None, a name, a tuple of names, or a tree of"
    with pytest.raises(TypeError, match=must):
        oxe.projected_rate_settles(axis_name=wrong)


@pytest.mark.parametrize("make", [oxe.swats, oxe.scale_by_swats])
def test_per_leaf_takes_names_alone(make):
    rate = (0.1,) if make is oxe.swats else ()
    make(*rate, per_leaf=True, axis_name="data")
    with pytest.raises(TypeError, match="None, a name, a tuple of names, got"):
        make(*rate, per_leaf=True, axis_name={"a": P("data")})
