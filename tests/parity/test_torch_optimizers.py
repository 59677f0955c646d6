"""The optimizers against the installed PyTorch, step by step, over their options."""

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
SHAPES = {"matrix": (2, 3), "vector": (3,), "scalar": ()}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())


def gradients(decades=(-4, 4), seed=0):
    """Random signs over eight decades, and now and then an exact zero."""
    rng = np.random.default_rng(seed)
    shape = (STEPS, SIZE)
    grads = rng.choice([-1, 1], shape) * 10 ** rng.uniform(*decades, shape)
    grads[rng.random(shape) < 0.02] = 0
    grads[:4, 0] = 0  # a weight that is first met later
    return grads.astype(np.float32).astype(np.float64)  # the same in both precisions


GRADS = gradients()
START = np.linspace(-2, 3, SIZE)


def leaves_of(flat):
    """The leaves that flat rows (..., SIZE) are made of, by name."""
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])[:-1]
    parts = np.split(flat, ends, axis=-1)
    return {
        name: part.reshape(part.shape[:-1] + SHAPES[name])
        for name, part in zip(SHAPES, parts, strict=True)
    }


def flat_of(leaves, rows=()):
    return np.concatenate([np.reshape(leaves[k], (*rows, -1)) for k in SHAPES], -1)


def options(**choices):
    """The grid of all choices, as keyword arguments."""
    return [
        dict(zip(choices, x, strict=True)) for x in itertools.product(*choices.values())
    ]


BETAS = [(0.9, 0.999), (0.0, 0.9), (0.5, 0.5)]


def rmsprop(rate, *, alpha, eps, momentum, centered):
    """PyTorch keeps no momentum where it is 0, and starts at zero."""
    return oxe.rmsprop(
        rate,
        alpha,
        eps,
        initial="zero",
        centered=centered,
        momentum=momentum or None,
    )


def nadam(rate, *, betas, eps, momentum_decay):
    return oxe.nadam(rate, *betas, eps, momentum_decay=momentum_decay)


def amsgrad(rate, *, betas, eps):
    return oxe.amsgrad(rate, *betas, eps)


def adam_amsgrad(params, **kw):
    return torch.optim.Adam(params, amsgrad=True, **kw)


CASES = {
    "RMSprop": (
        torch.optim.RMSprop,
        rmsprop,
        options(
            alpha=[0.9, 0.99],
            eps=[1e-8, 1e-2],
            momentum=[0.0, 0.9],
            centered=[False, True],
        ),
    ),
    "NAdam": (
        torch.optim.NAdam,
        nadam,
        options(betas=BETAS, eps=[1e-8, 1e-2], momentum_decay=[0.0, 0.004, 1.0]),
    ),
    "Adam, amsgrad": (adam_amsgrad, amsgrad, options(betas=BETAS, eps=[1e-8, 1e-2])),
    "Adagrad": (
        torch.optim.Adagrad,
        oxe.adagrad,
        options(
            eps=[1e-10, 1e-2],
            lr_decay=[0.0, 0.01],
            initial_accumulator_value=[0.0, 0.1],
        ),
    ),
}


def id_of(kw):
    return ",".join(f"{k}={v}" for k, v in kw.items()).replace(" ", "")


GRID = [
    pytest.param(theirs, ours, kw, id=f"{name}-{id_of(kw)}".replace(" ", ""))
    for name, (theirs, ours, kws) in CASES.items()
    for kw in kws
]
FIRST = [
    pytest.param(theirs, ours, kws[0], id=name.replace(" ", ""))
    for name, (theirs, ours, kws) in CASES.items()
]
each_case = pytest.mark.parametrize(("theirs", "ours", "kw"), GRID)
each_optimizer = pytest.mark.parametrize(("theirs", "ours", "kw"), FIRST)


@pytest.fixture(autouse=True)
def torch_in_float64():
    """NAdam keeps its product of momenta in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def torch_path(make, kw, grads=GRADS, rates=None, start=START, **more):
    """The parameters after every step, the first ones before, flat."""
    params = {k: torch.tensor(x) for k, x in leaves_of(start).items()}
    optimizer = make(list(params.values()), lr=RATE, **kw, **more)
    path = [start]
    for t, rows in enumerate(grads):
        optimizer.param_groups[0]["lr"] = RATE if rates is None else float(rates[t])
        for name, g in leaves_of(rows).items():
            params[name].grad = torch.tensor(g)
        optimizer.step()
        path.append(flat_of({k: x.numpy().copy() for k, x in params.items()}))
    return np.stack(path)


def our_path(tx, dtype="float64", grads=GRADS, start=START):
    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), params

    with jax.enable_x64(dtype == "float64"):
        tree = {k: jnp.asarray(x, dtype) for k, x in leaves_of(grads).items()}
        first = {k: jnp.asarray(x, dtype) for k, x in leaves_of(start).items()}
        run = jax.jit(lambda carry: jax.lax.scan(step, carry, tree)[1])
        path = run((first, tx.init(first)))
        path = flat_of({k: np.asarray(x, np.float64) for k, x in path.items()}, [STEPS])
    return np.concatenate([start[None], path])


def difference(path, reference):
    """The largest distance between two paths over the distance travelled, each axis."""
    assert np.all(np.isfinite(reference))
    travelled = np.abs(np.diff(reference, axis=0)).sum(0)
    return (np.abs(path - reference).max(0) / travelled).max()


@each_case
def test_float64(theirs, ours, kw):
    reference = torch_path(theirs, kw)
    assert difference(our_path(ours(RATE, **kw)), reference) <= 1e-10


@each_case
def test_float32(theirs, ours, kw):
    """From 0: a weight of 3 is itself rounded by 1e-5 of a small step."""
    zero = np.zeros(SIZE)
    reference = torch_path(theirs, kw, start=zero)
    path = our_path(ours(RATE, **kw), "float32", start=zero)
    assert difference(path, reference) <= 1e-5


@each_optimizer
def test_a_rate_that_changes(theirs, ours, kw):
    rates = RATE * np.exp(np.cos(np.arange(STEPS)))
    reference = torch_path(theirs, kw, rates=rates)

    def rate(t):
        return RATE * jnp.exp(jnp.cos(jnp.asarray(t, float)))

    assert difference(our_path(ours(rate, **kw)), reference) <= 1e-10


@each_case
def test_l2_before_the_optimizer_is_their_weight_decay(theirs, ours, kw):
    # As small as the decay's share of a gradient has to be felt.
    grads = gradients((-2, 1))
    reference = torch_path(theirs, kw, grads, weight_decay=0.1)
    tx = optax.chain(optax.add_decayed_weights(0.1), ours(RATE, **kw))
    assert difference(our_path(tx, grads=grads), reference) <= 1e-10
    without = torch_path(theirs, kw, grads)
    assert difference(without, reference) > 1e-4


@pytest.mark.parametrize("decay", [0.01, 0.5])
def test_the_decoupled_decay_of_nadam(decay):
    kw = {"weight_decay": decay, "decoupled_weight_decay": True}
    reference = torch_path(torch.optim.NAdam, kw)
    assert difference(our_path(oxe.nadam(RATE, weight_decay=decay)), reference) <= 1e-10


@pytest.mark.parametrize("decay", [0.01, 0.5])
def test_the_decoupled_decay_of_adamw_amsgrad(decay):
    kw = {"weight_decay": decay, "amsgrad": True}
    reference = torch_path(torch.optim.AdamW, kw)
    tx = oxe.amsgrad(RATE, weight_decay=decay)
    assert difference(our_path(tx), reference) <= 1e-10


@pytest.mark.parametrize("nesterov", [False, True])
def test_heavy_ball_at_a_constant_rate_with_l2(nesterov):
    """Where the rate does not change, PyTorch's momentum takes the same steps."""
    kw = {"momentum": 0.9, "nesterov": nesterov}
    grads = gradients((-2, 1))
    reference = torch_path(torch.optim.SGD, kw, grads, weight_decay=0.1)
    ours = oxe.heavy_ball(RATE, 0.9, nesterov=nesterov)
    tx = optax.chain(optax.add_decayed_weights(0.1), ours)
    assert difference(our_path(tx, grads=grads), reference) <= 1e-10
