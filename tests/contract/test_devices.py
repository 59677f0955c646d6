"""Params over eight devices: states lie as they do, and the numbers are the same."""

import pytest

from tests.contract import discovery
from tests.contract.devices import on_eight_devices

SHARDED = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from tests.contract.discovery import CASES

mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
specs = {"w": P("x", "y"), "rows": P("x"), "columns": P(None, "y"), "b": P("y")}
specs["s"] = P()
shardings = {key: NamedSharding(mesh, spec) for key, spec in specs.items()}
plain = {
    "w": jnp.linspace(-1, 2, 64).reshape(16, 4),
    "rows": jnp.linspace(0, 1, 24).reshape(8, 3),
    "columns": jnp.linspace(1, 2, 24).reshape(3, 8),
    "b": jnp.arange(4.0),
    "s": jnp.ones(()),
}
params = jax.device_put(plain, shardings)

def grads(step):
    return jax.tree.map(lambda x: jnp.cos(x + step), plain)

def moments(state):
    # Of a leaf in few bits the fields lie below its key.
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        for key in specs:
            if jax.tree_util.DictKey(key) in path and leaf.shape == plain[key].shape:
                yield key, leaf

def lies_as_params(state):
    return all(
        leaf.sharding.is_equivalent_to(shardings[key], leaf.ndim)
        for key, leaf in moments(state)
    )

report = {}
for case in CASES:
    if case.name not in sys.argv[1:]:
        continue
    tx = case.make()
    eager, jitted = tx.init(params), jax.jit(tx.init)(params)
    state, alone = eager, tx.init(plain)
    sharded = [jax.device_put(grads(i), shardings) for i in range(3)]
    step = jax.jit(tx.update).lower(sharded[0], state, params).compile()
    on_one = jax.jit(tx.update)
    worst = 0.0
    for i in range(3):
        u, state = step(sharded[i], state, params)
        v, alone = on_one(grads(i), alone, plain)
        for a, b in zip(jax.tree.leaves((u, state)), jax.tree.leaves((v, alone))):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            scale = np.abs(b).max(initial=1e-30)
            worst = max(worst, float(np.abs(a - b).max(initial=0) / scale))
    report[case.name] = {
        "init": lies_as_params(eager),
        "jitted init": lies_as_params(jitted),
        "state": lies_as_params(state),
        "updates": lies_as_params(u),
        "no all-gather": "all-gather" not in step.as_text(),
        "as on one device": worst <= 4 * 2.0**-23,
    }
print(json.dumps(report))
"""

# Forty steps in which everything that decides does, by itself, more than once or never
# back; the loss and the gradients are of all devices.
DECISIONS = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
plain = {"w": jnp.linspace(-1, 2, 64).reshape(16, 4), "b": jnp.arange(8.0)}
sharded = jax.device_put(plain, NamedSharding(mesh, P("x")))

def loss(params, key):
    noise = jax.random.normal(key, ())
    terms = (jnp.mean(jnp.sin(3 * x + noise) + x**2) for x in params.values())
    return sum(terms) + noise

def now_and_then(*, value, count, **seen):
    return jnp.sin(7 * value) > 0.5

def field(name):
    return lambda state: optax.tree.get(state, name)

# What decides, and where its decision is read.
cases = {
    "swats": (oxe.swats(0.05, tolerance=0.05, min_steps=5), field("switch_step")),
    "swats, per leaf": (
        oxe.swats(0.05, tolerance=0.05, min_steps=5, per_leaf=True),
        field("switch_step"),
    ),
    "switch": (
        oxe.switch(optax.adam(0.05), optax.sgd(0.01), oxe.on_plateau(patience=1)),
        field("switch_step"),
    ),
    "plateau": (oxe.nadam(oxe.plateau(0.1, 0.5, 1)), oxe.learning_rate),
    "greedy": (oxe.nadam(oxe.greedy(0.01, patience=2)), oxe.learning_rate),
    "restart": (
        oxe.restart(optax.adam(0.05), now_and_then), lambda state: state.inner[0].count
    ),
}
report = {}
for name, (tx, read) in cases.items():
    @jax.jit
    def step(params, state, key):
        value, grads = jax.value_and_grad(loss)(params, key)
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    report[name] = []
    for params in (plain, sharded):
        state, read_off = tx.init(params), []
        for i in range(40):
            key = jax.random.fold_in(jax.random.key(1), i)
            params, state = step(params, state, key)
            copies = [np.asarray(x.data) for x in read(state).addressable_shards]
            assert all(x.tobytes() == copies[0].tobytes() for x in copies), name
            read_off.append(copies[0].tolist())
        report[name].append(read_off)
    assert len(copies) == 8
print(json.dumps(report))
"""

NAMES = [
    case.name
    for case in discovery.CASES
    if case.is_plain or case.name in discovery.COMBINED
]


@pytest.mark.full
@pytest.mark.parametrize("part", [0, 1])
def test_eight_devices(part):
    names = NAMES[part::2]
    report = on_eight_devices(SHARDED, *names)
    assert set(report) == set(names)
    failed = [
        (name, what)
        for name, found in report.items()
        for what, holds in found.items()
        if not holds
    ]
    assert not failed


@pytest.mark.full
def test_every_device_decides_alike():
    """And as one device alone, at the same steps."""
    for name, (one, eight) in on_eight_devices(DECISIONS).items():
        assert len({str(x) for x in one}) > 1, f"{name} decided nothing"
        assert one == eight, name
