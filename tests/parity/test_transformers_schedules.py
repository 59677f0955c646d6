"""Every schedule of `oxe.transformers` against the installed one, in float64."""

import functools
import inspect
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings, strategies as st

import optax_extras as oxe
from optax_extras.transformers._unsupported import NOT_HERE
from tests.parity.programs import examples, quick_jit
from tests.parity.walks import difference, gradients, our_walk, start, torch_walk

pytest.importorskip("torch", reason="PyTorch is not installed")
theirs = pytest.importorskip(
    "transformers.optimization", reason="transformers is not installed"
)
from tests.parity.pytorch_schedulers import (  # noqa: E402
    COUNTS,
    STEPS,
    all_values,
    assert_close,
    optimizer,
    rates,
    values,
)

ours = oxe.transformers
LAST = 2**31 - 1
METRIC = ("get_reduce_on_plateau_schedule", "get_greedy_schedule")
FUNCTIONS = [name for name in ours.__all__ if name != "get_scheduler"]
SCHEDULES = [name for name in FUNCTIONS if name not in METRIC]
RESTARTS = "get_cosine_with_hard_restarts_schedule_with_warmup"
COSINE = "get_cosine_schedule_with_warmup"
POLYNOMIAL = "get_polynomial_decay_schedule_with_warmup"

rate = st.floats(1e-4, 1.0)
fraction = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
waves = st.one_of(st.sampled_from([0.5, 1.0, 1.5, 0.1, 0.0]), st.floats(0, 5))
shape = st.sampled_from(["linear", "cosine", "1-sqrt"])


def some(**words):
    return st.fixed_dictionaries({"lr": rate, **words})


def run(**words):
    """A warm-up and a run that are now and then the same, or in the wrong order."""
    steps = {"num_warmup_steps": WARMUP, "num_training_steps": st.integers(1, 400)}
    return some(**steps, **words)


WARMUP = st.one_of(st.sampled_from([0, 1, 2]), st.integers(0, 120))


@st.composite
def with_lowest(draw, **more):
    words = draw(run(num_cycles=waves, **more))
    if draw(st.booleans()):
        return {**words, "min_lr_rate": draw(fraction)}
    return {**words, "min_lr": words["lr"] * draw(st.floats(0, 1.2))}


@st.composite
def polynomial(draw):
    words = draw(run(power=st.floats(0.3, 4)))
    if words["num_warmup_steps"] == words["num_training_steps"]:  # it divides by 0
        words["num_training_steps"] += 1
    if draw(st.booleans()):
        words["lr_end"] = words["lr"] * draw(st.floats(0, 0.99))
    return words


@st.composite
def wsd(draw):
    words = draw(
        some(
            num_warmup_steps=WARMUP,
            num_decay_steps=WARMUP,
            warmup_type=shape,
            decay_type=shape,
            min_lr_ratio=fraction,
            num_cycles=waves,
        )
    )
    stable = draw(st.integers(1, 150))
    if draw(st.booleans()):
        return {**words, "num_stable_steps": stable}
    total = words["num_warmup_steps"] + stable + words["num_decay_steps"]
    return {**words, "num_training_steps": total}


CASES = {
    "get_constant_schedule": some(),
    "get_constant_schedule_with_warmup": some(num_warmup_steps=WARMUP),
    "get_linear_schedule_with_warmup": run(),
    "get_cosine_schedule_with_warmup": run(num_cycles=waves),
    RESTARTS: run(num_cycles=st.integers(1, 30)),
    POLYNOMIAL: polynomial(),
    "get_inverse_sqrt_schedule": some(
        num_warmup_steps=WARMUP,
        timescale=st.one_of(st.none(), st.integers(1, 1000)),
    ),
    "get_cosine_with_min_lr_schedule_with_warmup": with_lowest(),
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": with_lowest(
        warmup_lr_rate=st.one_of(st.none(), fraction)
    ),
    "get_wsd_schedule": wsd(),
}


def call(name, *args, **words):
    return getattr(ours, name)(*args, **words)


def original(name, lr, *args, steps=STEPS, **words):
    """The learning rates of a run with transformers' scheduler."""
    make = getattr(theirs, name)
    return rates(lr, lambda opt: make(opt, *args, **words), steps)


def compare(name, count):
    for cases in examples(CASES[name], count):
        made = functools.partial(map, lambda words: call(name, **words), cases)
        for words, found in zip(cases, all_values(made), strict=True):
            expected = original(name, **words)
            if name == RESTARTS:
                expected = with_every_restart(expected, **words)
            assert_close(found, expected, words["lr"], words)


def restarts(num_warmup_steps, num_training_steps, num_cycles, **_):
    """Where a cycle begins, by integers."""
    steps = num_training_steps - num_warmup_steps
    after = COUNTS - num_warmup_steps
    return (after > 0) & (after < steps) & (num_cycles * after % max(steps, 1) == 0)


def with_every_restart(expected, lr, **words):
    begins = restarts(**words)
    assert np.isin(expected[begins].round(9), [0, round(lr, 9)]).all()
    return np.where(begins, lr, expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step(name):
    compare(name, 7)


@pytest.mark.full
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_of_many_examples(name):
    compare(name, 200)


# ---- What is covered -----------------------------------------------------------------


def test_every_function_is_here_or_says_what_to_write():
    """Of all that the module defines or imports, but for Python's own names."""
    public = {
        name
        for name, x in vars(theirs).items()
        if not name.startswith("_") and not isinstance(x, types.ModuleType)
    }
    public -= {"annotations", "partial", "Any", "logger", "Optimizer"}
    assert public == set(ours.__all__) | set(NOT_HERE)
    assert not set(ours.__all__) & set(NOT_HERE)
    assert set(CASES) == set(SCHEDULES)
    for name, hint in NOT_HERE.items():
        with pytest.raises(AttributeError) as caught:
            getattr(ours, name)
        assert str(caught.value) == f"oxe.transformers has no `{name}`. {hint}"
    with pytest.raises(AttributeError, match=r"^oxe.transformers has no `get_loss`\.$"):
        _ = ours.get_loss


@pytest.mark.parametrize("name", [*SCHEDULES, "get_scheduler"])
def test_arguments_are_theirs(name):
    """Their names, order and defaults, with `lr` in the place of `optimizer`."""
    given = inspect.signature(getattr(theirs, name)).parameters
    kept = [x for x in given if x != "last_epoch"]
    found = inspect.signature(getattr(ours, name)).parameters
    assert list(found) == ["lr" if x == "optimizer" else x for x in kept]
    for x in set(kept) - {"optimizer"}:
        assert found[x].default == given[x].default, x


@pytest.mark.parametrize("name", FUNCTIONS)
def test_their_options_are_refused(name):
    make = getattr(ours, name)
    for option in ("optimizer", "last_epoch", "verbose"):
        with pytest.raises(TypeError, match=f"^{name}: `{option}` must not be given"):
            make(0.1, **{option: 3})
    with pytest.raises(TypeError, match=f"^{name}: `optimizer` must not be given"):
        make(optimizer(), lr=0.1)


# ---- Metric schedules ----------------------------------------------------------------

# Multiples of an eighth, so that no sum is rounded.
METRICS = st.lists(st.integers(0, 24).map(lambda n: n / 8), min_size=80, max_size=80)
COMMON = {
    "mode": st.sampled_from(["min", "max"]),
    "factor": st.sampled_from([0.3, 0.5, 0.9]),
    "patience": st.integers(0, 3),
    "threshold": st.sampled_from([1e-4, 0.05, 0.3]),
    "threshold_mode": st.sampled_from(["rel", "abs"]),
    "cooldown": st.integers(0, 4),
    "eps": st.sampled_from([1e-8, 0.03]),
}
WORDS = {
    "get_reduce_on_plateau_schedule": st.fixed_dictionaries(
        {**COMMON, "min_lr": st.sampled_from([0.0, 0.01, 0.3])}
    ),
    "get_greedy_schedule": st.fixed_dictionaries(
        {
            **COMMON,
            "warmup": st.integers(0, 4),
            "min_lr": st.sampled_from([0.0, 1e-3, 0.4]),
            "max_lr": st.sampled_from([0.6, 1.0]),
            "smooth": st.booleans(),
            "window_size": st.sampled_from([4, 8]),
            "reset_start": st.integers(1, 4),
        }
    ),
}
modest = settings(deadline=None, derandomize=True, max_examples=8, database=None)
thorough = settings(deadline=None, derandomize=True, max_examples=300, database=None)


def original_metric(name, metrics, lr=0.5, **words):
    opt, found = optimizer(lr), []
    scheduler = getattr(theirs, name)(opt, **words)
    for metric in metrics:
        opt.step()
        scheduler.step(metric)
        found.append(opt.param_groups[0]["lr"])
    return found


def our_metric(name, metrics, lr=0.5, **words):
    """What `learning_rate` reads in an optimizer after each `observe`."""
    with jax.enable_x64(True):
        state = oxe.pytorch.SGD(lr=call(name, lr, **words)).init(jnp.ones(1))
        return np.asarray(observed(state, np.asarray(metrics)))


@quick_jit
def observed(state, metrics):
    """One program for all numbers of a kind: they are in the state."""

    def step(state, metric):
        state = oxe.observe(state, metric)
        return state, oxe.learning_rate(state)

    return jax.lax.scan(step, state, metrics)[1]


def compare_metric(name, words, metrics):
    found = our_metric(name, metrics, **words)
    expected = original_metric(name, metrics, **words)
    np.testing.assert_array_equal(found, expected, str(words))


@pytest.mark.parametrize("name", METRIC)
def test_metric_schedules(name):
    @modest
    @given(WORDS[name], METRICS)
    def check(words, metrics):
        compare_metric(name, words, metrics)

    check()


@pytest.mark.full
@pytest.mark.parametrize("name", METRIC)
def test_metric_schedules_thoroughly(name):
    @thorough
    @given(WORDS[name], METRICS)
    def check(words, metrics):
        compare_metric(name, words, metrics)

    check()


@pytest.mark.parametrize("name", METRIC)
def test_defaults_of_metric_schedules(name):
    metrics = np.array([*np.linspace(3, 1, 40), *[1.5] * 60]).round(3)
    expected = original_metric(name, metrics)
    np.testing.assert_array_equal(our_metric(name, metrics), expected)
    assert len(set(expected)) > 3
    given = inspect.signature(getattr(ours, name)).parameters
    made = theirs.GreedyLR if "greedy" in name else theirs.ReduceLROnPlateau
    defaults = inspect.signature(made).parameters
    assert [*given][1:] == [x for x in defaults if x not in ("optimizer", "verbose")]
    assert all(given[x].default == defaults[x].default for x in [*given][1:])


WRONG = {
    "lr": (-0.1, "0.1"),
    "mode": ("best", None),
    "factor": (0.0, 1.0, None),
    "patience": (-1, 2.0),
    "threshold": (-1.0, "1"),
    "threshold_mode": ("relative",),
    "cooldown": (-1, 2.0),
    "warmup": (-1, 2.0),
    "min_lr": (-0.1, 0.6, [0.1, 0.2]),
    "max_lr": (-0.1, [0.1, 0.2]),
    "eps": (-1.0, "1"),
    "smooth": (1, None),
    "window_size": (0, 2.0),
    "reset_start": (0, 2.0),
}


@pytest.mark.parametrize("name", METRIC)
def test_arguments_of_metric_schedules(name):
    """Each wrong one by its name; and numbers of steps may be traced."""
    make = getattr(ours, name)
    for argument in inspect.signature(make).parameters:
        for x in WRONG[argument]:
            match = rf"^{name}: `{argument}` must .* got {re.escape(repr(x))}"
            with pytest.raises((TypeError, ValueError), match=match):
                make(**{"lr": 0.5, argument: x})
    traced = {"lr": 0.5, "patience": 1, "cooldown": 2, "factor": 0.5}

    def program(words):
        state = oxe.pytorch.SGD(lr=make(**words)).init(jnp.ones(1))
        return observed.__wrapped__(state, np.ones(12))

    found = quick_jit(program)(traced)
    assert_close(found, original_metric(name, [1.0] * 12, **traced))


# ---- Differences from the originals --------------------------------------------------


def test_a_restart_that_is_missed():
    """Theirs is (22 * (1500 / 2200)) % 1 = 1 - 2e-15 there; it should be 0."""
    words = {"num_warmup_steps": 0, "num_training_steps": 2200, "num_cycles": 22}
    make = getattr(theirs, RESTARTS)(optimizer(0.5), **words)
    schedule = call(RESTARTS, 0.5, **words)
    assert make.lr_lambdas[0](1500) < 1e-9
    assert make.lr_lambdas[0](1600) == 1
    counts = np.array([1499, 1500, 1501, 1600])
    found = quick_jit(lambda t: (schedule(t), schedule.restarts(t)))(counts)
    assert found[0].tolist()[1::2] == [0.5, 0.5]
    assert found[1].tolist() == [False, True, False, True]


def test_restarts_and_a_number_of_cycles_that_is_traced():
    """The steps by integers of any size, also where n t does not fit into 32 bits."""
    pairs = [(1, 7), (3, 10), (7, 30), (22, 44), (30, 100), (1000, 2**30), (5, LAST)]
    counts = np.array([*range(30), *(LAST // 5 * np.arange(1, 5)), 2**30 - 1, LAST - 1])

    def program(cycles, steps):
        made = call(RESTARTS, 1.0, 0, steps, num_cycles=cycles)
        return made(counts), made.restarts(counts)

    fixed = quick_jit(lambda: [program(*pair) for pair in pairs])()
    traced = quick_jit(jax.vmap(program))(*np.array(pairs, np.int32).T)
    for i, (cycles, steps) in enumerate(pairs):
        phases = [cycles * int(t) % steps for t in counts]
        inside = counts < steps
        expected = 0.5 + 0.5 * np.cos(np.pi * np.array(phases) / steps)
        begins = (np.array(phases) < cycles) & (counts > 0) & inside
        for rate_, starts in (fixed[i], [x[i] for x in traced]):
            np.testing.assert_allclose(rate_, np.where(inside, expected, 0), atol=3e-7)
            assert starts.tolist() == begins.tolist()


def test_a_warmup_of_the_whole_run():
    """Transformers' polynomial decay divides by 0; ours is at its end."""
    words = {"num_warmup_steps": 4, "num_training_steps": 4, "lr_end": 0.01}
    with pytest.raises(ZeroDivisionError):
        original(POLYNOMIAL, 0.1, steps=6, **words)
    found = values(lambda: call(POLYNOMIAL, 0.1, **words), 6)
    assert_close(found, [0, 0.025, 0.05, 0.075, 0.01, 0.01])


def test_wsd_that_does_not_fit():
    """Transformers starts in the middle of the decay."""
    words = {"num_warmup_steps": 4, "num_decay_steps": 6, "num_training_steps": 7}
    found = original("get_wsd_schedule", 1.0, steps=5, decay_type="linear", **words)
    assert_close(found, [0, 0.25, 0.5, 0.75, 0.5])
    with pytest.raises(ValueError, match="`num_training_steps` must be at least the 4"):
        call("get_wsd_schedule", 1.0, **words)


def test_both_lengths_of_wsd():
    """The stable steps win; transformers also warns."""
    words = {"num_warmup_steps": 2, "num_decay_steps": 4, "num_stable_steps": 3}
    both = {**words, "num_training_steps": 50}
    with pytest.warns(UserWarning, match="num_stable_steps will be used"):
        expected = original("get_wsd_schedule", 0.1, steps=20, **both)
    assert_close(values(lambda: call("get_wsd_schedule", 0.1, **both), 20), expected)


def test_metrics_that_the_originals_misjudge():
    """With a relative threshold, a metric below 0 that is a bit worse is better there;
    and after one NaN the running mean stays NaN."""
    falling = {"patience": 0, "factor": 0.5, "threshold_mode": "rel", "threshold": 0.1}
    worse = [-1.0, -0.95, -0.92]
    for name, last in zip(METRIC, (0.5, 1.0), strict=True):
        assert original_metric(name, worse, **falling)[-1] == last
        assert our_metric(name, worse, **falling)[-1] < last
    words = {"patience": 0, "factor": 0.5, "smooth": True, "window_size": 2}
    metrics = [2.0, float("nan"), 1.0, 0.5, 0.25, 0.125]
    theirs_, found = (
        run("get_greedy_schedule", metrics, **words)
        for run in (original_metric, our_metric)
    )
    assert np.argmin(theirs_) == len(metrics) - 1
    assert found[2] < found[-1]


def test_a_lowest_learning_rate_above_the_first():
    """The Trainer's 5e-5 is below the default of `min_lr`: nothing can lower it."""
    falling = original_metric("get_greedy_schedule", [1.0] * 60, lr=5e-5)
    assert set(falling) == {5e-5}
    for words, argument in (({"lr": 5e-5}, "min_lr"), ({"lr": 2.0}, "lr")):
        with pytest.raises(ValueError, match=f"^get_greedy_sc.*: `{argument}` must be"):
            ours.get_greedy_schedule(**words)
    with pytest.raises(ValueError, match=r"^get_reduce_on_.*: `min_lr` must be at mos"):
        ours.get_reduce_on_plateau_schedule(0.1, min_lr=0.2)


# ---- get_scheduler -------------------------------------------------------------------

MORE = {
    "cosine": {"num_cycles": 1.5},
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"power": 2.0, "lr_end": 1e-3},
    "inverse_sqrt": {"timescale": 50},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr": 0.01, "warmup_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 30, "decay_type": "1-sqrt"},
    "reduce_lr_on_plateau": {"patience": 1, "min_lr": 0.01},
    "greedy": {"patience": 1, "min_lr": 0.01},
}


def test_every_name():
    """As the Trainer calls it: with both numbers of steps, whatever the name."""
    made = []
    for kind in theirs.SchedulerType:
        words = {"num_warmup_steps": 20, "num_training_steps": 200}
        words["scheduler_specific_kwargs"] = MORE.get(kind.value)
        schedule = ours.get_scheduler(kind, 0.5, **words)
        scheduler = functools.partial(theirs.get_scheduler, kind, **words)
        if isinstance(schedule, oxe.MetricSchedule):
            name = theirs.TYPE_TO_SCHEDULER_FUNCTION[kind].__name__
            more = MORE[kind.value]
            assert schedule.renamed(name) == call(name, 0.5, **more)
            assert type(scheduler(optimizer())) is type(
                getattr(theirs, name)(optimizer())
            )
        else:
            expected = rates(0.5, scheduler, 250)
            made.append((kind.value, words, expected))
    found = all_values(
        lambda: [ours.get_scheduler(name, 0.5, **words) for name, words, _ in made]
    )
    assert len(made) == 10
    for (name, _, expected), x in zip(made, found, strict=True):
        assert_close(x[:250], expected, 0.5, name)


def test_scheduler_without_its_arguments():
    """The original's errors, by the same argument."""
    for name in theirs.SchedulerType:
        more = {"scheduler_specific_kwargs": MORE.get(name.value)}
        for steps in ({}, {"num_warmup_steps": 3}):
            try:
                theirs.get_scheduler(name, optimizer(), **steps, **more)
            except ValueError as error:
                argument = re.search(r"num_\w+_steps", str(error))[0]
                match = f"^get_scheduler: `{argument}` must be given"
                with pytest.raises(ValueError, match=match):
                    ours.get_scheduler(name, 0.1, **steps, **more)
            else:
                ours.get_scheduler(name, 0.1, **steps, **more)


def test_scheduler_of_other_arguments():
    for name in ("linnear", "LINEAR", None, 3):
        with pytest.raises(ValueError, match=r"^get_scheduler: `name` must be one of"):
            ours.get_scheduler(name, 0.1)
    steps = {"num_warmup_steps": 3, "num_training_steps": 9}
    for name, more, text in (
        ("linear", {"power": 2.0}, "'power'"),
        ("warmup_stable_decay", {}, "'num_decay_steps'"),
        # Transformers ignores these two.
        ("constant", {"num_cycles": 2}, "'num_cycles'"),
        ("constant_with_warmup", {"num_cycles": 2}, "'num_cycles'"),
    ):
        with pytest.raises(TypeError, match=text) as caught:
            ours.get_scheduler(name, 0.1, **steps, scheduler_specific_kwargs=more)
        start = "get_scheduler: `scheduler_specific_kwargs` must be arguments of `get_"
        assert str(caught.value).startswith(start)
    for argument, hint in (
        ("last_epoch", "To resume a run, restore"),
        ("verbose", "Print"),
        ("optimizer", "Give the base learning rate `lr`"),
        ("lr", "Give `lr` to `get_scheduler`"),
        ("num_warmup_steps", "Give `num_warmup_steps` to `get_scheduler`"),
    ):
        start = "get_scheduler: `scheduler_specific_kwargs` must not have"
        match = f"^{start} '{argument}', got {{'{argument}': 5}}. {hint}"
        with pytest.raises(TypeError, match=match):
            ours.get_scheduler("linear", 0.1, 3, 9, {argument: 5})
    with pytest.raises(TypeError, match="`scheduler_specific_kwargs` must be a dict"):
        ours.get_scheduler("cosine", 0.1, 3, 9, [1])
    with pytest.raises(ValueError, match=r"^get_scheduler: `num_cycles` must be in"):
        ours.get_scheduler("cosine", 0.1, 3, 9, {"num_cycles": -1.0})
    with pytest.raises(ValueError, match=r"^get_scheduler: `lr` must be in"):
        ours.get_scheduler("constant", -0.1)


def test_an_optimizer_in_place_of_the_learning_rate():
    """The same message from each function, on one line."""
    get = ours.get_scheduler
    message = (
        "`optimizer` must not be given, got an object of type SGD. Give the base "
        "learning rate `lr` in its place, and pass the schedule to the optimizer as "
        "its learning rate."
    )
    for name, make in (
        ("get_scheduler", lambda x: get("linear", x, 10, 100)),
        ("get_scheduler", lambda x: get("linear", optimizer=x)),
        ("get_scheduler", lambda x: get("linear", x, lr=0.1)),
        ("get_scheduler", lambda x: get(x, name="linear")),
        (COSINE, lambda x: getattr(ours, COSINE)(x, 10, 100)),
    ):
        with pytest.raises(TypeError) as caught:
            make(optimizer())
        assert str(caught.value) == f"{name}: {message}"


def test_pairs_of_arguments():
    for name in SCHEDULES:
        if "min_lr" not in name:
            continue
        for words in ({}, {"min_lr": 0.01, "min_lr_rate": 0.1}):
            for module, first in ((theirs, optimizer()), (ours, 0.1)):
                with pytest.raises(ValueError, match="min_lr"):
                    getattr(module, name)(first, 3, 9, **words)
    for module, first in ((theirs, optimizer(0.1)), (ours, 0.1)):
        with pytest.raises(ValueError, match="lr_end"):
            getattr(module, POLYNOMIAL)(first, 3, 9, lr_end=0.1)
        with pytest.raises(ValueError, match="num_training_steps"):
            module.get_wsd_schedule(first, 3, 9)


# ---- Adafactor -----------------------------------------------------------------------


def test_what_to_write_for_adafactor():
    """Its own learning rate; that with `warmup_init`; and as the Trainer makes it."""
    shapes = {"matrix": (3, 4), "vector": (5,)}
    grads, first = gradients(shapes, decades=(-3, 1)), start(shapes)
    fixed = {"scale_parameter": False, "relative_step": False}
    for words, make, bound in (
        ({}, lambda: oxe.adafactor(1e-2), 1e-12),
        (
            {"warmup_init": True},
            lambda: oxe.adafactor(lambda t: 1e-6 * (t + 1), eps=1e-15),
            1e-12,
        ),
        (
            {"lr": 1e-3, **fixed},
            lambda: optax.adafactor(
                1e-3, min_dim_size_to_factor=1, multiply_by_parameter_scale=False
            ),
            1e-7,  # Optax computes the decay in float32
        ),
    ):
        original_ = functools.partial(theirs.Adafactor, **words)
        reference = torch_walk(original_, grads, first, shapes)
        with jax.enable_x64(True):
            tx = make()
        assert difference(our_walk(tx, grads, first, shapes), reference) < bound, words


# ---- Traced numbers, late counts -----------------------------------------------------


def test_every_number_may_be_traced():
    """Against the original, in one program with all numbers as its arguments."""
    cases = [
        (name, words)
        for name in SCHEDULES
        for words in examples(CASES[name], 9)[0][-1:]
    ]
    numbers = [
        {k: x for k, x in words.items() if isinstance(x, int | float)}
        for _, words in cases
    ]

    def program(arguments):
        return [
            call(name, **{**words, **traced})(COUNTS)
            for (name, words), traced in zip(cases, arguments, strict=True)
        ]

    with jax.enable_x64(True):
        found = quick_jit(program)(numbers)
    for (name, words), x in zip(cases, found, strict=True):
        expected = original(name, **words)
        if name == RESTARTS:
            expected = with_every_restart(expected, **words)
        assert_close(x, expected, words["lr"], (name, words))


def test_waves_long_after_the_run():
    """Float32 at late counts, against exact fractions of a wave."""
    waves_ = {0.5: (1, 2), 1.5: (3, 2), 0.1: (1, 10), 2: (2, 1), 0.25: (1, 4)}
    counts = np.array([0, 49, 99, 100, 101, 2**24 + 1, 10**9 + 7, LAST - 1, LAST])

    def program(steps):
        make = ours.get_cosine_schedule_with_warmup
        return [make(1.0, 0, n, m)(counts) for n in (steps, 100) for m in waves_]

    both = [*waves_.values()] * 2  # with a traced length, too
    for found, (a, b) in zip(quick_jit(program)(100), both, strict=True):
        part = np.array([a * int(t) % (b * 100) for t in counts]) / (b * 100)
        expected = 0.5 + 0.5 * np.cos(2 * np.pi * part)
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-7)


def test_runs_longer_than_any_count():
    """At the last counts in float32, against the original's formulas."""
    counts = np.array([0, 5, 2**20, 2**30, LAST])
    cases = [
        (name, {"num_warmup_steps": 5, "num_training_steps": steps, **more})
        for steps in (LAST, 2**31, 2**31 + 5, 10**40)
        for name, more in (
            ("get_linear_schedule_with_warmup", {}),
            (RESTARTS, {"num_cycles": 3}),
            (COSINE, {"num_cycles": 3}),
        )
    ]
    found = quick_jit(lambda t: [call(x, 1.0, **words)(t) for x, words in cases])(
        counts
    )
    for (name, words), x in zip(cases, found, strict=True):
        (factor,) = getattr(theirs, name)(optimizer(), **words).lr_lambdas
        expected = [factor(t) for t in counts.tolist()]
        np.testing.assert_allclose(x, expected, rtol=0, atol=2e-6)


def test_slopes_are_finite():
    """Of all real numbers, at every kind of step."""
    counts = np.array([*range(60), 99, 100, 2**24 + 1, LAST])
    cases = {
        "get_wsd_schedule": {"min_lr_ratio": 0.1, "num_cycles": 0.5},
        COSINE: {"num_cycles": 1.5},
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": {
            "num_cycles": 0.5,
            "min_lr": 0.01,
            "warmup_lr_rate": 0.2,
        },
        POLYNOMIAL: {"lr_end": 0.01, "power": 2.0},
    }

    def program(numbers):
        wsd = "get_wsd_schedule"
        for rise, fall in (("1-sqrt", "cosine"), ("cosine", "1-sqrt")):
            words = {"warmup_type": rise, "decay_type": fall, **numbers[wsd]}
            yield call(wsd, 0.3, 9, 20, 50, **words)(counts)
        for name in {*numbers} - {wsd}:
            yield call(name, 0.3, 9, 50, **numbers[name])(counts)

    slopes = quick_jit(jax.jacfwd(lambda x: [*program(x)]))(cases)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))
