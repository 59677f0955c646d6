"""One update for several gradients."""

import itertools
import re

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
    tx = oxe.accumulate(optax.sgd(1.0), 3)
    state, update = tx.init(params), jax.jit(tx.update)
    for g in (grads, {**grads, "b": None}, grads):
        us, state = update(g, state, params)
    np.testing.assert_allclose(us["b"], -4, rtol=1e-6)


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


# ---- Weights and flushes -------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(x, marks=() if x == "optax.adamw" else pytest.mark.full)
        for x in OPTIMIZERS
    ],
)
def test_batches_of_unequal_size(name):
    """Three epochs of 12 examples in batches of 5, 3, 3 and 1, two to a window.

    The optimizer sees the gradients of the first 8, and of the last 4.
    """
    tx, bounds = OPTIMIZERS[name](), [0, 5, 8, 11, 12]
    accumulated = oxe.accumulate(tx, 8)
    grad, update = jax.jit(jax.grad(loss)), jax.jit(accumulated.update)
    params, state, other, other_state = PARAMS, accumulated.init(PARAMS), PARAMS, None
    other_state, step = tx.init(other), jax.jit(tx.update)
    for _ in range(3):
        for i, (a, b) in enumerate(itertools.pairwise(bounds)):
            u, state = update(
                grad(params, X[a:b], Y[a:b]),
                state,
                params,
                weight=b - a,
                flush=jnp.asarray(i in (1, 3)),
            )
            params = optax.apply_updates(params, u)
            if i % 2:
                start = 0 if i == 1 else 8
                grads = grad(other, X[start:b], Y[start:b])
                u, other_state = step(grads, other_state, other)
                other = optax.apply_updates(other, u)
            for x, y in zip(*map(jax.tree.leaves, (params, other)), strict=True):
                np.testing.assert_allclose(x, y, rtol=2e-5, atol=1e-6)
    assert (state.count, state.num_accumulated, state.total_weight) == (6, 0, 0)


def reference(grads, weights, flushes, every):
    """The weighted means, by definition; 0 where there is no update."""
    found, window = [], []
    for g, w, flush in zip(grads, weights, flushes, strict=True):
        window.append((g, w))
        ends, total = len(window) == every or flush, sum(w for _, w in window)
        found.append(
            sum(g * w for g, w in window if w) / total if ends and total else 0
        )
        window = [] if ends else window
    return found


def test_in_scan_and_vmap():
    """Traced weights and flushes; some are 0, some gradients of weight 0 are NaN."""
    shape = (4, 40)
    weights = rng.integers(0, 3, shape) * rng.uniform(0.5, 30.0, shape)
    grads = np.where(weights == 0, np.nan, rng.normal(size=shape))
    flushes = rng.uniform(size=shape) < 0.2
    tx = oxe.accumulate(optax.scale(1.0), 3)

    def step(state, inputs):
        g, w, flush = inputs
        u, state = tx.update(g, state, weight=w, flush=flush)
        return state, u

    @jax.jit
    @jax.vmap
    def run(grads, weights, flushes):
        inputs = grads, weights, flushes
        return jax.lax.scan(step, tx.init(jnp.zeros(())), inputs)[1]

    found = run(*map(jnp.asarray, (grads, weights, flushes)))
    for us, *inputs in zip(found, grads, weights, flushes, strict=True):
        expected = reference(*inputs, every=3)
        np.testing.assert_allclose(us, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("jit", [jax.jit, lambda f, **words: f], ids=["jit", "eager"])
def test_weight_0(jit):
    """It leaves a gradient out; a window of nothing else makes no update."""
    tx, w = oxe.accumulate(optax.adam(0.1), 2), jnp.zeros(2)
    update, state = jit(tx.update, static_argnames=["flush"]), tx.init(w)
    nan = jnp.full(2, jnp.nan)
    for g, weight in ((nan, 0), (nan, 0.0), (nan, 0), (jnp.ones(2), 7)):
        u, state = update(g, state, w, weight=weight)
        if state.count == 0:
            np.testing.assert_array_equal(u, 0)
    np.testing.assert_allclose(u, -0.1, rtol=1e-5)
    assert (state.count, optax.tree.get(state.inner_state, "count")) == (1, 1)
    # A flush without a gradient: of an empty window, and of one with a gradient.
    before = state
    u, state = update(jnp.zeros(2), state, w, weight=0, flush=True)
    jax.tree.map(np.testing.assert_array_equal, state, before)
    np.testing.assert_array_equal(u, 0)
    _, state = update(jnp.full(2, 3.0), state, w, weight=5)
    _, state = update(jnp.zeros(2), state, w, weight=0, flush=True)
    assert (state.count, state.num_accumulated, state.total_weight) == (2, 0, 0)
    np.testing.assert_allclose(state.mean, 3.0)


def test_weights_far_apart():
    """Too small for the dtype is 0; the others are exact where float32 is."""
    tx, grads = oxe.accumulate(optax.identity(), 2), jnp.array([3.0, 5.0])
    for first, second, expected in ((1e-60, 1, 5), (1e30, 1, 3), (1e-30, 3e-30, 4.5)):
        state = tx.init(jnp.zeros(()))
        _, state = tx.update(grads[0], state, weight=first)
        u, state = tx.update(grads[1], state, weight=second)
        np.testing.assert_allclose(u, expected, rtol=1e-6)
    state = tx.init(jnp.zeros(()))
    for _ in range(2):
        u, state = tx.update(grads[0], state, weight=1e-60)
    assert (u, state.count) == (0, 0)


def test_one_structure_and_float32_sums():
    """For all forms of the two arguments, with bfloat16 gradients."""
    tx, params = oxe.accumulate(optax.adam(0.1), 300), jnp.ones((), jnp.bfloat16)
    state = tx.init(params)
    kinds = jax.tree.map(lambda x: (x.dtype, x.shape, False), state)
    values = np.where(np.arange(256) == 0, 256.0, 0.5)
    update = jax.jit(tx.update)
    for k, value in enumerate(values):
        g = jnp.asarray(value, jnp.bfloat16)
        _, state = update(g, state, params, weight=1 + k % 2, flush=False)
    np.testing.assert_allclose(
        state.mean, np.average(values, weights=1 + np.arange(256) % 2), rtol=1e-5
    )
    numbers = 2, 2.5, np.float16(2), np.int8(2), jnp.float32(2), jnp.bfloat16(2)
    for weight in numbers:
        for flush in (False, True, np.bool_(1), jnp.asarray(True)):
            given = {"weight": weight, "flush": flush}
            u, new = jax.eval_shape(
                lambda x=given: tx.update(params, state, params, **x)
            )
            found = jax.tree.map(lambda x: (x.dtype, x.shape, x.weak_type), new)
            assert (found, u.dtype) == (kinds, jnp.bfloat16)


def test_both_arguments_stop_here():
    """In a chain, beside a metric; not passed on to the optimizer."""
    seen = []

    def update(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    inner = optax.GradientTransformationExtraArgs(lambda p: optax.EmptyState(), update)
    tx = optax.chain(optax.clip(1.0), oxe.accumulate(inner, 3))
    state = tx.init(PARAMS)
    tx.update(PARAMS, state, PARAMS, weight=3, flush=True, value=0.5)
    assert seen == [{"value": 0.5}]


def test_flax_nnx_passes_them():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    model = nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0))
    tx = oxe.accumulate(optax.sgd(1.0), 8)
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    before, traces = model.kernel[...], []

    @nnx.jit
    def step(model, optimizer, slope, weight, flush):
        traces.append(1)
        grads = nnx.grad(lambda m: slope * jnp.sum(m.kernel[...]))(model)
        optimizer.update(model, grads, weight=weight, flush=flush)

    for slope, weight, flush in ((1.0, 30, False), (5.0, 10, True)):
        step(model, optimizer, slope, weight, flush)
    np.testing.assert_allclose(before - model.kernel[...], 2.0, rtol=1e-6)
    assert len(traces) == 1


def test_wrong_weights_and_flushes():
    tx, w = oxe.accumulate(optax.sgd(0.1), 2), jnp.ones(2)
    state = tx.init(w)

    def refused(kind, text, **extra):
        for form in (tx, optax.chain(tx)):
            state = form.init(w)
            with pytest.raises(kind, match=re.escape(f"accumulate: {text}")):
                form.update(w, state, w, **extra)

    refused(ValueError, "`weight` must be in [0, inf), got -1.", weight=-1)
    refused(ValueError, "`weight` must be in [0, inf), got nan.", weight=np.nan)
    for weight in (None, "3", True, 1j, jnp.ones(2), [1.0], w > 0):
        refused(TypeError, "`weight` must be a real number, got", weight=weight)
    for flush in (None, 1, 1.0, "yes", w > 0, jnp.ones(()), [True]):
        refused(TypeError, "`flush` must be a bool, got", flush=flush)
    with pytest.raises(TypeError, match="accumulate: `flush` must be a bool"):
        jax.jit(tx.update)(w, state, w, flush=1)


def test_weights_need_no_further_buffer():
    tx, w = oxe.accumulate(optax.adam(0.1), 4), jnp.ones((256, 256))
    state = tx.init(w)
    sizes = []
    for extra in ({}, {"weight": jnp.float32(2), "flush": jnp.asarray(False)}):
        step = jax.jit(tx.update, donate_argnums=1)
        sizes.append(step.lower(w, state, w, **extra).compile().memory_analysis())
    plain, weighted = (x.temp_size_in_bytes for x in sizes)
    assert weighted <= plain + 1024
