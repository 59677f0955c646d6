"""Params over eight devices: states lie as they do, and the numbers are the same."""

import pytest

from tests.contract import discovery
from tests.contract.devices import on_eight_devices
from tests.contract.resuming import HALVES

SHARDED = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe
from tests.contract.discovery import STACKS, metric_at
from tests.contract.resuming import case_of

kind = getattr(jax.sharding.AxisType, sys.argv[1])
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
if sys.argv[1] == "Explicit":
    jax.set_mesh(mesh)
specs = {"w": P("x", "y"), "rows": P("x", None), "columns": P(None, "y"), "b": P("y")}
specs |= {"s": P(), "everywhere": P()}
plain = {
    "w": jnp.linspace(-1, 2, 64).reshape(16, 4),
    "rows": jnp.linspace(0, 1, 24).reshape(8, 3),
    "columns": jnp.linspace(1, 2, 24).reshape(3, 8),
    "b": jnp.arange(4.0),
    "s": jnp.ones(()),
    "everywhere": jnp.linspace(-2, 1, 10).reshape(5, 2),
}
twins = {f"other {key}": x / 2 for key, x in plain.items()}
key_of = {x.shape: key for key, x in plain.items()}

def sharding_of(key, ndim):
    # Of a matrix that was a vector, and of a stack, it is the last axes that are split.
    spec = specs[key.rpartition(" ")[2]]
    return NamedSharding(mesh, P(*[None] * (ndim - len(spec)), *spec))

def grads(tree, step):
    return jax.tree.map(lambda x: jnp.cos(x + step), tree)

def moments(state, tree):
    # Of a quantized leaf the parts are below its key.
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        for key in tree:
            if jax.tree_util.DictKey(key) in path and leaf.shape == tree[key].shape:
                yield leaf, sharding_of(key, leaf.ndim)
    is_grouped = lambda x: isinstance(x, oxe.states.GroupedLeaves)
    for kept in filter(is_grouped, jax.tree.leaves(state, is_leaf=is_grouped)):
        for stack in kept.stacks:
            yield stack, sharding_of(key_of[stack.shape[1:]], stack.ndim)

def follows_params(state, tree):
    found = list(moments(state, tree))
    expected = any(x.ndim for x in jax.tree.leaves(state))
    return bool(found) == expected and all(
        leaf.sharding.is_equivalent_to(sharding, leaf.ndim) for leaf, sharding in found
    )

report = {}
for case in map(case_of, sys.argv[2:]):
    tree = case.fit(plain | twins if case.name in STACKS else plain)
    shardings = {key: sharding_of(key, x.ndim) for key, x in tree.items()}
    params, tx = jax.device_put(tree, shardings), case.make()
    eager, jitted = tx.init(params), jax.jit(tx.init)(params)
    state, alone = eager, tx.init(tree)
    sharded = [jax.device_put(grads(tree, i), shardings) for i in range(3)]
    step = jax.jit(tx.update).lower(sharded[0], state, params, **metric_at(0)).compile()
    on_one = jax.jit(tx.update)
    worst = 0.0
    for i in range(3):
        u, state = step(sharded[i], state, params, **metric_at(i))
        v, alone = on_one(grads(tree, i), alone, tree, **metric_at(i))
        for a, b in zip(jax.tree.leaves((u, state)), jax.tree.leaves((v, alone))):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            scale, other = np.abs(b).max(initial=1e-30), a != b
            furthest = np.abs(a[other] - b[other]).max(initial=0)
            worst = np.maximum(worst, furthest / scale)
    report[case.name] = {
        "init": follows_params(eager, tree),
        "jitted init": follows_params(jitted, tree),
        "state": follows_params(state, tree),
        "updates": follows_params(u, tree),
        "no all-gather": case.multiplies_matrices
        or "all-gather" not in step.as_text(),
        "as on one device": bool(worst <= case.ulps / 2 * 2.0**-23),
    }
print(json.dumps(report))
"""

# Forty steps in which everything that decides does, by itself, more than once or never
# back; the loss and the gradients are of all devices.
DECISIONS = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

kind = getattr(jax.sharding.AxisType, sys.argv[1])
mesh = jax.make_mesh((8,), ("x",), axis_types=(kind,))
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
    # Matrices are more than elementwise: tests/optimizers/test_muon.py.
    if case.name != "others-muon"
]
# Whose state is another one than that of the plain case.
NAMES += ["rmsprop-centered", "rmsprop-momentum", "swats-per_leaf", "swats-second_rate"]
NAMES += ["nadam-schedule", "nadam-metric"]
NAMES += [name + HALVES for name in discovery.KEEP_REMAINDERS]


# In CI one name of each rule, on axes left to the compiler. In `make full` also
# variants, twins and namesakes, and axes that are part of every array's type.
FIRST = [case.name for case in discovery.CASES if not case.is_slow]
REST = [name for name in NAMES if name not in FIRST]
PARTS = [
    pytest.param("Auto", FIRST, marks=pytest.mark.ci, id="Auto"),
    pytest.param("Auto", REST, marks=pytest.mark.full, id="Auto-rest"),
    pytest.param("Explicit", FIRST, marks=pytest.mark.full, id="Explicit"),
    pytest.param("Explicit", REST, marks=pytest.mark.full, id="Explicit-rest"),
]


@pytest.mark.parametrize(("kind", "names"), PARTS)
def test_eight_devices(kind, names):
    report = on_eight_devices(SHARDED, kind, *names)
    assert set(report) == set(names)
    failed = [
        (name, what)
        for name, found in report.items()
        for what, holds in found.items()
        if not holds
    ]
    assert not failed


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("Auto", marks=pytest.mark.ci),
        pytest.param("Explicit", marks=pytest.mark.full),
    ],
)
def test_every_device_decides_alike(kind):
    """And as one device alone, at the same steps."""
    for name, (one, eight) in on_eight_devices(DECISIONS, kind).items():
        assert len({str(x) for x in one}) > 1, f"{name} decided nothing"
        assert one == eight, name
