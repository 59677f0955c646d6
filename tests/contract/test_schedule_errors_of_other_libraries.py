"""What the schedules of other libraries refuse, and their messages.

The checks themselves are tested in `tests/schedules/test_bad_arguments.py`. Here each
argument must have the right one.
"""

import inspect
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

import optax_extras as oxe
from tests.contract.test_schedules_of_other_libraries import EACH, PACKAGES

NAN, INF = float("nan"), float("inf")
CURVE = oxe.pytorch.StepLR(0.1, 5)


def plain(t):
    return 1.0


START = {"initial_learning_rate": 0.1, "decay_steps": 5}
CYCLE = dict(t_initial=5, lr_min=0.01, cycle_mul=2, cycle_decay=0.9, cycle_limit=2)
COUNTED = dict(lr=0.1, t_in_epochs=True, updates_per_epoch=5)
TIMM = dict(warmup_t=5, warmup_lr_init=0.01, warmup_prefix=True, **COUNTED)
RUN = {"lr": 0.1, "num_warmup_steps": 5, "num_training_steps": 20}
GOOD: dict[str, dict[str, dict[str, Any]]] = {
    "pytorch": {
        "LambdaLR": dict(lr=0.1, lr_lambda=plain),
        "MultiplicativeLR": dict(lr=0.1, lr_lambda=plain, total_steps=9),
        "StepLR": dict(lr=0.1, step_size=5, gamma=0.5),
        "MultiStepLR": dict(lr=0.1, milestones=[5, 3], gamma=0.5),
        "ConstantLR": dict(lr=0.1, factor=0.5, total_iters=5),
        "LinearLR": dict(lr=0.1, start_factor=0.5, end_factor=0.9, total_iters=5),
        "ExponentialLR": dict(lr=0.1, gamma=0.5),
        "PolynomialLR": dict(lr=0.1, total_iters=5, power=2.0),
        "CosineAnnealingLR": dict(lr=0.1, T_max=5, eta_min=0.01),
        "CosineAnnealingWarmRestarts": dict(lr=0.1, T_0=5, T_mult=2, eta_min=0.01),
        "SWALR": dict(lr=0.1, swa_lr=0.05, anneal_epochs=5, anneal_strategy="linear"),
        "CyclicLR": dict(
            base_lr=0.1,
            max_lr=1.0,
            step_size_up=5,
            step_size_down=3,
            mode="exp_range",
            gamma=0.9,
            scale_fn=None,
            scale_mode="cycle",
            cycle_momentum=True,
            base_momentum=0.8,
            max_momentum=0.9,
        ),
        "OneCycleLR": dict(
            max_lr=1.0,
            total_steps=None,
            epochs=5,
            steps_per_epoch=3,
            pct_start=0.3,
            anneal_strategy="linear",
            cycle_momentum=True,
            base_momentum=0.8,
            max_momentum=0.9,
            div_factor=20.0,
            final_div_factor=100.0,
            three_phase=True,
        ),
        "SequentialLR": dict(schedulers=[CURVE, CURVE, CURVE], milestones=[3, 5]),
        "ChainedScheduler": dict(lr=0.1, factors=[CURVE, CURVE]),
    },
    "keras": {
        "ExponentialDecay": dict(decay_rate=0.9, staircase=True, **START),
        "InverseTimeDecay": dict(decay_rate=0.9, staircase=True, **START),
        "PiecewiseConstantDecay": dict(boundaries=[3, 5], values=[0.1, 0.2, 0.3]),
        "PolynomialDecay": dict(end_learning_rate=0.01, power=2.0, cycle=True, **START),
        "CosineDecay": dict(alpha=0.1, warmup_target=0.2, warmup_steps=5, **START),
        "CosineDecayRestarts": dict(
            initial_learning_rate=0.1,
            first_decay_steps=5,
            t_mul=2.0,
            m_mul=0.9,
            alpha=0.1,
        ),
        "CyclicLR": dict(
            base_lr=0.1,
            max_lr=1.0,
            step_size=5.0,
            mode="exp_range",
            gamma=0.9,
            scale_fn=None,
            scale_mode="cycle",
        ),
    },
    "transformers": {
        "get_constant_schedule": dict(lr=0.1),
        "get_constant_schedule_with_warmup": dict(lr=0.1, num_warmup_steps=5),
        "get_linear_schedule_with_warmup": RUN,
        "get_cosine_schedule_with_warmup": dict(num_cycles=1.5, **RUN),
        "get_cosine_with_hard_restarts_schedule_with_warmup": dict(num_cycles=2, **RUN),
        "get_polynomial_decay_schedule_with_warmup": dict(
            lr_end=0.01, power=2.0, **RUN
        ),
        "get_inverse_sqrt_schedule": dict(lr=0.1, num_warmup_steps=5, timescale=9),
        "get_cosine_with_min_lr_schedule_with_warmup": dict(
            num_cycles=1.5, min_lr=0.01, min_lr_rate=None, **RUN
        ),
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": dict(
            num_cycles=1.5, min_lr=None, min_lr_rate=0.1, warmup_lr_rate=0.2, **RUN
        ),
        "get_wsd_schedule": dict(
            num_decay_steps=5,
            num_stable_steps=None,
            warmup_type="cosine",
            decay_type="1-sqrt",
            min_lr_ratio=0.1,
            num_cycles=1.5,
            **RUN,
        ),
    },
    "timm": {
        "CosineLRScheduler": dict(k_decay=1.5, **CYCLE, **TIMM),
        "TanhLRScheduler": dict(lb=-2.0, ub=2.0, **CYCLE, **TIMM),
        "PolyLRScheduler": dict(power=2.0, k_decay=1.5, **CYCLE, **TIMM),
        "StepLRScheduler": dict(decay_t=2.4, decay_rate=0.5, **TIMM),
        "MultiStepLRScheduler": dict(decay_t=[3, 5], decay_rate=0.5, **TIMM),
        "WSDLRScheduler": dict(
            t_initial=9,
            decay_t=5,
            lr_min=0.01,
            stable_fn="power",
            stable_timescale=5.0,
            stable_power=0.5,
            decay_fn="power",
            decay_power=0.5,
            decay_ratio=0.1,
            warmup_t=5,
            warmup_lr_init=0.01,
            **COUNTED,
        ),
    },
}

# By what an argument is: values of another kind, and values out of range.
NO_NUMBER = ("0.1", True)
NO_COUNT = ("10", True, jnp.float32(10))
BAD = {
    "rate": (NO_NUMBER, (NAN, INF, -0.1)),
    "real": (NO_NUMBER, (NAN, INF)),
    "positive": (NO_NUMBER, (NAN, INF, 0)),
    "from 0": (NO_NUMBER, (NAN, INF, -0.5)),
    "from 1": (NO_NUMBER, (NAN, INF, 0.9)),
    "(0, 1]": (NO_NUMBER, (NAN, 0, 1.1)),
    "(0, 1)": (NO_NUMBER, (NAN, 0, 1.0)),
    "[0, 1]": (NO_NUMBER, (NAN, -0.1, 1.1)),
    "[0, 0.5]": (NO_NUMBER, (NAN, -0.1, 0.6)),
    "whole": (NO_COUNT, (0, 2.5, 0.0, NAN, INF)),
    "whole from 0": (NO_COUNT, (-1, 2.5, -3.0, NAN, INF)),
    "count": ((*NO_COUNT, 10.0), (0,)),
    "count from 0": ((*NO_COUNT, 10.0), (-1,)),
    "flag": ((1, None), ()),
    "word": ((), ("cosine", None)),
    "shape": ((), ("cos", None)),
    "function": ((0.5, "triangular"), ()),
    "word or function": ((), ("square", None, 0.5)),
    "schedulers": ((0.1, "abc", CURVE), ([],)),
    "steps": (("34", 3), ()),
    "values": (("abc", None), ([], [0.1], [0.1] * 4)),
}
ARGUMENTS = {
    "rate": "lr base_lr max_lr swa_lr initial_learning_rate end_learning_rate "
    "warmup_target lr_min warmup_lr_init num_cycles min_lr min_lr_rate min_lr_ratio "
    "warmup_lr_rate lr_end",
    "real": "eta_min alpha base_momentum max_momentum lb ub",
    "positive": "gamma power div_factor final_div_factor m_mul cycle_decay k_decay "
    "decay_rate stable_timescale stable_power decay_power timescale",
    "from 1": "t_mul cycle_mul",
    "(0, 1)": "decay_ratio",
    "[0, 1]": "factor end_factor",
    "(0, 1]": "start_factor",
    "[0, 0.5]": "pct_start",
    "whole": "step_size step_size_up T_max decay_steps first_decay_steps t_initial "
    "num_training_steps",
    "whole from 0": "step_size_down warmup_steps warmup_t num_warmup_steps "
    "num_decay_steps num_stable_steps",
    "count": "T_0 T_mult total_steps epochs steps_per_epoch cycle_limit "
    "updates_per_epoch",
    "count from 0": "anneal_epochs",
    "word": "anneal_strategy mode scale_mode stable_fn",
    "shape": "warmup_type decay_type",
    "function": "scale_fn lr_lambda",
    "word or function": "decay_fn",
    "flag": "cycle_momentum three_phase staircase cycle warmup_prefix t_in_epochs",
    "schedulers": "schedulers factors",
    "steps": "milestones boundaries",
    "values": "values",
}
KINDS = {name: kind for kind, names in ARGUMENTS.items() for name in names.split()}
# Where the same word has another range.
OTHER_KINDS = {
    ("ConstantLR", "total_iters"): "whole from 0",
    ("LinearLR", "total_iters"): "whole from 0",
    ("PolynomialLR", "total_iters"): "whole",
    ("get_cosine_with_hard_restarts_schedule_with_warmup", "num_cycles"): "whole",
    ("InverseTimeDecay", "decay_rate"): "from 0",
    ("StepLRScheduler", "decay_t"): "from 1",
    ("MultiStepLRScheduler", "decay_t"): "steps",
    ("WSDLRScheduler", "decay_t"): "whole",
}


class Row(NamedTuple):
    package: str
    name: str
    words: dict[str, Any]
    error: type[Exception]
    argument: str  # with the index of the item that is meant, if one is
    shown: str


def rows(package, name):
    good = GOOD[package][name]
    for argument in good:
        kind = OTHER_KINDS.get((name, argument)) or KINDS[argument]
        for error, found in zip((TypeError, ValueError), BAD[kind], strict=True):
            for x in found:
                words = {**good, argument: x}
                yield Row(package, name, words, error, argument, repr(x))


def item(package, name, argument, index, error, *found):
    for x in found:
        items = list(GOOD[package][name][argument])
        items[index] = x
        words = {**GOOD[package][name], argument: items}
        yield Row(package, name, words, error, f"{argument}[{index}]", repr(x))


def whole_list(package, name, argument, *found):
    for x in found:
        words = {**GOOD[package][name], argument: x}
        yield Row(package, name, words, ValueError, argument, repr(x))


ROWS = [
    *(row for package, name in EACH for row in rows(package, name)),
    *item("pytorch", "MultiStepLR", "milestones", 1, ValueError, 2.5, -1),
    *item("pytorch", "MultiStepLR", "milestones", 0, TypeError, "3"),
    *item("pytorch", "SequentialLR", "milestones", 1, TypeError, 3.0, "3"),
    *item("pytorch", "SequentialLR", "milestones", 0, ValueError, -1),
    *whole_list("pytorch", "SequentialLR", "milestones", [3], [5, 3], [1, 2, 3]),
    *item("pytorch", "SequentialLR", "schedulers", 1, TypeError, 0.1),
    *item("pytorch", "ChainedScheduler", "factors", 1, TypeError, 0.1),
    *item("timm", "MultiStepLRScheduler", "decay_t", 1, ValueError, 2.5, -1),
    *item("timm", "MultiStepLRScheduler", "decay_t", 0, TypeError, "3"),
    *whole_list("timm", "MultiStepLRScheduler", "decay_t", [5, 3]),
    *whole_list("timm", "WSDLRScheduler", "decay_t", 10),
    *item("keras", "PiecewiseConstantDecay", "boundaries", 1, ValueError, 2.5, -1),
    *item("keras", "PiecewiseConstantDecay", "boundaries", 0, TypeError, "3"),
    *whole_list("keras", "PiecewiseConstantDecay", "boundaries", [5, 3]),
    *item("keras", "PiecewiseConstantDecay", "values", 1, TypeError, "1"),
    *item("keras", "PiecewiseConstantDecay", "values", 2, ValueError, -0.1, NAN),
]


@pytest.mark.parametrize(("package", "name"), EACH, ids=[".".join(x) for x in EACH])
def test_every_argument(package, name):
    """The message has the function's name, the argument's and the value."""
    make, good = getattr(PACKAGES[package], name), GOOD[package][name]
    assert set(inspect.signature(make).parameters) == set(good)
    assert jax.eval_shape(lambda: make(**good)(0)).shape == ()
    with pytest.raises(TypeError, match="warm_up"):
        make(**good, warm_up=3)
    mine = [row for row in ROWS if (row.package, row.name) == (package, name)]
    assert {row.argument.partition("[")[0] for row in mine} == set(good)
    for row in mine:
        with pytest.raises((TypeError, ValueError)) as caught:
            make(**row.words)
        message = str(caught.value)
        assert caught.type is row.error, (row, message)
        argument, bracket, index = row.argument.partition("[")
        assert message.startswith(f"{name}: `{argument}`{bracket}{index} must "), (
            message
        )
        assert f"got {row.shown}" in message, (row.shown, message)


def test_inside_jit():
    """Concrete values are refused as elsewhere, also arrays."""
    for lr in (-0.1, jnp.float32(-1)):
        with pytest.raises(ValueError, match=r"^StepLR: `lr` must be in \[0, inf\)"):
            jax.eval_shape(lambda x, lr=lr: x * oxe.pytorch.StepLR(lr, 5)(0), 1.0)


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
    for x, error in ((NAN, ValueError), ("a", TypeError)):
        with pytest.raises(error, match=r"^MultiplicativeLR: `lr_lambda\(3\)` must be"):
            make(0.1, lambda t, x=x: x if t == 3 else 1.0, total_steps=5)
    with pytest.raises(
        TypeError, match=r"^MultiplicativeLR: `total_steps` must be con"
    ):
        jax.eval_shape(lambda n: make(0.1, plain, total_steps=n)(0), 5)


def test_traced_t_mul_is_an_integer():
    def at(t_mul):
        return oxe.keras.CosineDecayRestarts(0.1, 5, t_mul)(7)

    assert jax.eval_shape(at, 2).shape == ()
    with pytest.raises(TypeError, match=r"^CosineDecayRestarts: `t_mul` must be an i"):
        jax.eval_shape(at, 2.0)


def test_fractional_t_mul_of_traced_steps():
    def at(steps):
        return oxe.keras.CosineDecayRestarts(0.1, steps, 1.5)(7)

    must = "`t_mul` must be an integer when `first_decay_steps` is traced, got 1.5"
    with pytest.raises(ValueError, match=f"^CosineDecayRestarts: {must}"):
        jax.eval_shape(at, 5)
