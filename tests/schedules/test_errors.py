"""What every schedule refuses, and that it says what is wrong, when it is made."""

import inspect
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from optax_extras import schedules as s

NAN, INF = float("nan"), float("inf")


class Row(NamedTuple):
    rule: str
    words: dict[str, Any]
    error: type[Exception]
    argument: str  # with the index of the item that is meant, if one is
    shown: str  # the repr of what is refused

    def __str__(self):
        return f"{self.rule}({self.argument}={self.shown})"


def constant_scale(cycle):
    return 1.0


GOOD = {
    "piecewise_constant": {"values": [0.1, 0.2, 0.3], "boundaries": [3, 5]},
    "step": {"init_value": 0.1, "step_size": 3, "factor": 0.5},
    "multistep": {"init_value": 0.1, "milestones": [3, 5], "factor": [0.5, 0.1]},
    "exponential": {"init_value": 0.1, "decay_rate": 0.9, "transition_steps": 3},
    "inverse_time": {
        "init_value": 0.1,
        "decay_rate": 0.9,
        "transition_steps": 3,
        "staircase": True,
    },
    "inverse_sqrt": {"peak_value": 0.1, "timescale": 2.5},
    "polynomial": {
        "init_value": 0.1,
        "transition_steps": 9,
        "power": 2.0,
        "end_value": 0.01,
        "cycle": True,
    },
    "linear": {"init_value": 0.1, "transition_steps": 9, "end_value": 0.01},
    "cosine": {
        "init_value": 0.1,
        "decay_steps": 9,
        "end_value": 0.01,
        "periodic": True,
    },
    "rex": {"init_value": 0.1, "decay_steps": 9, "end_value": 0.01},
    "cyclic": {
        "base_value": 0.1,
        "peak_value": 0.2,
        "up_steps": 5,
        "down_steps": 3,
        "peak_decay": 0.9,
        "floor_decay": 0.9,
    },
    "warm_restarts": {
        "peak_value": 0.1,
        "period": 5,
        "period_mult": 1.5,
        "end_value": 0.01,
        "peak_decay": 0.9,
        "floor_decay": 0.9,
        "swing_decay": 0.9,
        "cycles": 3,
    },
    "one_cycle": {
        "peak_value": 0.1,
        "total_steps": 10,
        "pct_start": 0.4,
        "div_factor": 10.0,
        "final_div_factor": 100.0,
        "anneal": "linear",
        "three_phase": True,
        "base_momentum": 0.8,
        "max_momentum": 0.9,
    },
    "wsd": {
        "peak_value": 0.1,
        "warmup_steps": 3,
        "stable_steps": 4,
        "decay_steps": 5,
        "init_value": 0.01,
        "end_value": 0.02,
        "decay": "cosine",
    },
    "warmup": {"steps": 3, "then": 0.1, "init_value": 0.01},
    "cooldown": {"schedule": 0.1, "start": 5, "steps": 3, "end_value": 0.01},
    "sequence": {"schedules": [0.1, 0.2, 0.3], "boundaries": [3, 5]},
    "product": {"schedules": (0.1, 0.2)},
    "repeat": {"schedule": 0.1, "period": 3},
}


def make(rule, words):
    """The schedule of these arguments; those of `product` have no names."""
    if "schedules" in words and len(words) == 1:
        return getattr(s, rule)(*words["schedules"])
    return getattr(s, rule)(**words)


NO_NUMBER = ("0.1", None, 1j, True, [0.1], np.ones(2), np.True_, Fraction(1, 2))
NOT_FINITE = (NAN, INF, -INF, np.float32("nan"), jnp.float32(INF))
NO_COUNT = ("10", 1j, True, 10.0, 2.5, NAN, np.float32(10), [10], np.array([10]))


class Table:
    """Rows of one schedule: one bad argument among good ones in each."""

    def __init__(self, rule):
        self.rule = rule
        self.rows = []

    def bad(self, error, argument, *found, **also):
        for x in found:
            words = {**GOOD[self.rule], **also, argument: x}
            self.rows.append(Row(self.rule, words, error, argument, repr(x)))
        return self

    def bad_item(self, error, argument, index, *found):
        for x in found:
            items = list(GOOD[self.rule][argument])
            items[index] = x
            words = {**GOOD[self.rule], argument: items}
            row = Row(self.rule, words, error, f"{argument}[{index}]", repr(x))
            self.rows.append(row)
        return self

    def real(self, *arguments, outside=()):
        for argument in arguments:
            self.bad(TypeError, argument, *NO_NUMBER, abs)
            self.bad(ValueError, argument, *NOT_FINITE, *outside)
        return self

    def positive(self, *arguments):
        return self.real(*arguments, outside=(0, 0.0, -1e-9, -2, np.float32(-1)))

    def count(self, *arguments, least=1):
        for argument in arguments:
            self.bad(TypeError, argument, *NO_COUNT)
            below = (least - 1, -1, -(10**12), np.int64(least - 1), jnp.int32(-3))
            self.bad(ValueError, argument, *below)
        return self

    def schedule(self, *arguments):
        for argument in arguments:
            self.bad(TypeError, argument, *NO_NUMBER)
            self.bad(ValueError, argument, *NOT_FINITE)
        return self

    def steps(self, argument):
        """A sorted list of two steps."""
        self.bad(TypeError, argument, "34", 3, None, {3, 5}, np.array([[3, 5]]))
        self.bad(ValueError, argument, [5, 3], (5, 3), np.array([5, 3]))
        self.bad_item(TypeError, argument, 1, *NO_COUNT, None)
        self.bad_item(ValueError, argument, 0, -1, np.int32(-2))
        return self

    def choice(self, argument, *unknown):
        return self.bad(ValueError, argument, "", "Linear", "cos ", "sine", *unknown)

    def flag(self, argument):
        return self.bad(TypeError, argument, 0, 1, None, "yes", np.array([True]))


TABLES = [
    Table("piecewise_constant")
    .steps("boundaries")
    .bad(TypeError, "values", 0.1, "abc", None, {0.1: 0}, np.ones((3, 1)))
    .bad(ValueError, "values", [], [0.1, 0.2], [0.1] * 4)
    .bad_item(TypeError, "values", 2, *NO_NUMBER)
    .bad_item(ValueError, "values", 0, *NOT_FINITE),
    Table("step").real("init_value").count("step_size").positive("factor"),
    Table("multistep")
    .real("init_value")
    .steps("milestones")
    .bad(TypeError, "factor", "0.1", None, 1j, True)
    .bad(ValueError, "factor", 0.0, -0.1, *NOT_FINITE)
    .bad(ValueError, "factor", [], [0.1], [0.1] * 3, (0.5,), np.ones(3))
    .bad_item(TypeError, "factor", 1, *NO_NUMBER)
    .bad_item(ValueError, "factor", 0, 0.0, -0.5, *NOT_FINITE),
    Table("exponential")
    .real("init_value")
    .positive("decay_rate")
    .count("transition_steps"),
    Table("inverse_time")
    .real("init_value")
    .real("decay_rate", outside=(-1e-9, -1))
    .count("transition_steps")
    .flag("staircase"),
    Table("inverse_sqrt").real("peak_value").positive("timescale"),
    Table("polynomial")
    .real("init_value", "end_value")
    .positive("power")
    .count("transition_steps")
    .flag("cycle"),
    Table("linear").real("init_value", "end_value").count("transition_steps", least=0),
    Table("cosine")
    .real("init_value", "end_value")
    .count("decay_steps")
    .bad(ValueError, "decay_steps", -1, -(10**12), periodic=False)
    .flag("periodic"),
    Table("rex").real("init_value", "end_value").count("decay_steps"),
    Table("cyclic")
    .real("base_value", "peak_value")
    .count("up_steps")
    .count("down_steps", least=0)
    .choice("mode", "triangular3", "exp")
    .choice("scale_mode", "cycles", "iteration")
    .bad(ValueError, "scale_mode", "iterations")
    .positive("gamma")
    .bad(ValueError, "gamma", 0.5, 2, np.float32(0.9))
    .bad(ValueError, "gamma", 0.5, mode="triangular2")
    .bad(ValueError, "gamma", 0.5, scale_fn=constant_scale)
    .bad(ValueError, "mode", "triangular2", "exp_range", scale_fn=constant_scale)
    .bad(TypeError, "scale_fn", 0.5, "triangular", [abs])
    .positive("peak_decay", "floor_decay"),
    Table("warm_restarts")
    .real("peak_value", "end_value")
    .count("period", "cycles")
    .real("period_mult", outside=(0, 0.5, 0.999, -1, -2.0, np.float32(0.5)))
    .positive("peak_decay", "floor_decay", "swing_decay"),
    Table("one_cycle")
    .real("peak_value", "base_momentum", "max_momentum")
    .count("total_steps")
    .real("pct_start", outside=(-0.1, 0.51, 1, 2.0))
    .bad(ValueError, "pct_start", -1e-9, 1.01, 30, three_phase=False)
    .positive("div_factor", "final_div_factor")
    .choice("anneal", "cosine")
    .flag("three_phase"),
    Table("wsd")
    .real("peak_value", "init_value", "end_value")
    .count("warmup_steps", "stable_steps", "decay_steps", least=0)
    .choice("decay", "1_sqrt", "sqrt", "exp"),
    Table("warmup").count("steps", least=0).schedule("then").real("init_value"),
    Table("cooldown")
    .schedule("schedule")
    .count("start", "steps", least=0)
    .real("end_value"),
    Table("sequence")
    .steps("boundaries")
    .bad(ValueError, "boundaries", [], [3], [3, 4, 5])
    .bad(TypeError, "schedules", 0.1, "abc", None, abs)
    .bad_item(TypeError, "schedules", 1, *NO_NUMBER)
    .bad_item(ValueError, "schedules", 2, *NOT_FINITE),
    Table("product")
    .bad(ValueError, "schedules", ())
    .bad_item(TypeError, "schedules", 1, *NO_NUMBER)
    .bad_item(ValueError, "schedules", 0, *NOT_FINITE),
    Table("repeat").schedule("schedule").count("period"),
]
ROWS = [row for table in TABLES for row in table.rows]
IDS = [f"{i}-{row}" for i, row in enumerate(ROWS)]


def say_it(error, rule, argument, shown):
    """Whether the message names the schedule, the argument and the value."""
    name, bracket, index = argument.partition("[")
    message = str(error)
    assert message.startswith(f"{rule}: ")
    assert f"`{name}`{bracket}{index} must " in message
    assert f"got {shown}" in message


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_refused_when_made(row):
    with pytest.raises((TypeError, ValueError)) as caught:
        make(row.rule, row.words)
    assert caught.type is row.error
    say_it(caught.value, row.rule, row.argument, row.shown)


@pytest.mark.parametrize("rule", GOOD)
def test_refused_when_made_inside_jit(rule):
    """Nothing of it is left to when the program runs."""
    for row in [row for row in ROWS if row.rule == rule]:

        def program(x, row=row):
            make(row.rule, row.words)
            return x

        with pytest.raises(row.error) as caught:
            jax.jit(program)(1.0)
        say_it(caught.value, row.rule, row.argument, row.shown)


def test_every_schedule_has_rows():
    found = [row.rule for row in ROWS]
    assert {rule for rule in s.__all__ if found.count(rule) >= 3} == set(s.__all__)
    assert set(found) == set(s.__all__) == set(GOOD)


@pytest.mark.parametrize("rule", s.__all__)
def test_every_argument_has_rows(rule):
    tried = {row.argument.partition("[")[0] for row in ROWS if row.rule == rule}
    assert tried == set(inspect.signature(getattr(s, rule)).parameters)


@pytest.mark.parametrize("rule", GOOD)
def test_the_good_ones_are_good(rule):
    assert np.isfinite(make(rule, GOOD[rule])(0))


@pytest.mark.parametrize("rule", GOOD)
def test_unknown_keyword(rule):
    words = GOOD[rule] if rule != "product" else {}
    with pytest.raises(TypeError, match="warm_up"):
        getattr(s, rule)(**words, warm_up=3)


# The same for arguments that are traced: their kind is known, their value is not.

TRACED_COUNTS = [
    (row.rule, row.argument)
    for row in ROWS
    if row.shown == "2.5" and "[" not in row.argument
]
TRACED_REALS = [
    (row.rule, row.argument)
    for row in ROWS
    if row.shown == "True" and (row.rule, row.argument) not in TRACED_COUNTS
]


def refuses_traced(rule, argument, x):
    name, _, index = argument.partition("[")

    def program(traced):
        if index:
            items = list(GOOD[rule][name])
            items[int(index[:-1])] = traced
            traced = items
        return make(rule, {**GOOD[rule], name: traced})(0)

    with pytest.raises(TypeError) as caught:
        jax.jit(program)(x)
    say_it(caught.value, rule, argument, "")


@pytest.mark.parametrize(("rule", "argument"), TRACED_COUNTS, ids=str)
@pytest.mark.parametrize(
    "x", [10.0, True, np.array([1, 2])], ids=["float", "bool", "list"]
)
def test_traced_count_of_another_kind(rule, argument, x):
    refuses_traced(rule, argument, x)


@pytest.mark.parametrize(("rule", "argument"), TRACED_REALS, ids=str)
@pytest.mark.parametrize(
    "x", [1j, True, np.ones((2, 2))], ids=["complex", "bool", "matrix"]
)
def test_traced_real_of_another_kind(rule, argument, x):
    refuses_traced(rule, argument, x)


def test_traced_period_mult_is_an_integer():
    refuses_traced("warm_restarts", "period_mult", 1.5)


@pytest.mark.parametrize(
    ("rule", "argument"),
    [("linear", "init_value"), ("step", "factor"), ("warmup", "then")],
)
@pytest.mark.parametrize("x", [10**400, -(10**400)], ids=["large", "negative"])
def test_integer_beyond_the_floats(rule, argument, x):
    with pytest.raises(ValueError, match=f"^{rule}: `{argument}` must "):
        make(rule, {**GOOD[rule], argument: x})


def test_period_mult_close_to_one():
    """More restarts than a table should have."""
    with pytest.raises(ValueError, match="4096") as caught:
        s.warm_restarts(0.1, 10, 1.001)
    say_it(caught.value, "warm_restarts", "period_mult", "1.001")


# The step count.

NO_T = {
    "float": 1.0,
    "bool": True,
    "str": "1",
    "None": None,
    "complex": 1j,
    "list": [1],
    "np.float32": np.float32(1),
    "np.bool": np.True_,
    "floats": np.arange(3.0),
    "bools": np.array([True]),
    "strings": np.array(["1"]),
    "jnp.float32": jnp.float32(1),
    "jnp.bool": jnp.array(True),
}
CALLS = {rule: (rule, lambda schedule: schedule) for rule in GOOD} | {
    "one_cycle.momentum": ("one_cycle", lambda schedule: schedule.momentum),
    "warm_restarts.restarts": ("warm_restarts", lambda schedule: schedule.restarts),
    "repeat.restarts": ("repeat", lambda schedule: schedule.restarts),
}


@pytest.mark.parametrize("t", NO_T.values(), ids=NO_T)
@pytest.mark.parametrize(("rule", "part"), CALLS.values(), ids=CALLS)
def test_step_of_another_kind(rule, part, t):
    call = part(make(rule, GOOD[rule]))
    with pytest.raises(TypeError) as caught:
        call(t)
    say_it(caught.value, rule, "t", repr(t))


@pytest.mark.parametrize(("rule", "part"), CALLS.values(), ids=CALLS)
def test_traced_step_of_another_kind(rule, part):
    call = part(make(rule, GOOD[rule]))
    for t in (1.0, True):
        with pytest.raises(TypeError) as caught:
            jax.jit(call)(t)
        say_it(caught.value, rule, "t", "")


NESTED = {
    "warmup": lambda x: s.warmup(3, x),
    "cooldown": lambda x: s.cooldown(x, 1, 1),
    "sequence": lambda x: s.sequence([0.1, x], [3]),
    "product": lambda x: s.product(0.1, x),
    "repeat": lambda x: s.repeat(x, 3),
}


@pytest.mark.parametrize(("name", "make"), NESTED.items(), ids=NESTED)
def test_what_is_no_function_of_the_count_has_no_place_in_a_schedule(name, make):
    for metric_schedule in (oxe.plateau(0.1), oxe.greedy(0.1)):
        with pytest.raises(TypeError, match=f"^{name}: `.*no state of its own"):
            make(metric_schedule)
    with pytest.raises(TypeError, match=f"^{name}: `.*the step count alone"):
        make(lambda: 0.1)
