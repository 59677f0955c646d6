"""Traps of PyTorch's schedulers, and what our schedulers do instead.

The numbers were measured with PyTorch or follow from its formulas. Where PyTorch has a
known bug, ours does what was meant; the tests assert both.
"""

import math

import jax
import numpy as np
import pytest

import optax_extras as oxe
from tests.parity.pytorch_schedulers import (
    CLOSE,
    assert_close,
    lrs,
    optimizer,
    rates,
    values,
)
from tests.parity.test_plateaus import ours as rates_of_plateau

p = oxe.pytorch


def both(make, ours, steps, lr=1.0):
    """The learning rates of both, which must be equal."""
    theirs = rates(lr, make, steps)
    found = values(ours, steps)
    assert_close(found, theirs, lr)
    return theirs


def test_one_cycle_after_its_end():
    """PyTorch extrapolates at T and raises at T + 1; ours holds the last value."""
    for way, beyond in (("cos", 0.0495), ("linear", -0.143)):
        words = {"total_steps": 10, "anneal_strategy": way, "cycle_momentum": False}
        make = lambda opt, words=words: lrs.OneCycleLR(opt, 1.0, **words)  # noqa: E731
        theirs = rates(1.0, make, 11)
        assert theirs[10] == pytest.approx(beyond, abs=1e-3)
        with pytest.raises(ValueError, match="Tried to step 11 times"):
            rates(1.0, make, 12)
        ours = values(lambda words=words: p.OneCycleLR(1.0, **words), 30)
        assert_close(ours, [*theirs[:10], *np.full(20, 1 / (25 * 1e4))])


def test_a_fractional_size():
    """Only PyTorch accepts it."""
    theirs = rates(
        1.0, lambda opt: lrs.CyclicLR(opt, 0, 1, 1.5, cycle_momentum=False), 4
    )
    assert_close(theirs, [0, 2 / 3, 2 / 3, 0])
    with pytest.raises(ValueError, match="whole number"):
        p.CyclicLR(0.0, 1.0, 1.5)


def test_a_warm_restart_asked_for_by_its_epoch():
    """PyTorch's logarithm misses the start of the sixth cycle of 1, 3, 9, ... steps."""
    opt = optimizer(1.0)
    lrs.CosineAnnealingWarmRestarts(opt, 1, 3).step(121)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.0, abs=CLOSE)
    stepped = rates(1.0, lambda opt: lrs.CosineAnnealingWarmRestarts(opt, 1, 3), 122)
    found = values(lambda: p.CosineAnnealingWarmRestarts(1.0, 1, 3), 122)
    assert stepped[121] == found[121] == 1.0


def test_the_end_of_linear_and_constant():
    """The end is at T; for T = 0 PyTorch stays at the start, ours is at the end."""
    found = both(
        lambda opt: lrs.LinearLR(opt, 0.5, 1.0, 4),
        lambda: p.LinearLR(1.0, 0.5, 1.0, 4),
        8,
    )
    assert_close(found[[0, 3, 4, 7]], [0.5, 0.875, 1.0, 1.0])
    found = both(
        lambda opt: lrs.ConstantLR(opt, 0.5, 4), lambda: p.ConstantLR(1.0, 0.5, 4), 8
    )
    assert_close(found[[0, 3, 4, 7]], [0.5, 0.5, 1.0, 1.0])
    stuck = np.full(5, 0.5)
    assert_close(rates(1.0, lambda opt: lrs.LinearLR(opt, 0.5, 0.8, 0), 5), stuck)
    assert_close(rates(1.0, lambda opt: lrs.ConstantLR(opt, 0.5, 0), 5), stuck)
    assert_close(values(lambda: p.LinearLR(1.0, 0.5, 0.8, 0), 5), np.full(5, 0.8))
    assert_close(values(lambda: p.ConstantLR(1.0, 0.5, 0), 5), np.ones(5))


def test_a_fractional_length_of_polynomial():
    """PyTorch stops short of 0, and does nothing if it is 0; we refuse both."""
    theirs = rates(1.0, lambda opt: lrs.PolynomialLR(opt, 4.5, 0.5), 9)
    assert_close(theirs[4:], np.full(5, 1 / 3))
    theirs = rates(1.0, lambda opt: lrs.PolynomialLR(opt, 0), 9)
    assert_close(theirs, np.ones(9))
    for total_iters in (4.5, 0):
        with pytest.raises(ValueError, match="`total_iters` must be"):
            p.PolynomialLR(1.0, total_iters, 0.5)


def test_fractional_milestones():
    """PyTorch ignores them; we refuse them."""
    theirs = rates(1.0, lambda opt: lrs.MultiStepLR(opt, [2.5], 0.5), 5)
    assert_close(theirs, np.ones(5))
    theirs = rates(1.0, lambda opt: lrs.StepLR(opt, 2.5, 0.5), 9)
    assert_close(theirs, [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="milestones`\\[0\\] must be a whole number"):
        p.MultiStepLR(1.0, [2.5])
    with pytest.raises(ValueError, match="`step_size` must be a whole number"):
        p.StepLR(1.0, 2.5)


def sequential(opt, *makes, milestones):
    return lrs.SequentialLR(opt, [make(opt) for make in makes], milestones)


def test_a_sequence_of_schedulers():
    """Each starts at its base learning rate; in PyTorch not all do."""
    warm = lambda opt: lrs.LinearLR(opt, total_iters=3)  # noqa: E731
    decay = lambda opt: lrs.ExponentialLR(opt, 0.5)  # noqa: E731
    linear = p.LinearLR(1.0, total_iters=3)
    found = both(
        lambda opt: sequential(opt, warm, decay, milestones=[3]),
        lambda: p.SequentialLR([linear, p.ExponentialLR(1.0, 0.5)], [3]),
        5,
    )
    assert_close(found, [1 / 3, 5 / 9, 7 / 9, 1, 0.5])

    # PyTorch's factor continues from the learning rate it finds; ours from its own.
    drop = lambda opt: lrs.ExponentialLR(opt, 0.1)  # noqa: E731
    half = lambda opt: lrs.MultiplicativeLR(opt, lambda t: 0.5)  # noqa: E731
    theirs = rates(1.0, lambda opt: sequential(opt, drop, half, milestones=[2]), 4)
    assert_close(theirs, [1, 0.1, 0.05, 0.025])
    ours = [
        p.ExponentialLR(1.0, 0.1),
        p.MultiplicativeLR(1.0, lambda t: 0.5, total_steps=9),
    ]
    found = values(lambda: p.SequentialLR(ours, [2]), 4)
    assert_close(found, [1, 0.1, 1, 0.5])

    # PyTorch's one cycle changes the phase before it to 1/25.
    one = lambda opt: lrs.OneCycleLR(opt, 1.0, 10, cycle_momentum=False)  # noqa: E731
    theirs = rates(1.0, lambda opt: sequential(opt, warm, one, milestones=[3]), 3)
    assert_close(theirs, np.array([1 / 3, 5 / 9, 7 / 9]) / 25)
    found = values(lambda: p.SequentialLR([linear, p.OneCycleLR(1.0, 10)], [3]), 6)
    assert_close(found, [1 / 3, 5 / 9, 7 / 9, 0.04, 0.52, 1.0])

    # PyTorch's sequence within a sequence goes a step too far.
    step = lambda opt: lrs.StepLR(opt, 2, 0.1)  # noqa: E731

    def inner(opt):
        return sequential(opt, warm, decay, milestones=[3])

    with pytest.warns(UserWarning, match="before `optimizer.step"):
        theirs = rates(1.0, lambda opt: sequential(opt, inner, step, milestones=[6]), 9)
    meant = [1 / 3, 5 / 9, 7 / 9, 1, 0.5, 0.25, 1, 1, 0.1]
    assert_close(theirs[:5], [*meant[:2], *meant[3:6]])
    nested = p.SequentialLR([linear, p.ExponentialLR(1.0, 0.5)], [3])
    found = values(lambda: p.SequentialLR([nested, p.StepLR(1.0, 2, 0.1)], [6]), 9)
    assert_close(found, meant)
    # As a later part, PyTorch does not support it.
    with pytest.raises(NotImplementedError):
        rates(1.0, lambda opt: sequential(opt, step, inner, milestones=[2]), 3)


def chained(*makes):
    return lambda opt: lrs.ChainedScheduler([make(opt) for make in makes])


def test_a_product_of_schedulers():
    """PyTorch has the product if all multiply, and with a cosine up to T_max."""
    decay = lambda opt: lrs.ExponentialLR(opt, 0.95)  # noqa: E731
    wave = lambda opt: lrs.CosineAnnealingLR(opt, 10)  # noqa: E731
    theirs = rates(1.0, chained(wave, decay), 14)
    shares = [p.CosineAnnealingLR(1.0, 10), p.ExponentialLR(1.0, 0.95)]
    found = values(lambda: p.ChainedScheduler(1.0, shares), 14)
    product = [(1 + math.cos(math.pi * t / 10)) / 2 * 0.95**t for t in range(14)]
    assert_close(found, product)
    assert_close(theirs[:11], product[:11])
    assert min(abs(theirs[11:] - found[11:])) > 1e-3

    again = lambda opt: lrs.CosineAnnealingWarmRestarts(opt, 10)  # noqa: E731
    alone = rates(1.0, again, 14)
    assert_close(rates(1.0, chained(decay, again), 14), alone)
    theirs = rates(1.0, chained(again, decay), 14)
    assert_close(theirs[1:], 0.95 * alone[1:])
    shares = [p.CosineAnnealingWarmRestarts(1.0, 10), p.ExponentialLR(1.0, 0.95)]
    found = values(lambda: p.ChainedScheduler(1.0, shares), 14)
    assert_close(found, alone * 0.95 ** np.arange(14))


def plateau(metrics, **words):
    """PyTorch's learning rate after each metric."""
    opt = optimizer(1.0)
    scheduler = lrs.ReduceLROnPlateau(opt, **words)
    found = []
    for metric in metrics:
        scheduler.step(metric)
        found.append(opt.param_groups[0]["lr"])
    return found


def plateaus(metrics, **words):
    """PyTorch's learning rate after each metric, which must be ours, too."""
    theirs = plateau(metrics, **words)
    with jax.enable_x64(True):
        found = rates_of_plateau(p.ReduceLROnPlateau(1.0, **words), metrics)
    assert found.tolist() == theirs
    return theirs


def test_the_plateau():
    """Both count alike unless the best metric is negative."""
    words = {"factor": 0.5, "patience": 2}
    # The cut comes at the third bad metric after the best.
    assert plateaus([1.0] * 8, **words) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    found = plateaus([1.0] * 9, **words, cooldown=2)
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]
    # A metric exactly at the threshold is not better.
    absolute = {"threshold_mode": "abs", "threshold": 0.5}
    assert plateaus([2.0, 1.5, 1.5, 1.5], **words, **absolute)[-1] == 0.5
    assert plateaus([2.0, 1.5, 1.4, 1.5], **words, **absolute)[-1] == 1
    # A cut by no more than eps is not made.
    assert plateaus([1.0] * 5, factor=0.5, patience=0, eps=0.3)[-1] == 0.5
    # NaN is bad and never the best.
    assert plateaus([math.nan] * 3, **words)[-1] == 0.5
    assert plateaus([1.0, math.nan, 0.5, 1, 1, 1], **words)[-2:] == [1, 0.5]
    # With a negative best and a relative threshold, PyTorch counts worse as better.
    assert plateau([-1.0] * 9, **words) == [1] * 9
    assert rates_of_plateau(p.ReduceLROnPlateau(1.0, **words), [-1.0] * 4)[-1] == 0.5
    assert plateaus([-1.0] * 9, **words, threshold_mode="abs")[3] == 0.5
