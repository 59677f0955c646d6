"""The schedules against the installed PyTorch's, update by update, in float64."""

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from optax_extras import schedules as s

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
lrs = torch.optim.lr_scheduler

CLOSE = 1e-11  # of the base rate


def optimizer(rate, kind=torch.optim.SGD, **options):
    return kind([torch.zeros(1, requires_grad=True)], lr=rate, **options)


def run(opt, make, steps):
    """The parameter group as each of the updates finds it."""
    scheduler, seen = make(opt), []
    for _ in range(steps - 1):
        seen.append(dict(opt.param_groups[0]))
        opt.step()
        scheduler.step()
    return [*seen, dict(opt.param_groups[0])]


def rates(base, make, steps):
    return [group["lr"] for group in run(optimizer(base), make, steps)]


def values(schedule, steps):
    found = np.asarray(schedule(np.arange(steps)))
    assert found.dtype == np.float64
    return found


def check(schedule, expected, scale):
    found = values(schedule, len(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE * scale)


class Case(NamedTuple):
    theirs: Callable[[Any], Any]  # optimizer -> scheduler
    ours: Callable[[], Any]
    base: float
    steps: int


def rate(rng):
    return 10 ** rng.uniform(-4, 0)


# Each draws the arguments at random and gives both calls of them.


def step_lr(rng):
    b, size, gamma = rate(rng), rng.randint(1, 40), rng.uniform(0.1, 1.02)
    return Case(
        lambda opt: lrs.StepLR(opt, size, gamma), lambda: s.step(b, size, gamma), b, 300
    )


def multistep_lr(rng):
    b, gamma = rate(rng), rng.uniform(0.1, 1.5)
    milestones = sorted(rng.choices(range(250), k=rng.randint(0, 5)))
    milestones = sorted([*milestones, *milestones[:2]])  # at some of them twice
    return Case(
        lambda opt: lrs.MultiStepLR(opt, milestones, gamma),
        lambda: s.multistep(b, milestones, gamma),
        b,
        300,
    )


def exponential_lr(rng):
    b, gamma = rate(rng), rng.uniform(0.9, 1.002)
    return Case(
        lambda opt: lrs.ExponentialLR(opt, gamma),
        lambda: s.exponential(b, gamma),
        b,
        400,
    )


def polynomial_lr(rng):
    b, total, power = rate(rng), rng.randint(1, 300), rng.uniform(0.2, 4.0)
    return Case(
        lambda opt: lrs.PolynomialLR(opt, total, power),
        lambda: s.polynomial(b, total, power),
        b,
        total + 20,
    )


def linear_lr(rng):
    b, total = rate(rng), rng.randint(1, 300)
    start, end = rng.uniform(0.01, 1), rng.choice([0.0, 1.0, rng.uniform(0, 1)])
    return Case(
        lambda opt: lrs.LinearLR(opt, start, end, total),
        lambda: s.linear(b * start, total, b * end),
        b,
        total + 20,
    )


def cosine_annealing_lr(rng):
    b, total = rate(rng), rng.randint(1, 400)
    end = b * rng.choice([0.0, 0.01, rng.uniform(0, 2)])
    return Case(
        lambda opt: lrs.CosineAnnealingLR(opt, total, end),
        lambda: s.cosine(b, total, end),
        b,
        total + 1,
    )


def cosine_annealing_warm_restarts(rng):
    b, period, mult = rate(rng), rng.randint(1, 30), rng.choice([1, 1, 2, 2, 3, 5])
    end = b * rng.choice([0.0, 0.01, rng.uniform(0, 2)])
    return Case(
        lambda opt: lrs.CosineAnnealingWarmRestarts(opt, period, mult, end),
        lambda: s.warm_restarts(b, period, mult, end),
        b,
        400,
    )


def triangles(rng):
    """Bounds, the two lengths, and the lengths by PyTorch's names."""
    low, high, up = rate(rng), rate(rng), rng.randint(1, 50)
    down = rng.choice([None, rng.randint(1, 50)])
    names = dict(step_size_up=up, step_size_down=down, cycle_momentum=False)
    return (low, high, up, down), (low, high), names


def cyclic_lr(mode, lowest_gamma=1.0):
    def draw(rng):
        args, bounds, names = triangles(rng)
        gamma = rng.uniform(lowest_gamma, 1.0)
        return Case(
            lambda opt: lrs.CyclicLR(opt, *bounds, mode=mode, gamma=gamma, **names),
            lambda: s.cyclic(*args, mode=mode, gamma=gamma),
            max(bounds),
            400,
        )

    return draw


def cyclic_lr_of_function(rng):
    args, bounds, names = triangles(rng)
    scale_fn = rng.choice([lambda c: 1 / c, lambda c: 0.8 ** (c - 1), lambda c: c / 50])
    return Case(
        lambda opt: lrs.CyclicLR(opt, *bounds, scale_fn=scale_fn, **names),
        lambda: s.cyclic(*args, scale_fn=scale_fn),
        max(bounds),
        400,
    )


def one_cycle_args(rng, three_phase):
    """Peak, steps, options in PyTorch's names, and the same in ours."""
    peak, total = rate(rng), rng.choice([1, 2, 3, 10, 100, rng.randint(4, 400)])
    widest = 0.5 if three_phase else 1.0
    starts = [0.0, 0.3, widest, rng.uniform(0, widest), rng.uniform(0, widest)]
    # At a product of 1 PyTorch divides by the zero length of the first phase.
    pct_start = rng.choice([x for x in starts if x * total != 1])
    shared = dict(
        pct_start=pct_start,
        div_factor=rng.choice([25.0, rng.uniform(1, 100)]),
        final_div_factor=rng.choice([1e4, rng.uniform(1, 1000)]),
        three_phase=three_phase,
        base_momentum=rng.uniform(0.5, 0.85),
        max_momentum=rng.uniform(0.85, 0.99),
    )
    anneal = rng.choice(["cos", "linear"])
    theirs = dict(shared, total_steps=total, anneal_strategy=anneal)
    return peak, theirs, dict(shared, total_steps=total, anneal=anneal)


def one_cycle_lr(three_phase):
    def draw(rng):
        peak, theirs, ours = one_cycle_args(rng, three_phase)
        theirs["cycle_momentum"] = False
        return Case(
            lambda opt: lrs.OneCycleLR(opt, peak, **theirs),
            lambda: s.one_cycle(peak, **ours),
            peak,
            theirs["total_steps"],
        )

    return draw


def sequential_lr(rng):
    b = rate(rng)
    kinds = [rng.choice(sorted(PHASES)) for _ in range(rng.randint(2, 4))]
    lengths = [rng.randint(1, 60) for _ in kinds]
    milestones = [int(x) for x in np.cumsum(lengths[:-1])]
    pairs = [PHASES[kind](rng, b) for kind in kinds]

    def theirs(opt):
        return lrs.SequentialLR(opt, [make(opt) for make, _ in pairs], milestones)

    return Case(
        theirs,
        lambda: s.sequence([make() for _, make in pairs], milestones),
        b,
        sum(lengths),
    )


def _step_phase(rng, b):
    size, gamma = rng.randint(1, 20), rng.uniform(0.2, 1.0)
    return lambda opt: lrs.StepLR(opt, size, gamma), lambda: s.step(b, size, gamma)


def _exponential_phase(rng, b):
    gamma = rng.uniform(0.9, 1.0)
    return lambda opt: lrs.ExponentialLR(opt, gamma), lambda: s.exponential(b, gamma)


def _polynomial_phase(rng, b):
    total, power = rng.randint(1, 80), rng.uniform(0.2, 4.0)
    return (
        lambda opt: lrs.PolynomialLR(opt, total, power),
        lambda: s.polynomial(b, total, power),
    )


def _linear_phase(rng, b):
    total, start, end = rng.randint(1, 80), rng.uniform(0.01, 1), rng.uniform(0, 1)
    return (
        lambda opt: lrs.LinearLR(opt, start, end, total),
        lambda: s.linear(b * start, total, b * end),
    )


def _cosine_phase(rng, b):
    total, end = rng.randint(60, 100), b * rng.uniform(0, 0.5)  # longer than any phase
    return (
        lambda opt: lrs.CosineAnnealingLR(opt, total, end),
        lambda: s.cosine(b, total, end),
    )


PHASES = {
    "step": _step_phase,
    "exponential": _exponential_phase,
    "polynomial": _polynomial_phase,
    "linear": _linear_phase,
    "cosine": _cosine_phase,
}


def chained_scheduler(rng):
    b, size = rate(rng), rng.randint(1, 40)
    drop, decay = rng.uniform(0.2, 1.0), rng.uniform(0.95, 1.0)

    def theirs(opt):
        parts = [lrs.StepLR(opt, size, drop), lrs.ExponentialLR(opt, decay)]
        return lrs.ChainedScheduler(parts)

    return Case(
        theirs,
        lambda: s.product(s.step(b, size, drop), s.exponential(1.0, decay)),
        b,
        300,
    )


DRAWS = {
    "StepLR": step_lr,
    "MultiStepLR": multistep_lr,
    "ExponentialLR": exponential_lr,
    "PolynomialLR": polynomial_lr,
    "LinearLR": linear_lr,
    "CosineAnnealingLR": cosine_annealing_lr,
    "CosineAnnealingWarmRestarts": cosine_annealing_warm_restarts,
    "CyclicLR-triangular": cyclic_lr("triangular"),
    "CyclicLR-triangular2": cyclic_lr("triangular2"),
    "CyclicLR-exp_range": cyclic_lr("exp_range", 0.98),
    "CyclicLR-scale_fn": cyclic_lr_of_function,
    "OneCycleLR-two": one_cycle_lr(False),
    "OneCycleLR-three": one_cycle_lr(True),
    "SequentialLR": sequential_lr,
    "ChainedScheduler": chained_scheduler,
}
EACH = 15
SEEDS = [f"{name}-{i}" for name in DRAWS for i in range(EACH)]


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_run(seed):
    case = DRAWS[seed.rpartition("-")[0]](Random(seed))
    with jax.enable_x64(True):
        check(case.ours(), rates(case.base, case.theirs, case.steps), case.base)
