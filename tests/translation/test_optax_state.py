"""`load_optax_state`: a run of Optax that goes on here."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit
from tests.translation.runs import maps_are_exact

STEPS = 50
SHAPES = {"b": (3,), "w": (2, 3)}
FALLING = optax.cosine_decay_schedule(0.01, 2 * STEPS)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def arrays(seed, steps=()):
    """Like the params; a tenth of the numbers are 0."""
    rng = np.random.default_rng(seed)
    return {
        k: jnp.asarray(rng.normal(size=(*steps, *s)) * (rng.random((*steps, *s)) > 0.1))
        for k, s in SHAPES.items()
    }


def run(tx, grads, params, state):
    """All params from here on, and the last state."""

    @quick_jit
    def walk(params, state):
        def step(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        (_, state), every = jax.lax.scan(step, (params, state), grads)
        return every, state

    return walk(params, state)


def half_way(tx, params):
    grads = arrays(1, (STEPS,))
    every, state = run(tx, grads, params, tx.init(params))
    return jax.tree.map(lambda x: x[-1], every), state


def continued(theirs, ours, **kw):
    """The largest difference of the two runs after the change, and the report."""
    params, optax_state = half_way(theirs, arrays(0))
    state, report = oxe.load_optax_state(ours, optax_state, params, **kw)
    grads = arrays(2, (STEPS,))
    expected, _ = run(theirs, grads, params, optax_state)
    found, _ = run(ours, grads, params, state)
    differences = jax.tree.map(
        lambda x, y: float(jnp.abs(x - y).max()), expected, found
    )
    return max(jax.tree.leaves(differences)), report


def rmsprop(rate, **kw):
    return oxe.rmsprop(rate, 0.9, initial="zero", eps_in_root=True, **kw)


def keras_rmsprop(rate):
    return oxe.keras.RMSprop(rate, 0.9, momentum=0.9, epsilon=1e-8)


TO_THE_LAST_BIT = {
    "sgd": (optax.sgd(0.1), oxe.sgd(0.1)),
    "momentum": (optax.sgd(0.1, 0.9), oxe.sgd(0.1, momentum=0.9)),
    "nesterov": (
        optax.sgd(FALLING, 0.9, nesterov=True),
        oxe.sgd(FALLING, momentum=0.9, nesterov=True),
    ),
}
ROUNDED = {
    "adadelta": (optax.adadelta(0.1), oxe.adadelta(0.1, 0.9, 1e-6)),
    "adam": (optax.adam(0.01), oxe.adam(0.01)),
    "adamw": (optax.adamw(FALLING), oxe.adamw(FALLING, weight_decay=1e-4)),
    "adamax": (optax.adamax(0.01), oxe.adamax(0.01)),
    "rmsprop": (optax.rmsprop(0.01), rmsprop(0.01)),
    "centered": (optax.rmsprop(0.01, centered=True), rmsprop(0.01, centered=True)),
    "velocity of directions": (
        optax.rmsprop(0.01, momentum=0.9),
        rmsprop(0.01, momentum=0.9),
    ),
    "velocity of steps": (optax.rmsprop(FALLING, momentum=0.9), keras_rmsprop(FALLING)),
    "adagrad": (
        optax.adagrad(0.1),
        oxe.adagrad(0.1, 0.0, initial_accumulator_value=0.1 + 1e-7),
    ),
    "lion": (optax.lion(0.01), oxe.lion(0.01)),
    "a chain": (
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.01)),
        optax.chain(optax.clip_by_global_norm(1.0), oxe.adam(0.01)),
    ),
    "groups": (
        optax.partition(
            {"a": optax.adam(0.01), "s": optax.sgd(0.1, 0.9)}, {"w": "a", "b": "s"}
        ),
        optax.partition(
            {"a": oxe.adam(0.01), "s": oxe.sgd(0.1, momentum=0.9)},
            {"w": "a", "b": "s"},
        ),
    ),
    "accumulated": (
        optax.MultiSteps(optax.adam(0.01), 3).gradient_transformation(),
        optax.MultiSteps(oxe.adam(0.01), 3).gradient_transformation(),
    ),
    "guarded": (
        optax.apply_if_finite(optax.adam(0.01), 3),
        optax.apply_if_finite(oxe.adam(0.01), 3),
    ),
    "no longer guarded": (optax.apply_if_finite(optax.adam(0.01), 3), oxe.adam(0.01)),
    "another state beside it": (
        optax.chain(optax.ema(0.9), optax.adam(0.01)),
        optax.chain(optax.ema(0.9), oxe.adam(0.01)),
    ),
    "of both libraries": (
        optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(0.01)),
        oxe.adam(0.01),
    ),
}


@pytest.mark.parametrize("name", TO_THE_LAST_BIT)
def test_the_same_numbers(name):
    difference, report = continued(*TO_THE_LAST_BIT[name])
    assert difference == 0
    assert maps_are_exact(report)


@pytest.mark.parametrize("name", ROUNDED)
def test_the_same_rule(name):
    difference, report = continued(*ROUNDED[name])
    assert difference <= 1e-12
    assert maps_are_exact(report), report


def test_a_velocity_contains_the_rate_or_not():
    """With a constant rate both are the same run; the count has to be given."""
    theirs, ours = optax.sgd(0.1, 0.9), oxe.heavy_ball(0.1, 0.9)
    difference, report = continued(theirs, ours, count=STEPS)
    assert difference <= 1e-12
    assert maps_are_exact(report)
    assert [row.how for row in report.rows if row.source == "[0].trace"] == [
        "times 0.1"
    ]
    _, report = continued(theirs, ours)
    assert maps_are_exact(report)  # with a constant rate no count is needed
    _, report = continued(
        optax.rmsprop(FALLING, momentum=0.9), rmsprop(FALLING, momentum=0.9)
    )
    row, _ = report.inexact
    assert "learning rates that are not known" in row.note


@pytest.mark.parametrize("rate", [0.25, FALLING])
def test_an_injected_rate(rate):
    """A constant one is copied; a schedule is that of `tx`."""
    theirs = optax.inject_hyperparams(optax.adam)(rate)
    ours = oxe.adam(FALLING if callable(rate) else 0.5)
    difference, report = continued(theirs, ours)
    assert difference <= 1e-12
    assert maps_are_exact(report)


@pytest.mark.parametrize(
    ("theirs", "ours", "note"),
    [
        (optax.amsgrad(0.01), oxe.amsgrad(0.01), "maximum of the corrected moment"),
        (optax.nadam(0.01), oxe.nadam(0.01), "keeps the momentum constant"),
        (optax.rprop(0.01), oxe.rprop(0.01), "one update late"),
        (optax.adan(0.01), oxe.adam(0.01), "ScaleByAdanState"),
        (optax.lookahead(optax.sgd(0.1), 5, 0.5), oxe.sgd(0.1), "LookaheadState"),
    ],
    ids=["amsgrad", "nadam", "rprop", "adan", "lookahead"],
)
def test_another_rule_is_said(theirs, ours, note):
    params = arrays(0)
    if note == "LookaheadState":
        state = theirs.init(optax.LookaheadParams(params, params))
    else:
        params, state = half_way(theirs, params)
    _, report = oxe.load_optax_state(ours, state, params)
    assert any(note in row.note + row.source for row in report.inexact), report
    with pytest.raises(ValueError, match="load_optax_state: `strict` must be False"):
        oxe.load_optax_state(ours, state, params, strict=True)


def test_amsgrad_in_numbers():
    """The nearest: the maximum of the corrected moments, corrected back."""
    params, optax_state = half_way(optax.amsgrad(0.01), arrays(0))
    state, _ = oxe.load_optax_state(oxe.amsgrad(0.01), optax_state, params)
    expected = np.asarray(optax_state[0].nu_max["w"]) * (1 - 0.999**STEPS)
    np.testing.assert_allclose(state[0].nu_max["w"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "tx",
    [
        optax.amsgrad(0.01),
        optax.adagrad(0.01),
        optax.rmsprop(0.01, momentum=0.9),
        optax.adan(0.01),
        optax.rprop(0.01),
        optax.rmsprop(0.01, bias_correction=True, centered=True),
    ],
)
def test_into_the_same_optimizer_of_optax(tx):
    """Nothing changes, by whichever function."""
    params, old = half_way(tx, arrays(0))
    new, report = oxe.load_optax_state(tx, old, params, source=tx, strict=True)
    jax.tree.map(np.testing.assert_array_equal, new, old)
    assert maps_are_exact(report)


def test_translate_goes_both_ways():
    params, old = half_way(optax.adam(0.01), arrays(0))
    ours, report = oxe.translate(old, oxe.adam(0.01), params)
    assert maps_are_exact(report)
    back, report = oxe.translate(ours, optax.adam(0.01), params)
    assert maps_are_exact(report)
    jax.tree.map(np.testing.assert_array_equal, back, old)


def test_into_an_injected_schedule():
    """Optax's schedule goes on at the count, too."""
    params, old = half_way(oxe.adam(FALLING), arrays(0))
    tx = optax.inject_hyperparams(optax.adam)(FALLING)
    state, _ = oxe.translate(old, tx, params)
    grads = arrays(2, (STEPS,))
    expected, _ = run(oxe.adam(FALLING), grads, params, old)
    found, _ = run(tx, grads, params, state)
    for k, x in expected.items():
        np.testing.assert_allclose(found[k], x, rtol=0, atol=1e-12)


def test_the_rate_right_after():
    params, old = half_way(optax.adam(FALLING), arrays(0))
    state, _ = oxe.load_optax_state(oxe.adam(FALLING), old, params)
    expected = float(FALLING(STEPS - 1))
    assert float(oxe.learning_rate(state)) == pytest.approx(expected, rel=1e-12)


def test_a_trial_step():
    """It tells Adam from AdaMax, whose states look alike."""
    params, old = half_way(optax.adamax(0.01), arrays(0))
    for tx, is_right in [(oxe.adamax(0.01), True), (oxe.adam(0.01), False)]:
        _, report = oxe.load_optax_state(
            tx, old, params, source=optax.adamax(0.01), gradients=arrays(3)
        )
        assert report.rows[-1].target == "trial step"
        assert report.rows[-1].exact == is_right


def test_before_any_update():
    params = arrays(0)
    state, report = oxe.load_optax_state(
        oxe.adam(0.1), optax.adam(0.1).init(params), params
    )
    assert maps_are_exact(report)
    jax.tree.map(np.testing.assert_array_equal, state, oxe.adam(0.1).init(params))


def test_half_precision_params():
    """The state is float32, as `init` makes it."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays(0))
    old = optax.adam(0.1).init(params)
    state, report = oxe.load_optax_state(oxe.adam(0.1), old, params)
    assert state[0].mu["w"].dtype == jnp.float32
    assert maps_are_exact(report)


def test_what_is_refused():
    params, state = arrays(0), optax.adam(0.1).init(arrays(0))
    tx = oxe.adam(0.1)
    with pytest.raises(
        ValueError, match="load_optax_state: `optax_state` must be that"
    ):
        oxe.load_optax_state(tx, params, params)
    with pytest.raises(ValueError, match="load_optax_state: `source` must be given"):
        oxe.load_optax_state(tx, state, params, gradients=params)
    with pytest.raises(ValueError, match="`count` must be that of `optax_state`, 0"):
        oxe.load_optax_state(tx, state, params, count=3)
    with pytest.raises(ValueError, match=r"state of 'w'.* must have the shape"):
        oxe.load_optax_state(tx, state, {**params, "w": jnp.ones(5)})
