"""The schedules against the installed Keras', step by step, in float32.

Ours is right to 8 ulps of the largest value (`test_values.py`). Keras rounds every
operand to float32, which costs an ulp or two more; where it takes a power or a phase
over many periods the rounding of one period counts as often as there are periods, and
2 ulps for each of them are granted. All of it stays near 1e-6 of the largest value.
"""

import os
from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from optax_extras import schedules as s

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras", reason="Keras is not installed")
theirs = keras.optimizers.schedules

STEPS = 300
COUNTS = np.arange(STEPS, dtype=np.int32)
EACH = 5  # configurations of every kind


def one_by_one(schedule):
    return np.array([schedule(t) for t in COUNTS])


def mapped(schedule):
    """For schedules with a `cond`, which JAX compiles anew at every call."""
    return np.array(jax.vmap(schedule)(COUNTS))


class Case(NamedTuple):
    theirs: Any
    ours: Callable[[Any], Any]
    largest: float
    evaluate: Callable[[Any], np.ndarray] = one_by_one
    period: float = float("inf")
    known: tuple[tuple[int, float], ...] = ()  # values that Keras may get wrong


def rate(rng):
    return 10 ** rng.uniform(-4, 0)


def piecewise_constant(rng):
    values = [rate(rng) for _ in range(rng.randint(2, 6))]
    after = sorted(rng.sample(range(290), len(values) - 1))
    # Keras keeps the old value at its boundary.
    return Case(
        theirs.PiecewiseConstantDecay(after, values),
        s.piecewise_constant(values, [b + 1 for b in after]),
        max(values),
    )


def exponential(rng):
    lr, steps, decay = rate(rng), rng.randint(1, 200), rng.uniform(0.3, 1.0)
    return Case(
        theirs.ExponentialDecay(lr, steps, decay),
        s.exponential(lr, decay, steps),
        lr,
        period=steps,
    )


def exponential_staircase(rng):
    lr, steps, decay = rate(rng), rng.randint(1, 200), rng.uniform(0.3, 1.0)
    return Case(
        theirs.ExponentialDecay(lr, steps, decay, staircase=True),
        s.step(lr, steps, decay),
        lr,
        period=steps,
    )


def polynomial(rng):
    lr, steps, power = rate(rng), rng.randint(1, 290), rng.uniform(0.3, 3.0)
    end = lr * rng.uniform(0, 1.5)
    return Case(
        theirs.PolynomialDecay(lr, steps, end, power),
        s.polynomial(lr, steps, power, end),
        max(lr, end),
    )


def inverse_time(staircase):
    def draw(rng):
        lr, steps, decay = rate(rng), rng.randint(1, 200), rng.uniform(0, 2)
        return Case(
            theirs.InverseTimeDecay(lr, steps, decay, staircase),
            s.inverse_time(lr, decay, steps, staircase=staircase),
            lr,
        )

    return draw


def cosine(rng):
    lr, steps = rate(rng), rng.randint(1, 290)
    alpha = rng.choice([0.0, rng.uniform(0, 1)])
    return Case(
        theirs.CosineDecay(lr, steps, alpha), s.cosine(lr, steps, alpha * lr), lr
    )


def cosine_after_warmup(rng):
    start, lr, steps = rate(rng), rate(rng), rng.randint(1, 300)
    rise, alpha = rng.randint(1, 90), rng.choice([0.0, rng.uniform(0, 1)])
    return Case(
        theirs.CosineDecay(start, steps, alpha, warmup_target=lr, warmup_steps=rise),
        s.warmup(rise, s.cosine(lr, steps, alpha * lr), start),
        max(lr, start),
        mapped,
    )


def starts(period, growth):
    """Where the cycles of the run begin, as exact numbers."""
    start, length, found = Fraction(0), Fraction(period), []
    while start < STEPS:
        found.append(start)
        start, length = start + length, length * Fraction(growth)
    return found


def restarts(growth, scaled):
    """Keras scales what is above its floor by `m_mul`, we the peak: same at floor 0."""

    def draw(rng):
        lr, period = rate(rng), rng.randint(2, 60)
        alpha = 0.0 if scaled else rng.uniform(0, 1)
        decay = rng.uniform(0.5, 1.05) if scaled else 1.0
        begins = starts(period, growth)
        peaks = [lr * decay**i for i in range(len(begins))]
        # Keras finds the cycle by a quotient or a logarithm in float32. At a restart
        # that falls on a step it may land just below, at the end of the cycle before.
        begun = zip(begins, peaks, strict=True)
        whole = tuple((int(t), peak) for t, peak in begun if t.denominator == 1)
        return Case(
            theirs.CosineDecayRestarts(lr, period, growth, decay, alpha),
            s.warm_restarts(lr, period, growth, alpha * lr, peak_decay=decay),
            max(peaks),
            mapped,
            period,
            whole,
        )

    return draw


DRAWS = {
    "PiecewiseConstantDecay": piecewise_constant,
    "ExponentialDecay": exponential,
    "ExponentialDecay-staircase": exponential_staircase,
    "PolynomialDecay": polynomial,
    "InverseTimeDecay": inverse_time(False),
    "InverseTimeDecay-staircase": inverse_time(True),
    "CosineDecay": cosine,
    "CosineDecay-warmup": cosine_after_warmup,
    "CosineDecayRestarts-equal": restarts(1.0, False),
    "CosineDecayRestarts-equal-scaled": restarts(1.0, True),
    "CosineDecayRestarts-double": restarts(2.0, False),
    "CosineDecayRestarts-double-scaled": restarts(2.0, True),
    "CosineDecayRestarts-half": restarts(1.5, False),
    "CosineDecayRestarts-half-scaled": restarts(1.5, True),
}
SEEDS = [f"{name}-{i}" for name in DRAWS for i in range(EACH)]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_step(seed):
    case = DRAWS[seed.rpartition("-")[0]](Random(seed))
    expected = case.evaluate(case.theirs)
    found = np.asarray(case.ours(COUNTS))
    assert found.dtype == expected.dtype == np.float32
    for t, value in case.known:
        expected[t] = value
    ulp = np.spacing(np.float32(case.largest))
    error = abs(found.astype(np.float64) - expected) / ulp
    np.testing.assert_array_less(error, 8 + 2 * COUNTS / case.period)
