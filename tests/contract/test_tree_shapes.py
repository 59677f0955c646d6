"""Any tree keeps its structure and shapes: one update of it, in any phase."""

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.contract import discovery
from tests.contract.runs import abstract, gradient, kinds

DTYPES = ("float32", "bfloat16", "float16")
LEAVES = st.builds(
    jnp.ones,
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.sampled_from(DTYPES),
)
TREES = st.recursive(
    LEAVES | st.none(),
    lambda trees: st.one_of(
        st.lists(trees, max_size=3),
        st.lists(trees, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("abc"), trees, max_size=3),
    ),
    max_leaves=6,
)
PLAIN = [x for x in discovery.CASES if not x.is_slow or x.name in discovery.COMBINED]


def tries(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )


def as_muon_takes(x):
    """It refuses matrices without elements, and three axes without a layout."""
    return x if x.ndim < 3 and x.size else jnp.ones((1, 1), x.dtype)


def goes_in_as_it_comes_out(params, case):
    params = case.fit(params)
    if "muon" in case.name.lower():
        params = jax.tree.map(as_muon_takes, params)
    tx, grads = case.make(), gradient(params, 0)
    state = jax.eval_shape(tx.init, params)
    u, new = jax.eval_shape(tx.update, grads, state, params)
    assert jax.tree.structure(u) == jax.tree.structure(params)
    assert kinds(u) == kinds(params)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert abstract(new) == abstract(state)


@tries(30)
@given(TREES, st.sampled_from(PLAIN))
def test_any_tree(params, case):
    goes_in_as_it_comes_out(params, case)


@pytest.mark.full
@tries(200)
@given(TREES, st.sampled_from(PLAIN))
def test_more_trees(params, case):
    goes_in_as_it_comes_out(params, case)
