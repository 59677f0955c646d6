"""`load_optax_state`: a run of Optax that goes on here."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.walks import in_one_scan, updating

STEPS = 20
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


def run(txs, carries, seed):
    """The last params and states, and all params."""
    program = in_one_scan(tuple(map(updating, txs)))
    return program([*carries], arrays(seed, (STEPS,)))


def half_way(tx, params):
    return run([tx], [(params, tx.init(params))], 1)[0][0]


def continued(pairs, **kw):
    """The largest difference of the two runs after the change, and the report."""
    theirs, ours = zip(*pairs, strict=True)
    params = arrays(0)
    before, _ = run(theirs, [(params, tx.init(params)) for tx in theirs], 1)
    loaded = [
        oxe.load_optax_state(tx, state, params, **kw)
        for tx, (params, state) in zip(ours, before, strict=True)
    ]
    pairs = zip(before, loaded, strict=True)
    _, expected = run(theirs, before, 2)
    _, found = run(ours, [(params, state) for (params, _), (state, _) in pairs], 2)
    for one, other, (_, report) in zip(expected, found, loaded, strict=True):
        yield max(float(abs(one[k] - other[k]).max()) for k in SHAPES), report


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


def test_the_same_numbers():
    pairs = TO_THE_LAST_BIT.values()
    for name, (difference, report) in zip(
        TO_THE_LAST_BIT, continued(pairs), strict=True
    ):
        assert difference == 0, name
        assert report.exact, name


def test_the_same_rule():
    pairs = ROUNDED.values()
    for name, (difference, report) in zip(ROUNDED, continued(pairs), strict=True):
        assert difference <= 1e-12, name
        assert report.exact, (name, report)


def test_a_velocity_contains_the_rate_or_not():
    """With a constant rate both are the same run, and no count is needed."""
    pairs = [(optax.sgd(0.1, 0.9), oxe.heavy_ball(0.1, 0.9))]
    ((difference, report),) = continued(pairs, count=STEPS)
    assert difference <= 1e-12
    assert report.exact
    assert [row.how for row in report.rows if row.source == "[0].trace"] == [
        "times 0.1"
    ]
    pairs += [(optax.rmsprop(FALLING, momentum=0.9), rmsprop(FALLING, momentum=0.9))]
    (_, counted), (_, report) = continued(pairs)
    assert counted.exact
    (row,) = report.inexact
    assert "learning rates that are not known" in row.note


def test_an_injected_rate():
    """A constant one is copied; a schedule is that of `tx`."""
    injected = optax.inject_hyperparams(optax.adam)
    pairs = [(injected(0.25), oxe.adam(0.5)), (injected(FALLING), oxe.adam(FALLING))]
    for difference, report in continued(pairs):
        assert difference <= 1e-12
        assert report.exact


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
    assert report.exact


def test_translate_goes_both_ways():
    params, old = half_way(optax.adam(0.01), arrays(0))
    ours, report = oxe.translate(old, oxe.adam(0.01), params)
    assert report.exact
    back, report = oxe.translate(ours, optax.adam(0.01), params)
    assert report.exact
    jax.tree.map(np.testing.assert_array_equal, back, old)


def test_into_an_injected_schedule():
    """Optax's schedule goes on at the count, too."""
    params, old = half_way(oxe.adam(FALLING), arrays(0))
    tx = optax.inject_hyperparams(optax.adam)(FALLING)
    state, _ = oxe.translate(old, tx, params)
    _, (expected,) = run([oxe.adam(FALLING)], [(params, old)], 2)
    _, (found,) = run([tx], [(params, state)], 2)
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
    assert report.exact
    jax.tree.map(np.testing.assert_array_equal, state, oxe.adam(0.1).init(params))


def test_half_precision_params():
    """The state is float32, as `init` makes it."""
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), arrays(0))
    old = optax.adam(0.1).init(params)
    state, report = oxe.load_optax_state(oxe.adam(0.1), old, params)
    assert state[0].mu["w"].dtype == jnp.float32
    assert report.exact


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
