"""The optimizers of `oxe.pytorch` against PyTorch's own, over all their options."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.walks import (
    MATRICES,
    SHAPES,
    STEPS,
    difference,
    flat_of,
    gradients,
    grid,
    id_of,
    leaves_of,
    our_walk,
    size,
    start,
)
from tests.parity.walks import (
    torch_walk as their_walk,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

RATE = 0.01
NAMES = [
    name
    for name in oxe.pytorch.__all__
    if isinstance(thing := getattr(torch.optim, name, None), type)
    and issubclass(thing, torch.optim.Optimizer)
]
OUT_OF_SCOPE = {"Optimizer", "LBFGS", "SparseAdam"}

ON_OFF = [False, True]
BETAS = [{"betas": (0.9, 0.999), "eps": 1e-8}, {"betas": (0.5, 0.9), "eps": 1e-2}]
BETAS += [{"betas": (0.0, 0.9), "eps": 1e-8}]
L2 = [0, 0.1]
# What is tried, by class: some numbers together, times every choice of the rest.
GRIDS = {
    "SGD": (
        [{}],
        grid(
            momentum=[0, 0.9],
            dampening=[0, 0.3],
            weight_decay=L2,
            nesterov=ON_OFF,
            maximize=ON_OFF,
        ),
    ),
    "Adam": (
        BETAS,
        grid(
            weight_decay=L2,
            amsgrad=ON_OFF,
            maximize=ON_OFF,
            decoupled_weight_decay=ON_OFF,
        ),
    ),
    "AdamW": (
        BETAS,
        grid(weight_decay=[0, 0.01, 0.5], amsgrad=ON_OFF, maximize=ON_OFF),
    ),
    "NAdam": (
        [{"momentum_decay": m, **b} for m in (0.004, 1.0) for b in BETAS[:2]],
        grid(weight_decay=L2, decoupled_weight_decay=ON_OFF, maximize=ON_OFF),
    ),
    "RAdam": (
        [*BETAS, {"betas": (0.9, 0.0)}, {"betas": (0.9, 0.6)}],
        grid(weight_decay=L2, decoupled_weight_decay=ON_OFF, maximize=ON_OFF),
    ),
    "Adamax": (BETAS, grid(weight_decay=L2, maximize=ON_OFF)),
    "Adagrad": (
        [{}, {"eps": 1e-2}],
        grid(
            lr_decay=[0, 0.01],
            initial_accumulator_value=[0, 0.1],
            weight_decay=L2,
            maximize=ON_OFF,
        ),
    ),
    "Adadelta": (
        [{}, {"rho": 0.5, "eps": 1e-2}],
        grid(weight_decay=L2, maximize=ON_OFF),
    ),
    "RMSprop": (
        [{}, {"alpha": 0.9, "eps": 1e-2}],
        grid(
            momentum=[0, 0.9],
            centered=ON_OFF,
            weight_decay=L2,
            maximize=ON_OFF,
        ),
    ),
    "Rprop": (
        [{}, {"etas": (0.3, 1.5), "step_sizes": (1e-3, 0.1)}],
        grid(maximize=ON_OFF),
    ),
    "ASGD": (
        [{}, {"lambd": 0.01, "alpha": 0.5, "t0": 5.0}, {"t0": 0.0}],
        grid(weight_decay=L2, maximize=ON_OFF),
    ),
    "Adafactor": (
        [{}, {"beta2_decay": -0.5, "eps": (1e-3, 1e-2), "d": 2.0}],
        grid(weight_decay=L2, maximize=ON_OFF),
    ),
    "Muon": (
        [{}, {"momentum": 0.5, "ns_steps": 3, "eps": 1e-3}],
        grid(
            nesterov=ON_OFF,
            adjust_lr_fn=[None, "original", "match_rms_adamw"],
            weight_decay=[0, 0.1],
        ),
    ),
}


def impossible(kw):
    nesterov = kw.get("nesterov") and "dampening" in kw
    return nesterov and (kw["momentum"] == 0 or kw["dampening"] != 0)


def cases():
    """Every setting; the first two of a class in the fast run."""
    for name, (numbers, choices) in GRIDS.items():
        kws = [{**n, **c} for n in numbers for c in choices]
        kws = [kw for kw in kws if not impossible(kw)]
        for i, kw in enumerate([kws[-1], *kws[:-1]]):
            marks = pytest.mark.full if i > 1 else ()
            yield pytest.param(name, kw, marks=marks, id=id_of(name, kw))


CASES = list(cases())
each_case = pytest.mark.parametrize(("name", "kw"), CASES)
# Muon rounds to bfloat16 inside: it is walked beside a NumPy transcription below.
each_exact = pytest.mark.parametrize(
    ("name", "kw"), [case for case in CASES if case.values[0] != "Muon"]
)
each_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def torch_in_float64():
    """NAdam's product of momenta and ASGD's rate have the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def theirs(name, params, **kw):
    return getattr(torch.optim, name)(params, **kw)


def ours(name, lr=RATE, **kw):
    return getattr(oxe.pytorch, name)(lr=lr, **kw)


def felt(kw):
    """Eight decades; such that an L2 decay of weights of about 1 is felt among them."""
    decays = kw.get("weight_decay") and not kw.get("decoupled_weight_decay")
    return gradients(decades=(-6, 2)) if decays else gradients()


# ---- Names ---------------------------------------------------------------------------


def test_every_optimizer_of_theirs_is_there():
    found = {
        name
        for name, thing in vars(torch.optim).items()
        if isinstance(thing, type) and issubclass(thing, torch.optim.Optimizer)
    }
    assert found - OUT_OF_SCOPE == set(NAMES)


def test_every_optimizer_of_ours_has_its_cases():
    assert set(GRIDS) == set(NAMES)


@each_name
def test_arguments_and_defaults(name):
    """Theirs, in their order; what is missing is refused by its name."""
    own = inspect.signature(getattr(oxe.pytorch, name)).parameters
    other = inspect.signature(getattr(torch.optim, name)).parameters
    assert [key for key in other if key in own] == list(own)
    for key, parameter in own.items():
        assert parameter.default == pytest.approx(other[key].default), key
    foreign = [key for key in other if key not in own]
    assert "params" in foreign
    for key in foreign:
        with pytest.raises(TypeError, match=f"{name}: `{key}` must not be given"):
            ours(name, **{key: None})


@each_name
def test_params_in_front(name):
    """As it is written in PyTorch: what to do instead is said."""
    params = [torch.zeros(2, 2)]
    for given in (params, iter(params), {"w": params[0]}):
        with pytest.raises(TypeError, match=r"(?s)`params` must not be given.*`init`"):
            getattr(oxe.pytorch, name)(given, lr=0.1)
        with pytest.raises(TypeError, match=r"(?s)`params` must not be given.*`init`"):
            getattr(oxe.pytorch, name)(given)
    with pytest.raises(TypeError, match=f"{name}: `lr` must be a number or a sch"):
        getattr(oxe.pytorch, name)(lr=torch.tensor(0.1))


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), oxe.pytorch.SGD(0.1), object()])
def test_an_optimizer_in_front_of_a_scheduler(optimizer):
    with pytest.raises(TypeError, match="StepLR: `optimizer` must not be given"):
        oxe.pytorch.StepLR(optimizer, step_size=30)
    with pytest.raises(TypeError, match=r"OneCycleLR: `optimizer` must not be given"):
        oxe.pytorch.OneCycleLR(optimizer, 0.1, total_steps=10)


# ---- Numbers -------------------------------------------------------------------------


@each_exact
def test_float64(name, kw):
    grads, first = felt(kw), start()
    reference = their_walk(lambda p: theirs(name, p, lr=RATE, **kw), grads, first)
    assert difference(our_walk(ours(name, **kw), grads, first), reference) <= 1e-10


# A change of sign is exact in any dtype.
DOWNHILL = [
    case
    for case in CASES
    if case.values[0] != "Muon" and not case.values[1].get("maximize")
]


@pytest.mark.parametrize(("name", "kw"), DOWNHILL)
def test_float32(name, kw):
    """From 0: a weight of 3 is itself rounded by 1e-5 of a small step.

    Adafactor's steps are as large as its weights, which magnifies what is rounded (the
    machine epsilon is one of its numbers, too): it is compared in float32.
    """
    grads, first = felt(kw), np.zeros(size(SHAPES))
    reference = their_walk(
        lambda p: theirs(name, p, lr=RATE, **kw),
        grads,
        first,
        dtype="float32" if name == "Adafactor" else "float64",
    )
    walk = our_walk(ours(name, **kw), grads, first, dtype="float32")
    assert difference(walk, reference) <= 1e-5


DRIVEN = [name for name in GRIDS if name != "Muon"]


@pytest.mark.parametrize("name", DRIVEN)
def test_driven_by_their_schedulers_and_ours(name):
    """Warm restarts, with decoupled or L2 decay: the rate of each step is felt."""
    kw = {} if name == "Rprop" else {"weight_decay": 0.1}
    grads, first = felt(kw), start()
    reference = their_walk(
        lambda p: theirs(name, p, lr=RATE, **kw),
        grads,
        first,
        scheduler=lambda opt: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
            opt, 30, 2, RATE / 10
        ),
    )
    with jax.enable_x64(True):
        schedule = oxe.pytorch.CosineAnnealingWarmRestarts(RATE, 30, 2, RATE / 10)
    walk = our_walk(ours(name, schedule, **kw), grads, first)
    assert difference(walk, reference) <= 1e-10
    if name != "Rprop":  # which takes the first rate only
        constant = our_walk(ours(name, **kw), grads, first)
        assert difference(constant, reference) > 1e-3


def test_asgd_takes_its_rate_one_step_late():
    """And the first one twice: what PyTorch does, as a formula."""
    rates = [1.0, 10.0, 100.0, 1000.0]
    tx = oxe.pytorch.ASGD(lr=lambda t: 10.0**t, lambd=0.0)
    params, state = jnp.zeros(()), tx.init(jnp.zeros(()))
    for expected in [rates[0], *rates[:3]]:
        u, state = tx.update(jnp.ones(()), state, params)
        assert u == pytest.approx(-expected, rel=1e-6)


def test_rprop_takes_its_rate_once():
    tx = oxe.pytorch.Rprop(lr=lambda t: 0.5 + t)
    params, state = jnp.zeros(()), tx.init(jnp.zeros(()))
    for expected in [0.5, 0.5 * 1.2, 0.5 * 1.2**2]:
        u, state = tx.update(jnp.ones(()), state, params)
        assert u == pytest.approx(-expected, rel=1e-6)


@pytest.mark.parametrize("kw", GRIDS["ASGD"][0], ids=str)
def test_the_average_of_asgd(kw):
    grads, first = gradients(), start()

    def average(optimizer, params):
        axs = {k: optimizer.state[p]["ax"].numpy().copy() for k, p in params.items()}
        return flat_of(axs, SHAPES)

    _, seen = their_walk(
        lambda p: theirs("ASGD", p, lr=RATE, **kw), grads, first, look=average
    )
    tx = ours("ASGD", **kw)

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        return (optax.apply_updates(params, u), state), state[1].average

    with jax.enable_x64(True):
        rows = jax.tree.map(jnp.asarray, leaves_of(grads, SHAPES))
        params = jax.tree.map(jnp.asarray, leaves_of(first, SHAPES))
        _, walk = jax.lax.scan(step, (params, tx.init(params)), rows)
    walk = flat_of(jax.tree.map(np.asarray, walk), SHAPES, [STEPS])
    assert difference(walk, np.stack(seen)) <= 1e-10


def test_parameter_groups():
    """Two groups in PyTorch, `optax.partition` here."""
    grads, first = gradients(decades=(-2, 1)), start()
    groups = {
        "slow": {"lr": 1e-3, "weight_decay": 0.5, "betas": (0.5, 0.9)},
        "fast": {"lr": 1e-1, "weight_decay": 0.0, "betas": (0.9, 0.99)},
    }
    labels = {"matrix": "slow", "vector": "fast", "scalar": "fast", "stack": "slow"}

    def make(params):
        members = dict(zip(SHAPES, params, strict=True))
        listed = [
            {"params": [p for k, p in members.items() if labels[k] == group], **kw}
            for group, kw in groups.items()
        ]
        return torch.optim.AdamW(listed, eps=1e-6)

    txs = {k: oxe.pytorch.AdamW(eps=1e-6, **kw) for k, kw in groups.items()}
    walk = our_walk(optax.partition(txs, labels), grads, first)
    assert difference(walk, their_walk(make, grads, first)) <= 1e-10


CYCLES = {
    "CyclicLR": {"max_lr": 0.1, "step_size_up": 40, "mode": "triangular2"},
    "OneCycleLR": {"total_steps": STEPS + 1},
}


@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_the_momentum_that_is_cycled(name, cycle):
    """Rate and momentum of one optimizer, both from the scheduler."""
    grads, first = gradients(), start()
    own = {"momentum": 0.9} if name == "SGD" else {}
    scheduler = getattr(torch.optim.lr_scheduler, cycle)
    reference = their_walk(
        lambda p: theirs(name, p, lr=RATE, **own),
        grads,
        first,
        scheduler=lambda opt: scheduler(opt, RATE, **CYCLES[cycle]),
    )
    with jax.enable_x64(True):
        curve = getattr(oxe.pytorch, cycle)(RATE, **CYCLES[cycle])
    for key in own:
        own[key] = curve.momentum
    betas = own or {"betas": (curve.momentum, 0.999)}
    walk = our_walk(ours(name, curve, **betas), grads, first)
    assert difference(walk, reference) <= 1e-10
    steady = our_walk(ours(name, curve, **dict.fromkeys(own, 0.9)), grads, first)
    assert difference(steady, reference) > 1e-3


@pytest.mark.parametrize("kind", [float, np.float64, jnp.float64, "traced"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_without_momentum_dampening_is_ignored(momentum, kind):
    grads, first = gradients(), start()
    kw = {"momentum": momentum, "dampening": 0.5}
    reference = their_walk(lambda p: theirs("SGD", p, lr=RATE, **kw), grads, first)

    def walk(m):
        tx = ours("SGD", momentum=m, dampening=0.5)
        params, state = jnp.asarray(first), tx.init(jnp.asarray(first))

        def step(carry, g):
            u, state = tx.update(g, carry[1])
            return (carry[0] + u, state), carry[0] + u

        return jax.lax.scan(step, (params, state), jnp.asarray(grads))[1]

    with jax.enable_x64(True):
        if kind == "traced":
            (found,) = jax.vmap(walk)(jnp.array([momentum]))
        else:
            found = walk(kind(momentum))
    assert difference(np.concatenate([first[None], found]), reference) <= 1e-10


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(3,), (3, 4)], ids=str)
def test_the_epsilon_of_adafactor_is_that_of_the_dtype(dtype, shape):
    """Felt by gradients far below it."""
    g = np.linspace(1, 2, int(np.prod(shape))).reshape(shape) * 1e-9
    w = torch.ones(shape, dtype=getattr(torch, dtype))
    w.grad = torch.tensor(g).to(w.dtype)
    before = w.clone()
    params = jnp.ones(shape, dtype)
    # Large rates, so that the step can be seen beside a weight of 1.
    rate = {"float32": 1.0, "bfloat16": 1.0}[dtype]
    theirs("Adafactor", [w], lr=rate, d=1e6).step()
    tx = ours("Adafactor", rate, d=1e6)
    u, _ = tx.update(jnp.asarray(g, dtype), tx.init(params), params)
    epsilon = float(jnp.finfo(dtype).eps)
    expected = -np.asarray(jnp.asarray(g, dtype), np.float64) / epsilon
    np.testing.assert_allclose(np.asarray(u, np.float64), expected, rtol=2e-2)
    step = (w.double() - before.double()).numpy()
    close = 2.0**-8 if dtype == "bfloat16" else 2.0**-23
    np.testing.assert_allclose(step, expected, rtol=2e-2, atol=close)


def test_rprop_passes_over_nan():
    grads, first = gradients(), start()
    grads[5:7, :3] = np.nan
    reference = their_walk(lambda p: theirs("Rprop", p, lr=RATE), grads, first)
    assert np.all(np.isfinite(reference))
    assert difference(our_walk(ours("Rprop"), grads, first), reference) <= 1e-10


def test_adafactor_goes_on_beside_a_nan():
    """In a vector: one entry is lost, the others are what they are in PyTorch."""
    shapes = {"vector": (6,)}
    grads, first = gradients(shapes), start(shapes)
    grads[5, 2] = np.nan
    reference = their_walk(
        lambda p: theirs("Adafactor", p, lr=RATE), grads, first, shapes
    )
    walk = our_walk(ours("Adafactor"), grads, first, shapes)
    np.testing.assert_array_equal(np.isnan(walk), np.isnan(reference))
    rest = [0, 1, 3, 4, 5]
    assert difference(walk[:, rest], reference[:, rest]) <= 1e-10


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "NAdam"])
def test_complex_as_two_reals(name):
    """What the room's docstring says: split, the numbers are PyTorch's."""
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(50, 3)) + 1j * rng.normal(size=(50, 3))
    w = torch.tensor(np.array([1.0 + 2j, -1j, 0.5]))
    optimizer = theirs(name, [w], lr=RATE)
    tx = optax.contrib.split_real_and_imaginary(ours(name))
    with jax.enable_x64(True):
        params = jnp.array(w.numpy())  # a copy: PyTorch writes in place
        state = tx.init(params)
        for g in grads:
            w.grad = torch.tensor(g)
            optimizer.step()
            u, state = tx.update(jnp.asarray(g), state, params)
            params = optax.apply_updates(params, u)
        np.testing.assert_allclose(params, w.numpy(), rtol=1e-12, atol=1e-14)


# ---- Muon ----------------------------------------------------------------------------


def orthogonal(x, steps, eps, coefficients=(3.4445, -4.775, 2.0315)):
    """The Newton-Schulz iteration, from its formula, in float64."""
    a, b, c = coefficients
    x = x / max(np.linalg.norm(x), eps)
    for _ in range(steps):
        outer = x @ x.T
        x = a * x + b * outer @ x + c * outer @ outer @ x
    return x


def muon_directions(grads, kw):
    """Each leaf's steps at a rate of 1, in NumPy."""
    beta, nesterov = kw.get("momentum", 0.95), kw["nesterov"]
    found = {}
    for name, rows in leaves_of(grads, MATRICES).items():
        average, steps = 0, []
        m, n = rows.shape[1:]
        scale = max(1, m / n) ** 0.5
        if kw["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * max(m, n) ** 0.5
        for g in rows:
            average = beta * average + (1 - beta) * g
            ahead = (1 - beta) * g + beta * average if nesterov else average
            one = orthogonal(ahead, kw.get("ns_steps", 5), kw.get("eps", 1e-7))
            steps.append(scale * one)
        found[name] = np.stack(steps)
    return flat_of(found, MATRICES, [len(grads)])


MUONS = [
    pytest.param(c.values[1], id=c.id, marks=c.marks)
    for c in CASES
    if c.values[0] == "Muon"
]


@pytest.mark.parametrize("kw", MUONS)
def test_muon(kw):
    grads, first = gradients(MATRICES), start(MATRICES)
    decay, reference = kw["weight_decay"], [first]
    for u in muon_directions(grads, kw):
        reference.append(reference[-1] * (1 - RATE * decay) - RATE * u)
    walk = our_walk(ours("Muon", **kw), grads, first, MATRICES)
    assert difference(walk, np.stack(reference)) <= 1e-10
    # PyTorch's own step, whose iteration is in bfloat16: of one update 12 % at worst.
    theirs_ = their_walk(
        lambda p: theirs("Muon", p, lr=RATE, **kw), grads[:50], first, MATRICES
    )
    steps, other = np.diff(walk[:51], axis=0), np.diff(theirs_, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    off = np.linalg.norm(steps - other, axis=1) / lengths
    assert np.median(off) <= 2e-2
    assert off.max() <= 0.15


# ---- Buffers -------------------------------------------------------------------------


@each_case
def test_no_more_buffers_than_theirs(name, kw):
    shape = (5, 7)
    w = torch.zeros(shape)
    w.grad = torch.ones(shape)
    optimizer = theirs(name, [w], lr=RATE, **kw)
    optimizer.step()
    kept = [x for x in optimizer.state[w].values() if getattr(x, "shape", ()) == shape]
    # A first step of plain momentum may leave None behind.
    state = ours(name, **kw).init(jnp.zeros(shape))
    mine = [x for x in jax.tree.leaves(state) if x.shape == shape]
    assert len(mine) <= len(kept)


# ---- What they refuse ----------------------------------------------------------------

SHARED = [
    (name, {key: -1.0}, key)
    for name in GRIDS
    for key in ("lr", "weight_decay", "eps", "momentum", "lr_decay", "momentum_decay")
    if key in inspect.signature(getattr(oxe.pytorch, name)).parameters
    and not (name == "Adafactor" and key == "eps")
    and not (name == "Muon" and key == "eps")
]
REFUSED = [
    *SHARED,
    ("SGD", {"nesterov": True}, "momentum"),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening"),
    *[
        (name, {"betas": betas}, f"betas`[{i}]")
        for name in ("Adam", "AdamW", "NAdam", "RAdam", "Adamax")
        for i, betas in enumerate([(1.0, 0.9), (0.9, -0.1)])
    ],
    ("Adagrad", {"initial_accumulator_value": -1.0}, "initial_accumulator_value"),
    ("Adadelta", {"rho": 1.5}, "rho"),
    ("RMSprop", {"alpha": -0.1}, "alpha"),
    ("Rprop", {"etas": (0.0, 1.2)}, "etas`[0]"),
    ("Rprop", {"etas": (0.5, 1.0)}, "etas`[1]"),
    ("Adafactor", {"beta2_decay": 0.5}, "beta2_decay"),
    ("Adafactor", {"eps": (-1.0, 1e-3)}, "eps`[0]"),
    ("Adafactor", {"eps": (None, -1e-3)}, "eps`[1]"),
    ("Adafactor", {"d": 0.5}, "d"),
    ("Muon", {"adjust_lr_fn": "best"}, "adjust_lr_fn"),
]


@pytest.mark.parametrize(("name", "kw", "argument"), REFUSED, ids=str)
def test_what_they_refuse_is_refused(name, kw, argument):
    with pytest.raises(ValueError):  # noqa: PT011
        theirs(name, [torch.zeros(2, 2)], **kw)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        getattr(oxe.pytorch, name)(**kw)
    quoted = argument if "`" in argument else f"{argument}`"
    assert str(caught.value).startswith(f"{name}: `{quoted}")
    value = next(iter(kw.values()))
    assert "got" in str(caught.value)
    if not isinstance(value, bool | tuple):
        assert f"got {value!r}." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kw", "kind", "message"),
    [
        ("Adam", {"betas": 0.9}, TypeError, "`betas` must be a sequence"),
        ("Adam", {"betas": (0.9,)}, ValueError, "`betas` must have 2 items"),
        ("Adam", {"amsgrad": 1}, TypeError, "`amsgrad` must be True or False"),
        ("SGD", {"lr": "fast"}, TypeError, "`lr` must be a number or a schedule"),
        ("SGD", {"momentum": None}, TypeError, "`momentum` must be a number or a sc"),
        ("Muon", {"ns_steps": 100}, ValueError, "`ns_steps` must be"),
        ("Muon", {"ns_coefficients": (1, 2)}, ValueError, "must have 3 items"),
    ],
)
def test_what_else_is_refused(name, kw, kind, message):
    with pytest.raises(kind, match=message):
        getattr(oxe.pytorch, name)(**kw)
