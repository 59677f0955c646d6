"""Every scheduler of `oxe.pytorch` against PyTorch's at every update, in float64."""

import inspect
import itertools
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import strategies as st

import optax_extras as oxe
from tests.parity.programs import examples, quick_jit
from tests.parity.pytorch_schedulers import (
    SCHEDULERS,
    STEPS,
    Scheduler,
    all_values,
    assert_close,
    class_of,
    lrs,
    momentum,
    optimizer,
    rates,
    run,
    takes_lr,
    torch,
    values,
)

COUNT = {"CyclicLR": 15, "OneCycleLR": 15, "CosineAnnealingWarmRestarts": 10}

rate = st.floats(1e-4, 1.0)
fraction = st.floats(0.0, 1.0)
exact_or = lambda *exact, rest: st.one_of(st.sampled_from(exact), rest)  # noqa: E731


def some(name, steps=STEPS, **words):
    """A strategy: a scheduler with drawn arguments, and `lr` if it takes one."""
    lr = rate if takes_lr(name) else st.just(1.0)
    return st.builds(
        Scheduler, st.just(name), st.fixed_dictionaries(words), lr, st.just(steps)
    )


def fitted(lr, eta_min):
    """The end of a cosine, sometimes above the base learning rate."""
    return exact_or(0.0, 0.01 * lr, rest=st.floats(0, 2 * lr)) if eta_min else 0.0


@st.composite
def cosine_annealing(draw):
    lr, T_max = draw(rate), draw(st.integers(1, 150))
    words = {"T_max": T_max, "eta_min": draw(fitted(lr, True))}
    return Scheduler("CosineAnnealingLR", words, lr)


@st.composite
def warm_restarts(draw):
    lr = draw(rate)
    words = {
        "T_0": draw(st.integers(1, 30)),
        "T_mult": draw(st.sampled_from([1, 1, 2, 2, 3, 5])),
        "eta_min": draw(fitted(lr, True)),
    }
    return Scheduler("CosineAnnealingWarmRestarts", words, lr)


@st.composite
def cyclic(draw):
    mode = draw(st.sampled_from(["triangular", "triangular2", "exp_range"]))
    sizes = st.sampled_from([1, 50]).flatmap(lambda n: st.integers(1, n))
    words = {
        "base_lr": draw(rate),
        "max_lr": draw(rate),
        "step_size_up": draw(sizes),
        "step_size_down": draw(st.one_of(st.none(), st.just(0), sizes)),
        "mode": mode,
        "gamma": draw(st.floats(0.98, 1.0)),
        "scale_fn": draw(st.sampled_from([None, None, *SCALES])),
        "scale_mode": draw(st.sampled_from(["cycle", "iterations"])),
        "base_momentum": draw(st.floats(0.5, 0.85)),
        "max_momentum": draw(st.floats(0.85, 0.99)),
    }
    return Scheduler("CyclicLR", words, max(words["base_lr"], words["max_lr"]))


SCALES = [
    lambda x: 1 / 5 ** (x * 1e-2),
    lambda x: 1 / (1 + x),
    lambda x: 0.02 * x,
]


@st.composite
def one_cycle(draw):
    epochs, length = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    total = epochs * length
    three_phase = draw(st.booleans())
    pct_start = draw(exact_or(0.0, 0.3, 0.5, rest=st.floats(0, 0.5)))
    if not three_phase and draw(st.booleans()):
        pct_start = 1 - pct_start
    if pct_start * total == 1:  # where PyTorch divides by 0
        pct_start = 0.0
    words = draw(
        st.sampled_from(
            [{"total_steps": total}, {"epochs": epochs, "steps_per_epoch": length}]
        )
    ) | {
        "max_lr": draw(rate),
        "pct_start": pct_start,
        "anneal_strategy": draw(st.sampled_from(["cos", "linear"])),
        "base_momentum": draw(st.floats(0.5, 0.85)),
        "max_momentum": draw(st.floats(0.85, 0.99)),
        "div_factor": draw(exact_or(25.0, rest=st.floats(1, 100))),
        "final_div_factor": draw(exact_or(1e4, rest=st.floats(1, 1000))),
        "three_phase": three_phase,
    }
    return Scheduler("OneCycleLR", words, words["max_lr"], total)


@st.composite
def swa(draw):
    """PyTorch's steps from rate to rate, with errors of the larger of the two."""
    lr = draw(rate)
    words = {
        "swa_lr": lr * draw(st.floats(0.01, 2)),
        "anneal_epochs": draw(st.integers(0, 300)),
        "anneal_strategy": draw(st.sampled_from(["cos", "linear"])),
    }
    return Scheduler("SWALR", words, lr)


# Of these PyTorch can compute, and JAX trace, every one.
FUNCTIONS = [
    lambda t: 0.97**t,
    lambda t: 1 / (1 + 0.1 * t),
    lambda t: 0.5 ** (t // 30),
    lambda t: (t % 7 + 1) / 7,
    lambda t: 1.0 * (t < 20) + 0.1 * (t >= 20),
    lambda t: 1 - 0.001 * t,
]
factors = st.sampled_from([
    lambda t: 0.97,
    lambda t: 0.5 if t % 30 == 0 else 1.0,
    lambda t: 1 - 1 / (t + 1) ** 2,
    lambda t: 1 + 0.1 * (-1) ** t,
])  # fmt: skip

PLAIN = {
    "LambdaLR": some("LambdaLR", lr_lambda=st.sampled_from(FUNCTIONS)),
    "MultiplicativeLR": some(
        "MultiplicativeLR", lr_lambda=factors, total_steps=st.just(STEPS)
    ),
    "StepLR": some("StepLR", step_size=st.integers(1, 40), gamma=st.floats(0.1, 1.02)),
    "MultiStepLR": some(
        "MultiStepLR",
        milestones=st.lists(st.integers(0, 250), max_size=7),
        gamma=st.floats(0.1, 1.5),
    ),
    "ConstantLR": some(
        "ConstantLR", factor=st.floats(0.01, 1), total_iters=st.integers(1, 300)
    ),
    "LinearLR": some(
        "LinearLR",
        start_factor=st.floats(0.01, 1),
        end_factor=exact_or(0.0, 1.0, rest=fraction),
        total_iters=st.integers(1, 300),
    ),
    "ExponentialLR": some("ExponentialLR", gamma=st.floats(0.9, 1.002)),
    "PolynomialLR": some(
        "PolynomialLR", total_iters=st.integers(1, 300), power=st.floats(0.2, 4)
    ),
    "CosineAnnealingLR": cosine_annealing(),
    "CosineAnnealingWarmRestarts": warm_restarts(),
    "CyclicLR": cyclic(),
    "OneCycleLR": one_cycle(),
    "SWALR": swa(),
}

# Those that start at their own base learning rate and do not change other phases.
PHASES = [
    *("LambdaLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR"),
    *("PolynomialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"),
]
# Those that multiply the learning rate they find.
MULTIPLIES = [
    *("MultiplicativeLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR"),
    *("ExponentialLR", "PolynomialLR"),
]


def among(names):
    return st.sampled_from(names).flatmap(PLAIN.get)


@st.composite
def sequential(draw):
    parts = draw(st.lists(among(PHASES), min_size=1, max_size=4))
    lengths = draw(st.lists(st.integers(1, 90), min_size=3, max_size=3))
    milestones = np.cumsum(lengths)[: len(parts) - 1].tolist()
    lr = draw(rate)
    words = {"schedulers": [at_rate(part, lr) for part in parts]}
    return Scheduler("SequentialLR", {**words, "milestones": milestones}, lr)


def at_rate(part, lr):
    """The scheduler with another base learning rate, `eta_min` in proportion."""
    words = dict(part.words)
    if "eta_min" in words:
        words["eta_min"] *= lr / part.lr
    return Scheduler(part.name, words, lr)


@st.composite
def chained(draw):
    parts = draw(st.lists(among(MULTIPLIES), min_size=1, max_size=3))
    steps = STEPS
    if draw(st.booleans()):  # it multiplies until it climbs
        steps = draw(st.integers(1, 300)) + 1
        parts.append(Scheduler("CosineAnnealingLR", {"T_max": steps - 1}))
    return Scheduler("ChainedScheduler", {"factors": parts}, draw(rate), steps)


EACH = PLAIN | {"SequentialLR": sequential(), "ChainedScheduler": chained()}


def test_every_scheduler_has_a_case():
    assert set(EACH) == set(SCHEDULERS)


MOMENTUM = {
    "SGD": lambda lr: optimizer(lr, momentum=0.9),
    "Adam": lambda lr: optimizer(lr, torch.optim.Adam),
}


def both_of(cases, cycled):
    """The schedules, and then those of the momentum."""
    made = [case.ours() for case in cases]
    return made + [x.momentum for x in made if cycled]


def compare(name, count):
    """Compare the run and beyond, with the momentum if there is one."""
    for cases in examples(EACH[name], count):
        cycled = "cycle_momentum" in inspect.signature(class_of(name)).parameters
        found = all_values(partial(both_of, cases, cycled))
        momenta = found[len(cases) :] or [None] * len(cases)
        optimizers = itertools.cycle(MOMENTUM.values())
        for case, lr, beta in zip(cases, found[: len(cases)], momenta, strict=True):
            groups = run(next(optimizers)(case.lr), case.theirs, case.steps)
            expected = [group["lr"] for group in groups]
            assert_close(lr[: case.steps], expected, case.lr, case)
            if beta is not None:
                expected = [momentum(group) for group in groups]
                assert_close(beta[: case.steps], expected, 1.0, case)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_step(name):
    compare(name, COUNT.get(name, 8))


@pytest.mark.full
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_step_of_many_examples(name):
    compare(name, 200)


def test_no_momentum():
    """Only if it is cycled there is an attribute; the learning rates are the same."""
    for name, words in {
        "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0},
        "OneCycleLR": {"max_lr": 1.0, "total_steps": 9},
    }.items():
        make = getattr(oxe.pytorch, name)
        assert hasattr(make(**words), "momentum")
        without = Scheduler(name, {**words, "cycle_momentum": False})
        assert not hasattr(without.ours(), "momentum")
        assert_close(values(without.ours, 9), rates(1.0, without.theirs, 9))


# ---- Arguments -----------------------------------------------------------------------

GONE = {"self", "optimizer", "last_epoch"}
OTHER = {"ChainedScheduler": {"schedulers"}}
NEW = {"ChainedScheduler": ["factors"], "MultiplicativeLR": ["total_steps"]}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_arguments_are_theirs(name):
    """PyTorch's names, order and defaults; `lr` first if PyTorch's has none."""
    theirs = inspect.signature(class_of(name).__init__).parameters
    ours = inspect.signature(getattr(oxe.pytorch, name)).parameters
    kept = [x for x in theirs if x not in GONE | OTHER.get(name, set())]
    first = [] if name in ("CyclicLR", "OneCycleLR", "SequentialLR") else ["lr"]
    assert list(ours) == [*first, *kept, *NEW.get(name, [])]
    for x in kept:
        assert ours[x].default == theirs[x].default, x


@pytest.mark.parametrize("name", SCHEDULERS)
def test_their_options_are_refused(name):
    make = getattr(oxe.pytorch, name)
    for option in ("optimizer", "last_epoch", "verbose"):
        with pytest.raises(TypeError) as caught:
            make(**{option: 3})
        assert str(caught.value).startswith(f"{name}: `{option}` must not be given")
    if takes_lr(name):
        with pytest.raises(TypeError, match=f"^{name}: `optimizer` must not be given"):
            make("an optimizer", lr=0.1)


def test_a_chain_of_schedulers_needs_lr_first():
    factors = [oxe.pytorch.ConstantLR(1.0)]
    with pytest.raises(TypeError, match=r"^ChainedScheduler: `lr` must come first"):
        oxe.pytorch.ChainedScheduler(factors)


def test_one_cycle_of_a_length_that_is_not_known():
    """Also a fraction above 1; tests/contract has all other bad arguments."""
    for words, argument in (
        ({}, "total_steps"),
        ({"epochs": 5}, "total_steps"),
        ({"total_steps": 9, "pct_start": 1.1}, "pct_start"),
    ):
        with pytest.raises(ValueError):  # noqa: PT011
            lrs.OneCycleLR(optimizer(momentum=0.9), 1.0, **words)
        with pytest.raises(ValueError, match=f"^OneCycleLR: `{argument}` must "):
            oxe.pytorch.OneCycleLR(1.0, **words)


# ---- Other differences from PyTorch --------------------------------------------------


def test_constant_of_factor_zero():
    """PyTorch divides by it; ours has the full learning rate afterwards."""
    with pytest.raises(ZeroDivisionError):
        rates(0.1, lambda opt: lrs.ConstantLR(opt, 0.0, 3), 5)
    found = values(lambda: oxe.pytorch.ConstantLR(0.1, 0.0, 3), 5)
    assert_close(found, [0, 0, 0, 0.1, 0.1])


def test_one_cycle_without_a_rise():
    """PyTorch divides by the length 0 of the first phase; ours starts at its end."""
    for three_phase in (False, True):
        words = {"total_steps": 10, "pct_start": 0.1, "three_phase": three_phase}
        with pytest.raises(ZeroDivisionError):
            lrs.OneCycleLR(optimizer(), 1.0, cycle_momentum=False, **words)
        assert (
            values(lambda words=words: oxe.pytorch.OneCycleLR(1.0, **words), 1)[0] == 1
        )


def test_multiplicative_holds_after_its_table():
    make = lambda: oxe.pytorch.MultiplicativeLR(0.5, lambda t: 0.9, total_steps=5)  # noqa: E731
    theirs = rates(0.5, lambda opt: lrs.MultiplicativeLR(opt, lambda t: 0.9), 9)
    found = values(make, 9)
    assert_close(found[:5], theirs[:5])
    assert (found[4:] == found[4]).all()
    assert theirs[5] < found[5]


def test_multiplicative_rate_may_be_traced():
    def at(lr):
        halve = lambda t: 0.5 if t % 2 else 1.0  # noqa: E731
        return oxe.pytorch.MultiplicativeLR(lr, halve, total_steps=6)(4)

    found, slopes = quick_jit(jax.vmap(jax.value_and_grad(at)))(np.float32([1.0, 4.0]))
    assert (found.tolist(), slopes.tolist()) == ([0.25, 1.0], [0.25, 0.25])


def test_a_whole_float_is_a_number_of_steps():
    cyclic = {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2000.0}
    cases = [
        Scheduler("StepLR", {"step_size": 3.0}),
        Scheduler("MultiStepLR", {"milestones": [3.0, 5.0]}),
        Scheduler("ConstantLR", {"total_iters": 3.0}),
        Scheduler("LinearLR", {"total_iters": 3.0}),
        Scheduler("PolynomialLR", {"total_iters": 3.0}),
        Scheduler("CosineAnnealingLR", {"T_max": 3.0}),
        Scheduler("CyclicLR", {**cyclic, "cycle_momentum": False}),
    ]
    found = all_values(lambda: [case.ours() for case in cases])
    for case, x in zip(cases, found, strict=True):
        assert_close(x[:20], rates(1.0, case.theirs, 20))


def test_one_cycle_prefers_the_total():
    """As in PyTorch, which then ignores the other two arguments."""
    words = {"total_steps": 20, "epochs": 3, "steps_per_epoch": 2}
    expected = rates(
        1.0, lambda opt: lrs.OneCycleLR(opt, 1.0, cycle_momentum=False, **words), 20
    )
    assert_close(values(lambda: oxe.pytorch.OneCycleLR(1.0, **words), 20), expected)
