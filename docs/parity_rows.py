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
        "Adafactor",
        {},
        "`adafactor(eps_in_square=True)`",
        lambda: optax.adafactor(RATE),
        "cannot: factors differently, and has no bound of 1/√t",
    ),
    Optimizer(
        "Muon",
        {},
        "`muon` and `rules.adam(eps_hat=True)`",
        lambda: optax.contrib.muon(RATE),
        "cannot: corrects the bias of its average, which changes the Nesterov step",
    ),
    Optimizer(
        "ScheduleFreeAdamW",
        {},
        "its own",
        lambda: optax.contrib.schedule_free_adamw(RATE),
        "the same at a constant learning rate; with a schedule, a warm-up or a "
        "weight decay it cannot",
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
UPDATES = {"t_in_epochs": False}
TIMM_SCHEDULES = [
    Schedule(
        "CosineLRScheduler",
        (T, B / 100),
        "the cycles of `schedules.warm_restarts`",
        lambda: optax.warmup_cosine_decay_schedule(0.0, B, 10, T + 10, B / 100),
        "the same with one cycle: `optax.warmup_cosine_decay_schedule`, whose "
        "`decay_steps` include the warm-up; has no `k_decay`, no `warmup_prefix=False`",
        {"warmup_t": 10, "warmup_prefix": True, **UPDATES},
    ),
    Schedule(
        "TanhLRScheduler",
        (T,),
        "the cycles of `schedules.warm_restarts`",
        None,
        "has none",
        UPDATES,
    ),
    Schedule(
        "PolyLRScheduler",
        (T, 2.0),
        "the cycles of `schedules.warm_restarts`",
        lambda: optax.polynomial_schedule(B, 0.0, 2.0, T),
        "the same with one cycle: `optax.polynomial_schedule`; has no `k_decay`",
        UPDATES,
    ),
    Schedule(
        "StepLRScheduler",
        (30, 0.5),
        "its formula",
        lambda: optax.exponential_decay(B, 30, 0.5, staircase=True),
        same("optax.exponential_decay(staircase=True)"),
        UPDATES,
    ),
    Schedule(
        "MultiStepLRScheduler",
        ([30, 80], 0.1),
        "`schedules.multistep`",
        lambda: optax.piecewise_constant_schedule(B, {30: 0.1, 80: 0.1}),
        "every milestone minus 1",
        UPDATES,
        best=lambda: optax.piecewise_constant_schedule(B, {29: 0.1, 79: 0.1}),
    ),
    Schedule(
        "WSDLRScheduler",
        (T, 20),
        "its formula",
        lambda: optax.join_schedules(
            [
                optax.linear_schedule(0.0, B, 10),
                optax.constant_schedule(B),
                optax.linear_schedule(B, 0.0, 20),
            ],
            [10, 90],
        ),
        "has none; joined, with a linear decay, the same",
        {"warmup_t": 10, "decay_fn": "linear", **UPDATES},
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
TIMM_PLATEAU = Schedule(
    "PlateauLRScheduler",
    (),
    "`plateau` after a warm-up",
    lambda: optax.contrib.reduce_on_plateau(0.1, 10, 1e-4),
    '`patience` plus 1, the metric times -1; has no `mode="max"` and no warm-up',
    {"mode": "min"},
    best=lambda: optax.contrib.reduce_on_plateau(0.1, 11, 1e-4),
)

W = 20


def after_warmup(decay):
    """Optax's join of a line up to B and a decay."""
    return optax.join_schedules([optax.linear_schedule(0.0, B, W), decay], [W])


RUN = W, STEPS
WHILE_TRAINING = "the same until the last training step; transformers' then rises again"
TRANSFORMERS_SCHEDULES = [
    Schedule(
        "get_constant_schedule",
        (),
        "a constant",
        lambda: optax.constant_schedule(B),
        same("optax.constant_schedule"),
    ),
    Schedule(
        "get_constant_schedule_with_warmup",
        (W,),
        "`schedules.warmup`",
        lambda: optax.warmup_constant_schedule(0.0, B, W),
        same("optax.warmup_constant_schedule"),
    ),
    Schedule(
        "get_linear_schedule_with_warmup",
        RUN,
        "`schedules.warmup`, `schedules.linear`",
        lambda: after_warmup(optax.linear_schedule(B, 0.0, STEPS - W)),
        "the same: two `optax.linear_schedule`, joined",
    ),
    Schedule(
        "get_cosine_schedule_with_warmup",
        RUN,
        "`schedules.warmup` and a wave",
        lambda: optax.warmup_cosine_decay_schedule(0.0, B, W, STEPS),
        WHILE_TRAINING,
    ),
    Schedule(
        "get_cosine_with_hard_restarts_schedule_with_warmup",
        RUN,
        "`schedules.warmup` and half waves",
        lambda: optax.join_schedules(
            [
                optax.linear_schedule(0.0, B, W),
                *[optax.cosine_decay_schedule(B, (STEPS - W) // 4)] * 4,
                optax.constant_schedule(0.0),
            ],
            [W + (STEPS - W) // 4 * i for i in range(5)],
        ),
        "the same if every cycle is a whole number of steps; "
        "each cycle is compiled into the program",
        {"num_cycles": 4},
    ),
    Schedule(
        "get_polynomial_decay_schedule_with_warmup",
        RUN,
        "`schedules.warmup`, `schedules.polynomial`",
        lambda: after_warmup(optax.polynomial_schedule(B, 1e-7, 2.0, STEPS - W)),
        "the same: `optax.polynomial_schedule`, joined to a warm-up",
        {"power": 2.0},
    ),
    Schedule(
        "get_inverse_sqrt_schedule",
        (W,),
        "`schedules.warmup`, `schedules.inverse_sqrt`",
        None,
        "has none",
    ),
    Schedule(
        "get_cosine_with_min_lr_schedule_with_warmup",
        RUN,
        "`schedules.warmup` and a wave",
        lambda: optax.warmup_cosine_decay_schedule(0.0, B, W, STEPS, B / 10),
        WHILE_TRAINING,
        {"min_lr_rate": 0.1},
    ),
    Schedule(
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
        RUN,
        "a line and a wave",
        lambda: optax.warmup_cosine_decay_schedule(0.0, B, W, STEPS, B / 10),
        "`init_value=lr / W`, and both numbers of steps minus 1",
        {"min_lr_rate": 0.1},
        lambda: optax.warmup_cosine_decay_schedule(B / W, B, W - 1, STEPS - 1, B / 10),
    ),
    Schedule(
        "get_wsd_schedule",
        (W, 80, STEPS),
        "three curves",
        lambda: optax.join_schedules(
            [
                optax.linear_schedule(0.0, B, W),
                optax.constant_schedule(B),
                optax.cosine_decay_schedule(B, 80),
            ],
            [W, STEPS - 80],
        ),
        "the same: three schedules, joined",
    ),
]
TRANSFORMERS_METRIC = [
    PYTORCH_PLATEAU._replace(name="get_reduce_on_plateau_schedule"),
    Schedule("get_greedy_schedule", (), "`greedy`", None, "has none"),
]
