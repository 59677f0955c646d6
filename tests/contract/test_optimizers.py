"""What every optimizer, transform and rule keeps; `discovery` finds them.

A clause costs what it compiles. So each case has one compiled update, on which most
clauses look; what is left to compile holds many things at once, and the rest is run by
operation.
"""

import contextlib
import inspect
import re
from collections import defaultdict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras._translation.states import buffers_of, shares_count, walk, with_counts
from tests.contract import discovery
from tests.contract.discovery import OPTIMIZERS
from tests.contract.runs import (
    STEPS,
    abstract,
    assert_close,
    assert_same,
    gradient,
    kinds,
    run,
    run_of,
)

TWINS = [x for x in discovery.CASES if x.twin]
# The options of a twin are those of its optimizer, number for number: see the test.
# A learning rate that is a schedule or a metric schedule is `scale_by_rate`, mostly.
RATE_OUTSIDE = ("adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "rmsprop")
RATE_OUTSIDE += ("sgd",)
CASES = [
    x
    for x in discovery.CASES
    if x.is_plain
    or not (
        x.twin or (x.plain_name in RATE_OUTSIDE and x.name.endswith(discovery.RATED))
    )
]


def slow_if_variant(case):
    """In the fast run, of each rule one name, with the flags as they come."""
    marks = pytest.mark.full if case.is_slow else ()
    return pytest.param(case, marks=marks, id=case.name)


def each(cases):
    """The scope makes one case follow the other, with all its clauses."""
    params = [slow_if_variant(case) for case in cases]
    return pytest.mark.parametrize("case", params, scope="module")


each_case = each(CASES)
# What a flag changes in the numbers is nothing to what is wrapped around them.
PLAIN = [x for x in CASES if x.is_plain or x.name in discovery.COMBINED]
each_plain_case = each(PLAIN)
each_with_numbers = each([x for x in PLAIN if x.numbers])


@contextlib.contextmanager
def by_operation():
    """Without compiling, in JAX's debug modes.

    They refuse NaNs, implicit dtype promotion and implicit rank promotion.
    """
    with (
        jax.disable_jit(),
        jax.debug_nans(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        yield


def as_python_number(path, x):
    """A number in a state as Python's; buffers, of a scalar weight too, as they are."""
    is_buffer = x.ndim or jax.tree_util.keystr(path).endswith("['inner'][1]")
    return x if is_buffer else x.item()


def complaint(call):
    """The text of a refusal; None if there is none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return None


def test_something_is_discovered():
    """Known ones, of each kind; the rest of the file would pass without any."""
    names = {case.name for case in CASES}
    assert {"heavy_ball", "adagrad", "scale_by_adagrad", "scale_by_rate"} <= names
    assert {f"rules.{name}" for name in oxe.rules.__all__} <= names
    assert {"nadam-greedy", "nadam-schedule", "rules.radam"} <= names
    assert {case.name for case in OPTIMIZERS} >= {"heavy_ball", "adagrad"}
    assert {x.name for x in TWINS} >= {"rules.amsgrad-eps_hat", "scale_by_adagrad"}
    matrices = {x.name for x in discovery.CASES if x.is_plain and x.of_matrices}
    assert matrices == {"muon", "scale_by_muon", "pytorch.Muon"}
    others = {x.name for x in CASES if x.is_plain and not x.is_elementwise} - matrices
    adafactors = {"adafactor", "pytorch.Adafactor", "keras.Adafactor"}
    known = {*adafactors, "keras.Muon", "low_precision_state"}
    assert others == known | discovery.BY_NORMS


# An optimizer hands its options to its rule, so that a rule needs them in few runs.
FAMILIES, OPTIONS_OF_RULES = defaultdict(list), defaultdict(list)
for twin in TWINS:
    few = twin.name.startswith("rules.") and not twin.is_plain
    (OPTIONS_OF_RULES if few else FAMILIES)[twin.twin.partition("-")[0]].append(twin)


@pytest.mark.parametrize(
    "twins",
    [
        *(pytest.param(x, id=name) for name, x in FAMILIES.items()),
        *(
            pytest.param(x, id=f"{name}-options", marks=pytest.mark.full)
            for name, x in OPTIONS_OF_RULES.items()
        ),
    ],
)
def test_a_transform_and_a_rule_are_their_optimizer(twins):
    """The same updates to the last bit, so that all clauses hold for them."""
    pairs = {}
    for case in twins:
        twin = next(x for x in discovery.CASES if x.name == case.twin)
        settings = discovery.QUICK.get(case.plain_name, {})
        if "weight_decay" in twin.numbers:  # not 0 by default in `lion`
            settings = {**settings, "weight_decay": 0.0}
        made = twin.make(**settings)
        bare = case.make(**discovery.QUICK.get(case.plain_name, {}))
        end = optax.scale(-1.0) if case.rate_inside else oxe.scale_by_rate(0.1)
        if case.rate_inside and case.name.startswith("scale_by_rate"):
            end = optax.identity()
        pairs[case.name] = optax.chain(bare, end), made
    params = twins[0].params()

    @jax.jit
    def update(grads, states):
        return {
            key: [
                tx.update(grads, state, params, **discovery.metric_at(0))
                for tx, state in zip(txs, states[key], strict=True)
            ]
            for key, txs in pairs.items()
        }

    states = {key: [tx.init(params) for tx in txs] for key, txs in pairs.items()}
    for step in range(5):
        found = update(gradient(params, step), states)
        for (bare, _), (made, _) in found.values():
            assert_same(bare, made)
        states = {key: [state for _, state in x] for key, x in found.items()}


# ---- Compiling -----------------------------------------------------------------------


OTHERS = (
    "value",
    "grad",
    "something",
    "self",
    "t",
    "carry",
    "kept",
    "condition_state",
    "rule",
)
OTHERS += ("rate", "metrics", "updates_", "count")


@each_case
def test_by_operation_and_jitted_once(case):
    """The same numbers with any other extra arguments, also for a zero gradient.

    So too if the numbers in the state are Python's, as when somebody has set them.
    """
    kept = run_of(case)
    assert kept.traces == 1
    extra = dict.fromkeys(OTHERS, 3)
    with by_operation():
        tx, params = case.make(), case.params()
        # A condition gets the count by that name.
        if said := complaint(lambda: run(tx, params, 1, **extra)):
            assert "`count` must not be an extra argument of `update`" in said
            assert case.name in discovery.COMBINED
            del extra["count"]
        us, state = run(tx, params, 3, **extra)
        zero = jax.tree.map(jnp.zeros_like, params)
        for first in (tx.init(params), state):
            u, _ = tx.update(zero, first, params)
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(u))
        by_hand = jax.tree_util.tree_map_with_path(as_python_number, state)
        assert_close(tx.update(zero, by_hand, params)[0], u, case.ulps)
    assert_close((us, state), (kept.us[:3], kept.states[3]), case.ulps)
    assert abstract(state) == abstract(kept.states[0])


@each_case
def test_scan_and_vmap(case):
    """In a loop, its numbers traced, and many at once: over seeds and every number."""
    kept = run_of(case)
    grads = [gradient(kept.params, step) for step in range(STEPS)]
    settings = {x: case.settings.get(x, default_of(case, x)) for x in case.numbers}
    others = {
        name: next(float(np.float32(y)) for y in case.values(name) if y != x)
        for name, x in settings.items()
    }

    def loop(numbers, scale):
        tx = case.make(**numbers)
        params = jax.tree.map(lambda x: scale * x, kept.params)

        def step(state, g):
            g = jax.tree.map(lambda x: scale * x, g)
            u, state = tx.update(g, state, params)
            return state, u

        state, us = jax.lax.scan(step, tx.init(params), stack(grads))
        return us, jax.tree.leaves(state)  # which say what numbers can be set

    scales = np.float32([1, 2, -1] + [1] * len(others))
    many = stack([settings] * 3 + [{**settings, name: others[name]} for name in others])
    many, _ = jax.tree.map(np.asarray, jax.jit(jax.vmap(loop))(many, scales))
    rows = [jax.tree.map(lambda x, i=i: x[i], many) for i in range(len(scales))]
    # The Python number 0.9 and the float32 next to it: 1 - b has 20 bits of 0.1.
    ulps = max(64 if settings else 0, case.ulps)
    assert_close(rows[0], stack(kept.us), ulps)
    for row, scale in zip(rows[1:3], scales[1:], strict=False):
        params, *gs = jax.tree.map(lambda x: scale * x, [kept.params, *grads])  # noqa: B023
        state, us = kept.tx.init(params), []
        for g in gs:
            u, state = kept.update(g, state, params)
            us.append(u)
        assert_close(row, stack(us), ulps, f"scale {scale}")
    # A concrete number may take another code path: a 0 removes its term.
    for row, (name, value) in zip(rows[3:], others.items(), strict=True):
        with by_operation():
            us, _ = run(case.make(**{name: value}), kept.params, 2)
        row = jax.tree.map(lambda x: x[:2], row)
        assert_close(row, stack(us), ulps, f"{name} = {value}")


def stack(trees):
    return jax.tree.map(lambda *xs: np.stack(list(map(np.float32, xs))), *trees)


def default_of(case, number):
    return inspect.signature(case.factory).parameters[number].default


# ---- Trees and dtypes ----------------------------------------------------------------


class Frozen(eqx.Module):
    weight: jax.Array
    bias: jax.Array | None
    activation: object = eqx.field(static=True, default=jax.nn.relu)


def with_other_nodes():
    """Nodes that are not arrays of floats, beside a few leaves; also of Equinox."""
    module = Frozen(jnp.ones((2, 2)), jnp.arange(2))
    return {
        "w": jnp.ones(2),
        "weak": jnp.asarray(2.0),
        "integers": jnp.arange(3),
        "bools": jnp.ones(2, bool),
        "frozen": None,
        "more": [None, optax.MaskedNode()],
        "equinox": eqx.filter(module, eqx.is_inexact_array),
    }


TREES = {
    "floats": lambda: {
        "bf16": jax.tree.map(lambda x: x.astype(jnp.bfloat16), discovery.params()),
        "f32": jnp.ones(2),
        "f16": jnp.ones((), jnp.float16),
        "nodes": with_other_nodes(),
    },
    # Complex leaves may be refused: the other trees have none.
    "complex64": lambda: {
        "c64": [jnp.ones((2, 3), jnp.complex64), jnp.ones((), jnp.complex64)],
        "f32": jnp.ones(2),
    },
    "complex128": lambda: jnp.ones(3, jnp.complex128),
    "float64": lambda: {
        "f32": jnp.ones(2, jnp.float32),
        "f64": [jnp.ones((2, 3), jnp.float64), jnp.ones((), jnp.float64)],
    },
    "scalar": lambda: jnp.float32(1.0),
    "empty": dict,
    "nothing": lambda: None,
    "zero-size": lambda: {"w": jnp.ones((0, 3)), "b": jnp.ones(0, jnp.bfloat16)},
}
NEEDS_X64 = {"complex128", "float64"}


def state_or_refusal(tx, params):
    """The first state, traced, or what `init` says against these params."""
    try:
        return jax.eval_shape(tx.init, params)
    except ValueError as error:
        return str(error)


@each_case
@pytest.mark.parametrize("x64", [False, True])
def test_trees_and_dtypes(case, x64):
    """Structure, shapes, dtypes and weak types: in as out, for good."""
    with jax.enable_x64(x64):
        names = [name for name in TREES if (name in NEEDS_X64) == x64]
        trees = {name: case.fit(TREES[name]()) for name in names}
        tx, states = case.make(), {}
        for name, params in list(trees.items()):
            state = state_or_refusal(tx, params)
            if isinstance(state, str):
                wanted = "be (a )?real|have at least one input"
                assert re.search(rf": `params.* must ({wanted})", state), name
                leaves = jax.tree.leaves(params)
                assert any(jnp.iscomplexobj(x) or x.size == 0 for x in leaves), name
                del trees[name]
                continue
            u, new = jax.eval_shape(tx.update, gradient(params, 0), state, params)
            assert jax.tree.structure(new) == jax.tree.structure(state), name
            assert abstract(new) == abstract(state), name
            assert not any(x.weak_type for x in jax.tree.leaves(new)), name
            assert jax.tree.structure(u) == jax.tree.structure(params), name
            assert kinds(u) == kinds(params), name
            states[name] = state
        # Of the others shapes and dtypes are enough.
        if "complex64" in states:
            with jax.disable_jit():
                us, last = run(tx, trees["complex64"], 1)
            assert abstract(last) == abstract(states["complex64"])
            for x in jax.tree.leaves(us):
                assert np.all(np.isfinite(x))


@each_case
def test_a_leaf_without_a_gradient_stays(case):
    """A gradient of None: the param has no update and does not move."""
    kept = run_of(case)
    grads = {**gradient(kept.params, 0), "w": None}
    u, after = jax.eval_shape(kept.tx.update, grads, kept.states[1], kept.params)
    assert u["w"] is None
    assert abstract(after) == abstract(kept.states[1])


@each([x for x in CASES if x.name not in discovery.KEEP_REMAINDERS])
def test_half_precision_updates_are_the_rounded_float32_ones(case):
    """Arithmetic is float32 at least, and rounded once, at the end.

    Products of matrices differ by float32 ulps between the two programs, which may turn
    the last bit of bfloat16, and more of them where an entry is near 0.
    """
    tx = case.make()

    def compare(u, v):
        u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
        ulps = case.ulps * 2.0**-23 * np.abs(v).max(initial=0)
        tolerance = 2.0**-7 * np.abs(v) + ulps if case.multiplies_matrices else 0
        assert np.all(np.abs(u - v) <= tolerance)

    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), case.params())
    full = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    state, wide, update = tx.init(half), tx.init(full), run_of(case).update
    for step in range(3):
        grads = gradient(half, step)
        u, state = update(grads, state, half)
        grads = jax.tree.map(lambda x: x.astype(jnp.float32), grads)
        v, wide = update(grads, wide, full)
        v = jax.tree.map(lambda x: x.astype(jnp.bfloat16), v)
        jax.tree.map(compare, u, v)


@each_plain_case
def test_half_precision_without_implicit_promotion(case):
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), case.params())
    with jax.numpy_dtype_promotion("strict"):
        tx = case.make()
        state = tx.init(half)
        u, after = jax.eval_shape(tx.update, half, state, half)
    assert jax.tree.all(jax.tree.map(lambda x: x.dtype == jnp.bfloat16, u))
    assert abstract(after) == abstract(state)


# ---- Optax's combinators -------------------------------------------------------------


def always(step, **extra):
    del step, extra
    return True


# Of states in few bits the plain one: they are rounded by chance, where an ulp between
# two programs may turn a bit, and the sums of SWATS carry that to every weight.
WRAPPED = [x for x in PLAIN if not x.name.startswith("low_precision_state-")]


@each(WRAPPED)
def test_inside_all_that_optax_has(case):
    """One wrapper inside the other, none of which changes a number.

    A masked leaf passes through, gradients are averaged over two calls, and one that is
    not finite leaves no trace.
    """
    kept = run_of(case)
    tx = optax.flatten(kept.tx) if case.is_elementwise else kept.tx
    tx = optax.chain(optax.identity(), tx, optax.identity())
    tx = optax.named_chain(("ours", tx), ("identity", optax.identity()))
    tx = optax.conditionally_transform(tx, always, forward_extra_args=True)
    ours = {"w": True, "inner": True, "frozen": True, "rest": False}
    labels = {name: "ours" if x else "rest" for name, x in ours.items()}
    tx = optax.masked(tx, {**ours, "frozen": False})
    tx = optax.partition({"ours": tx, "rest": optax.identity()}, labels)
    tx = optax.MultiSteps(tx, 2).gradient_transformation()
    tx = optax.apply_if_finite(tx, 3)

    params = {**kept.params, "frozen": jnp.ones(2), "rest": jnp.ones(2)}
    more = {"frozen": jnp.array([1.0, 2.0]), "rest": jnp.array([3.0, 4.0])}
    state, update = tx.init(params), jax.jit(tx.update)
    first = state
    for step in range(3):
        grads = jax.tree.map(np.asarray, {**gradient(kept.params, step), **more})
        for bad in (np.nan, np.inf, -np.inf) if step == 2 else ():
            broken = {**grads, "w": np.full_like(grads["w"], bad)}
            u, state = update(broken, state, params)
            assert all(np.all(x == 0) for x in jax.tree.leaves(u))
        # Two, of which this is the average, to the last bit.
        u, state = update(jax.tree.map(lambda x: x * 2, grads), state, params)
        assert all(np.all(x == 0) for x in jax.tree.leaves(u))
        u, state = update(jax.tree.map(lambda x: x * 0, grads), state, params)
        assert_close({name: u[name] for name in more}, more)
        ours = {name: u[name] for name in kept.params}
        assert_close(ours, kept.us[step], case.ulps)
    assert abstract(state) == abstract(first)


@each_with_numbers
def test_inject_hyperparams(case):
    """Every number at once an array in a state; then all of them changed by hand."""
    kept, names = run_of(case), case.numbers
    arguments = inspect.signature(case.factory).parameters
    static = tuple(key for key in arguments if key not in names)
    injected = optax.inject_hyperparams(case.factory, static_args=static)
    settings = {x: float(case.settings.get(x, default_of(case, x))) for x in names}
    tx, params = injected(**{**case.settings, **settings}), kept.params
    with by_operation():
        first = tx.init(params)
        us, state = run(tx, params, 2, state=first)
        assert abstract(state) == abstract(first)
        assert_close(us, kept.us[:2], max(64, case.ulps))
        # The same state for array and Python numbers. Only a concrete momentum of 0, in
        # `pytorch` and `keras`, has no buffer.
        if settings.get("momentum") != 0:
            assert abstract(state.inner_state) == abstract(kept.states[2])
        others = {x: jnp.float32(other_value(case, x, settings[x])) for x in names}
        state.hyperparams.update(others)
        (u,), _ = run(tx, params, 1, state=state, first=2)
        plain = case.make(**others)
        (v,), _ = run(plain, params, 1, state=state.inner_state, first=2)
    assert_same(u, v)


def other_value(case, name, value):
    return next(x for x in case.values(name)[::-1] if x != value)


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
    kept = run_of(case)
    treedef = jax.tree.structure(jax.eval_shape(kept.tx.init, kept.params))
    for stop in range(STEPS):
        saved = [np.array(x) for x in jax.tree.leaves(kept.states[stop])]
        resumed = treedef.unflatten([jnp.asarray(x) for x in saved])
        left = run(kept.tx, kept.params, STEPS - stop, kept.update, resumed, stop)
        assert_same(left, (kept.us[stop:], kept.states[-1]))


# ---- States --------------------------------------------------------------------------


def is_count(path):
    """Whether this is the number of updates made, as Optax calls it."""
    return getattr(path[-1], "name", None) == "count"


@each_case
def test_counts_saturate(case):
    """Integers that have grown in the run: near 2^31 - 1 none of them turns round."""
    kept, end = run_of(case), 2**31 - 1

    def near_the_end(before, after):
        counts = after.dtype == jnp.int32 and np.any(after > before)
        return jnp.full_like(after, end - 1) if counts else after

    near = jax.tree.map(near_the_end, kept.states[0], kept.states[3])
    us, state = run(kept.tx, kept.params, 3, kept.update, near)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    for (path, x), start in zip(leaves, jax.tree.leaves(near), strict=True):
        is_near = start.dtype == jnp.int32 and np.all(start == end - 1)
        # Of other counters, as that of bad metrics, some begin again.
        least = end - 1 if is_count(path) else 0
        assert not is_near or np.all(x >= least), jax.tree_util.keystr(path)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(us))


@each_plain_case
def test_states_own_their_arrays(case):
    """No array of a state is one of the caller's, or of another state.

    So a state may be donated, the first one and one that was made without jit.
    """
    params, grads = case.params(), gradient(case.params(), 0)
    numbers = {x: jnp.float32(case.values(x)[-1]) for x in case.numbers}
    tx = case.make(**numbers)
    one, other = tx.init(params), tx.init(params)
    _, new = tx.update(grads, tx.init(params), params)
    owners = {}
    trees = {
        "params": params,
        "gradients": grads,
        "numbers": numbers,
        "a state": one,
        "another state": other,
        "the state after an update": new,
    }
    for owner, tree in trees.items():
        for path, x in jax.tree_util.tree_leaves_with_path(tree):
            here = f"{owner}{jax.tree_util.keystr(path)}"
            place = x.unsafe_buffer_pointer()
            assert not x.size or place not in owners, (here, owners[place])
            owners[place] = here


@each_case
def test_map_params(case):
    """Params-shaped trees of the state are recognized as such, numbers are not."""
    kept = run_of(case)
    state = kept.states[2]
    mapped = optax.tree.map_params(kept.tx, lambda x: x + 1, state)
    of_params = [path for path, _ in jax.tree_util.tree_leaves_with_path(kept.params)]

    def is_of_a_leaf(path):
        """Its path holds the path of a leaf, or that of the stacks of leaves."""
        keys = list(map(str, path))
        # One number for each param, which tells its dtype; the names of groups.
        if {".like", ".missed"} & {*keys}:
            return False
        known = [list(map(str, x)) for x in of_params] + [[".stacks"]]
        return any(
            keys[i : i + len(x)] == x for x in known for i in range(1, len(keys))
        )

    moved = 0
    for (path, before), after in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(mapped), strict=True
    ):
        changed = not np.array_equal(before, after)
        moved += changed
        assert changed == is_of_a_leaf(path), jax.tree_util.keystr(path)
    if case.is_elementwise:
        assert moved % len(of_params) == 0


@each_plain_case
def test_buffers_say_what_they_hold(case):
    """So that `translate` carries them across; a wrapper's own follow the wrapper."""
    params = [jnp.ones((5, 3)), jnp.ones((5, 3))]
    for place, state in walk(case.make().init(params)):
        fields = getattr(state, "_fields", ())
        if any(name.startswith("inner") for name in fields):
            continue
        for name in fields:
            tree = getattr(state, name)
            if jax.tree.structure(tree) == jax.tree.structure(params):
                assert name in buffers_of(state), f"{place}.{name}"


@each_plain_case
def test_a_state_says_that_params_share_a_count(case):
    """If its updates depend on it; of a rule's state `translate` sees it by itself."""
    params = [jnp.ones((5, 3)), jnp.ones((5, 3))]
    tx = case.make()
    state = tx.init(params)
    buffered = [x for _, x in walk(state) if buffers_of(x)]
    if all(isinstance(x, oxe.states.MomentsState) for x in buffered):
        return
    later, same = with_counts(state, lambda count: count + 3), True
    for step in (1.0, 2.0, 0.5):  # what a count changes may act in a later update
        grads = [step * x for x in params]
        u, state = tx.update(grads, state, params)
        v, later = tx.update(grads, later, params)
        same &= jax.tree.all(jax.tree.map(np.array_equal, u, v))
    assert same or any(map(shares_count, buffered))


# ---- Huge gradients, and many --------------------------------------------------------


@each_case
def test_no_finite_gradient_makes_a_nan(case):
    """Neither at once nor in later updates, at the first and at a later step.

    The exceptions are stated in the docstrings.
    """
    kept = run_of(case)
    texts = [inspect.getdoc(case.factory) or ""]
    pointed = re.findall(r":func:`(\w+)`", texts[0].partition("\n")[0])
    places = (oxe, oxe.keras, oxe.pytorch)
    texts += [
        inspect.getdoc(getattr(place, name))
        for name in pointed
        for place in places
        if hasattr(place, name)
    ]
    documented = any(re.search(r"leaf\s+NaN", text) for text in texts)
    for size in (1e38, 1e20, 1e-20, 1e-45, 0.0):
        grads = jax.tree.map(
            lambda x: np.asarray(np.float32(size) * np.sign(x)),  # noqa: B023
            gradient(kept.params, 1),
        )
        for state in (kept.states[0], kept.states[3]):
            for each in (grads, *(gradient(kept.params, k) for k in range(3))):
                u, state = kept.update(each, state, kept.params)
                finite = all(np.isfinite(x).all() for x in jax.tree.leaves(u))
                assert finite or (documented and size >= 1e20), size


LONG = [
    x
    for x in CASES
    if (x.is_optimizer and x.is_plain)
    or x.name in discovery.COMBINED
    or x.name.endswith("-early")
]


@pytest.mark.full
@pytest.mark.parametrize("case", LONG, ids=[x.name for x in LONG])
def test_a_million_steps(case):
    """Of a small problem, under noise: everything stays finite."""
    tx, leaves = case.descent(), 2 if case.name in discovery.STACKS else 1
    params = [jnp.array([[1.0, -2.0]])] * leaves
    first = tx.init(params)

    @jax.jit
    def run(params, state, key):
        def step(carry, noise):
            params, state = carry
            grads = jax.tree.map(lambda x: x + noise, params)
            metric = {discovery.MONITORED: jnp.sum(grads[0] ** 2)}
            u, state = tx.update(grads, state, params, **metric)
            return (optax.apply_updates(params, u), state), None

        def some(carry, key):
            return jax.lax.scan(step, carry, jax.random.normal(key, (1000, 1, 2)))

        return jax.lax.scan(some, (params, state), jax.random.split(key, 1000))[0]

    params, state = run(params, first, jax.random.key(0))
    assert all(np.all(np.abs(x) <= 1e7) for x in params)
    for (path, x), before in zip(
        jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(first), strict=True
    ):
        # Infinity means that there was no metric yet.
        most = np.inf if np.any(np.isinf(before)) else 1e7
        assert np.all(np.abs(x) <= most), jax.tree_util.keystr(path)


# ---- Going downhill ------------------------------------------------------------------


@each_case
def test_goes_downhill(case):
    """On a quadratic, (1/2) sum of a (x - 1)^2 with curvatures from 1/2 to 2."""
    quick = discovery.QUICK.get(case.plain_name)
    tx = case.make(**quick) if quick else run_of(case).tx
    update = jax.jit(tx.update) if quick else run_of(case).update
    params, state = case.params(), tx.init(case.params())
    sizes = [x.size for x in jax.tree.leaves(params)]
    curvatures = np.split(np.linspace(0.5, 2, sum(sizes)), np.cumsum(sizes)[:-1])
    leaves, treedef = jax.tree.flatten(params)
    leaves = list(map(np.asarray, leaves))
    curvatures = [a.reshape(x.shape) for a, x in zip(curvatures, leaves, strict=True)]

    def losses():
        return [np.sum(a * (x - 1) ** 2) for a, x in zip(curvatures, leaves)]  # noqa: B905

    first, sign = losses(), None
    for _ in range(300):
        grads = [(a * (x - 1)).astype(x.dtype) for a, x in zip(curvatures, leaves)]  # noqa: B905
        u, state = update(treedef.unflatten(grads), state, treedef.unflatten(leaves))
        us = jax.tree.leaves(u)
        if sign is None:
            ascends = sum(np.sum(u * g) for u, g in zip(us, grads)) > 0  # noqa: B905
            assert not (ascends and case.is_optimizer)
            sign = (-1 if ascends else 1) * (1 if case.rate_inside else 0.1)
            sign = 1 if case.is_optimizer else sign
        leaves = [x + np.float32(sign) * np.asarray(u) for x, u in zip(leaves, us)]  # noqa: B905
    pairs = [(x, y) for x, y in zip(losses(), first, strict=True) if x != y]
    assert len(pairs) == len(first) or case.name == "groups-frozen"
    assert sum(x for x, _ in pairs) < 0.1 * sum(y for _, y in pairs)
