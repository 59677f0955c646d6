import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import _sweep, problems, sweep

DITCH, NOISY = problems.ditch, problems.noisy_quadratic
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 3))
BATCHES = X, X @ np.array([1.0, -2.0, 0.5]) + RNG.normal(size=(2, 8))
START = np.array([0.3, 0.1, -0.2])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def test_on_a_problem():
    """64 learning rates are one program."""
    traces, rates = [], np.linspace(0.1, 0.9, 64)

    def fun(x):
        traces.append(x)
        return DITCH.fun(x)

    result = sweep(DITCH._replace(fun=fun), optax.sgd, rates, 30)
    assert len(traces) < 10
    assert (result.optimizers, result.schedules) == (("sgd",), ("constant",))
    x, y = -7 * (1 - rates / 10) ** 30, 2 * (1 - 2 * rates) ** 30
    expected = x**2 / 20 + y**2
    np.testing.assert_allclose(result.values[0, 0, :, 0], expected, rtol=1e-9)


def tilt(key):
    """A number that looks random."""
    return jax.random.key_data(key) / 2**32


def test_seeds_of_a_problem():
    """Each seed has its own noise, from its part of the split key."""
    key, rates = jax.random.key(0), np.array([0.1, 0.01])
    problem = NOISY._replace(sample=lambda x, i, key: NOISY.fun(x) + x @ tilt(key))
    result = sweep(problem, optax.sgd, rates, 9, key=key, seeds=3)
    fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
    noise = tilt(jax.jit(fold)(jax.random.split(key, 3), np.arange(9)))
    w = np.broadcast_to(NOISY.start, (2, 3, 2))
    for t in range(9):
        w = w - rates[:, None, None] * (np.array([1, 10]) * w + noise[:, t])
    expected = (w[..., 0] ** 2 + 10 * w[..., 1] ** 2) / 2
    np.testing.assert_allclose(result.values[0, 0], expected, rtol=1e-9)
    table = result.to_dict()
    assert table["seed"].tolist() == [0, 1, 2] * 2
    np.testing.assert_allclose(table["rate"], np.repeat(rates, 3))
    np.testing.assert_allclose(table["value"], expected.ravel(), rtol=1e-9)


def half(rate):
    return optax.chain(optax.sgd(rate), optax.scale(0.5))


def test_every_combination():
    names, rates = ["half", "sgd"], np.array([0.1, 0.2])
    schedules = {
        "constant": lambda rate: rate,
        "inverse": lambda rate: lambda count: rate / (1 + count),
    }
    makers = {"half": half, "sgd": optax.sgd}
    result = sweep("ditch", makers, rates, 9, schedules=schedules)
    assert (result.optimizers, result.schedules) == (("half", "sgd"), (*schedules,))
    expected = np.empty((2, 2, 2, 1))
    for i, j, k in np.ndindex(2, 2, 2):
        w = DITCH.start
        for t in range(9):
            rate = rates[k] / (1, 1 + t)[j] / (2, 1)[i]
            w = w - rate * np.array([0.1, 2]) * w
        expected[i, j, k] = w[0] ** 2 / 20 + w[1] ** 2
    np.testing.assert_allclose(result.values, expected, rtol=1e-9)
    table = result.to_dict()
    assert table["optimizer"].tolist() == np.repeat(names, 4).tolist()
    assert table["schedule"].tolist() == np.repeat([*schedules] * 2, 2).tolist()
    head, *rows = str(result).splitlines()
    assert head.split() == ["optimizer", "schedule", "rate", "seed", "value"]
    assert [row.split()[0] for row in rows] == np.repeat(names, 4).tolist()
    values = [float(row.split()[-1]) for row in rows]
    assert values == pytest.approx(expected.ravel(), rel=1e-3)


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def test_on_batches():
    """The mean of the last tenth, by NumPy, with the params and order of each seed."""
    made, rates = [], [0.01, 0.1, 100.0]

    def make(key):
        draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        made.append(draw.normal(size=3))
        return made[-1]

    options = {"params": make, "batches": BATCHES, "seeds": 6}
    key = jax.random.key(0)
    result = sweep(loss, optax.sgd, rates, 300, key=key, **options)
    assert len(np.unique(made, axis=0)) == len(made) == 6

    def late(w, rate, order):
        losses = []
        for t in range(300):
            x, y = (leaf[order[t % 2]] for leaf in BATCHES)
            losses.append(np.mean((x @ w - y) ** 2))
            w = w - rate * 2 * x.T @ (x @ w - y) / 8
        return np.mean(losses[-30:])

    found = np.asarray(result.values[0, 0])
    orders = []
    for seed, w in enumerate(made):
        ends = [[late(w, x, order) for x in rates[:2]] for order in ((0, 1), (1, 0))]
        near = [np.allclose(found[:2, seed], end, rtol=1e-9) for end in ends]
        assert sum(near) == 1, "of the two orders"
        orders.append(near.index(True))
    assert set(orders) == {0, 1}
    assert np.isinf(found[2]).all()


def test_list_of_batches():
    """The values of a list are those of arrays; a smaller last batch is left out."""
    rows = [*zip(*BATCHES, strict=True), (X[0, :3], X[0, :3, 0])]
    run = [
        sweep(loss, optax.sgd, [0.01, 0.1], 9, params=START, batches=batches).values
        for batches in (BATCHES, rows, iter(rows))
    ]
    np.testing.assert_array_equal(run[1:], [run[0]] * 2)


def test_a_rate_that_a_metric_lowers_stays_low():
    """A state that starts with the learning rate is not reset at each update."""

    def make(rate):
        return oxe.heavy_ball(oxe.plateau(rate, patience=0), 0.0)

    given = {"params": jnp.ones(()), "batches": jnp.ones((1,))}
    # At learning rate 1 it jumps between 1 and -1 for ever; at a lower one it falls.
    result = sweep(lambda w, batch: w**2 * batch, make, [1.0], 30, **given)
    assert result.values[0, 0, 0, 0] < 0.5


@pytest.fixture
def sizes(monkeypatch):
    """The number of runs in each call of a program."""
    sizes, compile = [], _sweep._compile

    def spy(program, data, points, size):
        compiled = compile(program, data, points, size)

        class Counting:
            memory_analysis = staticmethod(compiled.memory_analysis)

            def __call__(self, *args):
                sizes.append(size)
                return compiled(*args)

        return Counting()

    monkeypatch.setattr(_sweep, "_compile", spy)
    return sizes


class Bar:
    """A replacement for tqdm."""

    made: list = []  # noqa: RUF012

    def __init__(self, **options):
        self.options, self.done = options, []
        Bar.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def update(self, more):
        self.done.append(more)


def test_chunks(sizes, monkeypatch):
    """Under a limit: several calls of one size, the same numbers, and a bar."""
    module = type(sys)("tqdm")
    module.tqdm = Bar
    rates, data = np.geomspace(1e-3, 0.3, 23), np.arange(40.0).reshape(2, 20)

    def on_data(rates, limit):
        options = {"params": np.ones(20), "batches": data, "memory_limit": limit}
        return sweep(lambda w, b: jnp.sum((w - b) ** 2), optax.sgd, rates, 5, **options)

    whole = on_data(rates, None)
    assert sizes == [23]
    sizes.clear()
    monkeypatch.setitem(sys.modules, "tqdm", module)
    Bar.made.clear()
    parts = on_data(rates, data.nbytes + 2000)
    assert 1 < len(sizes) < 23
    assert len(set(sizes)) == 1
    assert sum(sizes) - sizes[0] < 23 <= sum(sizes)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-9)
    (bar,) = Bar.made
    assert bar.options["total"] == sum(bar.done) == 23
    assert len(bar.done) == len(sizes)
    message = r"^sweep: `memory_limit` must be at least \d+, the bytes that one run"
    with pytest.raises(ValueError, match=message):
        on_data(rates[:2], 100)


def test_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)  # an import of it fails
    assert np.isfinite(sweep("ditch", optax.sgd, [0.1], 3).values).all()


GOOD = {"problem": DITCH, "make_tx": optax.sgd, "rates": [0.1], "steps": 3}
LOSS = {"problem": loss, "params": START, "batches": BATCHES}
BAD = [
    ({"problem": "himelblau"}, ValueError, "`problem` must .*'himmelblau'"),
    ({"problem": 3}, TypeError, "`problem` must be a Problem or the name"),
    (
        {"problem": DITCH._replace(fun=None)},
        TypeError,
        "`problem.fun` must be callable, got None",
    ),
    ({"make_tx": 3}, TypeError, "`make_tx` must be callable, got 3"),
    ({"make_tx": {}}, ValueError, "`make_tx` must hold a function"),
    ({"make_tx": lambda r: r}, TypeError, "`make_tx` must return an optax"),
    ({"schedules": {}}, ValueError, "`schedules` must hold a function"),
    ({"schedules": {"a": 1}}, TypeError, "`schedules` must be callable, got 1"),
    ({"rates": []}, ValueError, "`rates` must hold a learning rate"),
    ({"rates": 0.1}, TypeError, "`rates` must be a sequence, got 0.1"),
    ({"rates": [0.1, -1]}, ValueError, r"`rates`\[1\] must be in \(0, inf\)"),
    ({"steps": 0}, ValueError, "`steps` must be .* at least 1, got 0"),
    ({"seeds": 0}, ValueError, "`seeds` must be .* at least 1, got 0"),
    ({"seeds": 2}, ValueError, "`key` must be given with several seeds"),
    ({"problem": NOISY}, ValueError, "`key` must be given where the problem"),
    ({"key": 3}, TypeError, "`key` must be a key of jax.random, got 3"),
    ({"memory_limit": 0}, ValueError, "`memory_limit` must be an integer"),
    ({"memory_limit": "1G"}, TypeError, "`memory_limit` must be an integer"),
    ({"params": START}, ValueError, "`params` must be left out where there"),
    ({"batches": X}, ValueError, "`batches` must be left out where there"),
    ({**LOSS, "params": None}, ValueError, "`params` must be given where"),
    ({**LOSS, "batches": None}, ValueError, "`batches` must be given where"),
    (
        {**LOSS, "problem": lambda w, batch: w},
        TypeError,
        "`problem` must return a real scalar",
    ),
    ({**LOSS, "params": np.arange(3)}, TypeError, "`params` must be of float"),
    ({**LOSS, "batches": X[:0]}, ValueError, "`batches` must hold arrays"),
    ({**LOSS, "batches": [*BATCHES]}, ValueError, "`batches` must .* give a tuple of"),
]


def test_bad_arguments():
    for wrong, kind, message in BAD:
        with pytest.raises(kind, match=f"^sweep: {message}"):
            sweep(**{**GOOD, **wrong})
