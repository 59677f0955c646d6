"""Inside of `jax.shard_map` a device sees its part alone: the numbers are the same."""

import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.devices import on_eight_devices

HEAD = """
import inspect, json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import PartitionSpec as P
import optax_extras as oxe
from tests.contract.discovery import CASES

mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
specs = {"w": P("x", "y"), "rows": P("x"), "b": P(("y",)), "s": P()}
params = {
    "w": jnp.linspace(-1, 2, 64).reshape(16, 4),
    "rows": jnp.linspace(0, 1, 24).reshape(8, 3),
    "b": jnp.arange(4.0),
    "s": jnp.ones(()),
}

def state_specs(state, specs):
    # As the leaf of the params of that name and shape, else on every device.
    def spec(path, leaf):
        key = getattr(path[-1], "key", None) if path else None
        is_like = key in specs and leaf.shape == params[key].shape
        return specs[key] if is_like else P()
    return jax.tree_util.tree_map_with_path(spec, state)

def sharded_step(tx, state, specs, check=True):
    states = state_specs(state, specs)
    return jax.jit(
        jax.shard_map(
            tx.update, mesh=mesh, in_specs=(specs, states, specs),
            out_specs=(specs, states), check_vma=check,
        )
    )

def distance(a, b):
    worst = 0.0
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        scale, other = np.abs(y).max(initial=1e-30), x != y
        worst = np.maximum(worst, np.abs(x[other] - y[other]).max(initial=0) / scale)
    return float(worst)
"""

EVERY_CASE = """
report = {}
for case in CASES:
    if case.name not in sys.argv[1:]:
        continue
    knows_axes = "axis_name" in inspect.signature(case.factory).parameters
    whole = case.make()
    split = case.make(axis_name=specs) if knows_axes else whole
    state = alone = whole.init(params)
    step, on_one = sharded_step(split, state, specs), jax.jit(whole.update)
    worst = 0.0
    for i in range(4):
        grads = jax.tree.map(lambda x: jnp.cos(x + i), params)
        u, state = step(grads, state, params)
        v, alone = on_one(grads, alone, params)
        worst = max(worst, distance((u, state), (v, alone)))
    report[case.name] = worst / 2.0**-23
print(json.dumps(report))
"""

# The ways to say how the params lie, each over a run in which swats switches by itself;
# the gradients are noisy enough for the step to tell one device's part from all.
SWATS = """
def run(tx, step, steps=60):
    x, state, switches = params, tx.init(params), []
    key = jax.random.key(0)
    for i in range(steps):
        noise = jax.random.normal(jax.random.fold_in(key, i), ())
        grads = jax.tree.map(lambda x: x + 0.3 * jnp.sin(7 * x + noise), x)
        u, state = step(grads, state, x)
        x = optax.apply_updates(x, u)
    return x, state

settings = dict(tolerance=0.05, min_steps=5, estimator="average")
whole = oxe.swats(0.05, **settings)
x, state = run(whole, jax.jit(whole.update))
switch_step = int(optax.tree.get(state, "switch_step"))
rows = {key: P("x") for key in params} | {"s": P()}
two = {"w": P("x", "y"), "rows": P("x"), "b": P("y"), "s": P()}
report = {"whole": [[switch_step], 0.0]}
split_all = {"w": P("x", "y"), "rows": P(("x", "y"))}
for name, axes, lie, check in [
    ("specs", two, two, True), ("rows", rows, rows, True),
    ("unchecked", two, two, False), ("nobody's sums", None, two, False),
]:
    tx = oxe.swats(0.05, axis_name=axes, **settings)
    y, other = run(tx, sharded_step(tx, tx.init(params), lie, check))
    shards = optax.tree.get(other, "switch_step").addressable_shards
    steps = sorted({int(s.data) for s in shards})
    report[name] = [steps, distance(y, x)]
params = {key: params[key] for key in split_all}
for name, per_leaf in [("names", False), ("per leaf", True)]:
    whole = oxe.swats(0.05, per_leaf=per_leaf, **settings)
    tx = oxe.swats(0.05, axis_name=("x", "y"), per_leaf=per_leaf, **settings)
    x, state = run(whole, jax.jit(whole.update))
    y, other = run(tx, sharded_step(tx, tx.init(params), split_all))
    for end, found in [(" whole", state), ("", other)]:
        steps = np.asarray(optax.tree.get(found, "switch_step")).reshape(-1).tolist()
        report[name + end] = [steps, distance(y, x)]
print(json.dumps(report))
"""

# Rows by hand and columns by the types of the arrays, and both by their types, one
# operation after the other, of blocks that come out uneven.
SOME_AXES = """
explicit = (jax.sharding.AxisType.Explicit,) * 2
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=explicit)
plain = jnp.linspace(-1, 2, 192).reshape(8, 24)
small = oxe.low_precision_state(optax.adam(0.1), min_size=1)
report = {}
muon = oxe.muon(0.1, layout="in_out")
for name, tx in {"low_precision_state": small, "muon": muon}.items():
    def step(params):
        return tx.update(jnp.cos(99 * params**2), tx.init(params), params)[0]

    with jax.set_mesh(mesh):
        spec = P("x", "y")
        params = jax.device_put(plain, jax.sharding.NamedSharding(mesh, spec))
        typed = step(params)
        by_rows = jax.shard_map(
            step, in_specs=P("x"), out_specs=P("x"), axis_names={"x"}
        )
        by_hand = jax.jit(by_rows)(params)
    rows = jnp.concatenate([step(part) for part in jnp.split(plain, 4)])
    report[name] = [distance(typed, step(plain)), distance(by_hand, rows)]
    report[name] += [x.sharding.spec == spec for x in (typed, by_hand)]
print(json.dumps(report))
"""


# Where an average over a leaf, or its place in a leaf, enters each element: of a part
# of a leaf it is another. And stacks of leaves, which do not lie as the params do.
NAMES = [
    case.name
    for case in discovery.CASES
    if (case.is_plain or case.name in discovery.COMBINED)
    and case.is_elementwise
    and case.name not in discovery.STACKS
    # Each device would decide by itself whether its gradients are finite.
    and case.name not in ("loss_scale", "keras.LossScaleOptimizer")
]


@pytest.mark.full
def test_every_case():
    report = on_eight_devices(HEAD + EVERY_CASE, *NAMES)
    assert set(report) == set(NAMES)
    assert {name: ulps for name, ulps in report.items() if not ulps <= 4} == {}


@pytest.mark.ci
def test_swats_switches_as_on_one_device():
    report = on_eight_devices(HEAD + SWATS)
    ((switch_step,), _) = report.pop("whole")
    assert 5 < switch_step < 60
    alone, _ = report.pop("nobody's sums")
    assert len(alone) > 1  # what `axis_name` is there for
    for name in ("names", "per leaf"):
        assert report[name][0] == report.pop(f"{name} whole")[0]
    for name in ("specs", "rows", "unchecked"):
        assert report[name][0] == [switch_step]
    assert max(distance for _, distance in report.values()) < 1e-5


@pytest.mark.ci
def test_over_some_of_the_axes():
    for *distances, typed, by_hand in on_eight_devices(HEAD + SOME_AXES).values():
        assert typed
        assert by_hand
        assert max(distances) < 1e-5


@pytest.mark.parametrize("make", [oxe.swats, oxe.scale_by_swats])
def test_wrong_axis_names(make):
    required = {"learning_rate": 0.1} if make is oxe.swats else {}
    for axes in (3, ["x"], {"w": "x"}, ("x", 1)):
        with pytest.raises(TypeError, match="`axis_name` must be None, a name"):
            make(**required, axis_name=axes)
    with pytest.raises(TypeError, match="`axis_name` must be None, a name"):
        make(**required, axis_name={"w": P("x")}, per_leaf=True)
    tx = make(**required, axis_name={"v": P("x")})
    params = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match="`axis_name` must be a prefix of the params'"):
        tx.update(params, tx.init(params), params)
