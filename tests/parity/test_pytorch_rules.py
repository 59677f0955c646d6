"""The rules against the installed PyTorch, step by step.

All settings of a rule run in one program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit
from tests.parity.walks import (
    STEPS,
    difference,
    gradients,
    grid,
    our_walk,
    our_walks,
    torch_walk,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

RATE = 0.01
SHAPES = {"vector": (5,)}
GRADS = gradients(SHAPES, decades=(-3, 3))
GRADS[0, 0] = 0.5  # with a dampening of 1, only the first gradient counts
FIRST = np.zeros(5)


def rule_of_betas(rule):
    return lambda betas, eps: rule(*betas, eps)


def nesterov(momentum):
    return oxe.rules.momentum(momentum, nesterov=True)


# Name: PyTorch's class, its options that are not numbers, our rule, and the numbers.
CASES = {
    "sgd": (torch.optim.SGD, {}, lambda: oxe.rules.sgd(), [{}]),
    "momentum": (
        torch.optim.SGD,
        {},
        oxe.rules.momentum,
        [{"momentum": 0.5, "dampening": 1.0}, {"momentum": 0.99, "dampening": 0.3}],
    ),
    "nesterov": (torch.optim.SGD, {"nesterov": True}, nesterov, [{"momentum": 0.9}]),
    "adagrad": (torch.optim.Adagrad, {}, oxe.rules.adagrad, grid(eps=[1e-10, 1.0])),
    "adam": (
        torch.optim.Adam,
        {},
        rule_of_betas(oxe.rules.adam),
        [{"betas": (0.9, 0.999), "eps": 1e-8}, {"betas": (0.5, 0.0), "eps": 1e-2}],
    ),
    "radam": (
        torch.optim.RAdam,
        {},
        rule_of_betas(oxe.rules.radam),
        [{"betas": (0.9, 0.999), "eps": 1e-8}, {"betas": (0.5, 0.6), "eps": 1e-2}],
    ),
}


def pytorch_walk(make, dtype, kw, rates=None):
    """Starts at 0; `rates` replace the constant learning rate."""
    lr, scheduler = RATE, None
    if rates is not None:
        lr = 1.0
        scheduler = lambda opt: torch.optim.lr_scheduler.LambdaLR(  # noqa: E731
            opt, lambda t: rates[min(t, STEPS - 1)]
        )
    return torch_walk(
        lambda params: make(params, lr=lr, **kw),
        GRADS,
        FIRST,
        SHAPES,
        scheduler=scheduler,
        dtype=dtype,
    )


def every_walk(dtype):
    """Each setting of each case, and its walk."""
    found = [(case, kw) for case in CASES.values() for kw in case[3]]
    txs = [
        optax.chain(oxe.scale_by_moments(rule(**kw)), optax.scale(-RATE))
        for (_, _, rule, _), kw in found
    ]
    walks = our_walks(txs, GRADS, FIRST, SHAPES, dtype)
    for ((make, options, _, _), kw), walk in zip(found, walks, strict=True):
        yield make, {**options, **kw}, walk


def test_float64():
    for make, kw, walk in every_walk("float64"):
        reference = pytorch_walk(make, "float64", kw)
        assert difference(walk, reference) <= 1e-13, (make, kw)


def test_float32_is_as_near_to_float64_as_pytorch_is():
    for make, kw, walk in every_walk("float32"):
        exact = pytorch_walk(make, "float64", kw)
        theirs = pytorch_walk(make, "float32", kw).astype(np.float64)
        error, their_error = difference(walk, exact), difference(theirs, exact)
        # Rounding errors are random, and either run may be luckier; plus 4 ulps.
        assert error <= 2 * their_error + 4 * 2.0**-24, (make, kw)


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_rate_that_changes_acts_on_the_whole_velocity(nesterov):
    rates = 0.1 * np.exp(np.cos(np.arange(STEPS)))
    kw = {"momentum": 0.9, "nesterov": nesterov}
    reference = pytorch_walk(torch.optim.SGD, "float64", kw, rates)
    rate = optax.scale_by_schedule(lambda t: -jnp.asarray(rates)[t])
    rule = oxe.scale_by_moments(oxe.rules.momentum(**kw))
    walk = our_walk(optax.chain(rule, rate), GRADS, FIRST, SHAPES)
    assert difference(walk, reference) <= 1e-13


def test_radam_at_the_threshold():
    """rho_t > 5 (Optax: >=): as in PyTorch, from t = 6 on for b2 = 0.999."""
    begun = quick_jit(jax.vmap(lambda t: oxe.rules.radam().step(t, ())[0].d != 0))
    got = begun(jnp.arange(1, 12))
    assert got.tolist() == [t >= 6 for t in range(1, 12)]
