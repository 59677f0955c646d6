"""What the schedules of other libraries are as JAX functions.

Their values are compared in `tests/parity`. No other library is needed here: a function
that returns a schedule is recognized by its annotation.
"""

import inspect
import re

import jax
import numpy as np
import pytest

import optax_extras as oxe
from optax_extras.schedules import _curve

pt, ks, tm, hf = oxe.pytorch, oxe.keras, oxe.timm, oxe.transformers
LAST = 2**31 - 1
PACKAGES = {
    "pytorch": pt,
    "keras": ks,
    "transformers": oxe.transformers,
    "timm": oxe.timm,
}
SCHEDULE_TYPES = (_curve.Schedule, _curve.RestartingSchedule, _curve.MomentumSchedule)


def schedule_names(package):
    """What makes a schedule."""
    made = {name: inspect.signature(getattr(package, name)) for name in package.__all__}
    return {n for n, found in made.items() if found.return_annotation in SCHEDULE_TYPES}


# Each as a function of the base rate.
CALLS = {
    "pytorch": {
        "LambdaLR": lambda lr: pt.LambdaLR(lr, lambda t: 1 / (1 + t // 10)),
        "MultiplicativeLR": lambda lr: pt.MultiplicativeLR(
            lr, lambda t: 0.99, total_steps=40
        ),
        "StepLR": lambda lr: pt.StepLR(lr, 10),
        "MultiStepLR": lambda lr: pt.MultiStepLR(lr, [9, 2, 50]),
        "ConstantLR": lambda lr: pt.ConstantLR(lr, total_iters=9),
        "LinearLR": lambda lr: pt.LinearLR(lr, total_iters=9),
        "ExponentialLR": lambda lr: pt.ExponentialLR(lr, 0.99),
        "PolynomialLR": lambda lr: pt.PolynomialLR(lr, 50, 2.0),
        "CosineAnnealingLR": lambda lr: pt.CosineAnnealingLR(lr, 10, 0.01),
        "CosineAnnealingWarmRestarts": lambda lr: pt.CosineAnnealingWarmRestarts(
            lr, 10, 2
        ),
        "SWALR": lambda lr: pt.SWALR(lr, 0.05, 10),
        "CyclicLR": lambda lr: pt.CyclicLR(0.01, lr, 10, mode="triangular2"),
        "OneCycleLR": lambda lr: pt.OneCycleLR(lr, 50),
        "SequentialLR": lambda lr: pt.SequentialLR(
            [pt.LinearLR(lr), pt.CosineAnnealingWarmRestarts(lr, 10)], [5]
        ),
        "ChainedScheduler": lambda lr: pt.ChainedScheduler(
            lr, [pt.ConstantLR(1.0), pt.CosineAnnealingWarmRestarts(1.0, 10)]
        ),
    },
    "keras": {
        "ExponentialDecay": lambda lr: ks.ExponentialDecay(lr, 10, 0.9),
        "InverseTimeDecay": lambda lr: ks.InverseTimeDecay(lr, 10, 0.9),
        "PiecewiseConstantDecay": lambda lr: ks.PiecewiseConstantDecay(
            [3, 9], [lr, 0.1, 0.2]
        ),
        "PolynomialDecay": lambda lr: ks.PolynomialDecay(lr, 10, cycle=True),
        "CosineDecay": lambda lr: ks.CosineDecay(
            0.01, 30, 0.1, warmup_target=lr, warmup_steps=7
        ),
        "CosineDecayRestarts": lambda lr: ks.CosineDecayRestarts(
            lr, 10, m_mul=0.9, alpha=0.1
        ),
        "CyclicLR": lambda lr: ks.CyclicLR(0.01, lr, 10, mode="exp_range", gamma=0.99),
    },
    "transformers": {
        "get_constant_schedule": hf.get_constant_schedule,
        "get_constant_schedule_with_warmup": (
            lambda lr: hf.get_constant_schedule_with_warmup(lr, 9)
        ),
        "get_linear_schedule_with_warmup": (
            lambda lr: hf.get_linear_schedule_with_warmup(lr, 9, 50)
        ),
        "get_cosine_schedule_with_warmup": (
            lambda lr: hf.get_cosine_schedule_with_warmup(lr, 9, 50, 1.5)
        ),
        "get_cosine_with_hard_restarts_schedule_with_warmup": (
            lambda lr: hf.get_cosine_with_hard_restarts_schedule_with_warmup(
                lr, 9, 51, 3
            )
        ),
        "get_polynomial_decay_schedule_with_warmup": (
            lambda lr: hf.get_polynomial_decay_schedule_with_warmup(
                lr, 9, 50, 0.01, 2.0
            )
        ),
        "get_inverse_sqrt_schedule": lambda lr: hf.get_inverse_sqrt_schedule(lr, 9),
        "get_cosine_with_min_lr_schedule_with_warmup": (
            lambda lr: hf.get_cosine_with_min_lr_schedule_with_warmup(
                lr, 9, 50, min_lr=0.01
            )
        ),
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate": (
            lambda lr: hf.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
                lr, 9, 50, min_lr_rate=0.1
            )
        ),
        "get_wsd_schedule": lambda lr: hf.get_wsd_schedule(
            lr, 9, 10, 50, min_lr_ratio=0.1
        ),
    },
    "timm": {
        "CosineLRScheduler": lambda lr: tm.CosineLRScheduler(
            lr, 5, 0.01, 2, 0.9, 9, 2, k_decay=1.5, updates_per_epoch=2
        ),
        "TanhLRScheduler": lambda lr: tm.TanhLRScheduler(
            lr, 10, -2.0, warmup_t=3, t_in_epochs=False
        ),
        "PolyLRScheduler": lambda lr: tm.PolyLRScheduler(
            lr, 10, cycle_limit=3, warmup_t=3, warmup_prefix=True, t_in_epochs=False
        ),
        "StepLRScheduler": lambda lr: tm.StepLRScheduler(
            lr, 2.4, 0.97, updates_per_epoch=10
        ),
        "MultiStepLRScheduler": lambda lr: tm.MultiStepLRScheduler(
            lr, [2, 9, 50], 0.1, 3, t_in_epochs=False
        ),
        "WSDLRScheduler": lambda lr: tm.WSDLRScheduler(
            lr, 40, 20, 0.01, "rsqrt", decay_fn="exp", warmup_t=5, t_in_epochs=False
        ),
    },
}
# The steps below 40 at which a schedule restarts.
RESTARTS = {
    ("pytorch", "CosineAnnealingWarmRestarts"): [10, 30],
    ("pytorch", "SequentialLR"): [15, 25, 35],
    ("pytorch", "ChainedScheduler"): [10, 20, 30],
    ("keras", "CosineDecayRestarts"): [10, 30],
    ("timm", "CosineLRScheduler"): [10, 30],
    ("timm", "TanhLRScheduler"): [],
    ("timm", "PolyLRScheduler"): [13, 23],
    ("transformers", "get_cosine_with_hard_restarts_schedule_with_warmup"): [23, 37],
}
EACH = [(package, name) for package, calls in CALLS.items() for name in calls]
each = pytest.mark.parametrize(
    ("package", "name"), EACH, ids=[".".join(x) for x in EACH]
)
# From before the first step to beyond the last.
COUNTS = np.array([*range(40), 49, 50, 51, 255, 10**6, 2**24 + 1, 10**9, LAST])
LATE = np.array([-5, LAST + 1, 2**40])


def test_every_schedule_has_a_call():
    for package, calls in CALLS.items():
        assert set(calls) == schedule_names(PACKAGES[package])


def assert_near(found, expected, message, ulps=4):
    assert (found.shape, found.dtype) == (expected.shape, np.float32), message
    atol = ulps * np.spacing(np.float32(abs(expected).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=message)


def curves(make, lr):
    """The schedule, and that of its momentum if it has one."""
    made = make(lr)
    return [made, made.momentum] if hasattr(made, "momentum") else [made]


def at_all_counts(make, lr, counts):
    return [curve(counts) for curve in curves(make, lr)]


@each
def test_counts_and_rates(package, name):
    """The array of counts, one by one, the last ones; and a rate that is traced."""
    make = CALLS[package][name]
    fixed = curves(make, 0.3)
    made = fixed[0]
    assert made.__name__ == name
    assert hasattr(made, "restarts") == ((package, name) in RESTARTS)

    def program(counts, rates):
        return {
            "array": at_all_counts(make, 0.3, counts),
            "one by one": [jax.vmap(curve)(counts) for curve in fixed],
            "ends": [curve(LATE) for curve in fixed],
            "restarts": made.restarts(counts) if hasattr(made, "restarts") else None,
            "traced rates": jax.vmap(lambda lr: at_all_counts(make, lr, counts))(rates),
            "slope": jax.jvp(lambda lr: make(lr)(counts), (0.3,), (1.0,))[1],
        }

    found = jax.jit(program)(COUNTS.astype(np.int32), np.float32([0.1, 0.3]))
    for x in jax.tree.leaves(found["array"]):
        assert not x.weak_type
    found = jax.tree.map(np.asarray, found)
    for i, expected in enumerate(found["array"]):
        assert np.isfinite(expected).all()
        assert_near(found["one by one"][i], expected, "one by one")
        ends = expected[[0, -1, -1]]
        assert_near(found["ends"][i], ends, "before the first and after the last count")
        assert_near(found["traced rates"][i][1], expected, "a traced rate")
    assert not np.array_equal(*found["traced rates"][0])
    assert np.isfinite(found["slope"]).all()
    assert np.any(found["slope"] != 0)
    if (package, name) in RESTARTS:
        starts = np.flatnonzero(found["restarts"][:40])
        assert starts.tolist() == RESTARTS[package, name]


@pytest.mark.parametrize(
    ("package", "name"),
    [
        pytest.param(*x, id=".".join(x), marks=() if i % 4 == 0 else pytest.mark.full)
        for i, x in enumerate(EACH)
    ],
)
def test_float64(package, name):
    """A rate that is a float32 array does not lower the rest."""
    make = CALLS[package][name]

    def program(rate):
        return at_all_counts(make, 0.5, COUNTS), at_all_counts(make, rate, COUNTS)

    with jax.enable_x64(True):
        exact, found = jax.jit(program)(np.float32(0.5))
    for x, y in zip(exact, found, strict=True):
        assert x.dtype == y.dtype == np.float64
        np.testing.assert_allclose(y, x, rtol=1e-12, atol=1e-15)


def test_a_count_of_another_kind_is_refused_by_their_name():
    for package, name in EACH:
        for curve in curves(CALLS[package][name], 0.3):
            for t in (1.0, True, None):
                with pytest.raises(TypeError, match=f"^{name}: `t` must be an integer"):
                    curve(t)


GROWING = {
    "pytorch.CosineAnnealingLR": lambda n: pt.CosineAnnealingLR(0.1, n),
    "pytorch.CosineAnnealingWarmRestarts": lambda n: pt.CosineAnnealingWarmRestarts(
        0.1, n, 2
    ),
    "pytorch.CyclicLR": lambda n: pt.CyclicLR(0.1, 1.0, n),
    "pytorch.StepLR": lambda n: pt.StepLR(0.1, n),
    "keras.PolynomialDecay": lambda n: ks.PolynomialDecay(0.1, n, cycle=True),
    "keras.CosineDecayRestarts": lambda n: ks.CosineDecayRestarts(0.1, n),
    "keras.CyclicLR": lambda n: ks.CyclicLR(0.1, 1.0, n),
    "timm.CosineLRScheduler": lambda n: tm.CosineLRScheduler(
        0.1, n, cycle_mul=2, warmup_t=n, updates_per_epoch=n
    ),
    "timm.StepLRScheduler": lambda n: tm.StepLRScheduler(
        0.1, n + 0.5, t_in_epochs=False
    ),
    "transformers.get_cosine_schedule_with_warmup": (
        lambda n: hf.get_cosine_schedule_with_warmup(0.1, 1, n)
    ),
    "transformers.get_cosine_with_hard_restarts_schedule_with_warmup": (
        lambda n: hf.get_cosine_with_hard_restarts_schedule_with_warmup(
            0.1, 1, n, min(n, 999)
        )
    ),
    "pytorch.MultiplicativeLR": lambda n: pt.MultiplicativeLR(
        0.1, lambda t: 0.9, total_steps=min(n, 3000)
    ),
}


def program_length(curve):
    """Lines of the program, the contents of a constant aside."""
    text = jax.jit(curve).lower(0).as_text()
    return len(re.sub(r"dense<.*?>", "dense<>", text).splitlines())


def test_the_program_does_not_grow():
    for name, make in GROWING.items():
        assert abs(program_length(make(2)) - program_length(make(10**9))) <= 8, name
