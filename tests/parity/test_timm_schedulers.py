"""Every scheduler of `oxe.timm` against the installed timm's, in float64.

timm's run as its training script calls them: `step_update` after each update, `step`
after each epoch.
"""

import inspect
import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import optax_extras as oxe
from optax_extras.timm import _steps
from tests.parity import timm_stub
from tests.parity.programs import examples, quick_jit
from tests.parity.test_plateaus import METRICS, modest, thorough

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
timm = timm_stub.load("scheduler")

CLOSE = 1e-11  # times the base learning rate
STEPS = 300
COUNTS = np.arange(STEPS)
SCHEDULERS = [name for name in oxe.timm.__all__ if name != "PlateauLRScheduler"]
# What `timm.scheduler` has besides, and why it is not here.
ELSEWHERE = {
    "create_scheduler": "reads the options of a script; docs/timm.md has what to write",
    "create_scheduler_v2": "likewise, from arguments",
    "scheduler_kwargs": "likewise, makes arguments of options",
}


def test_everything_of_timm_is_here_or_named():
    found = {n for n in vars(timm) if not n.startswith("_")}
    found = {n for n in found if not inspect.ismodule(getattr(timm, n))}
    assert found == set(oxe.timm.__all__) | set(ELSEWHERE)
    assert set(CASES) == set(SCHEDULERS)


@dataclass(frozen=True)
class Case:
    """A scheduler; without `updates_per_epoch` it counts updates."""

    name: str
    lr: float
    words: dict[str, Any]
    updates_per_epoch: int | None

    def ours(self):
        counts = {"t_in_epochs": self.in_epochs}
        if self.in_epochs:
            counts["updates_per_epoch"] = self.updates_per_epoch
        return getattr(oxe.timm, self.name)(self.lr, **self.words, **counts)

    @property
    def in_epochs(self):
        return self.updates_per_epoch is not None

    def theirs(self, steps=STEPS):
        """The learning rate of each update."""
        opt = torch.optim.SGD([torch.zeros(1)], lr=self.lr)
        make = getattr(timm, self.name)
        scheduler = make(opt, **self.words, t_in_epochs=self.in_epochs)
        found, length = [], self.updates_per_epoch or 7
        for epoch in itertools.count():
            for update in range(epoch * length, (epoch + 1) * length):
                found.append(opt.param_groups[0]["lr"])
                if len(found) == steps:
                    return np.array(found)
                scheduler.step_update(update + 1)
            scheduler.step(epoch + 1)

    def expected(self):
        """Theirs, with the meant value where a float puts timm beside a boundary."""
        found, length = self.theirs(), self.updates_per_epoch or 1
        warm = self.words["warmup_t"]
        shift = warm if self.words.get("warmup_prefix") else 0
        for t, rate in BOUNDARIES.get(self.name, lambda case: [])(self):
            if t + shift >= max(warm, 1):
                found[(t + shift) * length : (t + shift + 1) * length] = rate
        return found


def starts_of_cycles(case):
    """The first t and the learning rate of each cycle that begins at an integer."""
    words = case.words
    lr_min, limit = words["lr_min"], words["cycle_limit"]
    first = (1 - math.tanh(words["lb"])) / 2 if "lb" in words else 1
    if words["cycle_mul"] == 1:  # of which timm's integers are right
        return
    t, length = 0, Fraction(words["t_initial"])
    for i in range(1, STEPS):
        t, length = t + length, length * Fraction(words["cycle_mul"])
        if t > STEPS:
            return
        peak = case.lr * words["cycle_decay"] ** i
        if t.denominator == 1:
            yield int(t), lr_min + (peak - lr_min) * first if i < limit else lr_min


def multiples(case):
    """The t at which a number of `decay_t` is over, and the learning rate there."""
    size = Fraction(str(case.words["decay_t"]))
    for i in range(1, STEPS):
        if (i * size).denominator == 1 and i * size <= STEPS:
            yield int(i * size), case.lr * case.words["decay_rate"] ** i


BOUNDARIES = {
    "CosineLRScheduler": starts_of_cycles,
    "TanhLRScheduler": starts_of_cycles,
    "PolyLRScheduler": starts_of_cycles,
    "StepLRScheduler": multiples,
}

rate = st.floats(1e-4, 1.0)
fraction = st.one_of(st.just(0.0), st.floats(0, 1))
exponent = st.one_of(st.just(1.0), st.floats(0.3, 3))


def case(name, prefix=True, **words):
    """A strategy; the words that are learning rates are drawn as fractions of `lr`."""
    words |= {"warmup_t": st.integers(0, 40), "warmup_lr_init": fraction}
    words |= {"warmup_prefix": st.booleans()} if prefix else {}

    def made(lr, drawn, updates_per_epoch):
        rates = {x: lr * drawn[x] for x in ("lr_min", "warmup_lr_init") if x in drawn}
        return Case(name, lr, drawn | rates, updates_per_epoch)

    updates = st.one_of(st.none(), st.integers(1, 5))
    return st.builds(made, rate, st.fixed_dictionaries(words), updates)


CYCLES = {
    "t_initial": st.integers(1, 120),
    "lr_min": fraction,
    "cycle_mul": st.sampled_from([1.0, 1.0, 1.25, 1.5, 2, 3]),
    "cycle_decay": st.floats(0.1, 1.1),
    "cycle_limit": st.integers(1, 5),
}
STEP = {"decay_rate": st.floats(0.1, 1.02)}
SIZES = st.one_of(
    st.integers(1, 60),
    st.integers(10, 300).map(lambda n: n / 10),
    st.integers(8, 99).map(lambda n: n / 8),
)
MILESTONES = st.lists(st.integers(0, 290), max_size=6).map(sorted)


@st.composite
def wsd(draw):
    found = draw(
        case(
            "WSDLRScheduler",
            prefix=False,
            t_initial=st.integers(1, 200),
            decay_t=st.floats(0, 1),
            lr_min=fraction,
            stable_fn=st.sampled_from(["constant", "rsqrt", "power"]),
            stable_timescale=st.one_of(st.none(), st.floats(0.5, 300)),
            stable_power=st.floats(0.1, 2),
            decay_fn=st.sampled_from(
                ["linear", "1-sqrt", "cosine", "power", "exp", lambda x: (1 - x) ** 2]
            ),
            decay_power=st.floats(0.2, 3),
            decay_ratio=st.floats(0.01, 0.99),
        )
    )
    words = found.words
    words["decay_t"] = max(1, round(words["decay_t"] * words["t_initial"]))
    if not words["warmup_t"] and words["stable_timescale"] is None:
        words["stable_fn"] = "constant"
    return found


CASES = {
    "CosineLRScheduler": case("CosineLRScheduler", k_decay=exponent, **CYCLES),
    "TanhLRScheduler": case(
        "TanhLRScheduler", lb=st.floats(-8, -0.5), ub=st.floats(-0.4, 4), **CYCLES
    ),
    "PolyLRScheduler": case(
        "PolyLRScheduler", power=st.floats(0.2, 3), k_decay=exponent, **CYCLES
    ),
    "StepLRScheduler": case("StepLRScheduler", decay_t=SIZES, **STEP),
    "MultiStepLRScheduler": case("MultiStepLRScheduler", decay_t=MILESTONES, **STEP),
    "WSDLRScheduler": wsd(),
}


def values(cases):
    with jax.enable_x64(True):
        found = quick_jit(lambda t: [x.ours()(t) for x in cases])(COUNTS)
    assert all(x.dtype == np.float64 for x in found)
    return map(np.asarray, found)


def compare(name, count):
    for cases in examples(CASES[name], count):
        for each, found in zip(cases, values(cases), strict=True):
            error = abs(found - each.expected()).max()
            assert error <= CLOSE * each.lr, each


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_update(name):
    compare(name, 7)


@pytest.mark.full
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_update_of_many_examples(name):
    compare(name, 100)


# ---- Where timm's floats or its checks lead to something else ------------------------


def both(name, lr, steps, **words):
    """timm's learning rates and ours, of counts of updates."""
    words = {"warmup_t": 0, "warmup_lr_init": 0.0, **words}
    case = Case(name, lr, words, None)
    (ours,) = values([case])
    return case.theirs(steps), ours[:steps]


def test_a_restart_that_timm_misses():
    """The sixth cycle of 3, 9, 27, ... begins at 363; timm's logarithm says later."""
    words = {"t_initial": 3, "cycle_mul": 3, "cycle_limit": 9}
    opt = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = timm.CosineLRScheduler(opt, t_in_epochs=False, **words)
    found = []
    for t in (362, 363, 364):
        scheduler.step_update(t)
        found.append(opt.param_groups[0]["lr"])
    schedule = oxe.timm.CosineLRScheduler(1.0, t_in_epochs=False, **words)
    both = quick_jit(lambda t: (schedule(t), schedule.restarts(t)))
    ours, restarts = both(np.array([362, 363, 364]))
    np.testing.assert_allclose(ours, [found[0], 1, found[2]], rtol=1e-3)
    assert found[1] == 0
    assert restarts.tolist() == [False, True, False]


def test_a_fraction_that_is_no_float():
    """11 // 1.1 is 9: timm multiplies by the tenth factor at 12."""
    theirs, ours = both("StepLRScheduler", 1.0, 14, decay_t=1.1, decay_rate=0.5)
    assert [*np.flatnonzero(abs(theirs - ours) > CLOSE)] == [11]
    np.testing.assert_allclose([theirs[11], ours[11]], [0.5**9, 0.5**10])


def test_cycles_that_get_shorter():
    """timm's run ends in an error once the cycles are over; we refuse them."""
    words = {"t_initial": 10, "cycle_mul": 0.5}
    case = Case("CosineLRScheduler", 1.0, {**words, "cycle_limit": 2}, None)
    assert case.theirs(20)[-1] == 0
    with pytest.raises(ValueError, match="math domain error"):
        case.theirs(22)
    with pytest.raises(ValueError, match=r"`cycle_mul` must be in \[1, inf\), got 0.5"):
        oxe.timm.CosineLRScheduler(1.0, **words, t_in_epochs=False)


def test_unsorted_milestones():
    """timm searches as if they were sorted, and misses some; we refuse them."""
    words = {"decay_t": [9, 3, 5], "decay_rate": 0.5, "t_in_epochs": False}
    opt = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = timm.MultiStepLRScheduler(opt, **words)
    scheduler.step_update(6)
    assert opt.param_groups[0]["lr"] != 0.5**2
    with pytest.raises(ValueError, match="`decay_t` must be sorted"):
        oxe.timm.MultiStepLRScheduler(1.0, **words)


def test_the_first_value():
    """Without a warm-up it is `lr`: timm asks its formula for t = 1 first."""
    for name, words, formula in (
        ("TanhLRScheduler", {"t_initial": 9, "lb": -1.0}, (1 + math.tanh(1)) / 2),
        ("MultiStepLRScheduler", {"decay_t": [1], "decay_rate": 0.5}, 0.5),
        ("WSDLRScheduler", {"t_initial": 9, "decay_t": 2, "lr_min": 2.0}, 2.0),
    ):
        opt = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        asked = getattr(timm, name)(opt, **words)._get_lr(0)
        assert asked == pytest.approx([formula])
        theirs, ours = both(name, 1.0, 3, **words)
        assert (theirs[0], ours[0]) == (1, 1)


# ---- Counts of epochs and of updates -------------------------------------------------

SOME = {
    "CosineLRScheduler": {"t_initial": 10},
    "TanhLRScheduler": {"t_initial": 10},
    "PolyLRScheduler": {"t_initial": 10},
    "StepLRScheduler": {"decay_t": 3, "decay_rate": 0.5},
    "MultiStepLRScheduler": {"decay_t": [3, 5], "decay_rate": 0.5},
    "WSDLRScheduler": {"t_initial": 10, "decay_t": 4},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_t_counts(name):
    """Updates, epochs of so many updates, or what the schedule is called with."""
    make = partial(getattr(oxe.timm, name), 0.1, **SOME[name])
    schedules = make(), make(t_in_epochs=False), make(updates_per_epoch=7)
    found = quick_jit(lambda t: [schedule(t) for schedule in schedules])(np.arange(40))
    of_t, of_counts, of_updates = map(np.asarray, found)
    np.testing.assert_array_equal(of_t, of_counts)
    np.testing.assert_array_equal(of_updates, of_t[np.arange(40) // 7])
    with pytest.raises(
        ValueError, match=f"^{name}: `updates_per_epoch` must not be given if t counts"
    ):
        make(t_in_epochs=False, updates_per_epoch=5)


def test_updates_per_epoch_may_be_traced():
    def at(n):
        words = {"t_initial": 10, "cycle_limit": 2, "updates_per_epoch": n}
        schedule = oxe.timm.CosineLRScheduler(1.0, **words)
        return schedule(COUNTS), schedule.restarts(COUNTS)

    found, restarts = quick_jit(jax.vmap(at))(np.array([1, 7]))
    np.testing.assert_array_equal(found[1], np.repeat(found[0], 7)[:STEPS])
    assert [np.flatnonzero(x).tolist() for x in restarts] == [[10], [70]]


def test_restarts_count_after_the_warm_up():
    def at(prefix):
        words = {"t_initial": 10, "cycle_limit": 4, "warmup_t": 15}
        words |= {"warmup_prefix": prefix, "t_in_epochs": False}
        return oxe.timm.PolyLRScheduler(1.0, **words).restarts(COUNTS)

    starts = quick_jit(lambda: [at(False), at(True)])()
    found = [np.flatnonzero(x).tolist() for x in starts]
    assert found == [[20, 30], [25, 35, 45]]


def test_fractions_of_large_counts():
    """Whole parts of t / decay_t are exact integers up to the last count."""
    last = 2**31 - 1
    t = np.array([0, 1, 7, 10**6, 10**9 + 1, last - 3, last], np.int32)
    sizes = (2.4, 1.001, 3002.4, 12345.678, 2.4 * 1251, 1, 7, 2**40)
    found = quick_jit(lambda t: [_steps._whole_parts(size)(t) for size in sizes])(t)
    for size, parts in zip(sizes, found, strict=True):
        exact = Fraction(size).limit_denominator(1000)
        assert parts.tolist() == [int(x) // exact for x in t], size


def test_digits_near_the_end_of_a_cycle():
    """In float32 the remaining fraction keeps them: relative errors are of 1e-6."""
    total = 10**7
    t = np.array([total - 1, total - 3, total - 1000])
    for mul, start in ((1.0, 0), (1.5, 0), (2, 2**24)):
        length = 2**24 * 2 if start else total
        words = {"cycle_mul": mul, "cycle_limit": 9, "t_in_epochs": False}
        first = 2**24 if start else total
        schedule = oxe.timm.PolyLRScheduler(1.0, first, k_decay=2.0, **words)
        ends = t - total + start + length
        x = (ends - start) / length
        found = np.asarray(quick_jit(schedule)(ends), np.float64)
        np.testing.assert_allclose(found, np.sqrt((1 - x) * (1 + x)), rtol=1e-6)


# ---- The plateau ---------------------------------------------------------------------


def timms(metrics, lr, **words):
    """timm's learning rates: the first one, and that after each metric."""
    opt = torch.optim.SGD([torch.zeros(1)], lr=lr)
    with pytest.warns(FutureWarning, match="PlateauLRScheduler is deprecated"):
        scheduler = timm.PlateauLRScheduler(opt, **words)
    found = [opt.param_groups[0]["lr"]]
    for epoch, metric in enumerate(metrics, 1):
        scheduler.step(epoch, metric)
        found.append(opt.param_groups[0]["lr"])
    return found


def our_plateau(metrics, lr, **words):
    with jax.enable_x64(True):
        schedule = oxe.timm.PlateauLRScheduler(lr, **words)
        state = oxe.heavy_ball(schedule).init(jnp.ones(1))
        first = oxe.learning_rate(state)
        found = _observed(words.get("mode", "max"), state, np.asarray(metrics))
        return [float(first), *np.asarray(found).tolist()]


@partial(quick_jit, static_argnums=0)
def _observed(mode, state, metrics):
    """One program for each mode: the numbers are in the state."""

    def step(state, metric):
        state = oxe.observe(state, metric)
        return state, oxe.learning_rate(state)

    return jax.lax.scan(step, state, metrics)[1]


PLATEAU = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([0.5, 0.1]),
        "decay_rate": st.sampled_from([0.3, 0.5, 0.9]),
        "patience_t": st.integers(0, 4),
        "threshold": st.sampled_from([1e-4, 0.05, 0.3]),
        "cooldown_t": st.integers(0, 4),
        "warmup_t": st.integers(0, 12),
        "warmup_lr_init": st.sampled_from([0.0, 0.01, 0.7]),
        "lr_min": st.sampled_from([0.0, 0.01]),
        "mode": st.sampled_from(["min", "max"]),
    }
)


def check_plateau(words, metrics):
    np.testing.assert_allclose(
        our_plateau(metrics, **words), timms(metrics, **words), rtol=0, atol=1e-12
    )


@modest
@given(PLATEAU, METRICS)
def test_plateau(words, metrics):
    check_plateau(words, metrics)


@pytest.mark.full
@thorough
@given(PLATEAU, METRICS)
def test_plateau_thoroughly(words, metrics):
    check_plateau(words, metrics)


def test_plateau_of_the_defaults():
    metrics = [0.5] + [0.50001] * 40
    theirs = timms(metrics, 0.1)
    np.testing.assert_allclose(our_plateau(metrics, 0.1), theirs, rtol=1e-12)
    assert len(set(theirs)) == 4


def test_a_negative_metric():
    """timm, like PyTorch, counts a slightly worse metric as better; ours is bad."""
    metrics = [-1.0, *(-1 - n * 1e-5 for n in range(1, 9))]
    words = {"lr": 1.0, "patience_t": 2, "decay_rate": 0.5}
    assert timms(metrics, **words)[-1] == 1
    assert our_plateau(metrics, **words)[4] == 0.5


def test_the_warm_up_does_not_judge():
    """Metrics of the warm-up do not count as the best one, and NaN passes."""
    metrics = [9.0, math.nan, 9.0, 0.1, 0.2, 0.3, 0.2, 0.2]
    words = {"lr": 1.0, "warmup_t": 3, "patience_t": 1, "decay_rate": 0.5}
    found = our_plateau(metrics, **words)
    np.testing.assert_allclose(found, timms(metrics, **words), rtol=1e-12)
    np.testing.assert_allclose(found[:5], [0, 1 / 3, 2 / 3, 1, 1], rtol=1e-12)
    assert found[-1] == 0.5


def test_a_learning_rate_that_is_set_holds():
    """After the warm-up the next cut is from it."""
    schedule = oxe.timm.PlateauLRScheduler(
        1.0, warmup_t=1, patience_t=0, decay_rate=0.5
    )
    state = oxe.heavy_ball(schedule).init(jnp.ones(1))
    for metric in (0.5, 0.5):
        state = oxe.observe(state, metric)
    state = oxe.set_hyperparameters(state, learning_rate=0.25)
    state = oxe.observe(state, 0.6)
    assert float(oxe.learning_rate(state)) == 0.25
    state = oxe.observe(state, 0.6)
    assert float(oxe.learning_rate(state)) == 0.125


def test_plateau_may_be_traced():
    def last(warmup_t, lr):
        schedule = oxe.timm.PlateauLRScheduler(lr, warmup_t=warmup_t, patience_t=0)
        state = oxe.heavy_ball(schedule).init(jnp.ones(1))
        for metric in (0.5, 0.5, 0.5):
            state = oxe.observe(state, metric)
        return oxe.learning_rate(state)

    found = quick_jit(jax.vmap(last))(np.array([0, 2, 4]), np.float32([1, 1, 1]))
    np.testing.assert_allclose(found, [0.01, 1, 0.75], rtol=1e-6)


BAD_PLATEAUS = {
    "lr": (-1.0, math.nan, "0.1"),
    "decay_rate": (0.0, 1.0),
    "patience_t": (-1, 1.5),
    "threshold": (-1.0,),
    "cooldown_t": (-1,),
    "warmup_t": (-1, 2.5),
    "warmup_lr_init": (-0.1, math.inf),
    "lr_min": (-0.1, 0.6),
    "mode": ("best", "auto"),
}


def test_bad_plateaus():
    assert set(BAD_PLATEAUS) == set(
        inspect.signature(oxe.timm.PlateauLRScheduler).parameters
    )
    for argument, found in BAD_PLATEAUS.items():
        for x in found:
            match = f"^PlateauLRScheduler: `{argument}` must .*, got "
            with pytest.raises((ValueError, TypeError), match=match):
                oxe.timm.PlateauLRScheduler(**{"lr": 0.5, argument: x})


# ---- Arguments -----------------------------------------------------------------------

NOISE = ("noise_range_t", "noise_type", "noise_pct", "noise_std", "noise_seed")
GONE = {"self", "optimizer", "initialize", *NOISE}


@pytest.mark.parametrize("name", oxe.timm.__all__)
def test_arguments_are_theirs(name):
    """timm's names, order and defaults, after `lr`."""
    theirs = inspect.signature(getattr(timm, name).__init__).parameters
    ours = inspect.signature(getattr(oxe.timm, name)).parameters
    kept = [x for x in theirs if x not in GONE]
    new = ["updates_per_epoch"] if "t_in_epochs" in theirs else []
    assert list(ours) == ["lr", *kept, *new]
    for x in kept:
        assert ours[x].default == theirs[x].default, x
    # What timm has after its noise is not taken by position.
    after = list(theirs).index("noise_range_t")
    for x in kept:
        is_late = list(theirs).index(x) > after
        assert (ours[x].kind is inspect.Parameter.KEYWORD_ONLY) == is_late, x


@pytest.mark.parametrize("name", oxe.timm.__all__)
def test_their_options_are_refused(name):
    make = getattr(oxe.timm, name)
    for option in ("optimizer", "initialize", *NOISE):
        with pytest.raises(TypeError) as caught:
            make(**{option: 3})
        assert str(caught.value).startswith(f"{name}: `{option}` must not be given")
    with pytest.raises(TypeError, match=f"^{name}: `optimizer` must not be given"):
        make("an optimizer", lr=0.1)


def test_cycles_are_refused_by_timms_names():
    make = partial(oxe.timm.CosineLRScheduler, 0.1, t_in_epochs=False)
    with pytest.raises(
        ValueError, match=r"^CosineLRScheduler: `cycle_mul` must be 1 or"
    ):
        make(5, cycle_mul=1.001)
    with pytest.raises(ValueError, match="be an integer when `t_initial` is traced"):
        jax.eval_shape(lambda n: make(n, cycle_mul=1.5)(0), 5)
    with pytest.raises(TypeError, match="`cycle_mul` must be an integer"):
        jax.eval_shape(lambda c: make(5, cycle_mul=c)(0), 2.0)
    assert jax.eval_shape(lambda c: make(5, cycle_mul=c)(0), 2).shape == ()
    with pytest.raises(
        ValueError, match=r"`lb` must be below `ub`, which is 3.0, got 3"
    ):
        oxe.timm.TanhLRScheduler(0.1, 5, lb=3.0, t_in_epochs=False)


def test_steps_are_refused_by_timms_names():
    make = partial(oxe.timm.StepLRScheduler, 0.1, t_in_epochs=False)
    with pytest.raises(ValueError, match="`decay_t` must be a number whose fraction"):
        make(2.34567)
    with pytest.raises(TypeError, match="`decay_t` must be an integer"):
        jax.eval_shape(lambda n: make(n)(0), 2.4)


def test_decays_are_refused_by_timms_names():
    make = partial(oxe.timm.WSDLRScheduler, 0.1, t_in_epochs=False)
    with pytest.raises(
        ValueError, match="`decay_t` must be at most `t_initial`, which"
    ):
        make(5, 6)
    with pytest.raises(ValueError, match="`stable_timescale` must be given for"):
        make(5, 3, stable_fn="rsqrt")
    for f in (lambda x: 1.0 if x < 0.5 else 0.0, lambda x: math.exp(-x)):
        with pytest.raises(TypeError, match="`decay_fn` must be traceable by JAX"):
            make(5, 3, decay_fn=f)
    with pytest.raises(TypeError, match="`decay_fn` must return a scalar"):
        make(5, 3, decay_fn=lambda x: (x, x))
