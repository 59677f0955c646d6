"""The condition of SWATS by itself: updates and gradients at its limits."""

import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe


def projected(pairs, **kw):
    """Whether it fires after each pair of an update and a gradient, and its state."""
    when = oxe.projected_rate_settles(**{"min_steps": 1, **kw})
    condition_state, fired = when.init(), []
    for k, pair in enumerate(pairs, start=1):
        u, g = map(jnp.asarray, pair)
        fire, condition_state = when.update(
            condition_state, k, grads=g, updates=u, params=u
        )
        fired.append(bool(fire))
    return fired, condition_state


def along(*sizes):
    """Updates of length 2, and parallel gradients of these lengths."""
    u = np.array([2.0, 0.0], np.float32)
    return [(u, np.array([size, 0.0], np.float32)) for size in sizes]


ONES = np.ones(2, np.float32)


def test_averages_that_cancel_are_no_estimate():
    """The average of u.g may cancel to 0: then no estimate and no switch."""
    fired, condition_state = projected(
        along(1.0, -0.5), tolerance=10.0, estimator="ratio", decay=0.5,
        require_positive=False,
    )  # fmt: skip
    assert (
        condition_state.denominator,
        condition_state.numerator,
        condition_state.estimate,
    ) == (
        0,
        3,
        0,
    )
    assert fired == [False, False]


def test_the_tolerance_is_not_reached_by_equality():
    """The paper's test is strict: |Lambda - gamma| < epsilon."""

    def fires(tolerance):
        kw = {"tolerance_mode": "absolute", "decay": 0.5, "min_steps": 2}
        fired, condition_state = projected(along(1.0, 0.5), tolerance=tolerance, **kw)
        return fired[-1], float(
            jnp.abs(condition_state.estimate - condition_state.last_ratio)
        )

    _, distance = fires(1.0)  # gamma is 2, then 4
    assert 0.5 < distance < 1
    assert not fires(distance)[0]
    assert fires(float(np.nextafter(np.float32(distance), np.float32(1))))[0]


def test_there_is_no_agreement_at_a_gradient_of_zero():
    """Although the last two projections agreed, before it was allowed to fire."""
    fired, condition_state = projected(along(1.0, 1.0, 0.0, 1.0), min_steps=3)
    assert fired == [False, False, False, True]
    assert condition_state.num_projected == 3


def test_the_projection_of_complex_leaves_is_that_of_their_parts():
    u = np.array([1 + 2j, -3 + 0.5j], np.complex64)
    g = np.array([0.5 + 1j, -1 - 4j], np.complex64)
    _, condition_state = projected([(u, g)])
    by_hand = (1 + 4 + 9 + 0.25) / (0.5 + 2 + 3 - 2)
    np.testing.assert_allclose(condition_state.estimate, by_hand, rtol=1e-5)


def test_the_first_projection_may_be_the_last_step():
    assert projected([(ONES, ONES)], max_steps=1)[0] == [True]


def test_an_estimate_of_zero_is_not_positive():
    """The squares of updates of 1e-30 are 0 in float32; SGD would not move."""
    pair = np.full(2, 1e-30, np.float32), ONES
    fired, condition_state = projected([pair], max_steps=1)
    assert (condition_state.num_projected, condition_state.estimate) == (1, 0)
    assert fired == [False]
    assert projected([pair], max_steps=1, require_positive=False)[0] == [True]


@pytest.mark.parametrize("huge", ["update", "gradient"])
def test_no_switch_at_a_step_whose_projection_is_not_finite(huge):
    """Only one of u.u and u.g is inf; `max_steps` waits for the next step."""
    one, inf = ONES, np.full(2, 2e38, np.float32)
    broken = (inf, 1e-30 * one) if huge == "update" else (one, inf)
    fired, condition_state = projected([(one, one), broken, (one, one)], max_steps=2)
    assert fired == [False, False, True]
    assert condition_state.num_projected == 2
