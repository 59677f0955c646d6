import builtins
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import optax_extras as oxe
from optax_extras.lab import minimize, plot_race, plot_schedule, problems, race, sweep

DITCH, NOISY = problems.ditch, problems.noisy_quadratic
TXS = {"SGD": optax.sgd(0.95), "AdaGrad": oxe.adagrad(1.5, eps=1e-7)}


def by_hand(rate, steps):
    """Where SGD ends in the ditch."""
    return np.array([-7 * (1 - rate / 10) ** steps, 2 * (1 - 2 * rate) ** steps])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("problem", ["ditch", DITCH])
def test_race(problem, x64):
    run = race(problem, TXS, 30)
    assert list(run.paths) == ["SGD", "AdaGrad"]
    table = run.to_dict()
    assert table["optimizer"].tolist() == ["SGD", "AdaGrad"]
    end = by_hand(0.95, 30)
    x, y = end
    np.testing.assert_allclose(run.paths["SGD"].params[-1], end, rtol=1e-9)
    assert table["value"][0] == pytest.approx(x**2 / 20 + y**2)
    assert table["distance"][0] == pytest.approx(np.hypot(x, y))
    # "Deep Learning from Scratch", chapter 6.
    assert table["value"][1] == pytest.approx(0.00072195, abs=1e-8)


def test_rules_get_the_rate(x64):
    run = race(
        DITCH, {"a": oxe.rules.sgd(), "b": optax.sgd(0.3)}, 20, learning_rate=0.3
    )
    np.testing.assert_allclose(run.paths["a"].params, run.paths["b"].params, rtol=1e-12)
    np.testing.assert_allclose(run.paths["a"].rates, 0.3)


def test_all_see_the_same_noise():
    key = jax.random.key(0)
    run = race(NOISY, {"a": optax.sgd(0.1), "b": optax.sgd(0.1)}, 9, key=key)
    np.testing.assert_array_equal(run.paths["a"].params, run.paths["b"].params)
    alone = minimize(NOISY, NOISY.start, optax.sgd(0.1), 9, key=key)
    np.testing.assert_allclose(run.paths["a"].params, alone.params)


def test_points_without_axes():
    run = race("reddi_online", {"SGD": optax.sgd(10.0)}, 3)
    assert run.to_dict()["distance"].tolist() == [2.0]


def test_table_of_a_race():
    lines = str(race(DITCH, TXS, 30)).splitlines()
    assert lines[0].split() == ["optimizer", "value", "distance"]
    name, value, distance = lines[1].split()
    x, y = by_hand(0.95, 30)
    assert name == "SGD"
    assert float(value) == pytest.approx(x**2 / 20 + y**2, rel=1e-3)
    assert float(distance) == pytest.approx(np.hypot(x, y), rel=1e-3)
    assert len({len(line) for line in lines}) == 1


def test_sweep(x64):
    rates = [0.1, 0.5, 0.9]
    result = sweep("ditch", optax.sgd, rates, 30)
    assert result.names == ("sgd",)
    assert result.values.shape == (1, 3, 1)
    for i, rate in enumerate(rates):
        x, y = by_hand(rate, 30)
        np.testing.assert_allclose(result.values[0, i, 0], x**2 / 20 + y**2, rtol=1e-9)


def test_sweep_over_all():
    key = jax.random.key(0)
    makers = {
        "sgd": optax.sgd,
        "cosine": lambda r: optax.sgd(optax.cosine_decay_schedule(r, 9)),
    }
    result = sweep(NOISY, makers, np.array([0.1, 0.01]), 9, key=key, seeds=3)
    table = result.to_dict()
    assert table["optimizer"].tolist() == ["sgd"] * 6 + ["cosine"] * 6
    np.testing.assert_allclose(table["rate"], np.repeat([0.1, 0.01, 0.1, 0.01], 3))
    assert table["seed"].tolist() == [0, 1, 2] * 4
    third = jax.random.split(key, 3)[2]
    path = minimize(NOISY, NOISY.start, makers["cosine"](0.01), 9, key=third)
    value = NOISY.fun(path.params[-1])
    np.testing.assert_allclose(table["value"][-1], value, rtol=1e-5)
    np.testing.assert_allclose(result.values[1, 1, 2], value, rtol=1e-5)
    assert len(str(result).splitlines()) == 13


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


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("rosenbrok", TXS, 3), ValueError, "by_name: `name` must .*'rosenbrock'"),
        ((3, TXS, 3), TypeError, "race: `problem` must be a Problem or the name"),
        ((DITCH, optax.sgd(1.0), 3), TypeError, "race: `entrants` must be a dict"),
        ((DITCH, {}, 3), ValueError, "race: `entrants` must hold an optimizer"),
        ((DITCH, {"a": 0.1}, 3), TypeError, "race: `entrants` must hold opt.* 0.1 of"),
        (
            (DITCH, {"a": oxe.rules.sgd()}, 3),
            ValueError,
            "race: `learning_rate` must be given where an entrant is a Rule",
        ),
        ((DITCH, TXS, 0), ValueError, "minimize: `steps` must be .* at least 1, got 0"),
        ((NOISY, TXS, 3), ValueError, "minimize: `key` must be given where the prob"),
    ],
)
def test_bad_race(arguments, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        race(*arguments)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"problem": "himelblau"}, ValueError, "by_name: `name` must .*'himmelblau'"),
        ({"make_tx": 3}, TypeError, "sweep: `make_tx` must be callable, got 3"),
        ({"make_tx": {}}, ValueError, "sweep: `make_tx` must hold a function"),
        ({"rates": []}, ValueError, "sweep: `rates` must hold a rate"),
        ({"rates": 0.1}, TypeError, "sweep: `rates` must be a sequence, got 0.1"),
        ({"rates": [0.1, -1]}, ValueError, r"sweep: `rates\[1\]|sweep: `rates`\[1\]"),
        ({"steps": 0}, ValueError, "minimize: `steps` must be .* at least 1, got 0"),
        ({"seeds": 0}, ValueError, "sweep: `seeds` must be .* at least 1, got 0"),
        ({"seeds": 2}, ValueError, "sweep: `key` must be given with several seeds"),
        ({"problem": NOISY}, ValueError, "sweep: `key` must be given"),
        ({"key": 3}, TypeError, "sweep: `key` must be a key of jax.random, got 3"),
    ],
)
def test_bad_sweep(arguments, kind, message):
    good = {"problem": DITCH, "make_tx": optax.sgd, "rates": [0.1], "steps": 3}
    with pytest.raises(kind, match=f"^({message})"):
        sweep(**{**good, **arguments})


def test_picture():
    run = race(DITCH, TXS, 30)
    ax = plot_race(run, ax=Figure().subplots())
    assert [line.get_label() for line in ax.lines] == list(TXS)
    heights = jax.vmap(DITCH.fun)(run.paths["SGD"].params)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), heights, rtol=1e-6)
    assert ax.get_yscale() == "log"
    below = race(DITCH._replace(minimum=np.ones(2)), TXS, 30)
    assert plot_race(below, ax=Figure().subplots()).get_yscale() == "linear"


def test_a_run_that_diverges_does_not_flatten_the_others():
    run = race(DITCH, {"a": optax.sgd(0.1), "b": optax.sgd(30.0)}, 60)
    assert not np.isfinite(run.paths["b"].values[-1])
    start = float(DITCH.fun(DITCH.start))
    ax = plot_race(run, ax=Figure().subplots())
    assert ax.get_ylim()[1] == pytest.approx(10 * start, rel=1e-5)


def test_bad_picture():
    with pytest.raises(TypeError, match=r"^plot_race: `race` must be what `race`"):
        plot_race(3)


def test_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(
        ImportError, match=r"needs matplotlib: `pip install matplotlib`"
    ):
        plot_schedule(jnp.float32(0.1), 3)
