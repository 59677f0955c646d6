import builtins
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import optax_extras as oxe
from optax_extras.lab import (
    Race,
    animate_race,
    minimize,
    plot_race,
    plot_schedule,
    problems,
    race,
)

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


RULES = {
    "sgd": oxe.rules.sgd(),
    "nesterov": oxe.rules.momentum(0.9, nesterov=True),
    "adagrad": oxe.rules.adagrad(),
    "adam": oxe.rules.adam(),
    "centered": oxe.rules.rmsprop(centered=True),
    "amsgrad": oxe.rules.amsgrad(),  # a third buffer
    "swats": oxe.rules.swats(min_steps=9),  # carries much, and looks back
    "switch": oxe.switch(oxe.rules.radam(), oxe.rules.momentum(), oxe.at_step(7)),
    "bounded": oxe.rules.adabound(0.1),  # a rate inside: alone
    "rated": oxe.rules.rated(oxe.rules.nadam(), 0.03),
}


@pytest.fixture(scope="module")
def rules_together():
    key = jax.random.key(1)
    with jax.enable_x64(True):
        return race(NOISY, RULES, 20, learning_rate=0.02, key=key)


@pytest.mark.parametrize("name", RULES)
def test_rules_together_are_as_alone(name, rules_together, x64):
    rule = RULES[name]
    has_rate = name in ("bounded", "rated")
    rate = optax.scale(-1.0) if has_rate else oxe.scale_by_rate(0.02)
    tx = optax.chain(oxe.scale_by_moments(rule), rate)
    alone = minimize(NOISY, NOISY.start, tx, 20, key=jax.random.key(1))
    together = rules_together.paths[name]
    assert list(rules_together.paths) == list(RULES)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
        assert a.dtype == b.dtype


def test_rules_are_one_program():
    """Of however many, as of two."""
    traces, counts = [], []

    def fun(x):
        traces.append(x)
        return DITCH.fun(x)

    problem = DITCH._replace(fun=fun)
    for names in (["sgd", "adam"], ["sgd", "adam", "adagrad", "nesterov", "centered"]):
        traces.clear()
        rules = {name: RULES[name] for name in names}
        race(problem, rules, 3, learning_rate=0.1)
        counts.append(len(traces))
    assert counts[1] <= counts[0] < 10


def test_a_rate_inside_is_the_rate(x64):
    """It is not multiplied by that of the race, which then need not be given."""
    run = race(DITCH, {"a": oxe.rules.heavy_ball(0.1, 0.9)}, 30)
    end = (0.89641386, 0.08808560)  # "Deep Learning from Scratch", chapter 6
    np.testing.assert_allclose(run.paths["a"].params[-1], end, atol=1e-8)
    np.testing.assert_allclose(run.paths["a"].rates, 0.1)


def test_some_points_of_a_race():
    run = race(DITCH, TXS, 30, record_every=7)
    whole = race(DITCH, TXS, 30)
    kept = [0, 7, 14, 21, 28, 30]
    for name, path in run.paths.items():
        points = whole.paths[name].params[np.array(kept)]
        np.testing.assert_allclose(path.params, points, rtol=1e-4, atol=1e-6)
    ax = plot_race(run, ax=Figure().subplots())
    assert ax.lines[0].get_xdata().tolist() == kept


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("rosenbrok", TXS, 3), ValueError, "race: `problem` must .*'rosenbrock'"),
        ((3, TXS, 3), TypeError, "race: `problem` must be a Problem or the name"),
        (
            (DITCH._replace(fun=None), TXS, 3),
            TypeError,
            "race: `problem.fun` must be callable, got None",
        ),
        ((DITCH, optax.sgd(1.0), 3), TypeError, "race: `entrants` must be a dict"),
        ((DITCH, {}, 3), ValueError, "race: `entrants` must hold an optimizer"),
        ((DITCH, {"a": 0.1}, 3), TypeError, "race: `entrants` must hold opt.* 0.1 of"),
        (
            (DITCH, {"a": oxe.rules.sgd()}, 3),
            ValueError,
            "race: `learning_rate` must be given where an entrant is a Rule",
        ),
        ((DITCH, TXS, 0), ValueError, "race: `steps` must be .* at least 1, got 0"),
        ((NOISY, TXS, 3), ValueError, "race: `key` must be given where the problem"),
    ],
)
def test_bad_race(arguments, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        race(*arguments)


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


@pytest.mark.parametrize("draw", [plot_race, animate_race])
@pytest.mark.parametrize(
    ("run", "kind", "message"),
    [
        (3, TypeError, "`race` must be what `race` returned, got 3"),
        (Race(None, None), TypeError, "`race.problem` must be an oxe.* got None"),
        (
            Race(DITCH._replace(fun=None), {}),
            TypeError,
            "`race.problem.fun` must be callable, got None",
        ),
        (Race(DITCH, None), TypeError, "`race.paths` must be a dict of p.* got None"),
        (Race(DITCH, {}), ValueError, "`race.paths` must hold a path, got {}"),
        (Race(DITCH, {"a": 3}), TypeError, "`race.paths` must hold paths, got 3"),
    ],
)
def test_bad_picture(draw, run, kind, message, tmp_path):
    file = () if draw is plot_race else (tmp_path / "a.gif",)
    with pytest.raises(kind, match=f"^{draw.__name__}: {message}"):
        draw(run, *file)


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
