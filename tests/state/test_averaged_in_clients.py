"""Reading averages from the states of chains, wrappers and neural-network libraries."""

import functools
import re
import warnings

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.averages import Average
from tests.contract.devices import on_eight_devices

with warnings.catch_warnings():
    # With the oldest jax, importing it uses deprecated names.
    warnings.simplefilter("ignore", DeprecationWarning)
    import flax.linen as nn
    import flax.serialization
    from flax import nnx
    from flax.training.train_state import TrainState


def mean(t):
    return 1 / t


MEAN = Average(mean)
PARAMS = {"w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3), "b": jnp.ones(3)}
X = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)


def averaging(rate=0.1):
    return oxe.with_average(oxe.heavy_ball(rate), MEAN)


def norm(params):
    return sum(jnp.sum(jnp.cos(x)) for x in jax.tree.leaves(params))


@functools.cache
def gradient_of(loss):
    return jax.jit(jax.grad(loss))


def steps(tx, params, loss=norm, count=4):
    """The mean of the params after each step, in NumPy, and the last state."""
    state, update = jax.jit(tx.init)(params), jax.jit(tx.update)
    walk, grad = [], gradient_of(loss)
    for _ in range(count):
        u, state = update(grad(params), state, params)
        params = optax.apply_updates(params, u)
        walk.append(params)
    return jax.tree.map(lambda *xs: np.mean(np.stack(xs), 0), *walk), state


def assert_close(found, expected):
    for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# ---- Optax ---------------------------------------------------------------------------

# From the averaging optimizer to one that holds its state somewhere.
HOLDERS = {
    "chain": lambda tx: optax.chain(optax.clip(1.0), tx),
    "named_chain": lambda tx: optax.named_chain(("it", tx)),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
    "inject_hyperparams": lambda tx: optax.inject_hyperparams(
        lambda learning_rate: averaging(learning_rate)
    )(0.1),
    "scheduled": lambda tx: oxe.scheduled(
        lambda learning_rate: averaging(learning_rate)
    )(0.1),
    "accumulate": lambda tx: oxe.accumulate(tx, 1),
    "with_master_copy": oxe.with_master_copy,
    "restart": lambda tx: oxe.restart(tx, oxe.at_step(100)),
    "conditionally_transform": lambda tx: optax.conditionally_transform(
        tx, lambda step, **extra: True
    ),
}


def test_in_every_wrapper():
    states = {}
    for name, wrap in HOLDERS.items():
        expected, states[name] = steps(wrap(averaging()), PARAMS, count=2)
        for state in (states[name], {"optimizer": states[name], "step": 3}):
            found = oxe.averaged(state)
            assert jax.tree.structure(found) == jax.tree.structure(PARAMS)
            assert_close(found, expected)
    read = jax.jit(lambda states: {x: oxe.averaged(y) for x, y in states.items()})
    assert_close(read(states), {x: oxe.averaged(y) for x, y in states.items()})


def test_under_a_mask_and_in_a_group():
    tx = optax.masked(averaging(), {"w": True, "b": False})
    expected, state = steps(tx, PARAMS)
    assert_close(oxe.averaged(state)["w"], expected["w"])
    assert isinstance(oxe.averaged(state)["b"], optax.MaskedNode)
    groups = {"a": averaging(), "b": optax.sgd(0.1)}
    expected, state = steps(optax.partition(groups, {"w": "a", "b": "b"}), PARAMS)
    assert_close(oxe.averaged(state)["w"], expected["w"])


def test_a_restart_leaves_the_average():
    tx = oxe.restart(averaging(), lambda *, count, **seen: count == 2)
    expected, state = steps(tx, PARAMS)
    assert_close(oxe.averaged(state), expected)


def test_numbers_of_the_optimizer_inside():
    tx = oxe.with_average(oxe.heavy_ball(oxe.plateau(0.1, patience=0)), MEAN)
    state = oxe.observe(oxe.observe(tx.init(PARAMS), 1.0), 1.0)
    np.testing.assert_allclose(oxe.learning_rate(state), 0.01, rtol=1e-6)
    state = oxe.set_hyperparameters(averaging().init(PARAMS), learning_rate=0.5)
    assert oxe.hyperparameters(state)["learning_rate"] == 0.5


def test_inside_and_around_a_master_copy():
    """Inside the float32 copies are averaged, around them their roundings."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    sgd, average = optax.sgd(1e-3), {}
    for name, tx in {
        "inside": oxe.with_master_copy(oxe.with_average(sgd, MEAN)),
        "around": oxe.with_average(oxe.with_master_copy(sgd), MEAN),
    }.items():
        state, masters, walk = tx.init(params), [], []
        moved = params
        for _ in range(5):
            u, state = tx.update(moved, state, moved)
            moved = optax.apply_updates(moved, u)
            walk.append(np.float32(moved["w"]))
            masters.append(optax.tree.get(state, "master")["w"])
        average[name] = oxe.averaged(state)["w"]
        rows = masters if name == "inside" else walk
        stored = optax.tree.get(state, "averages")["average"]["w"]
        np.testing.assert_allclose(stored, np.mean(rows, 0), rtol=1e-6)
    dtypes = {name: x.dtype for name, x in average.items()}
    assert dtypes == {"inside": jnp.float32, "around": jnp.bfloat16}


def test_not_inside_of_stacks():
    message = "got one that averages the weights, which would be stacks"
    with pytest.raises(ValueError, match=message):
        oxe.stacked(averaging()).init({"a": jnp.ones(3), "b": jnp.ones(3)})


def test_around_stacks_and_small_states():
    for wrap in (oxe.stacked, lambda tx: oxe.low_precision_state(tx, min_size=1)):
        plain = optax.sgd(0.1, momentum=0.9)
        expected, state = steps(oxe.with_average(wrap(plain), MEAN), PARAMS)
        assert_close(oxe.averaged(state), expected)


def test_map_params():
    """Every leaf like the params is found, and no other."""
    two = {"a": MEAN, "b": MEAN}
    for dtype, params in ((None, PARAMS), ("bfloat16", PARAMS)):
        tx = oxe.with_average(optax.sgd(0.1), two, dtype=dtype)
        state = tx.init(params)
        marked = optax.tree.map_params(tx, lambda x: "param", state)
        trees = [jax.tree.leaves(x) for x in marked.averages.values()]
        assert trees == [["param"] * 2] * 2
        assert "param" not in jax.tree.leaves((marked.count, marked.like))
        names = jax.tree.map(lambda x: x.shape, params)  # as shardings are put into it
        named = optax.tree.map_params(tx, lambda x, name: name, state, names)
        assert named.averages["a"] == names


# ---- Errors --------------------------------------------------------------------------


def test_which_average_is_meant():
    two = oxe.with_average(optax.sgd(0.1), {"slow": MEAN, "fast": MEAN}).init(PARAMS)
    for name in (None, "fats"):
        message = f"averaged: `name` must be one of 'fast', 'slow', got {name!r}."
        message += " Write `oxe.averaged(state, 'fast')`." if name is None else ""
        with pytest.raises(ValueError, match=re.escape(message) + "$"):
            oxe.averaged(two, name)
    nested = oxe.with_average(oxe.with_average(optax.sgd(0.1), MEAN), {"outer": MEAN})
    state = nested.init(PARAMS)
    assert_close(oxe.averaged(state, "average"), PARAMS)
    with pytest.raises(ValueError, match="one of 'outer', 'average', got None"):
        oxe.averaged(state)
    groups = {"a": averaging(), "b": averaging()}
    state = optax.partition(groups, {"w": "a", "b": "b"}).init(PARAMS)
    for name in (None, "average"):
        message = r"one average of the name 'average', got 2, at .*Read it from a part"
        with pytest.raises(ValueError, match=message):
            oxe.averaged(state, name)
    for none in (optax.adam(0.1).init(PARAMS), (), {}, None, 3):
        message = (
            r"averaged: `state` must hold an average, got none\. Write `oxe\.with_"
        )
        with pytest.raises(ValueError, match=message):
            oxe.averaged(none)


def test_a_state_that_became_a_dict():
    """By `nnx.state`, or restored without its structure."""
    optimizer = nnx.Optimizer(
        nnx.Linear(2, 2, rngs=nnx.Rngs(0)), averaging(), wrt=nnx.Param
    )
    data = flax.serialization.to_bytes(averaging().init(PARAMS))
    restored = flax.serialization.msgpack_restore(data)
    for state in (nnx.state(optimizer), nnx.split(optimizer)[1], restored):
        for read in (oxe.averaged, oxe.averages.snapshot):
            message = rf"{read.__name__}: `state` must hold .*structure of `tx\.init"
            with pytest.raises(ValueError, match=message + r".*optimizer\.opt_state"):
                read(state)


def test_snapshots():
    """In float32, of power averages, by themselves or beside the weights."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    powers = {"a": Average(mean, 0.0), "b": Average(lambda t: 1 - (1 - 1 / t) ** 8, 7)}
    tx = optax.chain(optax.clip(1.0), oxe.with_average(optax.sgd(0.1), powers))
    _, state = steps(tx, params)
    found = oxe.averages.snapshot(state, params)
    assert {k: float(x) for k, x in found.gammas.items()} == {
        "a": 0,
        "b": 7,
        "weights": np.inf,
    }
    assert list(found.averages) == ["a", "b", "weights"]
    assert {x.dtype for x in jax.tree.leaves(found.averages)} == {jnp.dtype("float32")}
    assert_close(found.averages["b"], state[1].averages["b"])
    assert found.count == 4
    jax.tree.map(lambda x: x.delete(), state[1].averages)
    assert np.isfinite(found.averages["a"]["w"]).all()
    assert "weights" not in oxe.averages.snapshot(tx.init(params)).averages


def test_what_a_snapshot_refuses():
    snapshot, sgd = oxe.averages.snapshot, optax.sgd(0.1)
    with pytest.raises(
        ValueError, match="snapshot: `state` must hold the state of one"
    ):
        snapshot(sgd.init(PARAMS))
    state = oxe.with_average(sgd, {"a": Average(mean, 0.0), "b": MEAN}).init(PARAMS)
    with pytest.raises(ValueError, match="must hold power averages only, got 'b'"):
        snapshot(state)
    powers = {"b": Average(mean, 0.0)}
    state = oxe.with_average(oxe.with_average(sgd, powers), powers).init(PARAMS)
    with pytest.raises(ValueError, match=r"of power averages, got itself, \.inner"):
        snapshot(state)
    state = oxe.with_average(sgd, {"weights": Average(mean, 0.0)}).init(PARAMS)
    with pytest.raises(ValueError, match="hold no average of the name 'weights'"):
        snapshot(state, PARAMS)
    assert list(snapshot(state).averages) == ["weights"]


# ---- Flax ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nnx(dtype):
    """One structure and one program; the average goes into a model by `nnx.update`."""
    model = nnx.Linear(2, 2, rngs=nnx.Rngs(0), param_dtype=dtype)
    tx = oxe.with_average(optax.apply_if_finite(optax.adam(0.1), 3), {"a": MEAN})
    optimizer, walk, traces = nnx.Optimizer(model, tx, wrt=nnx.Param), [], []
    before = jax.tree.structure(nnx.state(optimizer))

    @nnx.jit
    def step(model, optimizer):
        traces.append(1)
        grads = nnx.grad(lambda m: norm(nnx.to_pure_dict(nnx.state(m))))(model)
        optimizer.update(model, grads)

    for _ in range(3):
        step(model, optimizer)
        walk.append(np.float32(model.kernel[...]))
    assert len(traces) == 1
    assert jax.tree.structure(nnx.state(optimizer)) == before
    other = nnx.clone(model)
    for holder in (optimizer, optimizer.opt_state):
        nnx.update(other, oxe.averaged(holder))
        assert other.kernel[...].dtype == dtype
        rtol = 1e-5 if dtype == "float32" else 2.0**-8
        expected = np.mean(walk, 0)
        np.testing.assert_allclose(np.float32(other.kernel[...]), expected, rtol)
    assert isinstance(other.kernel, nnx.Param)
    evaluate = nnx.jit(lambda optimizer: oxe.averaged(optimizer))
    assert_close(evaluate(optimizer), oxe.averaged(optimizer))


def test_linen_with_boxes_and_a_train_state():
    init = nn.with_partitioning(nn.initializers.lecun_normal(), (None, None))
    model = nn.Dense(3, kernel_init=init)
    params = model.init(jax.random.key(0), X)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    tx = averaging()
    train = TrainState.create(apply_fn=model.apply, params=params, tx=tx)
    grad = jax.jit(jax.grad(lambda p: jnp.mean(model.apply(p, X) ** 2)))
    walk = []
    for _ in range(3):
        train = train.apply_gradients(grads=grad(train.params))
        walk.append(jax.tree.leaves(train.params))
    found = oxe.averaged(train)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    expected = [np.mean(np.float32(xs), 0) for xs in zip(*walk, strict=True)]
    for x, y in zip(jax.tree.leaves(found), expected, strict=True):
        assert x.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(x), y, 2.0**-8)


def test_saved_by_flax():
    """As bytes; the resumed run is the same to the bit."""
    tx = oxe.with_average(optax.adam(0.1), {"a": MEAN, "b": MEAN}, dtype="bfloat16")
    _, state = steps(tx, PARAMS)
    data = flax.serialization.to_bytes(state)
    again = flax.serialization.from_bytes(tx.init(PARAMS), data)
    found, expected = (jax.jit(tx.update)(PARAMS, x, PARAMS) for x in (again, state))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_saved_by_orbax(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint", reason="Orbax is not installed")
    tx = oxe.with_average(optax.adam(0.1), {"a": MEAN, "b": MEAN}, dtype="bfloat16")
    _, state = steps(tx, PARAMS)
    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "state", state)
        saver.wait_until_finished()
        again = saver.restore(tmp_path / "state", jax.eval_shape(lambda: state))
    jax.tree.map(np.testing.assert_array_equal, again, state)
    assert_close(oxe.averaged(again, "a"), oxe.averaged(state, "a"))


# ---- Equinox and Haiku ---------------------------------------------------------------


@pytest.mark.parametrize("complete", [False, True])
def test_equinox(complete):
    """A model with functions and a frozen part, of which `update` may get all."""
    model = eqx.nn.MLP(2, 1, 3, 0, key=jax.random.key(0))
    trained = eqx.filter(model, eqx.is_inexact_array)
    trained = eqx.tree_at(lambda m: m.layers[0].bias, trained, None)
    frozen = eqx.combine(
        eqx.tree_at(
            lambda m: m.layers[0].bias,
            eqx.filter(model, lambda x: False),
            model.layers[0].bias,
            is_leaf=lambda x: x is None,
        ),
        eqx.filter(model, eqx.is_inexact_array, inverse=True),
    )
    tx = averaging()
    state, walk = tx.init(trained), []
    for _ in range(3):
        grads = trained
        params = eqx.combine(trained, frozen) if complete else trained
        u, state = tx.update(grads, state, params)
        trained = eqx.apply_updates(trained, u)
        walk.append(trained)
    found = oxe.averaged(state)
    assert found.layers[0].bias is None
    expected = jax.tree.map(lambda *xs: np.mean(np.stack(xs), 0), *walk)
    assert_close(found, expected)
    assert eqx.combine(found, frozen)(X[0]).shape == (1,)


def test_haiku():
    made = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([2, 2])(x)))
    first = made.init(jax.random.key(0), X)
    loss = lambda params: jnp.mean(made.apply(params, X) ** 2)  # noqa: E731
    expected, state = steps(averaging(), first, loss)
    assert_close(oxe.averaged(state), expected)


# ---- Eight devices -------------------------------------------------------------------

SHARDED = """
import json
import jax, jax.numpy as jnp, numpy as np, optax
import optax_extras as oxe
from jax.sharding import NamedSharding, PartitionSpec as P
from optax_extras.averages import Average

failed = []
for kind in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit):
    mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
    with jax.set_mesh(mesh):
        for dtype, params_dtype in ((None, "float32"), (None, "bfloat16"),
                                    ("bfloat16", "float32")):
            sharding = NamedSharding(mesh, P("y", "x"))
            w = jnp.linspace(0, 1, 128).reshape(8, 16).astype(params_dtype)
            mean = Average(lambda t: 1 / t)
            tx = oxe.with_average(optax.adam(0.1), mean, dtype=dtype)
            runs = []
            for params in (w, jax.device_put(w, sharding)):
                states = [tx.init(params), jax.jit(tx.init)(params)]
                state, step = states[0], jax.jit(tx.update)
                for _ in range(3):
                    u, state = step(params, state, params)
                runs.append(oxe.averaged(state))
                states.append(state)
            for s in states:
                found = s.averages["average"].sharding
                if not found.is_equivalent_to(sharding, 2):
                    failed.append(f"{kind} {dtype} {found}")
            if not runs[1].sharding.is_equivalent_to(sharding, 2):
                failed.append(f"{kind} {dtype} read")
            if not np.allclose(*map(np.float32, runs), rtol=1e-6):
                failed.append(f"{kind} {dtype} numbers")
print(json.dumps(failed))
"""


@pytest.mark.ci
def test_eight_devices():
    """The average is sharded as the params, and has the numbers of one device."""
    assert on_eight_devices(SHARDED) == []
