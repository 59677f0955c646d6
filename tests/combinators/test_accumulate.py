"""One update for several gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

rng = np.random.default_rng(0)
X = jnp.asarray(rng.normal(size=(12, 3)), jnp.float32)
Y = jnp.asarray(rng.normal(size=12), jnp.float32)
PARAMS = {"w": jnp.ones(3), "b": jnp.zeros(())}


def loss(params, x, y):
    return jnp.mean((x @ params["w"] + params["b"] - y) ** 2)


def train(tx, batches, epochs=5):
    """Params after each batch."""

    def step(carry, batch):
        params, state = carry
        u, state = tx.update(jax.grad(loss)(params, *batch), state, params)
        params = optax.apply_updates(params, u)
        return (params, state), params

    def walk(xs, ys):
        return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), (xs, ys))[1]

    xs, ys = (np.reshape(a, (batches, -1, *a.shape[1:])) for a in (X, Y))
    return jax.jit(walk)(np.concatenate([xs] * epochs), np.concatenate([ys] * epochs))


OPTIMIZERS = {
    "optax.sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "optax.adamw": lambda: optax.adamw(optax.cosine_decay_schedule(0.1, 5)),
    "oxe.adagrad": lambda: oxe.adagrad(oxe.schedules.cosine(0.1, 5)),
    "oxe.heavy_ball": lambda: oxe.heavy_ball(0.1),
    "oxe.pytorch.Adam": lambda: oxe.pytorch.Adam(lr=0.1),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_full_batches(make):
    """Small batches of equal size make the steps of large ones; between them none."""
    expected = train(make(), batches=1)
    for every in (1, 4):
        found = train(oxe.accumulate(make(), every), batches=every)
        for k, xs in found.items():
            targets = np.concatenate([[PARAMS[k]], expected[k]])
            made = np.arange(1, len(xs) + 1) // every
            np.testing.assert_allclose(xs, targets[made], rtol=2e-5, atol=1e-6)


def test_extra_arguments_get_through():
    """In a chain, where MultiSteps refuses them: those of the call that steps."""
    rate = oxe.plateau(1.0, factor=0.5, patience=0)
    tx = optax.chain(optax.identity(), oxe.accumulate(oxe.heavy_ball(rate), 2))
    grads, state = {"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)})
    rates, update = [], jax.jit(tx.update)
    for value in (9.0, 3.0, 0.0, 3.0, 0.0, 3.0):
        _, state = update(grads, state, grads, value=value)
        rates.append(float(oxe.learning_rate(state)))
    assert rates == [1, 1, 1, 1, 1, 0.5]
    state = oxe.observe(state, 3.0)
    assert oxe.learning_rate(state) == 0.125
    state = oxe.set_hyperparameters(
        oxe.accumulate(oxe.adagrad(0.1), 2).init(grads), learning_rate=0.5
    )
    assert oxe.learning_rate(state) == 0.5


def nan_at_first():
    """An optimizer that is only defined for large gradients."""

    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda g: jnp.log(g - 1), updates), state

    return optax.GradientTransformation(lambda p: optax.EmptyState(), update)


def test_no_nan_from_a_step_that_is_not_made():
    """The optimizer would give NaN for the mean so far; Optax multiplies it by 0."""
    tx = nan_at_first()
    small, large = jnp.zeros(2), jnp.full(2, 2 + 2 * np.e)
    theirs = optax.MultiSteps(tx, 2)
    u, _ = theirs.update(small, theirs.init(small), small)
    assert np.all(np.isnan(u))
    ours = oxe.accumulate(tx, 2)
    u, state = jax.jit(ours.update)(small, ours.init(small), small)
    assert np.array_equal(u, [0, 0])
    u, _ = ours.update(large, state, small)
    np.testing.assert_allclose(u, 1.0, rtol=1e-6)


def test_the_optimizer_runs_only_when_it_steps():
    """By a callback that counts."""
    calls = []

    def update(updates, state, params=None):
        jax.debug.callback(lambda: calls.append(1))
        return updates, state

    tx = optax.GradientTransformation(lambda p: optax.EmptyState(), update)
    accumulated = oxe.accumulate(tx, 3)
    state = accumulated.init(jnp.ones(2))
    step = jax.jit(accumulated.update)
    for _ in range(9):
        _, state = step(jnp.ones(2), state)
    jax.effects_barrier()
    assert len(calls) == 3
    assert (state.count, state.gathered) == (3, 0)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sums_are_float32(dtype):
    """Of 256 gradients, of which half precision would forget the small ones."""
    grads = np.where(np.arange(256) == 0, 256.0, 0.5)
    tx = oxe.accumulate(optax.identity(), 256)
    state = tx.init(jnp.ones((), dtype))
    assert state.mean.dtype == jnp.float32

    def step(state, g):
        u, state = tx.update(g, state)
        return state, u

    state, us = jax.lax.scan(step, state, jnp.asarray(grads, dtype))
    assert us.dtype == dtype
    np.testing.assert_allclose(float(us[-1]), grads.mean(), rtol=2**-8)
    assert np.all(us[:-1] == 0)


def test_dtypes_structure_and_missing_leaves():
    params = {
        "half": jnp.ones(2, jnp.bfloat16),
        "complex": jnp.ones(2, jnp.complex64),
        "frozen": None,
        "masked": optax.MaskedNode(),
        "empty": jnp.ones((0, 2)),
    }
    tx = oxe.accumulate(optax.trace(0.9), 2)
    state = tx.init(params)
    for _ in range(4):
        u, new = tx.update(params, state, params)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True):
            assert (a.dtype, a.shape, a.weak_type) == (b.dtype, b.shape, False)
        assert {k: getattr(x, "dtype", None) for k, x in u.items()} == {
            k: getattr(x, "dtype", None) for k, x in params.items()
        }
        state = new
    assert u["complex"][0] == 1.9
    # A leaf that has no gradient stays.
    grads = {"w": jnp.ones(3), "b": None}
    tx = oxe.accumulate(oxe.heavy_ball(1.0), 2)
    state = tx.init(PARAMS)
    for _ in range(2):
        u, state = tx.update(grads, state, PARAMS)
    assert u["b"] is None
    assert u["w"][0] == -1


def test_how_many_may_be_traced():
    def updates(every):
        tx = oxe.accumulate(optax.sgd(1.0), every)
        state = tx.init(jnp.zeros(()))
        us = []
        for g in (1.0, 3.0, 5.0, 7.0):
            u, state = tx.update(jnp.asarray(g), state)
            us.append(u)
        return jnp.stack(us)

    found = jax.vmap(updates)(jnp.array([1, 2, 4]))
    expected = [[-1, -3, -5, -7], [0, -2, 0, -6], [0, 0, 0, -4]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_float64():
    with jax.enable_x64(True):
        tx = oxe.accumulate(optax.identity(), 3)
        state = tx.init(jnp.zeros(()))
        for g in (0.1, 0.2, 0.4):
            u, state = tx.update(jnp.asarray(g), state)
        np.testing.assert_allclose(u, 0.7 / 3, rtol=1e-15)


@pytest.mark.parametrize("every", [0, -1])
def test_too_few(every):
    with pytest.raises(
        ValueError, match="accumulate: `every` must be an integer of at"
    ):
        oxe.accumulate(optax.sgd(0.1), every)


def test_wrong_kinds():
    with pytest.raises(TypeError, match="`every` must be an integer"):
        oxe.accumulate(optax.sgd(0.1), 2.5)
    with pytest.raises(TypeError, match="accumulate: `tx` must be an optax trans"):
        oxe.accumulate(optax.sgd, 2)


def test_what_was_gathered_before_is_forgotten():
    """A NaN too, and what is huge beside the next gradients."""
    tx, w = oxe.accumulate(optax.sgd(1.0), 2), jnp.zeros(2)
    state, us = tx.init(w), []
    for g in (jnp.nan, 1.0, 1e30, 1e30, 1e-12, 1e-12):
        u, state = tx.update(jnp.full(2, g), state, w)
        us.append(float(u[0]))
    assert np.isnan(us[1])
    np.testing.assert_allclose(us[3::2], [-1e30, -1e-12], rtol=1e-6)


def test_a_gradient_that_is_missing_in_the_first_of_a_batch_counts_as_zero():
    tx, params = oxe.accumulate(optax.sgd(1.0), 2), {"a": jnp.ones(2), "b": jnp.ones(2)}
    state, whole = tx.init(params), {"a": jnp.ones(2), "b": jnp.full(2, 6.0)}
    for g in (whole, whole, {**whole, "b": None}, whole):
        us, state = tx.update(g, state, params)
    np.testing.assert_array_equal(us["a"], -1)
    np.testing.assert_array_equal(us["b"], -3)
