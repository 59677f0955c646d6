"""Any optimizer with its state in few bits: which leaves are quantized, what trains."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

SHAPE = (80, 64)
DTYPES = ("int8", "bfloat16")
small = oxe.low_precision_state


def params_of():
    big = jnp.linspace(-1, 2, 5120).reshape(SHAPE)
    return {"big": big, "little": jnp.ones(3), "more": [big[::-1], jnp.float32(2.0)]}


def gradients(steps, shape=SHAPE):
    """Columns of sizes that spread over six decades."""
    normal = np.random.default_rng(0).normal(size=(steps, *shape))
    return np.asarray(normal * np.geomspace(1e-3, 1e3, shape[-1]), np.float32)


def quantized_dtypes(state):
    """The dtypes of the quantized leaves."""
    dtypes = [str(x.dtype) for x in jax.tree.leaves(state)]
    return [x for x in dtypes if x in ("int8", "uint16")]


def large_float32_leaves(state):
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [path for path, x in leaves if x.dtype == jnp.float32 and x.size >= 4096]


LABELS = {"big": "a", "little": "b", "more": "b"}
# Optimizers, and how many params-sized buffers they have.
BUFFERS = {
    "amsgrad": (optax.amsgrad(1e-3), 3),
    "nadam": (oxe.nadam(1e-3), 2),
    "chain": (optax.chain(optax.clip_by_global_norm(1.0), optax.trace(0.9)), 1),
    "switch": (oxe.switch(optax.adam(1e-3), optax.sgd(1e-3, 0.9), oxe.at_step(2)), 3),
    "masked": (optax.masked(optax.adam(1e-3), dict.fromkeys(LABELS, True)), 2),
    "partition": (
        optax.partition({"a": oxe.adamax(1e-3), "b": optax.adam(1e-3)}, LABELS),
        2,
    ),
    "MultiSteps": (optax.MultiSteps(oxe.nadam(1), 2).gradient_transformation(), 3),
    "scheduled": (oxe.scheduled(optax.lion)(1e-3), 1),
    "adafactor": (oxe.adafactor(), 0),  # whose state is small by itself
}


def test_large_leaves_are_found_in_every_wrapper():
    params = params_of()
    for name, (tx, buffers) in BUFFERS.items():
        state = jax.eval_shape(small(tx).init, params)
        assert quantized_dtypes(state) == ["int8"] * 2 * buffers, name
        assert not large_float32_leaves(state), name
        us, new = jax.eval_shape(small(tx).update, params, state, params)
        assert new == state, name
        assert us == jax.eval_shape(lambda: params), name


def test_bytes_for_each_weight_of_adam():
    for dtype, most in (("int8", 2.1), (jnp.bfloat16, 4), (jnp.int8, 2.1)):
        for shape in ((4096,), (4099,), (129, 129), (50257, 2), (9, 999)):
            init = small(optax.adam(1e-3), dtype).init
            adam = jax.eval_shape(init, jnp.ones(shape)).inner_state[0]
            kept = jax.tree.leaves((adam.mu, adam.nu))
            bytes_ = sum(x.size * x.dtype.itemsize for x in kept)
            assert bytes_ <= most * np.prod(shape), (dtype, shape)


def test_leaves_of_other_kinds_sizes_and_places_are_not_quantized():
    class State(NamedTuple):
        ints: Any
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
    trace = jax.eval_shape(small(optax.trace(0.9)).init, params)
    assert trace.inner_state.trace["v"].dtype == jnp.float32
    assert quantized_dtypes(trace) == ["int8"]


def test_complex_and_integer_leaves_of_params():
    params = {"c": jnp.ones(SHAPE, complex), "i": jnp.ones(SHAPE, int), "none": None}
    tx, plain = small(optax.scale_by_adam()), optax.scale_by_adam()
    moments = jax.eval_shape(tx.init, params).inner_state
    assert (moments.mu["c"].dtype, moments.mu["i"].dtype) == (jnp.complex64, jnp.int32)
    us, expected = jax.jit(
        lambda p: [x.update(p, x.init(p), p)[0] for x in (tx, plain)]
    )(params)
    np.testing.assert_allclose(us["c"], expected["c"], rtol=1e-6)


def test_a_scalar_is_never_quantized():
    params = {"scale": jnp.float32(2.0), "one": jnp.ones(1)}
    for dtype in DTYPES:
        init = small(optax.adam(0.1), dtype, min_size=1).init
        adam = jax.eval_shape(init, params).inner_state[0]
        scales = [(x["scale"].dtype, x["scale"].shape) for x in (adam.mu, adam.nu)]
        assert scales == [(jnp.float32, ())] * 2
        assert len(quantized_dtypes(adam)) == 2


# ---- Wrong arguments -----------------------------------------------------------------


def test_a_large_leaf_that_does_not_follow_the_params_is_named():
    params = {"w": jnp.ones(SHAPE), "b": jnp.ones(3)}
    memory = r"large leaves follow the params, got .*diff_params_memory\['w'\] of shape"
    with pytest.raises(ValueError, match=memory):
        jax.eval_shape(small(optax.lbfgs(1e-3)).init, params)
    with pytest.raises(ValueError, match=r"got .*\.mu of shape \(5123,\)"):
        jax.eval_shape(small(optax.flatten(optax.adam(1e-3))).init, params)
    state = jax.eval_shape(optax.flatten(small(optax.adam(1e-3))).init, params)
    assert quantized_dtypes(state) == ["int8", "int8"]
    transposed = optax.GradientTransformation(
        lambda params: {"transposed": jnp.zeros_like(params["w"]).T},
        lambda updates, state, params=None: (updates, state),
    )
    # A leaf of exactly the size of the largest param.
    with pytest.raises(ValueError, match=r"state\['transposed'\] of shape \(64, 80\)"):
        jax.eval_shape(small(transposed).init, params)


def test_weights_in_the_state_are_not_quantized():
    params = jnp.ones(SHAPE, jnp.bfloat16)
    for wrap in (oxe.with_master_copy, oxe.with_compensation):
        with pytest.raises(ValueError, match=r"not store weights .* got 'state\[0\]'"):
            jax.eval_shape(small(optax.chain(wrap(optax.adam(1e-3)))).init, params)
        state = jax.eval_shape(wrap(small(optax.adam(1e-3))).init, params)
        assert quantized_dtypes(state) == ["int8", "int8"]


def test_wrong_arguments():
    tx = optax.adam(1e-3)
    with pytest.raises(TypeError, match=r"low_precision_state: `tx` must be an optax"):
        small(1e-3)
    for wrong in ("float32", "nonsense", None, 8):
        with pytest.raises(ValueError, match="`dtype` must be int8 or bfloat16, got"):
            small(tx, wrong)
    with pytest.raises(ValueError, match="`min_size` must be an integer of at least 1"):
        small(tx, min_size=0)
    with pytest.raises(TypeError, match="`min_size` must be concrete, not traced"):
        jax.jit(lambda n: small(tx, min_size=n))(3)


# ---- Updates -------------------------------------------------------------------------


def test_directions_of_adam_over_six_decades():
    """In each row, as numbers of one block: near those of float32, and never large.

    A first moment that is rounded up by chance moves a small number by the root of the
    second one at most: both windows go down as far.
    """
    adam = optax.scale_by_adam()
    optimizers = {"float32": adam, **{dtype: small(adam, dtype) for dtype in DTYPES}}

    @jax.jit
    def run(params, grads):
        def step(states, g):
            pairs = {x: tx.update(g, states[x]) for x, tx in optimizers.items()}
            new = {x: state for x, (_, state) in pairs.items()}
            return new, {x: u for x, (u, _) in pairs.items()}

        states = {x: tx.init(params) for x, tx in optimizers.items()}
        return jax.lax.scan(step, states, grads)[1]

    us = jax.device_get(run(jnp.zeros(SHAPE), gradients(300)))
    for dtype, most in (("int8", 0.3), ("bfloat16", 0.02)):
        assert np.abs(us[dtype]).max() < 10, dtype
        off = np.square(us[dtype] - us["float32"]).mean((0, 1))
        relative = np.sqrt(off / np.square(us["float32"]).mean((0, 1)))
        upper = np.geomspace(1e-3, 1e3, 64) > 0.1  # within four decades of the largest
        assert relative[upper].max() < most, dtype
        assert relative[upper].min() > 1e-4, dtype


def test_the_second_moment_of_bfloat16_params_converges():
    """In bfloat16 it would stop at a half; here it is updated in float32."""
    params = jnp.ones((64, 64), jnp.bfloat16)

    def second_moment(dtype):
        tx = small(optax.adam(1e-3), dtype)

        def step(state, _):
            u, state = tx.update(params, state, params)
            assert u.dtype == params.dtype
            return state, None

        state = jax.lax.scan(step, tx.init(params), length=1200)[0]
        read = optax.GradientTransformation(tx.init, lambda g, s, p=None: (s[0].nu, s))
        return small(read, dtype).update(params.astype(jnp.float32), state)[0]

    moments = jax.jit(lambda: [second_moment(dtype) for dtype in DTYPES])()
    for moment in moments:
        np.testing.assert_allclose(moment.mean(), 1 - 0.999**1200, rtol=0.01)


def test_a_nan_stays_in_its_place_and_apply_if_finite_keeps_it_out():
    params, adam = jnp.ones(SHAPE), optax.adam(1e-3)
    broken = params.at[7, 5].set(jnp.nan)

    @jax.jit
    def run(grads, broken):
        found = {}
        for dtype in DTYPES:
            tx = small(adam, dtype)
            guarded = optax.apply_if_finite(tx, 3)
            state = tx.init(params)
            _, after = tx.update(broken, state, params)
            found[dtype] = [tx.update(grads, after, params)[0]]
            u, after = guarded.update(broken, guarded.init(params), params)
            found[dtype] += [u, state, after.inner_state]
        return found

    for lost, kept_out, before, after in run(params, broken).values():
        assert np.argwhere(~np.isfinite(lost)).tolist() == [[7, 5]]
        assert not np.any(kept_out)
        jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_params_sized_floats_are_written_to_memory(dtype):
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


def test_learning_rates_are_read_set_and_observed():
    params = {"w": jnp.ones((8, 8))}
    plateau = oxe.plateau(0.1, factor=0.5, patience=0)
    tx = small(oxe.scheduled(optax.adam)(plateau, b1=0.8), min_size=8)
    update = jax.jit(tx.update)
    state = jax.jit(tx.init)(params)
    for rate in (0.1, 0.1, 0.05):
        _, state = update(params, state, params, value=1.0)
        assert oxe.learning_rate(state) == np.float32(rate)
    state = oxe.observe(state, value=1.0)
    assert oxe.learning_rate(state) == np.float32(0.0125)
    assert oxe.hyperparameters(state)["b1"] == np.float32(0.8)
    state = oxe.set_hyperparameters(state, b1=0.5)
    _, state = update(params, state, params, value=1.0)
    assert oxe.hyperparameters(state)["b1"] == 0.5
    assert quantized_dtypes(state) == ["int8"] * 2


# ---- Flax NNX ------------------------------------------------------------------------

WRAPPERS = {
    "accumulate": lambda tx: oxe.accumulate(tx, 2),
    "none": lambda tx: tx,
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "switch": lambda tx: oxe.switch(tx, optax.sgd(0.1), oxe.at_step(2)),
    "restart": lambda tx: oxe.restart(tx, lambda *, count, **seen: count == 2),
    "with_master_copy": lambda tx: oxe.accumulate(oxe.with_master_copy(tx), 2),
}


def test_structures_in_flax_nnx():
    """Which has one structure for all updates, also in a `cond`."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    model, states = nnx.Linear(8, 8, rngs=nnx.Rngs(0)), []
    for name, wrap in WRAPPERS.items():
        for dtype in DTYPES if name in ("none", "accumulate") else DTYPES[:1]:
            tx = wrap(small(optax.adam(1e-2), dtype, min_size=8))

            def init(params, tx=tx):
                shapes = jax.eval_shape(tx.init, params)
                return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

            def update(updates, state, params, tx=tx, case=f"{name}, {dtype}"):
                states.append(state)
                us, new = jax.eval_shape(tx.update, updates, state, params)
                assert jax.tree.structure(us) == jax.tree.structure(updates), case
                shapes = [
                    [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
                    for tree in (new, state)
                ]
                assert shapes[0] == shapes[1], case
                return updates, state

            spy = optax.GradientTransformation(init, update)
            optimizer = nnx.Optimizer(model, spy, wrt=nnx.Param)
            for _ in range(2):
                optimizer.update(model, nnx.state(model, nnx.Param))
            first, second = map(jax.tree.structure, states)
            assert quantized_dtypes(states[0])
            assert first == second, name
            states.clear()


@pytest.mark.full
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WRAPPERS)
def test_flax_optimizer(name, dtype):
    """The same run as without Flax."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    tx = WRAPPERS[name](small(optax.adam(1e-2), dtype, min_size=8))
    model = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    leaves, treedef = jax.tree.flatten(nnx.state(model, nnx.Param))
    params = dict(zip(("bias", "kernel"), leaves, strict=True))
    state, update = jax.jit(tx.init)(params), jax.jit(tx.update)

    @nnx.jit
    def step(model, optimizer, grads):
        optimizer.update(model, grads)

    for i in range(4):
        grads = {k: np.cos(i + np.asarray(p)) for k, p in params.items()}
        step(model, optimizer, treedef.unflatten(list(grads.values())))
        us, state = update(grads, state, params)
        params = {k: p + us[k] for k, p in params.items()}
    leaves = jax.tree.leaves(nnx.state(model, nnx.Param))
    for a, b in zip(leaves, params.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


# ---- Long runs -----------------------------------------------------------------------

# The effect of random rounding on a maximum of noisy averages, on a sum and on steps by
# sign; and the effect with bfloat16, whose steps are 16 times as fine.
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


@pytest.mark.parametrize(
    "tx",
    [
        oxe.rmsprop(0.1, centered=True),
        optax.rmsprop(0.1, centered=True),
        oxe.pytorch.RMSprop(0.1, centered=True),
        oxe.keras.RMSprop(0.1, centered=True),
        optax.chain(optax.clip(1.0), oxe.scheduled(oxe.rmsprop)(0.1, centered=True)),
        oxe.switch(oxe.rmsprop(0.1, centered=True), oxe.nadam(0.1), oxe.at_step(2)),
        oxe.scale_by_moments(
            oxe.switch(
                oxe.rules.rmsprop(centered=True), oxe.rules.adam(), oxe.at_step(2)
            )
        ),
    ],
)
def test_a_difference_of_moments_is_refused(tx):
    """Its steps were millions of times too large."""
    for dtype in ("int8", "bfloat16"):
        with pytest.raises(ValueError, match="must not subtract one moment from anot"):
            oxe.low_precision_state(tx, dtype).init(jnp.ones((64, 128)))
