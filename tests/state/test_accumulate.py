"""One update for several gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 3)).astype(np.float32)
Y = rng.normal(size=12).astype(np.float32)
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

    xs, ys = (np.reshape(a, (batches, -1, *a.shape[1:])) for a in (X, Y))
    data = np.concatenate([xs] * epochs), np.concatenate([ys] * epochs)
    return jax.lax.scan(step, (PARAMS, tx.init(PARAMS)), data)[1]


OPTIMIZERS = {
    "optax.adamw": lambda: optax.adamw(optax.cosine_decay_schedule(0.1, 5)),
    "optax.sgd": lambda: optax.sgd(0.1, momentum=0.9),
    "oxe.adagrad": lambda: oxe.adagrad(oxe.schedules.cosine(0.1, 5)),
    "oxe.heavy_ball": lambda: oxe.heavy_ball(0.1),
    "oxe.pytorch.Adam": lambda: oxe.pytorch.Adam(lr=0.1),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(x, marks=() if x == "optax.adamw" else pytest.mark.full)
        for x in OPTIMIZERS
    ],
)
def test_full_batches(name):
    """Small batches of equal size make the steps of large ones; between them none."""
    tx = OPTIMIZERS[name]()
    expected, *paths = jax.jit(
        lambda: [train(tx, 1), *(train(oxe.accumulate(tx, n), n) for n in (1, 4))]
    )()
    for every, found in zip((1, 4), paths, strict=True):
        for k, xs in found.items():
            targets = np.concatenate([[PARAMS[k]], expected[k]])
            made = np.arange(1, len(xs) + 1) // every
            np.testing.assert_allclose(xs, targets[made], rtol=2e-5, atol=1e-6)


def test_extra_arguments():
    """In a chain, where MultiSteps refuses them: those of the call that steps."""
    rate = oxe.plateau(1.0, factor=0.5, patience=0)
    tx = optax.chain(optax.identity(), oxe.accumulate(oxe.heavy_ball(rate), 2))
    grads, state = {"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)})
    rates, update = [], jax.jit(tx.update)
    for value in (9.0, 3.0, 0.0, 3.0, 0.0, 3.0):
        _, state = update(grads, state, grads, value=value)
        rates.append(float(oxe.learning_rate(state)))
    assert rates == [1, 1, 1, 1, 1, 0.5]
    assert oxe.learning_rate(oxe.observe(state, 3.0)) == 0.125
    state = oxe.accumulate(oxe.adagrad(0.1), 2).init(grads)
    state = oxe.set_hyperparameters(state, learning_rate=0.5)
    assert oxe.learning_rate(state) == 0.5


def test_the_optimizer_runs_only_when_it_steps():
    """By a callback that counts; it would be NaN for the mean so far."""
    calls = []

    def update(updates, state, params=None):
        jax.debug.callback(lambda: calls.append(1))
        return jax.tree.map(lambda g: jnp.log(g - 1), updates), state

    tx = optax.GradientTransformation(lambda p: optax.EmptyState(), update)
    accumulated = oxe.accumulate(tx, 3)
    state, step = accumulated.init(jnp.ones(2)), jax.jit(accumulated.update)
    for k in range(9):
        u, state = step(jnp.full(2, (0, 0, 3 + 3 * np.e)[k % 3]), state)
        np.testing.assert_allclose(u, 1.0 if k % 3 == 2 else 0.0, rtol=1e-6)
    jax.effects_barrier()
    assert len(calls) == 3
    assert (state.count, state.num_accumulated) == (3, 0)


def test_sums_are_float32_at_least():
    """Of 256 gradients, of which half precision would forget the small ones."""
    grads = np.where(np.arange(256) == 0, 256.0, 0.5)
    tx = oxe.accumulate(optax.identity(), 256)

    def run(dtype):
        def step(state, g):
            u, state = tx.update(g.astype(dtype), state)
            return state, u

        state = tx.init(jnp.ones((), dtype))
        assert state.mean.dtype == jnp.promote_types(dtype, jnp.float32)
        return jax.lax.scan(step, state, jnp.asarray(grads))[1]

    dtypes = {jnp.bfloat16: 2**-8, jnp.float16: 2**-8}
    for dtype, us in zip(
        dtypes, jax.jit(lambda: list(map(run, dtypes)))(), strict=True
    ):
        assert us.dtype == dtype
        np.testing.assert_allclose(float(us[-1]), grads.mean(), rtol=dtypes[dtype])
        assert np.all(us[:-1] == 0)
    with jax.enable_x64(True):
        tx = oxe.accumulate(optax.identity(), 3)
        state, update = tx.init(jnp.zeros(())), jax.jit(tx.update)
        for g in (0.1, 0.2, 0.4):
            u, state = update(jnp.asarray(g), state)
        np.testing.assert_allclose(u, 0.7 / 3, rtol=1e-15)


def test_dtypes_structure_and_missing_leaves():
    params = {
        "half": jnp.ones(2, jnp.bfloat16),
        "complex": jnp.ones(2, jnp.complex64),
        "frozen": None,
        "masked": optax.MaskedNode(),
        "empty": jnp.ones((0, 2)),
    }
    tx = oxe.accumulate(optax.trace(0.9), 2)
    state, update = tx.init(params), jax.jit(tx.update)
    kinds = jax.tree.map(lambda x: (x.dtype, x.shape, False), state)
    for _ in range(4):
        u, state = update(params, state, params)
        found = jax.tree.map(lambda x: (x.dtype, x.shape, x.weak_type), state)
        assert found == kinds
        dtypes = [jax.tree.map(lambda x: x.dtype, tree) for tree in (u, params)]
        assert dtypes[0] == dtypes[1]
    assert u["complex"][0] == 1.9


def test_a_leaf_without_a_gradient_counts_as_zero():
    params = {"a": jnp.ones(2), "b": jnp.ones(2), "c": jnp.ones(2)}
    tx, grads = oxe.accumulate(optax.sgd(1.0), 2), dict(params, b=jnp.full(2, 6.0))
    state, update = tx.init(params), jax.jit(tx.update)
    grads["c"] = None
    for g in (grads, grads, {**grads, "b": None}, grads):
        us, state = update(g, state, params)
    np.testing.assert_array_equal(us["a"], -1)
    np.testing.assert_array_equal(us["b"], -3)
    assert us["c"] is None


def test_the_number_of_gradients_may_be_traced():
    def updates(every):
        tx = oxe.accumulate(optax.sgd(1.0), every)
        grads = jnp.array([1.0, 3.0, 5.0, 7.0])
        step = lambda state, g: tx.update(g, state)[::-1]  # noqa: E731
        return jax.lax.scan(step, tx.init(grads[0]), grads)[1]

    found = jax.jit(jax.vmap(updates))(jnp.array([1, 2, 4]))
    expected = [[-1, -3, -5, -7], [0, -2, 0, -6], [0, 0, 0, -4]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_wrong_arguments():
    sgd = optax.sgd(0.1)
    with pytest.raises(ValueError, match="accumulate: `every` must be an integer of a"):
        oxe.accumulate(sgd, 0)
    with pytest.raises(TypeError, match="`every` must be an integer"):
        oxe.accumulate(sgd, 2.5)
    with pytest.raises(TypeError, match=r"accumulate: `tx` must be an optax\.Grad"):
        oxe.accumulate(optax.sgd, 2)
    # More than an int32 holds: it never steps.
    tx = oxe.accumulate(sgd, 2**40)
    assert not tx.update(jnp.ones(()), tx.init(jnp.ones(())))[0]


def test_the_mean_of_the_last_update_is_forgotten():
    """Also if it is NaN, or huge in comparison with the next gradients."""
    tx, w = oxe.accumulate(optax.sgd(1.0), 2), jnp.zeros(2)
    state, us, update = tx.init(w), [], jax.jit(tx.update)
    for g in (jnp.nan, 1.0, 1e30, 1e30, 1e-12, 1e-12):
        u, state = update(jnp.full(2, g), state, w)
        us.append(float(u[0]))
    assert np.isnan(us[1])
    np.testing.assert_allclose(us[3::2], [-1e30, -1e-12], rtol=1e-6)
