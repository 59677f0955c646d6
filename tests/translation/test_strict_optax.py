"""What `strict` passes in `translate` and `load_optax_state`, and what not.

Each test is a way in which a wrong state was once called exact, or a right one inexact.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.translation.runs import row

FALLING = optax.cosine_decay_schedule(0.01, 200)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def weights(dtype="float64"):
    return {"w": jnp.array([1.0, -2.0, 0.5], dtype), "b": jnp.array([0.25], dtype)}


def gradients(i, params):
    return jax.tree.map(lambda x: x * 0.3 + jnp.asarray(np.cos(i), x.dtype), params)


def stepped(tx, steps=3, params=None):
    params = weights() if params is None else params
    state = tx.init(params)
    for i in range(steps):
        _, state = tx.update(gradients(i, params), state, params)
    return state


def next_steps(tx, state, params=None):
    params, us = weights() if params is None else params, []
    for i in range(2):
        u, state = tx.update(gradients(9 + i, params), state, params)
        us.append(u)
    return us


def trial(old, new, *, params=None, load=oxe.translate):
    """The report with a trial step."""
    params = weights() if params is None else params
    state, more = stepped(old, params=params), {"gradients": gradients(5, params)}
    if load is oxe.translate:
        return load(state, new, params, source=old, **more)[1]
    return load(new, state, params, source=old, **more)[1]


# Wrong numbers.
def switched():
    rules = oxe.rules.adam(), oxe.rules.momentum(0.9)
    rule = oxe.switch(*rules, oxe.at_step(2))
    return optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(0.01))


def test_a_second_moment_that_stopped():
    """After a switch nobody knows its rule from the state alone."""
    state = stepped(switched(), 4)
    _, report = oxe.translate(state, oxe.adam(0.01), weights())
    for field in ("mu", "nu"):
        assert "rule is not known" in row(report, f".{field}", f"[0].{field}").note
        assert not row(report, f".{field}", f"[0].{field}").exact


@pytest.mark.parametrize("knows", [False, True])
def test_a_switch_to_itself(knows):
    """The rule is that of the carry that is copied."""
    state, tx = stepped(switched(), 4), switched()
    new, report = oxe.translate(
        state, tx, weights(), source=tx if knows else None, strict=knows
    )
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert report.exact


def test_a_velocity_of_steps_of_a_schedule():
    """The factor to a velocity of gradients changes with the learning rate."""
    pair = oxe.heavy_ball(FALLING, 0.9), oxe.sgd(FALLING, momentum=0.9)
    for old, new in (pair, pair[::-1]):
        _, report = oxe.translate(stepped(old), new, weights(), source=old)
        assert row(report, ".mu", "[0].mu").note == "the factor changes"
    for tx in pair:
        assert oxe.translate(stepped(tx), tx, weights(), source=tx)[1].exact


@pytest.mark.parametrize("start", [0.0, 0.5])
@pytest.mark.parametrize("own", [0.0, 0.5])
def test_the_start_of_adagrad(start, own):
    """Optax has it in the sum; of a sum below that of `tx` something is lost."""
    old = optax.adagrad(0.01, initial_accumulator_value=start)
    tx = oxe.adagrad(0.01, 0.0, initial_accumulator_value=own + 1e-7)
    state = stepped(old, 1)
    new, report = oxe.load_optax_state(tx, state, weights())
    assert report.exact == (start >= own)
    if start >= own:
        for us in zip(next_steps(old, state), next_steps(tx, new), strict=True):
            jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-14), *us)
        back, _ = oxe.translate(new, old, weights(), source=tx)
        sums = [x[0].sum_of_squares["w"] for x in (back, state)]
        np.testing.assert_allclose(*sums, rtol=1e-14)


# What a state does not hold.
OTHERS = {
    "decays": (optax.adam(0.01, b1=0.5), oxe.adam(0.01)),
    "clip": (optax.chain(optax.clip(1e-3), optax.adam(0.1)), oxe.adam(0.1)),
    "epsilon": (optax.rmsprop(0.01), oxe.rmsprop(0.01)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_options_of_optax(name):
    old, new = OTHERS[name]
    state = stepped(old)
    _, report = oxe.load_optax_state(new, state, weights())
    assert not row(report, "", "options").exact
    assert not row(trial(old, new, load=oxe.load_optax_state), "", "options").exact


def test_a_trial_settles_the_options():
    old, new = optax.adam(0.01), oxe.adam(0.01)
    assert trial(old, new, load=oxe.load_optax_state).exact
    many = optax.MultiSteps(optax.sgd(0.1), 9).gradient_transformation()
    again = optax.MultiSteps(optax.sgd(0.2), 9).gradient_transformation()
    report = trial(many, again, load=oxe.load_optax_state)
    assert report.rows[-1].note == "no update was made"
    assert not row(report, "", "options").exact


def test_a_trial_in_half_precision():
    """64 ulps of bfloat16 are half a step."""
    half = weights("bfloat16")
    assert trial(oxe.sgd(0.01), oxe.sgd(0.01), params=half).exact
    assert not trial(oxe.sgd(0.01), oxe.sgd(0.012), params=half).exact


def test_a_momentum_of_another_weight():
    rule = oxe.rules.momentum(0.9, dampening=0.9)
    old = optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(0.1))
    new = oxe.sgd(0.01, momentum=0.9)
    _, report = oxe.translate(stepped(old), new, weights())
    assert "taken to be a sum" in row(report, ".mu", "[0].mu").note
    assert not row(report, "", "options").exact
    assert trial(old, new).exact


def test_averages_of_another_kind():
    def around(average):
        return oxe.with_average(oxe.sgd(0.1), average)

    ema = around(oxe.averages.ema(0.9))
    assert trial(ema, around(oxe.averages.ema(0.9))).exact
    for other in (oxe.averages.ema(0.5), oxe.averages.uniform()):
        report = trial(ema, around(other))
        assert not row(report, "", "options").exact
        assert "the averages differ" in report.rows[-1].note


# What was called inexact.
def test_what_is_not_lost():
    params = weights()
    labels = {"w": "a", "b": "z"}
    parts = {"a": optax.adam(0.1), "z": optax.set_to_zero()}
    frozen = oxe.adam(oxe.by_path({"b": oxe.FROZEN}, 0.1))
    alone = oxe.adagrad(0.1, 0.0, initial_accumulator_value=0.1 + 1e-7)
    adam = oxe.adam(0.1)
    for old, new in [
        (optax.partition(parts, labels), frozen),
        (oxe.sgd(0.1, momentum=0.9), oxe.heavy_ball(0.1, 0.9)),
        (optax.sgd(0.1, 0.9), oxe.heavy_ball(0.1, 0.9)),
        (alone, optax.adagrad(0.1)),
        (adam, oxe.low_precision_state(adam)),
        (oxe.with_master_copy(adam), adam),
        (oxe.sgd(0.1), oxe.sgd(0.1, momentum=oxe.by_path({"w": 0.0}, 0.0))),
    ]:
        _, report = oxe.translate(stepped(old), new, params)
        assert report.exact, str(report)


def test_few_bits_that_stay():
    big = {"w": jnp.cos(jnp.arange(4096, dtype="float32"))}
    tx = oxe.low_precision_state(oxe.sgd(0.1, momentum=0.9), "bfloat16")
    state = stepped(tx, 1, big)
    new, report = oxe.translate(state, tx, big, source=tx)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert report.exact


def test_integers_are_not_trained():
    """The source may know nothing of them."""
    old = stepped(oxe.adam(0.1))
    _, report = oxe.translate(old, oxe.adam(0.1), {**weights(), "i": jnp.arange(3)})
    assert report.exact


# Arrays and errors.
def test_ulps_of_jax_arrays():
    state = stepped(optax.adam(0.1))
    _, report = oxe.translate(state, oxe.adam(0.1), weights("float32"))
    ulps = [row(report, f".{x}", f"[0].{x}").ulps for x in ("mu", "nu")]
    assert all(x is not None and 0 < x <= 0.5 for x in ulps)


def test_errors_say_what_to_do():
    tx, params = oxe.adam(0.1), weights()
    state = stepped(optax.adam(0.1), 1)
    with pytest.raises(TypeError, match="load_optax_state: `optax_state` must have co"):
        jax.jit(lambda x: oxe.load_optax_state(tx, x, params)[0])(state)
    with pytest.raises(TypeError, match="load_optax_state: `params` must have concre"):
        jax.eval_shape(lambda x: oxe.load_optax_state(tx, state, x)[0], params)
    with pytest.raises(ValueError, match="load_optax_state: `params` must be given"):
        oxe.load_optax_state(tx, state, None)
    with pytest.raises(ValueError, match=r"got \(3,\). Give the params of that run"):
        oxe.translate(state, tx, {**params, "w": jnp.ones(2)})
    wrong = {"source": optax.sgd(0.1, 0.9), "gradients": params}
    with pytest.raises(ValueError, match="`source` must be the optimizer whose state"):
        oxe.load_optax_state(tx, state, params, **wrong)
