"""`with_average` against PyTorch's `torch.optim.swa_utils.AveragedModel`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.averages import Average

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
swa_utils = torch.optim.swa_utils

STEPS = 30
X = np.random.default_rng(0).normal(size=(STEPS, 8, 3))
Y = np.sin(X.sum(-1, keepdims=True))
# PyTorch's functions, and the same as c_t: both copy the first weights.
AVERAGES = {
    "uniform": ({}, lambda t: 1 / jnp.asarray(t, float)),
    "ema": (
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)},
        lambda t: jnp.where(t == 1, 1.0, 1 - jnp.asarray(0.9, float)),
    ),
}


def torch_run(every, **kw):
    """The averages of a small model, which `update_parameters` sees every few steps."""
    torch.manual_seed(0)
    layers = torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    model = torch.nn.Sequential(*layers).double()
    first = [x.detach().numpy().copy() for x in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    averaged = swa_utils.AveragedModel(model, **kw)
    for t, (x, y) in enumerate(zip(X, Y, strict=True), 1):
        optimizer.zero_grad()
        loss = ((model(torch.tensor(x)) - torch.tensor(y)) ** 2).mean()
        loss.backward()
        optimizer.step()
        if t % every == 0:
            averaged.update_parameters(model)
    return first, [x.detach().numpy() for x in averaged.module.parameters()]


def loss(params, x, y):
    w1, b1, w2, b2 = params
    return jnp.mean((jnp.tanh(x @ w1.T + b1) @ w2.T + b2 - y) ** 2)


def our_run(first, average):
    tx = oxe.with_average(oxe.pytorch.SGD(0.1, momentum=0.9), average)

    @jax.jit
    def run(params, data):
        def step(carry, batch):
            params, state = carry
            u, state = tx.update(jax.grad(loss)(params, *batch), state, params)
            return (optax.apply_updates(params, u), state), None

        (_, state), _ = jax.lax.scan(step, (params, tx.init(params)), data)
        return oxe.averaged(state)

    return run(list(map(jnp.asarray, first)), (jnp.asarray(X), jnp.asarray(Y)))


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("name", AVERAGES)
def test_averaged_models(name, every):
    kw, weight = AVERAGES[name]
    first, expected = torch_run(every, **kw)
    # t counts all updates: of those between, the average takes nothing.
    of_some = Average(lambda t: jnp.where(t % every == 0, weight(t // every), 0.0))
    with jax.enable_x64(True):
        found = our_run(first, of_some)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
