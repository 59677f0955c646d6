"""Fifteen facts about PyTorch's schedulers, and what ours make of them.

The numbers were measured of PyTorch's, or follow from its formulas by hand. Where a
fact is a known bug of PyTorch's, ours keep what was meant, and both are asserted.
"""

import math
from copy import deepcopy

import jax
import numpy as np
import pytest

import optax_extras as oxe
from tests.parity.torch_schedulers import (
    CLOSE,
    assert_close,
    lrs,
    momentum,
    optimizer,
    rates,
    run,
    torch,
    values,
)

p = oxe.pytorch


def both(make, ours, steps, lr=1.0):
    """The rates of PyTorch's and of ours, which have to be the same."""
    theirs = rates(lr, make, steps)
    found = values(ours, steps)
    assert_close(found, theirs, lr)
    return theirs


def test_01_the_clock():
    """The constructor sets lr(0); after k steps the rate in force is lr(k)."""
    opt = optimizer(0.5)
    weight = opt.param_groups[0]["params"][0]
    scheduler = lrs.ExponentialLR(opt, 0.5)
    ours = values(lambda: p.ExponentialLR(0.5, 0.5), 6)
    for k in range(6):
        assert opt.param_groups[0]["lr"] == pytest.approx(ours[k], abs=CLOSE)
        weight.data.zero_()
        weight.grad = torch.ones(1)
        opt.step()
        assert float(-weight.detach()) == pytest.approx(0.5 * 0.5**k, rel=1e-6)
        scheduler.step()


def test_02_the_peak_of_one_cycle_is_a_step_early():
    """At pct·T - 1, not pct·T; it may fall between two steps, and is not seen then."""

    def make(opt, **words):
        return lrs.OneCycleLR(opt, 1.0, cycle_momentum=False, **words)

    found = both(
        lambda opt: make(opt, total_steps=10), lambda: p.OneCycleLR(1.0, 10), 10
    )
    known = [0.04, 0.52, 1.0, 0.9505, 0.8117, 0.6113, 0.3887, 0.1883, 0.0495, 4e-6]
    np.testing.assert_allclose(found, known, atol=6e-5)
    assert found[9] == pytest.approx(1 / (25 * 1e4))
    words = {"total_steps": 10, "pct_start": 0.25}  # the peak is at 1.5
    found = both(lambda opt: make(opt, **words), lambda: p.OneCycleLR(1.0, **words), 10)
    assert max(found) < 0.99


@pytest.mark.parametrize(("way", "beyond"), [("cos", 0.0495), ("linear", -0.143)])
def test_03_one_cycle_after_its_end(way, beyond):
    """PyTorch's extrapolates at T and raises at T + 1; ours holds."""

    def make(opt):
        return lrs.OneCycleLR(
            opt, 1.0, 10, anneal_strategy=way, cycle_momentum=False
        )  # fmt: skip

    theirs = rates(1.0, make, 11)
    assert theirs[10] == pytest.approx(beyond, abs=1e-3)
    with pytest.raises(ValueError, match="Tried to step 11 times"):
        rates(1.0, make, 12)
    ours = values(lambda: p.OneCycleLR(1.0, 10, anneal_strategy=way), 30)
    assert_close(ours[:10], theirs[:10])
    assert_close(ours[10:], np.full(20, 1 / (25 * 1e4)))
    # A share of 0 starts below the peak, in both.
    words = {"total_steps": 10, "pct_start": 0.0, "cycle_momentum": False}
    first = rates(1.0, lambda opt: lrs.OneCycleLR(opt, 1.0, **words), 1)
    assert first[0] == pytest.approx(0.9755, abs=1e-4)
    assert_close(values(lambda: p.OneCycleLR(1.0, **words), 1), first)


def test_04_one_cycle_of_three_phases():
    """Ends at pct·T - 1, 2·pct·T - 2 and T - 1; the momentum rests in the third."""
    words = {"total_steps": 20, "three_phase": True}
    groups = run(
        optimizer(momentum=0.9), lambda opt: lrs.OneCycleLR(opt, 1.0, **words), 20
    )
    theirs = [group["lr"] for group in groups]
    assert_close(values(lambda: p.OneCycleLR(1.0, **words), 20), theirs)
    assert_close([theirs[t] for t in (5, 10, 19)], [1.0, 0.04, 4e-6])
    found = values(lambda: p.OneCycleLR(1.0, **words).momentum, 20)
    assert_close(found, [momentum(group) for group in groups])
    assert_close(found[10:], np.full(10, 0.95))
    assert found[5] == pytest.approx(0.85)


def test_05_the_momentum_goes_the_other_way():
    """High where the rate is low, by the rate's own scale; one of 0 is overwritten."""
    for opt in (optimizer(momentum=0.0), optimizer(kind=torch.optim.Adam)):
        groups = run(opt, lambda opt: lrs.OneCycleLR(opt, 1.0, 10), 10)
        theirs = [momentum(group) for group in groups]
        assert_close([theirs[t] for t in (0, 2, 9)], [0.95, 0.85, 0.95])
        assert_close(values(lambda: p.OneCycleLR(1.0, 10).momentum, 10), theirs)
    words = {"step_size_up": 4, "mode": "triangular2"}
    groups = run(
        optimizer(momentum=0.0), lambda opt: lrs.CyclicLR(opt, 0.1, 1.0, **words), 40
    )
    theirs = np.array([momentum(group) for group in groups])
    assert_close(theirs[[0, 4, 8, 12, 20]], [0.9, 0.8, 0.9, 0.85, 0.875])
    assert_close(values(lambda: p.CyclicLR(0.1, 1.0, **words).momentum, 40), theirs)
    height = (np.array([group["lr"] for group in groups]) - 0.1) / 0.9
    assert_close(theirs, 0.9 - 0.1 * height)


def test_06_triangles():
    """Peak at `up`, trough at `up + down`; exp_range counts all steps."""

    def cycle(*bounds, **words):
        words["cycle_momentum"] = False
        return both(
            lambda opt: lrs.CyclicLR(opt, *bounds, **words),
            lambda: p.CyclicLR(*bounds, **words),
            200,
        )

    found = cycle(0.1, 1.0, step_size_up=6, step_size_down=4)
    assert_close(found[[0, 6, 10, 16]], [0.1, 1.0, 0.1, 1.0])
    found = cycle(0.1, 1.0, step_size_up=6, step_size_down=4, mode="triangular2")
    assert_close(found[[6, 16, 26]], [1.0, 0.55, 0.325])
    found = cycle(0.1, 1.0, step_size_up=6, mode="exp_range", gamma=0.9)
    assert_close(found[[6, 18]], [0.1 + 0.9 * 0.9**6, 0.1 + 0.9 * 0.9**18])
    found = cycle(1.0, 0.1, step_size_up=6)
    assert_close(found[[0, 6]], [1.0, 0.1])
    # A fractional size is PyTorch's alone.
    theirs = rates(
        1.0, lambda opt: lrs.CyclicLR(opt, 0, 1, 1.5, cycle_momentum=False), 4
    )
    assert_close(theirs, [0, 2 / 3, 2 / 3, 0])
    with pytest.raises(ValueError, match="whole number"):
        p.CyclicLR(0.0, 1.0, 1.5)


def test_07_warm_restarts():
    """A cycle starts at the base rate and ends above eta_min; `step(epoch)` errs."""
    words = {"T_0": 5, "T_mult": 2, "eta_min": 0.01}
    found = both(
        lambda opt: lrs.CosineAnnealingWarmRestarts(opt, **words),
        lambda: p.CosineAnnealingWarmRestarts(1.0, **words),
        40,
    )
    assert_close(found[[0, 5, 15, 35]], np.ones(4))
    assert min(found) > 0.01
    # The start of the sixth cycle of 1, 3, 9, ... steps, by PyTorch's logarithm.
    opt = optimizer(1.0)
    lrs.CosineAnnealingWarmRestarts(opt, 1, 3).step(121)
    assert opt.param_groups[0]["lr"] == pytest.approx(0.0, abs=CLOSE)
    stepped = rates(1.0, lambda opt: lrs.CosineAnnealingWarmRestarts(opt, 1, 3), 122)
    assert stepped[121] == 1.0
    assert values(lambda: p.CosineAnnealingWarmRestarts(1.0, 1, 3), 122)[121] == 1.0


def test_08_the_cosine_climbs_again():
    """It reaches eta_min at T_max, and has the period 2·T_max."""
    found = both(
        lambda opt: lrs.CosineAnnealingLR(opt, 10, 0.1),
        lambda: p.CosineAnnealingLR(1.0, 10, 0.1),
        61,
    )
    assert_close(found[[0, 10, 20, 30, 40]], [1.0, 0.1, 1.0, 0.1, 1.0])
    assert_close(found[10:21], found[10::-1])
    held = values(lambda: oxe.schedules.cosine(1.0, 10, 0.1), 61)
    assert_close(held[:11], found[:11])
    assert_close(held[10:], np.full(51, 0.1))


def test_09_the_end_of_linear_and_constant():
    """At t = T; after 0 steps PyTorch's stick at the first factor, ours are over."""
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


def test_10_polynomial():
    """0 from T on; a fractional T stops short of it and one of 0 does nothing."""
    found = both(
        lambda opt: lrs.PolynomialLR(opt, 4, 2.0),
        lambda: p.PolynomialLR(1.0, 4, 2.0),
        9,
    )
    assert_close(found[[0, 2, 4, 8]], [1.0, 0.25, 0.0, 0.0])
    theirs = rates(1.0, lambda opt: lrs.PolynomialLR(opt, 4.5, 0.5), 9)
    assert_close(theirs[4:], np.full(5, 1 / 3))
    theirs = rates(1.0, lambda opt: lrs.PolynomialLR(opt, 0), 9)
    assert_close(theirs, np.ones(9))
    for total_iters in (4.5, 0):
        with pytest.raises(ValueError, match="`total_iters` must be"):
            p.PolynomialLR(1.0, total_iters, 0.5)
    with pytest.raises(TypeError, match="end_value"):
        p.PolynomialLR(1.0, 4, end_value=0.1)


def test_11_milestones():
    """The change is at the milestone; equal ones multiply; fractions never fire."""
    found = both(lambda opt: lrs.StepLR(opt, 3, 0.5), lambda: p.StepLR(1.0, 3, 0.5), 9)
    assert_close(found, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    milestones = [5, 2, 0, 2]
    found = both(
        lambda opt: lrs.MultiStepLR(opt, milestones, 0.5),
        lambda: p.MultiStepLR(1.0, milestones, 0.5),
        7,
    )
    assert_close(found, [0.5, 0.5, 0.125, 0.125, 0.125, 0.0625, 0.0625])
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


def test_12_one_after_another():
    """Each starts from the base rate; in PyTorch not all, and some disturb others."""
    warm = lambda opt: lrs.LinearLR(opt, total_iters=3)  # noqa: E731
    decay = lambda opt: lrs.ExponentialLR(opt, 0.5)  # noqa: E731
    linear = p.LinearLR(1.0, total_iters=3)
    found = both(
        lambda opt: sequential(opt, warm, decay, milestones=[3]),
        lambda: p.SequentialLR([linear, p.ExponentialLR(1.0, 0.5)], [3]),
        5,
    )
    assert_close(found, [1 / 3, 5 / 9, 7 / 9, 1, 0.5])

    # A factor goes on from the rate that it finds; ours from its own.
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

    # One cycle changes the phase before it: 1/25 of the rate.
    one = lambda opt: lrs.OneCycleLR(opt, 1.0, 10, cycle_momentum=False)  # noqa: E731
    theirs = rates(1.0, lambda opt: sequential(opt, warm, one, milestones=[3]), 3)
    assert_close(theirs, np.array([1 / 3, 5 / 9, 7 / 9]) / 25)
    found = values(lambda: p.SequentialLR([linear, p.OneCycleLR(1.0, 10)], [3]), 6)
    assert_close(found, [1 / 3, 5 / 9, 7 / 9, 0.04, 0.52, 1.0])

    # A sequence within a sequence goes a step too far.
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
    # And as a later part it is not possible at all.
    with pytest.raises(NotImplementedError):
        rates(1.0, lambda opt: sequential(opt, step, inner, milestones=[2]), 3)


def chained(*makes):
    return lambda opt: lrs.ChainedScheduler([make(opt) for make in makes])


def test_13_all_at_once():
    """A product of what multiplies, and of a cosine to T_max; others overwrite."""
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
    """The rates of PyTorch's after each of the metrics."""
    opt = optimizer(1.0)
    scheduler = lrs.ReduceLROnPlateau(opt, **words)
    found = []
    for metric in metrics:
        scheduler.step(metric)
        found.append(opt.param_groups[0]["lr"])
    return found


def plateaus(metrics, **words):
    """The rates of PyTorch's after each of the metrics, which are ours too."""
    theirs = plateau(metrics, **words)
    with jax.enable_x64(True):
        state = oxe.heavy_ball(p.ReduceLROnPlateau(1.0, **words)).init(np.ones(1))
        for metric, rate in zip(metrics, theirs, strict=True):
            state = oxe.observe(state, metric)
            assert oxe.learning_rate(state) == rate
    return theirs


def test_14_the_plateau():
    """Both count alike, but where a best metric is negative."""
    words = {"factor": 0.5, "patience": 2}
    # The third bad one after the best.
    assert plateaus([1.0] * 8, **words) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    found = plateaus([1.0] * 9, **words, cooldown=2)
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]
    # Equal to the threshold is not better.
    absolute = {"threshold_mode": "abs", "threshold": 0.5}
    assert plateaus([2.0, 1.5, 1.5, 1.5], **words, **absolute)[-1] == 0.5
    assert plateaus([2.0, 1.5, 1.4, 1.5], **words, **absolute)[-1] == 1
    # A rate that would fall by no more than eps stays.
    assert plateaus([1.0] * 5, factor=0.5, patience=0, eps=0.3)[-1] == 0.5
    # NaN is bad, and never the best.
    assert plateaus([math.nan] * 3, **words)[-1] == 0.5
    assert plateaus([1.0, math.nan, 0.5, 1, 1, 1], **words)[-2:] == [1, 0.5]
    # Relative to a negative best, worse counts as better in PyTorch's; not in ours.
    assert plateau([-1.0] * 9, **words) == [1] * 9
    state = oxe.heavy_ball(p.ReduceLROnPlateau(1.0, **words)).init(np.ones(1))
    for _ in range(4):
        state = oxe.observe(state, -1.0)
    assert oxe.learning_rate(state) == 0.5
    assert plateaus([-1.0] * 9, **words, threshold_mode="abs")[3] == 0.5


def test_15_resuming():
    """A state of PyTorch's holds hyperparameters and not the rate; ours is the count.

    `last_epoch=k` gives lr(k + 1) in some classes and lr(k) at index k + 1 in others.
    """
    opt = optimizer(1.0)
    scheduler = lrs.CosineAnnealingLR(opt, 8)
    for _ in range(3):
        opt.step()
        scheduler.step()
    saved = deepcopy(scheduler.state_dict())
    other = lrs.CosineAnnealingLR(optimizer(1.0), 80)
    other.load_state_dict(saved)
    assert other.T_max == 8
    assert other.optimizer.param_groups[0]["lr"] == 1.0

    def resumed(make, k, lr):
        opt = optimizer(lr)
        opt.param_groups[0]["initial_lr"] = 1.0
        return [group["lr"] for group in run(opt, lambda o: make(o, k), 3)]

    step = resumed(lambda o, k: lrs.StepLR(o, 2, 0.5, last_epoch=k), 3, 0.5)
    assert_close(step, [0.25, 0.25, 0.125])  # lr(4), lr(5), lr(6)
    whole = [(1 + math.cos(math.pi * t / 8)) / 2 for t in range(9)]
    lr = whole[3]
    wave = resumed(lambda o, k: lrs.CosineAnnealingLR(o, 8, last_epoch=k), 3, lr)
    assert wave[0] == pytest.approx(lr, abs=CLOSE)
    assert abs(wave[1] - whole[4]) > 0.05

    # Ours: whatever step it is asked for, in whatever order, it is the same curve.
    with jax.enable_x64(True):
        curve = p.CosineAnnealingLR(1.0, 8)
        for t in (5, 0, 8, 3):
            assert float(curve(t)) == pytest.approx(whole[t], abs=CLOSE)
