"""What may be a selector, what it may match, and the names of the groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

PARAMS = {"a": jnp.ones((4, 2)), "b": jnp.ones(3), "c": jnp.ones((2, 2))}


class Is:
    def __init__(self, name):
        self.name = name

    def __call__(self, path, leaf):
        return path == self.name


def is_path(name, path, leaf):
    return path == name


def init(values, **more):
    return oxe.sgd(oxe.by_path(values, 1.0, **more)).init(PARAMS)


@pytest.mark.parametrize("kind", [Is, functools.partial(functools.partial, is_path)])
def test_functions_without_a_name_of_their_own(kind):
    """Also beside an expression that has this name."""
    name = Is.__name__ if kind is Is else "partial"
    tree = {"a": jnp.ones(2), "b": jnp.ones(2), name: jnp.ones(2), "d": jnp.ones(2)}
    rate = oxe.by_path({kind("a"): 2.0, kind("b"): 3.0, name: 4.0}, 5.0)
    tx = oxe.sgd(rate)
    updates, state = tx.update(tree, tx.init(tree), tree)
    assert [float(-updates[x][0]) for x in tree] == [2.0, 3.0, 4.0, 5.0]
    groups = {x.removesuffix("/learning_rate") for x in oxe.hyperparameters(state)}
    assert groups == {f"{name}_2", f"{name}_3", name, "default"}


@pytest.mark.parametrize("found", [1, -1, "no", jnp.ones(3), np.array([True])])
def test_a_selector_returns_a_bool(found):
    """Also NumPy's, and what `re.match` returns; a number would always match."""
    with pytest.raises(TypeError, match="must be a selector that returns a bool, got"):
        init({lambda path, leaf: found: 2.0})
    assert init({lambda path, leaf: np.bool_(path == "a"): 2.0})


@pytest.mark.parametrize(
    "make",
    [
        lambda f: oxe.by_path({f: 0.0}),
        lambda f: oxe.vectors(stacked=f),
        lambda f: oxe.layerwise(0.5, f, layers=3),
        lambda f: oxe.muon(0.1, layout=f),
    ],
)
@pytest.mark.parametrize("function", [oxe.vectors, oxe.layouts.nnx, lambda path: True])
def test_a_selector_gets_a_path_and_a_leaf(make, function):
    with pytest.raises(TypeError, match="must be a function of a path and a leaf"):
        make(function)


def test_a_list_of_traced_numbers():
    def total(rate):
        tx = oxe.sgd(oxe.by_path({"a": [rate, rate, 2 * rate, 1.0]}, 0.0))
        updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
        return sum(map(jnp.sum, jax.tree.leaves(updates)))

    assert float(jax.grad(total)(0.1)) == pytest.approx(-8.0)


def test_a_selector_may_match_what_another_transform_takes():
    """Of `muon` and its `others`, and of a partition; not what nothing has."""
    rate = oxe.by_path({"a": 2.0, "b": 3.0}, 1.0, times=0.1)
    tx = oxe.muon(rate, layout="in_out", others=oxe.sgd(rate))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["b"], -0.3 * np.ones(3), rtol=1e-6)
    unknown = oxe.by_path({"x": 2.0}, 1.0)
    with pytest.raises(ValueError, match=r"muon: `learning_rate`\[x\] must match"):
        oxe.muon(unknown, layout="in_out", others=oxe.sgd(0.1)).init(PARAMS)
    shape = oxe.by_path({lambda path, leaf: leaf.ndim == 1: 3.0}, 1.0)
    groups = {"x": oxe.sgd(shape), "y": oxe.adam(shape)}
    tx = optax.partition(groups, {"a": "x", "b": "y", "c": "x"})
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["b"], -3 * np.ones(3), rtol=1e-6)


def test_a_weight_decay_of_a_path_that_is_none():
    """By optimizers that apply the learning rate inside their rule, too."""
    decay = oxe.by_path({"x": 0.1}, 0.0)
    for make in (oxe.adamw, oxe.heavy_ball, oxe.adabound):
        with pytest.raises(ValueError, match=r"`weight_decay`\[x\] must match"):
            make(0.1, weight_decay=decay).init(PARAMS)


def test_where_a_frozen_group_is_not_a_number():
    for rate in (oxe.FROZEN, oxe.by_path({"a": [oxe.FROZEN, 0.1]}, 0.1)):
        with pytest.raises(TypeError, match="Freeze a group by its learning rate"):
            oxe.adamw(rate)


def test_a_schedule_of_groups():
    for make in (lambda x: oxe.schedules.cosine(x, 10), oxe.plateau):
        with pytest.raises(TypeError, match=r"1, times=schedule"):
            make(oxe.by_path({"a": 0.1}, 0.2))
