"""Applying a learning rate of every kind, with products rounded once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

TREE = {"w": jnp.linspace(-3.0, 5.0, 7), "b": jnp.float32(-0.3)}


def updates_of(tx, grads, steps=1):
    state, found = tx.init(grads), []
    for _ in range(steps):
        u, state = tx.update(grads, state)
        found.append(u)
    return found


NUMBERS = {
    "float": 0.3,
    "int": 2,
    "zero": 0,
    "np.float32": np.float32(0.3),
    "np.float64": np.float64(0.3),
    "np.int64": np.int64(2),
    "0-d array": np.array(0.3),
    "jax.Array": jnp.float32(0.3),
    "jax int": jnp.int32(2),
    "bfloat16": jnp.bfloat16(0.3),
}


def test_numbers():
    """Exactly minus the learning rate times the update, as in Optax."""
    for kind, rate in NUMBERS.items():
        number = np.float32(rate)
        us = updates_of(oxe.scale_by_rate(rate), TREE, 2)
        for u in us:
            for name, g in TREE.items():
                expected = -number * np.asarray(g)
                np.testing.assert_array_equal(u[name], expected, err_msg=kind)
        if float(rate) == 0.3:  # others are rounded before Optax sees them
            theirs = updates_of(optax.scale_by_learning_rate(float(rate)), TREE)
            jax.tree.map(np.testing.assert_array_equal, us[0], theirs[0])


def test_schedules():
    optaxs = optax.exponential_decay(0.1, 1, 0.5)
    schedules = [oxe.schedules.exponential(0.1, 0.5), optaxs, lambda t: 0.1 / (1 + t)]
    schedules += [optax.constant_schedule(0.1), lambda t: 1]

    @jax.jit
    def run():
        return [
            [updates_of(make(x), TREE, 4) for x in schedules]
            for make in (oxe.scale_by_rate, optax.scale_by_learning_rate)
        ]

    jax.tree.map(np.testing.assert_array_equal, *run())


def test_the_schedule_is_called_with_the_updates_made():
    us = updates_of(oxe.scale_by_rate(lambda t: t), jnp.float32(1), 4)
    assert us == [0, -1, -2, -3]


def test_the_sign_may_stay():
    (u,) = updates_of(oxe.scale_by_rate(0.5, flip_sign=False), TREE)
    jax.tree.map(lambda a, g: np.testing.assert_array_equal(a, 0.5 * g), u, TREE)


def test_a_traced_rate():
    """vmap over the learning rate; its gradient, which is minus the update."""
    rates = jnp.array([0.0, 0.1, 1.0])

    def run(rate):
        return updates_of(oxe.scale_by_rate(rate), TREE, 2)[-1]

    @jax.jit
    def all_of():
        return jax.vmap(run)(rates), [x(run)(0.1) for x in (jax.jacfwd, jax.jacrev)]

    many, slopes = all_of()
    for name, g in TREE.items():
        expected = -rates.reshape(-1, *[1] * g.ndim) * g
        np.testing.assert_array_equal(many[name], expected)
    for slope in slopes:
        jax.tree.map(lambda a, g: np.testing.assert_array_equal(a, -g), slope, TREE)


def test_a_traced_peak_of_a_schedule():
    def run(peak):
        schedule = oxe.schedules.exponential(peak, 0.5)
        return updates_of(oxe.scale_by_rate(schedule), jnp.ones(2), 3)[-1].sum()

    np.testing.assert_allclose(jax.jit(jax.grad(run))(0.1), -2 * 0.25, rtol=1e-6)


def test_half_precision_products_are_rounded_once():
    """Optax rounds the learning rate first: 1e-8 is 0 in float16."""
    rng = np.random.default_rng(0)
    grads = rng.choice([-1, 1], 500) * 10 ** rng.uniform(-2, 4, 500)
    for dtype, rate in (
        (jnp.float16, 1e-8),
        (jnp.float16, 3e-4),
        (jnp.bfloat16, 3e-4),
        (jnp.bfloat16, 1e-30),
    ):
        g = jnp.asarray(grads, dtype)
        (u,) = updates_of(oxe.scale_by_rate(rate), g)
        assert u.dtype == dtype
        # The product has 35 bits, exact in float64, and is rounded to the leaf's dtype.
        exact = -np.float64(np.float32(rate)) * np.asarray(g, np.float64)
        np.testing.assert_array_equal(u, exact.astype(dtype))
        assert np.count_nonzero(np.asarray(u, np.float32)) > 250


def test_dtypes_stay():
    grads = {
        "f16": jnp.ones(2, jnp.float16),
        "bf16": jnp.ones(2, jnp.bfloat16),
        "f32": jnp.ones(2),
        "c64": jnp.full(2, 1 + 2j, jnp.complex64),
        "none": None,
    }
    (u,) = updates_of(oxe.scale_by_rate(0.5), grads)
    assert jax.tree.map(lambda x: x.dtype, u) == jax.tree.map(lambda x: x.dtype, grads)
    np.testing.assert_array_equal(u["c64"], -0.5 - 1j)
    with jax.enable_x64(True):
        tx = oxe.scale_by_rate(0.1)
        (u,) = updates_of(tx, [jnp.ones((), jnp.float32), jnp.ones((), jnp.float64)])
        assert [x.dtype for x in u] == [jnp.float32, jnp.float64]
        assert u[1] == -0.1
        assert tx.init(()).rate.learning_rate.dtype == jnp.float64


def test_a_number_in_the_state_is_the_one_that_counts():
    tx = oxe.scale_by_rate(0.1)
    state = tx.init(TREE)
    state = state._replace(rate=oxe.states.RateState(jnp.float32(0.5)))
    u, state = tx.update(TREE, state)
    assert u["b"] == -0.5 * TREE["b"]
    assert oxe.learning_rate(state) == 0.5


def test_an_array_in_the_closure_is_the_one_that_counts():
    """So that `vmap` and `inject_hyperparams` can replace it from outside."""
    tx = oxe.scale_by_rate(jnp.float32(0.1))
    state = tx.init(TREE)._replace(rate=oxe.states.RateState(jnp.float32(0.5)))
    u, state = tx.update(TREE, state)
    assert u["b"] == -np.float32(0.1) * TREE["b"]
    assert oxe.learning_rate(state) == np.float32(0.1)


def test_a_donated_state_takes_nothing_along():
    rate, peak = jnp.float32(0.1), jnp.float32(0.2)
    for source in (rate, lambda t: peak):
        tx = oxe.scale_by_rate(source)
        step = jax.jit(tx.update, donate_argnums=1)
        _, state = tx.update(TREE, tx.init(TREE))  # eager, then donated
        step(TREE, step(TREE, state)[1])
        step(TREE, tx.init(TREE))
    assert rate + peak == np.float32(0.1) + np.float32(0.2)


def test_wrong_arguments():
    for error, rates in (
        (ValueError, (-0.1, np.float32(-0.1), jnp.float32(-0.1), np.nan, np.inf)),
        (TypeError, ("0.1", None, True, 0.1j, [0.1], np.array([0.1]), jnp.ones(2))),
    ):
        for rate in rates:
            with pytest.raises(error, match=r"^scale_by_rate: `rate` must .*got "):
                oxe.scale_by_rate(rate)
    for value in (0, 1, None, "yes"):
        with pytest.raises(TypeError, match=r"^scale_by_rate: `flip_sign` must .*got "):
            oxe.scale_by_rate(0.1, flip_sign=value)
    with pytest.raises(TypeError, match="`rate`"):
        jax.jit(lambda r: updates_of(oxe.scale_by_rate(r), TREE))(jnp.ones(2))
    with pytest.raises(ValueError, match=r"scale_by_rate: `rate` must return a scalar"):
        oxe.scale_by_rate(lambda count: jnp.ones(1)).init(None)


def test_a_schedule_that_needs_an_array():
    schedule = lambda count: 1e-3 * count.astype(jnp.float32)  # noqa: E731
    for tx in (oxe.scale_by_rate(schedule), oxe.heavy_ball(schedule)):
        assert oxe.learning_rate(tx.init(jnp.ones(2))) == 0


def two(a, b):
    return a


@pytest.mark.parametrize("make", [oxe.adagrad, oxe.scale_by_rate, oxe.heavy_ball])
def test_functions_that_are_no_schedules(make):
    """Refused at once if they cannot be called, else when `init` calls them."""
    must = "must be callable with the step count alone, got <function"
    for function in (lambda: 0.1, two):
        with pytest.raises(TypeError, match=must):
            make(function)
    for answer in ("0.1", None, 1j, [0.1], {"rate": 0.1}, jnp.array(1j), True):
        with pytest.raises(TypeError, match="must return a real number, got"):
            make(lambda t, answer=answer: answer).init(jnp.ones(2))
    with pytest.raises(TypeError, match="must return a real number, got Gradient"):
        make(oxe.nadam).init(jnp.ones(2))
    with pytest.raises(ValueError, match="must return a scalar, got"):
        make(lambda t: jnp.ones(2)).init(jnp.ones(2))
