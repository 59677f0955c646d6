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

    @jax.jit
    def run(state, params, grads):
        def step(carry, g):
            params, state = carry
            u, state = tx.update(g, state, params)
            return (optax.apply_updates(params, u), state), u

        (params, state), us = jax.lax.scan(step, (params, state), grads)
        return us, state, params

    return run


def run(tx, steps=STEPS, state=None, first=0, at=None):
    """The updates, the last state and the last params."""
    at = params() if at is None else at
    state = tx.init(at) if state is None else state
    rows = [gradient(at, first + i) for i in range(steps)]
    return updating(tx)(state, at, jax.tree.map(lambda *x: jnp.stack(x), *rows))


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
    pytest.param(shift, marks=[] if shift in (1, 5) else pytest.mark.full)
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
