"""States of one optimizer translated into another's, in float64.

Most tests give both optimizers the same gradients, whatever the params are. Optimizers
that keep the same moments then have the same state after the same gradients, so that
the translated state must be the one that the other optimizer has reached by itself.
"""

import functools

import jax
import optax
import pytest

import optax_extras as oxe
from tests.translation.runs import (
    ADAM,
    SCHEDULE,
    STEPS,
    assert_same,
    goes_on,
    row,
    run,
)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


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
    if x != y
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


def all_of(tree):
    return jax.tree.map(lambda _: True, tree)


# Of Adam's moments; `exact` is False where something else has to start.
ADAMS = {
    "adam": ADAM,
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
    "with_average": oxe.with_average(ADAM, oxe.averages.ema(0.9)),
    "accumulate": oxe.accumulate(oxe.nadam(0.1), 1),
    "MultiSteps": optax.MultiSteps(oxe.adam(SCHEDULE), 1).gradient_transformation(),
    "apply_if_finite": optax.apply_if_finite(ADAM, 3),
    "masked": optax.masked(oxe.nadam(0.1), all_of),
    "partition": optax.partition(
        {"1": oxe.nadam(0.1), "2": ADAM}, {"w": "1", "b": "2"}
    ),
    "inject": optax.inject_hyperparams(oxe.adam)(0.1),
    "scheduled": oxe.scheduled(oxe.nadam)(SCHEDULE, b2=0.999),
    "chain": optax.chain(optax.clip(9.0), ADAM),
    "nested": optax.apply_if_finite(
        oxe.with_average(
            oxe.accumulate(oxe.stacked(oxe.nadam(0.1)), 1), oxe.averages.ema(0.9)
        ),
        3,
    ),
}
# One step along a cycle of them, and in `make full` every pair.
NAMES = [*ADAMS]
SOME = NAMES[::2]
SHIFTS = [
    pytest.param(names, shift, marks=marks)
    for names, shifts, marks in (
        (SOME, [1], []),
        (NAMES, range(len(NAMES)), [pytest.mark.full]),
    )
    for shift in shifts
]


@functools.cache
def state_of(name):
    return run(ADAMS[name])


@pytest.mark.parametrize(("names", "shift"), SHIFTS)
def test_adams_moments_go_everywhere(names, shift):
    """From each form to another one: all that Adam's moments are kept in."""
    for i, name in enumerate(names):
        old = names[i - shift]
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
    _, report = oxe.translate(state, ADAM, at, source=old)
    assert not row(report, "nu", row_source(report, "nu")).exact


def test_the_phase_of_a_switch_that_is_in_force():
    first, second = ADAM, oxe.sgd(0.1, momentum=0.9)
    for step, tx, field in ((99, first, "first"), (4, second, "second")):
        old = oxe.switch(first, second, oxe.at_step(step))
        _, state, at = run(old)
        new, report = oxe.translate(state, tx, at)
        assert row(report, "mu", f".{field}[0].mu").exact
        assert_same(run(tx, 3, new, STEPS, at)[0], run(old, 3, state, STEPS, at)[0])
    again, report = oxe.translate(state, old, at)
    assert report.exact
    assert_same(again, state)


def test_the_velocity_of_groups():
    """Without `source` the groups of a state with several rates are not known."""
    one, two = (
        oxe.heavy_ball(oxe.by_path({"w": rate}, default=0.1)) for rate in (0.1, 0.3)
    )
    assert goes_on(one, SGD["heavy_ball"], source=None).exact is not False
    assert goes_on(two, oxe.sgd(oxe.by_path({"w": 0.3}, 0.1), 0.9), source=two).exact
    _, state, at = run(two)
    _, report = oxe.translate(state, SGD["heavy_ball"], at)
    assert report.exact is False
    assert "give `source`" in str(report)


def test_the_step_sizes_of_groups():
    """ASGD has one for each group: it is copied by the name of the group."""
    old = oxe.pytorch.ASGD(lr=oxe.by_path({"w": 0.3}, default=0.1), lambd=0.5)
    assert goes_on(old, old, source=old).exact
    _, state, at = run(old)
    other = oxe.pytorch.ASGD(lr=oxe.by_path({"b": 0.1}, default=0.3), lambd=0.5)
    _, report = oxe.translate(state, other, at, source=old)
    assert row(report, ".eta", "eta").how == "not copied"
    assert not row(report, ".eta", "eta").exact
