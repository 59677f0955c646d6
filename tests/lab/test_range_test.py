"""Range tests against NumPy; the plots show curves made by hand."""

import logging
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from matplotlib.figure import Figure

from optax_extras.lab import (
    RangeTest,
    _range_test,
    _runs,
    lr_range_test,
    plot_range_test,
)
from tests.lab import fastai

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 8, 3))
BATCHES = X, X @ np.array([1.0, -2.0, 0.5]) + 0.1 * RNG.normal(size=(7, 8))
START = np.array([0.3, 0.1, -0.2])
N = 40  # learning rates, everywhere: `_read` is compiled once


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def by_numpy(rates, w=START, order=range(7), momentum=0.0):
    """The losses before the updates of SGD; `rates[i]` may hold those of many runs."""
    losses, trace = [], 0.0
    w = np.broadcast_to(w, (*np.shape(rates[0]), 3))
    for i, rate in enumerate(rates):
        x, y = (leaf[order[i % 7]] for leaf in BATCHES)
        error = w @ x.T - y
        losses.append(np.mean(error**2, axis=-1))
        trace = momentum * trace + 2 * error @ x / len(y)
        w = w - np.expand_dims(rate, -1) * trace
    return np.array(losses)


def momentum(rate):
    """SGD of one leaf; its state holds the learning rate beside buffers that stay."""
    sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=rate, momentum=0.9)
    labels = ({"w": "trained", "b": "left"},)
    return optax.multi_transform({"trained": sgd, "left": optax.set_to_zero()}, labels)


def loss_of_tree(params, batch):
    w, b = params[0]["w"], params[0]["b"]
    return loss(w, batch) + jnp.where(b == 0, 0, jnp.nan)


def check_suggestions(test):
    first, end = N // 10, np.isfinite(test.smoothed).sum() - 5
    rates, curve = np.asarray(test.rates), np.asarray(test.smoothed)
    for name, rule in fastai.RULES.items():
        expected = rule(rates[first:end], curve[first:end])
        np.testing.assert_allclose(getattr(test, name), expected, rtol=1e-12)


SHAPES = [(N,), (1, N), (N,), (), (), (), (), (), (2,)]


def test_exponential_ramp():
    """The state continues while the learning rate rises; params and labels are trees.

    The test runs under jit, where params are traced.
    """

    @jax.jit
    def run(w):
        params, options = ({"w": w, "b": 0.0},), {"start": 1e-4, "stop": 10, "steps": N}
        return lr_range_test(loss_of_tree, params, BATCHES, momentum, **options)

    test = run(START)
    rates = 1e-4 * 1e5 ** (np.arange(N) / (N - 1))
    np.testing.assert_allclose(test.rates, rates, rtol=1e-12)
    losses = by_numpy(rates, momentum=0.9)
    np.testing.assert_allclose(test.losses, losses[None], rtol=1e-9)
    end = np.isfinite(test.smoothed).sum()
    curve = fastai.smooth(losses)
    np.testing.assert_allclose(test.smoothed[:end], curve[:end], rtol=1e-9)
    # It ends after the first value above four times the lowest so far.
    above = curve > 4 * np.minimum.accumulate(curve)
    assert 25 < end == np.argmax(above) + 1 < N
    check_suggestions(test)
    assert np.isfinite(test[3:7]).all()
    assert np.isnan([test.best, *test.range]).all(), "they are of a grid"
    assert [np.shape(x) for x in test] == SHAPES


def test_grid(caplog):
    """Runs that diverge are inf; all runs are one program."""
    options = {"start": 1e-3, "mode": "grid", "steps": 200, "rates": N}
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        test = lr_range_test(loss, START, BATCHES, optax.sgd, **options)
    messages = [record.getMessage() for record in caplog.records]
    compiled = [x for x in messages if "Finished XLA compilation" in x]
    assert sum("measure" in message for message in compiled) == 1
    assert len(compiled) <= 3, "only that, and what reads the curve"
    np.testing.assert_allclose(test.rates, np.geomspace(1e-3, 10, N), rtol=1e-12)
    with np.errstate(all="ignore"):
        losses = by_numpy([np.asarray(test.rates)] * 200)
    diverged = ~np.isfinite(losses).all(0)
    assert diverged.any()
    late = np.where(diverged, np.inf, losses[-20:].mean(0))
    np.testing.assert_allclose(test.losses[0], late, rtol=1e-6)
    shown = np.isfinite(test.smoothed)
    np.testing.assert_array_equal(test.smoothed[shown], test.losses[0][shown])
    assert np.isnan(test[3:7]).all(), "they are rules for a ramp"
    best = test.rates[np.argmin(late)]
    assert test.best == best
    np.testing.assert_array_equal(test.range, [best, best], "one seed has no noise")
    assert [np.shape(x) for x in test] == SHAPES


def test_best_and_range_of_noisy_seeds():
    """(w - c)² for noisy c: a low rate does not arrive, a high one follows the noise.

    The test runs under jit, where batches are traced.
    """

    @jax.jit
    def run(batches):
        options = {"start": 1e-4, "stop": 3.0, "rates": N, "steps": 50}
        options |= {"mode": "grid", "seeds": 4, "key": jax.random.key(0)}
        return lr_range_test(bowl, np.array(3.0), batches, optax.sgd, **options)

    centers = np.random.default_rng(0).normal(size=50)
    test = run(centers)
    losses = np.asarray(test.losses)
    means = losses.mean(0)
    near = means <= means.min() + losses[:, np.argmin(means)].std(ddof=1)
    low, best, high = check_best_and_range(test, means, near)
    assert low < best < high
    # It is at most exp(-2 r 45) of the way from 3 to the centers, which deviate by 1.
    assert 0.01 < test.range[0] < test.best < test.range[1] < 1
    assert means[best] < 2 * centers.var()


def bowl(w, batch):
    return (w - batch) ** 2


def check_best_and_range(test, means, near):
    best = low = high = int(np.argmin(means))
    while low > 0 and near[low - 1]:
        low -= 1
    while high < len(means) - 1 and near[high + 1]:
        high += 1
    rates = np.asarray(test.rates)
    assert test.best == rates[best]
    np.testing.assert_array_equal(test.range, rates[[low, high]])
    assert np.isnan(test[3:7]).all()
    return low, best, high


def read_grid(losses, unmoved=9.0):
    losses = np.asarray(losses, float)
    rates = np.geomspace(1e-6, 10, losses.shape[1])
    return _range_test._read_grid(rates, losses, np.full(len(losses), unmoved))


def test_range_is_one_stretch_around_the_best():
    """The mean may exceed the lowest by the deviation of the seeds there: by 0.5."""
    means = np.array([9, 1.4, 3, 1.5, 1.49, 1.0, 1.2, 1.501, 1.3, np.inf])
    noise = np.array([-0.5, 0.5, 0.0])  # its standard deviation is 0.5
    test = read_grid(means + noise[:, None])
    assert check_best_and_range(test, means, means <= 1.5) == (3, 5, 6)
    # The noise at the best counts, not that elsewhere.
    test = read_grid(means + noise[:, None] * np.where(means == 1, 0.9, 4))
    assert check_best_and_range(test, means, means <= 1.45) == (5, 5, 6)
    # A learning rate at which a seed diverged is not in the range.
    losses = means + noise[:, None]
    losses[1, 6] = np.inf
    test = read_grid(losses)
    near = (means <= 1.5) & (np.arange(10) < 6)
    assert check_best_and_range(test, means, near) == (3, 5, 5)
    # Equal losses of one seed are no noise; a stretch may reach both ends.
    test = read_grid([[3.0, 3.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(test.range, np.asarray(test.rates)[[2, 2]])
    test = read_grid([[1.0, 0.0, 1.0], [3.0, 4.0, 3.0]])
    np.testing.assert_array_equal(test.range, np.asarray(test.rates)[[0, 2]])
    # The lowest may come after the end of the curve that is drawn.
    test = read_grid([[2.0, 1.0, 5.0, 0.5]])
    assert np.isnan(test.smoothed[3])
    assert test.best == test.rates[3]


def test_losses_that_never_fall():
    """No suggestion, in either mode; losses that differ by rounding are equal."""
    for unmoved, is_found in ((1.0, False), (1.0 + 1e-15, False), (1.001, True)):
        test = read_grid([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], unmoved)
        found = np.isfinite([test.best, *test.range])
        assert found.tolist() == [is_found] * 3
    assert np.isnan(read_grid(np.full((2, 9), np.inf), np.inf)[3:8]).all()
    rates = np.geomspace(1e-6, 10, N)
    rise = np.linspace(2.3, 3, N)
    dip = rise - 30 * (np.arange(N) == N // 2)
    for losses, is_found in (
        (np.full(N, 2.3), False),
        (rise, False),
        (rise + 0.01 * np.sin(np.arange(N)), False),
        (dip, True),
    ):
        test = _range_test._read_ramp(rates, losses[None])
        assert np.isfinite(test[3:7]).tolist() == [is_found] * 4
        assert np.isnan([test.best, *test.range]).all()


@pytest.mark.parametrize("mode", ["exponential", "grid"])
def test_ascent(mode):
    """A loss that falls from batch to batch, but rises at each update.

    A grid compares runs with the initial params on the same batches, the last tenth.
    """

    def loss(w, batch):
        return jnp.sum(w**2) - batch * (mode == "grid")

    options = {"mode": mode, "start": 1e-3, "stop": 0.1, "rates": 4, "steps": 20}
    for sign in (1, -1):
        tx = lambda rate, sign=sign: optax.sgd(sign * rate)  # noqa: E731
        test = lr_range_test(loss, START, np.arange(20.0), tx, **options)
        found = np.isfinite(np.concatenate([np.ravel(x) for x in test[3:]]))
        assert found.any() == (sign == 1)


def test_linear_ramp_of_seeds():
    """Each seed has its own params and order of batches, which are an iterator."""
    made, batches = [], iter([tuple(leaf[i] for leaf in BATCHES) for i in range(7)])

    def make(key):
        draw = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        made.append(draw.normal(size=3))
        return made[-1]

    options = {"start": 1e-4, "stop": 0.3, "steps": N, "mode": "linear"}
    options |= {"seeds": 3, "key": jax.random.key(0)}
    test = lr_range_test(loss, make, batches, optax.sgd, **options)
    rates = 1e-4 + (0.3 - 1e-4) * np.arange(N) / (N - 1)
    np.testing.assert_allclose(test.rates, rates, rtol=1e-12)
    assert len(np.unique(made, axis=0)) == len(made) == 3
    orders, x, y = [], *BATCHES
    for w, losses in zip(made, np.asarray(test.losses), strict=True):
        order = []
        for value, rate in zip(losses[:7], rates, strict=False):
            # The batch that has this loss.
            order.append(np.argmin(np.abs(np.mean((x @ w - y) ** 2, 1) - value)))
            at = x[order[-1]]
            w = w - rate * 2 * at.T @ (at @ w - y[order[-1]]) / 8
        orders.append(tuple(order))
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(7))}
    assert len(set(orders)) == 3
    expected = [by_numpy(rates, *x) for x in zip(made, orders, strict=True)]
    np.testing.assert_allclose(test.losses, expected, rtol=1e-9)
    curve = fastai.smooth(np.mean(expected, axis=0))
    np.testing.assert_allclose(test.smoothed, curve, rtol=1e-9)


def read_ramp(losses):
    rates = np.geomspace(1e-6, 10, N)
    return _range_test._read_ramp(rates, np.asarray(losses, float)[None])


def test_end_of_a_curve():
    """After a value above four times the lowest so far, before one not finite."""
    fall = np.linspace(2, 1, N - 4)
    for name, tail, end in (
        ("four times", [4.0, 4.0, 4.0, 4.0], N),
        ("more than four times", [4.001, 1.0, 1.0, 1.0], N - 3),
        ("NaN", [1.0, np.nan, 1.0, 1.0], N - 3),
        ("inf", [np.inf, 0.5, 1.0, 1.0], N - 4),
    ):
        shown = read_grid([[*fall, *tail]]).smoothed
        expected = [*fall, *tail][:end] + [np.nan] * (N - end)
        np.testing.assert_array_equal(shown, expected, err_msg=name)
    assert np.isnan(read_ramp([*fall, *[np.nan] * 4]).smoothed[-4:]).all()
    # Below 0 it ends after a rise by three times the size of the lowest.
    below = [*-np.linspace(1, 2, N - 2), 4.0, 4.001]
    assert np.isfinite(read_grid([below]).smoothed).all()
    assert np.isnan(read_grid([[*below[:-2], 4.001, 0.0]]).smoothed[-1])


def test_batches():
    """At most `steps` batches of an iterable or list are read."""

    class Loader:
        def __iter__(self):
            return iter(list(X))

    rows = [tuple(leaf[i % 7] for leaf in BATCHES) for i in range(100)]
    endless = iter(rows)
    for batches in (endless, rows, Loader(), list(X), BATCHES, {"x": X}, (X, X)):
        steps = 20 if batches is endless or batches is rows else 7
        for leaf in jax.tree.leaves(_runs._stack(batches, steps)):
            assert len(leaf) == steps
            places = np.arange(steps) % 7
            assert any(np.array_equal(leaf, x[places]) for x in BATCHES)
    assert len(list(endless)) == 80


@pytest.mark.parametrize("mode", ["exponential", "grid"])
def test_list_of_batches(mode):
    """The results of a list are those of a generator, also of traced batches."""
    rows = [{"x": x, "y": list(y)} for x, y in zip(*BATCHES, strict=True)]

    def loss_of_row(w, batch):
        return loss(w, (batch["x"], jnp.stack(batch["y"])))

    def run(batches):
        options = {"mode": mode, "rates": 4, "steps": N}
        return lr_range_test(loss_of_row, START, batches, optax.sgd, **options)

    expected = run(row for row in rows)
    assert np.isfinite(expected.losses).any()
    for found in (run(rows), jax.jit(run)(rows)):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, expected
        )


def test_smaller_last_batch():
    """It is left out of trees too, also where several epochs are read."""
    first, second = ({"x": X[i], "y": np.float32(i)} for i in range(2))
    small = {"x": X[2, :3], "y": np.float32(2)}
    for batches in ([first, second, small], iter([first, second, small])):
        stacked = _runs._stack(batches, 5)
        np.testing.assert_array_equal(stacked["x"], X[:2])
        np.testing.assert_array_equal(stacked["y"], [0, 1])

    def count(batches, steps):
        return len(_runs._stack(batches, steps)["x"])

    assert count([small], 5) == 1, "no other tells that it is small"
    assert count([first, second, small], 2) == 2
    assert count([first, small], 5) == 1
    keys = jax.random.split(jax.random.key(0), 2)
    assert (_runs._stack(list(keys), 5) == keys).all()
    # Over several epochs, each of which ends with a smaller batch.
    assert count([first, small, second, small], 5) == 2
    for wrong in (
        [small, first],
        [first, {"x": X[0, :, :2], "y": np.float32(0)}],
        [first, {"x": X[0, 0], "y": np.float32(0)}],
        [first, {"x": X[0]}],
        [first, {"x": X[0, :3], "y": np.zeros(1)}],
        [{"x": X[0], "y": np.zeros(3)}, {"x": X[0], "y": np.float32(0)}],
    ):
        with pytest.raises(ValueError, match=r"^`batches` must be of one shape each"):
            _runs._stack(wrong, 5)


def test_models():
    """Which leaves of a container are trained, and which do not change."""
    key = jax.random.key(0)
    for params in (START, {"w": START}, [jnp.array(START)], ({"w": START, "f": abs},)):
        trained, rebuild = _runs._take_apart([params, params])
        assert len(trained) == 2
        leaves = jax.tree.leaves(trained[0])
        np.testing.assert_array_equal(leaves, [START])
        again = rebuild(jax.tree.map(lambda x: x + 1, trained[1]))
        assert jax.tree.structure(again) == jax.tree.structure(params)
        np.testing.assert_array_equal(jax.tree.leaves(again)[-1], START + 1)
    layer = [np.float32(1), np.uint32(2), np.bool_(True), key]
    trained, rebuild = _runs._take_apart([layer])
    assert trained == [[1, None, None, None]]
    assert rebuild([np.float32(3), None, None, None]) == [3, *layer[1:]]


LABELS = X.argmax(-1)


class Equinox(eqx.Module):
    w: Any
    dropout: eqx.nn.Dropout
    act: Any  # a function, as in eqx.nn.MLP

    def __call__(self, x):
        return self.dropout(self.act(x @ self.w), key=jax.random.key(0))


def make_equinox():
    return Equinox(RNG.normal(size=(3, 3)), eqx.nn.Dropout(0.5), jax.nn.relu)


class Flax(nnx.Module):
    def __init__(self):
        zeros, rngs = nnx.initializers.zeros, nnx.Rngs(0)
        self.linear = nnx.Linear(3, 3, kernel_init=zeros, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.linear(x))


@pytest.mark.parametrize("make", [make_equinox, Flax])
@pytest.mark.parametrize(
    "mode", ["exponential", pytest.param("grid", marks=pytest.mark.full)]
)
def test_layers_with_dropout(make, mode):
    """They hold functions, keys, counts and flags, which are not trained."""

    def loss(model, batch):
        logits, labels = model(batch[0]), batch[1]
        return jnp.sum((logits - jax.nn.one_hot(labels, 3)) ** 2, -1).mean()

    model = make()
    before = jax.tree.leaves(model)
    options = {"mode": mode, "start": 1e-4, "stop": 1.0, "rates": N, "steps": N}
    test = lr_range_test(loss, model, (X, LABELS), optax.sgd, **options)
    assert jnp.ptp(test.losses) > 0.2, "it learns at one rate, not at another"
    assert all(x is y for x, y in zip(before, jax.tree.leaves(model), strict=True))


def test_half_precision():
    """The losses are float32, or float64 under x64."""
    params, batches = jax.tree.map(jnp.bfloat16, (START, BATCHES))
    for x64, dtype in ((False, "float32"), (True, "float64")):
        for mode in ("exponential", "grid"):
            with jax.enable_x64(x64):
                test = jax.eval_shape(
                    lambda mode=mode: lr_range_test(
                        loss, params, batches, optax.sgd, mode=mode, rates=4, steps=4
                    )
                )
            assert {x.dtype.name for x in test} == {dtype}, mode


GOOD = {"loss": loss, "params": START, "batches": BATCHES, "make_tx": optax.sgd}
BAD = [
    ({"loss": 3}, TypeError, "`loss` must be callable, got 3"),
    (
        {"loss": lambda w, b: w},
        TypeError,
        r"`loss` must return a real scalar, got .*\(3,\)",
    ),
    (
        {"loss": lambda w, b: 3},
        TypeError,
        "`loss` must return a real scalar, got .*int",
    ),
    (
        {"params": np.arange(3)},
        TypeError,
        r"`params` must be of floating numbers, got .*\(shape=\(3,\), dtype=int64",
    ),
    (
        {"params": {"a": START, "b": 3}},
        TypeError,
        r"`params`\['b'\] must be of floating",
    ),
    ({"params": {}}, TypeError, "`params` must hold something to train"),
    ({"params": lambda key: START}, ValueError, "`key` must be given where `params`"),
    ({"make_tx": 0.1}, TypeError, "`make_tx` must be callable, got 0.1"),
    ({"make_tx": lambda r: r}, TypeError, "`make_tx` must return an optax.Gradient"),
    ({"steps": 1}, ValueError, "`steps` must be an integer of at least 2, got 1"),
    ({"rates": 1}, ValueError, "`rates` must be an integer of at least 2, got 1"),
    ({"seeds": 0}, ValueError, "`seeds` must be an integer of at least 1, got 0"),
    ({"seeds": 2}, ValueError, "`key` must be given with several seeds, got None"),
    ({"key": 3}, TypeError, "`key` must be a key of jax.random, got 3"),
    (
        {"start": 1.0, "stop": 1.0},
        ValueError,
        "`start` must be below `stop`, 1.0, got 1",
    ),
    ({"start": 0.0}, ValueError, r"`start` must be in \(0, inf\), got 0.0"),
    ({"stop": "high"}, TypeError, "`stop` must be a real number, got 'high'"),
    ({"mode": "cosine"}, ValueError, "`mode` must be one of 'exponential', 'linear'"),
    ({"batches": iter([])}, ValueError, "`batches` must hold a batch"),
    (
        {"batches": iter([X[0, :3], X[0]])},
        ValueError,
        r"`batches` must be of one shape each, got \['\(3, 3\)', '\(8, 3\)'\].$",
    ),
    (
        {"batches": [*BATCHES]},
        ValueError,
        r"`batches` must be of one shape each, got \['\(7, 8\)', '\(7, 8, 3\)'\]. A "
        "list is a list of batches: give a tuple of arrays.$",
    ),
    ({"batches": []}, ValueError, r"`batches` must hold a batch, got \[\]"),
    ({"batches": X[:0]}, ValueError, "`batches` must hold arrays with one leading"),
    ({"batches": (X, X[:2])}, ValueError, "`batches` must hold arrays with one"),
    ({"batches": (X, ["a"] * len(X))}, TypeError, "`batches` must hold arrays of num"),
]


def test_bad_arguments():
    for wrong, kind, message in BAD:
        with pytest.raises(kind, match=f"^lr_range_test: {message}"):
            lr_range_test(**{**GOOD, **wrong})


def made_by_hand(rates):
    """Two seeds, one of them low; the end is far above the rest."""
    curve = np.r_[np.linspace(2.0, 1.0, N - 4), 2.0, 5.0, 90.0, np.nan]
    losses = np.stack([curve - 0.9, curve + 0.9])
    losses[0, -1] = np.inf
    none = np.nan, np.full(2, np.nan)
    return RangeTest(
        rates, losses, curve, rates[20], rates[30], rates[5], np.nan, *none
    )


def grid_by_hand(low, high):
    test = made_by_hand(np.geomspace(1e-3, 1, N))
    nan, ends = np.nan, test.rates[[low, high]]
    return RangeTest(*test[:3], nan, nan, nan, nan, test.rates[25], ends)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.mark.parametrize("spread", [np.linspace, np.geomspace])
def test_picture(ax, spread):
    test = made_by_hand(spread(1e-3, 1, N))
    assert plot_range_test(test, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["smoothed"].get_ydata(), test.smoothed)
    for name, place in (("valley", 20), ("steep", 30), ("minimum", 5)):
        (label,) = (x for x in lines if x.startswith(f"{name}: "))
        mark = lines[label].get_xydata()[0]
        np.testing.assert_allclose(mark, [test.rates[place], test.smoothed[place]])
        assert float(label.split(": ")[1]) == pytest.approx(mark[0], rel=0.05)
    assert not [x for x in lines if x.startswith("slide")], "it found none"
    seeds = [x.get_ydata() for x in ax.lines if x.get_label() == "each seed"]
    np.testing.assert_array_equal(seeds[1], test.losses[1])
    np.testing.assert_array_equal(seeds[0][:-1], test.losses[0, :-1])
    assert np.isnan(seeds[0][-1])
    bottom, top = ax.get_ylim()
    assert -1 < bottom < 0.1, "no point is cut off"
    assert 2 < top < 10, "except the end"
    assert ax.get_xscale() == ("linear" if spread is np.linspace else "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "loss")
    assert not ax.patches
    assert not [x for x in lines if x.startswith("best")]


def test_picture_of_a_grid(ax):
    """`best` is a line from bottom to top, and `range` is shaded."""
    test = grid_by_hand(22, 27)
    plot_range_test(test, ax=ax)
    (line,) = (x for x in ax.lines if x.get_label() == f"best: {test.best:.2g}")
    np.testing.assert_allclose(line.get_xdata(), [test.best] * 2)
    assert line.get_ydata() == [0, 1]
    (span,) = ax.patches
    low, high = test.range
    assert span.get_label() == f"range: {low:.2g} to {high:.2g}"
    box = span.get_extents().transformed(ax.transData.inverted())
    np.testing.assert_allclose([box.x0, box.x1], test.range)
    assert 0 < span.get_alpha() < 0.5, "the curve is visible through it"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    heads = [text.split(":")[0] for text in texts]
    assert heads == ["each seed", "smoothed", "best", "range"]


def test_picture_of_a_range_of_one(ax):
    plot_range_test(grid_by_hand(25, 25), ax=ax)
    assert not ax.patches


def test_picture_of_several(ax):
    one = made_by_hand(np.geomspace(1e-3, 1, N))
    plot_range_test({"SGD": one, "Adam": one}, ax=ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [text.split(":")[0] for text in texts] == ["SGD", "valley", "Adam"]
    ax.clear()
    plot_range_test({"ramp": one, "grid": grid_by_hand(22, 27)}, ax=ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [text.split(":")[0] for text in texts] == ["ramp", "valley", "grid", "best"]
    assert not ax.patches


def test_bad_picture(ax):
    for test, kind, must in (
        ({"a": 3}, TypeError, "be what `lr_range_test` returned, got 3"),
        ({}, ValueError, "hold a range test, got {}"),
    ):
        with pytest.raises(kind, match=f"^plot_range_test: `test` must {must}"):
            plot_range_test(test, ax=ax)
    assert not ax.lines
