"""The greedy rule, against Hugging Face's GreedyLR in plain Python."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import optax_extras as oxe
from tests.learning_rates.metrics import fed, rates, walks


def hugging_face_rates(lr, metrics, *, window, least, most, **words):
    """The learning rates after each metric, by the rule as Hugging Face describes it.

    The mean over the window is summed each time. Theirs adds and subtracts, so that a
    NaN stays in it for good.
    """
    first, best = lr, math.inf if words["mode"] == "min" else -math.inf
    good = bad = cooling = warming = 0
    left, recent, found = words["reset_after"], [], []
    for metric in metrics:
        recent = [*recent, metric][-window:]
        mean = sum(recent) / len(recent)
        fraction = words["threshold"]
        sign = 1 if words["mode"] == "min" else -1
        if words["threshold_mode"] == "rel":
            bound = best * (1 - sign * fraction)
        else:
            bound = best - sign * fraction
        if cooling > 0:
            cooling, good, bad = cooling - 1, 0, 0
        elif warming > 0:
            warming, good, bad = warming - 1, 0, 0
        else:
            if mean < bound if sign > 0 else mean > bound:
                best, good, bad = mean, good + 1, 0
            else:
                good, bad = 0, bad + 1
            if good > words["patience"]:
                higher = min(lr / words["factor"], most)
                lr = higher if higher - lr > words["eps"] else lr
                left, warming, good = words["reset_after"], words["warmup"], 0
            elif bad > words["patience"]:
                lower = max(lr * words["factor"], least)
                lr = lower if lr - lower > words["eps"] else lr
                if lr <= least:
                    left -= 1
                    if left <= 0:
                        lr, best, recent = first, sign * math.inf, []
                        good = bad = warming = 0
                        left = words["reset_after"]
                cooling, bad = words["cooldown"], 0
        found.append(lr)
    return found


WORDS = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.5, 0.7, 0.95]),
        "patience": st.integers(0, 3),
        "mode": st.sampled_from(["min", "max"]),
        "threshold": st.sampled_from([0.0, 1e-6, 0.25]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
        "warmup": st.integers(0, 3),
        "eps": st.sampled_from([0.0, 1e-8, 1e-2]),
        "reset_after": st.integers(1, 3),
        "window": st.sampled_from([1, 4]),
    }
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(WORDS, st.sampled_from([0.0, 0.02, 0.1]), walks(300))
def test_hugging_face(words, least, metrics):
    """After each of 300 metrics in float64, NaN and inf among them."""
    expected = hugging_face_rates(0.1, metrics, least=least, most=0.5, **words)
    with jax.enable_x64(True):
        schedule = oxe.greedy(0.1, min_value=least, max_value=0.5, **words)
        found = rates(schedule, metrics)
    expected = np.array(expected)
    expected[expected < np.finfo(float).tiny] = 0
    np.testing.assert_array_equal(found, expected)


def test_it_rises_falls_and_starts_again():
    """By hand: patience 0, halves and doubles between 0.25 and 4."""
    words = {"factor": 0.5, "patience": 0, "min_value": 0.25, "max_value": 4.0}
    schedule = oxe.greedy(1.0, reset_after=2, **words)
    falling = [9, 8, 7, 6]  # better and better
    assert list(rates(schedule, falling)) == [2, 4, 4, 4]
    # Worse: down to the floor, where the second cut brings back the first rate; the
    # best is forgotten, so that whatever comes next is better.
    found = rates(schedule, [5, 9, 9, 9, 9, 9, 9, 8])
    assert list(found) == [2, 1, 0.5, 0.25, 1, 2, 1, 2]


def test_patience_is_counted_anew_after_a_rise():
    schedule = oxe.greedy(1.0, factor=0.5, patience=1, max_value=64.0)
    assert list(rates(schedule, [9, 8, 7, 6, 5, 4])) == [1, 2, 2, 4, 4, 8]


def test_a_change_has_to_be_larger_than_epsilon():
    """As with PyTorch's plateau: a change of exactly epsilon is not made."""
    words = {"factor": 0.5, "patience": 0, "max_value": 4.0}
    for eps, high in ((1.0, 1.0), (0.99, 2.0)):
        assert rates(oxe.greedy(1.0, eps=eps, **words), [5.0])[-1] == high
    for eps, low in ((0.5, 1.0), (0.49, 0.5)):
        found = rates(oxe.greedy(1.0, eps=eps, **{**words, "max_value": 1.0}), [5, 6.0])
        assert found[-1] == low
        assert rates(oxe.plateau(1.0, 0.5, 0, eps=eps), [5, 6.0])[-1] == low


def test_the_window_begins_anew_with_everything_else():
    """At the lowest learning rate a bad mean starts it over, with an empty window."""
    schedule = oxe.greedy(
        1.0, factor=0.5, patience=0, window=2, min_value=1.0, max_value=8.0,
        threshold_mode="abs", threshold=0.5, reset_after=1,
    )  # fmt: skip
    state, best, seen = schedule.init(), [], []
    update = jax.jit(lambda state, x: schedule.update(state, value=x))
    for metric in (4.0, 8.0, 6.0, 3.0):
        state = update(state, metric)
        best.append(float(state["value"].best))
        seen.append(int(state["value"].num_recent))
    assert best == [4, np.inf, 6, 4.5]
    assert seen == [1, 0, 1, 2]


def test_one_metric_for_a_batch_of_states():
    """Observed between two updates, by states that `jax.vmap` made."""
    first = jnp.array([0.125, 0.25, 0.5])

    def make(rate):
        rate = oxe.greedy(rate, factor=0.5, patience=0, window=2, max_value=4.0)
        return oxe.heavy_ball(rate).init(jnp.ones(3))

    @jax.jit
    def run(metrics):
        def step(state, metric):
            state = oxe.observe(state, metric)
            return state, oxe.learning_rate(state) / first

        return jax.lax.scan(step, jax.vmap(make)(first), metrics)[1]

    found = run(jnp.array([3.0, 2.0, 4.0, 0.5]))  # means 3, 2.5, 3 and 2.25
    np.testing.assert_array_equal(np.transpose(found), [[2, 4, 2, 4]] * 3)


def test_the_mean_over_a_window():
    found = rates(
        oxe.greedy(1.0, factor=0.5, patience=0, window=2, max_value=64.0), [4, 8, 2, 0]
    )
    assert list(found) == [2, 1, 0.5, 1]  # of 4, 6, 5 and 1
    nan = math.nan
    found = rates(
        oxe.greedy(1.0, factor=0.5, patience=0, window=2, max_value=64.0),
        [4, nan, 2, 0],
    )
    assert list(found) == [2, 1, 0.5, 1]  # NaN leaves the window again


def test_in_an_optimizer():
    tx = oxe.heavy_ball(oxe.greedy(0.125, factor=0.5, patience=0), momentum=0.0)
    state, params = tx.init(jnp.ones(2)), jnp.ones(2)
    assert fed(state, [3.0, 2.0, 2.5]) == [0.25, 0.5, 0.25]
    applied = []
    for loss in (3.0, 2.0, 2.5, 2.5):
        u, state = tx.update(jnp.ones(2), state, params, value=loss)
        applied.append(float(-u[0]))
    assert applied == [0.125, 0.25, 0.5, 0.25]


def test_vmap_over_the_factor():
    metrics = jnp.array([3.0, 2.0, 2.5, 2.5, 1.0])

    def run(factor):
        schedule = oxe.greedy(0.1, factor=factor, patience=0, window=2)

        def step(state, metric):
            state = schedule.update(state, value=metric)
            return state, schedule(state)

        return jax.lax.scan(step, schedule.init(), metrics)[1]

    together = jax.jit(jax.vmap(run))(jnp.array([0.5, 0.9]))
    alone = [
        rates(oxe.greedy(0.1, factor=factor, patience=0, window=2), metrics)
        for factor in (0.5, 0.9)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_wrong_arguments():
    for words, message in (
        ({"factor": 1.0}, r"greedy: `factor` must be in \(0, 1\)"),
        ({"patience": -1}, "`patience` must be an integer of at least 0"),
        ({"cooldown": -1}, "`cooldown` must be an integer of at least 0"),
        ({"warmup": -1}, "`warmup` must be an integer of at least 0"),
        ({"reset_after": 0}, "`reset_after` must be an integer of at least 1"),
        ({"window": 0}, "`window` must be an integer of at least 1"),
        ({"mode": "auto"}, "`mode` must be one of"),
        ({"min_value": 0.2}, "`min_value` must be at most `init_value`"),
        ({"max_value": 0.01}, "`init_value` must be at most `max_value`"),
        ({"max_value": math.inf}, "`max_value` must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            oxe.greedy(**{"init_value": 0.1, **words})
    with pytest.raises(TypeError, match="`window` must be concrete"):
        jax.jit(lambda n: oxe.greedy(0.1, window=n).init())(3)


@pytest.mark.parametrize(
    ("make", "field", "metric"),
    [
        (oxe.plateau, "num_bad", 2.0),
        (oxe.greedy, "num_bad", 2.0),
        (oxe.greedy, "num_good", 0.5),
    ],
)
def test_how_many_in_a_row_saturates(make, field, metric):
    """The saturated counter does not exceed a patience that no count reaches."""
    state = make(0.1, patience=2**40).init()["value"].observed(jnp.float32(1))
    last = np.int32(2**31 - 1)
    state = state._replace(**{field: jnp.asarray(last - 1)})
    for _ in range(3):
        state = state.observed(jnp.float32(metric))
        metric *= metric  # still better, or worse, than the best
        assert getattr(state, field) == last
        assert state.value == np.float32(0.1)
