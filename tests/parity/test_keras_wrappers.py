"""Keras' `LossScaleOptimizer` and `MultiOptimizer`."""

import itertools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

import optax_extras as oxe
from tests.parity.programs import examples, quick_jit

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")


@pytest.fixture(autouse=True)
def keras_in_float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    with jax.enable_x64(True):
        yield
    keras.config.set_floatx(before)


# ---- LossScaleOptimizer --------------------------------------------------------------


def gradients(seed, steps=40):
    """Gradients of the unscaled loss, and whether that of the scaled one is finite."""
    rng = np.random.default_rng(seed)
    grads = rng.normal(size=(steps, 3))
    bad = rng.random(steps) < 0.2
    return grads, np.where(bad, rng.choice([np.inf, np.nan, -np.inf], steps), 1.0)


def theirs(scale, growth, grads, factors):
    """Keras' weights and scales after each update."""
    inner = keras.optimizers.Adam(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, scale, growth)
    variable = keras.Variable(np.ones(3))
    optimizer.build([variable])
    names = [v.name for v in optimizer.variables]
    at = names.index("dynamic_scale")

    def step(carry, row):
        weights, state = carry
        g, factor = row
        made = optimizer.stateless_apply(state, [g * state[at] * factor], weights)
        return made, (made[0][0], made[1][at])

    first = [variable.value], [v.value for v in optimizer.variables]
    return quick_jit(lambda rows: jax.lax.scan(step, first, rows)[1])((grads, factors))


def ours(tx, grads, factors, dtype="float64"):
    def step(carry, row):
        params, state = carry
        g, factor = row
        scaled = (g * state.dynamic_scale * factor).astype(dtype)
        u, state = tx.update(scaled, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), (params, state.dynamic_scale)

    params = jnp.ones(3, dtype)
    first = params, tx.init(params)
    return quick_jit(lambda rows: jax.lax.scan(step, first, rows)[1])((grads, factors))


CASES = st.tuples(st.floats(1e-3, 1e6), st.integers(1, 12), st.integers(0, 99))


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.full)])
def test_loss_scale(count):
    for cases in examples(CASES, count):
        for scale, growth, seed in cases:
            rows = gradients(seed)
            tx = oxe.keras.LossScaleOptimizer(oxe.keras.Adam(0.1), scale, growth)
            weights, scales = ours(tx, *rows)
            expected, their_scales = theirs(scale, growth, *rows)
            np.testing.assert_array_equal(scales, their_scales)
            np.testing.assert_allclose(weights, expected, 1e-12, 1e-12)


def test_defaults_and_options():
    tx = oxe.keras.LossScaleOptimizer(oxe.keras.SGD())
    state = tx.init(jnp.ones(2))
    assert (state.step_counter, state.dynamic_scale) == (0, 2**15)
    for option in ("name", "dynamic", "clipnorm", "use_ema", "loss_scale_factor"):
        match = f"LossScaleOptimizer: `{option}` must not be given"
        with pytest.raises(TypeError, match=match):
            oxe.keras.LossScaleOptimizer(oxe.keras.SGD(), **{option: None})


def test_the_scale_stays_within_float32():
    """Keras' becomes infinite or 0, and never changes again."""
    for start, factor in ((2.0**126, 1.0), (2.0**-125, np.inf)):
        rows = np.zeros((6, 3)), np.full(6, factor)
        tx = oxe.keras.LossScaleOptimizer(oxe.keras.Adam(0.1), start, 1)
        scales = np.asarray(ours(tx, *rows)[1])
        assert np.all(np.isfinite(scales) & (scales > 0))
    reached = np.asarray(theirs(2.0**126, 1, *gradients(0))[1])
    assert np.isinf(reached[-1])


def test_half_precision_gradients_are_divided_in_float32():
    """A gradient of 2^-30, which float16 does not have."""
    tx = oxe.keras.LossScaleOptimizer(optax.sgd(2.0**20), 2.0**15)
    params = jnp.zeros(2, jnp.float16)
    g = jnp.full(2, 2.0**-15, jnp.float16)
    u, _ = tx.update(g, tx.init(params), params)
    np.testing.assert_array_equal(u, np.full(2, -(2.0**-10), np.float16))


def test_a_dropped_update_is_not_counted():
    """Neither by the optimizer nor by an average around it."""
    inner = oxe.keras.LossScaleOptimizer(oxe.nadam(0.1))
    tx = oxe.with_average(inner, oxe.averages.uniform())
    params = jnp.ones(2)
    state = tx.init(params)
    for g in (1.0, np.inf, 1.0):
        _, state = jax.jit(tx.update)(jnp.full(2, g), state, params)
    assert optax.tree.get(state, "total_notfinite") == 1
    counts = [x for _, x in optax.tree.get_all_with_path(state, "count")]
    assert counts
    assert all(x == 2 for x in counts)


# ---- MultiOptimizer ------------------------------------------------------------------

PATHS = ("encoder/kernel", "encoder/bias", "decoder/kernel", "decoder/bias", "scale")
OPTIMIZERS = ("SGD", "Adam", "Nadam", "RMSprop")
KEYS = (".*", "encoder/.*", "encoder/kernel", "decoder/.*", "e.*/b.*", "scal")


def their_names(keys):
    """The expression whose optimizer Keras gives to each path; an error as None."""
    made = {key: keras.optimizers.SGD(name=key.replace("/", "")) for key in keys}
    default = keras.optimizers.SGD()
    groups = keras.optimizers.OptimizerMap(default, made)
    names = {id(default): "default", **{id(x): key for key, x in made.items()}}
    try:
        return {path: names[id(groups[path])] for path in PATHS}
    except ValueError:
        return None


def tree_of(values):
    """A nested dict, by paths."""
    tree = {}
    for path, x in values.items():
        *above, name = path.split("/")
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[name] = x
    return tree


def test_which_optimizer_a_param_has():
    """For every set of up to three expressions."""
    params = tree_of({path: jnp.ones(2) for path in PATHS})
    accepted = 0
    for n in range(4):
        for keys in itertools.combinations(KEYS, n):
            expected = their_names(keys)
            # The update of each param says whose it is.
            groups = {key: optax.scale(i + 1.0) for i, key in enumerate(keys)}
            groups = oxe.keras.OptimizerMap(optax.scale(0.0), groups)
            tx = oxe.keras.MultiOptimizer(groups)
            if expected is None:
                must = "`optimizer_map` must have one expression that matches"
                with pytest.raises(ValueError, match=f"^MultiOptimizer: {must}"):
                    tx.init(params)
            elif unused := [
                x for x in keys if not any(map(re.compile(x).fullmatch, PATHS))
            ]:
                must = re.escape(f"`optimizer_map`[{unused[0]}] must match the whole")
                with pytest.raises(ValueError, match=f"^MultiOptimizer: {must}"):
                    tx.init(params)
            else:
                us, _ = tx.update(params, tx.init(params))
                numbers = {**{x: i + 1 for i, x in enumerate(keys)}, "default": 0}
                wanted = {path: numbers[x] for path, x in expected.items()}
                assert jax.tree.map(lambda u: int(u[0]), us) == tree_of(wanted)
                accepted += 1
    assert accepted > 8


def test_several_optimizers():
    """The numbers of each alone, over several steps."""
    names = dict(zip(("encoder/.*", "decoder/bias"), OPTIMIZERS, strict=False))
    made = {key: getattr(oxe.keras, x)(0.1) for key, x in names.items()}
    groups = oxe.keras.OptimizerMap(oxe.keras.Nadam(0.1), made)
    tx = oxe.keras.MultiOptimizer(groups)
    alone = {**made, "default": oxe.keras.Nadam(0.1)}
    params = tree_of({path: jnp.ones(2) for path in PATHS})
    state, states = tx.init(params), {x: t.init(params) for x, t in alone.items()}
    for step in range(3):
        grads = optax.tree.scale(step + 0.5, params)
        us, state = jax.jit(tx.update)(grads, state, params)
        each = {}
        for key, other in alone.items():
            each[key], states[key] = other.update(grads, states[key], params)
        np.testing.assert_allclose(
            us["encoder"]["bias"], each["encoder/.*"]["encoder"]["bias"]
        )
        np.testing.assert_allclose(
            us["decoder"]["bias"], each["decoder/bias"]["decoder"]["bias"]
        )
        np.testing.assert_allclose(us["scale"], each["default"]["scale"])


def test_wrong_maps():
    sgd = optax.sgd(0.1)
    for make, error, message in [
        (
            lambda: oxe.keras.OptimizerMap(0.1),
            TypeError,
            "`default_optimizer` must be an",
        ),
        (lambda: oxe.keras.OptimizerMap(sgd, [sgd]), TypeError, "must be a dict"),
        (lambda: oxe.keras.OptimizerMap(sgd, {"(": sgd}), ValueError, "be a regular"),
        (
            lambda: oxe.keras.OptimizerMap(sgd, {"a": 1}),
            TypeError,
            "[a] must be an optax",
        ),
        (lambda: oxe.keras.OptimizerMap(sgd, {"default": sgd}), ValueError, "not have"),
        (lambda: oxe.keras.MultiOptimizer(lambda v: sgd), TypeError, "optax.partition"),
        (lambda: oxe.keras.MultiOptimizer(sgd, name="x"), TypeError, "named_chain"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            make()
