"""Every optimizer in the training code of Flax NNX and Equinox, and on odd leaves.

What is known to fail is marked so, strictly: once it is mended the mark has to go.
"""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.contract import discovery
from tests.contract.runs import abstract, assert_close

with warnings.catch_warnings():
    # With the oldest jax, importing it uses deprecated names.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flax import nnx

CASES = [x for x in discovery.CASES if not x.is_slow]
NAMES = [x.name for x in CASES]
X = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)


each_case = pytest.mark.parametrize("case", CASES, ids=[x.name for x in CASES])


# ---- Flax NNX ------------------------------------------------------------------------


def model_of(case):
    """Two layers of the same shapes."""
    words = {"use_bias": not case.of_matrices, "rngs": nnx.Rngs(0)}
    return nnx.Sequential(nnx.Linear(2, 2, **words), nnx.Linear(2, 2, **words))


def loss(model):
    return jnp.mean(model(X) ** 2)


@pytest.mark.ci
@each_case
def test_nnx_has_one_structure_and_the_numbers_of_plain_jax(case):
    model, tx = model_of(case), case.make()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    traces = []

    @nnx.jit
    def step(model, optimizer):
        traces.append(1)
        grads = nnx.grad(loss)(model)
        optimizer.update(model, grads)
        return nnx.to_pure_dict(grads)

    state, us = tx.init(params), jax.jit(tx.update)
    for _ in range(3):
        grads = step(model, optimizer)
        u, state = us(grads, state, params)
        params = optax.apply_updates(params, u)
    assert len(traces) == 1
    found = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert_close(found, params, max(16, case.ulps))


@pytest.mark.ci
@each_case
def test_nnx_keeps_arrays_only(case):
    """What a loop over the flat state reads has a shape."""
    optimizer = nnx.Optimizer(model_of(case), case.make(), wrt=nnx.Param)
    for path, leaf in nnx.to_flat_state(nnx.state(optimizer)):
        value = leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf
        assert hasattr(value, "shape"), path


# ---- Equinox -------------------------------------------------------------------------


@pytest.mark.ci
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_equinox_with_frozen_parts(case):
    """The filtered model, None where nothing is trained; compiled once."""
    with_bias = not case.of_matrices
    words = {"use_bias": with_bias, "use_final_bias": with_bias}
    mlp = eqx.nn.MLP(2, 3, 4, 1, **words, key=jax.random.key(0))
    trained = eqx.tree_at(
        lambda tree: tree.layers[0].weight, jax.tree.map(eqx.is_array, mlp), False
    )
    params, static = eqx.partition(mlp, trained)
    tx, traces = case.make(), []
    first = tx.init(params)

    @eqx.filter_jit
    def step(params, state):
        traces.append(1)

        def loss(params):
            return jnp.mean(jax.vmap(eqx.combine(params, static))(X) ** 2)

        u, state = tx.update(eqx.filter_grad(loss)(params), state, params)
        return eqx.apply_updates(params, u), state

    state = first
    for _ in range(3):
        params, state = step(params, state)
    assert len(traces) == 1
    assert abstract(state) == abstract(first)
    assert params.layers[0].weight is None


# ---- Leaves --------------------------------------------------------------------------


def outcomes(check):
    """What each case raises."""
    found = {}
    for case in CASES:
        try:
            check(case)
        except Exception as error:
            found[case.name] = f"{type(error).__name__}: {str(error)[:80]}"
    return found


def test_init_from_shapes():
    """As `jax.eval_shape` gives them: the zeros that arrays of these shapes give."""

    def check(case):
        params = case.params()
        shapes = jax.eval_shape(lambda: params)
        assert abstract(case.make().init(shapes)) == abstract(case.make().init(params))

    assert outcomes(check) == {}


def test_keys_pass_through():
    """A typed PRNG key among the leaves, without a gradient."""

    def check(case):
        params = {**case.params(), "key": jax.random.key(0)}
        grads = {**case.params(), "key": None}
        tx = case.make()
        u, _ = tx.update(grads, tx.init(params), params)
        assert u["key"] is None

    assert outcomes(check) == {}


def test_integers_pass_through():
    """Integer leaves without a gradient, and with the one that `jax.grad` gives."""

    def check(case):
        params = case.fit({"w": jnp.ones((2, 2))}) | {"steps": jnp.arange(3)}
        tx = case.make()
        grads = {"w": jnp.ones((2, 2)), "steps": None}
        first = jax.eval_shape(tx.init, params)
        u, state = jax.eval_shape(tx.update, grads, first, params)
        assert u["steps"] is None
        assert abstract(state) == abstract(first)

    failed = outcomes(check)
    assert set(failed) <= {x.name for x in CASES if x.of_matrices}, failed
    assert all("matrix" in said for said in failed.values())


@pytest.mark.parametrize("name", ["nadam", "heavy_ball", "adamax", "rules.adam"])
def test_python_numbers_are_params(name):
    """As leaves of a toy problem."""
    tx = next(x for x in CASES if x.name == name).make()
    params = {"x": 1.0, "y": 2.0}
    u, _ = tx.update({"x": 0.5, "y": -0.5}, tx.init(params), params)
    as_arrays = jax.tree.map(jnp.float32, params)
    v, _ = tx.update({"x": 0.5, "y": -0.5}, tx.init(as_arrays), as_arrays)
    for key in params:
        np.testing.assert_allclose(u[key], v[key], rtol=1e-6)
