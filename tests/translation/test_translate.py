"""States of one optimizer translated into another's, in float64.

Most tests give both optimizers the same gradients, whatever the params are. Optimizers
that keep the same moments then have the same state after the same gradients, so that
the translated state must be the one that the other optimizer has reached by itself.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.runs import gradient

STEPS = 12


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def params():
    return {"w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3), "b": jnp.ones(3)}


@functools.cache
def updating(tx):
    """Compiled once for each optimizer."""
    return jax.jit(tx.update)


def run(tx, steps=STEPS, state=None, first=0, at=None):
    """The updates, the last state and the last params."""
    at = params() if at is None else at
    state = tx.init(at) if state is None else state
    us = []
    for i in range(first, first + steps):
        u, state = updating(tx)(gradient(at, i), state, at)
        at = optax.apply_updates(at, u)
        us.append(u)
    return us, state, at


def assert_same(got, expected, tolerance=1e-12):
    got, expected = map(jax.tree.leaves, (got, expected))
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def goes_on(old, new, tolerance=1e-12, **kwargs):
    """The report, if the new optimizer goes on as if it had made the whole run."""
    _, state, at = run(old)
    made, report = oxe.translate(state, new, at, **kwargs)
    _, own, own_at = run(new)
    assert_same(
        run(new, 5, made, STEPS, at)[0], run(new, 5, own, STEPS, own_at)[0], tolerance
    )
    return report


def row(report, target="", source=""):
    (found,) = [
        x for x in report.rows if x.target.endswith(target) and x.source == source
    ]
    return found


# The same moments after the same gradients.
def own_rule(beta, weight):
    """Momentum of a weight of one's own."""

    def step(t, carry):
        return oxe.Tableau(a1=beta, c1=weight, n1=1), carry

    return oxe.Rule(lambda: (), step, buffers=frozenset({"mu"}))


def with_own_rule(beta, weight, rate):
    rule = own_rule(beta, weight)
    return optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(rate))


SGD = {
    "sgd": oxe.sgd(0.1, momentum=0.9),
    "heavy_ball": oxe.heavy_ball(0.1, 0.9),
    "average": with_own_rule(0.9, 1 - 0.9, 1.0),
    "triple": with_own_rule(0.9, 3.0, 0.1 / 3),
}
NESTEROV = {
    "sgd": oxe.sgd(0.1, momentum=0.9, nesterov=True),
    "heavy_ball": oxe.heavy_ball(0.1, 0.9, nesterov=True),
}
RMSPROP = {
    "rmsprop": oxe.rmsprop(
        0.1, 0.9, 1e-7, eps_in_root=True, initial="zero", momentum=0.9
    ),
    "keras": oxe.keras.RMSprop(0.1, 0.9, momentum=0.9),
}
UNITS = [
    (f"{x}-{y}", family[x], family[y])
    for family in (SGD, NESTEROV, RMSPROP)
    for x in family
    for y in family
]


@pytest.mark.parametrize(
    ("old", "new"), [x[1:] for x in UNITS], ids=[x[0] for x in UNITS]
)
def test_the_same_run_in_other_units(old, new):
    """A velocity that is a sum, an average, or contains the learning rate."""
    assert goes_on(old, new, source=old).exact


def test_the_factor_of_a_velocity():
    """v = m / (1 - b) for a sum v and an average m; heavy ball's has the rate in it."""
    report = goes_on(SGD["average"], SGD["sgd"], source=SGD["average"])
    assert row(report, "mu", "[0].mu").how == "times 10"
    assert (
        row(goes_on(SGD["sgd"], SGD["heavy_ball"]), "mu", "[0].mu").how == "times 0.1"
    )


def all_of(params):
    return jax.tree.map(lambda _: True, params)


SCHEDULE = oxe.schedules.cosine(0.1, 40)
# Of Adam's moments; `exact` is False where something else has to start.
ADAMS = {
    "adam": oxe.adam(0.1),
    "adamw": oxe.adamw(0.1, weight_decay=0.01),
    "nadam": oxe.nadam(0.1),
    "adabound": oxe.adabound(0.1),
    "swats": oxe.swats(0.1, tolerance=1e-9),
    "swats-per_leaf": oxe.swats(0.1, tolerance=1e-9, per_leaf=True),
    "swats-second_rate": oxe.swats(0.1, tolerance=1e-9, second_rate=0.01),
    "schedule": oxe.nadam(SCHEDULE, weight_decay=SCHEDULE),
    "by_path": oxe.nadam(oxe.by_path({"w": 0.2}, 0.1), b1=oxe.by_path({"w": 0.9}, 0.9)),
    "pytorch": oxe.pytorch.NAdam(0.1),
    "transform": oxe.scale_by_nadam(),
    "rule": oxe.scale_by_moments(oxe.rules.adam()),
    "restart": oxe.scale_by_moments(oxe.restart(oxe.rules.nadam(), oxe.at_step(99))),
    "restart-transformation": oxe.restart(oxe.nadam(0.1), oxe.at_step(99)),
    "switch": oxe.switch(oxe.nadam(0.1), oxe.sgd(0.1), oxe.at_step(99)),
    "stacked": oxe.stacked(oxe.nadam(0.1)),
    "with_master_copy": oxe.with_master_copy(oxe.nadam(0.1)),
    "with_compensation": oxe.with_compensation(oxe.nadam(0.1)),
    "with_average": oxe.with_average(oxe.adam(0.1), oxe.averages.ema(0.9)),
    "accumulate": oxe.accumulate(oxe.nadam(0.1), 1),
    "MultiSteps": optax.MultiSteps(oxe.adam(SCHEDULE), 1).gradient_transformation(),
    "apply_if_finite": optax.apply_if_finite(oxe.adam(0.1), 3),
    "masked": optax.masked(oxe.nadam(0.1), all_of),
    "partition": optax.partition(
        {"1": oxe.nadam(0.1), "2": oxe.adam(0.1)}, {"w": "1", "b": "2"}
    ),
    "inject": optax.inject_hyperparams(oxe.adam)(0.1),
    "scheduled": oxe.scheduled(oxe.nadam)(SCHEDULE, b2=0.999),
    "chain": optax.chain(optax.clip(9.0), oxe.adam(0.1)),
    "nested": optax.apply_if_finite(
        oxe.with_average(
            oxe.accumulate(oxe.stacked(oxe.nadam(0.1)), 1), oxe.averages.ema(0.9)
        ),
        3,
    ),
}
NAMES = [*ADAMS]
SHIFTS = [
    pytest.param(shift, marks=[] if shift == 1 else pytest.mark.full)
    for shift in range(len(NAMES))
]


@functools.cache
def state_of(name):
    return run(ADAMS[name])


@pytest.mark.parametrize("shift", SHIFTS)
def test_adams_moments_go_everywhere(shift):
    """From each form to another one: all that Adam's moments are kept in."""
    for i, name in enumerate(NAMES):
        old = NAMES[i - shift]
        _, state, at = state_of(old)
        tx = ADAMS[name]
        new, report = oxe.translate(state, tx, at)
        lost = [
            x.source
            for x in report.inexact
            if x.target or x.source.rpartition(".")[2] in ("mu", "nu")
        ]
        assert not lost, (old, name, str(report))
        want = run(tx, 1, state_of(name)[1], STEPS, at)[0]
        got = run(tx, 1, new, STEPS, at)[0]
        try:
            assert_same(got, want)
        except AssertionError as error:
            raise AssertionError(f"{old} to {name}\n{report}") from error


def test_moments_of_scaled_gradients():
    """A rate before Adam multiplies mu, and nu by its square."""
    old = optax.chain(oxe.scale_by_rate(2.0), oxe.adam(0.1, eps=0.0))
    _, state, at = run(old)
    tx = oxe.adam(0.1, eps=0.0)
    new, report = oxe.translate(state, tx, at, source=old)
    assert row(report, "mu", "[1][0].mu").how == "times -0.5"
    assert row(report, "nu", "[1][0].nu").how == "times 0.25"
    assert_same(run(tx, 1, new, STEPS)[0], run(tx, 1, run(tx)[1], STEPS)[0])


# SWATS.
SWITCHING = {"min_steps": 2, "max_steps": 4, "tolerance": 1e-9}


def test_swats_before_its_switch_goes_on_as_adam():
    _, state, at = run(oxe.swats(0.1, tolerance=1e-9))
    old, new = oxe.swats(0.1, tolerance=1e-9), oxe.adam(0.1, eps_hat=True)
    _, report = oxe.translate(state, new, at, source=old)
    assert not [x for x in report.inexact if x.target]
    assert goes_on(old, new, source=old) is not None


def test_swats_after_its_switch_goes_on_as_sgd():
    """Lambda m of an average m is (1 - b) Lambda v of a sum v."""
    old = oxe.swats(0.1, **SWITCHING)
    _, state, at = run(old)
    switch_state = state[1].carry if hasattr(state[1], "carry") else state[0].carry
    assert bool(switch_state.switched)
    rate = 0.1 * float(switch_state.second.rate_factor) * (1 - 0.9)
    tx = oxe.sgd(rate, momentum=0.9)
    new, report = oxe.translate(state, tx, at, source=old)
    assert row(report, "mu", row_source(report, "mu")).how == "times 10"
    assert_same(run(tx, 5, new, STEPS, at)[0], run(old, 5, state, STEPS, at)[0])


def row_source(report, field):
    (found,) = [x.source for x in report.rows if x.target.endswith(field)]
    return found


def test_a_second_moment_that_stopped_is_not_exact():
    """After the switch nu stands still, and Adam's would have gone on."""
    old = oxe.swats(0.1, **SWITCHING)
    _, state, at = run(old)
    _, report = oxe.translate(state, oxe.adam(0.1), at, source=old)
    assert not row(report, "nu", row_source(report, "nu")).exact


def test_the_phase_of_a_switch_that_is_in_force():
    first, second = oxe.adam(0.1), oxe.sgd(0.1, momentum=0.9)
    for step, tx, field in ((99, first, "first"), (4, second, "second")):
        old = oxe.switch(first, second, oxe.at_step(step))
        _, state, at = run(old)
        new, report = oxe.translate(state, tx, at)
        assert row(report, "mu", f".{field}[0].mu").exact
        assert_same(run(tx, 3, new, STEPS, at)[0], run(old, 3, state, STEPS, at)[0])
    again, report = oxe.translate(state, old, at)
    assert report.exact
    assert_same(again, state)


# What is not the same run.
@pytest.mark.parametrize(
    ("old", "new", "target", "source"),
    [
        (oxe.adam(0.1), oxe.amsgrad(0.1), "nu_max", ""),
        (oxe.amsgrad(0.1), oxe.adam(0.1), "", "[0].nu_max"),
        (oxe.adam(0.1), oxe.adam(0.1, b1=0.8), "[0].mu", "[0].mu"),
        (oxe.adagrad(0.1), oxe.rmsprop(0.1), "[0].nu", "[0].nu"),
        (oxe.adam(0.1), oxe.sgd(0.1, momentum=0.9), "", "[0].nu"),
        (oxe.sgd(0.1, momentum=0.9), oxe.adam(0.1), "[0].nu", ""),
        (oxe.adam(0.1), oxe.adamax(0.1), "[0].nu", ""),
        (oxe.adam(0.1), oxe.adafactor(0.1), "", "[0].mu"),
        (oxe.with_master_copy(oxe.adam(0.1)), oxe.adam(0.1), "", ".master"),
        (oxe.adam(0.1), optax.chain(oxe.adam(0.1), optax.trace(0.9)), "[1].trace", ""),
    ],
)
def test_what_is_lost_is_said(old, new, target, source):
    _, state, at = run(old)
    _, report = oxe.translate(state, new, at, source=old)
    assert not report.exact
    found = [x for x in report.inexact if x.source == source]
    assert any(x.target.endswith(target) for x in found), str(report)
    with pytest.raises(ValueError, match="translate: `strict` must be False"):
        oxe.translate(state, new, at, source=old, strict=True)


def test_adagrads_sum_becomes_an_average():
    """Of gradients of one size, the sum of n squares is n times their average."""
    old, new = oxe.adagrad(0.1, initial_accumulator_value=0.0), oxe.rmsprop(0.1)
    ones = jax.tree.map(jnp.ones_like, params())
    state = old.init(params())
    for _ in range(STEPS):
        _, state = old.update(ones, state, params())
    translated, _ = oxe.translate(state, new, params(), source=old)
    assert_same(optax.tree.get(translated, "nu"), ones)


# What is around an optimizer.
@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_into_and_out_of_few_bits(dtype):
    big = {"w": jnp.cos(jnp.arange(512.0)), "b": jnp.ones(3)}
    plain = oxe.adam(0.1)
    small = oxe.low_precision_state(plain, dtype, min_size=512)
    _, state, at = run(plain, at=big)
    stored, report = oxe.translate(state, small, at)
    assert len(report.inexact) == 2
    assert all("few bits" in x.note for x in report.inexact)
    back, report = oxe.translate(stored, plain, at)
    assert report.exact
    bits = 3 if dtype == "int8" else 7
    mu, nu = state[0].mu, state[0].nu
    assert_same(back[0].mu["b"], mu["b"])
    for got, want in ((back[0].mu, mu), (back[0].nu, nu)):
        largest = float(jnp.max(jnp.abs(want["w"])))
        error = jnp.abs(got["w"] - want["w"])
        assert bool(jnp.all(error <= 2.0**-bits * jnp.abs(want["w"]) + 4e-5 * largest))
    again, report = oxe.translate(stored, small, at)
    assert_same(again.full_inner_state()[0].mu["b"], mu["b"])


def test_averages_are_copied_by_name():
    slow, fast = oxe.averages.ema(0.9), oxe.averages.ema(0.5)
    both = oxe.with_average(oxe.adam(0.1), {"slow": slow, "fast": fast})
    one = oxe.with_average(oxe.nadam(0.1), {"fast": fast})
    _, state, at = run(both)
    new, report = oxe.translate(state, one, at)
    assert_same(oxe.averaged(new, "fast"), oxe.averaged(state, "fast"))
    assert row(report, "", ".averages['slow']").how == "left over"
    _, report = oxe.translate(state, oxe.with_average(oxe.adam(0.1), slow), at)
    assert row(report, ".averages", "").how == "starts as `init` makes it"


def test_a_window_of_gradients_goes_on():
    old, new = oxe.accumulate(oxe.adam(0.1), 4), oxe.accumulate(oxe.adamw(0.1), 4)
    _, state, at = run(old, 6)
    translated, report = oxe.translate(state, new, at)
    assert report.exact
    assert int(translated.num_accumulated) == 2
    assert_same(translated.mean, state.mean)
    multi = optax.MultiSteps(oxe.adam(0.1), 4).gradient_transformation()
    _, state, at = run(multi, 6)
    translated, report = oxe.translate(state, multi, at)
    assert_same(translated, state)
    _, report = oxe.translate(state, oxe.adam(0.1), at)
    assert not row(report, "", ".acc_grads").exact


# Groups.
def test_frozen_params_have_missed_updates():
    """Thawed in a wrapper that cannot change its structure: by a translation."""
    frozen, thawed = (
        oxe.adam(oxe.by_path({"w": oxe.FROZEN}, 0.1)),
        oxe.adam(oxe.by_path({"w": 0.1}, 0.1)),
    )
    _, state, at = run(frozen)
    want = run(
        thawed, 1, thawed.update(gradient(at, STEPS), state, at)[1], STEPS + 1, at
    )
    wrappers = (
        lambda tx: oxe.accumulate(tx, 1),
        lambda tx: optax.MultiSteps(tx, 1).gradient_transformation(),
        lambda tx: optax.apply_if_finite(tx, 3),
    )
    for wrap in wrappers:
        _, state, at = run(wrap(frozen))
        tx = wrap(thawed)
        new, report = oxe.translate(state, tx, at)
        assert report.exact or optax.tree.get(new, "acc_grads") is not None
        us = run(tx, 2, new, STEPS, at)[0]
        assert_same(us[1:], want[0])


def test_groups_that_stay_frozen():
    first = oxe.adam(oxe.by_path({"w": oxe.FROZEN}, 0.1))
    second = oxe.accumulate(oxe.adam(oxe.by_path({"b": 0.2}, oxe.FROZEN)), 1)
    _, state, at = run(first)
    new, _ = oxe.translate(state, second, at)
    (missed,) = optax.tree.get(new, "missed").values()
    assert (int(missed.count), [*missed.leaves]) == (STEPS, ["w"])
    run(second, 2, new, STEPS, at)


# Learning rates.
def test_rates_are_those_of_the_new_optimizer():
    for old, new in (
        (oxe.adam(0.1), oxe.adam(0.2)),
        (oxe.heavy_ball(0.1), oxe.heavy_ball(0.2)),
        (oxe.adabound(0.1), oxe.adabound(0.2)),
        (oxe.adam(0.1), oxe.nadam(SCHEDULE)),
        (oxe.heavy_ball(0.1), oxe.heavy_ball(SCHEDULE)),
        (oxe.adam(SCHEDULE), oxe.scheduled(oxe.adam)(oxe.schedules.cosine(0.2, 50))),
    ):
        _, state, at = run(old)
        _, own, _ = run(new)
        translated, _ = oxe.translate(state, new, at)
        assert_same(oxe.learning_rate(translated), oxe.learning_rate(own))


@pytest.mark.parametrize("make", [oxe.plateau, oxe.greedy])
def test_metric_schedules_are_copied(make):
    def fed(tx, state, losses):
        for loss in losses:
            _, state = tx.update(gradient(params(), 0), state, params(), value=loss)
        return state

    old = oxe.adam(make(0.1, patience=2))
    new = oxe.nadam(make(0.1, patience=2))
    state = fed(old, old.init(params()), [1.0, 2.0, 2.0])
    translated, report = oxe.translate(state, new, params())
    assert row(report, "[2].rate", "[2].rate").how == "copied"
    rest = [2.0, 2.0, 3.0]
    assert_same(
        oxe.learning_rate(fed(new, translated, rest)),
        oxe.learning_rate(fed(old, state, rest)),
    )
    _, report = oxe.translate(state, oxe.nadam(0.1), params())
    assert [x for x in report.inexact if x.how == "left over"]


# Counts.
@pytest.mark.parametrize("count", [1, 10**6, 2**31 - 1])
def test_large_counts(count):
    _, state, at = run(oxe.adam(0.1))
    state = optax.tree.set(state, count=jnp.asarray(count, jnp.int32))
    tx = oxe.nadam(SCHEDULE)
    new, _ = oxe.translate(state, tx, at)
    t = np.arange(1, min(count, 10**5) + 1)
    product = np.prod(0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)))
    assert int(optax.tree.get(new, "count", filtering=is_of_moments)) == count
    assert_same(optax.tree.get(new, "product"), product)
    assert_same(oxe.learning_rate(new), 0.0 if count > 1 else SCHEDULE(0))


def is_of_moments(path, value):
    del value
    return path[0].idx == 0


def test_a_state_before_any_update():
    new, report = oxe.translate(oxe.adam(0.1).init(params()), oxe.nadam(0.1), params())
    assert report.exact
    assert_same(new, oxe.nadam(0.1).init(params()))
    _, report = oxe.translate(oxe.sgd(0.1).init(params()), oxe.adam(0.1), params())
    assert report.exact


# Leaves.
def test_half_precision_and_complex_leaves():
    tree = {"h": jnp.ones(3, jnp.bfloat16), "c": jnp.ones(2, jnp.complex128)}
    old, new = oxe.adam(0.1, eps_hat=True), oxe.nadam(0.1)
    _, state, at = run(old, at=tree)
    translated, report = oxe.translate(state, new, at)
    assert report.exact
    assert_same(translated, run(new, at=tree)[1])
    narrow = oxe.scale_by_moments(oxe.rules.adam(), mu_dtype="bfloat16")
    translated, report = oxe.translate(state, narrow, at)
    assert translated.mu["h"].dtype == jnp.bfloat16
    assert [(x.target, x.note) for x in report.inexact if x.target] == [
        (".mu", "rounded to bfloat16")
    ]


def test_no_params():
    for state in (oxe.adam(0.1).init({}), oxe.sgd(0.1).init(())):
        oxe.translate(state, oxe.adamw(0.1), {})


# Bad input.
def of(path, leaf):
    return {**params(), path: leaf}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (({}, oxe.adam(0.1), params()), "`state` must be that of an optimizer of this"),
        ((params(), oxe.adam(0.1), params()), "`state` must be that of an optimizer"),
        (
            ("adam", of("w", jnp.ones((3, 2)))),
            r"`state of 'w'` must have the shape \(3, 2\)",
        ),
        (("sgd",), "`params` must be given"),
        (("gradients",), "`source` must be given with `gradients`"),
        (("structure",), "`gradients` must have the params' tree structure"),
    ],
)
def test_bad_input(arguments, said):
    tx, keywords = oxe.adam(0.1), {}
    state = tx.init(params())
    given = {
        "adam": lambda other: (state, tx, other),
        "sgd": lambda: (oxe.sgd(0.1).init(params()), tx),
        "gradients": lambda: (state, tx, params()),
        "structure": lambda: (state, tx, params()),
    }
    name, *rest = arguments
    if isinstance(name, str) and name in given:
        arguments = given[name](*rest)
        keywords = (
            {"gradients": {"other": 1.0}} if name in ("gradients", "structure") else {}
        )
        keywords |= {"source": tx} if name == "structure" else {}
    with pytest.raises(ValueError, match=f"^translate: {said}"):
        oxe.translate(*arguments, **keywords)


def test_a_traced_state_is_refused():
    tx = oxe.adam(0.1)
    with pytest.raises(TypeError, match="translate: `state` must have concrete"):
        jax.jit(lambda x: oxe.translate(x, tx, params())[0])(tx.init(params()))


def test_params_of_other_paths_are_left_over():
    _, state, _ = run(oxe.adam(0.1))
    other = {"v": jnp.ones((2, 3)), "b": jnp.ones(3)}
    _, report = oxe.translate(state, oxe.adam(0.1), other)
    assert [(x.target, x.note) for x in report.inexact][:1] == [("[0].mu", "v")]
    left = [x.note for x in report.rows if x.how == "left over"]
    assert left == ["w", "w"]


def test_the_trial_step():
    old = oxe.adam(0.1)
    _, state, at = run(old)
    given = {"source": old, "gradients": gradient(at, STEPS)}
    assert (
        oxe.translate(state, oxe.adamw(0.1, weight_decay=0.0), at, **given)[1]
        .rows[-1]
        .exact
    )
    for other in (oxe.adam(0.2), oxe.adam(0.1, b2=0.9)):
        assert not oxe.translate(state, other, at, **given)[1].rows[-1].exact


def test_the_report_is_a_table():
    _, state, at = run(oxe.adam(0.1))
    report = oxe.translate(state, oxe.sgd(0.1, momentum=0.9), at)[1]
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "new",
        "state",
        "source",
        "map",
        "exact",
        "ulps",
        "note",
    ]
    assert len(lines) == len(report.rows) + 1
    assert any(
        "[0].nu" in line and "left over" in line and "NO" in line for line in lines
    )


def test_nnx():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    grads = gradient(nnx.state(model, nnx.Param), 0)
    frozen = oxe.adam(oxe.by_path({"kernel": oxe.FROZEN}, 0.1))
    optimizer = nnx.Optimizer(model, frozen, wrt=nnx.Param)
    optimizer.update(model, grads)
    tx = oxe.with_average(oxe.adam(0.1), oxe.averages.ema(0.9))
    at = nnx.state(model, nnx.Param)
    state, report = oxe.translate(optimizer.opt_state, tx, at)
    assert report.exact
    second = nnx.Optimizer(model, tx._replace(init=lambda _: state), wrt=nnx.Param)
    step = nnx.jit(lambda model, optimizer: optimizer.update(model, grads))
    step(model, second)
    step(model, second)
    plain = nnx.to_pure_dict(at)
    made = frozen.update(nnx.to_pure_dict(grads), frozen.init(plain), plain)[1]
    want = oxe.adam(0.1).update(nnx.to_pure_dict(grads), made, plain)[1]
    want = oxe.adam(0.1).update(nnx.to_pure_dict(grads), want, plain)[1]
    moments = second.opt_state.inner_state[0]
    assert int(moments.count[...]) == 3
    assert_same(nnx.to_pure_dict(moments.mu), want[0].mu)
    back, _ = oxe.translate(
        second.opt_state, oxe.nadam(0.1), nnx.state(model, nnx.Param)
    )
    assert_same(nnx.to_pure_dict(back[0].nu), want[0].nu)
