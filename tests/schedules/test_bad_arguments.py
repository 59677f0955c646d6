"""Wrong arguments of every schedule: errors at construction that say what is wrong.

The kind of an argument is read from the error for an unknown object, the range of a
real number from the error for NaN. `RANGES` states the exceptions.
"""

import inspect
import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from optax_extras import schedules as s
from tests.schedules.calls import CALLS

INF, NAN = float("inf"), float("nan")
GOOD = {call.name: call for call in reversed(CALLS)}
GOOD["cyclic"] = next(call for call in CALLS if "gamma" in call.arguments)
each_rule = pytest.mark.parametrize("rule", s.__all__)

COUNT = "be an integer of at least "
KINDS = {  # by the beginning of what an argument must be
    "be a real number": "real",
    COUNT: "count",
    "be a number or a schedule": "schedule",
    "be a sequence": "sequence",
    "be a bool": "flag",
    "be one of ": "choice",
    "be callable": "function",
}
# Numbers of steps whose minimum is not 1, and real hyperparameters (other than values
# and momenta) whose range is not (0, inf).
RANGES = {
    ("linear", "transition_steps"): "0",
    ("polynomial", "transition_steps"): "0",
    ("cosine", "decay_steps"): "0",
    ("cyclic", "down_steps"): "0",
    ("wsd", "warmup_steps"): "0",
    ("wsd", "stable_steps"): "0",
    ("wsd", "decay_steps"): "0",
    ("warmup", "steps"): "0",
    ("cooldown", "start"): "0",
    ("cooldown", "steps"): "0",
    ("inverse_time", "decay_rate"): "[0, inf)",
    ("warm_restarts", "period_mult"): "[1, inf)",
    ("one_cycle", "pct_start"): "[0, 1]",
}


def make(rule, **changed):
    """The schedule with good arguments, except for the changed ones."""
    built = {**GOOD[rule].arguments, **changed}
    built = {k: _build(x) for k, x in built.items()}
    starred = built.pop("schedules") if rule == "product" else []
    return getattr(s, rule)(*starred, **built)


def _build(x):
    if isinstance(x, list | tuple):
        return type(x)(map(_build, x))
    return x.build() if hasattr(x, "build") else x


def refuse(error, rule, argument, value, items=None, shown=None, **also):
    """Fails if the value, alone or as an item, is accepted or the error is unclear."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make(rule, **{argument: value if items is None else items}, **also)
    where = f"{rule}({argument}={value!r})"
    message = str(caught.value)
    assert caught.type is error, (where, message)
    name = f"`{argument}`" + ("" if items is None else rf"\[{items.index(value)}\]")
    assert re.match(f"{rule}: {name} must ", message), (where, message)
    assert f"got {repr(value) if shown is None else shown}" in message, where
    return message


class Unknown:
    """An object that is not valid as any argument."""

    def __repr__(self):
        return "<unknown>"

    __hash__ = None


def kind_of(rule, argument):
    """The kind of an argument, and what it must be."""
    if (rule, argument) == ("product", "schedules"):
        return "schedules", ""
    with pytest.raises(
        (TypeError, ValueError), match=f"{rule}: `{argument}`"
    ) as caught:
        make(rule, **{argument: Unknown()})
    must = str(caught.value).split("` must ")[1].split(", got")[0]
    return next(kind for start, kind in KINDS.items() if must.startswith(start)), must


def range_of(rule, argument):
    """The range of a real number, as the error for NaN states it."""
    message = refuse(ValueError, rule, argument, NAN)
    found = re.search(r"must be in (.*), got", message)
    return found[1] if found else "finite"


NOT_REAL = ("0.1", None, 1j, True, np.True_, Fraction(1, 2))
NOT_SCALAR = ([0.1], np.ones(2))
NOT_FINITE = (INF, -INF, np.float32("nan"), jnp.float32(INF), 10**400)
# Made outside jit: inside, even `jnp.int32(-3)` would be traced.
NEGATIVE_COUNTS = (-(10**12), np.int64(-2), jnp.int32(-3))
NOT_A_COUNT = ("10", 1j, True, 10.0, NAN, np.float32(10), [10], np.array([10]))


def check_real(rule, argument, must):
    takes_sequence = (rule, argument) == ("multistep", "factor")
    for x in (*NOT_REAL, abs, *(() if takes_sequence else NOT_SCALAR)):
        refuse(TypeError, rule, argument, x)
    for x in NOT_FINITE:
        refuse(ValueError, rule, argument, x)
    found = range_of(rule, argument)
    is_free = argument.endswith(("_value", "_momentum"))
    usual = "finite" if is_free else "(0, inf)"
    assert found == RANGES.get((rule, argument), usual), (rule, argument)
    if found == "finite":
        make(rule, **{argument: -1e30})
        return
    low, high = map(float, found[1:-1].split(","))
    below = (low - 1e-9, np.float32(low - 1), int(low) - 1)
    for x in below if found[0] == "[" else (low, int(low), *below):
        refuse(ValueError, rule, argument, x)
    make(rule, **{argument: low if found[0] == "[" else 1e-9})
    if high < INF:
        refuse(ValueError, rule, argument, high + 1e-9)
        make(rule, **{argument: high})


def check_count(rule, argument, must):
    least = int(must.removeprefix(COUNT))
    assert str(least) == RANGES.get((rule, argument), "1"), (rule, argument)
    for x in NOT_A_COUNT:
        refuse(TypeError, rule, argument, x)
    for x in (least - 1, np.int64(least - 1), *NEGATIVE_COUNTS):
        refuse(ValueError, rule, argument, x)
    make(rule, **{argument: least})


def check_schedule(rule, argument, must):
    for x in (*NOT_REAL, *NOT_SCALAR):
        refuse(TypeError, rule, argument, x)
    for x in (NAN, *NOT_FINITE):
        refuse(ValueError, rule, argument, x)


def check_items(rule, argument, errors):
    """One wrong item among good ones."""
    good = list(GOOD[rule].arguments[argument])
    for error, values in errors.items():
        for x in values:
            refuse(error, rule, argument, x, items=[x, *good[1:]])
            refuse(error, rule, argument, x, items=[*good[:-1], x])


def check_sequence(rule, argument, must):
    for x in ("34", 3, None, {3, 5}, np.array([[3, 5]])):
        refuse(TypeError, rule, argument, x)
    if argument in ("boundaries", "milestones"):
        for x in ([9, 4], (9, 4), np.array([9, 4])):
            refuse(ValueError, rule, argument, x)
        kinds = {TypeError: ("3", 2.5, True, None, [3]), ValueError: (-1, np.int32(-2))}
        check_items(rule, argument, kinds)
    else:
        check_items(rule, argument, {TypeError: NOT_REAL, ValueError: (INF, -INF)})


def check_schedules(rule, argument, must):
    """The schedules of a product, which are positional."""
    with pytest.raises(ValueError, match=r"product: `schedules` must .* got \(\)"):
        s.product()
    check_items(rule, argument, {TypeError: NOT_REAL, ValueError: (INF, -INF)})


def check_flag(rule, argument, must):
    for x in (0, 1, None, "yes", np.array([True])):
        refuse(TypeError, rule, argument, x)
    make(rule, **{argument: np.True_})


def check_choice(rule, argument, must):
    for x in ("", "Linear", "sine", None, 1):
        refuse(ValueError, rule, argument, x)
    for option in re.findall("'(.*?)'", must):
        assert option in inspect.getdoc(getattr(s, rule)), (rule, option)


def check_function(rule, argument, must):
    for x in (0.5, "triangular", [abs]):
        refuse(TypeError, rule, argument, x)


def check_every_argument(rule):
    for argument in inspect.signature(getattr(s, rule)).parameters:
        kind, must = kind_of(rule, argument)
        globals()[f"check_{kind}"](rule, argument, must)
    with pytest.raises(TypeError, match="warm_up"):
        make(rule, warm_up=3)


@each_rule
def test_every_argument(rule):
    check_every_argument(rule)


@each_rule
def test_every_argument_inside_jit(rule):
    """Every error is raised during tracing, not when the program runs."""

    def program(x):
        check_every_argument(rule)
        return x

    jax.eval_shape(program, 1.0)


@each_rule
def test_traced_arguments_of_another_kind(rule):
    """The type of a traced argument is known, its value is not."""
    wrong = {
        "real": (1j, True, np.ones((2, 2))),
        "schedule": (1j, True, np.ones((2, 2))),
        "count": (10.0, True, np.array([1, 2])),
    }
    for argument in inspect.signature(getattr(s, rule)).parameters:
        kind, _ = kind_of(rule, argument)
        for x in wrong.get(kind, ()):

            def program(x, name=argument):
                refuse(TypeError, rule, name, x, shown="")
                return x

            jax.eval_shape(program, x)
        if kind in ("sequence", "schedules"):
            good = GOOD[rule].arguments[argument]
            is_count = argument in ("boundaries", "milestones")
            for x in wrong["count" if is_count else "real"]:

                def program(x, name=argument, rest=good[1:]):
                    with pytest.raises(
                        TypeError, match=rf"{rule}: `{name}`\[0\] must "
                    ):
                        make(rule, **{name: [x, *rest]})
                    return x

                jax.eval_shape(program, x)


def test_lengths_that_do_not_match():
    a, b, c, d = 0.1, 0.2, 0.3, 0.4
    for rule, argument, lists in (
        ("piecewise_constant", "values", ([], [a], [a, b], [a, b, c, d])),
        ("multistep", "factor", ([], [a], (a, b), np.full(4, a))),
        ("sequence", "boundaries", ([], [3], [3, 4, 5])),
    ):
        for x in lists:
            refuse(ValueError, rule, argument, x)
    for rule in ("piecewise_constant", "sequence"):
        empty = {name: [] for name in GOOD[rule].arguments}
        with pytest.raises(ValueError, match=f"^{rule}: .* must have .*one"):
            make(rule, **empty)
    for x in (0.0, INF):
        refuse(ValueError, "multistep", "factor", x, items=[x, 0.5, 0.1])
    refuse(TypeError, "multistep", "factor", True, items=[0.5, True, 0.1])


def test_arguments_that_exclude_each_other():
    def scale(cycle):
        return 1.0

    for argument, x, also in (
        ("gamma", 0.5, {"mode": "triangular"}),
        ("gamma", np.float32(0.5), {"mode": "triangular2", "shown": "0.5"}),
        ("gamma", jnp.float32(0.5), {"mode": "triangular", "scale_fn": scale}),
        ("mode", "triangular2", {"gamma": 1.0, "scale_fn": scale}),
        ("mode", "exp_range", {"scale_fn": scale}),
        ("scale_mode", "iterations", {}),
    ):
        refuse(ValueError, "cyclic", argument, x, **also)
    refuse(ValueError, "cosine", "decay_steps", 0, periodic=True)
    make("one_cycle", pct_start=0.5, three_phase=True)
    refuse(ValueError, "one_cycle", "pct_start", 0.51, three_phase=True)


def test_period_mult():
    """A multiple close to 1 is refused: its table of cycles would be too long."""
    message = refuse(ValueError, "warm_restarts", "period_mult", 1.001)
    assert "4096" in message

    def program(x):
        refuse(TypeError, "warm_restarts", "period_mult", x, shown="")
        return x

    jax.eval_shape(program, 1.5)


def test_fractional_period_mult_of_a_traced_period():
    def program(period):
        message = refuse(ValueError, "warm_restarts", "period_mult", 1.5, period=period)
        assert message.endswith("Pass the period as a Python int.")
        return period

    jax.eval_shape(program, 10)


def test_functions_that_are_not_of_the_step_count():
    for rule, nest in {
        "warmup": lambda x: s.warmup(3, x),
        "cooldown": lambda x: s.cooldown(x, 1, 1),
        "sequence": lambda x: s.sequence([0.1, x], [3]),
        "product": lambda x: s.product(0.1, x),
        "repeat": lambda x: s.repeat(x, 3),
    }.items():
        for metric_schedule in (oxe.plateau(0.1), oxe.greedy(0.1)):
            with pytest.raises(TypeError, match=f"^{rule}: `.*scale_by_metric"):
                nest(metric_schedule)
        with pytest.raises(TypeError, match=f"^{rule}: `.*the step count alone"):
            nest(lambda: 0.1)
