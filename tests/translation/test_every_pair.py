"""From every optimizer to others: nothing is dropped, and the new state works."""

import jax
import jax.numpy as jnp
import pytest

import optax_extras as oxe
from optax_extras._translation.states import with_counts
from tests.contract.devices import on_eight_devices
from tests.contract.discovery import (
    CASES,
    matrices,
    metric_at,
    pairs_of_leaves,
)

# Each with the one so many places before it in the list.
SHIFTS = [1, 17, 45, 101]
SOME = [x.name for x in CASES if "-" not in x.name][::12]
PAIRS = [
    pytest.param(
        CASES[i - shift],
        case,
        id=f"{CASES[i - shift].name}-to-{case.name}",
        marks=[] if shift == 17 and case.name in SOME else pytest.mark.full,
    )
    for shift in SHIFTS
    for i, case in enumerate(CASES)
]


def used_state(tx, params):
    """A state as after some updates: counts of 7, and other numbers in its buffers."""
    shapes = shapes_of(params)

    def moved(x):
        is_buffer = x.shape in shapes and jnp.issubdtype(x.dtype, jnp.floating)
        return x + jnp.asarray(0.25, x.dtype) if is_buffer else x

    return jax.tree.map(moved, with_counts(tx.init(params), lambda count: count + 7))


def shapes_of(tree):
    return {jnp.shape(x) for x in jax.tree.leaves(tree)} - {()}


def not_named(tree, params, names):
    """The buffers like the params that no row of a report names."""
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        place = jax.tree_util.keystr(path)
        # The scales of quantized buffers and the numbers of schedules are not buffers.
        is_other = any(y in place for y in (".exponents", ".values", "source"))
        if jnp.shape(x) in shapes_of(params) and not is_other:
            parts = [place[: len(y)] == y and place[len(y) :][:1] for y in names if y]
            if not any(y in ("", "[", ".") for y in parts if y is not False):
                yield place


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_nothing_is_dropped(old, new):
    of_matrices = old.of_matrices or new.of_matrices
    params = matrices() if of_matrices else pairs_of_leaves()
    state, tx = used_state(old.make(), params), new.make()
    made, report = oxe.translate(state, tx, params)
    assert not [*not_named(state, params, [x.source for x in report.rows])], str(report)
    assert not [*not_named(made, params, [x.target for x in report.rows])], str(report)
    first = jax.eval_shape(tx.init, params)
    assert jax.tree.structure(made) == jax.tree.structure(first)
    for x, y in zip(jax.tree.leaves(made), jax.tree.leaves(first), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
    shared = {id(x) for x in jax.tree.leaves(state)}  # donation deletes them
    assert not any(id(x) in shared for x in jax.tree.leaves(made))
    metric = {**metric_at(0), "value": jnp.float32(1)}
    jax.eval_shape(tx.update, params, made, params, **metric)


SHARDED = """
import json, jax, jax.numpy as jnp, numpy as np, optax_extras as oxe
from jax.sharding import NamedSharding, PartitionSpec as P
mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
spread, everywhere = NamedSharding(mesh, P("x")), NamedSharding(mesh, P())
params = {"w": jax.device_put(jnp.ones((16, 3)), spread),
          "b": jax.device_put(jnp.ones(3), everywhere)}
grads = jax.tree.map(lambda x: 0.5 * x, params)
old = oxe.sgd(0.1, momentum=0.9)
_, state = jax.jit(old.update)(grads, old.init(params), params)
found = {}
for name, tx in {
    "heavy_ball": oxe.heavy_ball(0.1, 0.9),
    "average": oxe.with_average(oxe.adam(0.1), oxe.averages.ema(0.9)),
    "accumulate": oxe.accumulate(oxe.sgd(0.1, momentum=0.9), 2),
}.items():
    new, report = oxe.translate(state, tx, params)
    first = tx.init(params)
    found[name] = all(
        x.sharding.is_equivalent_to(y.sharding, x.ndim)
        for x, y in zip(jax.tree.leaves(new), jax.tree.leaves(first), strict=True)
        if x.ndim
    )
    jax.jit(tx.update)(grads, new, params)
one_device = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), params)
new, _ = oxe.translate(state, oxe.nadam(0.1), one_device)
found["one device"] = all(len(x.devices()) == 1 for x in jax.tree.leaves(new))
new, _ = oxe.translate(state, oxe.heavy_ball(0.1, 0.9), params)
found["value"] = float(jnp.max(jnp.abs(new[0].mu["w"] - 0.05)))
print(json.dumps(found))
"""


@pytest.mark.ci
def test_sharded_params_give_a_sharded_state():
    found = on_eight_devices(SHARDED)
    assert found.pop("value") < 1e-8
    assert found.pop("one device")
    assert found == {"heavy_ball": True, "average": True, "accumulate": True}
