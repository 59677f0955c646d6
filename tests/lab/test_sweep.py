import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from optax_extras.lab import _chunks, lr_range_test, minimize, problems, sweep

DITCH, NOISY = problems.ditch, problems.noisy_quadratic
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 8, 3))
BATCHES = X, X @ np.array([1.0, -2.0, 0.5])
START = np.array([0.3, 0.1, -0.2])


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def test_on_a_problem(x64):
    rates = [0.1, 0.5, 0.9]
    result = sweep("ditch", optax.sgd, rates, 30)
    assert (result.optimizers, result.schedules) == (("sgd",), ("constant",))
    assert result.values.shape == (1, 1, 3, 1)
    for i, rate in enumerate(rates):
        x, y = -7 * (1 - rate / 10) ** 30, 2 * (1 - 2 * rate) ** 30
        value = x**2 / 20 + y**2
        np.testing.assert_allclose(result.values[0, 0, i, 0], value, rtol=1e-9)


def test_over_all():
    key = jax.random.key(0)
    makers = {"sgd": optax.sgd, "adam": optax.adam}
    schedules = {
        "constant": lambda rate: rate,
        "cosine": lambda rate: oxe.schedules.cosine(rate, 9),
    }
    result = sweep(
        NOISY, makers, np.array([0.1, 0.01]), 9, schedules=schedules, key=key, seeds=3
    )
    table = result.to_dict()
    assert result.values.shape == (2, 2, 2, 3)
    assert table["optimizer"].tolist() == ["sgd"] * 12 + ["adam"] * 12
    assert table["schedule"].tolist() == (["constant"] * 6 + ["cosine"] * 6) * 2
    np.testing.assert_allclose(table["rate"], np.repeat([0.1, 0.01] * 4, 3))
    assert table["seed"].tolist() == [0, 1, 2] * 8
    third = jax.random.split(key, 3)[2]
    tx = optax.adam(oxe.schedules.cosine(0.01, 9))
    value = NOISY.fun(minimize(NOISY, NOISY.start, tx, 9, key=third).params[-1])
    np.testing.assert_allclose(table["value"][-1], value, rtol=1e-5)
    np.testing.assert_allclose(result.values[1, 1, 1, 2], value, rtol=1e-5)
    lines = str(result).splitlines()
    assert lines[0].split() == ["optimizer", "schedule", "rate", "seed", "value"]
    assert len(lines) == 25


def on_batches(rates, steps=30, **options):
    given = {"params": START, "batches": BATCHES, **options}
    return sweep(loss, optax.sgd, rates, steps, **given)


def test_on_batches(x64):
    """The mean of the last tenth, by NumPy."""
    rates = [0.01, 0.1, 100.0]
    result = on_batches(rates)
    for i, rate in enumerate(rates[:2]):
        w, losses = START, []
        for t in range(30):
            x, y = (leaf[t % 5] for leaf in BATCHES)
            losses.append(np.mean((x @ w - y) ** 2))
            w = w - rate * 2 * x.T @ (x @ w - y) / 8
        late = np.mean(losses[-3:])
        np.testing.assert_allclose(result.values[0, 0, i, 0], late, rtol=1e-9)
    assert on_batches(rates, 300).values[0, 0, 2, 0] == np.inf


def test_on_batches_is_the_grid_of_a_range_test():
    def params(key):
        return jax.random.normal(key, (3,))

    options = {"seeds": 2, "key": jax.random.key(0)}
    test = lr_range_test(
        loss, params, BATCHES, optax.sgd, mode="grid", rates=4, steps=20, **options
    )
    result = on_batches(np.asarray(test.rates), 20, **options, params=params)
    np.testing.assert_allclose(result.values[0, 0].T, test.losses, rtol=1e-5)


def test_a_rate_that_a_metric_lowers_stays_low():
    """A state that begins with the rate is not begun anew at every update."""

    def make(rate):
        return oxe.heavy_ball(oxe.plateau(rate, patience=0), 0.0)

    given = {"params": jnp.ones(()), "batches": jnp.ones((1,))}
    # At the rate 1 it jumps from 1 to -1 and back for ever; at a lower one it falls.
    result = sweep(lambda w, batch: w**2 * batch, make, [1.0], 30, **given)
    assert result.values[0, 0, 0, 0] < 0.5


def chunks_of(limit, monkeypatch, **options):
    """What comes out, and how many runs each call of a program made."""
    sizes, compile = [], _chunks._compile

    def spy(program, data, points, size):
        compiled = compile(program, data, points, size)

        class Counting:
            memory_analysis = staticmethod(compiled.memory_analysis)

            def __call__(self, *args):
                sizes.append(size)
                return compiled(*args)

        return Counting()

    monkeypatch.setattr(_chunks, "_compile", spy)
    return on_batches(RATES, memory_limit=limit, **options), sizes


RATES = np.geomspace(1e-3, 0.3, 23)


def test_chunks(monkeypatch):
    """Under a limit: several calls, all of one size, the same numbers."""
    whole, sizes = chunks_of(None, monkeypatch)
    assert sizes == [23]
    fixed = sum(x.astype(np.float32).nbytes for x in BATCHES)
    parts, sizes = chunks_of(fixed + 4000, monkeypatch)
    assert 1 < len(sizes) < 23
    assert len(set(sizes)) == 1
    assert sum(sizes) - sizes[0] < 23 <= sum(sizes)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-5)
    enough, sizes = chunks_of(1e9, monkeypatch)
    assert sizes == [23]
    np.testing.assert_array_equal(enough.values, whole.values)


def test_too_little_memory_for_one_run():
    message = r"^sweep: `memory_limit` must be at least \d+, the bytes that one run"
    with pytest.raises(ValueError, match=message):
        on_batches(RATES, memory_limit=100)


def test_a_sweep_is_one_program():
    traces = []

    def fun(x):
        traces.append(x)
        return DITCH.fun(x)

    problem = DITCH._replace(fun=fun)
    counts = []
    for n in (2, 64):
        traces.clear()
        sweep(problem, optax.sgd, np.linspace(0.1, 0.9, n), 10)
        counts.append(len(traces))
    assert counts[1] <= counts[0] < 10


class Bar:
    """Stands in for tqdm."""

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


def test_bar_over_runs(monkeypatch):
    module = type(sys)("tqdm")
    module.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", module)
    Bar.made.clear()
    _, sizes = chunks_of(5000, monkeypatch)
    (bar,) = Bar.made
    assert bar.options["total"] == sum(bar.done) == 23
    assert len(bar.done) == len(sizes) > 1


def test_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)  # an import of it fails
    assert np.isfinite(on_batches([0.1], 3).values).all()


GOOD = {"problem": DITCH, "make_tx": optax.sgd, "rates": [0.1], "steps": 3}
LOSS = {"problem": loss, "params": START, "batches": BATCHES}
BAD = [
    ({"problem": "himelblau"}, ValueError, "sweep: `problem` must .*'himmelblau'"),
    ({"problem": 3}, TypeError, "sweep: `problem` must be a Problem or the name"),
    (
        {"problem": DITCH._replace(fun=None)},
        TypeError,
        "sweep: `problem.fun` must be callable, got None",
    ),
    ({"make_tx": 3}, TypeError, "sweep: `make_tx` must be callable, got 3"),
    ({"make_tx": {}}, ValueError, "sweep: `make_tx` must hold a function"),
    ({"make_tx": lambda r: r}, TypeError, "sweep: `make_tx` must return an optax"),
    ({"schedules": {}}, ValueError, "sweep: `schedules` must hold a function"),
    ({"schedules": {"a": 1}}, TypeError, "sweep: `schedules` must be callable, got 1"),
    ({"rates": []}, ValueError, "sweep: `rates` must hold a rate"),
    ({"rates": 0.1}, TypeError, "sweep: `rates` must be a sequence, got 0.1"),
    ({"rates": [0.1, -1]}, ValueError, r"sweep: `rates`\[1\] must be in \(0, inf\)"),
    ({"steps": 0}, ValueError, "sweep: `steps` must be .* at least 1, got 0"),
    ({"seeds": 0}, ValueError, "sweep: `seeds` must be .* at least 1, got 0"),
    ({"seeds": 2}, ValueError, "sweep: `key` must be given with several seeds"),
    ({"problem": NOISY}, ValueError, "sweep: `key` must be given where the problem"),
    ({"key": 3}, TypeError, "sweep: `key` must be a key of jax.random, got 3"),
    ({"memory_limit": 0}, ValueError, "sweep: `memory_limit` must be an integer"),
    ({"memory_limit": "1G"}, TypeError, "sweep: `memory_limit` must be an integer"),
    ({"params": START}, ValueError, "sweep: `params` must be left out where there"),
    ({"batches": X}, ValueError, "sweep: `batches` must be left out where there"),
    ({**LOSS, "params": None}, ValueError, "sweep: `params` must be given where"),
    ({**LOSS, "batches": None}, ValueError, "sweep: `batches` must be given where"),
    (
        {**LOSS, "problem": lambda w, batch: w},
        TypeError,
        "sweep: `problem` must return a real scalar",
    ),
    ({**LOSS, "params": np.arange(3)}, TypeError, "sweep: `params` must be of float"),
    ({**LOSS, "batches": X[:0]}, ValueError, "sweep: `batches` must hold arrays"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD)
def test_bad(arguments, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        sweep(**{**GOOD, **arguments})
