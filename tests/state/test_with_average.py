"""Averages of the weights: their numbers, when they move, what they are stored in."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.averages import Average

STEPS = 12
PARAMS = {"w": np.linspace(-1.0, 2.0, 6).reshape(2, 3), "b": [np.float64(0.5)]}


def copies_first(t):
    return jnp.where(t == 1, 1.0, jnp.asarray(0.1, float))


def mean(t):
    return 1 / jnp.asarray(t, float)


EMA, MEAN = Average(copies_first), Average(mean)
EVERY_THIRD = Average(lambda t: jnp.where(t % 3 == 0, 0.5, 0.0))


def gradients(params, steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    leaves, treedef = jax.tree.flatten(params)
    return [
        treedef.unflatten([rng.normal(size=np.shape(x)) for x in leaves])
        for _ in range(steps)
    ]


def run(tx, params, grads, state=None):
    """The params after every update, and the last state."""
    state, update, walk = state or tx.init(params), jax.jit(tx.update), []
    for g in grads:
        g = jax.tree.map(lambda x, p: jnp.asarray(x, p.dtype), g, params)
        u, state = update(g, state, params)
        params = optax.apply_updates(params, u)
        walk.append(params)
    return walk, state


def reference(first, walk, weight):
    """The average of a walk by its definition, in float64."""
    average = jax.tree.map(lambda x: np.asarray(x, np.float64), first)
    for t, params in enumerate(walk, 1):
        c = float(weight(t))
        average = jax.tree.map(
            lambda a, w, c=c: a + c * (np.asarray(w, np.float64) - a), average, params
        )
    return average


def assert_close(found, expected, rtol=1e-12):
    for x, y in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(np.asarray(x, np.float64), y, rtol, rtol)


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# ---- Numbers -------------------------------------------------------------------------


def test_the_average_of_the_weights_after_each_update():
    """Of several optimizers and averages, side by side and alone."""
    weights = {"ema": copies_first, "mean": mean, "third": EVERY_THIRD.weight}
    averages = {name: Average(f) for name, f in weights.items()}
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, PARAMS)
        for plain in (optax.adam(0.1), oxe.heavy_ball(0.1)):
            walk, _ = run(plain, params, gradients(params))
            same, state = run(
                oxe.with_average(plain, averages), params, gradients(params)
            )
            assert_equal(same, walk)
            for name, weight in weights.items():
                expected = reference(params, walk, weight)
                assert_close(oxe.averaged(state, name), expected)
            assert state.count == STEPS
        _, alone = run(oxe.with_average(plain, EMA), params, gradients(params))
        assert_close(oxe.averaged(alone), reference(params, walk, copies_first))


def test_before_any_update_it_is_the_initial_params():
    params = {"w": jnp.ones(3, jnp.bfloat16), "b": jnp.arange(3.0)}
    state = oxe.with_average(optax.sgd(1.0), {"a": EMA, "b": MEAN}).init(params)
    for name in ("a", "b"):
        found = oxe.averaged(state, name)
        assert_equal(found, params)
        assert found["w"].dtype == jnp.bfloat16


def test_0_leaves_it_and_1_copies_to_the_bit():
    """Also from a NaN, or a number so large that a + (w - a) is not w."""
    at_2 = Average(lambda t: jnp.where(t == 2, 1.0, 0.0))
    tx, params = oxe.with_average(optax.identity(), at_2), jnp.full(2, 1e10)
    state = tx.init(params)
    _, state = tx.update(jnp.full(2, jnp.nan), state, params)
    assert_equal(oxe.averaged(state), params)
    _, state = tx.update(jnp.full(2, 1.1), state, jnp.zeros(2))
    assert_equal(oxe.averaged(state), jnp.full(2, 1.1))


def test_in_scan_and_vmap_over_the_weight():
    """In one program, with a traced weight for each of three runs."""
    grads = jnp.asarray(np.random.default_rng(1).normal(size=(STEPS, 4)), jnp.float32)
    first = jnp.ones(4)

    @jax.jit
    @jax.vmap
    def found(c):
        tx = oxe.with_average(optax.sgd(0.1), Average(lambda t: c / t**0.5))

        def step(carry, g):
            params, state = carry
            u, state = tx.update(g, state, params)
            params = optax.apply_updates(params, u)
            return (params, state), params

        (_, state), walk = jax.lax.scan(step, (first, tx.init(first)), grads)
        return walk, oxe.averaged(state)

    cs = np.float32([0.1, 0.5, 1.0])
    for c, walk, average in zip(cs, *found(cs), strict=True):
        expected = reference(first, walk, lambda t, c=c: c / t**0.5)
        assert_close(average, expected, 1e-6)


# ---- Updates that are refused or postponed -------------------------------------------


def multi_steps(tx, every=3):
    return optax.MultiSteps(tx, every).gradient_transformation()


def labels(params):
    return {"w": "first", "b": ["rest"]}


# From the optimizer to one that refuses or postpones; which updates it makes, of
# gradients of which number 4 is NaN.
FINITE = [t for t in range(STEPS) if t != 4]
WINDOWS = {
    "accumulate": (lambda tx: oxe.accumulate(tx, 3), (2, 5, 8, 11)),
    "MultiSteps": (multi_steps, (2, 5, 8, 11)),
}
REFUSES = {
    "apply_if_finite": (lambda tx: optax.apply_if_finite(tx, 5), FINITE),
    "in a chain": (
        lambda tx: optax.chain(optax.clip(1.0), optax.apply_if_finite(tx, 5)),
        FINITE,
    ),
    "accumulate of apply_if_finite": (
        lambda tx: oxe.accumulate(optax.apply_if_finite(tx, 5), 3),
        (2, 8, 11),
    ),
    "in one group of two": (
        lambda tx: optax.partition(
            {"first": multi_steps(tx), "rest": optax.apply_if_finite(tx, 5)}, labels
        ),
        range(STEPS),
    ),
    "beside a frozen group": (
        lambda tx: optax.partition(
            {"first": multi_steps(tx), "rest": optax.set_to_zero()}, labels
        ),
        (2, 5, 8, 11),
    ),
    "before a switch": (
        lambda tx: oxe.switch(
            multi_steps(tx), optax.apply_if_finite(tx, 5), oxe.at_step(6)
        ),
        (2, 5, 6, 7, 8, 9, 10, 11),
    ),
}
BROKEN = ("apply_if_finite", "in a chain", "accumulate of apply_if_finite")


@pytest.mark.parametrize("name", [*WINDOWS, *REFUSES])
def test_updates_that_were_not_made_do_not_count(name):
    """Around what refuses, and inside of it."""
    wrap, made = {**WINDOWS, **REFUSES}[name]
    params = jax.tree.map(jnp.float32, PARAMS)
    grads = gradients(params)
    if name in BROKEN:
        grads[4] = jax.tree.map(lambda x: x * np.nan, grads[4])
    plain = optax.sgd(0.1)
    walk, state = run(oxe.with_average(wrap(plain), MEAN), params, grads)
    expected = reference(params, [walk[t] for t in made], mean)
    assert state.count == len(made)
    assert np.isfinite(jax.tree.leaves(oxe.averaged(state))[0]).all()
    assert_close(oxe.averaged(state), expected, 1e-6)
    if name in (*WINDOWS, *BROKEN[:2]):
        _, inside = run(wrap(oxe.with_average(plain, MEAN)), params, grads)
        assert_close(oxe.averaged(inside), expected, 1e-6)


def test_after_the_limit_of_apply_if_finite():
    """The NaN that it lets pass counts inside of it, and not around."""
    nans, w = jnp.full(2, jnp.nan), jnp.ones(2)
    found = []
    for order in (1, -1):
        tx = optax.sgd(1.0)
        wraps = [
            lambda tx: optax.apply_if_finite(tx, 2),
            lambda tx: oxe.with_average(tx, MEAN),
        ]
        for wrap in wraps[::order]:
            tx = wrap(tx)
        state = tx.init(w)
        for _ in range(3):
            u, state = tx.update(nans, state, w)
        assert np.isnan(u).all()
        found.append(bool(np.isnan(oxe.averaged(state)).any()))
    assert found == [False, True]


def test_a_window_of_weight_0_does_not_count():
    tx = oxe.with_average(oxe.accumulate(optax.sgd(1.0), 1), MEAN)
    state, w = tx.init(jnp.zeros(())), jnp.zeros(())
    for weight in (0, 1, 0):
        _, state = tx.update(jnp.ones(()), state, w, weight=weight)
    assert (state.count, oxe.averaged(state)) == (1, -1)


def test_nothing_is_selected_where_nothing_can_refuse():
    """The program of a plain optimizer has no more arrays to read."""
    from optax_extras._state._made_update import made_update

    for plain in (optax.adam(0.1), oxe.nadam(0.1), oxe.swats(0.1)):
        state = plain.init(jnp.ones(2))
        assert made_update(state, state) is True


# ---- Dtypes and leaves ---------------------------------------------------------------


def test_half_precision_params():
    """The float32 average of the rounded weights, though one program makes both."""
    for dtype in ("bfloat16", "float16"):
        params = jnp.linspace(0.5, 2, 64).astype(dtype)
        tx = oxe.with_average(optax.sgd(0.01), EMA)
        grads = np.random.default_rng(0).normal(size=(50, 64))

        @jax.jit
        def walk(grads, tx=tx, params=params, dtype=dtype):
            def step(carry, g):
                params, state = carry
                u, state = tx.update(g.astype(dtype), state, params)
                params = optax.apply_updates(params, u)
                return (params, state), params

            first = params, tx.init(params)
            (_, state), walk = jax.lax.scan(step, first, grads)
            return walk, state, oxe.averaged(state)

        path, state, average = walk(jnp.float32(grads))
        expected = reference(params, path, copies_first)
        assert state.averages["average"].dtype == jnp.float32
        assert_close(state.averages["average"], expected, 1e-6)
        assert average.dtype == dtype
        assert_equal(average, state.averages["average"].astype(dtype))


def test_every_kind_of_leaf():
    params = {
        "half": jnp.ones(2, jnp.bfloat16),
        "complex": jnp.ones(2, jnp.complex64),
        "int": jnp.arange(3),
        "bool": jnp.array([True, False]),
        "key": jax.random.key(0),
        "number": 1.5,
        "frozen": None,
        "masked": optax.MaskedNode(),
        "empty": jnp.ones((0, 2)),
        "scalar": jnp.float32(2),
    }
    tx, update = oxe.with_average(optax.identity(), MEAN), {**params}
    update["int"], update["bool"], update["key"] = jnp.ones(3, int), None, None
    for start in (params, jax.eval_shape(lambda: {**params, "number": 1.0})):
        state = tx.init(start)
        kinds = jax.tree.map(lambda x: (x.dtype, x.shape), state)
    state, step = tx.init(params), jax.jit(tx.update)
    for _ in range(2):
        _, state = step(update, state, params)
        assert jax.tree.map(lambda x: (x.dtype, x.shape), state) == kinds
        assert not any(getattr(x, "weak_type", False) for x in jax.tree.leaves(state))
    found = oxe.averaged(state)
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for name in ("half", "complex", "scalar", "number"):
        assert_equal(found[name], 2 * jnp.asarray(params[name]))
        assert found[name].dtype == jnp.asarray(params[name]).dtype
    assert found["int"].tolist() == [1, 2, 3]
    assert_equal(found["bool"], params["bool"])
    assert found["key"] == params["key"]


def test_a_leaf_without_an_update_stays_in_the_average():
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    tx = oxe.with_average(optax.sgd(1.0), MEAN)
    us, state = tx.update({"a": jnp.ones(2), "b": None}, tx.init(params), params)
    assert us["b"] is None
    assert_equal(oxe.averaged(state), {"a": jnp.zeros(2), "b": jnp.ones(2)})


# ---- Two bytes for each weight -------------------------------------------------------


def test_bfloat16_moves_on_average():
    """Where rounding to nearest would not move at all: steps of 1e-3 of the way."""
    slow = Average(lambda t: 1e-3)
    tx = oxe.with_average(optax.identity(), slow, dtype="bfloat16")
    w, zeros = jnp.full((64, 64), 2.0), jnp.zeros((64, 64))

    @jax.jit
    def run(state):
        step = lambda state, _: (tx.update(zeros, state, w)[1], None)  # noqa: E731
        return jax.lax.scan(step, state, length=500)[0]

    state = run(tx.init(jnp.ones((64, 64))))
    stored = state.averages["average"]
    assert stored.dtype == jnp.bfloat16
    exact, found = 2 - 0.999**500, np.asarray(stored, np.float64)
    # A walk of 500 roundings of a gap of 2^-7; the mean is of 4096 of them.
    deviation = 2.0**-7 * np.sqrt(500 * 1e-3 / 2.0**-7) / 2
    assert abs(found.mean() - exact) < 4 * deviation / 64
    assert np.abs(found - exact).max() < 6 * deviation
    assert len(np.unique(found)) > 5
    assert oxe.averaged(state).dtype == jnp.float32
    assert_equal(oxe.averaged(state), stored.astype(jnp.float32))


def test_bfloat16_is_exact_where_it_can_be():
    """A copy of bfloat16 weights, an average that does not move, complex leaves."""
    params = {
        "half": jnp.linspace(1, 2, 99).astype(jnp.bfloat16),
        "c": jnp.ones(2) * 1j,
    }
    weight = Average(lambda t: jnp.where(t == 1, 1.0, 0.0))
    tx = oxe.with_average(optax.identity(), weight, dtype=jnp.bfloat16)
    state, step = tx.init(params), jax.jit(tx.update)
    moved = jax.tree.map(lambda x: 3 * x, params)
    for given in (moved, params, params):
        _, state = step(jax.tree.map(jnp.zeros_like, params), state, given)
    assert_equal(oxe.averaged(state), moved)
    assert state.averages["average"]["c"].dtype == jnp.complex64


def test_random_rounding_differs_by_leaf_average_and_update():
    half = Average(lambda t: 0.5)
    params = [jnp.full(500, 1.0)] * 2
    two = {"one": half, "two": half}
    tx = oxe.with_average(optax.identity(), two, dtype="bfloat16")
    ups = [jnp.full(500, 2.0**-8)] * 2  # then the exact average is half way up
    first, update = tx.init(params), jax.jit(tx.update)
    _, state = update(ups, first, params)
    _, later = update(ups, state._replace(averages=first.averages), params)
    drawn = [x > 1 for s in (state, later) for x in jax.tree.leaves(s.averages)]
    for i, x in enumerate(drawn):
        assert 50 < x.sum() < 200
        for y in drawn[:i]:
            assert 0.1 < np.mean(x[1:] == y[:-1]) < 0.9
            assert 0.4 < np.mean(x == y) < 0.8


# ---- Overwriting ---------------------------------------------------------------------


def test_overwriting_the_params():
    """Every third update leads to the average, from which the run goes on."""
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, PARAMS)
        grads = gradients(params)
        tx = oxe.with_average(optax.sgd(0.1), EMA, overwrite_every=3)
        walk, state = run(tx, params, grads)
        w = average = jax.tree.map(np.asarray, PARAMS)
        for t, g in enumerate(grads, 1):
            w = jax.tree.map(lambda x, y: x - 0.1 * y, w, g)
            c = float(copies_first(t))
            average = jax.tree.map(lambda a, x, c=c: a + c * (x - a), average, w)
            w = average if t % 3 == 0 else w
            assert_close(walk[t - 1], w)
        assert_close(oxe.averaged(state), average)


def test_overwriting_half_precision_params():
    """With the average rounded to their dtype, up to the rounding of the update."""
    params = jnp.linspace(1.0, 2.0, 64).astype(jnp.bfloat16)
    tx = oxe.with_average(optax.sgd(0.1), EMA, overwrite_every=2)
    walk, state = run(tx, params, gradients(params))
    found, average = np.float32(walk[-1]), np.float32(oxe.averaged(state))
    np.testing.assert_allclose(found, average, rtol=2.0**-7)
    assert walk[-1].dtype == jnp.bfloat16
    plain, _ = run(optax.sgd(0.1), params, gradients(params))
    assert np.abs(found - np.float32(plain[-1])).max() > 0.1


def test_overwriting_waits_for_updates_that_are_made():
    tx = oxe.accumulate(optax.sgd(1.0), 2)
    tx = oxe.with_average(tx, Average(lambda t: 0.5), overwrite_every=2)
    grads = [jnp.float32(-1)] * 8
    walk, _ = run(tx, jnp.float32(0), grads)
    # The average of 0 and 1 is .5, with 2 it is 1.25, with 2.25 1.75, with 3.25 2.5.
    assert [float(x) for x in walk] == [0, 1, 1, 1.25, 1.25, 2.25, 2.25, 2.5]
    u, _ = tx.update(grads[0], tx.init(jnp.float32(0)), jnp.float32(5))
    assert u == 0


def test_averages_begin_at_their_first_update():
    """An average is not asked for its weight before an update was made."""
    asked = []
    average = Average(lambda t: asked.append(int(t)) or 0.5)
    tx, w = oxe.with_average(oxe.accumulate(optax.sgd(1.0), 2), average), jnp.ones(2)
    state = tx.init(w)
    for _ in range(4):
        _, state = tx.update(w, state, w)
    assert asked == [1, 1, 1, 2]


# ---- Programs ------------------------------------------------------------------------


def test_one_buffer_for_each_average_and_no_temporaries():
    """Donated, each is updated in place, and nothing of the params' size is made."""
    params, guard = jnp.ones((512, 512)), lambda tx: optax.apply_if_finite(tx, 3)
    averages, adam = {"a": EMA, "b": MEAN}, optax.adam(0.1)
    for plain, dtype in ((adam, None), (guard(adam), None), (adam, "bfloat16")):
        memory = []
        for tx in (plain, oxe.with_average(plain, averages, dtype=dtype)):

            def step(params, state, g, tx=tx):
                u, state = tx.update(g, state, params)
                return optax.apply_updates(params, u), state

            state = tx.init(params)
            donated = jax.jit(step, donate_argnums=(0, 1))
            program = donated.lower(params, state, params).compile()
            memory.append(program.memory_analysis())
        before, after = memory
        assert after.temp_size_in_bytes < before.temp_size_in_bytes + 4096
        more = after.alias_size_in_bytes - before.alias_size_in_bytes
        per_weight = 2 * (2 if dtype else 4)
        assert per_weight * params.size <= more < per_weight * params.size + 64


def test_donated_states():
    """Neither the params nor what was read share an array with the state."""
    params, tx = jnp.ones(1000), oxe.with_average(optax.sgd(0.1), {"a": EMA, "b": MEAN})
    step = jax.jit(tx.update, donate_argnums=1)
    state = tx.init(params)
    read = oxe.averaged(state, "a")
    _, state = step(params, state, params)
    kept = oxe.averaged(state, "a")
    _, state = step(params, state, params)
    assert_equal(read, params)
    np.testing.assert_allclose(kept, 0.9, rtol=1e-6)


def test_donated_keys():
    params = {"key": jax.random.key(0)}
    state = oxe.with_average(optax.identity(), MEAN).init(params)
    read = oxe.averaged(state)
    jax.tree.map(lambda x: x.delete(), state.averages)
    assert read["key"] == params["key"]


def test_resuming_is_the_same_run():
    """In bfloat16, whose random numbers depend on the count."""
    params = {"w": jnp.linspace(0.0, 1.0, 64)}
    grads = gradients(params)
    for dtype in (None, "bfloat16"):
        tx = oxe.with_average(optax.adam(0.1), {"a": EMA, "b": MEAN}, dtype=dtype)
        walk, state = run(tx, params, grads)
        half, middle = run(tx, params, grads[:5])
        leaves, treedef = jax.tree.flatten(middle)
        middle = treedef.unflatten([np.asarray(x) for x in leaves])
        rest, again = run(tx, half[-1], grads[5:], middle)
        assert_equal(rest[-1], walk[-1])
        assert_equal(again, state)


def test_the_count_stops():
    tx = oxe.with_average(optax.identity(), Average(lambda t: t * 2.0**-31))
    state = tx.init(jnp.zeros(()))._replace(count=jnp.int32(2**31 - 2))
    for _ in range(3):
        _, state = tx.update(jnp.ones(()), state, jnp.zeros(()))
        assert (state.count, oxe.averaged(state)) == (2**31 - 1, 1)


# ---- Wrong arguments -----------------------------------------------------------------


def refused(kind, message, *args, **kw):
    with pytest.raises(kind, match=message):
        oxe.with_average(*args, **kw)


def test_wrong_arguments():
    sgd = optax.sgd(0.1)
    refused(TypeError, r"with_average: `tx` must be an optax\.Grad", 0.1, EMA)
    for wrong in (0.99, optax.ema, {"a": 0.99}, {1: EMA}, [EMA], None):
        refused(TypeError, "with_average: `average` must be an average of", sgd, wrong)
    message = r"`tx` must be .*Write `\.gradient_transformation\(\)` after it\."
    refused(TypeError, message, optax.MultiSteps(sgd, 3), EMA)
    refused(ValueError, "`average` must hold at least one", sgd, {})
    for dtype in ("float16", "int8", jnp.float32, 3):
        refused(ValueError, "`dtype` must be bfloat16 or None", sgd, EMA, dtype=dtype)
    two = {"a": EMA, "b": MEAN}
    message = (
        "`overwrite_every` must be None beside several averages, got 2. Wrap twice"
    )
    refused(ValueError, message, sgd, two, overwrite_every=2)
    refused(ValueError, "`overwrite_every` must be an int", sgd, EMA, overwrite_every=0)
    tx = oxe.with_average(sgd, EMA)
    with pytest.raises(ValueError, match="with_average: `params` must be given to"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_a_state_of_other_averages():
    """The line of the hint resumes the optimizer with new averages."""
    params, sgd = jnp.ones(2), optax.sgd(0.1)
    states = {
        "a": oxe.with_average(sgd, {"a": MEAN}).init(params),
        "bare": sgd.init(params),
        "half": oxe.with_average(sgd, {"b": MEAN, "a": MEAN}, dtype="bfloat16").init(
            params
        ),
    }
    messages = {
        "a": "`state` must have the averages 'a', 'b', got 'a'. ",
        "bare": "`state` must be one of `with_average`, got tuple. ",
        "half": "`state` must have averages of dtype float32 or wider, got 'bfloat16'.",
    }
    tx = oxe.with_average(sgd, {"b": MEAN, "a": MEAN})
    for name, state in states.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            tx.update(params, state, params)
        assert f"with_average: {messages[name]}" in str(caught.value)
        line = str(caught.value).split("`")[-2]
        resumed = eval(line, {"tx": tx, "params": params, "state": state})
        _, resumed = tx.update(params, resumed, params)
        np.testing.assert_allclose(oxe.averaged(resumed, "a"), 0.9, rtol=1e-6)
    one = oxe.with_average(sgd, {"a": MEAN})
    with pytest.raises(ValueError, match="have the averages 'a', got 'a', 'b'"):
        one.update(params, tx.init(params), params)


def test_wrong_weights():
    sgd, w = optax.sgd(0.1), jnp.ones(2)
    message = r"with_average: `average\.weight` must be a function of the count, got 0"
    refused(TypeError, message, sgd, Average(0.1))
    message = r"`average`\[a\]\.weight must be a function of the count, got None"
    refused(TypeError, message, sgd, {"a": Average(None)})
    for wrong in (None, jnp.ones(2), "1"):
        tx = oxe.with_average(sgd, Average(lambda t, wrong=wrong: wrong))
        message = r"with_average: `average\.weight` must return a real number, got "
        with pytest.raises(TypeError, match=message):
            tx.update(w, tx.init(w), w)
    for wrong in (lambda t: 1.0 if t < 3 else 0.1, lambda t: np.minimum(1 / t, 0.1)):
        tx = oxe.with_average(sgd, Average(wrong))
        message = r"`average\.weight` must be a function of a traced count.*jnp\.where"
        with pytest.raises(TypeError, match=message):
            jax.jit(tx.update)(w, tx.init(w), w)
    tx = oxe.with_average(sgd, Average(lambda t: t == 1))
    np.testing.assert_allclose(oxe.averaged(tx.update(w, tx.init(w), w)[1]), 0.9)


def test_a_state_of_8_bits_is_refused():
    tx = oxe.low_precision_state(oxe.with_average(optax.adam(0.1), EMA), min_size=1)
    message = r"low_precision_state: `tx` must not store averages.*oxe\.with_average\("
    with pytest.raises(ValueError, match=message):
        tx.init(jnp.ones(100))
