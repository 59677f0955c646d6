"""The rules against the installed PyTorch, step by step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

STEPS = 300
RATE = 0.01


def gradients(seed=0):
    """Random signs over six decades, and now and then a zero."""
    rng = np.random.default_rng(seed)
    shape = (STEPS, 5)
    grads = rng.choice([-1, 1], shape) * 10 ** rng.uniform(-3, 3, shape)
    grads[rng.random(shape) < 0.02] = 0
    return grads.astype(np.float32).astype(np.float64)  # the same in both precisions


GRADS = gradients()


def options(**choices):
    """The grid of all choices, as keyword arguments."""
    return [
        dict(zip(choices, x, strict=True)) for x in itertools.product(*choices.values())
    ]


BETAS = [(0.9, 0.999), (0.0, 0.9), (0.5, 0.0)]


def adam(betas, eps):
    return oxe.rules.adam(*betas, eps)


def radam(betas, eps):
    return oxe.rules.radam(*betas, eps)


CASES = [
    (torch.optim.SGD, lambda: oxe.rules.sgd(), [{}]),
    (
        torch.optim.SGD,
        oxe.rules.momentum,
        options(momentum=[0.5, 0.9, 0.99], dampening=[0, 0.3, 1.0])
        + options(momentum=[0.5, 0.9, 0.99], nesterov=[True]),
    ),
    (
        torch.optim.Adagrad,
        oxe.rules.adagrad,
        options(eps=[1e-10, 1e-3, 1.0]),
    ),
    (torch.optim.Adam, adam, options(betas=BETAS, eps=[1e-8, 1e-2])),
    (
        torch.optim.RAdam,
        radam,
        options(
            betas=[(0.9, 0.999), (0.0, 0.9), (0.5, 0.6), (0.9, 0.9999)],
            eps=[1e-8, 1e-2],
        ),
    ),
]
GRID = [(theirs, ours, kw) for theirs, ours, kws in CASES for kw in kws]
IDS = [f"{theirs.__name__}-{kw}".replace(" ", "") for theirs, _, kw in GRID]
each_case = pytest.mark.parametrize(("theirs", "ours", "kw"), GRID, ids=IDS)


def torch_path(make, dtype, kw, rates):
    """The parameters after every step, from 0 on."""
    param = torch.zeros(GRADS.shape[1], dtype=getattr(torch, dtype))
    optimizer = make([param], lr=RATE, **kw)
    path = [param.numpy().copy()]
    for g, rate in zip(GRADS, rates, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        param.grad = torch.tensor(g, dtype=param.dtype)
        optimizer.step()
        path.append(param.numpy().copy())
    return np.stack(path).astype(np.float64)


def our_path(rule, dtype, rates):
    tx = oxe.scale_by_moments(rule)

    def step(carry, x):
        (params, state), (g, rate) = carry, x
        u, state = tx.update(g, state)
        params = optax.apply_updates(params, -rate * u)
        return (params, state), params

    with jax.enable_x64(dtype == "float64"):
        grads, rates = jnp.asarray(GRADS, dtype), jnp.asarray(rates, dtype)
        start = jnp.zeros_like(grads[0])
        run = jax.jit(lambda carry: jax.lax.scan(step, carry, (grads, rates))[1])
        path = np.asarray(run((start, tx.init(start))), np.float64)
    return np.concatenate([np.zeros_like(path[:1]), path])


def difference(path, reference):
    """The largest distance between two paths over the distance travelled, each axis."""
    travelled = np.abs(np.diff(reference, axis=0)).sum(0)
    return (np.abs(path - reference).max(0) / travelled).max()


@each_case
def test_float64(theirs, ours, kw):
    rates = np.full(STEPS, RATE)
    reference = torch_path(theirs, "float64", kw, rates)
    assert difference(our_path(ours(**kw), "float64", rates), reference) <= 1e-13


@each_case
def test_float32_is_as_near_to_float64_as_pytorch_is(theirs, ours, kw):
    rates = np.full(STEPS, RATE)
    exact = torch_path(theirs, "float64", kw, rates)
    error = difference(our_path(ours(**kw), "float32", rates), exact)
    their_error = difference(torch_path(theirs, "float32", kw, rates), exact)
    # Two runs of chance roundings, of which each may be the luckier one; and 4 ulps.
    assert error <= 2 * their_error + 4 * 2.0**-24


@pytest.mark.parametrize("nesterov", [False, True])
def test_a_rate_that_changes_acts_on_the_whole_velocity(nesterov):
    rates = 0.1 * np.exp(np.cos(np.arange(STEPS)))
    kw = {"momentum": 0.9, "nesterov": nesterov}
    reference = torch_path(torch.optim.SGD, "float64", kw, rates)
    ours = our_path(oxe.rules.momentum(**kw), "float64", rates)
    assert difference(ours, reference) <= 1e-13


def test_radam_at_the_threshold():
    """rho_t > 5 where Optax has >=, at the t at which PyTorch begins: 6 for 0.999."""
    got = [bool(oxe.rules.radam().step(jnp.int32(t), ())[0].d) for t in range(1, 12)]
    assert got == [t >= 6 for t in range(1, 12)]
