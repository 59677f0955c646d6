"""What the averages refuse, and what they say."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe

A, NAN = oxe.averages, float("nan")
VALUES = [
    (lambda: A.ema(1.0), "ema: `decay` must be in [0, 1), got 1.0."),
    (lambda: A.ema(NAN), "ema: `decay` must be in [0, 1), got nan."),
    (
        lambda: A.ema(0.9, debias=True, include_init=True),
        "ema: `debias` must be False with `include_init`, got True. It removes the "
        "initial params, which `include_init` keeps.",
    ),
    (
        lambda: A.ema(A.warmup(0.9), debias=True),
        "ema: `debias` must be False if `decay` is a function, got True. A warm-up "
        "needs no correction.",
    ),
    (
        lambda: A.ema(0.9, start=-1),
        "ema: `start` must be an integer of at least 0, got -1.",
    ),
    (
        lambda: A.ema(0.9, every=0),
        "ema: `every` must be an integer of at least 1, got 0.",
    ),
    (
        lambda: A.uniform(window=0),
        "uniform: `window` must be an integer of at least 1, got 0.",
    ),
    (
        lambda: A.warmup(0.9, min_decay=0.95),
        "warmup: `min_decay` must be at most the decay, 0.9, got 0.95.",
    ),
    (
        lambda: A.warmup(0.9, power=0),
        "warmup: `power` must be in (0, inf), got 0.",
    ),
    (
        lambda: A.num_updates_warmup(1),
        "num_updates_warmup: `decay` must be in [0, 1), got 1.",
    ),
    (
        lambda: A.power(),
        "power: `gamma` must be given, or `sigma_rel`, but not both, got None.",
    ),
    (
        lambda: A.power(1.0, sigma_rel=0.1),
        "power: `gamma` must be given, or `sigma_rel`, but not both, got (1.0, 0.1).",
    ),
    (
        lambda: A.power(sigma_rel=0.3),
        "power: `sigma_rel` must be in (0, 0.2886], got 0.3. The largest, "
        "sqrt(1 / 12), is the uniform average.",
    ),
    (
        lambda: A.half_life_fraction(1.5),
        "half_life_fraction: `fraction` must be in (0, 1], got 1.5.",
    ),
    (
        lambda: A.decay("sqrt", 0, 10),
        "decay: `shape` must be one of 'linear', 'cosine', '1-sqrt', 'exponential', "
        "'power', 'polynomial' or a function, got 'sqrt'.",
    ),
    (
        lambda: A.decay(0.5, 0, 10),
        "decay: `shape` must be one of 'linear', 'cosine', '1-sqrt', 'exponential', "
        "'power', 'polynomial' or a function, got 0.5.",
    ),
    (
        lambda: A.decay("power", 0, 10),
        "decay: `power` must be given for the shape 'power', got None.",
    ),
    (
        lambda: A.decay("cosine", 0, 10, power=2.0),
        "decay: `power` must be None except for 'power' and 'polynomial', got 2.0.",
    ),
    (
        lambda: A.decay("linear", 0, 0),
        "decay: `steps` must be an integer of at least 1, got 0.",
    ),
    (
        lambda: A.decay("linear", 0, 9, end_fraction=2),
        "decay: `end_fraction` must be in [0, 1], got 2.",
    ),
    (
        lambda: A.decay(lambda x: 0.5 - x, 0, 9),
        "decay: `shape` must return 1 at 0, got 0.5. It is a fraction of the learning "
        "rate.",
    ),
    (
        lambda: A.decay(lambda x: 1 + x, 0, 9),
        "decay: `shape` must fall from 1, and never be above it, got 1.25. It is a "
        "fraction of the learning rate.",
    ),
    (
        lambda: A.decay(lambda x: jnp.where(x > 0, NAN, 1), 0, 9),
        "decay: `shape` must fall from 1, and never be above it, got nan. It is a "
        "fraction of the learning rate.",
    ),
]
KINDS = [
    (
        lambda: A.ema("0.9"),
        "ema: `decay` must be a number or a schedule, got '0.9' of type str.",
    ),
    (
        lambda: A.ema(0.9, debias=1),
        "ema: `debias` must be a bool, got 1 of type int.",
    ),
    (
        lambda: A.uniform(2.5),
        "uniform: `start` must be an integer of at least 0, got 2.5 of type float.",
    ),
    (
        lambda: A.uniform().weight(1.0),
        "uniform: `t` must be an integer or an array of integers, got 1.0 of type "
        "float.",
    ),
    (
        lambda: A.ema(lambda k: "0.9").weight(2),
        "ema: `decay` must return a real number, got '0.9' of type str.",
    ),
    (
        lambda: A.decay(lambda x: None, 0, 9),
        "decay: `shape` must return a real number, got None of type NoneType.",
    ),
]


@pytest.mark.parametrize(("call", "message"), VALUES, ids=[m for _, m in VALUES])
def test_values(call, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (compared below)
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize(("call", "message"), KINDS, ids=[m for _, m in KINDS])
def test_kinds(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == message


def test_a_shape_of_python_numbers():
    """It works one step at a time, but not in a program, nor for all steps at once."""
    message = r"`shape` must be a function of an array, got .* use `jnp\.cos`"
    with pytest.raises(TypeError, match=rf"decay: {message}"):
        jax.jit(A.decay(math.cos, 0, 9).weight)(2)
    taken = [A.Snapshot(t, {"a": np.ones(2)}, {"a": 6.0}) for t in (5, 10)]
    with pytest.raises(TypeError, match=rf"rebuild: {message}"):
        A.rebuild(taken, math.cos, at=10, steps=5)


def test_a_metric_schedule_is_no_decay():
    with pytest.raises(TypeError, match=r"ema: `decay` must be a number or a function"):
        A.ema(oxe.plateau(0.1, patience=1))


def test_the_ranges_of_traced_numbers_are_not_checked():
    assert A.ema(jnp.float32(0.5)).weight(2) == 0.5
