"""The rows that `docs.parity` measures: a class, ours, and Optax's nearest."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import optax

from optax_extras import pytorch as pt

RATE, STEPS = 0.01, 300


class Optimizer(NamedTuple):
    name: str
    """The class."""
    kw: dict[str, Any]
    """The options that are measured, where they are not the defaults."""
    ours: str
    """The function of this library that it is made of."""
    optax: Callable[[], Any] | None
    """Optax's of the same name, with the same learning rate and options."""
    note: str
    """What Optax needs to compute the same, or why it cannot."""
    best: Callable[[], Any] | None = None
    """Optax's as the note says, if that is nearer."""


class Schedule(NamedTuple):
    name: str
    args: tuple
    ours: str
    optax: Callable[[], Any] | None
    note: str
    kw: Mapping[str, Any] = MappingProxyType({})
    best: Callable[[], Any] | None = None
    both: tuple[Callable[..., Any], Callable[[], Any]] | None = None
    """The original, given an optimizer, and ours; for classes made of schedules."""


def same(text):
    return f"the same: `{text}`"


PYTORCH = [
    Optimizer("SGD", {}, "`rules.sgd`", lambda: optax.sgd(RATE), same("optax.sgd")),
    Optimizer(
        "SGD",
        {"momentum": 0.9, "dampening": 0.5},
        "`rules.momentum`",
        lambda: optax.sgd(RATE, 0.9),
        "cannot: has no dampening",
    ),
    Optimizer("Adam", {}, "`rules.adam`", lambda: optax.adam(RATE), same("optax.adam")),
    Optimizer(
        "Adam",
        {"amsgrad": True},
        "`rules.amsgrad`",
        lambda: optax.amsgrad(RATE),
        "cannot: takes the maximum of the corrected moment",
    ),
    Optimizer(
        "AdamW",
        {},
        "`rules.adam`",
        lambda: optax.adamw(RATE),
        "`weight_decay=1e-2`: its default is 1e-4",
        lambda: optax.adamw(RATE, weight_decay=1e-2),
    ),
    Optimizer(
        "NAdam",
        {},
        "`rules.nadam`",
        lambda: optax.nadam(RATE),
        "cannot: its momentum does not warm up",
    ),
    Optimizer(
        "RAdam",
        {},
        "`rules.radam`",
        lambda: optax.radam(RATE),
        "cannot: adds epsilon after the correction, "
        "and tests ρ >= 5 where PyTorch tests > 5",
    ),
    Optimizer(
        "Adamax", {}, "`adamax`", lambda: optax.adamax(RATE), same("optax.adamax")
    ),
    Optimizer(
        "Adagrad",
        {},
        "`rules.adagrad`",
        lambda: optax.adagrad(RATE),
        "`initial_accumulator_value=0, eps=1e-20`; has no `lr_decay`",
        lambda: optax.adagrad(RATE, 0.0, 1e-20),
    ),
    Optimizer(
        "Adadelta", {}, "`adadelta`", lambda: optax.adadelta(RATE), same("adadelta")
    ),
    Optimizer(
        "RMSprop",
        {},
        "`rules.rmsprop`",
        lambda: optax.rmsprop(RATE),
        "`decay=0.99, eps_in_sqrt=False`; "
        "with a `momentum`, its velocity contains the learning rate",
        lambda: optax.rmsprop(RATE, decay=0.99, eps_in_sqrt=False),
    ),
    Optimizer(
        "Rprop",
        {},
        "`rprop`",
        lambda: optax.rprop(RATE),
        "cannot: takes each step one update late",
    ),
    Optimizer("ASGD", {}, "`asgd`", None, "has none"),
    Optimizer(
        "Adafactor",
        {},
        "`adafactor`",
        lambda: optax.adafactor(RATE),
        "cannot: factors differently, and has no bound of 1/√t",
    ),
    Optimizer(
        "Muon",
        {},
        "`muon`",
        lambda: optax.contrib.muon(RATE),
        "cannot: corrects the bias of its average, which changes the Nesterov step",
    ),
]
EPS = 1e-7
KERAS = [
    Optimizer(
        "SGD",
        {"momentum": 0.9},
        "`heavy_ball`",
        lambda: optax.sgd(RATE, 0.9),
        "the same while the learning rate is constant, different when it changes",
    ),
    Optimizer(
        "Adam",
        {},
        "`rules.adam(eps_hat=True)`",
        lambda: optax.adam(RATE),
        "`eps=1e-7`, but it is added to the corrected root",
        lambda: optax.adam(RATE, eps=EPS),
    ),
    Optimizer(
        "Adam",
        {"amsgrad": True},
        "`rules.amsgrad(eps_hat=True)`",
        lambda: optax.amsgrad(RATE),
        "cannot: takes the maximum of the corrected moment",
    ),
    Optimizer(
        "AdamW",
        {},
        "`rules.adam(eps_hat=True)`",
        lambda: optax.adamw(RATE),
        "`weight_decay=0.004, eps=1e-7`, but epsilon is added to the corrected root",
        lambda: optax.adamw(RATE, eps=EPS, weight_decay=0.004),
    ),
    Optimizer(
        "Nadam",
        {},
        "`rules.nadam(momentum_decay=1)`",
        lambda: optax.nadam(RATE),
        "cannot: its momentum does not warm up",
    ),
    Optimizer(
        "Adamax",
        {},
        "`adamax(eps_in_maximum=False)`",
        lambda: optax.adamax(RATE),
        "cannot: has epsilon inside the maximum",
    ),
    Optimizer(
        "RMSprop",
        {"momentum": 0.9},
        "`rules.rmsprop(eps_in_root=True)`",
        lambda: optax.rmsprop(RATE, momentum=0.9),
        "`eps=1e-7`",
        lambda: optax.rmsprop(RATE, momentum=0.9, eps=EPS),
    ),
    Optimizer(
        "Adagrad",
        {},
        "`rules.adagrad`",
        lambda: optax.adagrad(RATE),
        same("optax.adagrad"),
    ),
    Optimizer(
        "Adadelta",
        {},
        "`adadelta`",
        lambda: optax.adadelta(RATE),
        "`rho=0.95, eps=1e-7`",
        lambda: optax.adadelta(RATE, 0.95, EPS),
    ),
    Optimizer(
        "Lion",
        {},
        "`lion`",
        lambda: optax.lion(RATE),
        "`weight_decay=0`: its default is 1e-3",
        lambda: optax.lion(RATE, weight_decay=0.0),
    ),
    Optimizer("Ftrl", {}, "`ftrl(from_sums=True)`", None, "has none"),
    Optimizer(
        "Lamb",
        {},
        "`rules.adam`",
        lambda: optax.lamb(RATE),
        "`eps=1e-7`; its norms contain the weight decay",
        lambda: optax.lamb(RATE, eps=EPS),
    ),
]

B, T = 0.1, 100
CYCLES = (
    "the same for a finite list of cycles, each of which is compiled into the program"
)
PYTORCH_SCHEDULES = [
    Schedule(
        "LambdaLR",
        (lambda t: 0.95**t,),
        "the function itself",
        lambda: lambda t: B * 0.95**t,
        "the same: any function is a schedule",
    ),
    Schedule("MultiplicativeLR", (lambda t: 0.95,), "a table", None, "has none"),
    Schedule(
        "StepLR",
        (30,),
        "`schedules.step`",
        lambda: optax.exponential_decay(B, 30, 0.1, staircase=True),
        same("optax.exponential_decay(staircase=True)"),
    ),
    Schedule(
        "MultiStepLR",
        ([30, 80],),
        "`schedules.multistep`",
        lambda: optax.piecewise_constant_schedule(B, {30: 0.1, 80: 0.1}),
        "the same, unless a milestone occurs twice",
    ),
    Schedule(
        "ConstantLR",
        (0.5, 20),
        "`schedules.piecewise_constant`",
        lambda: optax.piecewise_constant_schedule(B / 2, {20: 2.0}),
        same("optax.piecewise_constant_schedule"),
    ),
    Schedule(
        "LinearLR",
        (0.5, 1.0, 20),
        "`schedules.linear`",
        lambda: optax.linear_schedule(B / 2, B, 20),
        same("optax.linear_schedule"),
    ),
    Schedule(
        "ExponentialLR",
        (0.95,),
        "`schedules.exponential`",
        lambda: optax.exponential_decay(B, 1, 0.95),
        same("optax.exponential_decay"),
    ),
    Schedule(
        "PolynomialLR",
        (T, 2.0),
        "`schedules.polynomial`",
        lambda: optax.polynomial_schedule(B, 0.0, 2.0, T),
        same("optax.polynomial_schedule"),
    ),
    Schedule(
        "CosineAnnealingLR",
        (T,),
        "`schedules.cosine(periodic=True)`",
        lambda: optax.cosine_decay_schedule(B, T),
        "the same until `T_max`; PyTorch's then rises again",
    ),
    Schedule(
        "CosineAnnealingWarmRestarts",
        (20, 2),
        "`schedules.warm_restarts`",
        lambda: optax.join_schedules(
            [optax.cosine_decay_schedule(B, 20 * 2**i) for i in range(4)],
            [20 * (2**i - 1) for i in range(1, 4)],
        ),
        CYCLES,
    ),
    Schedule("CyclicLR", (B, 1.0, 20), "`schedules.cyclic`", None, "has none"),
    Schedule(
        "OneCycleLR",
        (B, STEPS),
        "`schedules.one_cycle`",
        lambda: optax.cosine_onecycle_schedule(STEPS, B, 0.3, 25.0, 1e4),
        "cannot: peak and end are one step later; has no momentum",
    ),
    Schedule(
        "SWALR",
        (0.01, T),
        "`schedules.cosine`",
        lambda: optax.cosine_decay_schedule(B, T, 0.1),
        "the same: `optax.cosine_decay_schedule(alpha=swa_lr / lr)`",
    ),
    Schedule(
        "SequentialLR",
        (),
        "`schedules.sequence`",
        lambda: optax.join_schedules(
            [optax.linear_schedule(B / 2, B, 20), optax.exponential_decay(B, 1, 0.95)],
            [20],
        ),
        "the same: `optax.join_schedules`",
        both=(
            lambda lrs, opt: lrs.SequentialLR(
                opt,
                [lrs.LinearLR(opt, 0.5, 1.0, 20), lrs.ExponentialLR(opt, 0.95)],
                [20],
            ),
            lambda: pt.SequentialLR(
                [pt.LinearLR(B, 0.5, 1.0, 20), pt.ExponentialLR(B, 0.95)], [20]
            ),
        ),
    ),
    Schedule(
        "ChainedScheduler",
        (),
        "`schedules.product`",
        None,
        "has none",
        both=(
            lambda lrs, opt: lrs.ChainedScheduler(
                [lrs.ConstantLR(opt, 0.5, 20), lrs.ExponentialLR(opt, 0.95)]
            ),
            lambda: pt.ChainedScheduler(
                B, [pt.ConstantLR(1.0, 0.5, 20), pt.ExponentialLR(1.0, 0.95)]
            ),
        ),
    ),
]
KERAS_SCHEDULES = [
    Schedule(
        "ExponentialDecay",
        (B, T, 0.5),
        "`schedules.exponential`",
        lambda: optax.exponential_decay(B, T, 0.5),
        same("optax.exponential_decay"),
    ),
    Schedule(
        "PiecewiseConstantDecay",
        ([30, 80], [B, B / 2, B / 10]),
        "`schedules.piecewise_constant`",
        lambda: optax.piecewise_constant_schedule(B, {30: 0.5, 80: 0.2}),
        "every boundary plus 1, and factors instead of values",
        best=lambda: optax.piecewise_constant_schedule(B, {31: 0.5, 81: 0.2}),
    ),
    Schedule(
        "PolynomialDecay",
        (B, T, B / 10, 2.0),
        "`schedules.polynomial(cycle=True)`",
        lambda: optax.polynomial_schedule(B, B / 10, 2.0, T),
        "cannot: has no `cycle`; without it the same",
        {"cycle": True},
    ),
    Schedule(
        "InverseTimeDecay", (B, T, 0.5), "`schedules.inverse_time`", None, "has none"
    ),
    Schedule(
        "CosineDecay",
        (0.0, T, 0.1),
        "`schedules.warmup`, `schedules.cosine`",
        lambda: optax.warmup_cosine_decay_schedule(0.0, B, 10, T + 10, B / 10),
        "`decay_steps` plus `warmup_steps`",
        {"warmup_target": B, "warmup_steps": 10},
    ),
    Schedule(
        "CosineDecayRestarts",
        (B, 20),
        "`schedules.warm_restarts`",
        lambda: optax.join_schedules(
            [optax.cosine_decay_schedule(B, 20 * 2**i) for i in range(4)],
            [20 * (2**i - 1) for i in range(1, 4)],
        ),
        CYCLES,
    ),
]
# Reacting to a metric.
PYTORCH_PLATEAU = Schedule(
    "ReduceLROnPlateau",
    (),
    "`plateau`",
    lambda: optax.contrib.reduce_on_plateau(0.1, 10, 1e-4),
    '`patience` plus 1, `min_scale=min_lr / lr`; has no `mode="max"`',
    best=lambda: optax.contrib.reduce_on_plateau(0.1, 11, 1e-4),
)
KERAS_PLATEAU = Schedule(
    "ReduceLROnPlateau",
    (),
    "`plateau`",
    lambda: optax.contrib.reduce_on_plateau(0.1, 10, 0.0, 1e-4),
    '`rtol=0, atol=1e-4, min_scale=min_lr / lr`; has no `mode="max"`',
)
