"""PyTorch's parameter groups: numbers by path in the optimizers of `oxe.pytorch`."""

import functools
import inspect
import itertools

import jax
import numpy as np
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit
from tests.parity.walks import (
    difference,
    gradients,
    leaves_of,
    our_walk,
    our_walks,
    start,
    torch_walk,
    updating,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SHAPES = {"body": (2, 3), "embed": (4,), "head": (3, 2)}
RATES = (1e-3, 3e-2, 1e-2)
DECAYS = (0.1, 0.0, 0.02)
# What else a group may set.
OTHERS = {
    "SGD": {"momentum": (0.9, 0.5, 0.8), "dampening": (0.0, 0.3, 0.5)},
    "Adam": {"betas": ((0.9, 0.999), (0.5, 0.9), (0.8, 0.99)), "eps": (1e-8, 1e-2, 0)},
    # PyTorch takes the initial sum of the constructor for all groups.
    "Adagrad": {"lr_decay": (0.0, 0.01, 0.1), "eps": (1e-10, 1e-2, 1e-4)},
    "RMSprop": {"alpha": (0.99, 0.5, 0.9), "eps": (1e-8, 1e-2, 1e-4)},
    "Adadelta": {},
    "Adamax": {},
    "ASGD": {},
    "Adafactor": {},
    "Rprop": {},
}
ADAM = OTHERS["Adam"]
OTHERS["AdamW"] = OTHERS["RAdam"] = ADAM
OTHERS["NAdam"] = {**ADAM, "momentum_decay": (4e-3, 1.0, 0.1)}
# The same, with another option for all groups.
OPTIONS = {
    "Adam": [{"amsgrad": True}, {"decoupled_weight_decay": True}],
    "AdamW": [{"maximize": True}],
    "RMSprop": [{}, {"centered": True, "momentum": (0.9, 0.5, 0.8)}],
    "NAdam": [{"decoupled_weight_decay": True}],
}
REFUSED = {
    "ASGD": {"lambd": 0.1, "alpha": 0.5, "t0": 1.0},
    "Adafactor": {"d": 2.0},
    "Muon": {"momentum": 0.5, "eps": 1e-3},
    "Adamax": {"eps": 1e-3},
    "Adadelta": {"rho": 0.5, "eps": 1e-3},
}


@pytest.fixture(autouse=True)
def torch_in_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def by_path(values):
    """The second group by a selector, the others by another, and by the default."""
    body, embed, head = values
    return oxe.by_path({"embed": embed, "he.*": head}, default=body)


def ours_of(values):
    """Numbers by path; of pairs, a pair of them."""
    if isinstance(values[0], tuple):
        return tuple(by_path(column) for column in zip(*values, strict=True))
    return by_path(values)


def test_every_optimizer_is_here():
    """With groups, or among those that refuse them."""
    found = {
        name
        for name in oxe.pytorch.__all__
        if isinstance(thing := getattr(torch.optim, name, None), type)
        and issubclass(thing, torch.optim.Optimizer)
    }
    assert found == {*OTHERS} | {*REFUSED}


def groups_of(name, more):
    """PyTorch's optimizer, by its params, and ours."""
    given = {"lr": RATES, "weight_decay": DECAYS, **OTHERS[name]}
    if name == "Rprop":
        del given["weight_decay"]
    given |= {x: y for x, y in more.items() if isinstance(y, tuple)}
    options = {x: y for x, y in more.items() if x not in given}

    def make(params):
        rows = zip(params, *given.values(), strict=True)
        groups = [
            {"params": [p], **dict(zip(given, row, strict=True))} for p, *row in rows
        ]
        return getattr(torch.optim, name)(groups, **options)

    rates = (RATES[0], lambda t: RATES[1] / (1 + t.astype(float) / 10), RATES[2])
    numbers = {x: ours_of(y) for x, y in {**given, "lr": rates}.items()}
    return make, getattr(oxe.pytorch, name)(**numbers, **options)


def second_group(optimizer):
    """A scheduler of the second group."""
    lambdas = [lambda t: 1.0, lambda t: 1 / (1 + t / 10), lambda t: 1.0]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambdas)


def test_three_parameter_groups():
    """Their learning rates, one of them a schedule, decays and all other numbers."""
    cases = [(name, more) for name in OTHERS for more in OPTIONS.get(name, [{}])]
    grads, first = gradients(SHAPES, decades=(-2, 1)), start(SHAPES)
    with jax.enable_x64(True):
        makes, txs = zip(*itertools.starmap(groups_of, cases), strict=True)
    walks = our_walks(txs, grads, first, SHAPES)
    for case, make, walk in zip(cases, makes, walks, strict=True):
        reference = torch_walk(make, grads, first, SHAPES, scheduler=second_group)
        assert difference(walk, reference) <= 1e-10, case


def test_one_schedule_of_all_groups():
    """PyTorch's schedulers multiply the learning rate of each group."""
    grads, first = gradients(SHAPES, decades=(-2, 1)), start(SHAPES)

    def make(params):
        rows = zip(params, RATES, strict=True)
        groups = [{"params": [p], "lr": rate} for p, rate in rows]
        return torch.optim.AdamW(groups)

    def scheduler(optimizer):
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)

    with jax.enable_x64(True):
        times = oxe.pytorch.ExponentialLR(1.0, 0.99)
        body, embed, head = RATES
        groups = oxe.by_path({"embed": embed, "head": head}, body, times=times)
        tx = oxe.pytorch.AdamW(lr=groups)
    walk = our_walk(tx, grads, first, SHAPES)
    reference = torch_walk(make, grads, first, SHAPES, scheduler=scheduler)
    assert difference(walk, reference) <= 1e-10


def test_a_group_without_gradients():
    """`requires_grad = False`: the params of a frozen group are not touched."""
    grads, first = gradients(SHAPES, decades=(-2, 1)), start(SHAPES)
    grads[:, :6] += 1  # of the body, which moves

    def make(params):
        return torch.optim.AdamW([params[0], params[2]], lr=1e-2, weight_decay=0.1)

    tx = oxe.pytorch.AdamW(
        lr=oxe.by_path({"embed": oxe.FROZEN}, 1e-2), weight_decay=0.1
    )
    walk = our_walk(tx, grads, first, SHAPES)
    reference = torch_walk(make, grads, first, SHAPES)
    frozen = slice(6, 10)
    assert (walk[:, frozen] == first[frozen]).all()
    moving = [*range(6), *range(10, 16)]
    assert difference(walk[:, moving], reference[:, moving]) <= 1e-10


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_not_depend_on_the_path(name):
    """By the name of the optimizer, with what to do instead."""
    factory = getattr(oxe.pytorch, name)
    for argument, value in REFUSED[name].items():
        assert argument in inspect.signature(factory).parameters
        with pytest.raises((TypeError, ValueError)) as caught:
            factory(**{argument: oxe.by_path({"head": value}, value / 2)})
        message = str(caught.value)
        assert message.startswith(f"{name}: `")
        assert "must be one number" in message
        assert "optax.partition" in message or "By path can be" in message


def test_a_group_without_momentum_is_not_dampened():
    """As in PyTorch, where the momentum of another group is above 0."""
    grads, first = gradients(SHAPES, decades=(-2, 1)), start(SHAPES)
    momenta = (0.9, 0.0, 0.5)

    def make(params):
        rows = zip(params, momenta, strict=True)
        groups = [{"params": [p], "momentum": x} for p, x in rows]
        return torch.optim.SGD(groups, lr=1e-2, dampening=0.3)

    tx = oxe.pytorch.SGD(1e-2, momentum=by_path(momenta), dampening=0.3)
    walk = our_walk(tx, grads, first, SHAPES)
    assert difference(walk, torch_walk(make, grads, first, SHAPES)) <= 1e-10


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("ASGD", "lambd"),
        ("ASGD", "t0"),
        ("Adafactor", "d"),
        ("Adafactor", "beta2_decay"),
    ],
)
def test_what_is_refused_has_its_name(name, argument):
    values = (-0.5, -0.8) if argument == "beta2_decay" else (1.0, 2.0)
    groups = oxe.by_path({"head": values[0]}, values[1])
    with pytest.raises((TypeError, ValueError), match=f"{name}: `{argument}`"):
        getattr(oxe.pytorch, name)(**{argument: groups})


THAWED = {
    "AdamW": {"weight_decay": 0.1},
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "RAdam": {},
    "SGD": {"momentum": 0.9, "dampening": 0.5},
}


def their_thawed(name, grads, params):
    """The weights after 40 steps, of which 20 have no gradient of `embed`."""
    weights = {x: torch.nn.Parameter(torch.tensor(p)) for x, p in params.items()}
    optimizer = getattr(torch.optim, name)([*weights.values()], 1e-2, **THAWED[name])
    for step in range(40):
        for x, p in weights.items():
            is_frozen = x == "embed" and step < 20
            p.grad = None if is_frozen else torch.tensor(grads[x][step])
        optimizer.step()
    return {x: p.detach().numpy() for x, p in weights.items()}


def our_thawed(grads, params):
    """Frozen first, then by a group and by one learning rate: of each optimizer."""

    @functools.partial(quick_jit, static_argnums=0)
    def update(txs, carries, g):
        return [updating(tx)(*x, g) for tx, x in zip(txs, carries, strict=True)]

    frozen, thawed = (oxe.by_path({"embed": x}, 1e-2) for x in (oxe.FROZEN, 1e-2))
    carries = None
    for lr, steps in ((frozen, (0, 20)), (thawed, (20, 30)), (1e-2, (30, 40))):
        txs = [getattr(oxe.pytorch, name)(lr, **kw) for name, kw in THAWED.items()]
        carries = carries or [(params, tx.init(params)) for tx in txs]
        for step in range(*steps):
            g = {x: rows[step] for x, rows in grads.items()}
            carries = update(tuple(txs), carries, g)
    return [weights for weights, _ in carries]


def test_a_param_that_thaws_counts_its_own_updates():
    """PyTorch counts the updates of a param from its first gradient."""
    grads = leaves_of(gradients(SHAPES, decades=(-1, 1)), SHAPES)
    params = leaves_of(start(SHAPES), SHAPES)
    with jax.enable_x64(True):
        found = our_thawed(grads, params)
    for name, ours in zip(THAWED, found, strict=True):
        for x, p in their_thawed(name, grads, params).items():
            np.testing.assert_allclose(ours[x], p, 1e-10, 1e-13, err_msg=f"{name} {x}")
