"""Half-precision weights with a float32 copy, or with what rounding took from them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

WRAPPERS = (oxe.with_master_copy, oxe.with_compensation)
each = pytest.mark.parametrize("wrap", WRAPPERS)
SHAPE = (64,)


def start(dtype):
    return jnp.linspace(0.5, 2, SHAPE[0]).astype(jnp.bfloat16).astype(dtype)


def run(tx, params, grads):
    """The params and the state after all updates."""

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g.astype(params.dtype), state, params)
        return (optax.apply_updates(params, u), state), None

    return jax.lax.scan(step, (params, tx.init(params)), grads)[0]


OPTIMIZERS = {
    "optax.adamw": lambda: optax.adamw(1e-3),
    "oxe.nadam": lambda: oxe.nadam(1e-3),
    "oxe.swats": lambda: oxe.swats(1e-3, min_steps=50, max_steps=50),
    "sgd": lambda: optax.sgd(1e-4, 0.9),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(x, marks=() if x == "optax.adamw" else pytest.mark.full)
        for x in OPTIMIZERS
    ],
)
def test_compensated_weights_follow_the_float32_run(name):
    """To some of the last digits of `lost`, which has 8 bits below a weight's."""
    tx = OPTIMIZERS[name]()
    noise = np.random.default_rng(0).normal(0.3, 1, (300, *SHAPE))
    grads = noise.astype(jnp.bfloat16).astype(np.float32)

    @jax.jit
    def runs(grads):
        compensated = run(oxe.with_compensation(tx), start("bfloat16"), grads)
        return run(tx, start("float32"), grads)[0], compensated

    expected, (params, state) = runs(grads)
    total = params.astype(jnp.float32) + state.lost.astype(jnp.float32)
    moved = np.abs(np.asarray(expected - start("float32"))).max()
    assert moved > 0.01
    # 300 roundings to 2^-9 of `lost`, which is at most half a gap of the weights, 2^-8.
    assert np.abs(np.asarray(total - expected)).max() <= 300 * 2.0**-9 * 2.0**-8
    assert np.abs(np.asarray(total - expected)).max() <= 0.1 * moved
    # `lost` is at most half of the gap to the next weight.
    assert np.all(np.abs(np.asarray(state.lost, np.float32)) <= 2.0**-8)


def test_the_master_copy_is_that_of_the_float32_run():
    """In every bit, operation by operation; the params are its rounding."""
    grads = np.random.default_rng(0).normal(0.3, 1, (6, *SHAPE))
    tx, runs = optax.adamw(1e-3), {}
    for dtype in ("float32", "bfloat16", "float16"):
        wrapped = tx if dtype == "float32" else oxe.with_master_copy(tx)
        params = start(dtype)
        state = wrapped.init(params)
        for g in np.round(64 * grads) / 64:  # exact in every dtype
            u, state = wrapped.update(jnp.asarray(g, dtype), state, params)
            params = optax.apply_updates(params, u)
        runs[dtype] = params, state
    expected, inner = runs.pop("float32")
    for dtype, (params, state) in runs.items():
        np.testing.assert_array_equal(state.master, expected, err_msg=dtype)
        np.testing.assert_array_equal(params, expected.astype(dtype), err_msg=dtype)
        jax.tree.map(np.testing.assert_array_equal, state.inner_state, inner)


def test_small_steps_add_up():
    """Steps of 1e-3 from 1.0, of which Adam in bfloat16 makes none."""
    first = jnp.ones(SHAPE, jnp.bfloat16)

    @jax.jit
    def runs(grads):
        return [run(wrap(optax.adam(1e-3)), first, grads)[0] for wrap in WRAPPERS]

    for params in runs(jnp.ones((500, *SHAPE))):
        np.testing.assert_allclose(np.asarray(params, np.float32), 0.5, rtol=2.0**-8)


def test_bytes_for_each_weight():
    params = jnp.ones(1000, jnp.bfloat16)
    for wrap, bytes_ in ((oxe.with_master_copy, 4), (oxe.with_compensation, 2)):
        kept = jax.tree.leaves(jax.eval_shape(wrap(optax.sgd(0.1)).init, params)[0])
        assert sum(x.size * x.dtype.itemsize for x in kept) == bytes_ * 1000


@each
def test_a_weight_that_shrinks_at_once(wrap):
    """A step from 1000 to nearly 0, where in float32 p + (w - p) is not w."""
    first = jnp.full(SHAPE, 1000.0, jnp.bfloat16)
    tx = wrap(optax.sgd(1.0))
    state = tx.init(first)
    params = first
    for g in (first - jnp.bfloat16(1e-5), jnp.zeros(SHAPE, jnp.bfloat16)):
        u, state = tx.update(g.astype(jnp.float32), state, params)
        params = optax.apply_updates(params, u)
    exact = np.float32(1000) - np.asarray(first - jnp.bfloat16(1e-5), np.float32)
    np.testing.assert_allclose(np.asarray(params, np.float32), exact, rtol=2.0**-8)


@each
def test_metrics_and_learning_rates(wrap):
    tx = wrap(oxe.heavy_ball(oxe.plateau(0.1, factor=0.5, patience=0), momentum=0.0))
    params = jnp.ones(3, jnp.bfloat16)
    state, update = tx.init(params), jax.jit(tx.update)
    for expected in (0.1, 0.1, 0.05):
        _, state = update(params, state, params, value=1.0)
        assert oxe.learning_rate(state) == np.float32(expected)
    state = oxe.observe(state, 1.0)
    assert oxe.learning_rate(state) == np.float32(0.0125)


@each
def test_wrong_calls(wrap):
    with pytest.raises(TypeError, match=f"{wrap.__name__}: `tx` must be"):
        wrap(0.1)
    tx = wrap(optax.sgd(0.1))
    with pytest.raises(ValueError, match=f"{wrap.__name__}: `params` must be given"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@each
def test_leaves_of_other_dtypes_are_left_to_the_optimizer(wrap):
    params = {
        "half": jnp.ones(3, jnp.bfloat16),
        "int": jnp.arange(3),
        "complex": jnp.ones(3) * 1j,
        "single": jnp.ones(3),
    }
    plain, tx = optax.sgd(0.5), wrap(optax.sgd(0.5))
    us, state = tx.update(params, tx.init(params), params)
    expected, _ = plain.update(params, plain.init(params), params)
    for name in ("int", "complex", "single"):
        np.testing.assert_array_equal(us[name], expected[name])
        assert us[name].dtype == expected[name].dtype
        assert state[0][name].size == 1
    halves = jax.tree.map(lambda x: jnp.ones(3, jnp.bfloat16), params)
    us, _ = tx.update(halves, state, params)
    assert {u.dtype.name for u in jax.tree.leaves(us)} == {"bfloat16"}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("grads_dtype", ["half", "float32"])
def test_updates_keep_the_dtype_of_the_gradients(dtype, grads_dtype):
    """In one program with `apply_updates`, where XLA may keep too many digits."""
    grads_dtype = dtype if grads_dtype == "half" else grads_dtype
    txs = {wrap: wrap(optax.sgd(1e-3, 0.9)) for wrap in WRAPPERS}
    grads = np.random.default_rng(0).normal(0.3, 1, (50, *SHAPE))
    grads = jnp.asarray(grads, dtype).astype(grads_dtype)

    @jax.jit
    def runs(grads):
        def step(carry, g):
            new = []
            for (p, state), tx in zip(carry, txs.values(), strict=True):
                u, state = tx.update(g, state, p)
                assert u.dtype == grads_dtype
                new.append((optax.apply_updates(p, u), state))
            return new, [(p, state[0]) for p, state in new]

        first = [(start(dtype), tx.init(start(dtype))) for tx in txs.values()]
        return jax.lax.scan(step, first, grads)[1]

    (params, masters), (rounded, lost) = runs(grads)
    np.testing.assert_array_equal(params, masters.astype(dtype))
    # Nothing is lost: weights and remainders are the float32 run, up to its roundings.
    total = np.asarray(rounded, np.float64) + np.asarray(lost, np.float64)
    np.testing.assert_allclose(total, masters, rtol=0, atol=50 * 2.0**-17)


def test_a_difference_that_is_not_representable_is_corrected():
    """From 1000 to 0.1: 8 bits hold the difference to within 2; then it is exact."""
    params = jnp.full(SHAPE, 1000.0, jnp.bfloat16)
    tx = oxe.with_master_copy(optax.sgd(1.0))
    state = tx.init(params)
    for g in (999.9, 0.0, 0.0):
        u, state = tx.update(jnp.full(SHAPE, g, jnp.bfloat16), state, params)
        params = optax.apply_updates(params, u)
    np.testing.assert_array_equal(params, state.master.astype(jnp.bfloat16))


@each
def test_a_gradient_that_is_not_finite(wrap):
    """One weight is lost, no other; with apply_if_finite none, inside and outside."""
    params, adam = start("bfloat16"), optax.adam(1e-2)
    grads = jnp.ones(SHAPE, jnp.bfloat16)

    def updated(tx, *grads):
        state, moved = tx.init(params), params
        for g in grads:
            u, state = tx.update(g, state, moved)
            moved = optax.apply_updates(moved, u)
        return moved.astype(jnp.float32), state

    @jax.jit
    def runs(broken):
        return (
            updated(wrap(adam), broken, grads)[0],
            updated(wrap(adam), grads)[0],
            updated(optax.apply_if_finite(wrap(adam), 3), broken, grads),
            updated(wrap(optax.apply_if_finite(adam, 3)), broken, grads),
        )

    for bad in (np.nan, np.inf):
        lost, expected, *guarded = runs(grads.at[5].set(bad))
        assert np.isnan(lost[5])
        assert np.isfinite(np.delete(lost, 5)).all()
        for moved, state in guarded:
            np.testing.assert_array_equal(moved, expected)
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_the_optimizer_sees_the_weights_with_what_was_lost():
    """As weight decay does: not those that it was given, which are rounded."""

    def update(u, state, params):
        return u, jax.tree.map(jnp.asarray, params)

    tx = oxe.with_compensation(optax.GradientTransformation(lambda p: p, update))
    params = jnp.full(3, 1.0, jnp.bfloat16)
    state = tx.init(params)
    for _ in range(2):
        total = params.astype(jnp.float32) + state.lost.astype(jnp.float32)
        u, state = tx.update(jnp.full(3, 1e-3), state, params)
        np.testing.assert_array_equal(state.inner_state, total)
        params = optax.apply_updates(params, u)
    assert state.lost.any()
