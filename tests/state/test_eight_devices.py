"""States of wrappers on eight devices: their sharding and communication."""

import pytest

from tests.contract.devices import on_eight_devices

# One process for all cases: the number of CPU devices is fixed when JAX starts.
SCRIPT = """
import contextlib, json, sys
import jax, jax.numpy as jnp, optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
import optax_extras as oxe

GATHERS = ("all-gather", "all-to-all", "collective-permute")
adamw = optax.adamw(0.1)

def message(function, *args):
    try:
        function(*args)
    except ValueError as error:
        return str(error)

def params_of(shapes, mesh, specs):
    return {
        key: jax.device_put(jnp.cos(jnp.arange(float(size(n)))).reshape(n),
                            NamedSharding(mesh, specs[key]))
        for key, n in shapes.items()
    }

def size(shape):
    return jax.eval_shape(lambda: jnp.zeros(shape)).size

# ---- States that are made outside of jit ----

def init_cases(full):
    large = {"w": True, "v": True, "b": False, "s": False}
    labels = {"w": "ours", "v": "theirs", "b": "ours", "s": "theirs"}
    cases = {
        "optax": adamw,
        "nadam": oxe.nadam(0.1),
        "low_precision_state": oxe.low_precision_state(adamw),
        "stacked of ours": oxe.stacked(oxe.nadam(0.1), max_size=10**9),
        "with_compensation": oxe.with_compensation(adamw),
    }
    return cases if not full else cases | {
        "adafactor": oxe.adafactor(0.1),
        "switch": oxe.switch(adamw, optax.sgd(0.1, momentum=0.9), oxe.at_step(2)),
        "restart": oxe.restart(adamw, lambda *, count, **seen: count % 2 == 0),
        "scheduled": oxe.scheduled(optax.adamw)(oxe.plateau(0.1)),
        "accumulate": oxe.accumulate(adamw, 2),
        "MultiSteps": optax.MultiSteps(oxe.nadam(0.1), 2).gradient_transformation(),
        "apply_if_finite": optax.apply_if_finite(oxe.nadam(0.1), 2),
        "masked": optax.masked(oxe.nadam(0.1), large),
        "partition": optax.partition({"ours": oxe.nadam(0.1), "theirs": adamw}, labels),
        "with_master_copy": oxe.with_master_copy(adamw),
        "low_precision_state of ours": oxe.low_precision_state(oxe.nadam(0.1)),
        "stacked": oxe.stacked(adamw, max_size=10**9),
    }

def replicated(state):
    # Large leaves of which a device has more than its part.
    leaves = [x for x in jax.tree.leaves(state) if x.size >= 1024]
    parts = [max(s.data.size for s in x.addressable_shards) for x in leaves]
    assert leaves
    return sum(part > x.size // 8 for x, part in zip(leaves, parts))

def inits(kind, full):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    shapes = {"w": (1024, 64), "v": (1024, 64), "b": (64,), "s": ()}
    specs = {"w": P("data"), "v": P("data"), "b": P(), "s": P()}
    params = params_of(shapes, mesh, specs)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    everywhere = NamedSharding(mesh, P())

    def place(x):
        return x.sharding if isinstance(x.sharding, NamedSharding) else everywhere

    report = {}
    for name, tx in init_cases(full).items():
        own = half if name.startswith("with_") else params
        state = tx.init(own)
        again = jax.jit(tx.init, out_shardings=jax.tree.map(place, state))(own)
        u, after = jax.jit(tx.update)(own, state, own)
        same = all(
            bool((a == b).all())
            for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(again), strict=True)
        )
        report[name] = [*map(replicated, (state, again, after, u)), same]
    if kind == AxisType.Auto:
        report["jit alone"] = replicated(jax.jit(adamw.init)(params))
    return report

# ---- low_precision_state ----

def parts(state):
    return {
        jax.tree_util.keystr(path): [x.addressable_shards[0].data.size, x.size]
        for path, x in jax.tree_util.tree_leaves_with_path(state) if x.ndim
    }

def quantized(kind):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
    shapes = {"w": (256, 512), "rows": (64, 100), "columns": (48, 512), "b": (8192,)}
    specs = {"w": P("x", "y"), "rows": P("x"), "columns": P(None, ("x", "y")),
             "b": P("y")}
    with jax.set_mesh(mesh) if kind == AxisType.Explicit else contextlib.nullcontext():
        params = params_of(shapes, mesh, specs)
        report = {}
        for dtype in ("int8", "bfloat16"):
            tx = oxe.low_precision_state(optax.adam(1e-3), dtype)
            state = jax.jit(tx.init)(params)
            step = jax.jit(tx.update).lower(params, state, params).compile()
            _, state = step(params, state, params)
            gathers = any(x in step.as_text() for x in GATHERS[:2])
            report[dtype] = [parts(state), gathers]
        half = {key: p.astype(jnp.bfloat16) for key, p in params.items()}
        for wrap in (oxe.with_master_copy, oxe.with_compensation):
            state = jax.jit(wrap(oxe.low_precision_state(oxe.nadam(1e-3))).init)(half)
            report[wrap.__name__] = [parts(state), False]
    return report

# ---- stacked ----

def leaves_of(mesh, spec, n=3):
    return [jax.device_put(jnp.cos(jnp.arange(32.0).reshape(8, 4) + i),
            NamedSharding(mesh, spec)) for i in range(n)]

def places(state):
    grouped = lambda x: isinstance(x, oxe.states.GroupedLeaves)
    found = filter(grouped, jax.tree.leaves(state, is_leaf=grouped))
    return [list(s.sharding.spec) for x in found for s in x.stacks]

def stacked():
    tx, alone, report = oxe.stacked(oxe.nadam(0.1)), oxe.nadam(0.1), {}
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    alike = leaves_of(mesh, P("x", "y"))
    mixed = {"rows": leaves_of(mesh, P("x"), 1)[0],
             "columns": leaves_of(mesh, P(None, "y"), 1)[0]}
    report["refused"] = message(tx.init, mixed)
    spelled = [leaves_of(mesh, P("x", *more), 1)[0] for more in ((), (None,))]
    report["spelled"] = [message(tx.init, spelled), places(tx.init(spelled))]
    report["refused later"] = message(tx.update, mixed, (), mixed)

    report["init"] = places(tx.init(alike))
    report["jitted init"] = places(jax.jit(tx.init)(alike))
    state = tx.init(alike)
    step = jax.jit(tx.update).lower(alike, state, alike).compile()
    report["communicates"] = any(x in step.as_text() for x in GATHERS)
    us, state = step(alike, state, alike)
    report["state"] = places(state)
    report["updates"] = [list(u.sharding.spec) for u in us]
    expected, _ = jax.jit(lambda p: alone.update(p, alone.init(p), p))(alike)
    report["error"] = max(float(jnp.abs(a - b).max()) for a, b in zip(us, expected))

    # What cannot be seen gives the right numbers.
    us, _ = jax.jit(lambda p: tx.update(p, tx.init(p), p))(mixed)
    expected, _ = jax.jit(lambda p: alone.update(p, alone.init(p), p))(mixed)
    report["unseen"] = max(float(jnp.abs(us[k] - expected[k]).max()) for k in us)
    # As the message says.
    split = optax.partition({k: tx for k in mixed}, {k: k for k in mixed})
    us, _ = jax.jit(lambda p: split.update(p, split.init(p), p))(mixed)
    report["apart"] = [us[k].sharding.is_equivalent_to(mixed[k].sharding, 2)
                       for k in mixed]

    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        alike = leaves_of(mesh, P("x", "y"))
        us, state = jax.jit(lambda p: tx.update(p, tx.init(p), p))(alike)
        report["explicit"] = [places(state), [list(u.sharding.spec) for u in us]]
        mixed = [*leaves_of(mesh, P("x"), 1), *leaves_of(mesh, P(None, "y"), 1)]
        report["explicit refused"] = message(jax.jit(tx.init), mixed)
        params = alike[:2]
        state = jax.jit(tx.init)(params)
        report["gradients refused"] = message(jax.jit(tx.update), mixed, state, params)
    return report

# ---- SWATS ----

def all_reduces():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))
    params = params_of({str(i): (16, 4 + i) for i in range(10)}, mesh,
                       {str(i): P("x") for i in range(10)})
    report = {}
    for name, tx in {
        "clip": optax.clip_by_global_norm(1.0),
        "swats": oxe.swats(1e-3, weight_decay=0.1),
        "paper": oxe.swats(1e-3, paper=True),
    }.items():
        state = tx.init(params)
        step = jax.jit(tx.update, donate_argnums=(0, 1))
        text = step.lower(params, state, params).compile().as_text()
        report[name] = text.count(" all-reduce(") + text.count(" all-reduce-start(")
    return report

# ---- restart by operation, on an explicit mesh ----

def restarted():
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))
    params = params_of({"w": (8, 4)}, mesh, {"w": P("x")})
    tx = oxe.restart(optax.adam(0.1), lambda *, count, **others: count == 1)
    with jax.set_mesh(mesh):
        state = tx.init(params)
        _, state = tx.update(params, state, params)
        specs = [str(jax.typeof(x["w"]).sharding.spec) for x in state.inner[0][1:]]
    return specs, [int(state.count), int(state.inner[0].count)]

full = sys.argv[1] == "full"
kinds = (AxisType.Auto, AxisType.Explicit)
print(json.dumps({
    "inits": {str(kind): inits(kind, full) for kind in kinds},
    "quantized": {} if full else {str(kind): quantized(kind) for kind in kinds},
    "stacked": {} if full else stacked(),
    "all-reduces": {} if full else all_reduces(),
    "restarted": [] if full else restarted(),
}))
"""


@pytest.fixture(scope="module")
def report():
    return on_eight_devices(SCRIPT, "some")


def check_inits(found, number):
    by_default = found["AxisType.Auto"].pop("jit alone")
    assert by_default == 4  # what the wrapper has to avoid: two moments of two leaves
    for axes, cases in found.items():
        assert len(cases) == number
        others = {name: x for name, x in cases.items() if x != [0, 0, 0, 0, True]}
        assert others == {}, axes


@pytest.mark.ci
def test_a_state_made_outside_of_jit_is_sharded_as_its_params(report):
    check_inits(report["inits"], 5)


@pytest.mark.full
def test_states_of_every_wrapper_are_sharded_as_their_params():
    check_inits(on_eight_devices(SCRIPT, "full")["inits"], 17)


@pytest.mark.ci
def test_quantized_leaves_are_sharded_as_their_params(report):
    """Each device has the blocks of its params, and nothing is gathered."""
    devices = {"w": 8, "rows": 4, "columns": 8, "b": 2}
    for axes, cases in report["quantized"].items():
        assert len(cases) == 4
        for name, (parts, gathers) in cases.items():
            assert not gathers, (axes, name)
            for key, n in devices.items():
                mine = [part for path, part in parts.items() if f"'{key}'" in path]
                mine = [(part, size) for part, size in mine if size > 1]
                assert mine
                assert all(part * n == size for part, size in mine), (axes, name)


@pytest.mark.ci
def test_stacks_are_sharded_as_their_leaves(report):
    found = report["stacked"]
    for where in ("refused", "refused later"):
        assert "`params`['rows'] must be sharded as params['columns']" in found[where]
        assert "in `optax.partition`" in found[where]
    refused, specs = found["spelled"]
    assert refused is None
    assert [spec[:2] for spec in specs] == [[None, "x"]] * 2
    for where in ("init", "jitted init", "state"):
        assert found[where] == [[None, "x", "y"]] * 2, where  # of both moments
    assert found["updates"] == [["x", "y"]] * 3
    assert not found["communicates"]
    assert found["error"] <= 2.0**-23
    assert found["unseen"] <= 2.0**-23
    assert all(found["apart"])
    states, updates = found["explicit"]
    assert states == [[None, "x", "y"]] * 2
    assert updates == [["x", "y"]] * 3
    assert "`params`[1] must be sharded as params[0]" in found["explicit refused"]
    assert "got P(None, 'y'), not P('x', None)" in found["explicit refused"]
    assert "`updates`[1] must be sharded as updates[0]" in found["gradients refused"]


@pytest.mark.ci
def test_swats_needs_one_all_reduce(report):
    """For all leaves together, as clipping by the global norm does."""
    assert report["all-reduces"] == {"clip": 1, "swats": 1, "paper": 1}


@pytest.mark.ci
def test_a_restart_outside_of_jit_keeps_explicit_shardings(report):
    specs, counts = report["restarted"]
    assert specs == ["P('x', None)"] * 2
    assert counts == [1, 0]
