"""Every scheduler of `oxe.pytorch` against PyTorch's, update by update, in float64."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optax_extras as oxe
from tests.parity.torch_schedulers import (
    CLOSE,
    SCHEDULERS,
    STEPS,
    Scheduler,
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

modest = settings(deadline=None, derandomize=True, max_examples=40, database=None)

rate = st.floats(1e-4, 1.0)
share = st.floats(0.0, 1.0)
exact_or = lambda *exact, rest: st.one_of(st.sampled_from(exact), rest)  # noqa: E731


def some(name, steps=STEPS, **words):
    """A strategy: the scheduler with its words drawn, and a base rate if it has one."""
    lr = rate if takes_lr(name) else st.just(1.0)
    return st.builds(
        Scheduler, st.just(name), st.fixed_dictionaries(words), lr, st.just(steps)
    )


def fitted(lr, eta_min):
    """The lowest rate of a cosine, at times above the base rate."""
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
        end_factor=exact_or(0.0, 1.0, rest=share),
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

# What begins from its own base rate and leaves the other phases alone.
PHASES = [
    *("LambdaLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR"),
    *("PolynomialLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts"),
]
# What multiplies the rate it finds.
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
    """The scheduler of another base rate, its lowest rate in proportion."""
    words = dict(part.words)
    if "eta_min" in words:
        words["eta_min"] *= lr / part.lr
    return Scheduler(part.name, words, lr)


@st.composite
def chained(draw):
    parts = draw(st.lists(among(MULTIPLIES), min_size=1, max_size=3))
    steps = STEPS
    if draw(st.booleans()):  # a product until it climbs
        steps = draw(st.integers(1, 300)) + 1
        parts.append(Scheduler("CosineAnnealingLR", {"T_max": steps - 1}))
    return Scheduler("ChainedScheduler", {"factors": parts}, draw(rate), steps)


EACH = PLAIN | {"SequentialLR": sequential(), "ChainedScheduler": chained()}


def test_every_scheduler_has_a_case():
    assert set(EACH) == set(SCHEDULERS)


@pytest.mark.parametrize("name", SCHEDULERS)
@modest
@given(data=st.data())
def test_whole_run_and_beyond(name, data):
    case = data.draw(EACH[name])
    # Without a momentum of its own to be cycled, the optimizer still can be driven.
    expected = rates(case.lr, unmoved(case).theirs, case.steps)
    assert_close(values(case.ours, case.steps), expected, case.lr)


def unmoved(case):
    """The same without momentum, which the optimizer does not have."""
    if case.name not in MOMENTUM:
        return case
    return Scheduler(case.name, {**case.words, "cycle_momentum": False}, case.lr)


MOMENTUM = ["CyclicLR", "OneCycleLR"]
OPTIMIZERS = {
    "SGD": lambda: optimizer(momentum=0.9),
    "Adam": lambda: optimizer(kind=torch.optim.Adam),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", MOMENTUM)
@modest
@given(data=st.data())
def test_momentum(name, kind, data):
    case = data.draw(EACH[name])
    groups = run(OPTIMIZERS[kind](), case.theirs, case.steps)
    found = values(lambda: case.ours().momentum, case.steps)
    assert_close(found, [momentum(group) for group in groups])
    assert_close(values(case.ours, case.steps), [g["lr"] for g in groups], case.lr)


@pytest.mark.parametrize("name", MOMENTUM)
def test_no_momentum(name):
    words = {"CyclicLR": {"base_lr": 0.1}, "OneCycleLR": {"total_steps": 9}}[name]
    make = getattr(oxe.pytorch, name)
    assert hasattr(make(max_lr=1.0, **words), "momentum")
    assert not hasattr(make(max_lr=1.0, **words, cycle_momentum=False), "momentum")


# ---- The face ------------------------------------------------------------------------

GONE = {"self", "optimizer", "last_epoch"}
OTHER = {"ChainedScheduler": {"schedulers"}}
NEW = {"ChainedScheduler": ["factors"], "MultiplicativeLR": ["total_steps"]}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_arguments_are_theirs(name):
    """Their names, order and defaults; before them the rate, if it is not there yet."""
    theirs = inspect.signature(class_of(name).__init__).parameters
    ours = inspect.signature(getattr(oxe.pytorch, name)).parameters
    kept = [x for x in theirs if x not in GONE | OTHER.get(name, set())]
    first = [] if name in (*MOMENTUM, "SequentialLR") else ["lr"]
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


# What PyTorch refuses when the scheduler is made: ours refuse it as well, by its name.
REFUSED = [
    ("MultiplicativeLR", {"lr_lambda": 0.5, "total_steps": 5}, "lr_lambda"),
    ("ConstantLR", {"factor": 1.5}, "factor"),
    ("ConstantLR", {"factor": -0.1}, "factor"),
    ("LinearLR", {"start_factor": 0.0}, "start_factor"),
    ("LinearLR", {"start_factor": 1.5}, "start_factor"),
    ("LinearLR", {"end_factor": -0.1}, "end_factor"),
    ("LinearLR", {"end_factor": 1.5}, "end_factor"),
    ("CosineAnnealingWarmRestarts", {"T_0": 0}, "T_0"),
    ("CosineAnnealingWarmRestarts", {"T_0": 5.0}, "T_0"),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 0}, "T_mult"),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 1.5}, "T_mult"),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "eta_min": "0"}, "eta_min"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "mode": "square"}, "mode"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 0}, "step_size_up"),
    ("OneCycleLR", {"max_lr": 1.0}, "total_steps"),
    ("OneCycleLR", {"max_lr": 1.0, "epochs": 5}, "total_steps"),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 0}, "total_steps"),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 5.0}, "total_steps"),
    ("OneCycleLR", {"max_lr": 1.0, "epochs": 0, "steps_per_epoch": 5}, "epochs"),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "epochs": 5, "steps_per_epoch": -5},
        "steps_per_epoch",
    ),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 9, "pct_start": -0.1}, "pct_start"),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 9, "pct_start": 1.1}, "pct_start"),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 9, "anneal_strategy": "cosine"},
        "anneal_strategy",
    ),
    ("SWALR", {"swa_lr": 0.1, "anneal_strategy": "cosine"}, "anneal_strategy"),
    ("SWALR", {"swa_lr": 0.1, "anneal_epochs": -1}, "anneal_epochs"),
    ("SWALR", {"swa_lr": 0.1, "anneal_epochs": 5.0}, "anneal_epochs"),
    ("SequentialLR", {"schedulers": [], "milestones": []}, "schedulers"),
    (
        "SequentialLR",
        {"schedulers": [Scheduler("StepLR", {"step_size": 3})], "milestones": [3]},
        "milestones",
    ),
    ("ChainedScheduler", {"factors": []}, "factors"),
]


@pytest.mark.parametrize(
    ("name", "words", "argument"), REFUSED, ids=[f"{n}-{a}" for n, _, a in REFUSED]
)
def test_what_theirs_refuse_ours_refuse(name, words, argument):
    case = Scheduler(name, words)
    with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
        case.theirs(optimizer(momentum=0.9))
    with pytest.raises((TypeError, ValueError), match=f"^{name}: `{argument}` must "):
        case.ours()


# ---- Driving an optimizer ------------------------------------------------------------


def sgd(beta, t):
    return oxe.Tableau(a1=beta, c1=1, n1=1)


def adam(beta, t):
    """The correction of the first moment is by the present beta, as PyTorch's is."""
    b2 = 0.999
    scale, root = 1 / (1 - beta**t), 1 / jnp.sqrt(1 - b2**t)
    return oxe.Tableau(
        a1=beta, c1=1 - beta, a2=b2, c2=1 - b2, n1=1, s=scale, d=root, e=1e-8
    )


DRIVEN = {
    "SGD": (torch.optim.SGD, {"momentum": 0.9}, sgd),
    "Adam": (torch.optim.Adam, {}, adam),
}
DRIVERS = {
    "CyclicLR": {"base_lr": 1e-4, "max_lr": 0.1, "step_size_up": 40},
    "CyclicLR-triangular2": {
        "base_lr": 1e-4,
        "max_lr": 0.1,
        "step_size_up": 30,
        "step_size_down": 17,
        "mode": "triangular2",
    },
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 300},
    "OneCycleLR-three": {"max_lr": 0.1, "total_steps": 300, "three_phase": True},
}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("kind", DRIVEN)
def test_rate_and_momentum_drive_one_optimizer(kind, driver):
    """Ours is a rule whose beta is a schedule; over 300 random steps."""
    make, options, tableau = DRIVEN[kind]
    name, words = driver.partition("-")[0], DRIVERS[driver]
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=5), rng.normal(size=(300, 5))

    weights = torch.tensor(start, requires_grad=True)
    opt = make([weights], lr=0.1, **options)
    scheduler, theirs = getattr(lrs, name)(opt, **words), [start]
    for g in grads:
        weights.grad = torch.tensor(g)
        opt.step()
        theirs.append(weights.detach().numpy().copy())
        if len(theirs) <= len(grads):  # what PyTorch's cannot do at the end
            scheduler.step()

    with jax.enable_x64(True):
        schedule = getattr(oxe.pytorch, name)(**words)
        rule = oxe.Rule(
            lambda: (), lambda t, carry: (tableau(schedule.momentum(t - 1), t), carry)
        )
        tx = optax.chain(oxe.scale_by_moments(rule), oxe.scale_by_rate(schedule))

        @jax.jit
        def walk(w, grads):
            def update(carry, g):
                w, state = carry
                updates, state = tx.update(g, state, w)
                w = optax.apply_updates(w, updates)
                return (w, state), w

            return jax.lax.scan(update, (w, tx.init(w)), grads)[1]

        ours = np.concatenate([[start], walk(jnp.asarray(start), jnp.asarray(grads))])
    theirs = np.array(theirs)
    travelled = abs(np.diff(theirs, axis=0)).sum(0)
    assert travelled.min() > 0.1
    assert (abs(ours - theirs).max(0) / travelled).max() <= 1e-10


# ---- Where we differ, apart from the fifteen facts -----------------------------------


def test_constant_of_factor_zero():
    """PyTorch divides by it; ours has the whole rate afterwards."""
    with pytest.raises(ZeroDivisionError):
        rates(0.1, lambda opt: lrs.ConstantLR(opt, 0.0, 3), 5)
    found = values(lambda: oxe.pytorch.ConstantLR(0.1, 0.0, 3), 5)
    assert_close(found, [0, 0, 0, 0.1, 0.1])


@pytest.mark.parametrize("three_phase", [False, True], ids=["two", "three"])
def test_one_cycle_without_a_rise(three_phase):
    """Where the first phase has no length PyTorch divides by it; ours is at its end."""
    words = {"total_steps": 10, "pct_start": 0.1, "three_phase": three_phase}
    with pytest.raises(ZeroDivisionError):
        lrs.OneCycleLR(optimizer(), 1.0, cycle_momentum=False, **words)
    assert values(lambda: oxe.pytorch.OneCycleLR(1.0, **words), 1)[0] == 1.0


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

    np.testing.assert_allclose(jax.vmap(at)(jnp.array([1.0, 4.0])), [0.25, 1.0])
    np.testing.assert_allclose(jax.jit(jax.grad(at))(1.0), 0.25)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("StepLR", {"step_size": 3.0}),
        ("MultiStepLR", {"milestones": [3.0, 5.0]}),
        ("ConstantLR", {"total_iters": 3.0}),
        ("LinearLR", {"total_iters": 3.0}),
        ("PolynomialLR", {"total_iters": 3.0}),
        ("CosineAnnealingLR", {"T_max": 3.0}),
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2000.0}),
    ],
)
def test_a_whole_float_is_a_number_of_steps(name, words):
    case = Scheduler(name, words)
    expected = rates(1.0, unmoved(case).theirs, 20)
    assert_close(values(case.ours, 20), expected)


def test_one_cycle_prefers_the_total():
    """As PyTorch does, which does not look at the other two then."""
    words = {"total_steps": 20, "epochs": 3, "steps_per_epoch": 2}
    expected = rates(
        1.0, lambda opt: lrs.OneCycleLR(opt, 1.0, cycle_momentum=False, **words), 20
    )
    assert_close(values(lambda: oxe.pytorch.OneCycleLR(1.0, **words), 20), expected)


def test_tolerance_is_that_of_the_promise():
    assert CLOSE == 1e-11
