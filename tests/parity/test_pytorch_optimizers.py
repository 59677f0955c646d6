"""The optimizers of `oxe.pytorch` against PyTorch's.

The fast run has every pair of options in some walk; `full` has all combinations.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit
from tests.parity.walks import (
    MATRICES,
    ONE_LEAF,
    SHAPES,
    STEPS,
    difference,
    every_setting,
    flat_of,
    gradients,
    grid,
    leaves_of,
    our_walk,
    our_walks,
    pairwise,
    size,
    start,
    torch_walk,
)

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
lrs = torch.optim.lr_scheduler

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


def possible(kw):
    return not kw["nesterov"] or (kw["momentum"] > 0 and kw["dampening"] == 0)


# For each class: sets of numbers, and the combinations of all other options.
GRIDS = {
    "SGD": (
        [{}],
        [
            kw
            for kw in grid(
                momentum=[0, 0.9],
                dampening=[0, 0.3],
                weight_decay=L2,
                nesterov=ON_OFF,
                maximize=ON_OFF,
            )
            if possible(kw)
        ],
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
    "AdamW": (BETAS, grid(weight_decay=[0.01, 0.5], amsgrad=ON_OFF, maximize=ON_OFF)),
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
        grid(momentum=[0, 0.9], centered=ON_OFF, weight_decay=L2, maximize=ON_OFF),
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
            adjust_lr_fn=[None, "original", "match_rms_adamw", "spectral_unclamped"],
            weight_decay=L2,
        ),
    ),
}
# PyTorch's Muon rounds to bfloat16: ours is compared with its formula in NumPy below,
# and in test_muon.py with PyTorch's without the rounding.
EXACT = [name for name in GRIDS if name != "Muon"]
each_name = pytest.mark.parametrize("name", NAMES)
each_exact = pytest.mark.parametrize("name", EXACT)


@pytest.fixture(autouse=True)
def torch_in_float64():
    """PyTorch stores NAdam's momentum product and ASGD's eta in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def theirs(name, params, **kw):
    return getattr(torch.optim, name)(params, **kw)


def ours(name, lr=RATE, **kw):
    return getattr(oxe.pytorch, name)(lr=lr, **kw)


def their_walk(name, kw, grads, first, shapes=ONE_LEAF, **more):
    return torch_walk(
        lambda p: theirs(name, p, lr=RATE, **kw), grads, first, shapes, **more
    )


def shapes_of(name):
    """Adafactor treats matrices differently; the others are elementwise."""
    return SHAPES if name == "Adafactor" else ONE_LEAF


def gradients_for(settings, shapes):
    """Eight decades; smaller ones with L2 decay, as the weights are about 1."""
    decays = any(kw.get("weight_decay") for kw in settings)
    return gradients(shapes, (-6, 2) if decays else (-4, 4))


# ---- Names ---------------------------------------------------------------------------


def test_every_optimizer_of_theirs_is_there():
    found = {
        name
        for name, thing in vars(torch.optim).items()
        if isinstance(thing, type) and issubclass(thing, torch.optim.Optimizer)
    }
    assert found - OUT_OF_SCOPE == set(NAMES) == set(GRIDS)


@each_name
def test_arguments_and_defaults(name):
    """They are PyTorch's, in PyTorch's order; missing ones are refused by name."""
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


def test_params_in_front():
    """Params first, as in PyTorch: the error says what to do instead."""
    params = [torch.zeros(2, 2)]
    for given in (params, iter(params), {"w": params[0]}):
        with pytest.raises(TypeError, match=r"(?s)`params` must not be given.*`init`"):
            oxe.pytorch.Adam(given, lr=0.1)
        with pytest.raises(TypeError, match=r"(?s)`params` must not be given.*`init`"):
            oxe.pytorch.Adam(given)
    with pytest.raises(TypeError, match="Adam: `lr` must be a number or a sch"):
        oxe.pytorch.Adam(lr=torch.tensor(0.1))


def test_an_optimizer_in_front_of_a_scheduler():
    for optimizer in (optax.sgd(0.1), oxe.pytorch.SGD(0.1), object()):
        with pytest.raises(TypeError, match="StepLR: `optimizer` must not be given"):
            oxe.pytorch.StepLR(optimizer, step_size=30)
        with pytest.raises(TypeError, match="OneCycleLR: `optimizer` must not be"):
            oxe.pytorch.OneCycleLR(optimizer, 0.1, total_steps=10)


# ---- Numbers -------------------------------------------------------------------------


def compare_float64(name, settings, shapes, driven=()):
    """Compare each setting; `driven` ones with warm restarts."""
    grads, first = gradients_for(settings, shapes), start(shapes)
    restarts = (30, 2, RATE / 10)
    with jax.enable_x64(True):
        rate = oxe.pytorch.CosineAnnealingWarmRestarts(RATE, *restarts)
    txs = [ours(name, rate if kw in driven else RATE, **kw) for kw in settings]
    walks = our_walks(txs, grads, first, shapes)
    for kw, walk in zip(settings, walks, strict=True):
        scheduler = None
        if kw in driven:
            scheduler = lambda opt: lrs.CosineAnnealingWarmRestarts(opt, *restarts)  # noqa: E731
        reference = their_walk(name, kw, grads, first, shapes, scheduler=scheduler)
        assert difference(walk, reference) <= 1e-10, kw


@each_exact
def test_float64(name):
    """The second setting, all options on, has a learning rate that changes."""
    settings = pairwise(*GRIDS[name])
    compare_float64(name, settings, shapes_of(name), driven=settings[1:2])


@pytest.mark.full
@each_exact
def test_float64_of_every_combination(name):
    settings = every_setting(*GRIDS[name])
    compare_float64(name, settings, SHAPES)
    compare_float64(name, settings[::5], shapes_of(name), driven=settings)


def compare_float32(settings, shapes):
    """Starts at 0: rounding a weight of 3 would cost 1e-5 of a small step.

    Adafactor runs in float32 in PyTorch, too: its steps are as large as its weights,
    which magnifies rounding, and the machine epsilon is one of its numbers.
    """
    first = np.zeros(size(shapes))
    grads = gradients_for([kw for _, kw in settings], shapes)
    txs = [ours(name, **kw) for name, kw in settings]
    walks = our_walks(txs, grads, first, shapes, "float32")
    for (name, kw), walk in zip(settings, walks, strict=True):
        dtype = "float32" if name == "Adafactor" else "float64"
        reference = their_walk(name, kw, grads, first, shapes, dtype=dtype)
        assert difference(walk, reference) <= 1e-5, (name, kw)


def test_float32():
    settings = [(name, pairwise(*GRIDS[name])[0]) for name in EXACT]
    compare_float32(settings, {"matrix": (3, 4), "vector": (3,)})


@pytest.mark.full
@each_exact
def test_float32_of_every_combination(name):
    # Changing a sign is exact in every dtype.
    settings = [kw for kw in every_setting(*GRIDS[name]) if not kw.get("maximize")]
    compare_float32([(name, kw) for kw in settings], SHAPES)


def test_asgd_takes_its_rate_one_step_late():
    """As in PyTorch; the first learning rate is used twice."""
    tx = oxe.pytorch.ASGD(lr=lambda t: 10.0**t, lambd=0.0)
    walk = our_walk(tx, np.ones((4, 1)), np.zeros(1), {"scalar": ()})
    steps = np.diff(walk[:, 0])
    np.testing.assert_allclose(steps, [-1.0, -1.0, -10.0, -100.0], rtol=1e-6)


def test_rprop_takes_its_rate_once():
    tx = oxe.pytorch.Rprop(lr=lambda t: 0.5 + t)
    walk = our_walk(tx, np.ones((3, 1)), np.zeros(1), {"scalar": ()})
    steps = np.diff(walk[:, 0])
    np.testing.assert_allclose(steps, [-0.5, -0.5 * 1.2, -0.5 * 1.2**2], rtol=1e-6)


def test_the_average_of_asgd():
    """All settings in one program, with traced numbers."""
    grads, first = gradients(ONE_LEAF), start(ONE_LEAF)
    settings = [
        {"lambd": 1e-4, "alpha": 0.75, "t0": 1e6, **kw} for kw in GRIDS["ASGD"][0]
    ]

    def averages(kw):
        tx = ours("ASGD", **kw)

        def step(carry, g):
            params, state = carry
            u, state = tx.update(g, state, params)
            return (optax.apply_updates(params, u), state), state[1].average

        return jax.lax.scan(step, (params, tx.init(params)), jnp.asarray(grads))[1]

    with jax.enable_x64(True):
        params = jnp.asarray(first)
        numbers = {k: jnp.array([kw[k] for kw in settings]) for k in settings[0]}
        walks = np.asarray(quick_jit(jax.vmap(averages))(numbers))
    for kw, walk in zip(settings, walks, strict=True):
        _, seen = their_walk(
            "ASGD",
            kw,
            grads,
            first,
            look=lambda opt, params: (
                opt.state[params["matrix"]]["ax"].numpy().flatten()
            ),
        )
        assert difference(walk, np.stack(seen)) <= 1e-10, kw


def test_parameter_groups():
    """Two parameter groups in PyTorch are `optax.partition` here."""
    shapes = {"matrix": (2, 3), "vector": (3,)}
    grads, first = gradients(shapes, decades=(-2, 1)), start(shapes)
    groups = {
        "matrix": {"lr": 1e-3, "weight_decay": 0.5, "betas": (0.5, 0.9)},
        "vector": {"lr": 1e-1, "weight_decay": 0.0, "betas": (0.9, 0.99)},
    }

    def make(params):
        listed = zip(params, groups.values(), strict=True)
        return torch.optim.AdamW([{"params": [p], **kw} for p, kw in listed], eps=1e-6)

    txs = {k: oxe.pytorch.AdamW(eps=1e-6, **kw) for k, kw in groups.items()}
    walk = our_walk(
        optax.partition(txs, dict(zip(shapes, shapes, strict=True))),
        grads,
        first,
        shapes,
    )
    assert difference(walk, torch_walk(make, grads, first, shapes)) <= 1e-10


CYCLES = {
    "CyclicLR": {"max_lr": 0.1, "step_size_up": 40, "mode": "triangular2"},
    "OneCycleLR": {"total_steps": STEPS + 1},
}


@pytest.mark.parametrize(
    ("name", "cycle"),
    [("SGD", "OneCycleLR"), ("Adam", "CyclicLR"), ("AdamW", "OneCycleLR")],
)
def test_the_momentum_that_is_cycled(name, cycle):
    """The scheduler sets the learning rate and the momentum."""
    grads, first = gradients(ONE_LEAF), start(ONE_LEAF)
    reference = their_walk(
        name,
        {"momentum": 0.9} if name == "SGD" else {},
        grads,
        first,
        scheduler=lambda opt: getattr(lrs, cycle)(opt, RATE, **CYCLES[cycle]),
    )
    with jax.enable_x64(True):
        curve = getattr(oxe.pytorch, cycle)(RATE, **CYCLES[cycle])
    momentum = {"betas": (curve.momentum, 0.999)}
    if name == "SGD":
        momentum = {"momentum": curve.momentum}
    walk = our_walk(ours(name, curve, **momentum), grads, first, ONE_LEAF)
    assert difference(walk, reference) <= 1e-10


def test_without_momentum_dampening_is_ignored():
    """For every kind of number that is 0."""
    rows = jnp.array([3.0, -2.0, 1.0])

    def walk(momentum):
        tx = ours("SGD", momentum=momentum, dampening=0.5)
        state, steps = tx.init(rows[0]), []
        for g in rows:
            u, state = tx.update(g, state)
            steps.append(u)
        return jnp.stack(steps)

    kinds = (0.0, np.float64(0), jnp.float32(0))
    found = quick_jit(lambda m: [*map(walk, kinds), *jax.vmap(walk)(m)])
    *without, damped = found(jnp.array([0.0, 0.9]))
    for steps in without:
        np.testing.assert_allclose(steps, -RATE * rows, rtol=1e-6)
    expected = [3.0, 0.9 * 3 - 0.5 * 2, 0.9 * 1.7 + 0.5]
    np.testing.assert_allclose(damped, -RATE * np.array(expected), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_epsilon_of_adafactor_is_that_of_the_dtype(dtype):
    """Gradients are far below it; weights and the learning rate are 1."""
    epsilon = float(jnp.finfo(dtype).eps)
    grads = {
        shape: np.linspace(1, 2, int(np.prod(shape))).reshape(shape) * 1e-9
        for shape in ((3,), (3, 4))
    }
    tx = ours("Adafactor", 1.0, d=1e6)
    params = {shape: jnp.ones(shape, dtype) for shape in grads}
    given = {shape: jnp.asarray(g, dtype) for shape, g in grads.items()}
    u = quick_jit(lambda g, p: tx.update(g, tx.init(p), p)[0])(given, params)
    close = 2.0**-8 if dtype == "bfloat16" else 2.0**-23
    for shape, g in grads.items():
        w = torch.ones(shape, dtype=getattr(torch, dtype))
        w.grad = torch.tensor(g).to(w.dtype)
        theirs("Adafactor", [w], lr=1.0, d=1e6).step()
        expected = -np.asarray(given[shape], np.float64) / epsilon
        np.testing.assert_allclose(
            np.asarray(u[shape], np.float64), expected, rtol=2e-2
        )
        step = w.double().numpy() - 1
        np.testing.assert_allclose(step, expected, rtol=2e-2, atol=close)


def test_rprop_passes_over_nan():
    grads, first = gradients(ONE_LEAF), start(ONE_LEAF)
    grads[5:7, :3] = np.nan
    reference = their_walk("Rprop", {}, grads, first)
    assert np.all(np.isfinite(reference))
    assert (
        difference(our_walk(ours("Rprop"), grads, first, ONE_LEAF), reference) <= 1e-10
    )


def test_adafactor_goes_on_beside_a_nan():
    """In a vector one entry becomes NaN; the others are PyTorch's."""
    shapes = {"vector": (6,)}
    grads, first = gradients(shapes), start(shapes)
    grads[5, 2] = np.nan
    reference = their_walk("Adafactor", {}, grads, first, shapes)
    walk = our_walk(ours("Adafactor"), grads, first, shapes)
    np.testing.assert_array_equal(np.isnan(walk), np.isnan(reference))
    rest = [0, 1, 3, 4, 5]
    assert difference(walk[:, rest], reference[:, rest]) <= 1e-10


def test_complex_as_two_reals():
    """Split into real and imaginary parts, the numbers are PyTorch's."""
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(50, 3)) + 1j * rng.normal(size=(50, 3))
    first = np.array([1.0 + 2j, -1j, 0.5])
    w = torch.tensor(first)
    optimizer = theirs("Adam", [w], lr=RATE)
    for g in grads:
        w.grad = torch.tensor(g)
        optimizer.step()
    tx = optax.contrib.split_real_and_imaginary(ours("Adam"))

    @quick_jit
    def last(params, grads):
        def step(carry, g):
            u, state = tx.update(g, carry[1], carry[0])
            return (optax.apply_updates(carry[0], u), state), None

        return jax.lax.scan(step, (params, tx.init(params)), grads)[0][0]

    with jax.enable_x64(True):
        np.testing.assert_allclose(
            last(first, grads), w.numpy(), rtol=1e-12, atol=1e-14
        )


# ---- Muon ----------------------------------------------------------------------------


def orthogonal(x, steps, eps, coefficients=(3.4445, -4.775, 2.0315)):
    """The Newton-Schulz iteration, from its formula, in float64."""
    a, b, c = coefficients
    x = x / max(np.linalg.norm(x), eps)
    for _ in range(steps):
        outer = x @ x.T
        x = a * x + b * outer @ x + c * outer @ outer @ x
    return x


def in_pytorch(word):
    """Whether PyTorch's Muon has that `adjust_lr_fn`; 2.14 has a new one."""
    matrix = torch.nn.Parameter(torch.ones(2, 2))
    try:
        torch.optim.Muon([matrix], adjust_lr_fn=word)
    except ValueError:
        return False
    return True


def muon_directions(grads, kw):
    """The steps of each leaf at a learning rate of 1, in NumPy."""
    beta, nesterov = kw.get("momentum", 0.95), kw["nesterov"]
    found = {}
    for name, rows in leaves_of(grads, MATRICES).items():
        average, steps = 0, []
        m, n = rows.shape[1:]
        scale = max(1, m / n) ** 0.5
        if kw["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * max(m, n) ** 0.5
        if kw["adjust_lr_fn"] == "spectral_unclamped":
            scale = (m / n) ** 0.5
        for g in rows:
            average = beta * average + (1 - beta) * g
            ahead = (1 - beta) * g + beta * average if nesterov else average
            one = orthogonal(ahead, kw.get("ns_steps", 5), kw.get("eps", 1e-7))
            steps.append(scale * one)
        found[name] = np.stack(steps)
    return flat_of(found, MATRICES, [len(grads)])


def compare_muon(settings):
    grads, first = gradients(MATRICES), start(MATRICES)
    walks = our_walks([ours("Muon", **kw) for kw in settings], grads, first, MATRICES)
    for kw, walk in zip(settings, walks, strict=True):
        decay, reference = kw["weight_decay"], [first]
        for u in muon_directions(grads, kw):
            reference.append(reference[-1] * (1 - RATE * decay) - RATE * u)
        assert difference(walk, np.stack(reference)) <= 1e-10, kw


def test_muon():
    compare_muon(pairwise(*GRIDS["Muon"]))


@pytest.mark.full
def test_muon_of_every_combination():
    compare_muon(every_setting(*GRIDS["Muon"]))


# ---- Buffers -------------------------------------------------------------------------


@each_name
def test_no_more_buffers_than_theirs(name):
    shape = (5, 7)
    for kw in pairwise(*GRIDS[name]):
        if not in_pytorch(kw.get("adjust_lr_fn")):
            continue
        w = torch.zeros(shape)
        w.grad = torch.ones(shape)
        optimizer = theirs(name, [w], lr=RATE, **kw)
        optimizer.step()
        buffers = [x for x in optimizer.state[w].values() if np.shape(x) == shape]
        # The first step of PyTorch's momentum may leave None in its state.
        state = jax.eval_shape(ours(name, **kw).init, jnp.zeros(shape))
        mine = [x for x in jax.tree.leaves(state) if x.shape == shape]
        assert len(mine) <= len(buffers), kw


# ---- What PyTorch refuses ------------------------------------------------------------

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


def test_what_they_refuse_is_refused():
    for name, kw, argument in REFUSED:
        with pytest.raises(ValueError):  # noqa: PT011
            theirs(name, [torch.zeros(2, 2)], **kw)
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            getattr(oxe.pytorch, name)(**kw)
        quoted = argument if "`" in argument else f"{argument}`"
        message, value = str(caught.value), next(iter(kw.values()))
        assert message.startswith(f"{name}: `{quoted}")
        assert "got" in message
        if not isinstance(value, bool | tuple):
            assert f"got {value!r}." in message


def test_what_else_is_refused():
    for name, kw, kind, message in [
        ("Adam", {"betas": 0.9}, TypeError, "`betas` must be a sequence"),
        ("Adam", {"betas": (0.9,)}, ValueError, "`betas` must have 2 items"),
        ("Adam", {"amsgrad": 1}, TypeError, "`amsgrad` must be a bool"),
        ("SGD", {"lr": "fast"}, TypeError, "`lr` must be a number or a schedule"),
        ("SGD", {"momentum": None}, TypeError, "`momentum` must be a number or a sc"),
        ("Muon", {"ns_steps": 100}, ValueError, "`ns_steps` must be"),
        ("Muon", {"ns_coefficients": (1, 2)}, ValueError, "must have 3 items"),
    ]:
        with pytest.raises(kind, match=message):
            getattr(oxe.pytorch, name)(**kw)
