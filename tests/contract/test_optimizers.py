"""What every optimizer, transform and rule keeps; `discovery` finds them."""

import inspect
from functools import cache, partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.discovery import OPTIMIZERS

ROOT = Path(__file__).parents[2]
STEPS = 5
TWINS = [x for x in discovery.CASES if x.twin]
# The options of a twin are those of its optimizer, number for number: see the test.
# And a rate of time or of a metric is another one's business, who has it from outside.
OUTSIDE = ("adadelta", "adagrad", "adamax", "amsgrad", "rmsprop")
CASES = [
    x
    for x in discovery.CASES
    if x.is_plain
    or not (x.twin or (x.plain_name in OUTSIDE and x.name.endswith(discovery.RATED)))
]


def slow_if_variant(case, *rest):
    """In the fast run, of each rule one name, with the flags as they come."""
    marks = pytest.mark.full if case.is_slow else ()
    name = "-".join(map(str, [case.name, *rest]))
    return pytest.param(case, *rest, marks=marks, id=name)


def each(names, values):
    """Parameters; the scope makes one case follow the other, with all its clauses."""
    return pytest.mark.parametrize(names, values, scope="module")


each_case = each("case", [slow_if_variant(case) for case in CASES])
# What a flag changes in the numbers is nothing to what is wrapped around them.
PLAIN = [x for x in CASES if x.is_plain or x.name in discovery.COMBINED]
each_plain_case = each("case", [slow_if_variant(case) for case in PLAIN])
each_with_numbers = each("case", [slow_if_variant(x) for x in PLAIN if x.numbers])


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


def nothing(step):
    """No extra arguments of an update."""
    return {}


class Run:
    """A run of a case: what most clauses look at, compiled once for all of them."""

    def __init__(self, case, steps=STEPS, told=nothing):
        self.tx, self.params, traces = case.make(), case.params(), []

        @jax.jit
        def update(*args, **extra):
            traces.append(1)
            return self.tx.update(*args, **case.needs, **extra)

        self.update = update
        self.states = [self.tx.init(self.params)]
        """Before each update, and after the last."""
        self.us = []
        for step in range(steps):
            grads = gradient(self.params, step)
            u, state = update(grads, self.states[-1], self.params, **told(step))
            self.us.append(u)
            self.states.append(state)
        self.traces = len(traces)
        """Of this run; others of other dtypes come later."""


@cache
def _run_of(name):
    return Run(next(case for case in CASES if case.name == name))


def run_of(case):
    return _run_of(case.name)


def assert_close(got, expected, ulps=8, what=""):
    """Equal to a few float32 ulps of the largest number in each leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = np.abs(b).max(initial=0)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=ulps * 2.0**-23 * scale, err_msg=what
        )


def assert_same(got, expected):
    """Equal to the last bit."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


def kinds(tree):
    return [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def expected_of(case, params):
    """What updates are like."""

    def wide(x):
        is_half = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < 4
        return x.astype(jnp.float32) if is_half else x

    return jax.tree.map(wide, params) if case.name in discovery.WIDE else params


def abstract(tree):
    """Shapes, dtypes and weak types."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)


def test_something_is_discovered():
    """Known ones, of each kind; the rest of the file would pass without any."""
    names = {case.name for case in CASES}
    assert {"heavy_ball", "adagrad", "scale_by_adagrad", "scale_by_rate"} <= names
    assert {f"rules.{name}" for name in oxe.rules.__all__} <= names
    assert {"nadam-greedy", "nadam-schedule", "rules.adam-eps_hat"} <= names
    assert {case.name for case in OPTIMIZERS} >= {"heavy_ball", "adagrad"}
    assert {x.name for x in TWINS} >= {"rules.amsgrad-eps_hat", "scale_by_adagrad"}


@pytest.mark.parametrize("case", TWINS, ids=[x.name for x in TWINS])
def test_a_transform_and_a_rule_are_their_optimizer(case):
    """With every option: the same updates to the last bit, all clauses included."""
    twin = next(x for x in discovery.CASES if x.name == case.twin)
    both = case.descent(), twin.make(**discovery.QUICK.get(case.plain_name, {}))
    us, vs = (
        run(tx, case.params(), 6, jax.jit(tx.update), **discovery.told(0))[0]
        for tx in both
    )
    assert_same(us, vs)


# ---- Compiling -----------------------------------------------------------------------


@each_case
def test_eager_equals_jit_which_compiles_once(case):
    kept = run_of(case)
    us, state = run(kept.tx, kept.params, steps=3, **case.needs)
    assert_close((us, state), (kept.us[:3], kept.states[3]), case.ulps)
    assert abstract(state) == abstract(kept.states[0])
    assert kept.traces == 1


@each_case
def test_scan(case):
    kept = run_of(case)
    grads = [gradient(kept.params, step) for step in range(STEPS)]
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *grads)

    def step(state, g):
        u, state = kept.tx.update(g, state, kept.params, **case.needs)
        return state, u

    state, us = jax.lax.scan(step, kept.states[0], stacked)
    assert_close(state, kept.states[-1], case.ulps)
    assert_close(us, jax.tree.map(lambda *xs: jnp.stack(xs), *kept.us), case.ulps)


@each_plain_case
def test_vmap_over_seeds(case):
    tx, params = case.make(), case.params()
    many = jax.tree.map(lambda x: jnp.stack([x, 2 * x, -x]), params)

    def two_updates(params):
        state = tx.init(params)
        for step in range(2):
            g = jax.tree.map(lambda x, s=step: jnp.cos(x + s), params)
            u, state = tx.update(g, state, params, **case.needs)
        return u, state

    together = jax.jit(jax.vmap(two_updates))(many)
    alone = jax.jit(two_updates)
    for i in range(3):
        one = alone(jax.tree.map(lambda x: x[i], many))  # noqa: B023
        got = jax.tree.map(lambda x: x[i], together)  # noqa: B023
        assert_close(got, one, case.ulps)


@each_with_numbers
def test_vmap_over_every_hyperparameter(case):
    every = 2 if case.is_slow else 1
    params = case.params()
    values = {x: case.values(x)[::every] for x in case.numbers}

    def two_updates(number, x):
        tx = case.make(**{number: x})
        state = tx.init(params)
        for step in range(2):
            u, new = tx.update(gradient(params, step), state, params, **case.needs)
            assert jax.tree.structure(new) == jax.tree.structure(state)
            state = new
        # By leaves: the states say which numbers can be set.
        return jax.tree.leaves((u, state))

    @jax.jit
    def together(values):
        return {x: jax.vmap(partial(two_updates, x))(values[x]) for x in values}

    @jax.jit
    def alone():
        # The Python number 0.9 and the float32 next to it: 1 - b has 20 bits of 0.1.
        return {
            number: [two_updates(number, np.float32(x)) for x in values[number]]
            for number in values
        }

    got = together({x: jnp.array(y, jnp.float32) for x, y in values.items()})
    for number, runs in alone().items():
        for i, expected in enumerate(runs):
            one = [x[i] for x in got[number]]
            what = f"{number} = {values[number][i]}"
            assert_close(one, expected, max(64, case.ulps), what)


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
    "with integers": lambda: {
        "w": jnp.ones(2),
        "n": jnp.arange(3),
        "b": jnp.ones(2, bool),
    },
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
# What a variant computes, too; of the others the dtypes tell.
TELLING = {"mixed", "mixed with float64", "bfloat16", "zero-size"}


@each_case
@pytest.mark.parametrize("x64", [False, True])
def test_trees_and_dtypes(case, x64):
    """Structure, shapes, dtypes and weak types: in as out, for good."""
    refusal = discovery.REAL_ONLY.get(case.plain_name)
    with jax.enable_x64(x64):
        names = [name for name in TREES if (name in NEEDS_X64) == x64]
        trees = {name: case.fit(TREES[name]()) for name in names}
        tx, states = case.make(), {}
        for name in list(trees):
            if refusal and name in COMPLEX:
                with pytest.raises(ValueError, match=refusal):
                    tx.init(trees.pop(name))
        for name, params in trees.items():
            grads, state = gradient(params, 0), jax.eval_shape(tx.init, params)
            update = partial(tx.update, **case.needs)
            u, new = jax.eval_shape(update, grads, state, params)
            assert jax.tree.structure(new) == jax.tree.structure(state), name
            assert abstract(new) == abstract(state), name
            assert not any(x.weak_type for x in jax.tree.leaves(new)), name
            assert jax.tree.structure(u) == jax.tree.structure(params), name
            assert kinds(u) == kinds(expected_of(case, params)), name
            states[name] = state
        # What is not abstract, too.
        if case.is_slow:
            trees = {name: trees[name] for name in trees.keys() & TELLING}
        two = jax.jit(
            lambda trees: {x: run(tx, trees[x], 2, **case.needs) for x in trees}
        )
        for name, (us, last) in two(trees).items():
            assert abstract(last) == abstract(states[name]), name
            for x in jax.tree.leaves(us):
                assert np.all(np.isfinite(np.asarray(x, np.complex64))), name


@each_case
def test_a_leaf_without_a_gradient_stays(case):
    """Gradients None where there are params: no update there, and no motion."""
    kept = run_of(case)
    grads = {**gradient(kept.params, 0), "w": None}
    update = partial(kept.tx.update, **case.needs)
    u, after = jax.eval_shape(update, grads, kept.states[1], kept.params)
    assert u["w"] is None
    assert abstract(after) == abstract(kept.states[1])


ROUNDED_ONCE = [slow_if_variant(x) for x in CASES if x.name not in discovery.WIDE]


@each("case", ROUNDED_ONCE)
def test_half_precision_updates_are_the_rounded_float32_ones(case):
    """Arithmetic is float32 at least, and rounded once, at the end."""
    tx = case.make()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), case.params())
    full = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    state, wide, update = tx.init(half), tx.init(full), run_of(case).update
    for step in range(3):
        grads = gradient(half, step)
        u, state = update(grads, state, half)
        grads = jax.tree.map(lambda x: x.astype(jnp.float32), grads)
        v, wide = update(grads, wide, full)
        v = jax.tree.map(lambda x: x.astype(jnp.bfloat16), v)
        jax.tree.map(np.testing.assert_array_equal, u, v)


@each_case
def test_unknown_extra_arguments_are_ignored(case):
    kept = run_of(case)
    extra = {"value": jnp.float32(1), "grad": 2, "something": "else", **case.needs}
    # What functions of our own call theirs is no other's business.
    ours = ("self", "count", "t", "carry", "kept", "watch", "rule", "rate", "metrics")
    extra |= dict.fromkeys(ours, 3)
    if case.name in discovery.GIVE_THE_COUNT:
        with pytest.raises(ValueError, match="`count` must be no extra argument of `u"):
            run(kept.tx, kept.params, 1, **extra)
        del extra["count"]
    update = jax.jit(partial(kept.tx.update, **extra))
    us, state = run(kept.tx, kept.params, 2, update)
    assert_same((us, state), (kept.us[:2], kept.states[2]))


# ---- Optax's combinators -------------------------------------------------------------


def partitioned(tx):
    labels = {"w": "a", "inner": "b"}
    return optax.partition({"a": tx, "b": tx}, labels)


def always(step, **extra):
    del step, extra
    return True


WRAPPERS = {
    "flatten": optax.flatten,  # the innermost of all: the others know the tree
    "chain": lambda tx: optax.chain(optax.identity(), tx, optax.identity()),
    "named_chain": lambda tx: optax.named_chain(("ours", tx), ("id", optax.identity())),
    "partition": partitioned,
    "masked": lambda tx: optax.masked(tx, {"w": True, "inner": True}),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "conditionally_transform": lambda tx: optax.conditionally_transform(
        tx, always, forward_extra_args=True
    ),
}


def wrappers_for(case):
    """Those that change nothing for this case."""
    flat = case.plain_name not in discovery.OF_SHAPE
    split = case.name not in discovery.OF_THE_WHOLE
    meant = {"flatten": flat, "partition": split}
    return {name: x for name, x in WRAPPERS.items() if meant.get(name, True)}


WRAPPED = [(case, name) for case in CASES for name in wrappers_for(case)]


def check_wrapped(case, wrapped):
    """Where the wrapper changes nothing, neither do the updates."""
    kept = run_of(case)
    update = jax.jit(partial(wrapped.update, **case.needs))
    us, state = run(wrapped, kept.params, 3, update)
    assert_close(us, kept.us[:3], case.ulps)
    assert jax.tree.structure(state) == jax.tree.structure(wrapped.init(kept.params))


@each_plain_case
def test_inside_all_that_optax_has(case):
    """One wrapper inside the other."""
    tx = case.make()
    for wrapper in wrappers_for(case).values():
        tx = wrapper(tx)
    check_wrapped(case, tx)


@pytest.mark.full
@each(("case", "wrapper"), [slow_if_variant(*x) for x in WRAPPED if not x[0].is_slow])
def test_inside_what_optax_has(case, wrapper):
    check_wrapped(case, WRAPPERS[wrapper](case.make()))


@each_plain_case
def test_masked_leaves_pass_through(case):
    tx, params = case.make(), case.params()
    masked = optax.masked(tx, {"w": True, "inner": False})
    us, _ = run(masked, params, 2, jax.jit(partial(masked.update, **case.needs)))
    alone, _ = run(tx, {"w": params["w"]}, 2, run_of(case).update)
    assert_close([u["w"] for u in us], [u["w"] for u in alone], case.ulps)
    assert_same(us[1]["inner"], gradient(params, 1)["inner"])


@each_plain_case
def test_accumulated_gradients(case):
    """MultiSteps hands over the average of two gradients."""
    kept, params = run_of(case), case.params()
    twice = optax.MultiSteps(kept.tx, 2).gradient_transformation()
    us, _ = run(twice, params, 4, jax.jit(twice.update))
    state = kept.states[0]
    for step in (0, 2):
        pair = gradient(params, step), gradient(params, step + 1)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *pair)
        u, state = kept.update(mean, state, params)
        assert_close(us[step + 1], u, case.ulps)
        assert all(np.all(x == 0) for x in jax.tree.leaves(us[step]))


@each_plain_case
def test_a_skipped_update_leaves_no_trace(case):
    """Under apply_if_finite no gradient that is not finite reaches the state."""
    kept, params = run_of(case), case.params()
    tx = optax.apply_if_finite(kept.tx, 3)
    update = jax.jit(partial(tx.update, **case.needs))
    _, state = run(tx, params, 2, update)
    assert_same(state.inner_state, kept.states[2])
    for bad in (np.nan, np.inf, -np.inf):
        grads = gradient(params, 2)
        broken = {**grads, "w": grads["w"].at[0, 1].set(bad)}
        u, state = update(broken, state, params)
        assert_same(state.inner_state, kept.states[2])
        assert all(np.all(x == 0) for x in jax.tree.leaves(u))
    us, state = run(tx, params, 2, update, state, first=2)
    assert_close(us, kept.us[2:4], case.ulps)  # as if nothing had been


@each_with_numbers
def test_inject_hyperparams(case):
    """Every number at once an array in a state; then one of them changed by hand."""
    params = case.params()
    settings = {number: float(case.values(number)[-1]) for number in case.numbers}
    arguments = inspect.signature(case.factory).parameters
    static = tuple(key for key in arguments if key not in case.numbers)
    injected = optax.inject_hyperparams(case.factory, static_args=static)
    tx, plain = injected(**{**case.settings, **settings}), case.make(**settings)
    update = jax.jit(partial(tx.update, **case.needs))
    us, state = run(tx, params, 2, update)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))
    as_it_was, _ = run(plain, params, 3, jax.jit(partial(plain.update, **case.needs)))
    assert_close(us, as_it_was[:2], max(64, case.ulps))
    number = case.numbers[0]
    state.hyperparams[number] = jnp.float32(case.values(number)[0])
    changed, _ = run(tx, params, 1, update, state, first=2)
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
    kept = run_of(case)
    treedef = jax.tree.structure(jax.eval_shape(kept.tx.init, kept.params))
    for stop in range(STEPS):
        saved = [np.array(x) for x in jax.tree.leaves(kept.states[stop])]
        resumed = treedef.unflatten([jnp.asarray(x) for x in saved])
        left = run(kept.tx, kept.params, STEPS - stop, kept.update, resumed, stop)
        assert_same(left, (kept.us[stop:], kept.states[-1]))


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
    kept, end = run_of(case), 2**31 - 1
    near = jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.full_like(x, end - 1) if counts_something(path) else x,
        kept.states[2],
    )
    us, state = run(kept.tx, kept.params, 3, kept.update, near)
    leaves = jax.tree_util.tree_leaves_with_path(state)
    counts = [x for path, x in leaves if is_count(path)]
    assert bool(counts) == (case.plain_name not in discovery.WITHOUT_COUNT)
    phases = [x for path, x in leaves if counts_something(path)]
    assert all(x.dtype == jnp.int32 and np.all(x >= 0) for x in phases)
    least = end - 1 if case.name in discovery.TAKES_TURNS else end
    assert all(x.dtype == jnp.int32 and least <= x <= end for x in counts)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(us))


@each_plain_case
def test_states_own_their_arrays(case):
    """Nothing else is donated with a state, and two states share nothing.

    After an update without jit, too, the next one may take the state's buffers.
    """
    params = case.params()
    held = {number: jnp.float32(case.values(number)[-1]) for number in case.numbers}
    tx = case.make(**held)
    step = jax.jit(partial(tx.update, **case.needs), donate_argnums=1)
    grads = gradient(params, 0)
    one, other = tx.init(params), tx.init(params)
    _, eager = tx.update(grads, tx.init(params), params, **case.needs)
    for state in (one, other, eager):
        for i in range(3):
            _, state = step(gradient(params, i), state, params)
    for x in (*held.values(), *jax.tree.leaves((params, grads))):
        assert jnp.all(jnp.isfinite(x))
    assert_same(tx.init(params), case.make(**held).init(params))


@each_case
def test_map_params(case):
    """Moments are recognised as like the params, scalars are not."""
    kept = run_of(case)
    state, params = kept.states[2], kept.params
    mapped = optax.tree.map_params(kept.tx, lambda x: x + 1, state)
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


# ---- Hostile gradients, and many -----------------------------------------------------


SIZED = [
    slow_if_variant(case, size)
    for case in CASES
    for size in (1e38, 1e20, 1e-20, 1e-45, 0.0)
    if size < 1e20 or case.plain_name not in discovery.OVERFLOWS
]


@each(("case", "size"), SIZED)
def test_no_finite_gradient_makes_a_nan(case, size):
    """Neither at once nor in the updates after it, at the first and at a later step."""
    kept = run_of(case)
    grads = jax.tree.map(
        lambda x: np.float32(size) * jnp.sign(x), gradient(kept.params, 1)
    )
    for state in (kept.states[0], kept.states[3]):
        for each in (grads, *(gradient(kept.params, k) for k in range(3))):
            u, state = kept.update(each, state, kept.params)
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(u))


LONG = [
    x
    for x in CASES
    if (x.is_optimizer and x.is_plain)
    or x.name in discovery.COMBINED
    or x.name in discovery.OF_THE_WHOLE
]


@each_case
def test_in_the_modes_in_which_errors_are_looked_for(case):
    """No NaN on the way, dtypes that need no rule to meet, nothing behind a jit."""
    with (
        jax.debug_nans(True),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        tx, params = case.make(), case.params()
        zero = jax.tree.map(jnp.zeros_like, params)
        with jax.disable_jit():
            state = tx.init(params)
            for grads in (zero, gradient(params, 0), zero):
                u, state = tx.update(grads, state, params, **case.needs)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(u))


@pytest.mark.full
@pytest.mark.parametrize("case", LONG, ids=[x.name for x in LONG])
def test_a_million_steps(case):
    """Of a small problem, under noise: everything stays finite."""
    tx, leaves = case.descent(), 2 if case.name in discovery.WITH_FELLOWS else 1
    params = [jnp.array([[1.0, -2.0]])] * leaves

    @jax.jit
    def run(params, state, key):
        def step(carry, noise):
            params, state = carry
            grads = jax.tree.map(lambda x: x + noise, params)
            metric = {discovery.MONITORED: jnp.sum(grads[0] ** 2)}
            u, state = tx.update(grads, state, params, **case.needs, **metric)
            return (optax.apply_updates(params, u), state), None

        def some(carry, key):
            return jax.lax.scan(step, carry, jax.random.normal(key, (1000, 1, 2)))

        return jax.lax.scan(some, (params, state), jax.random.split(key, 1000))[0]

    params, state = run(params, tx.init(params), jax.random.key(0))
    for path, x in jax.tree_util.tree_leaves_with_path((params, state)):
        name = getattr(path[-1], "name", None)
        most = np.inf if name in discovery.MAY_BE_INFINITE else 1e7
        assert np.all(np.abs(x) <= most), jax.tree_util.keystr(path)


# ---- Going downhill ------------------------------------------------------------------


@each_case
def test_goes_downhill(case):
    """On a quadratic, (1/2) sum of a (x - 1)^2 with curvatures from 1/2 to 2."""
    tx, params = case.descent(), case.params()

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
