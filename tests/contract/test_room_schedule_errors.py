"""What the schedules of `oxe.pytorch` and `oxe.keras` refuse, and how they say it."""

import inspect
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe
from tests.contract.test_room_schedules import EACH

NAN, INF = float("nan"), float("inf")
CURVE = oxe.pytorch.StepLR(0.1, 5)


def plain(t):
    return 1.0


GOOD: dict[str, dict[str, dict[str, Any]]] = {
    "pytorch": {
        "LambdaLR": {"lr": 0.1, "lr_lambda": plain},
        "MultiplicativeLR": {"lr": 0.1, "lr_lambda": plain, "total_steps": 9},
        "StepLR": {"lr": 0.1, "step_size": 5, "gamma": 0.5},
        "MultiStepLR": {"lr": 0.1, "milestones": [5, 3], "gamma": 0.5},
        "ConstantLR": {"lr": 0.1, "factor": 0.5, "total_iters": 5},
        "LinearLR": {
            "lr": 0.1,
            "start_factor": 0.5,
            "end_factor": 0.9,
            "total_iters": 5,
        },
        "ExponentialLR": {"lr": 0.1, "gamma": 0.5},
        "PolynomialLR": {"lr": 0.1, "total_iters": 5, "power": 2.0},
        "CosineAnnealingLR": {"lr": 0.1, "T_max": 5, "eta_min": 0.01},
        "CosineAnnealingWarmRestarts": {
            "lr": 0.1,
            "T_0": 5,
            "T_mult": 2,
            "eta_min": 0.01,
        },
        "SWALR": {
            "lr": 0.1,
            "swa_lr": 0.05,
            "anneal_epochs": 5,
            "anneal_strategy": "linear",
        },
        "CyclicLR": {
            "base_lr": 0.1,
            "max_lr": 1.0,
            "step_size_up": 5,
            "step_size_down": 3,
            "mode": "exp_range",
            "gamma": 0.9,
            "scale_fn": None,
            "scale_mode": "cycle",
            "cycle_momentum": True,
            "base_momentum": 0.8,
            "max_momentum": 0.9,
        },
        "OneCycleLR": {
            "max_lr": 1.0,
            "total_steps": None,
            "epochs": 5,
            "steps_per_epoch": 3,
            "pct_start": 0.3,
            "anneal_strategy": "linear",
            "cycle_momentum": True,
            "base_momentum": 0.8,
            "max_momentum": 0.9,
            "div_factor": 20.0,
            "final_div_factor": 100.0,
            "three_phase": True,
        },
        "SequentialLR": {"schedulers": [CURVE, CURVE, CURVE], "milestones": [3, 5]},
        "ChainedScheduler": {"lr": 0.1, "factors": [CURVE, CURVE]},
    },
    "keras": {
        "ExponentialDecay": {
            "initial_learning_rate": 0.1,
            "decay_steps": 5,
            "decay_rate": 0.9,
            "staircase": True,
        },
        "InverseTimeDecay": {
            "initial_learning_rate": 0.1,
            "decay_steps": 5,
            "decay_rate": 0.9,
            "staircase": True,
        },
        "PiecewiseConstantDecay": {"boundaries": [3, 5], "values": [0.1, 0.2, 0.3]},
        "PolynomialDecay": {
            "initial_learning_rate": 0.1,
            "decay_steps": 5,
            "end_learning_rate": 0.01,
            "power": 2.0,
            "cycle": True,
        },
        "CosineDecay": {
            "initial_learning_rate": 0.1,
            "decay_steps": 5,
            "alpha": 0.1,
            "warmup_target": 0.2,
            "warmup_steps": 5,
        },
        "CosineDecayRestarts": {
            "initial_learning_rate": 0.1,
            "first_decay_steps": 5,
            "t_mul": 2.0,
            "m_mul": 0.9,
            "alpha": 0.1,
        },
        "CyclicLR": {
            "base_lr": 0.1,
            "max_lr": 1.0,
            "step_size": 5.0,
            "mode": "exp_range",
            "gamma": 0.9,
            "scale_fn": None,
            "scale_mode": "cycle",
        },
    },
}

# By what an argument is: what is of the wrong kind, and what is out of range.
NO_NUMBER = ("0.1", 1j, True, [0.1], np.ones(2), plain)
NOT_FINITE = (NAN, INF, -INF)
STEP_KINDS = ("10", 1j, True, [10], jnp.float32(10))
BAD = {
    "rate": (NO_NUMBER, (*NOT_FINITE, -0.1, jnp.float32(-1))),
    "real": (NO_NUMBER, NOT_FINITE),
    "positive": (NO_NUMBER, (*NOT_FINITE, 0, -0.5)),
    "from 0": (NO_NUMBER, (*NOT_FINITE, -0.5)),
    "from 1": (NO_NUMBER, (*NOT_FINITE, 0.9, 1.001)),
    "up to 1": (NO_NUMBER, (*NOT_FINITE, 0, 1.1)),
    "share": (NO_NUMBER, (*NOT_FINITE, -0.1, 1.1)),
    "half": (NO_NUMBER, (*NOT_FINITE, -0.1, 0.6)),
    "whole": (STEP_KINDS, (0, -1, 2.5, 0.0, -3.0, NAN, INF, np.float32(1.5))),
    "whole from 0": (STEP_KINDS, (-1, 2.5, -3.0, NAN, INF)),
    "count": ((*STEP_KINDS, 10.0, 2.5), (0, -1)),
    "count from 0": ((*STEP_KINDS, 10.0, 2.5), (-1,)),
    "flag": ((0, 1, "yes", None), ()),
    "anneal": ((), ("", "cosine", None, 1)),
    "mode": ((), ("", "triangular3", None)),
    "scale_mode": ((), ("", "iteration", None)),
    "function": ((0.5, "triangular", [plain]), ()),
    "schedulers": ((0.1, "abc", None, CURVE), ([],)),
    "steps": (("34", 3, None), ()),
    "values": ((0.1, "abc", None), ([], [0.1], [0.1] * 4)),
}
KINDS = {
    "lr": "rate",
    "base_lr": "rate",
    "max_lr": "rate",
    "swa_lr": "rate",
    "initial_learning_rate": "rate",
    "end_learning_rate": "rate",
    "warmup_target": "rate",
    "eta_min": "real",
    "alpha": "real",
    "base_momentum": "real",
    "max_momentum": "real",
    "gamma": "positive",
    "power": "positive",
    "div_factor": "positive",
    "final_div_factor": "positive",
    "m_mul": "positive",
    "t_mul": "from 1",
    "factor": "share",
    "start_factor": "up to 1",
    "end_factor": "share",
    "pct_start": "half",
    "step_size": "whole",
    "step_size_up": "whole",
    "step_size_down": "whole from 0",
    "T_max": "whole",
    "decay_steps": "whole",
    "first_decay_steps": "whole",
    "warmup_steps": "whole from 0",
    "T_0": "count",
    "T_mult": "count",
    "total_steps": "count",
    "epochs": "count",
    "steps_per_epoch": "count",
    "anneal_epochs": "count from 0",
    "anneal_strategy": "anneal",
    "mode": "mode",
    "scale_mode": "scale_mode",
    "scale_fn": "function",
    "lr_lambda": "function",
    "cycle_momentum": "flag",
    "three_phase": "flag",
    "staircase": "flag",
    "cycle": "flag",
    "schedulers": "schedulers",
    "factors": "schedulers",
    "milestones": "steps",
    "boundaries": "steps",
    "values": "values",
}
# Where the same word has another range.
OTHER_KINDS = {
    ("ConstantLR", "total_iters"): "whole from 0",
    ("LinearLR", "total_iters"): "whole from 0",
    ("PolynomialLR", "total_iters"): "whole",
    ("ExponentialDecay", "decay_rate"): "positive",
    ("InverseTimeDecay", "decay_rate"): "from 0",
}


class Row(NamedTuple):
    room: str
    name: str
    words: dict[str, Any]
    error: type[Exception]
    argument: str  # with the index of the item that is meant, if one is
    shown: str


def rows(room, name):
    good = GOOD[room][name]
    for argument in good:
        kind = OTHER_KINDS.get((name, argument)) or KINDS[argument]
        for error, found in zip((TypeError, ValueError), BAD[kind], strict=True):
            for x in found:
                words = {**good, argument: x}
                yield Row(room, name, words, error, argument, repr(x))


def item(room, name, argument, index, error, *found):
    for x in found:
        items = list(GOOD[room][name][argument])
        items[index] = x
        words = {**GOOD[room][name], argument: items}
        yield Row(room, name, words, error, f"{argument}[{index}]", repr(x))


def whole_list(room, name, argument, *found):
    for x in found:
        words = {**GOOD[room][name], argument: x}
        yield Row(room, name, words, ValueError, argument, repr(x))


ROWS = [
    *(row for room, name in EACH for row in rows(room, name)),
    *item("pytorch", "MultiStepLR", "milestones", 1, ValueError, 2.5, -1, NAN),
    *item("pytorch", "MultiStepLR", "milestones", 0, TypeError, "3", None, True),
    *item("pytorch", "SequentialLR", "milestones", 1, TypeError, 2.5, 3.0, "3", None),
    *item("pytorch", "SequentialLR", "milestones", 0, ValueError, -1),
    *whole_list("pytorch", "SequentialLR", "milestones", [], [3], [5, 3], [1, 2, 3]),
    *item("pytorch", "SequentialLR", "schedulers", 1, TypeError, 0.1, None, "a"),
    *item("pytorch", "ChainedScheduler", "factors", 1, TypeError, 0.1, None, "a"),
    *item("keras", "PiecewiseConstantDecay", "boundaries", 1, ValueError, 2.5, -1),
    *item("keras", "PiecewiseConstantDecay", "boundaries", 0, TypeError, "3", None),
    *whole_list("keras", "PiecewiseConstantDecay", "boundaries", [5, 3]),
    *item("keras", "PiecewiseConstantDecay", "values", 1, TypeError, "1", None, True),
    *item("keras", "PiecewiseConstantDecay", "values", 2, ValueError, -0.1, NAN, INF),
]


@pytest.mark.parametrize(("room", "name"), EACH, ids=[".".join(x) for x in EACH])
def test_every_argument_has_rows(room, name):
    arguments = set(inspect.signature(getattr(getattr(oxe, room), name)).parameters)
    tried = {r.argument for r in ROWS if (r.room, r.name) == (room, name)}
    assert {x.partition("[")[0] for x in tried} == arguments == set(GOOD[room][name])
    assert np.isfinite(getattr(getattr(oxe, room), name)(**GOOD[room][name])(0))


@pytest.mark.parametrize(("room", "name"), EACH, ids=[".".join(x) for x in EACH])
def test_refused_when_made(room, name):
    """With its name, the argument's and the value; also inside jit."""
    make = getattr(getattr(oxe, room), name)
    mine = [row for row in ROWS if (row.room, row.name) == (room, name)]
    assert len(mine) > 5

    def program(x, row):
        make(**row.words)
        return x

    for row in mine:
        for call in (make, jax.jit(lambda row=row, **words: program(1.0, row))):
            with pytest.raises((TypeError, ValueError)) as caught:
                call(**row.words) if call is make else call()
            message = str(caught.value)
            assert caught.type is row.error, (row, message)
            argument, bracket, index = row.argument.partition("[")
            assert message.startswith(f"{name}: "), message
            assert f"`{argument}`{bracket}{index} must " in message, message
            assert f"got {row.shown}" in message, (row.shown, message)


@pytest.mark.parametrize(("room", "name"), EACH, ids=[".".join(x) for x in EACH])
def test_unknown_keyword(room, name):
    with pytest.raises(TypeError, match="warm_up"):
        getattr(getattr(oxe, room), name)(**GOOD[room][name], warm_up=3)


def test_functions_that_jax_cannot_trace():
    for f in (
        lambda t: 1.0 if t < 3 else 0.5,
        lambda t: [1.0, 0.5][t],
        lambda t: math.exp(-t),
    ):
        with pytest.raises(TypeError, match=r"^LambdaLR: `lr_lambda` must be trace"):
            oxe.pytorch.LambdaLR(0.1, f)
    for f in (lambda t: (1.0, 2.0), lambda t: jnp.ones(3)):
        with pytest.raises(TypeError, match=r"^LambdaLR: `lr_lambda` must return a"):
            oxe.pytorch.LambdaLR(0.1, f)


def test_a_table_needs_numbers_and_a_length():
    make = oxe.pytorch.MultiplicativeLR
    for x, error in ((NAN, ValueError), ("a", TypeError), (None, TypeError)):
        with pytest.raises(error, match=r"^MultiplicativeLR: `lr_lambda\(3\)` must be"):
            make(0.1, lambda t, x=x: x if t == 3 else 1.0, total_steps=5)
    with pytest.raises(
        TypeError, match=r"^MultiplicativeLR: `total_steps` must be con"
    ):
        jax.jit(lambda n: make(0.1, plain, total_steps=n)(0))(5)


def test_traced_t_mul_is_an_integer():
    def at(t_mul):
        return oxe.keras.CosineDecayRestarts(0.1, 5, t_mul)(7)

    assert np.isfinite(jax.jit(at)(2))
    with pytest.raises(TypeError, match=r"^CosineDecayRestarts: `t_mul` must be an i"):
        jax.jit(at)(2.0)
