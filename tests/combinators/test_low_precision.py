"""Any optimizer with its state in few bits: what is kept so, and what trains."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.devices import on_eight_devices

ROOT = Path(__file__).parents[2]
SHAPE = (80, 64)
DTYPES = ("int8", "bfloat16")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
small = oxe.low_precision_state


def params_of():
    big = jnp.linspace(-1, 2, 5120).reshape(SHAPE)
    return {"big": big, "little": jnp.ones(3), "more": [big[::-1], jnp.float32(2.0)]}


def grads_of(params, step):
    """Of the size of each leaf's rows, which spread over six decades."""

    def leaf(x):
        rng = np.random.default_rng([step, x.size])
        sizes = np.geomspace(1e-3, 1e3, x.shape[-1] if x.ndim else 1)
        return jnp.asarray(rng.normal(size=x.shape) * sizes.reshape(sizes.shape))

    return jax.tree.map(lambda x: leaf(x).reshape(x.shape).astype(x.dtype), params)


def run(tx, params, steps, state=None, first=0):
    state = tx.init(params) if state is None else state
    update = jax.jit(tx.update)
    for step in range(first, first + steps):
        us, state = update(grads_of(params, step), state, params)
    return us, state


def records(state):
    """The names of the fields in which large leaves are kept."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    last = [str(getattr(path[-1], "name", "")) for path in paths]
    return [x for x in last if x in ("codes", "halves")]


def wide_leaves(state):
    """Large leaves that are kept as floats of 32 bits."""
    return [
        jax.tree_util.keystr(path)
        for path, x in jax.tree_util.tree_leaves_with_path(state)
        if x.dtype == jnp.float32 and x.size >= 4096
    ]


labels = {"big": "a", "little": "b", "more": "b"}
whole = {"big": True, "little": True, "more": True}
# Optimizers, and how many params-sized buffers they have.
BUFFERS = {
    "optax.adam": (lambda: optax.adam(1e-3), 2),
    "optax.adamw": (lambda: optax.adamw(1e-3), 2),
    "optax.sgd": (lambda: optax.sgd(1e-3, 0.9), 1),
    "optax.lion": (lambda: optax.lion(1e-3), 1),
    "optax.amsgrad": (lambda: optax.amsgrad(1e-3), 3),
    "optax.adabelief": (lambda: optax.adabelief(1e-3), 2),
    "oxe.nadam": (lambda: oxe.nadam(1e-3), 2),
    "oxe.swats": (lambda: oxe.swats(1e-3), 2),
    "oxe.rprop": (lambda: oxe.rprop(1e-3), 2),
    "oxe.keras": (lambda: oxe.keras.Adam(1e-3), 2),
    "pytorch": (lambda: oxe.pytorch.AdamW(1e-3), 2),
    "chain": (
        lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.9)),
        1,
    ),
    "switch": (
        lambda: oxe.switch(optax.adam(1e-3), optax.sgd(1e-3, 0.9), oxe.at_step(2)),
        3,
    ),
    "masked": (lambda: optax.masked(optax.adam(1e-3), whole), 2),
    "partition": (
        lambda: optax.partition({"a": oxe.adamax(1e-3), "b": optax.adam(1e-3)}, labels),
        2,
    ),
    "MultiSteps": (lambda: optax.MultiSteps(optax.adam(1e-3), 2), 3),
    "accumulate": (lambda: oxe.accumulate(oxe.nadam(1e-3), 2), 3),
    "apply_if_finite": (lambda: optax.apply_if_finite(optax.adam(1e-3), 2), 2),
    "inject_hyperparams": (lambda: optax.inject_hyperparams(optax.adam)(1e-3), 2),
    "scheduled": (lambda: oxe.scheduled(optax.adam)(1e-3), 2),
    "adafactor": (lambda: oxe.adafactor(), 0),  # whose state is small by itself
}


@pytest.mark.parametrize(("make", "buffers"), BUFFERS.values(), ids=BUFFERS)
def test_large_leaves_are_found_wherever_they_are(make, buffers):
    tx, params = make(), params_of()
    tx = tx.gradient_transformation() if isinstance(tx, optax.MultiSteps) else tx
    kept = small(tx)
    state = jax.eval_shape(kept.init, params)
    assert records(state) == ["codes"] * 2 * buffers
    assert not wide_leaves(state)
    us, new = jax.eval_shape(kept.update, params, state, params)
    assert new == state
    assert us == jax.eval_shape(lambda: params)


@pytest.mark.parametrize(
    ("dtype", "most"), [("int8", 2.1), (jnp.bfloat16, 4), (jnp.int8, 2.1)]
)
@pytest.mark.parametrize("shape", [(4096,), (4099,), (129, 129), (50257, 2), (9, 999)])
def test_bytes_for_each_weight_of_adam(dtype, most, shape):
    state = jax.eval_shape(small(optax.adam(1e-3), dtype).init, jnp.ones(shape))
    own = state.inner_state[0]
    kept = jax.tree.leaves((own.mu, own.nu))
    bytes_ = sum(x.size * x.dtype.itemsize for x in kept)
    assert bytes_ <= most * np.prod(shape)


def test_what_stays_as_it_is():
    """By kind and size, by shape, and by place."""

    class State(NamedTuple):
        whole: Any
        complex_: Any
        double: Any
        flag: Any
        key: Any
        rows: Any
        stray: Any

    params = {"w": jnp.ones(SHAPE), "v": jnp.ones(4095)}

    def init(params):
        ints, rows = {"w": jnp.zeros(SHAPE, int)}, {"w": jnp.zeros(SHAPE[0])}
        flags = {"w": jnp.zeros(SHAPE, bool)}
        numbers = {"w": jnp.zeros(SHAPE, complex)}
        double = {"w": jnp.zeros(SHAPE, jnp.float64)}
        key, stray = jax.random.key(0), jnp.zeros(5119)
        return State(ints, numbers, double, flags, key, rows, stray)

    def update(updates, state, params=None):
        return updates, state

    with jax.enable_x64(True):
        tx = small(optax.GradientTransformation(init, update))
        state = jax.eval_shape(tx.init, params)
        assert jax.tree.structure(state.inner_state) == jax.tree.structure(init(params))
        _, new = jax.eval_shape(tx.update, params, state, params)
    assert new == state
    only = jax.eval_shape(small(optax.trace(0.9)).init, params)
    assert only.inner_state.trace["v"].dtype == jnp.float32
    assert records(only) == ["codes"]


def test_complex_and_integer_leaves_of_params():
    params = {"c": jnp.ones(SHAPE, complex), "i": jnp.ones(SHAPE, int), "none": None}
    tx, alone = small(optax.scale_by_adam()), optax.scale_by_adam()
    state = jax.eval_shape(tx.init, params)
    moments = state.inner_state
    assert (moments.mu["c"].dtype, moments.mu["i"].dtype) == (jnp.complex64, jnp.int32)
    us, expected = (
        jax.jit(lambda p, x=x: x.update(p, x.init(p), p)[0])(params)
        for x in (tx, alone)
    )
    np.testing.assert_allclose(us["c"], expected["c"], rtol=1e-6)


# ---- Refused -------------------------------------------------------------------------


def test_state_that_does_not_follow_is_refused_by_its_path():
    params = {"w": jnp.ones(SHAPE), "b": jnp.ones(3)}
    memory = r"large leaves follow the params, got .*diff_params_memory\['w'\] of shape"
    with pytest.raises(ValueError, match=memory):
        jax.eval_shape(small(optax.lbfgs(1e-3)).init, params)
    with pytest.raises(ValueError, match=r"got .*\.mu of shape \(5123,\)"):
        jax.eval_shape(small(optax.flatten(optax.adam(1e-3))).init, params)
    state = jax.eval_shape(optax.flatten(small(optax.adam(1e-3))).init, params)
    assert records(state) == ["codes", "codes"]


def test_state_as_large_as_the_largest_leaf_has_to_follow_it_too():
    turned = optax.GradientTransformation(
        lambda params: {"turned": jnp.zeros_like(params["w"]).T},
        lambda updates, state, params=None: (updates, state),
    )
    params = {"w": jnp.ones((64, 128))}
    with pytest.raises(ValueError, match=r"state\['turned'\] of shape \(128, 64\)"):
        oxe.low_precision_state(turned).init(params)


@pytest.mark.parametrize("wrap", [oxe.with_master_copy, oxe.with_compensation])
def test_weights_are_not_kept_in_few_bits(wrap):
    params = jnp.ones(SHAPE, jnp.bfloat16)
    with pytest.raises(ValueError, match=r"hold no weights .* got 'state\[0\]'"):
        jax.eval_shape(small(optax.chain(wrap(optax.adam(1e-3)))).init, params)
    state = jax.eval_shape(wrap(small(optax.adam(1e-3))).init, params)
    assert records(state) == ["codes", "codes"]


def test_wrong_arguments():
    tx = optax.adam(1e-3)
    with pytest.raises(TypeError, match=r"low_precision_state: `tx` must be an optax"):
        small(1e-3)
    for wrong in ("float32", "nonsense", None, 8):
        with pytest.raises(ValueError, match="`dtype` must be int8 or bfloat16, got"):
            small(tx, wrong)
    with pytest.raises(ValueError, match="`min_size` must be an integer of at least 1"):
        small(tx, min_size=0)


# ---- What comes of it ----------------------------------------------------------------


@each_dtype
def test_directions_of_adam_over_six_decades(dtype):
    """In each row, as numbers of one block: near those of float32, and never large.

    A first moment that is rounded up by chance moves a small number by the root of the
    second one at most: both windows go down as far.
    """
    tx, params = optax.scale_by_adam(), {"w": jnp.zeros(SHAPE)}
    state, kept = tx.init(params), small(tx, dtype).init(params)
    one, other = jax.jit(tx.update), jax.jit(small(tx, dtype).update)
    worst, off, sizes = 0.0, [], []
    for step in range(300):
        grads = grads_of(params, step)
        u, state = one(grads, state)
        v, kept = other(grads, kept)
        worst = max(worst, float(jnp.abs(v["w"]).max()))
        off.append(np.square(v["w"] - u["w"]).mean(0))
        sizes.append(np.square(u["w"]).mean(0))
    assert worst < 10
    relative = np.sqrt(np.mean(off, 0) / np.mean(sizes, 0))
    upper = np.geomspace(1e-3, 1e3, 64) > 0.1  # within four decades of the largest
    assert relative[upper].max() < (0.3 if dtype == "int8" else 0.02)
    assert relative[upper].min() > 1e-4


def test_even_steps_make_large_updates():
    """What the codes are for: 255 steps of one size, and Adam takes steps of 1000."""
    tx, params = optax.scale_by_adam(), {"w": jnp.zeros(SHAPE)}
    update = jax.jit(small(tx).update)

    def even(x):
        step = jnp.abs(x).max(-1, keepdims=True) / 127
        return jnp.round(x / step) * step

    _, state = tx.update(grads_of(params, 0), tx.init(params))
    state = state._replace(mu=jax.tree.map(even, state.mu))
    state = state._replace(nu=jax.tree.map(even, state.nu))
    u, _ = tx.update(grads_of(params, 1), state)
    assert jnp.abs(u["w"]).max() > 20
    _, state = update(grads_of(params, 0), small(tx).init(params))
    u, _ = update(grads_of(params, 1), state)
    assert jnp.abs(u["w"]).max() < 10


@each_dtype
def test_the_second_moment_of_bfloat16_params_arrives(dtype):
    """Alone it freezes at a half; here it is worked on in float32."""
    tx, params = optax.adam(1e-3), jnp.ones(SHAPE, jnp.bfloat16)

    def second_moment(tx):
        def step(state, _):
            u, state = tx.update(params, state, params)
            assert u.dtype == params.dtype
            return state, None

        return jax.lax.scan(step, tx.init(params), length=3000)[0]

    alone = optax.tree.get(second_moment(tx), "nu")
    np.testing.assert_array_equal(np.asarray(alone, np.float32), 0.5)
    state = second_moment(small(tx, dtype))
    still = optax.GradientTransformation(tx.init, lambda g, s, p=None: (s[0].nu, s))
    moment, _ = small(still, dtype).update(params.astype(jnp.float32), state)
    expected = 1 - 0.999**3000
    np.testing.assert_allclose(np.asarray(moment).mean(), expected, rtol=0.01)


@each_dtype
def test_nan_stays_and_is_kept_out_by_apply_if_finite(dtype):
    tx, params = small(optax.adam(1e-3), dtype), params_of()
    _, state = run(tx, params, 3)
    grads = grads_of(params, 3)
    broken = {**grads, "big": grads["big"].at[7, 5].set(jnp.nan)}
    update = jax.jit(tx.update)
    u, after = update(broken, state, params)
    u, _ = update(grads, after, params)
    lost = ~np.isfinite(np.asarray(u["big"]))
    assert lost[7, 5]
    assert lost.sum() == 1
    guarded = optax.apply_if_finite(tx, 3)
    _, state = run(guarded, params, 3)
    u, after = jax.jit(guarded.update)(broken, state, params)
    assert not np.any(u["big"])
    for a, b in zip(
        *map(jax.tree.leaves, (after.inner_state, state.inner_state)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@each_dtype
def test_no_params_sized_floats_are_written_down(dtype):
    """The step reads codes and writes codes; in between XLA fuses."""
    params = jnp.ones((4096, 256))
    tx = small(optax.adam(1e-3), dtype)

    def step(params, state, grads):
        u, state = tx.update(grads, state, params)
        return optax.apply_updates(params, u), state

    step = jax.jit(step, donate_argnums=(0, 1))
    state = jax.eval_shape(tx.init, params)
    compiled = step.lower(params, state, params).compile()
    # The codes that are read and written at once are copied first.
    temporary = compiled.memory_analysis().temp_size_in_bytes
    first = jax.jit(tx.init).lower(params).compile().memory_analysis()
    assert first.temp_size_in_bytes <= 0.5 * params.size
    assert temporary <= (2.5 if dtype == "int8" else 4.1) * params.size


# ---- What is read and set, and a switch inside ---------------------------------------


def test_rates_are_read_set_and_observed():
    params = params_of()
    tx = small(oxe.nadam(oxe.plateau(0.1, patience=0, monitor="val_loss")))
    _, state = run(tx, params, 1)
    assert oxe.learning_rate(state) == np.float32(0.1)
    for _ in range(2):
        state = oxe.observe(state, val_loss=1.0)
    assert oxe.learning_rate(state) < 0.1
    tx = small(oxe.scheduled(optax.adam)(1e-3, b1=0.8))
    _, state = run(tx, params, 1)
    state = oxe.set_hyperparameters(state, learning_rate=0.0)
    u, state = run(tx, params, 1, state, 1)
    assert not any(np.any(x) for x in jax.tree.leaves(u))
    assert oxe.hyperparameters(state)["b1"] == np.float32(0.8)


@each_dtype
def test_settle(dtype):
    tx, params = small(oxe.swats(1e-3, min_steps=2, max_steps=2), dtype), params_of()
    _, state = run(tx, params, 4)
    left, own = oxe.settle(tx, state)
    bytes_ = [sum(x.nbytes for x in jax.tree.leaves(s)) for s in (own, state)]
    assert bytes_[0] < 0.6 * bytes_[1]
    assert not wide_leaves(own)
    us, _ = run(tx, params, 1, state, 4)
    vs, own = run(left, params, 1, own, 4)
    for a, b in zip(*map(jax.tree.leaves, (us, vs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert not wide_leaves(own)
    assert not hasattr(small(optax.adam(1e-3)).update, "settle")


def test_flax_optimizer():
    """Which hands back what is kept as a mapping: the same run as without Flax."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    tx = small(optax.adam(1e-2))
    model = nnx.Linear(64, 80, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    leaves, treedef = jax.tree.flatten(nnx.state(model, nnx.Param))
    params = dict(zip(("bias", "kernel"), leaves, strict=True))
    state = tx.init(params)
    update = jax.jit(tx.update)

    @nnx.jit
    def step(model, optimizer, grads):
        optimizer.update(model, grads)

    for i in range(3):
        grads = grads_of(params, i)
        step(model, optimizer, treedef.unflatten(jax.tree.leaves(grads)))
        us, state = update(grads, state, params)
        params = optax.apply_updates(params, us)
    assert sum(x.dtype == jnp.int8 for x in jax.tree.leaves(nnx.state(optimizer))) == 2
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    for a, b in zip(leaves, params.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


OUTSIDE = {
    "accumulate": lambda tx: oxe.accumulate(tx, 2),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "switch": lambda tx: oxe.switch(tx, optax.sgd(0.1), oxe.at_step(2)),
    "restart": lambda tx: oxe.restart(tx, lambda *, count, **seen: count == 2),
    "with_master_copy": lambda tx: oxe.accumulate(oxe.with_master_copy(tx), 2),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrap", OUTSIDE.values(), ids=OUTSIDE)
def test_under_what_asks_for_the_same_tree_in_nnx(wrap, dtype):
    """A `cond` has the state as NNX hands it over in one branch, and a new one."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    tx = wrap(small(optax.adam(1e-2), dtype, min_size=8))
    model = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    leaves, treedef = jax.tree.flatten(nnx.state(model, nnx.Param))
    params = dict(zip(("bias", "kernel"), leaves, strict=True))
    state, update = tx.init(params), jax.jit(tx.update)
    for i in range(4):
        grads = grads_of(params, i)
        optimizer.update(model, treedef.unflatten(jax.tree.leaves(grads)))
        us, state = update(grads, state, params)
        params = optax.apply_updates(params, us)
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    for a, b in zip(leaves, params.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


# What a maximum of noisy averages, a sum and steps by sign make of rounding by chance;
# what is made of them with bfloat16, whose steps are 16 times as fine.
LONG = {
    "amsgrad": (lambda: oxe.amsgrad(1e-3), 0.8, 0.97),
    "adamax": (lambda: oxe.adamax(1e-3), 0.95, 0.99),
    "adagrad": (lambda: optax.adagrad(0.1), 0.95, 0.99),
    "slow adam": (lambda: optax.adam(1e-3, b2=0.9999), 0.95, 0.99),
    "rprop": (lambda: oxe.rprop(1e-3), 0.95, 0.99),
}


@pytest.mark.full
@pytest.mark.parametrize(("make", "least", "least_of_16"), LONG.values(), ids=LONG)
def test_steps_stay_as_large_over_thousands_of_updates(make, least, least_of_16):
    def mean_step(tx):
        def step(state, key):
            u, state = tx.update(jax.random.normal(key, (16, 64)), state, zeros)
            return state, jnp.abs(u).mean()

        zeros, keys = jnp.zeros((16, 64)), jax.random.split(jax.random.key(0), 5000)
        run = jax.jit(lambda: jax.lax.scan(step, tx.init(zeros), keys)[1])
        return float(run()[-500:].mean())

    exact = mean_step(make())
    for dtype, low in (("int8", least), ("bfloat16", least_of_16)):
        assert low < mean_step(small(make(), dtype, min_size=1)) / exact < 2 - low


@pytest.mark.full
def test_rows_that_are_rarely_hit():
    """An embedding: in each block rows that are hit always, and once in a thousand."""
    chances = 0.5 / jnp.arange(1, 65) ** 1.5

    def largest(tx):
        def step(state, key):
            one, two = jax.random.split(key)
            hit = jax.random.uniform(one, (64,)) < chances
            u, state = tx.update(jax.random.normal(two, (80, 64)) * hit, state)
            return state, jnp.abs(u).max()

        keys = jax.random.split(jax.random.key(0), 5000)
        start = tx.init(jnp.zeros(SHAPE))
        return float(jax.jit(lambda: jax.lax.scan(step, start, keys)[1])().max())

    exact = largest(optax.scale_by_adam())
    for dtype in DTYPES:
        assert largest(small(optax.scale_by_adam(), dtype)) < 1.2 * exact


# ---- Devices -------------------------------------------------------------------------

# In a process of its own: the number of CPU devices is fixed when JAX starts.
SHARDED = """
import json, sys
import jax, jax.numpy as jnp, optax
from jax.sharding import NamedSharding, PartitionSpec as P
import optax_extras as oxe

kind = getattr(jax.sharding.AxisType, sys.argv[1])
mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind,) * 2)
if sys.argv[1] == "Explicit":
    jax.set_mesh(mesh)
lies = {"w": P("x", "y"), "rows": P("x"), "columns": P(None, ("x", "y")), "b": P("y")}
shapes = {"w": (256, 512), "rows": (64, 100), "columns": (48, 512), "b": (8192,)}
lies = {key: NamedSharding(mesh, spec) for key, spec in lies.items()}
params = {key: jnp.linspace(-1, 2, n.size).reshape(n.shape) for key, n in
          jax.eval_shape(lambda: {k: jnp.ones(s) for k, s in shapes.items()}).items()}
params = jax.device_put(params, lies)
report = {}
for dtype in ("int8", "bfloat16"):
    tx = oxe.low_precision_state(optax.adam(1e-3), dtype)
    state = jax.jit(tx.init)(params)
    step = jax.jit(tx.update).lower(params, state, params).compile()
    text = step.as_text()
    _, state = step(params, state, params)
    parts = {
        jax.tree_util.keystr(path): [x.addressable_shards[0].data.size, x.size]
        for path, x in jax.tree_util.tree_leaves_with_path(state) if x.ndim
    }
    report[dtype] = [parts, "all-gather" in text, "all-to-all" in text]
half = {key: p.astype(jnp.bfloat16) for key, p in params.items()}
for wrap in (oxe.with_master_copy, oxe.with_compensation):
    tx = wrap(oxe.low_precision_state(oxe.nadam(1e-3)))
    state = jax.jit(tx.init)(half)
    parts = {
        jax.tree_util.keystr(path): [x.addressable_shards[0].data.size, x.size]
        for path, x in jax.tree_util.tree_leaves_with_path(state) if x.ndim
    }
    report[wrap.__name__] = [parts, False, False]
print(json.dumps(report))
"""


@pytest.mark.full
@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_blocks_lie_on_the_devices_of_their_numbers(kind):
    """Records of sharded params: a share for each device, and nothing is gathered."""
    shares = {"w": 8, "rows": 4, "columns": 8, "b": 2}
    for parts, gathers, moves in on_eight_devices(SHARDED, kind).values():
        assert not gathers
        assert not moves
        for key, over in shares.items():
            mine = [part for path, part in parts.items() if f"'{key}'" in path]
            assert mine
            assert all(part * over == size for part, size in mine)


def test_a_least_size_that_is_traced():
    with pytest.raises(TypeError, match="`min_size` must be known, as a shape is"):
        jax.jit(lambda n: oxe.low_precision_state(optax.adam(0.1), min_size=n))(3)


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_a_scalar_is_never_kept_in_few_bits(dtype):
    tx = oxe.low_precision_state(optax.adam(0.1), dtype, min_size=1)
    params = {"scale": jnp.float32(2.0), "one": jnp.ones(1)}
    state = tx.init(params)
    found = jax.tree_util.tree_leaves_with_path(state)
    kept = [x for path, x in found if "scale" in jax.tree_util.keystr(path)]
    assert [(x.dtype, x.shape) for x in kept] == [(jnp.float32, ())] * 2
    expected = optax.adam(0.1)
    u, _ = tx.update(params, state, params)
    v, _ = expected.update(params, expected.init(params), params)
    np.testing.assert_array_equal(u["scale"], v["scale"])
