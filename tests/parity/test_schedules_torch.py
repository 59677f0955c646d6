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
COUNTS = np.arange(450)  # always the same, so that JAX compiles every operation once


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
    found = np.asarray(schedule(COUNTS))
    assert found.dtype == np.float64
    return found[:steps]


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
    names = {"step_size_up": up, "step_size_down": down, "cycle_momentum": False}
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


SCALES = [lambda c: 0.8 ** (c - 1), lambda c: 1 / 5 ** (c * 1e-2), lambda c: 0.02 * c]


def cyclic_lr_of_function(rng):
    args, bounds, names = triangles(rng)
    scale_fn = rng.choice(SCALES)
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
    shared = {
        "pct_start": pct_start,
        "div_factor": rng.choice([25.0, rng.uniform(1, 100)]),
        "final_div_factor": rng.choice([1e4, rng.uniform(1, 1000)]),
        "three_phase": three_phase,
        "base_momentum": rng.uniform(0.5, 0.85),
        "max_momentum": rng.uniform(0.85, 0.99),
    }
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


def test_scale_fn_that_divides():
    """PyTorch gives the function a float, so that a quotient of it is float64."""
    given = {"step_size_up": 3, "cycle_momentum": False, "scale_fn": lambda c: 1 / c}
    expected = rates(0.1, lambda opt: lrs.CyclicLR(opt, 0.1, 1.0, **given), 60)
    with jax.enable_x64(True):
        check(s.cyclic(0.1, 1.0, 3, scale_fn=lambda c: 1 / c), expected, 0.1)


def sgd_momentum(group):
    return group["momentum"]


def adam_momentum(group):
    return group["betas"][0]


OPTIMIZERS = {
    "SGD": (lambda: optimizer(0.1, momentum=0.9), sgd_momentum),
    "Adam": (lambda: optimizer(0.1, torch.optim.Adam), adam_momentum),
}


@pytest.mark.parametrize("seed", range(EACH))
@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("three_phase", [False, True], ids=["two", "three"])
def test_momentum_of_one_cycle(kind, three_phase, seed):
    peak, theirs, ours = one_cycle_args(Random(f"momentum-{seed}"), three_phase)
    make, momentum = OPTIMIZERS[kind]
    groups = run(
        make(), lambda opt: lrs.OneCycleLR(opt, peak, **theirs), theirs["total_steps"]
    )
    with jax.enable_x64(True):
        schedule = s.one_cycle(peak, **ours)
        check(schedule, [group["lr"] for group in groups], peak)
        check(schedule.momentum, [momentum(group) for group in groups], 1.0)


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_momentum_of_cyclic_is_a_cycle_upside_down(kind, mode):
    names = {"base_momentum": 0.8, "max_momentum": 0.93, "mode": mode}
    gamma = {"exp_range": 0.99}.get(mode, 1.0)
    make, momentum = OPTIMIZERS[kind]
    groups = run(
        make(), lambda opt: lrs.CyclicLR(opt, 0.01, 0.1, 7, 5, gamma=gamma, **names), 80
    )
    with jax.enable_x64(True):
        schedule = s.cyclic(0.93, 0.8, 7, 5, mode=mode, gamma=gamma)
        check(schedule, [momentum(group) for group in groups], 1.0)


# Where we differ from PyTorch, and mean to.


@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_holds_where_theirs_extrapolates(anneal):
    """After the last of T steps PyTorch's climbs again, or becomes negative."""
    theirs = rates(
        1.0,
        lambda opt: lrs.OneCycleLR(
            opt, 1.0, total_steps=10, anneal_strategy=anneal, cycle_momentum=False
        ),
        11,
    )
    last = 1 / 25 / 1e4
    assert theirs[9] == pytest.approx(last, rel=1e-9)
    beyond = {"cos": theirs[8], "linear": 2 * last - theirs[8]}
    assert theirs[10] == pytest.approx(beyond[anneal], rel=1e-9)
    with jax.enable_x64(True):
        ours = values(s.one_cycle(1.0, 10, anneal=anneal), 20)
    np.testing.assert_allclose(ours[:10], theirs[:10], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(ours[10:], last, rtol=CLOSE)


def test_cosine_holds_where_theirs_climbs_back():
    """PyTorch's has the period 2 T; repeated, ours goes down only."""
    theirs = rates(0.1, lambda opt: lrs.CosineAnnealingLR(opt, 10, 0.01), 21)
    np.testing.assert_allclose(theirs[10:], theirs[10::-1], rtol=0, atol=CLOSE)
    with jax.enable_x64(True):
        ours = values(s.cosine(0.1, 10, 0.01), 21)
    np.testing.assert_allclose(ours[:11], theirs[:11], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(ours[10:], 0.01, rtol=CLOSE)


@pytest.mark.parametrize("three_phase", [False, True], ids=["two", "three"])
def test_one_cycle_without_a_rise(three_phase):
    """Where the first phase has no length PyTorch divides by it; ours is at its end."""
    given = {"total_steps": 10, "pct_start": 0.1, "three_phase": three_phase}
    with pytest.raises(ZeroDivisionError):
        lrs.OneCycleLR(optimizer(1.0), 1.0, cycle_momentum=False, **given)
    with jax.enable_x64(True):
        assert values(s.one_cycle(1.0, **given), 1)[0] == 1.0


def test_product_of_cosine_and_exponential_after_the_cosine():
    """A ChainedScheduler is a product no more once its cosine climbs."""
    theirs = rates(
        1.0,
        lambda opt: lrs.ChainedScheduler(
            [lrs.CosineAnnealingLR(opt, 10), lrs.ExponentialLR(opt, 0.95)]
        ),
        20,
    )
    with jax.enable_x64(True):
        ours = values(s.product(s.cosine(1.0, 10), s.exponential(1.0, 0.95)), 20)
    np.testing.assert_allclose(ours[:11], theirs[:11], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(ours[11:], 0.0, atol=CLOSE)
    assert min(theirs[11:]) > 0.001
