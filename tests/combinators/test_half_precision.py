"""Half-precision weights with a float32 copy, or with what rounding took from them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

each = pytest.mark.parametrize("wrap", [oxe.with_master_copy, oxe.with_compensation])
SHAPE = (64,)


def grads_of(steps, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(0.3, 1, (steps, *SHAPE)), jnp.float32)


def run(tx, params, grads):
    def step(carry, g):
        params, state = carry
        u, state = tx.update(g.astype(params.dtype), state, params)
        return (optax.apply_updates(params, u), state), params

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, grads))
    return scan((params, tx.init(params)))[0]


def start(dtype):
    return jnp.linspace(0.5, 2, SHAPE[0]).astype(jnp.bfloat16).astype(dtype)


OPTIMIZERS = {
    "oxe.nadam": lambda: oxe.nadam(1e-3),
    "optax.adamw": lambda: optax.adamw(1e-3),
    "oxe.swats": lambda: oxe.swats(1e-3, min_steps=50, max_steps=50),
    "sgd": lambda: optax.sgd(1e-4, 0.9),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_master_copy_is_the_float32_run(make, dtype):
    """Of the same gradients, in every bit; and the params are its rounding."""
    grads = grads_of(100).astype(dtype).astype(jnp.float32)
    params, state = run(oxe.with_master_copy(make()), start(dtype), grads)
    expected, inner = run(make(), start("float32"), grads)
    np.testing.assert_array_equal(state.master, expected)
    np.testing.assert_array_equal(params, expected.astype(dtype))
    for a, b in zip(
        jax.tree.leaves(state.inner_state), jax.tree.leaves(inner), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_compensated_weights_follow_the_float32_run(make):
    """To some of the last digits of what is kept, 8 of the gap between two weights."""
    grads = grads_of(300).astype(jnp.bfloat16).astype(jnp.float32)
    params, state = run(oxe.with_compensation(make()), start("bfloat16"), grads)
    expected, _ = run(make(), start("float32"), grads)
    whole = params.astype(jnp.float32) + state.lost.astype(jnp.float32)
    moved = np.abs(np.asarray(expected - start("float32"))).max()
    assert moved > 0.01
    # Three hundred roundings to 2^-9 of what is kept, which is half a gap, 2^-9 of 2.
    assert np.abs(np.asarray(whole - expected)).max() <= 300 * 2.0**-9 * 2.0**-8
    assert np.abs(np.asarray(whole - expected)).max() <= 0.1 * moved
    # What is kept is less than half of the gap to the next weight.
    assert np.all(np.abs(np.asarray(state.lost, np.float32)) <= 2.0**-8)


@each
def test_where_bfloat16_alone_stands_still(wrap):
    grads, first = jnp.ones((500, *SHAPE)), jnp.ones(SHAPE, jnp.bfloat16)
    alone, _ = run(optax.adam(1e-3), first, grads)
    np.testing.assert_array_equal(alone, first)
    params, _ = run(wrap(optax.adam(1e-3)), first, grads)
    np.testing.assert_allclose(np.asarray(params, np.float32), 0.5, rtol=2.0**-8)


@each
def test_float32_is_left_alone(wrap):
    grads, first = grads_of(20), start("float32")
    params, state = run(wrap(oxe.rmsprop(1e-2)), first, grads)
    expected, _ = run(oxe.rmsprop(1e-2), first, grads)
    np.testing.assert_array_equal(params, expected)
    assert state[0] is None


def test_bytes_for_each_weight():
    params = jnp.ones(1000, jnp.bfloat16)
    for wrap, bytes_ in ((oxe.with_master_copy, 4), (oxe.with_compensation, 2)):
        kept = jax.tree.leaves(wrap(optax.sgd(0.1)).init(params)[0])
        assert sum(x.nbytes for x in kept) == bytes_ * 1000


@each
def test_a_leaf_that_shrinks_at_once_is_put_right(wrap):
    """A step from 1000 to nearly 0: in float32 p + (w - p) is not w there."""
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
def test_metrics_and_rates_get_through(wrap):
    tx = wrap(oxe.nadam(oxe.plateau(0.1, patience=0)))
    params = jnp.ones(3, jnp.bfloat16)
    state = tx.init(params)
    for value in (1.0, 1.0, 1.0):
        _, state = tx.update(params, state, params, value=value)
    assert oxe.learning_rate(state) < 0.1
    state = oxe.observe(state, 1.0)


@each
def test_wrong_calls(wrap):
    with pytest.raises(TypeError, match=f"{wrap.__name__}: `tx` must be"):
        wrap(0.1)
    tx = wrap(optax.sgd(0.1))
    with pytest.raises(ValueError, match=f"{wrap.__name__}: `params` must be given"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@each
def test_leaves_of_other_kinds_are_the_optimizers_own(wrap):
    """Integers and complex numbers go through as if there were no wrapper."""
    params = {
        "half": jnp.ones(3, jnp.bfloat16),
        "int": jnp.arange(3),
        "complex": jnp.ones(3) * 1j,
        "double": jnp.ones(3),
    }
    alone, tx = optax.sgd(0.5), wrap(optax.sgd(0.5))
    us, state = tx.update(params, tx.init(params), params)
    expected, _ = alone.update(params, alone.init(params), params)
    for name in ("int", "complex", "double"):
        np.testing.assert_array_equal(us[name], expected[name])
        assert us[name].dtype == expected[name].dtype
        assert state[0][name] is None


@each
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_seen_and_can_be_kept_out(wrap, bad):
    """One weight is lost, no other; with apply_if_finite none, inside and outside.

    Outside the gradients have to be float32, as the updates are: Optax asks for it.
    """
    params = start("bfloat16")
    grads = jnp.ones(SHAPE, jnp.bfloat16)
    broken = grads.at[5].set(bad)

    def two_steps(tx, dtype=jnp.bfloat16):
        state, moved = tx.init(params), params
        for g in (broken.astype(dtype), grads.astype(dtype)):
            u, state = jax.jit(tx.update)(g, state, moved)
            moved = optax.apply_updates(moved, u)
        return np.asarray(moved, np.float32), state

    lost, _ = two_steps(wrap(optax.adam(1e-2)))
    assert np.isnan(lost[5])
    assert np.isfinite(np.delete(lost, 5)).all()
    tx = wrap(optax.adam(1e-2))
    u, _ = tx.update(grads, tx.init(params), params)
    expected = optax.apply_updates(params, u).astype(jnp.float32)
    guarded = optax.apply_if_finite(wrap(optax.adam(1e-2)), 3)
    outside, state = two_steps(guarded, jnp.float32)
    np.testing.assert_array_equal(outside, expected)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    inside, state = two_steps(wrap(optax.apply_if_finite(optax.adam(1e-2), 3)))
    np.testing.assert_array_equal(inside, expected)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_the_optimizer_sees_the_weights_with_what_was_lost():
    """As weight decay does: not those that it was given, which are rounded."""

    def update(u, state, params):
        return u, jax.tree.map(jnp.asarray, params)

    tx = oxe.with_compensation(optax.GradientTransformation(lambda p: p, update))
    params = jnp.full(3, 1.0, jnp.bfloat16)
    state = tx.init(params)
    for _ in range(2):
        whole = params.astype(jnp.float32) + state.lost.astype(jnp.float32)
        u, state = tx.update(jnp.full(3, 1e-3), state, params)
        np.testing.assert_array_equal(state.inner_state, whole)
        params = optax.apply_updates(params, u)
    assert state.lost.any()
