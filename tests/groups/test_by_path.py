"""Numbers that depend on the path: those of `optax.partition`, of one state."""

import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import optax_extras as oxe
from tests.contract.runs import abstract, assert_close
from tests.groups.groupings import (
    EVERY,
    OF_RULES,
    PATHS,
    by_name,
    each,
    gradient,
    grouped,
    numbers_of,
    params,
    partitioned,
    refusal,
    steps,
    tree_of,
    values_of,
)
from tests.parity.programs import quick_jit

ULPS = 4
INTEGERS = ("ema_overwrite_frequency", "warmup_steps")


# ---- Which numbers -------------------------------------------------------------------


@functools.cache
def by_path_numbers(name):
    """The numbers of an optimizer that may depend on the path."""
    case = EVERY[name]
    return [x for x in numbers_of(case) if refusal(case, x) is None]


def test_every_number_of_a_rule_may_depend_on_the_path():
    assert len(OF_RULES) > 20
    for name, case in OF_RULES.items():
        assert by_path_numbers(name) == numbers_of(case), name


def test_others_take_it_as_learning_rate_and_as_weight_decay():
    for name, case in EVERY.items():
        rates = {"rate", "learning_rate", "lr", "weight_decay"} & {*numbers_of(case)}
        assert rates <= {*by_path_numbers(name)}, name


@pytest.mark.parametrize("name", ["adamax", "adadelta", "swats", "rprop", "asgd"])
def test_others_refuse_it_for_what_else_they_have(name):
    case = EVERY[name]
    refused = [x for x in numbers_of(case) if x not in by_path_numbers(name)]
    assert refused
    for number in refused:
        assert f"{name}: `{number}` must be one number" in refusal(case, number)


# ---- The numbers of a partition ------------------------------------------------------

WITH_GROUPS = [name for name in EVERY if by_path_numbers(name)]


# Of each kind of rule, and of each place where numbers enter.
SOME = ("adamw", "nadam", "heavy_ball", "rmsprop")
MORE = (*SOME, "amsbound", "swats", "rules.radam")
OWN = [x for x in WITH_GROUPS if not EVERY[x].is_slow]


@st.composite
def groupings(draw, names):
    """An optimizer, and a value of each of its numbers for each path."""
    name = draw(st.sampled_from(names))
    found = {}
    for number in by_path_numbers(name):
        values = values_of(EVERY[name], number)
        of_path = st.integers(0, len(values) - 1)
        picked = draw(st.lists(of_path, min_size=len(PATHS), max_size=len(PATHS)))
        found[number] = {x: values[i] for x, i in zip(PATHS, picked, strict=True)}
    return name, found


def equals_its_partition(make, values, **extra):
    ours = make(**{x: grouped(y) for x, y in values.items()})
    found = steps(ours, params(), **extra)[:2]
    expected = steps(partitioned(make, values), params(), **extra)[:2]
    assert_close(found, expected, ULPS, str(values))


def tries(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def many_groups(name):
    """Values by argument and path: each number has another grouping."""
    values = {}
    for shift, number in enumerate(by_path_numbers(name)):
        some = itertools.cycle(values_of(EVERY[name], number))
        turned = [*PATHS[shift % 5 :], *PATHS[: shift % 5]]
        values[number] = dict(zip(turned, some, strict=False))
    return values


@each(WITH_GROUPS, OWN)
def test_every_optimizer_equals_its_partition(name):
    equals_its_partition(EVERY[name].make, many_groups(name), count=2)


@tries(4)
@given(groupings(WITH_GROUPS))
def test_random_groupings_equal_their_partition(example):
    name, values = example
    equals_its_partition(EVERY[name].make, values)


@pytest.mark.full
@tries(300)
@given(groupings(WITH_GROUPS))
def test_more_random_groupings_equal_their_partition(example):
    name, values = example
    equals_its_partition(EVERY[name].make, values)


# ---- Rules of rules ------------------------------------------------------------------


def with_rate(rule):
    return optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(0.1))


def switched(b1):
    first = oxe.rules.with_learning_rate(oxe.rules.adam(b1), 0.1)
    return with_rate(oxe.switch(first, oxe.rules.momentum(b1), oxe.at_step(2)))


def restarted(b1):
    when = oxe.restart(oxe.rules.nadam(b1), lambda *, count, **_: count == 2)
    return with_rate(when)


def with_own_rate(b1):
    rule = oxe.rules.with_learning_rate(oxe.rules.amsgrad(b1), b1)
    return oxe.scale_by_moments(rule)


def by_two(b1):
    """Of two parts of one grouping."""
    return optax.chain(
        oxe.scale_by_moments(oxe.rules.rmsprop(b1, initial="zero")),
        oxe.scale_by_moments(oxe.rules.momentum(b1)),
    )


@pytest.mark.parametrize(
    "make", [switched, restarted, with_own_rate, by_two], ids=lambda x: x.__name__
)
def test_rules_made_from_rules(make):
    some = dict(zip(PATHS, (0.5, 0.5, 0.9, 0.8, 0.9), strict=True))
    equals_its_partition(make, {"b1": some})


RULES = {
    "adam": oxe.rules.adam(),
    "momentum": oxe.rules.momentum(0.8),
    "nadam": oxe.rules.nadam(0.5),
    "amsgrad": oxe.rules.amsgrad(),
    "sgd": oxe.rules.sgd(),
}


def test_a_rule_for_each_group():
    """The buffers of all of them; each is a rule of its own."""
    rules = dict(zip(PATHS, RULES.values(), strict=True))
    equals_its_partition(with_rate, {"rule": rules})
    state = oxe.scale_by_moments(grouped(rules)).init(params())
    assert all(x is not None for x in (state.mu, state.nu, state.nu_max))
    few = dict(zip(PATHS, itertools.cycle([RULES["sgd"], RULES["momentum"]])))
    state = oxe.scale_by_moments(grouped(few)).init(params())
    assert (state.nu, state.nu_max) == (None, None)


def adaptive(gain):
    """A rule that reads what it did, and an extra argument."""

    def step(t, carry):
        del t
        return oxe.Tableau(n0=carry), carry

    def after(t, carry, *, grads, updates, params, scale, **_):
        del t, carry
        pairs = zip(*map(jax.tree.leaves, (grads, updates, params)), strict=True)
        return gain * jnp.tanh(sum(jnp.sum(g * u + p) for g, u, p in pairs)) + scale

    return oxe.Rule(lambda: jnp.float32(1), step, after, frozenset())


def test_rules_of_groups_that_read_what_they_did():
    """`after` of each group sees its own leaves alone."""
    rules = dict(zip(PATHS, map(adaptive, (0.5, 0.25, 2.0, 1.0, 3.0)), strict=True))
    scale = {"scale": lambda step: 0.1 * step}
    equals_its_partition(oxe.scale_by_moments, {"rule": rules}, **scale)
    two = [rules[x] for x in ("body/bias", "head/bias")]
    both = oxe.by_path({"body/.*": two[0]}, two[1])
    found = steps(oxe.scale_by_moments(both), params(), **scale)[:2]
    txs = {"body": two[0], "embed": two[1], "head": two[1]}
    label = {"body": "a", "embed": "b", "head": "b"}
    other = optax.partition(
        {label[x]: oxe.scale_by_moments(y) for x, y in txs.items()}, label
    )
    assert_close(found, steps(other, params(), **scale)[:2], ULPS)


# ---- Schedules, metrics, vectors, factors --------------------------------------------


def falling(t):
    return 0.1 / (1 + t)


def metric(step):
    """It does not improve after the second step."""
    return jnp.float32((3.0, 1.0, 2.0, 2.0, 5.0, 5.0)[step])


def rates():
    """A number, schedules and metric schedules, for each path."""
    kinds = (0.05, falling, oxe.plateau(0.1, 0.5, patience=0), 0.05, falling)
    return dict(zip(PATHS, kinds, strict=True))


RATE_NAMES = ("learning_rate", "lr", "rate")


def rate_of(name):
    return next((x for x in RATE_NAMES if x in by_path_numbers(name)), None)


RATED = [name for name in WITH_GROUPS if rate_of(name)]


@each(RATED, (*SOME, "adabound", "swats", "scale_by_rate"))
def test_learning_rates_that_are_schedules(name):
    """A number, a schedule and a metric schedule side by side."""
    equals_its_partition(EVERY[name].make, {rate_of(name): rates()}, value=metric)


@each(
    [x for x in WITH_GROUPS if "weight_decay" in by_path_numbers(x)],
    ("adamw", "heavy_ball", "swats", "adamax"),
)
def test_decays_that_are_schedules(name):
    equals_its_partition(EVERY[name].make, {"weight_decay": rates()}, value=metric)


def test_a_momentum_that_is_a_schedule():
    momenta = dict(zip(PATHS, (0.5, falling, 0.9, falling, 0.5), strict=True))
    for make in (
        lambda b1: oxe.adamw(0.1, b1),
        lambda b1: oxe.sgd(0.1, b1),
        lambda b1: oxe.pytorch.Adam(0.1, betas=(b1, 0.9)),
        lambda b1: oxe.pytorch.SGD(0.1, momentum=b1),
    ):
        equals_its_partition(make, {"b1": momenta})


def observed(tx, kind):
    """The updates, with the metric passed to `update` or to `observe`."""
    state, us = tx.init(params()), []
    for step in range(5):
        given = {"value": metric(step)} if kind == "update" else {}
        u, state = tx.update(gradient(params(), step), state, params(), **given)
        if kind == "observe":
            state = oxe.observe(state, metric(step))
        us.append(u)
    return us


@pytest.mark.parametrize("name", ["adamw", "heavy_ball"])
def test_metrics_by_update_and_by_observe(name):
    tx = EVERY[name].make(learning_rate=grouped(rates()))
    assert_close(observed(tx, "observe"), observed(tx, "update"), 0)


TIMES = {
    "number": 0.5,
    "schedule": falling,
    "array": np.float32(0.5),
    "metric": oxe.plateau(0.5, 0.5, patience=0),
}


@each(RATED, ("adamw", "amsbound", "scale_by_rate"))
@pytest.mark.parametrize("kind", TIMES)
def test_times_multiplies_numbers(name, kind):
    """As a learning rate of each group that is the product."""
    times = TIMES[kind]
    if kind == "metric":
        times = oxe.plateau(0.5, 0.5, patience=0)
    factors = dict(zip(PATHS, (1.0, 1.0, 0.25, 4.0, 0.25), strict=True))
    base = {"base_lr": 0.1} if "bound" in name else {}
    number = rate_of(name)
    groups = oxe.by_path(
        {"embed/.*|head/kernel": 0.25, "head/bias": 4.0}, 1.0, times=times
    )
    if kind == "metric" and holds_its_rate(name):
        with pytest.raises(ValueError, match="Give each group a metric schedule"):
            EVERY[name].make(**{number: groups}, **base).init(params())
        return
    ours = EVERY[name].make(**{number: groups}, **base)
    found = steps(ours, params(), value=metric)[:2]

    def product(factor):
        if kind == "metric":
            return oxe.plateau(0.5 * factor, 0.5, patience=0)
        return (lambda t: factor * falling(t)) if kind == "schedule" else times * factor

    made = {number: {path: product(x) for path, x in factors.items()}}
    other = partitioned(lambda **kw: EVERY[name].make(**kw, **base), made)
    assert_close(found, steps(other, params(), value=metric)[:2], ULPS)


def holds_its_rate(name):
    """Whether the rule itself applies the learning rate."""
    some = ("bound", "heavy_ball", "with_learning", "rprop")
    return any(x in name.lower() for x in some)


@pytest.mark.parametrize(
    "times", [TIMES["number"], falling], ids=["number", "schedule"]
)
def test_times_of_other_numbers(times):
    """Of a decay and of a momentum."""
    factors = dict(zip(PATHS, (0.9, 0.5, 0.9, 0.25, 0.9), strict=True))
    groups = oxe.by_path({"body/kernel": 0.5, "head/bias": 0.25}, 0.9, times=times)

    def product(factor):
        return (lambda t: factor * falling(t)) if callable(times) else times * factor

    for number in ("weight_decay", "b1"):
        found = steps(oxe.adamw(0.1, **{number: groups}), params())[:2]
        made = {number: {path: product(x) for path, x in factors.items()}}
        other = partitioned(lambda **kw: oxe.adamw(0.1, **kw), made)
        assert_close(found, steps(other, params())[:2], ULPS)


# ---- Scanned layers ------------------------------------------------------------------

LAYERS = {"kernel": (4, 2, 3), "gain": (4,)}


def scanned_and_its_layers(make, vectors):
    """The updates of leaves with a first axis of layers, and of each layer alone."""
    rng = np.random.default_rng(3)
    scanned = {x: jnp.asarray(rng.normal(size=y), "float32") for x, y in LAYERS.items()}
    by_layer = {f"layer_{i}": {x: y[i] for x, y in scanned.items()} for i in range(4)}
    txs = {
        f"layer_{i}": make(**{x: np.asarray(y)[i].item() for x, y in vectors.items()})
        for i in range(4)
    }
    one = make(**{x: oxe.by_path({".*": y}) for x, y in vectors.items()})
    layers = optax.partition(txs, {x: x for x in txs})
    first, other = one.init(scanned), layers.init(by_layer)
    us, vs = [], []
    for step in range(2):
        grads = gradient(scanned, step)
        split = {f"layer_{i}": {x: y[i] for x, y in grads.items()} for i in range(4)}
        u, first = one.update(grads, first, scanned)
        v, other = layers.update(split, other, by_layer)
        us.append(u)
        vs.append(
            {x: jnp.stack([v[f"layer_{i}"][x] for i in range(4)]) for x in LAYERS}
        )
    return us, vs


KINDS = (list, np.asarray, jnp.asarray)
SCANNED = [x for x in WITH_GROUPS if EVERY[x].is_elementwise]


def vector_of(name, number, kind):
    """Four numbers that the argument takes."""
    values = itertools.cycle(values_of(EVERY[name], number))
    return kind(list(itertools.islice(values, 4)))


@each(SCANNED, ("adamw", "nadam", "sgd", "scale_by_rate"))
def test_vectors_along_the_first_axis_of_scanned_layers(name):
    """Equal to the loop over layers, each with its own numbers; in one structure."""
    numbers = enumerate(by_path_numbers(name))
    vectors = {x: vector_of(name, x, KINDS[i % 3]) for i, x in numbers}
    make = EVERY[name].make
    found, expected = scanned_and_its_layers(make, vectors)
    assert_close(found, expected, ULPS)
    leaves = {x: jnp.ones(shape) for x, shape in LAYERS.items()}
    for i, number in enumerate(vectors):
        groups = oxe.by_path({".*": vector_of(name, number, KINDS[(i + 1) % 3])})
        tx = make(**{number: groups})
        state = jax.eval_shape(tx.init, leaves)
        _, after = jax.eval_shape(tx.update, leaves, state, leaves)
        assert abstract(after) == abstract(state), number


def test_a_schedule_of_all_layers():
    """A vector of multiples, times a schedule; leaves without the axis beside it."""
    factors = (1.0, 0.5, 0.25, 2.0)
    rate = oxe.by_path({"layers/.*": [*factors]}, 1.0, times=falling)
    tx = oxe.adamw(rate, weight_decay=0.1)
    rng = np.random.default_rng(4)
    layers = jnp.asarray(rng.normal(size=(4, 2)), "float32")
    tree = {"layers": {"w": layers}, "head": {"w": layers[0]}}
    found = steps(tx, tree)[0]
    for i, factor in enumerate(factors):
        one = oxe.adamw(lambda t, x=factor: x * falling(t), weight_decay=0.1)
        state = one.init(layers[i])
        moved = layers[i]
        for step in range(3):
            g = gradient(tree, step)["layers"]["w"][i]
            u, state = one.update(g, state, moved)
            moved = optax.apply_updates(moved, u)
            assert_close(found[step]["layers"]["w"][i], u, ULPS)


@each(["heavy_ball", "adabound", "amsbound", "rprop"], ("heavy_ball", "rprop"))
def test_a_schedule_of_all_layers_inside_a_rule(name):
    """Equal to the loop over layers, where the rule applies the learning rate."""
    make = getattr(oxe, name)
    factors = (1.0, 0.5, 0.25, 2.0)
    layers = jnp.asarray(np.random.default_rng(5).normal(size=(4, 2)), "float32")
    tx = make(oxe.by_path({".*": [*factors]}, times=falling))
    found = steps(tx, {"w": layers})[0]
    for i, factor in enumerate(factors):
        one = make(lambda t, x=factor: x * falling(t))
        state, moved = one.init(layers[i]), layers[i]
        for step in range(3):
            g = gradient({"w": layers}, step)["w"][i]
            u, state = one.update(g, state, moved)
            moved = optax.apply_updates(moved, u)
            assert_close(found[step]["w"][i], u, ULPS)


# ---- A default that depends on the path ----------------------------------------------


def test_a_default_by_path():
    """The groups in front are asked first."""
    inner = oxe.by_path({".*bias": 0.0, "head/.*": 0.2}, default=0.05)
    outer = oxe.by_path({"head/kernel": 0.5, "embed/.*": 0.1}, default=inner)
    values = dict(zip(PATHS, (0.0, 0.05, 0.1, 0.0, 0.5), strict=True))
    found = steps(oxe.adamw(outer), params())[:2]
    other = partitioned(oxe.adamw, {"learning_rate": values})
    assert_close(found, steps(other, params())[:2], ULPS)
    # Of two that have one selector the outer one is used.
    again = oxe.by_path({".*bias": 0.3}, default=inner, times=falling)
    values = dict(zip(PATHS, (0.3, 0.05, 0.05, 0.3, 0.2), strict=True))
    made = {x: (lambda t, y=y: y * falling(t)) for x, y in values.items()}
    found = steps(oxe.sgd(again), params())[:2]
    other = partitioned(oxe.sgd, {"learning_rate": made})
    assert_close(found, steps(other, params())[:2], ULPS)
    assert list(again.values) == [".*bias", "head/.*", "default"]


def test_the_first_selector_that_matches_wins():
    """A regular expression matches the whole path; a function gets path and leaf."""

    def large(path, leaf):
        seen.append(path)
        return leaf.size > 3

    seen = []
    tree = {"a": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}, "aa": {"w": jnp.ones(2)}}
    rate = oxe.by_path({"a/b": 3.0, large: 2.0, "a/.*|aa": 5.0}, default=7.0)
    u, _ = oxe.sgd(rate).update(tree, oxe.sgd(rate).init(tree), tree)
    expected = {"a/w": -2.0, "a/b": -3.0, "aa/w": -7.0}
    assert {x: float(y.max()) for x, y in by_name(u).items()} == expected
    assert {*seen} == {"a/w", "aa/w"}
    names = [*oxe.hyperparameters(oxe.sgd(rate).init(tree))]
    assert names == sorted(f"{x}/learning_rate" for x in [*rate.values])
    assert [*rate.values] == ["a/b", "large", "a/.*|aa", "default"]


# ---- Transformations of JAX ----------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [SOME, pytest.param(WITH_GROUPS, marks=pytest.mark.full)],
    ids=["some", "all"],
)
def test_jitted_once_and_in_scan(names):
    """In one program, and by operation."""
    txs = {
        name: EVERY[name].make(**{x: grouped(y) for x, y in many_groups(name).items()})
        for name in names
    }
    traces, grads = [], [gradient(params(), step) for step in range(3)]

    def updates(states, grads):
        traces.append(1)
        pairs = {x: tx.update(grads, states[x], params()) for x, tx in txs.items()}
        us = {x: u for x, (u, _) in pairs.items()}
        return us, {x: state for x, (_, state) in pairs.items()}

    jitted = quick_jit(updates)

    @quick_jit
    def scanned(states, grads):
        return jax.lax.scan(lambda c, g: updates(c, g)[::-1], states, grads)

    first = {x: tx.init(params()) for x, tx in txs.items()}
    states, us = first, []
    for g in grads:
        u, states = jitted(states, g)
        us.append(u)
    assert abstract(states) == abstract(first)
    assert len(traces) == 1
    last, rows = scanned(first, jax.tree.map(lambda *x: jnp.stack(x), *grads))
    # By default XLA fuses a product and a sum in one of the two programs only.
    for i in range(3):
        assert_close(jax.tree.map(lambda x, i=i: x[i], rows), us[i], 2 * ULPS)
    assert_close(last, states, 2 * ULPS)
    for name, tx in txs.items():
        state = tx.init(params())
        for g, expected in zip(grads, us, strict=True):
            u, state = tx.update(g, state, params())
            assert_close(u, expected[name], 8, name)


@each(MORE, ("adamw", "nadam"))
def test_vmap_over_the_numbers_of_a_group(name):
    """Traced numbers of one group, beside the numbers of another."""
    case, first = EVERY[name], params()
    numbers = [x for x in by_path_numbers(name) if x != "base_lr"]

    def updates(x):
        given = {
            number: oxe.by_path({"head/.*": x[number]}, values_of(case, number)[-1])
            for number in numbers
        }
        tx = case.make(**given)
        state = tx.init(first)
        u, state = tx.update(gradient(first, 0), state, first)
        return u, tx.update(gradient(first, 1), state, first)[0]

    rows = {
        x: jnp.array([values_of(case, x)[0], values_of(case, x)[-1]]) for x in numbers
    }
    mapped = quick_jit(jax.vmap(updates))(rows)
    for i in range(2):
        alone = {x: values_of(case, x)[-i] for x in numbers}
        found = jax.tree.map(lambda x, i=i: x[i], mapped)
        assert_close(found, updates(alone), 8)


@each([x for x in MORE if rate_of(x)], ("adamw", "heavy_ball"))
def test_gradients_through_the_numbers_of_a_group(name):
    """Against finite differences, in float64; learning rate and its multiplier."""
    case = EVERY[name]

    def loss(x):
        number = rate_of(name)
        rate = oxe.by_path({"head/.*": x["rate"]}, 0.02, times=x["times"])
        given = {number: rate}
        if "weight_decay" in by_path_numbers(name):
            given["weight_decay"] = oxe.by_path({"head/.*": x["decay"]}, 0.1)
        if "b1" in by_path_numbers(name):
            given["b1"] = oxe.by_path({"head/.*": x["b1"]}, 0.9)
        tx, moved = case.make(**given), first
        state = tx.init(first)
        for step in range(2):
            grads = jax.tree.map(lambda p, i=step: jnp.cos(p + i), moved)
            u, state = tx.update(grads, state, moved)
            moved = optax.apply_updates(moved, u)
        return sum(jnp.sum(p**2) for p in jax.tree.leaves(moved))

    with jax.enable_x64(True):
        first = jax.tree.map(lambda x: x.astype("float64"), params())
        at = {"rate": 0.1, "times": 0.5, "decay": 0.2, "b1": 0.8}
        at = {x: jnp.float64(y) for x, y in at.items()}
        jitted = quick_jit(jax.value_and_grad(loss))
        slopes = jitted(at)[1]
        for x in at:
            above, below = ({**at, x: at[x] + h} for h in (1e-6, -1e-6))
            difference = (jitted(above)[0] - jitted(below)[0]) / 2e-6
            np.testing.assert_allclose(slopes[x], difference, 1e-6, 1e-9, err_msg=x)
        assert slopes["rate"] != 0
        assert slopes["times"] != 0


def test_donated_states_and_params():
    tx = oxe.adamw(grouped(rates()), weight_decay=oxe.by_path({".*bias": 0.0}, 0.1))
    _, moved, last = steps(tx, params(), value=metric)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(moved, state, g, value):
        u, state = tx.update(g, state, moved, value=value)
        return optax.apply_updates(moved, u), state

    other, state = params(), tx.init(params())
    for i in range(3):
        other, state = step(other, state, gradient(params(), i), metric(i))
    assert_close((other, state), (moved, last), 8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_updates_are_the_rounded_float32_ones(dtype):
    first = jax.tree.map(lambda x: x.astype(dtype), params())
    wide = jax.tree.map(lambda x: x.astype("float32"), first)
    for name in SOME:
        given = {x: grouped(y) for x, y in many_groups(name).items()}
        tx = EVERY[name].make(**given)
        state, other = tx.init(first), tx.init(wide)
        assert abstract(state) == abstract(other)
        for i in range(2):
            g = gradient(first, i)
            u, state = tx.update(g, state, first)
            g = jax.tree.map(lambda x: x.astype("float32"), g)
            v, other = tx.update(g, other, wide)
            assert_close(u, jax.tree.map(lambda x: x.astype(dtype), v), 0, name)


# ---- The compiled program ------------------------------------------------------------


def program_of(tx, shape):
    """How many loops over leaves of that shape it has, and its temporary memory."""
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    tree = tree_of(dict.fromkeys(PATHS, leaf))

    def step(moved, state, grads):
        u, state = tx.update(grads, state, moved)
        return optax.apply_updates(moved, u), state

    given = tree, jax.eval_shape(tx.init, tree), tree
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(*given).compile()
    rows, columns = shape
    loops = re.findall(rf"f32\[{rows},{columns}\][^=]* fusion\(", compiled.as_text())
    return len(loops), compiled.memory_analysis().temp_size_in_bytes / (rows * columns)


@each([x for x in WITH_GROUPS if EVERY[x].is_elementwise], SOME)
def test_groups_cost_no_loop_and_no_memory(name):
    """As many loops over leaves as without groups, and no temporary leaf more.

    Numbers of 0 and 1 are left out: there a term or a buffer is not needed.
    """
    shape, case = (256, 128), EVERY[name]
    last = {x: values_of(case, x)[-1] for x in by_path_numbers(name)}
    last = {x: 0.9 if y == 1 else y for x, y in last.items() if x not in INTEGERS}
    factors = dict(zip(PATHS, (1, 0.97, 0.95, 0.97, 0.93), strict=True))
    values = {
        x: {path: y * factor for path, factor in factors.items()}
        for x, y in last.items()
    }
    loops, memory = program_of(case.make(**last), shape)
    ours = program_of(case.make(**{x: grouped(y) for x, y in values.items()}), shape)
    assert loops >= len(PATHS)
    assert ours[0] == loops
    assert ours[1] < memory + 2  # bytes for each element of a leaf; a leaf has 4


# ---- Bad input -----------------------------------------------------------------------

HEAD = {"head/.*": 0.1}


def init(tx):
    return tx.init(params())


def updated(tx):
    return tx.update(params(), tx.init(params()), params())


# A call, its error and what that says.
REFUSED = [
    # Selectors and defaults, at `init`.
    (
        lambda: init(oxe.adamw(oxe.by_path({"embd/kernel": 0.1}, 0.1))),
        ValueError,
        r"^adamw: `learning_rate`\[embd/kernel\] must match the whole path of a param, "
        r".*come near: 'embed/kernel', 'head/kernel', 'body/kernel'\.$",
    ),
    (
        lambda: init(oxe.nadam(0.1, weight_decay=oxe.by_path({"head": 0.1}, 0.1))),
        ValueError,
        r"^nadam: `weight_decay`\[head\] must match the whole path.*'head/bias'",
    ),
    (
        lambda: init(oxe.rmsprop(0.1, decay=oxe.by_path({"heads/.*": 0.1}, 0.1))),
        ValueError,
        r"^rmsprop: `decay`\[heads/\.\*\] must match the whole path of a param",
    ),
    (
        lambda: init(oxe.pytorch.AdamW(lr=oxe.by_path({"hea": 0.1}, 0.1))),
        ValueError,
        r"^AdamW: `lr`\[hea\] must match the whole path of a param",
    ),
    (
        lambda: init(oxe.adamw(oxe.by_path({"embed/.*": 0.1, **HEAD}))),
        ValueError,
        r"^adamw: `learning_rate` must have a selector that matches 'body/bias', or a "
        r"default, got \['embed/\.\*', 'head/\.\*'\]",
    ),
    # The arguments of `by_path` itself.
    (lambda: oxe.by_path({"(": 1.0}), ValueError, r"^by_path: `values` .*unterminated"),
    (lambda: oxe.by_path({3: 1.0}), TypeError, r"as keys, got 3 of type int"),
    (lambda: oxe.by_path([1.0]), TypeError, r"`values` must be a dict of selectors"),
    (lambda: oxe.by_path({}), ValueError, r"`values` must have a group if there is no"),
    (
        lambda: oxe.by_path({"a": "fast"}),
        TypeError,
        r"`values`\[a\] must be a number, a",
    ),
    (lambda: oxe.by_path({"a": True}), TypeError, r"got True of type bool"),
    (lambda: oxe.by_path({"a": None}), TypeError, r"`oxe.FROZEN`, got None"),
    (lambda: oxe.by_path({"default": 1.0}), ValueError, r"Write '\(default\)'"),
    (lambda: oxe.by_path({"times": 1.0}, 2.0), ValueError, r"Write '\(times\)'"),
    (
        lambda: oxe.by_path(HEAD, 1.0, times="x"),
        TypeError,
        r"`times` must be a number o",
    ),
    (
        lambda: oxe.by_path(HEAD, oxe.by_path({"a": 1.0}, times=2.0)),
        ValueError,
        r"`default` must have no `times` of its own",
    ),
    # Values out of range, of another kind, of another length.
    (
        lambda: oxe.adamw(oxe.by_path({"a": -1.0}, 0.1)),
        ValueError,
        r"^adamw: `learning_rate`\[a\] must be in \[0, inf\), got -1\.0\.$",
    ),
    (
        lambda: oxe.adamw(0.1, b2=oxe.by_path({"a": 0.5}, 1.0)),
        ValueError,
        r"^adamw: `b2`\[default\] must be in \[0, 1\), got 1\.0\.$",
    ),
    (
        lambda: oxe.adamw(0.1, b1=oxe.by_path({"a": [0.5, 1.0]}, 0.1)),
        ValueError,
        r"`b1`\[a\]\[1\] must be in \[0, 1\), got 1\.0",
    ),
    (
        lambda: oxe.pytorch.Adam(betas=(0.9, oxe.by_path({"a": 0.5}, 1.0))),
        ValueError,
        r"^Adam: `betas`\[1\]\[default\] must be in \[0, 1\), got 1\.0",
    ),
    (
        lambda: oxe.adamw(0.1, eps=oxe.by_path({"a": falling}, 0.1)),
        TypeError,
        r"`eps`\[a\] must be a real number, got <function falling",
    ),
    (
        lambda: oxe.adamw(oxe.by_path({"a": [falling, 1.0]}, 0.1)),
        ValueError,
        r"`learning_rate`\[a\] must be a number, a schedule or a vector of numbers",
    ),
    (
        lambda: init(oxe.adamw(oxe.by_path({"head/.*": [0.1, 0.2]}, 0.1))),
        ValueError,
        r"`learning_rate`\[head/\.\*\] must have as many entries as 'head/bias' along "
        r"its first axis, got '2 for \(3,\)'",
    ),
    (
        lambda: init(oxe.adamw(0.1, weight_decay=oxe.by_path({".*": [0.1]}))),
        ValueError,
        r"`weight_decay`\[\.\*\] must have as many entries as 'body/bias' along",
    ),
    (
        lambda: oxe.adamw(0.1, b1=oxe.by_path({".*": [0.1]})).init(jnp.float32(1)),
        ValueError,
        r"`b1`\[\.\*\] must have as many entries as '' along its first axis",
    ),
    # What cannot be frozen.
    *[
        (
            lambda number=number: oxe.adamw(
                0.1, **{number: oxe.by_path({"a": oxe.FROZEN}, 0.1)}
            ),
            ValueError,
            rf"^adamw: `{number}`\[a\] must be a number, got oxe\.FROZEN\. Freeze a gr",
        )
        for number in ("b1", "b2", "eps", "weight_decay")
    ],
    (
        lambda: oxe.adamw(oxe.FROZEN),
        TypeError,
        r"`learning_rate` must be a number or a",
    ),
    (
        lambda: oxe.adamw(0.1, oxe.FROZEN),
        TypeError,
        r"`b1` must be a number or a sched",
    ),
    # Where a number cannot depend on the path.
    (
        lambda: oxe.adamax(0.1, b1=oxe.by_path(HEAD, 0.2)),
        TypeError,
        r"^adamax: `b1` must be one number, got by_path\(.* By path can be the "
        r"learning rate and the weight decay of an optimizer, and all numbers of one",
    ),
    (
        lambda: oxe.muon(0.1, momentum=oxe.by_path(HEAD, 0.2), layout="in_out"),
        TypeError,
        r"^muon: `momentum` must be one number, got by_path",
    ),
    (
        lambda: oxe.swats(0.1, second_rate=oxe.by_path(HEAD, 0.2)),
        ValueError,
        r"^swats: `second_rate` must be one number or schedule in this optimizer",
    ),
    (
        lambda: oxe.swats(oxe.by_path(HEAD, 0.2), second_rate=0.1),
        ValueError,
        r"^swats: `learning_rate` must be one number or schedule in this optimizer",
    ),
    (
        lambda: oxe.schedules.cosine(oxe.by_path(HEAD, 0.2), 10),
        TypeError,
        r"^cosine: `init_value` must be one number, got by_path",
    ),
    (
        lambda: oxe.scale_by_moments(
            oxe.rules.nadam(oxe.by_path(HEAD, 0.2)), per_leaf=True
        ),
        ValueError,
        r"`per_leaf` must be False if the rule depends on the path, got True",
    ),
    # Optax's own factories.
    *[
        (
            lambda make=make: updated(make(oxe.by_path(HEAD, 0.2))),
            TypeError,
            r"as in `oxe\.adamw\(by_path\)`, got used like a number: by_path\(.* Use "
            r"`optax\.partition` for other optimizers",
        )
        for make in (optax.adam, optax.sgd, optax.adamw, optax.lion, optax.contrib.muon)
    ],
    (
        lambda: updated(optax.adam(0.1, b1=oxe.by_path(HEAD, 0.2))),
        TypeError,
        r"as in `oxe\.adamw\(by_path\)`, got used like a number",
    ),
    # Rules.
    (
        lambda: init(oxe.scale_by_moments(oxe.by_path(HEAD, 0.2))),
        TypeError,
        r"^scale_by_moments: `rule` must be an `oxe\.Rule`, got 0\.\d of type float",
    ),
    (
        lambda: oxe.adam(0.1, eps_hat=True, eps_root=oxe.by_path(HEAD, 0.0)),
        ValueError,
        r"^adam: `eps_root` must be 0 with `eps_hat`, got 0\.1",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_refused(case):
    """By name and value, with the nearest paths or what to write instead."""
    call, error, message = case
    with pytest.raises(error, match=message):
        call()


def test_the_paper_form_of_swats_refuses_groups():
    with pytest.raises((TypeError, ValueError), match="swats: `learning_rate` must be"):
        oxe.swats(oxe.by_path(HEAD, 0.2), paper=True)


def test_adagrad_of_keras_takes_groups_or_refuses_them_by_name():
    groups = oxe.by_path(HEAD, 0.2)
    for number in ("epsilon", "initial_accumulator_value"):
        try:
            oxe.keras.Adagrad(**{number: groups}).init(params())
        except (TypeError, ValueError) as error:
            assert f"Adagrad: `{number}`" in str(error)  # noqa: PT017


def test_what_a_selector_may_not_match():
    """One whose leaves an earlier one took, and one that an empty tree lacks."""
    groups = oxe.by_path({"head/.*": 0.1, "head/bias": 0.3}, 0.2)
    u, _ = updated(oxe.sgd(groups))
    assert_close(u["head"]["bias"], -0.1 * params()["head"]["bias"], 2)
    tx = oxe.adamw(oxe.by_path(HEAD, 0.1), b1=oxe.by_path({".*": 0.5}, 0.1))
    assert tx.update({}, tx.init({}), {})[0] == {}


def test_functions_of_one_name():
    """Those of the default by path have a group of their own."""

    def named(names):
        def head(path, leaf):
            return path in names

        return head

    inner = oxe.by_path({named(["head/bias"]): 0.1}, default=1.0)
    u, _ = updated(oxe.sgd(oxe.by_path({named(["head/kernel"]): 10.0}, default=inner)))
    assert_close(u["head"]["kernel"], -10.0 * params()["head"]["kernel"], 2)
    assert_close(u["head"]["bias"], -0.1 * params()["head"]["bias"], 2)
    assert_close(u["body"]["bias"], -params()["body"]["bias"], 2)


def test_leaves_that_are_none_are_in_no_group():
    tree = {"a": jnp.ones(2), "b": None}
    tx = oxe.adamw(oxe.by_path({"a": 0.1}), b1=oxe.by_path({"a": 0.5}))
    u, _ = tx.update(tree, tx.init(tree), tree)
    assert u["b"] is None
    with pytest.raises(ValueError, match=r"\[b\] must match the whole path of a param"):
        oxe.adamw(oxe.by_path({"b": 0.1}, 0.1)).init(tree)


def test_partial_functions_are_selectors_of_their_own():
    """Those of two by path, and in what makes two of these equal."""

    def ends(end, path, leaf):
        return path.endswith(end)

    kernel, bias = (functools.partial(ends, x) for x in ("head/kernel", "head/bias"))
    inner = oxe.by_path({bias: 0.1}, default=1.0)
    u, _ = updated(oxe.sgd(oxe.by_path({kernel: 10.0}, default=inner)))
    assert_close(u["head"]["kernel"], -10.0 * params()["head"]["kernel"], 2)
    assert_close(u["head"]["bias"], -0.1 * params()["head"]["bias"], 2)
    assert oxe.by_path({kernel: 1.0}) != oxe.by_path({bias: 1.0})
    assert oxe.by_path({"a": 1.0}) == oxe.by_path({"a": 1.0})
    assert oxe.by_path({"a": 1.0}) != oxe.by_path({"a": 2.0})
