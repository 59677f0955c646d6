"""Groups in a state: one state whatever they are, freezing, reading, checkpoints."""

import copy
import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.resuming import WAYS, restore, save
from tests.contract.runs import abstract, assert_close, assert_same
from tests.groups.groupings import (
    PATHS,
    by_name,
    each,
    gradient,
    grouped,
    params,
    partitioned,
    steps,
    tree_of,
)

ONE_ITERATION: Any = {"layout": "in_out", "ns_coefficients": [(1.5, -0.5, 0.0)]}
# The rules of each kind: without a carry, with one, with the learning rate inside.
MAKERS = {
    "adamw": lambda rate: oxe.adamw(rate, weight_decay=0.1),
    "adamw-b1": lambda rate: oxe.adamw(
        rate, b1=oxe.by_path({".*bias": 0.5}, 0.9), weight_decay=0.1
    ),
    "nadam": lambda rate: oxe.nadam(rate, weight_decay=0.1),
    "nadam-b1": lambda rate: oxe.nadam(
        rate, b1=oxe.by_path({".*bias": 0.5}, 0.9), weight_decay=falling
    ),
    "heavy_ball": lambda rate: oxe.heavy_ball(rate, weight_decay=0.1),
    "heavy_ball-momentum": lambda rate: oxe.heavy_ball(
        rate, momentum=oxe.by_path({".*bias": 0.5}, 0.9), weight_decay=0.1
    ),
    "adabound": lambda rate: oxe.adabound(rate, base_lr=0.1, weight_decay=0.1),
    "amsbound": lambda rate: oxe.amsbound(rate, base_lr=0.1, weight_decay=falling),
    "sgd": lambda rate: oxe.sgd(rate, momentum=0.9),
    "rmsprop": lambda rate: oxe.rmsprop(rate, momentum=0.9, weight_decay=0.1),
    "adamax": lambda rate: oxe.adamax(rate, weight_decay=0.1),
    "adadelta": lambda rate: oxe.adadelta(rate, weight_decay=0.1),
    "swats": lambda rate: oxe.swats(rate, weight_decay=0.1, min_steps=2, max_steps=4),
    "swats-per_leaf": lambda rate: oxe.swats(
        rate, weight_decay=0.1, min_steps=2, max_steps=4, per_leaf=True
    ),
    "pytorch.Adam": lambda rate: oxe.pytorch.Adam(rate, weight_decay=0.1),
    "pytorch.SGD": lambda rate: oxe.pytorch.SGD(rate, momentum=0.9, weight_decay=0.1),
    "keras.Adam": lambda rate: oxe.keras.Adam(rate, weight_decay=0.1),
    "lion": lambda rate: oxe.lion(rate, weight_decay=0.1),
    "ftrl": lambda rate: oxe.ftrl(rate, l1=0.01),
    "keras.Lamb": lambda rate: oxe.keras.Lamb(rate, weight_decay=0.1),
    "keras.Ftrl": lambda rate: oxe.keras.Ftrl(rate, weight_decay=0.1),
    "asgd": lambda rate: oxe.asgd(rate, start=2),
    "rprop": oxe.rprop,
    "adafactor": lambda rate: oxe.adafactor(rate, weight_decay=0.1),
    "muon": lambda rate: oxe.muon(rate, **ONE_ITERATION, weight_decay=0.1),
    "scale_by_rate": lambda rate: optax.chain(
        optax.scale_by_adam(), oxe.scale_by_rate(rate)
    ),
}
WITH_MOMENTS = [x for x in MAKERS if x != "scale_by_rate"]
each_maker = pytest.mark.parametrize("name", MAKERS)
# Their steps are of earlier learning rates.
LATE = ("asgd", "rprop")
# Of each kind one.
QUICK = ("adamw", "nadam", "heavy_ball", "swats", "scale_by_rate")
COUNT = 100


def falling(t):
    return 0.1 / (1 + t)


def shape_of(name):
    return (2, 3) if name == "muon" else (3,)


def of_leaf(tree, path):
    """The arrays of a leaf of the params, wherever they are in a state."""
    keys = tuple(map(jax.tree_util.DictKey, path.split("/")))
    return {
        jax.tree_util.keystr(at): x
        for at, x in jax.tree_util.tree_leaves_with_path(tree)
        if at[-2:] == keys
    }


# ---- Frozen --------------------------------------------------------------------------


def frozen_runs(tx, first):
    """Frozen params among others: the first state, and the ends of three runs.

    In the second and third the gradients of frozen params are NaN and infinite.
    """

    def step(carry, i, spoil):
        moved, state = carry
        grads = jax.tree.map(lambda p: jnp.cos(p + i), moved)
        kernel = jnp.where(spoil == 0, grads["embed"]["kernel"], spoil)
        grads = {**grads, "embed": {"kernel": kernel}}
        u, state = tx.update(grads, state, moved)
        return (optax.apply_updates(moved, u), state), u["embed"]["kernel"]

    @jax.jit
    def run(moved, state, spoil):
        rows = jnp.arange(COUNT)
        return jax.lax.scan(lambda c, i: step(c, i, spoil), (moved, state), rows)

    state = tx.init(first)
    return state, [run(first, state, x) for x in (0.0, np.nan, np.inf)]


@each(WITH_MOMENTS, (*QUICK, "nadam-b1", "amsbound", "pytorch.Adam", "muon"))
def test_frozen_params_and_moments_are_the_same_bits(name):
    """After 100 updates with weight decay; a NaN of theirs does no harm."""
    rate = oxe.by_path({"embed/.*": oxe.FROZEN, ".*bias": 0.02}, 0.01)
    first = params(shape_of(name))
    state, (run, *spoiled) = frozen_runs(MAKERS[name](rate), first)
    (moved, last), us = run
    assert_same(moved["embed"], first["embed"])
    assert not np.any(us)
    for path in PATHS:
        arrays, before = of_leaf(last, path), of_leaf(state, path)
        if path.startswith("embed"):
            assert_same(arrays, before)
        else:
            moves = [np.any(x != before[at]) for at, x in arrays.items()]
            assert any(moves) if name == "adafactor" else all(moves)  # placeholders
            assert arrays or name == "muon"
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(moved))
    for other in spoiled:
        assert_same(other, run)


PLAIN_MAKERS = [x for x in MAKERS if "-" not in x and x != "swats"]


@each(PLAIN_MAKERS, QUICK)
def test_other_groups_move_as_in_a_partition(name):
    rates = dict(zip(PATHS, (0.1, oxe.FROZEN, 0.1, oxe.FROZEN, 0.02), strict=True))
    first, ulps = params(shape_of(name)), 64 if name == "muon" else 4
    found, *_ = steps(MAKERS[name](grouped(rates)), first)
    moving = {x: 0.1 if y is oxe.FROZEN else y for x, y in rates.items()}
    expected, *_ = steps(
        partitioned(lambda rate: MAKERS[name](rate), {"rate": moving}), first
    )
    for us, vs in zip(found, expected, strict=True):
        for path, u in by_name(us).items():
            if rates[path] is oxe.FROZEN:
                assert not np.any(u)
            else:
                assert_close(u, by_name(vs)[path], ulps)


def test_scale_by_rate_stops_whatever_comes_before_it():
    """NaNs, too; it does not reach the moments of another transformation."""
    first = params()
    groups = oxe.by_path({"embed/.*": oxe.FROZEN}, 0.01)
    for (moved, _), us in frozen_runs(MAKERS["scale_by_rate"](groups), first)[1]:
        assert_same(moved["embed"], first["embed"])
        assert not np.any(us)
        assert np.all(moved["head"]["bias"] != first["head"]["bias"])


@pytest.mark.parametrize("rate", ["many", "frozen"])
@each(MAKERS, (*QUICK, "nadam-b1"))
def test_map_params(name, rate):
    """Arrays like the params are mapped, the scalars of groups are not."""
    tx, first = MAKERS[name](RATES[rate]), params(shape_of(name))
    for state in (tx.init(first), steps(tx, first)[2]):
        mapped = optax.tree.map_params(tx, lambda x: x + 7, state)
        assert abstract(mapped) == abstract(state)
        missed = [
            [x for _, x in optax.tree.get_all_with_path(tree, "missed")]
            for tree in (mapped, state)
        ]
        assert_same(*missed)
        for path in PATHS:
            old, new = of_leaf(state, path), of_leaf(mapped, path)
            assert_same(new, {at: x + 7 for at, x in old.items()})


@each(WITH_MOMENTS, ("adamw", "nadam-b1", "adabound", "swats", "adafactor", *LATE))
def test_the_whole_tree_frozen(name):
    make, first = MAKERS[name], params(shape_of(name))
    tx = make(oxe.by_path({".*": oxe.FROZEN}))
    state = tx.init(first)
    u, after = tx.update(gradient(first, 0), state, first)
    assert not any(map(np.any, jax.tree.leaves(u)))
    for path in PATHS:
        assert_same(of_leaf(after, path), of_leaf(state, path))


@pytest.mark.parametrize("name", ["adamw", "heavy_ball", "asgd", "nadam-b1"])
def test_thawed_params_move_at_once(name):
    """At the learning rate of their group; what they had not had begins then."""
    first = params()
    _, moved, state = steps(MAKERS[name](RATES["frozen"]), first)
    tx = MAKERS[name](oxe.by_path({"embed/.*": 0.2}, 0.05))
    u, after = tx.update(gradient(first, 3), state, moved)
    half = MAKERS[name](oxe.by_path({"embed/.*": 0.1}, 0.05))
    v, _ = half.update(gradient(first, 3), state, moved)
    assert np.all(u["embed"]["kernel"])
    assert_close(u["embed"], jax.tree.map(lambda x: 2 * x, v["embed"]), 4)
    assert abstract(tx.update(first, after, moved)[1]) == abstract(after)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_freezes_too(again):
    groups = again(oxe.by_path({"head/.*": 0.1}, oxe.FROZEN))
    _, moved, _ = steps(oxe.adamw(groups), params())
    assert_same(moved["body"], params()["body"])
    assert again(oxe.FROZEN) is oxe.FROZEN


def test_gradients_of_frozen_params_that_are_missing():
    """None stays None."""
    first = params()
    rate = oxe.by_path({"embed/.*": oxe.FROZEN, "head/bias": 0.3}, 0.1)
    for make in (MAKERS["adamw"], MAKERS["heavy_ball"], MAKERS["nadam-b1"]):
        tx = make(rate)
        grads = gradient(first, 0)
        grads = {
            **grads,
            "embed": {"kernel": None},
            "body": {**grads["body"], "bias": None},
        }
        u, _ = tx.update(grads, tx.init(first), first)
        assert u["embed"]["kernel"] is None
        assert u["body"]["bias"] is None
        complete, _ = tx.update(gradient(first, 0), tx.init(first), first)
        assert_same(u["head"], complete["head"])


# ---- One state whatever the groups ---------------------------------------------------

RATES = {
    "none": 0.05,
    "two": oxe.by_path({"head/.*": 0.1}, 0.05),
    "many": oxe.by_path({x: 0.01 * i for i, x in enumerate(PATHS, 1)}),
    "frozen": oxe.by_path({"embed/.*|body/.*": oxe.FROZEN}, 0.05),
    "times": oxe.by_path({"head/.*": 2.0, "embed/.*": oxe.FROZEN}, 1.0, times=falling),
    "schedule": oxe.by_path({"head/.*": falling}, 0.05),
}


def sized(state):
    """The places and kinds of arrays like params."""
    found = jax.tree_util.tree_leaves_with_path(state)
    rows = {jax.tree_util.keystr(at): (x.shape, x.dtype) for at, x in found if x.ndim}
    # The constants of all groups are one vector, with its own length.
    return {at: x for at, x in rows.items() if not at.endswith(".rate.values")}


@each_maker
def test_arrays_like_the_params_do_not_depend_on_the_groups(name):
    first = params(shape_of(name))
    rates = (RATES[x] for x in ("none", "many", "frozen", "times"))
    found = [sized(jax.eval_shape(MAKERS[name](x).init, first)) for x in rates]
    assert found[0]
    assert all(x == found[0] for x in found[1:])


def test_scalars_are_those_of_the_groups():
    """One learning rate for each; of those that are frozen, the updates they missed."""
    for name, count, constants in (
        ("none", 1, 0),
        ("two", 0, 2),
        ("many", 0, 5),
        ("frozen", 1, 1),
        ("times", 2, 2),
        ("schedule", 1, 1),
    ):
        state = MAKERS["adamw"](RATES[name]).init(params())
        scalars = [x for x in jax.tree.leaves(state) if not x.ndim]
        rate = state[-1].rate
        assert len(scalars) == 2 + count, name
        assert constants == 0 or rate.values.shape == (constants,), name


def effective(name, count):
    """The learning rate of each path at that count."""
    values = dict.fromkeys(PATHS, 0.05)
    if name == "many":
        values = {x: 0.01 * i for i, x in enumerate(PATHS, 1)}
    if name == "times":
        values = dict.fromkeys(PATHS, falling(count))
    for path in PATHS:
        if name in ("two", "times") and path.startswith("head"):
            values[path] *= 2
        if name == "schedule" and path.startswith("head"):
            values[path] = falling(count)
        frozen = {"frozen": ("embed", "body"), "times": ("embed",)}.get(name, ())
        if path.startswith(frozen):
            values[path] = oxe.FROZEN
    return values


def expected_step(make, first, grads, state, rates):
    """The update of each leaf by an optimizer without groups, from the moments of
    `state`; zero where it is frozen."""
    found = {}
    for path, rate in rates.items():
        if rate is oxe.FROZEN:
            found[path] = jnp.zeros_like(by_name(first)[path])
            continue
        tx = make(lambda t, x=rate: jnp.float32(x))
        fresh = tx.init(first)
        nodes, treedef = jax.tree.flatten(fresh, is_leaf=is_state)
        old = [x for x in jax.tree.leaves(state, is_leaf=is_state) if is_state(x)]
        new = [x for x in nodes if is_state(x)]
        assert [type(x) for x in old] == [type(x) for x in new]
        pairs = iter([carried(a, b, path) for a, b in zip(old, new, strict=True)])
        moved = [next(pairs) if is_state(x) else x for x in nodes]
        u, _ = tx.update(grads, treedef.unflatten(moved), first)
        found[path] = by_name(u)[path]
    return found


KEPT = ("count", "mu", "nu", "nu_max", "delta", "trace", "linear")


def is_state(x):
    return "count" in getattr(x, "_fields", ())


def carried(old, new, path):
    """The new state, with the arrays of the old one and the updates of a leaf."""
    fields = {x: getattr(old, x) for x in KEPT if hasattr(old, x)}
    if "switched" not in str(getattr(old, "carry", "")):  # one count for all leaves
        missed = getattr(old, "missed", None) or {}
        counts = [x.count for x in missed.values() if path in x.leaves]
        fields["count"] = old.count - sum(counts)
    if "product" in str(getattr(old, "carry", "")):
        (carry, *_) = jax.tree.leaves(old.carry)
        fields["carry"] = type(new.carry)(carry)
    return new._replace(**fields)


@each([x for x in PLAIN_MAKERS if x not in LATE], QUICK)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("none", "two"),
        ("two", "none"),
        ("none", "frozen"),
        ("frozen", "many"),
        ("many", "times"),
        ("times", "schedule"),
    ],
)
def test_a_state_goes_on_with_other_groups(name, old, new):
    """The count and the moments stay; the numbers are those of the new optimizer."""
    make, first = MAKERS[name], params(shape_of(name))
    _, moved, state = steps(make(RATES[old]), first)
    grads = gradient(first, 3)
    tx = make(RATES[new])
    u, after = tx.update(grads, state, moved)
    expected = expected_step(make, moved, grads, state, effective(new, 3))
    for path, v in expected.items():
        assert_close(by_name(u)[path], v, 64 if name == "muon" else 4, path)
    again = jax.eval_shape(tx.update, grads, after, moved)[1]
    assert abstract(again) == abstract(after)


def test_a_changed_multiplier():
    """With `times` the program's multiples count, not those of the state."""
    for name in ("adamw", "nadam", "swats"):
        make, first = MAKERS[name], params()
        one, other = (
            make(oxe.by_path({"head/.*": x}, 1.0, times=0.1)) for x in (2.0, 5.0)
        )
        _, moved, state = steps(one, first)
        u, _ = other.update(gradient(first, 3), state, moved)
        v, _ = one.update(gradient(first, 3), state, moved)
        for path in PATHS:
            factor = 2.5 if path.startswith("head") else 1.0
            assert_close(by_name(u)[path], factor * by_name(v)[path], 4, path)


def test_multiples_are_no_learning_rates():
    """Of one name with and without `times`: 1 is a multiple, not the next rate."""
    first = params()
    for name in ("adamw", "heavy_ball", "swats"):
        old = MAKERS[name](oxe.by_path({"embed/.*": oxe.FROZEN}, 1.0, times=falling))
        tx = MAKERS[name](oxe.by_path({"embed/.*": 0.02}, 0.05))
        _, _, state = steps(old, first)
        _, after = tx.update(gradient(first, 3), state, first)
        rates = oxe.hyperparameters(after)
        np.testing.assert_allclose(rates["default/learning_rate"], 0.05)
        np.testing.assert_allclose(rates["embed/.*/learning_rate"], 0.02)


# ---- Checkpoints ---------------------------------------------------------------------


def test_a_checkpoint_restores_into_other_groups(tmp_path):
    """By NumPy, Flax, Equinox and Orbax: with the optimizer that wrote it, then on."""
    first, olds = params(), {"nadam-b1": "two", "heavy_ball-momentum": "times"}
    txs = {x: MAKERS[x](RATES[y]) for x, y in olds.items()}
    states = {name: steps(tx, first)[2] for name, tx in txs.items()}
    save(tmp_path, states)
    found = restore(tmp_path, {name: tx.init(first) for name, tx in txs.items()})
    assert len(found) == len(WAYS) * len(states)
    for name, state in states.items():
        tx = MAKERS[name](RATES["many"])
        expected = tx.update(gradient(first, 3), state, first)
        for way in WAYS:
            again = found[name, way]
            assert_same(again, state)
            assert_same(tx.update(gradient(first, 3), again, first), expected)


# ---- Reading and setting -------------------------------------------------------------

RATE = oxe.by_path({"head/.*": 0.2, "embed/.*": oxe.FROZEN}, 0.1)
HELD = {"default/learning_rate": 0.1, "head/.*/learning_rate": 0.2}


def read(state):
    return {name: float(x) for name, x in oxe.hyperparameters(state).items()}


def is_about(found, expected):
    assert list(found) == sorted(expected)
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-6, err_msg=name)


# Its carries, and so the learning rates in them, are of pairs of groups.
OF_PAIRS = "heavy_ball-momentum"


@each([x for x in MAKERS if x != OF_PAIRS], (*QUICK, "pytorch.Adam"))
def test_the_learning_rate_of_each_group_is_listed(name):
    tx, first = MAKERS[name](RATE), params(shape_of(name))
    state = tx.init(first)
    for found in (state, steps(tx, first, 1)[2]):
        rates = {x: y for x, y in read(found).items() if "learning_rate" in x}
        is_about(rates, HELD)


@each([x for x in MAKERS if x not in (OF_PAIRS, *LATE)], QUICK)
def test_the_learning_rate_of_a_group_is_set(name):
    """The next update has it, and the other groups have theirs."""
    make, first = MAKERS[name], params(shape_of(name))
    tx = make(RATE)
    _, moved, state = steps(tx, first)
    new = oxe.set_hyperparameters(state, **{"head/.*/learning_rate": 0.4})
    assert abstract(new) == abstract(state)
    grads = gradient(first, 3)
    (u, _), (v, after) = tx.update(grads, state, moved), tx.update(grads, new, moved)
    other = make(oxe.by_path({"head/.*": 0.4, "embed/.*": oxe.FROZEN}, 0.1))
    # The momentum of heavy_ball holds old learning rates: not made from the start.
    w, _ = other.update(grads, new, moved)
    assert_same(v, w)
    assert_same(v["body"], u["body"])
    for path in ("head/bias", "head/kernel"):
        assert np.any(by_name(u)[path] != by_name(v)[path])
    is_about(
        {x: y for x, y in read(after).items() if "learning_rate" in x},
        HELD | {"head/.*/learning_rate": 0.4},
    )


def test_what_is_not_set():
    groups = oxe.by_path({"head/.*": 2.0}, 1.0, times=0.1)
    state = oxe.adamw(groups).init(params())
    expected = {"default": 0.1, "head/.*": 0.2, "times": 0.1}
    is_about(read(state), {f"{x}/learning_rate": y for x, y in expected.items()})
    with pytest.raises(ValueError, match="`default/learning_rate` must be a constant"):
        oxe.set_hyperparameters(state, **{"default/learning_rate": 0.3})
    with pytest.raises(ValueError, match="holds 'default/learning_rate', 'head/"):
        oxe.set_hyperparameters(state, learning_rate=0.3)
    state = oxe.set_hyperparameters(state, **{"times/learning_rate": 0.5})
    expected = {"default": 0.5, "head/.*": 1.0, "times": 0.5}
    is_about(read(state), {f"{x}/learning_rate": y for x, y in expected.items()})
    u, _ = oxe.adamw(groups, weight_decay=0).update(params(), state, params())
    v, _ = oxe.adamw(0.5, weight_decay=0).update(
        params(), oxe.adamw(0.5).init(params()), params()
    )
    assert_close(u["body"], v["body"], 4)
    assert_close(u["head"], jax.tree.map(lambda x: 2 * x, v["head"]), 4)


@pytest.mark.parametrize("name", HELD)
def test_a_learning_rate_of_a_group_is_not_negative(name):
    state = oxe.adamw(RATE).init(params())
    with pytest.raises(ValueError, match=r"must be in \[0, inf\)"):
        oxe.set_hyperparameters(state, **{name: -1.0})


def test_the_learning_rate_that_is_read_is_that_of_times():
    state = oxe.adamw(oxe.by_path({"head/.*": 2.0}, 1.0, times=falling)).init(params())
    np.testing.assert_allclose(oxe.learning_rate(state), 0.1)
    tx = oxe.adamw(oxe.by_path({"head/.*": 2.0}, 1.0, times=falling))
    np.testing.assert_allclose(oxe.learning_rate(steps(tx, params())[2]), 0.1 / 3)
    one = oxe.adamw(oxe.by_path({".*": 0.3})).init(params())
    np.testing.assert_allclose(oxe.learning_rate(one), 0.3)
    for make in (MAKERS["adamw"], MAKERS["heavy_ball"]):
        with pytest.raises(ValueError, match=r"got 2 of them: .*'head/\.\*/learning_r"):
            oxe.learning_rate(make(RATE).init(params()))


def test_observe_reaches_the_group_that_follows_the_metric():
    """Of a learning rate, a decay and `times`."""

    def plateau():
        return oxe.plateau(0.4, 0.5, patience=0)

    first = params()
    txs = {
        "head/.*/learning_rate": oxe.adamw(oxe.by_path({"head/.*": plateau()}, 0.1)),
        "default/weight_decay": oxe.nadam(
            0.1, weight_decay=oxe.by_path({"head/.*": 0.4}, plateau())
        ),
        "times/learning_rate": oxe.sgd(
            oxe.by_path({"head/.*": 2.0}, 1, times=plateau())
        ),
        "body/.*/learning_rate": oxe.heavy_ball(
            oxe.by_path({"body/.*": plateau()}, 0.1)
        ),
    }
    for name, tx in txs.items():
        state, before = tx.init(first), read(tx.init(first))
        for value in (1.0, 2.0):
            state = oxe.observe(state, value)
        after = read(state)
        assert after[name] == pytest.approx(0.2), name
        follow = {x for x in before if after[x] != before[x]}
        if name == "times/learning_rate":
            assert follow == {*before}
        else:
            assert follow == {name}
        u, _ = tx.update(gradient(first, 0), state, first)
        v, _ = tx.update(gradient(first, 0), tx.init(first), first)
        changed = {x for x in PATHS if np.any(by_name(u)[x] != by_name(v)[x])}
        expected = {"head/.*": "head", "default": ("body", "embed"), "body/.*": "body"}
        of_group = expected.get(name.rpartition("/")[0], "")
        assert changed == {x for x in PATHS if x.startswith(of_group)}, name


def test_settings_of_a_metric_schedule_of_a_group():
    rate = oxe.by_path({"head/.*": oxe.plateau(0.4, 0.5, patience=5)}, 0.1)
    state = oxe.adamw(rate).init(params())
    state = oxe.set_hyperparameters(state, patience=0)
    for value in (1.0, 2.0):
        state = oxe.observe(state, value)
    np.testing.assert_allclose(read(state)["head/.*/learning_rate"], 0.2)


@pytest.mark.parametrize("make", [oxe.scheduled, optax.inject_hyperparams])
def test_in_scheduled_and_in_inject_hyperparams(make):
    """The grouped argument goes to the factory as it is; others are held."""
    tx, first = make(oxe.adamw)(RATE, weight_decay=0.5), params()
    found, _, state = steps(tx, first)
    rates = {x: 0.2 if x.startswith("head") else 0.1 for x in PATHS}
    one = partitioned(
        lambda rate: make(oxe.adamw)(rate, weight_decay=0.5), {"rate": rates}
    )
    for u, v in zip(found, steps(one, first)[0], strict=True):
        assert_close([u["body"], u["head"]], [v["body"], v["head"]], 4)
        assert not np.any(u["embed"]["kernel"])
    rates = {x: y for x, y in read(state).items() if "/" in x}
    is_about(rates, HELD)
    np.testing.assert_allclose(read(state)["weight_decay"], 0.5)
    tx = make(oxe.adamw)(0.1, weight_decay=oxe.by_path({".*bias": 0.0}, 0.5))
    decays = {x: 0.0 if x.endswith("bias") else 0.5 for x in PATHS}
    one = partitioned(
        lambda decay: make(oxe.adamw)(0.1, weight_decay=decay), {"decay": decays}
    )
    assert_close(steps(tx, first)[:2], steps(one, first)[:2], 4)


def test_a_schedule_for_a_number_of_one_group():
    """`scheduled` gives schedules to an argument that takes only numbers."""

    def rising(t):
        return 0.9 + 0.01 * t

    groups = oxe.by_path({"head/.*": rising}, 0.99)
    tx = oxe.scheduled(oxe.adamw)(0.1, b2=groups, eps=1e-6)
    found = steps(tx, params())[:2]
    made = {x: rising if "head" in x else 0.99 for x in PATHS}
    other = partitioned(
        lambda b2: oxe.scheduled(oxe.adamw)(0.1, b2=b2, eps=1e-6), {"b2": made}
    )
    assert_close(found, steps(other, params())[:2], 4)
    state = oxe.set_hyperparameters(tx.init(params()), **{"b2[default]": 0.5})
    np.testing.assert_allclose(oxe.hyperparameters(state)["b2[default]"], 0.5)
    with pytest.raises(TypeError, match=r"For a schedule write `oxe\.scheduled"):
        oxe.adamw(0.1, b2=groups)


def test_scheduled_numbers_beside_groups():
    tx = oxe.scheduled(oxe.adamw)(RATE, b2=lambda t: 0.9 + 0.01 * t, weight_decay=0.1)
    state, b2s = tx.init(params()), []
    for step in range(3):
        u, state = tx.update(gradient(params(), step), state, params())
        b2s.append(read(state)["b2"])
        assert not np.any(u["embed"]["kernel"])
    np.testing.assert_allclose(b2s, [0.9, 0.91, 0.92], rtol=1e-6)


# ---- Wrappers ------------------------------------------------------------------------


def by_groups():
    return oxe.nadam(
        RATE, b1=oxe.by_path({".*bias": 0.5}, 0.9), weight_decay=oxe.by_path({}, 0.1)
    )


def as_partition():
    """The same, of an optimizer for each leaf."""

    def of_path(path):
        if path.startswith("embed"):
            return optax.set_to_zero()
        b1 = 0.5 if path.endswith("bias") else 0.9
        rate = 0.2 if path.startswith("head") else 0.1
        return oxe.nadam(rate, b1, weight_decay=0.1)

    labels = {x: x for x in PATHS}
    return optax.partition({x: of_path(x) for x in PATHS}, tree_of(labels))


def twice(*, count, **_):
    return count == 2


WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip(0.5), tx),
    "named_chain": lambda tx: optax.named_chain(("clip", optax.clip(0.5)), ("tx", tx)),
    "accumulate": lambda tx: oxe.accumulate(tx, 2),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "switch": lambda tx: oxe.switch(tx, oxe.sgd(0.1), oxe.at_step(2)),
    "restart": lambda tx: oxe.restart(tx, twice),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "conditionally_transform": lambda tx: optax.conditionally_transform(
        tx, lambda step: step < 2
    ),
    "with_master_copy": oxe.with_master_copy,
    "with_compensation": oxe.with_compensation,
    "partition": lambda tx: optax.partition(
        {"all": tx}, lambda tree: jax.tree.map(lambda _: "all", tree)
    ),
}
HALVES = ("with_master_copy", "with_compensation")


OURS = ("accumulate", "switch", "restart", "with_master_copy")


@each(WRAPPERS, OURS)
def test_inside_of_wrappers(name):
    """The updates of the same wrapper around the partition."""
    wrap, first = WRAPPERS[name], params()
    if name in HALVES:
        first = jax.tree.map(lambda x: x.astype("bfloat16"), first)
    tx, other = wrap(by_groups()), wrap(as_partition())
    found, moved, state = steps(tx, first, 4, jax.jit(tx.update))
    expected, other, _ = steps(other, first, 4, jax.jit(other.update))
    assert_close((found, moved), (expected, other), 4)
    if name not in ("switch", "conditionally_transform"):
        assert_same(moved["embed"], first["embed"])
    assert {x for x in read(state) if "head/" in x}


KERNELS = {x: {"kernel": y["kernel"]} for x, y in params((3, 4)).items()}


@pytest.mark.parametrize(
    "dtype", ["int8", pytest.param("bfloat16", marks=pytest.mark.full)]
)
def test_in_low_precision_state(dtype):
    """A group moves as without the others; a frozen leaf keeps its bits."""

    def run(rate):
        tx = oxe.nadam(rate, weight_decay=0.1)
        tx = oxe.low_precision_state(tx, dtype, min_size=1)
        state = jax.jit(tx.init)(KERNELS)
        return state, *steps(tx, KERNELS, 3, jax.jit(tx.update), state)[1:]

    fresh, moved, state = run(RATE)
    _, alone, _ = run(0.1)
    assert_close(moved["body"], alone["body"], 4)
    assert_same(moved["embed"], KERNELS["embed"])
    for at, x in of_leaf(fresh, "embed/kernel").items():
        assert_same(of_leaf(state, "embed/kernel")[at], x)
    is_about(read(state), HELD)


def test_accumulate_says_how_to_thaw():
    """The state that one update of the optimizer alone returns has the new groups."""
    first = params()
    frozen = oxe.adamw(oxe.by_path({"head/.*": 0.1}, oxe.FROZEN))
    thawed = oxe.adamw(oxe.by_path({"head/.*": 0.1}, 0.2))
    grads = gradient(first, 3)
    tx = oxe.accumulate(thawed, 2)
    state = oxe.accumulate(frozen, 2).init(first)
    with pytest.raises(ValueError, match=r"oxe\.translate"):
        tx.update(grads, state, first)
    _, inner_state = thawed.update(grads, state.inner_state, first)
    u, _ = tx.update(grads, state._replace(inner_state=inner_state), first, flush=True)
    assert jnp.all(u["body"]["kernel"] != 0)


@each(("adamw", "nadam", "heavy_ball"), ("nadam", "heavy_ball"))
def test_a_low_precision_state_thaws(name):
    """The first update adds the group; its structure then stays."""
    first, make = KERNELS, getattr(oxe, name)
    rates = (oxe.by_path({"head/.*": 0.1}, x) for x in (oxe.FROZEN, 0.2))
    frozen, thawed = (oxe.low_precision_state(make(x), min_size=1) for x in rates)
    grads = gradient(first, 3)
    _, state = jax.jit(lambda w: frozen.update(w, frozen.init(w), w))(first)
    u, state = jax.jit(thawed.update)(grads, state, first)
    assert np.all(u["body"]["kernel"])
    is_about(read(state), {"default/learning_rate": 0.2, "head/.*/learning_rate": 0.1})
    _, after = jax.eval_shape(thawed.update, grads, state, first)
    assert abstract(after) == abstract(state)
    fresh = jax.eval_shape(thawed.init, first)
    found, expected = (of_leaf(x, "body/kernel").values() for x in (state, fresh))
    assert [x.dtype for x in found] == [x.dtype for x in expected]


@pytest.mark.parametrize("wrap", [None, lambda tx: oxe.accumulate(tx, 2)])
def test_a_low_precision_state_thaws_by_translation(wrap):
    wrap = wrap or (lambda tx: tx)
    rates = (oxe.by_path({"head/.*": 0.1}, x) for x in (oxe.FROZEN, 0.2))
    frozen, thawed = (
        wrap(oxe.low_precision_state(oxe.adam(x), min_size=1)) for x in rates
    )
    grads, state = gradient(KERNELS, 3), frozen.init(KERNELS)
    for _ in range(4):
        _, state = frozen.update(grads, state, KERNELS)
    state, _ = oxe.translate(state, thawed, KERNELS)
    _, after = jax.eval_shape(thawed.update, grads, state, KERNELS)
    assert abstract(after) == abstract(state)
    for _ in range(2):
        u, state = thawed.update(grads, state, KERNELS)
    # A step of Adam is the learning rate at first, if what was missed does not count.
    np.testing.assert_allclose(np.abs(u["body"]["kernel"]), 0.2, rtol=0.1)


def test_rprop_thaws_with_its_first_step_size():
    """As in PyTorch, where the state of a param begins with its first gradient."""
    first = params()
    frozen = oxe.rprop(oxe.by_path({"head/.*": 0.1}, oxe.FROZEN))
    grads = gradient(first, 3)
    _, state = frozen.update(grads, frozen.init(first), first)
    for rate in (0.02, oxe.by_path({"body/.*": 0.02}, 0.3)):
        sizes, after = [], state
        for _ in range(3):
            u, after = oxe.rprop(rate).update(grads, after, first)
            sizes.append(float(jnp.abs(u["body"]["kernel"]).max()))
        np.testing.assert_allclose(sizes, [0.02, 0.024, 0.0288], rtol=1e-6)


def test_switch_says_how_to_thaw():
    """Where an update may be skipped, the state cannot get a group."""
    first = params()
    frozen, thawed = (
        oxe.switch(
            oxe.adam(oxe.by_path({"head/.*": 0.1}, x)), optax.sgd(0.1), oxe.at_step(3)
        )
        for x in (oxe.FROZEN, 0.2)
    )
    state = frozen.init(first)
    with pytest.raises(ValueError, match=r"switch: .*oxe\.translate"):
        jax.jit(thawed.update)(gradient(first, 3), state, first)


def test_states_of_other_optimizers():
    """A schedule in place of a constant decay, and a state of Optax."""
    first = params()
    scheduled = oxe.adamw(0.1, weight_decay=oxe.by_path({"head/.*": falling}, 0.1))
    state = oxe.adamw(0.1, weight_decay=0.1).init(first)
    with pytest.raises(ValueError, match=r"adamw: `state` .* weight decay .*translate"):
        scheduled.update(first, state, first)
    translated, _ = oxe.translate(state, scheduled, first)
    assert abstract(scheduled.update(first, translated, first)[1]) == abstract(
        translated
    )
    with pytest.raises(ValueError, match=r"`MomentsState`, got 'ScaleByAdamState'"):
        oxe.adamw(0.1).update(first, optax.adamw(0.1).init(first), first)


def test_masked_leaves_are_in_no_group():
    """`optax.masked` hides leaves; paths are those of the whole tree."""
    mask = {"body": True, "embed": True, "head": False}
    rate = oxe.by_path({"embed/.*": 0.2}, 0.1)
    tx = optax.masked(oxe.adamw(rate, weight_decay=0.1), mask)
    found, *_ = steps(tx, params())
    expected, *_ = steps(oxe.adamw(rate, weight_decay=0.1), params())
    for u, v, step in zip(found, expected, range(3), strict=True):
        assert_same(u["head"], gradient(params(), step)["head"])
        assert_close([u["body"], u["embed"]], [v["body"], v["embed"]], 4)


def test_one_wrapper_around_two_groupings():
    """Each optimizer of a partition has its own, of the leaves that it sees."""
    txs = {
        "a": oxe.adamw(oxe.by_path({".*bias": 0.2}, 0.1)),
        "b": oxe.sgd(oxe.by_path({"embed/.*": oxe.FROZEN}, 0.3)),
    }
    tx = optax.partition(txs, {"body": "a", "embed": "b", "head": "b"})
    found, _, state = steps(tx, params())
    assert not np.any(found[-1]["embed"]["kernel"])
    g = gradient(params(), 2)["head"]
    assert_close(found[-1]["head"], jax.tree.map(lambda x: -0.3 * x, g), 4)
    u, *_ = steps(txs["a"], {"body": params()["body"]})
    v = found[0]["body"]
    assert_close(
        v["bias"] / v["kernel"] * 0.5, jnp.sign(v["bias"] * v["kernel"]), 2**14
    )
    assert len(u) == 3
    is_about(
        read(state),
        {
            "a/default/learning_rate": 0.1,
            ".*bias/learning_rate": 0.2,
            "b/default/learning_rate": 0.3,
        },
    )


def test_the_others_of_muon():
    """Groups of its `others`, of its own learning rate, and of both."""
    tree = {
        "w": jnp.ones((2, 3)),
        "v": jnp.ones((3, 2)),
        "b": jnp.ones(3),
        "c": jnp.ones(3),
    }
    grads = gradient(tree, 0)

    def updates(rate, others):
        tx = oxe.muon(rate, **ONE_ITERATION, others=others)
        u, state = tx.update(grads, tx.init(tree), tree)
        return u, state

    plain, _ = updates(0.1, oxe.adamw(0.1))
    both = oxe.by_path({"w": 0.2}, 0.1), oxe.adamw(oxe.by_path({"b": 0.3}, 0.1))
    u, state = updates(*both)
    for name, factor in {"w": 2, "v": 1, "b": 3, "c": 1}.items():
        scale = 64 if name in "wv" else 8
        assert_close(u[name], factor * plain[name], scale, name)
    assert {"w", "b"} <= {x.split("/")[-2] for x in read(state)}
    u, state = updates(oxe.by_path({"v": oxe.FROZEN}, 0.1), oxe.adamw(0.1))
    assert not np.any(u["v"])
    assert np.all(u["w"])


def test_stacks_have_no_paths():
    """The error says what to write, and that works."""
    tree = {str(i): jnp.ones(3) for i in range(4)}
    rate = oxe.by_path({"0": 0.2}, 0.1)
    with pytest.raises(
        ValueError, match=r"paths, got by_path.*oxe\.scale_by_rate\(by_pa"
    ):
        oxe.stacked(oxe.adamw(rate)).init(tree)
    tx = optax.chain(oxe.stacked(optax.scale_by_adam()), oxe.scale_by_rate(rate))
    found = steps(tx, tree)[:2]
    other = optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(rate))
    assert_close(found, steps(other, tree)[:2], 4)


# ---- SWATS ---------------------------------------------------------------------------


@pytest.mark.parametrize("per_leaf", [False, True])
def test_swats_switches_with_groups(per_leaf):
    """Its estimate has no learning rate: the groups multiply both phases."""

    def make(rate):
        return oxe.swats(rate, min_steps=2, max_steps=2, per_leaf=per_leaf)

    first = params()

    # One sign of each gradient, so that the estimate is positive.
    def run(tx):
        state, us = tx.init(first), []
        for step in range(5):
            g = jax.tree.map(lambda x, n=step: np.abs(np.cos(x + n)) + 0.1, first)
            u, state = tx.update(g, state, first)
            us.append(u)
        return us, state

    us, state = run(make(oxe.by_path({"head/.*": 0.2}, 0.1)))
    vs, _ = run(make(0.1))
    assert np.all(optax.tree.get(state, "switch_step") == 2)
    for u, v in zip(us, vs, strict=True):
        assert_close(u["body"], v["body"], 4)
        assert_close(u["head"], jax.tree.map(lambda x: 2 * x, v["head"]), 4)


# ---- The table -----------------------------------------------------------------------


def rows_of(text):
    """The two tables, as dicts of columns."""
    tables = []
    for part in text.split("\n\n"):
        rows = [re.split(r"\s{2,}", x.strip()) for x in part.splitlines()]
        tables.append(rows)
    return tables


def table(tx, tree=None):
    return rows_of(oxe.describe_groups(tx, params((2, 3)) if tree is None else tree))


def test_the_table_of_the_groups():
    """Paths, shapes, sizes and groups; then values with leaves and sizes of each."""
    rate = oxe.by_path(
        {"head/.*": 2.5, "embed/.*": oxe.FROZEN, ".*ed/kernel": 3.0}, 1, times=falling
    )
    decay = oxe.by_path({".*bias": falling}, np.linspace(0.5, 1.0, 2))
    leaves, groups = table(oxe.adamw(rate, weight_decay=decay))
    assert leaves[0] == ["path", "shape", "params", "learning_rate", "weight_decay"]
    assert leaves[1:] == [
        ["body/bias", "(2, 3)", "6", "default", ".*bias"],
        ["body/kernel", "(2, 3)", "6", "default", "default"],
        ["embed/kernel", "(2, 3)", "6", "embed/.*", "default"],
        ["head/bias", "(2, 3)", "6", "head/.*", ".*bias"],
        ["head/kernel", "(2, 3)", "6", "head/.*", "default"],
    ]
    assert groups[0] == ["argument", "group", "value", "leaves", "params"]
    assert groups[1:] == [
        ["learning_rate", "head/.*", "2.5 * falling", "2", "12"],
        ["learning_rate", "embed/.*", "frozen", "1", "6"],
        ["learning_rate", ".*ed/kernel", "3 * falling", "0", "0"],
        ["learning_rate", "default", "1 * falling", "2", "12"],
        ["weight_decay", ".*bias", "falling", "2", "12"],
        ["weight_decay", "default", "[0.5, 1]", "3", "18"],
    ]


@pytest.mark.parametrize(
    "wrap", [*WRAPPERS.values(), oxe.low_precision_state], ids=[*WRAPPERS, "low"]
)
def test_the_table_through_wrappers(wrap):
    assert table(wrap(by_groups())) == table(by_groups())


def test_the_table_of_two_arguments_of_one_name():
    """Of Muon and of its others."""
    tree = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    others = oxe.adamw(oxe.by_path({"b": 0.3}, 0.1))
    tx = oxe.muon(oxe.by_path({"w": 0.2}), layout="in_out", others=others)
    leaves, groups = table(tx, tree)
    heads = leaves[0]
    assert heads[:3] == ["path", "shape", "params"]
    assert {*heads[3:]} == {"learning_rate", "learning_rate 2"}
    assert {x[0]: {*x[3:]} for x in leaves[1:]} == {"w": {"-", "w"}, "b": {"-", "b"}}
    assert {(x[1], x[2]) for x in groups[1:]} >= {("w", "0.2"), ("b", "0.3")}
    assert oxe.describe_groups(tx, tree) == oxe.describe_groups(tx, tree)


def test_the_table_of_shapes_of_none_and_of_rules():
    shapes = jax.eval_shape(lambda: params((2, 3)))
    tx = oxe.scale_by_moments(
        oxe.by_path({"head/.*": oxe.rules.adam()}, oxe.rules.sgd())
    )
    assert table(tx, shapes) == table(tx)
    assert [row[-3:] for row in table(tx)[1][1:]] == [
        ["Rule", "2", "12"],
        ["Rule", "3", "18"],
    ]
    assert (
        oxe.describe_groups(oxe.adamw(0.1), shapes) == "No number depends on the path."
    )
    some = {"a": jnp.ones(2), "b": None}
    assert len(table(oxe.sgd(oxe.by_path({"a": 0.1})), some)[0]) == 2
    plateau = oxe.by_path({"a": oxe.plateau(0.1)})
    assert "plateau" in table(oxe.sgd(plateau), some)[1][1][2]


def test_the_table_of_transforms_that_differ_in_times_alone():
    """And of vectors, and of a decay with a mask."""
    one, two = (oxe.by_path({"body/.*": 10.0}, 1.0, times=x) for x in (0.5, 0.25))
    _, groups = table(optax.chain(oxe.scale_by_rate(one), oxe.scale_by_rate(two)))
    assert {row[2] for row in groups[1:]} == {
        *("10 * 0.5", "1 * 0.5", "10 * 0.25", "1 * 0.25")
    }
    decay = oxe.by_path({"x": [0.0, 1.0, 2.0, 3.0, 4.0]}, 0.1)
    tree = {"x": jnp.ones((5, 2)), "b": jnp.ones(3)}
    tx = oxe.adamw(0.1, weight_decay=decay, mask={"x": True, "b": False})
    leaves, groups = table(tx, tree)
    assert dict(row[0::3] for row in leaves[1:]) == {"b": "-", "x": "x"}
    assert groups[1][2:] == ["[0, 1, ..., 4]", "1", "10"]
    assert groups[2][2:] == ["0.1", "0", "0"]


def test_the_table_of_two_transforms_of_one_value():
    """Which change different params, by groups of the same names."""
    rate = oxe.by_path({".*/bias": 0.2}, 0.1)
    tree = {x: params()[x] for x in ("body", "head")}
    txs = {"a": oxe.sgd(rate), "b": oxe.adam(rate)}
    leaves, _ = table(optax.partition(txs, {"body": "a", "head": "b"}), tree)
    groups = [".*/bias", "default"]
    assert [row[3:] for row in leaves[1:]] == [
        *([x, "-"] for x in groups),
        *(["-", x] for x in groups),
    ]
    assert "times=2" in repr(oxe.by_path({"a": 1.0}, times=2))


def test_the_table_of_a_model_with_functions():
    tree = {"w": jnp.ones(2), "activation": jax.nn.relu}
    with pytest.raises(TypeError, match=r"at 'activation', .* `eqx\.filter"):
        oxe.describe_groups(oxe.sgd(oxe.by_path({"w": 0.1})), tree)


def test_the_table_of_a_single_array():
    """Its path is "", and so may be its group."""
    leaves, groups = oxe.describe_groups(
        oxe.sgd(oxe.by_path({"": 0.1})), jnp.ones(3)
    ).split("\n\n")
    assert "-" not in leaves
    assert groups.splitlines()[1].split() == ["learning_rate", "0.1", "1", "3"]


def test_traced_numbers_are_called_so():
    def text(x):
        found.append(table(oxe.sgd(oxe.by_path({".*": x}))))
        return x

    found = []
    jax.jit(text)(0.1)
    assert found[0][1][1][2] == "traced"
