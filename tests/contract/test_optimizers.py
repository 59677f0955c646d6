"""What every optimizer, transform and rule keeps; `discovery` finds them."""

import inspect
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.discovery import CASES, OPTIMIZERS

ROOT = Path(__file__).parents[2]
STEPS = 5


def slow_if_variant(case, *rest):
    """In the fast run, of each rule one name, with the flags as they come."""
    marks = pytest.mark.full if case.is_slow else ()
    name = "-".join([case.name, *rest])
    return pytest.param(case, *rest, marks=marks, id=name)


each_case = pytest.mark.parametrize("case", [slow_if_variant(case) for case in CASES])
# The two that tell most are fast enough for every case.
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def gradient(params, step):
    """Some gradient of about 1 for each leaf, of its dtype; None where it is None."""

    def leaf(x):
        x = jnp.asarray(x)
        wave = np.cos(np.arange(x.size) + 0.7 * step + 0.3).reshape(x.shape)
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            wave = wave + 1j * np.sin(np.arange(x.size) + 1.1 * step).reshape(x.shape)
        return jnp.asarray(wave, x.dtype)

    return jax.tree.map(leaf, params)


def run(tx, params, steps=STEPS, update=None, state=None, first=0, **extra):
    """All updates, and the last state."""
    state = tx.init(params) if state is None else state
    update = tx.update if update is None else update
    us = []
    for step in range(first, first + steps):
        u, state = update(gradient(params, step), state, params, **extra)
        us.append(u)
    return us, state


def assert_close(got, expected, ulps=8):
    """Equal to a few float32 ulps of the largest number in each leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = np.abs(b).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=ulps * 2.0**-23 * scale)


def assert_same(got, expected):
    """Equal to the last bit."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


def abstract(tree):
    """Shapes, dtypes and weak types."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def test_something_is_discovered():
    """Known ones, of each kind; the rest of the file would pass without any."""
    names = {case.name for case in CASES}
    assert {"heavy_ball", "adagrad", "scale_by_adagrad", "scale_by_rate"} <= names
    assert {f"rules.{name}" for name in oxe.rules.__all__} <= names
    assert {"heavy_ball-nesterov", "adagrad-schedule", "rules.adam-eps_hat"} <= names
    assert {case.name for case in OPTIMIZERS} >= {"heavy_ball", "adagrad"}


# ---- Compiling -----------------------------------------------------------------------


@each_case
def test_eager_equals_jit_which_compiles_once(case):
    tx, params, traces = case.make(), discovery.params(), []

    @jax.jit
    def update(*args, **kwargs):
        traces.append(1)
        return tx.update(*args, **kwargs)

    assert_close(run(tx, params, update=update), run(tx, params))
    assert len(traces) == 1


@every_case
def test_scan(case):
    tx, params = case.make(), discovery.params()
    grads = [gradient(params, step) for step in range(STEPS)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *grads)

    def step(state, g):
        u, state = tx.update(g, state, params, **case.needs)
        return state, u

    state, us = jax.lax.scan(step, tx.init(params), stacked)
    expected, last = run(tx, params, **case.needs)
    assert_close(state, last)
    assert_close(us, jax.tree.map(lambda *xs: jnp.stack(xs), *expected))


@each_case
def test_vmap_over_seeds(case):
    tx, params = case.make(), discovery.params()
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), params)

    def two_updates(params):
        state = tx.init(params)
        for step in range(2):
            g = jax.tree.map(lambda x, s=step: jnp.cos(x + s), params)
            u, state = tx.update(g, state, params, **case.needs)
        return u, state

    together = jax.jit(jax.vmap(two_updates))(many)
    for i in range(3):
        one = two_updates(jax.tree.map(lambda x: x[i], many))  # noqa: B023
        assert_close(jax.tree.map(lambda x: x[i], together), one)  # noqa: B023


NUMBERS = [slow_if_variant(case, number) for case in CASES for number in case.numbers]


@pytest.mark.parametrize(("case", "number"), NUMBERS)
def test_vmap_over_a_hyperparameter(case, number):
    params, values = discovery.params(), case.values(number)

    def two_updates(x):
        tx = case.make(**{number: x})
        state = tx.init(params)
        for step in range(2):
            u, new = tx.update(gradient(params, step), state, params, **case.needs)
            assert jax.tree.structure(new) == jax.tree.structure(state)
            state = new
        return u, state

    together = jax.jit(jax.vmap(two_updates))(jnp.array(values, jnp.float32))
    for i, x in enumerate(values):
        # The Python number 0.9 and the float32 next to it: 1 - b has 20 bits of 0.1.
        # By leaves: the states say which of the two can be set.
        one = jax.tree.leaves(two_updates(np.float32(x)))
        assert_close([y[i] for y in jax.tree.leaves(together)], one, 64)


# ---- Trees and dtypes ----------------------------------------------------------------


class Frozen(eqx.Module):
    weight: jax.Array
    bias: jax.Array | None
    activation: object = eqx.field(static=True, default=jax.nn.relu)


def filtered():
    """Trainable parts of an Equinox model: None where a leaf is not trained."""
    return eqx.filter(Frozen(jnp.ones((2, 2)), jnp.arange(2)), eqx.is_inexact_array)


def masked():
    return {"w": jnp.ones(2), "frozen": optax.MaskedNode()}


TREES = {
    **{
        dtype: lambda dtype=dtype: jax.tree.map(
            lambda x: x.astype(dtype), discovery.params()
        )
        for dtype in ("float32", "bfloat16", "float16", "float64", "complex64")
    },
    "complex128": lambda: jnp.ones(3, jnp.complex128),
    "mixed": lambda: {
        "f32": jnp.ones(2),
        "bf16": jnp.ones((2, 1), jnp.bfloat16),
        "f16": jnp.ones((), jnp.float16),
        "c64": jnp.ones(2, jnp.complex64),
    },
    "mixed with float64": lambda: [jnp.ones(2, jnp.float32), jnp.ones(2, jnp.float64)],
    "scalar": lambda: jnp.float32(1.0),
    "weak": lambda: {"w": jnp.asarray(2.0)},
    "empty": dict,
    "nothing": lambda: None,
    "zero-size": lambda: {"w": jnp.ones((0, 3)), "b": jnp.ones(0, jnp.bfloat16)},
    "with None": lambda: {"w": jnp.ones(2), "frozen": None, "more": [None]},
    "equinox": filtered,
    "masked": masked,
}
NEEDS_X64 = {"float64", "complex128", "mixed with float64"}


COMPLEX = {"complex64", "complex128", "mixed"}


@each_case
@pytest.mark.parametrize("name", TREES)
def test_trees_and_dtypes(case, name):
    """Structure, shapes, dtypes and weak types: in as out, for good."""
    if name in COMPLEX and case.plain_name in discovery.REAL_ONLY:
        refused = pytest.raises(ValueError, match="must be real, got dtype")
        with jax.enable_x64(name in NEEDS_X64), refused:
            case.make().init(TREES[name]())
        return
    with jax.enable_x64(name in NEEDS_X64):
        params, tx = TREES[name](), case.make()
        strong = jax.tree.map(
            lambda x: jax.lax.convert_element_type(x, x.dtype), params
        )
        grads = gradient(params, 0)
        state = jax.eval_shape(tx.init, params)
        u, new = jax.eval_shape(partial(tx.update, **case.needs), grads, state, params)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert abstract(new) == abstract(state)
        assert not any(x.weak_type for x in jax.tree.leaves(new))
        expected = jax.eval_shape(lambda: strong)
        assert jax.tree.structure(u) == jax.tree.structure(params)
        assert [(x.shape, x.dtype) for x in jax.tree.leaves(u)] == [
            (x.shape, x.dtype) for x in jax.tree.leaves(expected)
        ]
        us, last = run(tx, params, steps=2, **case.needs)  # what is not abstract, too
        assert abstract(last) == abstract(state)
        for x in jax.tree.leaves(us):
            assert np.all(np.isfinite(np.asarray(x, np.complex64)))


@each_case
def test_a_leaf_without_a_gradient_stays(case):
    """Gradients None where there are params: no update there, and no motion."""
    tx, params = case.make(), discovery.params()
    grads = {**gradient(params, 0), "w": None}
    _, state = run(tx, params, steps=1, **case.needs)
    u, after = tx.update(grads, state, params, **case.needs)
    assert u["w"] is None
    assert jax.tree.structure(after) == jax.tree.structure(state)


@each_case
def test_half_precision_directions_are_the_rounded_float32_ones(case):
    """Arithmetic is float32 at least: one rounding apart, at the end."""
    tx = case.make()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), discovery.params())
    full = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    state, wide = tx.init(half), tx.init(full)
    for step in range(3):
        grads = gradient(half, step)
        u, state = tx.update(grads, state, half, **case.needs)
        grads = jax.tree.map(lambda x: x.astype(jnp.float32), grads)
        v, wide = tx.update(grads, wide, full, **case.needs)
    for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True):
        # A chain rounds between its links: two roundings of half an ulp.
        roundings = discovery.ROUNDINGS.get(case.plain_name, 2)
        rtol = roundings * 2.0**-8 + 1e-6
        np.testing.assert_allclose(np.asarray(a, np.float32), b, rtol=rtol)


@each_case
def test_unknown_extra_arguments_are_ignored(case):
    tx, params = case.make(), discovery.params()
    extra = {"value": jnp.float32(1), "grad": 2, "something": "else"}
    assert_same(run(tx, params, 2, **{**extra, **case.needs}), run(tx, params, 2))


# ---- Optax's combinators -------------------------------------------------------------


def partitioned(tx):
    labels = {"w": "a", "inner": "b"}
    return optax.partition({"a": tx, "b": tx}, labels)


def always(step, **extra):
    del step, extra
    return True


WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.identity(), tx, optax.identity()),
    "named_chain": lambda tx: optax.named_chain(("ours", tx), ("id", optax.identity())),
    "partition": partitioned,
    "masked": lambda tx: optax.masked(tx, {"w": True, "inner": True}),
    "flatten": optax.flatten,
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "conditionally_transform": lambda tx: optax.conditionally_transform(
        tx, always, forward_extra_args=True
    ),
}


WRAPPED = [
    slow_if_variant(case, wrapper)
    for case in CASES
    for wrapper in WRAPPERS
    if not (wrapper == "flatten" and case.plain_name in discovery.OF_SHAPE)
    and not (wrapper == "partition" and case.name in discovery.OF_THE_WHOLE)
]


@pytest.mark.parametrize(("case", "wrapper"), WRAPPED)
def test_inside_what_optax_has(case, wrapper):
    """Where the wrapper changes nothing, neither do the updates."""
    tx, params = case.make(), discovery.params()
    wrapped = WRAPPERS[wrapper](tx)
    update = jax.jit(partial(wrapped.update, **case.needs))
    us, state = run(wrapped, params, 3, update)
    assert_close(us, run(tx, params, 3, **case.needs)[0])
    assert jax.tree.structure(state) == jax.tree.structure(wrapped.init(params))


@each_case
def test_masked_leaves_pass_through(case):
    tx, params = case.make(), discovery.params()
    us, _ = run(optax.masked(tx, {"w": True, "inner": False}), params, 2, **case.needs)
    alone, _ = run(tx, {"w": params["w"]}, 2, **case.needs)
    assert_close([u["w"] for u in us], [u["w"] for u in alone])
    assert_same(us[1]["inner"], gradient(params, 1)["inner"])


@each_case
def test_accumulated_gradients(case):
    """MultiSteps hands over the average of two gradients."""
    tx, params = case.make(), discovery.params()
    twice = optax.MultiSteps(tx, 2).gradient_transformation()
    us, _ = run(twice, params, 4, jax.jit(twice.update))
    state = tx.init(params)
    for step in (0, 2):
        pair = gradient(params, step), gradient(params, step + 1)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *pair)
        u, state = tx.update(mean, state, params, **case.needs)
        assert_close(us[step + 1], u)
        assert all(np.all(x == 0) for x in jax.tree.leaves(us[step]))


@each_case
def test_a_skipped_update_leaves_no_trace(case):
    """Under apply_if_finite a NaN gradient does not reach the state."""
    tx, params = optax.apply_if_finite(case.make(), 3), discovery.params()
    update = jax.jit(partial(tx.update, **case.needs))
    _, state = run(tx, params, 2, update)
    broken = jax.tree.map(lambda x: x * jnp.nan, gradient(params, 0))
    u, after = update(broken, state, params)
    assert_same(after.inner_state, state.inner_state)
    assert all(np.all(x == 0) for x in jax.tree.leaves(u))


@pytest.mark.parametrize("case", [slow_if_variant(x) for x in CASES if x.numbers])
def test_inject_hyperparams(case):
    """Every number at once an array in a state; then one of them changed by hand."""
    params = discovery.params()
    settings = {number: float(case.values(number)[-1]) for number in case.numbers}
    arguments = inspect.signature(case.factory).parameters
    static = tuple(key for key in arguments if key not in case.numbers)
    injected = optax.inject_hyperparams(case.factory, static_args=static)
    tx = injected(**{**case.settings, **settings})
    us, state = run(tx, params, steps=2, **case.needs)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))
    assert_close(us, run(case.make(**settings), params, 2, **case.needs)[0], 64)
    number = case.numbers[0]
    state.hyperparams[number] = jnp.float32(case.values(number)[0])
    changed, _ = run(tx, params, 1, state=state, first=2, **case.needs)
    as_it_was, _ = run(case.make(**settings), params, 3, **case.needs)
    # On the third update: not what it would have been.
    later = {number, (case.plain_name, number)} & set(discovery.FELT_LATER)
    if case.values(number)[0] != settings[number] and not later:
        a, b = jax.tree.leaves(changed[-1])[0], jax.tree.leaves(as_it_was[-1])[0]
        assert not np.array_equal(a, b)


# ---- Where Optax gets in the way -----------------------------------------------------


def test_inject_hyperparams_rounds_to_half_precision():
    """Optax keeps numbers in the dtype of the params: 0.999 is 1 in bfloat16."""
    tx = optax.inject_hyperparams(oxe.heavy_ball)(0.1, momentum=0.9)
    params = jnp.ones(2, jnp.bfloat16)
    state = tx.init(params)
    assert state.hyperparams["momentum"].dtype == jnp.bfloat16
    u, after = tx.update(params, state, params)
    assert u.dtype == jnp.bfloat16
    assert abstract(after) == abstract(state)
    # The rate that is applied is the rounded one, and so is the one that is read.
    assert oxe.learning_rate(after) == jnp.bfloat16(0.1)
    with pytest.raises(ValueError, match=r"`momentum` must be in .* got Array"):
        optax.inject_hyperparams(oxe.heavy_ball)(0.1, momentum=0.999).init(params)


def test_multi_steps_drops_extra_arguments():
    """In Optax, inside a chain: what a rule's `after` needs does not get through."""

    def after(t, carry, *, value, **_):
        return carry

    rule = oxe.Rule(
        lambda: (), lambda t, carry: (oxe.Tableau(n0=1), carry), after, frozenset()
    )
    tx, params = oxe.scale_by_moments(rule), jnp.ones(2)
    tx.update(params, tx.init(params), params, value=1.0)
    wrapped = optax.chain(optax.MultiSteps(tx, 1).gradient_transformation())
    with pytest.raises(TypeError, match="value"):
        wrapped.update(params, wrapped.init(params), params, value=1.0)


# ---- Saving and resuming -------------------------------------------------------------


@each_case
def test_a_resumed_run_is_the_same_run(case):
    tx, params = case.make(), discovery.params()
    update = jax.jit(partial(tx.update, **case.needs))
    us, last = run(tx, params, steps=4, update=update)
    treedef = jax.tree.structure(jax.eval_shape(tx.init, params))
    for stop in range(4):
        _, state = run(tx, params, steps=stop, update=update)
        saved = [np.asarray(x) for x in jax.tree.leaves(state)]
        resumed = treedef.unflatten([jnp.asarray(x) for x in saved])
        left = run(tx, params, 4 - stop, update, resumed, first=stop)
        assert_same(left, (us[stop:], last))


def test_orbax(tmp_path):
    """All states in one checkpoint."""
    params = discovery.params()
    states = {case.name: run(case.make(), params, 3, **case.needs)[1] for case in CASES}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "states", states)
        checkpointer.wait_until_finished()
        shapes = {case.name: jax.eval_shape(case.make().init, params) for case in CASES}
        target = jax.tree.map(
            lambda x, like: jax.ShapeDtypeStruct(
                x.shape, x.dtype, sharding=like.sharding
            ),
            shapes,
            states,
        )
        restored = checkpointer.restore(tmp_path / "states", target)
    assert_same(restored, states)
    for case in CASES:
        kw = {"steps": 2, "first": 3, **case.needs}
        resumed = run(case.make(), params, state=restored[case.name], **kw)
        assert_same(resumed, run(case.make(), params, state=states[case.name], **kw))


# ---- States --------------------------------------------------------------------------


def is_count(path):
    """Whether this is the number of updates made."""
    return getattr(path[-1], "name", None) == "count"


def counts_something(path):
    """Whether it is that, or a number of updates of one phase."""
    name = getattr(path[-1], "name", None)
    return is_count(path) or name in discovery.PHASE_COUNTS


@each_case
def test_the_count_saturates(case):
    tx, params = case.make(), discovery.params()
    end = 2**31 - 1
    _, state = run(tx, params, 2, **case.needs)
    near = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.full_like(x, end - 1) if counts_something(path) else x,
        state,
    )
    us, state = run(tx, params, 3, state=near, **case.needs)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    counts = [x for path, x in leaves if is_count(path)]
    assert bool(counts) == (case.plain_name not in discovery.WITHOUT_COUNT)
    assert all(x.dtype == jnp.int32 and x == end for x in counts)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(us))


@each_case
def test_states_own_their_arrays(case):
    """Nothing else is donated with a state, and two states share nothing."""
    params = discovery.params()
    held = {number: jnp.float32(case.values(number)[-1]) for number in case.numbers}
    tx = case.make(**held)
    step = jax.jit(partial(tx.update, **case.needs), donate_argnums=1)
    one, other = tx.init(params), tx.init(params)
    for state in (one, other):
        for i in range(3):
            _, state = step(gradient(params, i), state, params)
    assert all(jnp.isfinite(x) for x in held.values())
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params))
    assert_same(tx.init(params), case.make(**held).init(params))


@each_case
def test_an_eager_update_gives_a_state_that_can_be_donated(case):
    """After an update without jit, too, the next one may take the state's buffers."""
    params = discovery.params()
    held = {number: jnp.float32(case.values(number)[-1]) for number in case.numbers}
    tx = case.make(**held)
    step = jax.jit(partial(tx.update, **case.needs), donate_argnums=1)
    grads = gradient(params, 0)
    _, state = tx.update(grads, tx.init(params), params, **case.needs)
    step(gradient(params, 1), state, params)
    for x in (*held.values(), *jax.tree.leaves((params, grads))):
        assert jnp.all(jnp.isfinite(x))


@each_case
def test_map_params(case):
    """Moments are recognised as like the params, scalars are not."""
    tx, params = case.make(), discovery.params()
    _, state = run(tx, params, 2, **case.needs)
    mapped = optax.tree.map_params(tx, lambda x: x + 1, state)
    moments = []
    for (path, before), after in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(mapped), strict=True
    ):
        moved = not np.array_equal(before, after)
        names = {getattr(key, "name", None) for key in path}
        moments.append(moved)
        assert moved == bool(names & discovery.MOMENTS), jax.tree_util.keystr(path)
    if case.plain_name not in discovery.OF_SHAPE:
        assert sum(moments) % len(jax.tree.leaves(params)) == 0


# ---- Going downhill ------------------------------------------------------------------


@every_case
def test_goes_downhill(case):
    """On a quadratic, (1/2) sum of a (x - 1)^2 with curvatures from 1/2 to 2."""
    tx, params = case.descent(), discovery.params()

    def loss(params):
        leaves = jnp.concatenate([x.ravel() for x in jax.tree.leaves(params)])
        return jnp.sum(jnp.linspace(0.5, 2, leaves.size) * (leaves - 1) ** 2) / 2

    def step(carry, _):
        params, state = carry
        u, state = tx.update(jax.grad(loss)(params), state, params, **case.needs)
        return (optax.apply_updates(params, u), state), None

    run_all = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300)[0][0])
    end = run_all((params, tx.init(params)))
    assert loss(end) < 0.1 * loss(params)


# ---- Many devices --------------------------------------------------------------------

# In a process of its own: the number of CPU devices is fixed when JAX starts.
SHARDED = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from tests.contract.discovery import CASES

mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
specs = {"w": P("x", "y"), "b": P("y"), "s": P()}
shardings = {key: NamedSharding(mesh, spec) for key, spec in specs.items()}
plain = {
    "w": jnp.linspace(-1, 2, 64).reshape(16, 4), "b": jnp.arange(4.0), "s": jnp.ones(())
}
params = jax.device_put(plain, shardings)

def grads(step):
    return jax.tree.map(lambda x: jnp.cos(x + step), plain)

def moments(state):
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if path[-1] in map(jax.tree_util.DictKey, specs):
            yield path[-1].key, leaf

def sharded_like_params(state):
    return all(
        leaf.sharding.is_equivalent_to(shardings[key], leaf.ndim)
        for key, leaf in moments(state)
    )

report = {}
for case in CASES:
    tx = case.make()
    eager, jitted = tx.init(params), jax.jit(tx.init)(params)
    state, alone = eager, tx.init(plain)
    step = jax.jit(tx.update)
    worst = 0.0
    for i in range(3):
        sharded = jax.device_put(grads(i), shardings)
        u, state = step(sharded, state, params)
        v, alone = step(grads(i), alone, plain)
        for a, b in zip(jax.tree.leaves((u, state)), jax.tree.leaves((v, alone))):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            scale = np.abs(b).max(initial=1e-30)
            worst = max(worst, float(np.abs(a - b).max(initial=0) / scale))
    report[case.name] = {
        "eager init": sharded_like_params(eager),
        "jitted init": sharded_like_params(jitted),
        "update": sharded_like_params(state),
        "updates": sharded_like_params(u),
        "difference": worst,
        "moments": len(list(moments(state))),
    }
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def sharded():
    flags = "--xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.full
@each_case
@pytest.mark.parametrize("what", ["eager init", "jitted init", "update", "updates"])
def test_sharded_as_the_params_are(sharded, case, what):
    assert sharded[case.name][what]


@pytest.mark.full
@each_case
def test_the_same_numbers_on_many_devices(sharded, case):
    assert sharded[case.name]["difference"] <= 4 * 2.0**-23
