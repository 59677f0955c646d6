"""Groups in Flax NNX and Linen, Haiku and Equinox, and over eight devices."""

import warnings

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.devices import on_eight_devices
from tests.contract.runs import abstract, assert_close, assert_same
from tests.groups.groupings import each

with warnings.catch_warnings():
    # With the oldest jax, importing it uses deprecated names.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flax import linen, nnx
    from flax.training.train_state import TrainState

X = jnp.linspace(-1.0, 1.0, 8).reshape(4, 2)


def paths_of(tree):
    """What a selector sees, and the shapes."""
    seen = {}

    def note(path, leaf):
        seen[path] = leaf.shape
        return True

    oxe.sgd(oxe.by_path({note: 1.0}, 1.0)).init(tree)
    return seen


# ---- Flax NNX ------------------------------------------------------------------------


class Block(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.Linear(2, 2, rngs=rngs)
        self.norm = nnx.LayerNorm(2, rngs=rngs)

    def __call__(self, x):
        return self.norm(jnp.tanh(self.attention(x)))


class Encoder(nnx.Module):
    def __init__(self, rngs):
        self.layers_0 = Block(rngs)
        self.layers_1 = Block(rngs)

    def __call__(self, x):
        return self.layers_1(self.layers_0(x))


class Model(nnx.Module):
    def __init__(self, rngs):
        self.encoder = Encoder(rngs)
        self.blocks = nnx.List([nnx.Linear(2, 2, rngs=rngs)])
        self.head = nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(self.blocks[0](self.encoder(x)))


def loss(model):
    return jnp.mean((model(X) - 1.0) ** 2)


OF_NNX = {
    "encoder/layers_0/attention/kernel": (2, 2),
    "encoder/layers_0/attention/bias": (2,),
    "encoder/layers_0/norm/scale": (2,),
    "encoder/layers_0/norm/bias": (2,),
    "encoder/layers_1/attention/kernel": (2, 2),
    "encoder/layers_1/attention/bias": (2,),
    "encoder/layers_1/norm/scale": (2,),
    "encoder/layers_1/norm/bias": (2,),
    "blocks/0/kernel": (2, 2),
    "blocks/0/bias": (2,),
    "head/kernel": (2, 1),
    "head/bias": (1,),
}
RATE = oxe.by_path(
    {"encoder/layers_0/.*": oxe.FROZEN, "head/.*": 0.2, ".*(bias|scale)": 0.05}, 0.1
)
HELD = {"default": 0.1, "head/.*": 0.2, ".*(bias|scale)": 0.05}
OPTIMIZERS = {
    "adamw": lambda: oxe.adamw(RATE, weight_decay=oxe.by_path({".*bias": 0.0}, 0.1)),
    "nadam": lambda: oxe.nadam(RATE, b1=oxe.by_path({"head/.*": 0.5}, 0.9)),
    "heavy_ball": lambda: oxe.heavy_ball(RATE, weight_decay=0.1),
    "swats": lambda: oxe.swats(RATE, min_steps=1, max_steps=2),
}
each_optimizer = each(OPTIMIZERS, ("adamw", "heavy_ball"))


def test_paths_in_nnx():
    """Of Variables, and of the arrays in them."""
    state = nnx.state(Model(nnx.Rngs(0)), nnx.Param)
    assert paths_of(state) == OF_NNX
    assert paths_of(nnx.to_pure_dict(state)) == OF_NNX
    assert paths_of(jax.eval_shape(lambda: state)) == OF_NNX


def shapes_of(tree):
    return {
        jax.tree_util.keystr(path): jnp.shape(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@each_optimizer
def test_an_optimizer_of_nnx(name):
    """The numbers of plain JAX; one structure, one compilation."""
    model, tx = Model(nnx.Rngs(0)), OPTIMIZERS[name]()
    optimizer, traces = nnx.Optimizer(model, tx, wrt=nnx.Param), []
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    first, before = params, shapes_of(nnx.state(optimizer))

    @nnx.jit
    def step(model, optimizer):
        traces.append(1)
        grads = nnx.grad(loss)(model)
        optimizer.update(model, grads)
        return nnx.to_pure_dict(grads)

    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(3):
        grads = step(model, optimizer)
        u, state = update(grads, state, params)
        params = optax.apply_updates(params, u)
    assert len(traces) == 1
    found = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    assert_close(found, params, 16)
    assert_same(found["encoder"]["layers_0"], first["encoder"]["layers_0"])
    assert shapes_of(nnx.state(optimizer)) == before


def rates_in(state):
    found = oxe.hyperparameters(state).items()
    return {name: float(x) for name, x in found if name.endswith("learning_rate")}


def held(**changed):
    return {
        f"{x}/learning_rate": pytest.approx(changed.get(x, y)) for x, y in HELD.items()
    }


@pytest.mark.parametrize("name", ["adamw", "heavy_ball"])
def test_reading_and_setting_in_nnx(name):
    """The leaves of the state are wrapped, and stay so."""
    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, OPTIMIZERS[name](), wrt=nnx.Param)
    optimizer.update(model, nnx.state(model, nnx.Param))
    assert rates_in(optimizer.opt_state) == held()
    structure = jax.tree.structure(optimizer.opt_state)
    new = oxe.set_hyperparameters(optimizer.opt_state, **{"default/learning_rate": 0.4})
    assert jax.tree.structure(new) == structure
    optimizer.opt_state = new
    assert rates_in(optimizer.opt_state) == held(default=0.4)
    optimizer.update(model, nnx.state(model, nnx.Param))
    assert rates_in(optimizer.opt_state) == held(default=0.4)


def test_times_and_metrics_in_nnx():
    model = Model(nnx.Rngs(0))
    plateau = oxe.plateau(0.4, 0.5, patience=0)
    rate = oxe.by_path({"head/.*": 2.0}, 1.0, times=plateau)
    optimizer = nnx.Optimizer(model, oxe.adamw(rate), wrt=nnx.Param)
    for value in (1.0, 2.0):
        optimizer.opt_state = oxe.observe(optimizer.opt_state, value)
    np.testing.assert_allclose(oxe.learning_rate(optimizer.opt_state), 0.2)
    found = {"default": 0.2, "head/.*": 0.4, "times": 0.2}
    found = {f"{x}/learning_rate": pytest.approx(y) for x, y in found.items()}
    assert rates_in(optimizer.opt_state) == found
    optimizer.update(model, nnx.state(model, nnx.Param), value=3.0)
    np.testing.assert_allclose(oxe.learning_rate(optimizer.opt_state), 0.2)
    with pytest.raises(ValueError, match="must be a constant"):
        oxe.set_hyperparameters(optimizer.opt_state, **{"head/.*/learning_rate": 1.0})


# ---- Flax Linen ----------------------------------------------------------------------


class LinenBlock(linen.Module):
    boxed: bool

    @linen.compact
    def __call__(self, x):
        init = linen.initializers.lecun_normal()
        if self.boxed:
            init = linen.with_partitioning(init, ("x", None))
        x = linen.Dense(2, kernel_init=init, name="attention")(x)
        return linen.LayerNorm()(x)


class LinenModel(linen.Module):
    boxed: bool

    @linen.compact
    def __call__(self, x):
        for i in range(2):
            x = LinenBlock(self.boxed, name=f"layers_{i}")(x)
        return linen.Dense(1, name="head")(x)


OF_LINEN = {
    f"layers_{i}/{name}": shape
    for i in range(2)
    for name, shape in {
        "attention/kernel": (2, 2),
        "attention/bias": (2,),
        "LayerNorm_0/scale": (2,),
        "LayerNorm_0/bias": (2,),
    }.items()
} | {"head/kernel": (2, 1), "head/bias": (1,)}


def test_paths_in_linen():
    """Also of params in boxes, whose `value` is in no path."""
    for boxed in (False, True):
        params = LinenModel(boxed).init(jax.random.key(0), X)
        assert paths_of(params["params"]) == OF_LINEN
        with_collection = {f"params/{x}": y for x, y in OF_LINEN.items()}
        assert paths_of(params) == with_collection


OF_LAYERS = oxe.by_path({"layers_0/.*": oxe.FROZEN, "head/.*": 0.2}, 0.1)


@pytest.mark.parametrize("boxed", [False, True])
def test_a_train_state_of_linen(boxed):
    """Boxed and bare params get the same updates."""
    model, tx = LinenModel(boxed), oxe.adamw(OF_LAYERS, weight_decay=0.1)
    params = model.init(jax.random.key(0), X)["params"]
    train = TrainState.create(apply_fn=None, params=params, tx=tx)
    bare = jax.tree.map(jnp.asarray, linen.meta.unbox(params))
    state = tx.init(bare)
    for _ in range(2):
        grads = train.params
        train = train.apply_gradients(grads=grads)
        u, state = tx.update(linen.meta.unbox(grads), state, bare)
        bare = optax.apply_updates(bare, u)
    assert_close(linen.meta.unbox(train.params), bare, 8)
    assert_same(train.params["layers_0"], params["layers_0"])
    assert jax.tree.structure(train.params) == jax.tree.structure(params)
    text = oxe.describe_groups(tx, params)
    assert text == oxe.describe_groups(tx, linen.meta.unbox(params))
    (row,) = (x for x in text.splitlines() if "layers_0/attention/kernel" in x)
    assert row.endswith("(2, 2)       4  layers_0/.*")


# ---- Haiku and Equinox ---------------------------------------------------------------


def test_haiku():
    made = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([2, 1])(x)))
    params = made.init(jax.random.key(0), X)
    first = {"mlp/~/linear_0/w": (2, 2), "mlp/~/linear_0/b": (2,)}
    last = {"mlp/~/linear_1/w": (2, 1), "mlp/~/linear_1/b": (1,)}
    assert paths_of(params) == first | last
    rate = oxe.by_path({"mlp/~/linear_0/.*": oxe.FROZEN, ".*/b": 0.2}, 0.1)
    tx = oxe.adamw(rate)
    u, _ = tx.update(params, tx.init(params), params)
    assert not np.any(u["mlp/~/linear_0"]["w"])
    np.testing.assert_allclose(
        u["mlp/~/linear_1"]["w"],
        -0.1 * jnp.sign(params["mlp/~/linear_1"]["w"]),
        rtol=1e-3,
    )


def test_equinox():
    """A module, of which only some arrays are trained."""
    mlp = eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0))
    params, static = eqx.partition(mlp, eqx.is_inexact_array)
    assert paths_of(params) == {
        "layers/0/weight": (3, 2),
        "layers/0/bias": (3,),
        "layers/1/weight": (1, 3),
        "layers/1/bias": (1,),
    }
    rate = oxe.by_path({"layers/0/weight": oxe.FROZEN, ".*bias": 0.2}, 0.1)
    tx = oxe.adamw(rate, b1=oxe.by_path({".*bias": 0.5}, 0.9), weight_decay=0.1)
    state = tx.init(params)

    @eqx.filter_jit
    def step(params, state):
        def loss(params):
            return jnp.mean(jax.vmap(eqx.combine(params, static))(X) ** 2)

        u, state = tx.update(eqx.filter_grad(loss)(params), state, params)
        return eqx.apply_updates(params, u), state

    moved = params
    for _ in range(2):
        moved, after = step(moved, state)
        assert abstract(after) == abstract(state)
        state = after
    assert_same(moved.layers[0].weight, params.layers[0].weight)
    assert np.all(moved.layers[0].bias != params.layers[0].bias)


def test_lists_and_a_single_array():
    tree = [jnp.ones(2), (jnp.ones(3), {"a b": jnp.ones(4)})]
    assert paths_of(tree) == {"0": (2,), "1/0": (3,), "1/1/a b": (4,)}
    assert paths_of(jnp.ones(2)) == {"": (2,)}


# ---- Eight devices -------------------------------------------------------------------

SHARDED = """
import json, sys
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe
from tests.groups.groupings import gradient

kind = getattr(jax.sharding.AxisType, sys.argv[1])
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
if sys.argv[1] == "Explicit":
    jax.set_mesh(mesh)
specs = {"embed": P("x", "y"), "layers": P(None, "x", "y"), "head": P("y"), "s": P()}
plain = {
    "embed": jnp.linspace(-1, 2, 64).reshape(16, 4),
    "layers": jnp.linspace(0, 1, 96).reshape(3, 8, 4),
    "head": jnp.arange(4.0),
    "s": jnp.ones(()),
}
shardings = {key: NamedSharding(mesh, spec) for key, spec in specs.items()}
frozen = oxe.by_path({"embed": oxe.FROZEN, "layers": [0.1, 0.2, 0.3]}, 0.05)
rate = oxe.by_path({"head": 2.0}, 1.0, times=oxe.schedules.cosine(0.1, 10))
decay = oxe.by_path({"head|s": 0.0}, 0.1)
b1 = oxe.by_path({"layers": [0.9, 0.8, 0.5], "s": 0.3}, 0.9)
txs = {
    "adamw": oxe.adamw(frozen, b1=b1, weight_decay=decay),
    "nadam": oxe.nadam(rate, b1=b1, weight_decay=decay),
    "heavy_ball": oxe.heavy_ball(frozen, oxe.by_path({"head": 0.5}, 0.9)),
    "swats": oxe.swats(rate, min_steps=1, max_steps=2, weight_decay=decay),
    "chain": optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(frozen)),
}
report = {}
for name, tx in txs.items():
    params = jax.device_put(plain, shardings)
    state, alone = jax.jit(tx.init)(params), tx.init(plain)
    step = jax.jit(tx.update)
    worst, lies = 0.0, True
    for i in range(4):
        grads = gradient(plain, i)
        u, state = step(jax.device_put(grads, shardings), state, params)
        v, alone = step(grads, alone, plain)
        for a, b in zip(jax.tree.leaves((u, state)), jax.tree.leaves((v, alone))):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            worst = max(worst, np.abs(a - b).max() / np.abs(b).max(initial=1e-30))
    for path, leaf in jax.tree_util.tree_leaves_with_path((u, state)):
        for key, sharding in shardings.items():
            if jax.tree_util.DictKey(key) in path and leaf.shape == plain[key].shape:
                lies &= leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
    still = name not in ("adamw", "chain") or not np.any(u["embed"])
    text = step.lower(jax.device_put(grads, shardings), state, params).compile()
    report[name] = {
        "as on one device": bool(worst <= 4 * 2.0**-23),
        "sharded as the params": bool(lies),
        "frozen": bool(still),
        "no all-gather": "all-gather" not in text.as_text(),
    }
print(json.dumps(report))
"""


@pytest.mark.ci
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_eight_devices(kind):
    report = on_eight_devices(SHARDED, kind)
    assert len(report) == 5
    failed = {
        (name, what)
        for name, found in report.items()
        for what, holds in found.items()
        if not holds
    }
    assert not failed
