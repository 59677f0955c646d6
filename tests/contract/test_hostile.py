"""Wrong arguments of every public function: refused at once, and by name."""

import inspect

import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract import discovery

# Schedules and the rooms' schedulers have suites of their own, and so do functions of
# a state: tests/schedules/test_errors.py, test_room_schedule_errors.py, tests/rates.
ROOMS = (oxe, oxe.rules, oxe.pytorch, oxe.keras)
OF_A_STATE = ("hyperparameters", "learning_rate", "observe", "set_hyperparameters")
# What to give for arguments without a default.
VALID = {
    **discovery.REQUIRED,
    "schedule": discovery.METRIC,
    "init_value": 0.1,
    "factory": optax.adam,
    "tx": oxe.adagrad(0.1),
    "inner": oxe.rules.adam(),
    "every": 2,
    "n": 3,
    "first": oxe.rules.adam(),
    "second": oxe.rules.sgd(),
    "when": oxe.at_step(2),
    "key": np.zeros(2, np.uint32),
    "state": (),
    "params": np.ones(2),
    "updates": np.ones(2),
}
TREES = {"state", "params", "updates"}
WRONG = {
    "object": object(),
    "complex": 1j,
    "NaN": float("nan"),
    "list": [0.5, 0.5],
    "vector": np.ones(2),
    "word": "nonsense",
}
# What is not wrong at all: a pair, the name of a metric or of an axis.
PAIRS = {"betas", "eps", "step_sizes", "etas"}
RIGHT = {("monitor", "word"), ("axis_name", "word")}
RIGHT |= {(name, kind) for name in PAIRS for kind in ("list", "vector")}


def functions():
    for room in ROOMS:
        door = "" if room is oxe else room.__name__.rpartition(".")[2] + "."
        for name in room.__all__:
            thing = getattr(room, name)
            if not inspect.isfunction(thing) or name in OF_A_STATE:
                continue
            is_scheduler = discovery.returns_a_schedule(thing) and door in (
                "pytorch.",
                "keras.",
            )
            if not is_scheduler:
                yield door + name, thing


def arguments_of(thing):
    parameters = inspect.signature(thing).parameters.values()
    return [x for x in parameters if x.kind not in (x.VAR_KEYWORD, x.VAR_POSITIONAL)]


CALLS = [
    pytest.param(thing, argument.name, id=f"{name}-{argument.name}")
    for name, thing in functions()
    for argument in arguments_of(thing)
    if argument.name not in TREES
]


def test_there_are_many():
    assert len(CALLS) > 200
    for name, thing in functions():
        needed = {x.name for x in arguments_of(thing) if x.default is x.empty}
        assert needed <= VALID.keys(), name


@pytest.mark.parametrize(("thing", "argument"), CALLS)
def test_refused_by_name(thing, argument):
    needed = [x.name for x in arguments_of(thing) if x.default is x.empty]
    given = {name: VALID[name] for name in needed}
    for kind, wrong in WRONG.items():
        if (argument, kind) in RIGHT:
            continue
        with pytest.raises((TypeError, ValueError)) as raised:
            thing(**{**given, argument: wrong})
        assert f"`{argument}" in str(raised.value), (kind, raised.value)


# Numbers of which -1 is a right one, and what is the first too large instead.
NEGATIVE = {"beta2_decay": 0.1}
# What has to be below 1: averages, factors that shrink, and the thresholds of a share.
# By name; where only one function means it so, with the function.
BELOW_ONE = {"b1", "b2", "beta_1", "beta_2", "factor", "eta_minus"}
BELOW_ONE |= {
    ("pytorch.RMSprop", "alpha"), ("keras.RMSprop", "rho"), ("keras.Adadelta", "rho"),
    ("plateau", "threshold"), ("on_plateau", "threshold"),
}  # fmt: skip
BELOW_ONE |= {
    (name, "decay")
    for name in (
        "rmsprop",
        "scale_by_rmsprop",
        "rules.rmsprop",
        "projected_rate_settles",
    )
}
NUMBERS = [
    pytest.param(name, thing, argument.name, id=f"{name}-{argument.name}")
    for name, thing in functions()
    for argument in arguments_of(thing)
    if (
        isinstance(argument.default, int | float)
        and not isinstance(argument.default, bool)
    )
    or argument.name in ("learning_rate", "rate", "lr", "init_value", "every", "n")
]
TUPLES = [
    pytest.param(thing, argument.name, id=f"{name}-{argument.name}")
    for name, thing in functions()
    for argument in arguments_of(thing)
    if isinstance(argument.default, tuple) and argument.default
]


@pytest.mark.parametrize(("name", "thing", "argument"), NUMBERS)
def test_below_and_above(name, thing, argument):
    needed = [x.name for x in arguments_of(thing) if x.default is x.empty]
    given = {name: VALID[name] for name in needed}
    out = [float("inf"), float("-inf"), NEGATIVE.get(argument, -1.0)]
    if argument in BELOW_ONE or (name, argument) in BELOW_ONE:
        out += [1.0, 1.5]
    for wrong in out:
        # A whole number too is no number of steps, and says so.
        with pytest.raises((TypeError, ValueError)) as raised:
            thing(**{**given, argument: wrong})
        assert f"`{argument}" in str(raised.value), (wrong, raised.value)
        assert str(wrong) in str(raised.value)


@pytest.mark.parametrize(("thing", "argument"), TUPLES)
def test_wrong_length(thing, argument):
    needed = [x.name for x in arguments_of(thing) if x.default is x.empty]
    right = inspect.signature(thing).parameters[argument].default
    for wrong in ((), right[:-1], (*right, right[-1])):
        with pytest.raises((TypeError, ValueError), match=f"`{argument}"):
            thing(**{**{name: VALID[name] for name in needed}, argument: wrong})
