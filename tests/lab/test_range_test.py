import logging

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from matplotlib.figure import Figure

import optax_extras as oxe
from optax_extras.lab import RangeTest, lr_range_test, plot_range_test

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 8, 3))
BATCHES = X, X @ np.array([1.0, -2.0, 0.5]) + 0.1 * RNG.normal(size=(7, 8))
START = np.array([0.3, 0.1, -0.2])
SUGGESTIONS = ("valley", "steep", "minimum", "slide")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def by_numpy(rates, order=range(7), w=START):
    """Losses before each update of SGD."""
    losses = []
    for i, rate in enumerate(rates):
        x, y = (leaf[order[i % 7]] for leaf in BATCHES)
        error = x @ w - y
        losses.append(np.mean(error**2))
        w = w - rate * 2 * x.T @ error / len(y)
    return np.array(losses)


@pytest.mark.parametrize(
    ("mode", "rates"),
    [
        ("exponential", 1e-4 * (0.3 / 1e-4) ** (np.arange(40) / 39)),
        ("linear", 1e-4 + (0.3 - 1e-4) * np.arange(40) / 39),
    ],
)
def test_ramp(mode, rates, x64):
    test = lr_range_test(
        loss, START, BATCHES, optax.sgd, start=1e-4, stop=0.3, steps=40, mode=mode
    )
    np.testing.assert_allclose(test.rates, rates, rtol=1e-12)
    losses = by_numpy(rates)
    np.testing.assert_allclose(test.losses, losses[None], rtol=1e-9)
    average, smoothed = 0.0, []
    for i, value in enumerate(losses):
        average = 0.98 * average + 0.02 * value
        smoothed.append(average / (1 - 0.98 ** (i + 1)))
    there = np.isfinite(test.smoothed)
    assert there[:20].all()
    np.testing.assert_allclose(
        test.smoothed[there], np.array(smoothed)[there], rtol=1e-9
    )


def test_suggestions_of_a_ramp(x64):
    """From the smoothed curve up to divergence, less a tenth and five."""
    test = lr_range_test(loss, START, BATCHES, optax.sgd, start=1e-5, stop=10)
    there = np.isfinite(test.smoothed)
    end = there.sum()
    assert 50 < end < 100
    assert there[:end].all(), "it ends once"
    curve, best = np.asarray(test.smoothed), np.inf
    for i in range(end):
        best = min(best, curve[i])
        assert i == end - 1 or curve[i] <= 4 * best
    assert curve[end - 1] > 4 * best
    for name in SUGGESTIONS:
        rule = getattr(oxe.lab, name)
        expected = jax.jit(rule)(test.rates[10 : end - 5], curve[10 : end - 5])
        assert getattr(test, name) == pytest.approx(float(expected), rel=1e-12)
        assert np.isfinite(expected)


def test_grid(x64):
    test = lr_range_test(
        loss, START, BATCHES, optax.sgd, start=1e-3, mode="grid", steps=30, rates=9
    )
    np.testing.assert_allclose(test.rates, np.geomspace(1e-3, 10, 9), rtol=1e-12)
    with np.errstate(all="ignore"):
        late = [by_numpy([rate] * 30)[-3:].mean() for rate in test.rates]
    np.testing.assert_allclose(test.losses[0], late, rtol=1e-6)
    kept = np.isfinite(test.smoothed)
    np.testing.assert_array_equal(test.smoothed[kept], test.losses[0][kept])


def test_what_diverges_is_inf_and_ends_the_curve():
    test = lr_range_test(loss, START, BATCHES, optax.sgd, mode="grid", steps=200)
    assert np.isinf(test.losses[0, -1])
    assert not np.isnan(test.losses).any()
    assert np.isnan(test.smoothed[-1])
    for name in SUGGESTIONS:
        assert 0.99e-6 < getattr(test, name) < 1


def test_nan_safe_ramp():
    def breaks(w, batch):
        return loss(w, batch) + jnp.log(1e3 - jnp.sum(w**2))

    test = lr_range_test(breaks, START, BATCHES, optax.sgd)
    assert np.isnan(test.losses[0, -1])
    for name in SUGGESTIONS:
        assert 0.99e-6 < getattr(test, name) < 1


def test_a_loss_below_zero_does_not_diverge_at_once(x64):
    test = lr_range_test(
        lambda w, batch: loss(w, batch) - 1e3, START, BATCHES, optax.sgd, stop=0.1
    )
    assert np.isfinite(test.smoothed).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: optax.inject_hyperparams(optax.sgd)(learning_rate=rate),
        lambda rate: optax.chain(optax.identity(), oxe.scale_by_rate(rate)),
        lambda rate: optax.chain(
            optax.scale(-1.0),
            optax.stateless(lambda u, _: jax.tree.map(lambda x: rate * x, u)),
        ),
    ],
    ids=["injected", "scale_by_rate", "own"],
)
def test_factories_that_keep_the_rate(make, x64):
    plain = lr_range_test(loss, START, BATCHES, optax.sgd, start=1e-4, stop=0.3)
    test = lr_range_test(loss, START, BATCHES, make, start=1e-4, stop=0.3)
    np.testing.assert_allclose(test.losses, plain.losses, rtol=1e-9)


def test_state_is_kept(x64):
    """Momentum goes on while the rate rises."""
    test = lr_range_test(
        loss, START, BATCHES, lambda r: optax.sgd(r, 0.9), start=1e-4, stop=0.1
    )
    w, trace, losses = START, 0, []
    for i, rate in enumerate(np.geomspace(1e-4, 0.1, 100)):
        x, y = (leaf[i % 7] for leaf in BATCHES)
        losses.append(np.mean((x @ w - y) ** 2))
        trace = 0.9 * trace + 2 * x.T @ (x @ w - y) / 8
        w = w - rate * trace
    np.testing.assert_allclose(test.losses[0], losses, rtol=1e-9)


@pytest.mark.parametrize("mode", ["exponential", "grid"])
def test_nothing_handed_in_is_changed(mode):
    params, batches = jnp.array(START), jax.tree.map(jnp.array, BATCHES)
    lr_range_test(loss, params, batches, optax.adam, mode=mode, steps=20)
    np.testing.assert_array_equal(params, START.astype(np.float32))
    np.testing.assert_array_equal(batches[1], BATCHES[1].astype(np.float32))


def test_iterator():
    """As many as there are steps are read, no more; one that ends is cycled."""

    def pairs(n):
        return iter([tuple(leaf[i % 7] for leaf in BATCHES) for i in range(n)])

    whole = lr_range_test(loss, START, BATCHES, optax.sgd, steps=20, stop=0.1)
    endless = pairs(100)
    for batches in (endless, pairs(20), pairs(7)):
        test = lr_range_test(loss, START, batches, optax.sgd, steps=20, stop=0.1)
        np.testing.assert_allclose(test.losses, whole.losses, rtol=1e-5)
    assert len(list(endless)) == 80


def test_seeds(x64):
    key = jax.random.key(0)
    options = {"start": 1e-4, "stop": 0.3, "steps": 21}
    test = lr_range_test(loss, START, BATCHES, optax.sgd, seeds=3, key=key, **options)
    rates = np.asarray(test.rates)
    for i, fresh in enumerate(jax.random.split(key, 3)):
        order = np.asarray(jax.random.permutation(fresh, 7))
        np.testing.assert_allclose(test.losses[i], by_numpy(rates, order), rtol=1e-9)
    assert len(np.unique(test.losses[:, 0])) > 1


def test_params_from_a_key():
    def make(key):
        return jax.random.normal(key, (3,))

    test = lr_range_test(
        loss,
        make,
        jax.tree.map(lambda x: x[:1], BATCHES),
        optax.sgd,
        seeds=4,
        key=jax.random.key(0),
        mode="grid",
        rates=5,
        steps=3,
    )
    assert test.losses.shape == (4, 5)
    assert len(np.unique(test.losses[:, 0])) == 4
    np.testing.assert_allclose(test.smoothed[0], test.losses[:, 0].mean(), rtol=1e-6)


def mlp(key):
    sizes = (64, 64, 32, 10)
    keys = jax.random.split(key, 3)
    return [
        (jax.random.normal(k, (m, n)) * np.sqrt(2 / m), jnp.zeros(n))
        for k, m, n in zip(keys, sizes, sizes[1:], strict=False)
    ]


def classify(params, batch):
    x, labels = batch
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    losses = optax.softmax_cross_entropy_with_integer_labels(x @ w + b, labels)
    return losses.mean()


IMAGES = (
    RNG.normal(size=(10, 32, 64)).astype(np.float32),
    RNG.integers(0, 10, size=(10, 32)),
)


def test_a_grid_is_one_program(caplog):
    """32 rates, 100 steps of a 64-64-32-10 network: one compilation of size."""
    params = mlp(jax.random.key(0))
    options = {"start": 1e-6, "stop": 1.0, "mode": "grid"}
    options |= {"steps": 100, "rates": 32}
    with jax.log_compiles(True), caplog.at_level(logging.WARNING):
        test = lr_range_test(classify, params, IMAGES, optax.adam, **options)
    compiled = [
        record.getMessage()
        for record in caplog.records
        if "Finished XLA compilation" in record.getMessage()
    ]
    assert sum("measure" in message for message in compiled) == 1
    assert len(compiled) <= 3, "nothing but that, and what reads the curve"
    assert test.losses.shape == (1, 32)
    # From a rate too low to learn, to one that has learnt all by heart.
    assert test.losses[0, 0] > 2
    assert jnp.nanmin(test.smoothed) < 0.1
    for name in SUGGESTIONS:
        assert 0.99e-6 < getattr(test, name) <= 1


WRAPPED = {
    "dict": (lambda w: {"w": w}, lambda p: p["w"]),
    "list": (lambda w: [w], lambda p: p[0]),
    "dict in a tuple": (lambda w: ({"w": w},), lambda p: p[0]["w"]),
}


@pytest.mark.parametrize(("wrap", "bare"), WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("mode", ["grid", "linear"])
def test_a_container_with_one_leaf(wrap, bare, array, mode):
    run = {"steps": 14, "mode": mode} | ({"rates": 4} if mode == "grid" else {})
    expected = lr_range_test(loss, array(START), BATCHES, optax.sgd, **run)
    params = wrap(array(START))
    found = lr_range_test(
        lambda p, batch: loss(bare(p), batch), params, BATCHES, optax.sgd, **run
    )
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-6)


def test_equinox():
    model = eqx.nn.MLP(64, 10, 16, 1, key=jax.random.key(0))

    def loss(model, batch):
        x, labels = batch
        logits = jax.vmap(model)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    test = lr_range_test(loss, model, IMAGES, optax.adam, stop=0.1)
    assert test.losses.min() < test.losses[0, 0] - 0.5


def test_flax_nnx():
    class Model(nnx.Module):
        def __init__(self, rngs):
            self.a = nnx.Linear(64, 16, rngs=rngs)
            self.b = nnx.Linear(16, 10, rngs=rngs)

        def __call__(self, x):
            return self.b(nnx.relu(self.a(x)))

    def loss(model, batch):
        x, labels = batch
        logits = model(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    model = Model(nnx.Rngs(0))
    before = np.array(model.a.kernel[...])
    test = lr_range_test(loss, model, IMAGES, optax.adam, stop=0.1)
    assert test.losses.min() < test.losses[0, 0] - 0.5
    np.testing.assert_array_equal(model.a.kernel[...], before)


@pytest.mark.parametrize(
    "mode", ["exponential", pytest.param("grid", marks=pytest.mark.full)]
)
def test_layers_with_dropout(mode):
    """They hold keys, counts and switches, which are no numbers to train."""

    class Model(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(64, 10, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.layer(x))

    a, key = jax.random.split(jax.random.key(0))
    layers = eqx.nn.Linear(64, 10, key=a), eqx.nn.Dropout(0.5)
    for model, call in (
        (Model(nnx.Rngs(0)), lambda model, x: model(x)),
        (layers, lambda two, x: two[1](jax.vmap(two[0])(x), key=key)),
    ):

        def loss(model, batch, call=call):
            logits = call(model, batch[0])
            each = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1])
            return each.mean()

        options = {"mode": mode, "start": 1e-3, "stop": 0.1, "rates": 2}
        test = lr_range_test(loss, model, IMAGES, optax.adam, steps=20, **options)
        assert jnp.ptp(test.losses) > 0.2, "it learns at one rate, not at another"


@pytest.mark.parametrize("mode", ["exponential", "grid"])
def test_optimizers_see_the_tree_of_the_params(mode):
    """So a mask that is such a tree fits; what it leaves out is left alone."""

    def apart(p, batch):
        return (p["a"] - 1) ** 2 + jnp.where(p["b"] == 0, 0, jnp.nan)

    def make_tx(rate):
        labels = {"a": "trained", "b": "left"}
        both = {"trained": optax.sgd(rate), "left": optax.set_to_zero()}
        return optax.multi_transform(both, labels)

    options = {"mode": mode, "start": 0.01, "stop": 0.1, "steps": 4, "rates": 4}
    params = {"a": 0.0, "b": 0.0}
    test = lr_range_test(apart, params, np.zeros(1), make_tx, **options)
    if mode == "exponential":
        error = np.cumprod([1, *(1 - 2 * test.rates[:-1])])
    else:
        error = (1 - 2 * test.rates) ** 3
    np.testing.assert_allclose(test.losses[0], error**2, rtol=1e-5)


def test_what_makes_an_iterator():
    class Loader:
        def __iter__(self):
            return iter([tuple(leaf[i] for leaf in BATCHES) for i in range(7)])

    a, b = (
        lr_range_test(loss, START, x, optax.sgd, steps=10) for x in (Loader(), BATCHES)
    )
    np.testing.assert_array_equal(a.losses, b.losses)


@pytest.mark.parametrize(
    "mode", ["exponential", pytest.param("grid", marks=pytest.mark.full)]
)
def test_inside_jit(mode):
    def run(params):
        options = {"mode": mode, "rates": 10, "stop": 1.0}
        return lr_range_test(loss, params, BATCHES, optax.adam, steps=10, **options)

    chex.assert_trees_all_close(jax.jit(run)(START), run(START), rtol=1e-5)


def test_half_precision():
    test = lr_range_test(
        loss,
        jnp.asarray(START, jnp.bfloat16),
        jax.tree.map(lambda x: x.astype(jnp.bfloat16), BATCHES),
        optax.sgd,
        stop=1.0,
    )
    assert {x.dtype.name for x in test} == {"float32"}
    assert np.isfinite(test.valley)


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
        r"`params` must be of floating numbers, got .*\(shape=\(3,\), dtype=int32",
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
    ({"steps": 0}, ValueError, "`steps` must be an integer of at least 2, got 0"),
    ({"steps": 9.5}, TypeError, "`steps` must be an integer of at least 2, got 9.5"),
    ({"rates": 1}, ValueError, "`rates` must be an integer of at least 2, got 1"),
    ({"seeds": 0}, ValueError, "`seeds` must be an integer of at least 1, got 0"),
    ({"seeds": 2}, ValueError, "`key` must be given with several seeds, got None"),
    ({"key": 3}, TypeError, "`key` must be a key of jax.random, got 3"),
    (
        {"start": 1.0, "stop": 0.1},
        ValueError,
        "`start` must be below `stop`, 0.1, got 1",
    ),
    ({"start": 0.0}, ValueError, r"`start` must be in \(0, inf\), got 0.0"),
    ({"stop": "high"}, TypeError, "`stop` must be a real number, got 'high'"),
    ({"mode": "cosine"}, ValueError, "`mode` must be one of 'exponential', 'linear'"),
    ({"batches": iter([])}, ValueError, "`batches` must hold a batch"),
    (
        {"batches": iter([X[0], X[0, :3]])},
        ValueError,
        "`batches` must be of one shape each",
    ),
    ({"batches": X[:0]}, ValueError, "`batches` must hold arrays with one leading"),
    ({"batches": (X, X[:2])}, ValueError, "`batches` must hold arrays with one"),
    ({"batches": (X, ["a"] * len(X))}, TypeError, "`batches` must hold arrays of num"),
]


@pytest.mark.parametrize(("wrong", "kind", "message"), BAD)
def test_bad(wrong, kind, message):
    with pytest.raises(kind, match=f"^lr_range_test: {message}"):
        lr_range_test(**{**GOOD, **wrong})


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.mark.parametrize("mode", ["exponential", "linear", "grid"])
def test_picture(ax, mode):
    test = lr_range_test(loss, START, BATCHES, optax.sgd, mode=mode, stop=1.0)
    assert plot_range_test(test, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["smoothed"].get_ydata(), test.smoothed)
    for name in SUGGESTIONS:
        (label,) = (x for x in lines if x.startswith(f"{name}: "))
        rate = lines[label].get_xdata()[0]
        assert rate == pytest.approx(float(getattr(test, name)))
        assert float(label.split(": ")[1]) == pytest.approx(rate, rel=0.05)
    bottom, top = ax.get_ylim()
    assert bottom < test.losses.min() < test.losses[0, 0] < top, "no point is cut off"
    assert ax.get_xscale() == ("linear" if mode == "linear" else "log")
    assert ax.get_xlabel() == "learning rate"


def test_picture_of_several(ax):
    one = lr_range_test(loss, START, BATCHES, optax.sgd)
    two = lr_range_test(loss, START, BATCHES, optax.adam)
    plot_range_test({"SGD": one, "Adam": two}, ax=ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [text.split(":")[0] for text in texts] == ["SGD", "valley", "Adam", "valley"]


def test_bad_picture(ax):
    with pytest.raises(TypeError, match=r"^plot_range_test: `test` must be what `lr_"):
        plot_range_test({"a": 3}, ax=ax)
    with pytest.raises(
        ValueError, match=r"^plot_range_test: `test` must hold a range "
    ):
        plot_range_test({}, ax=ax)
    assert not ax.lines


def test_what_was_found_is_a_tree():
    test = lr_range_test(**GOOD, steps=10)
    assert isinstance(test, RangeTest)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(test)]
    assert shapes == [(10,), (1, 10), (10,), (), (), (), ()]
