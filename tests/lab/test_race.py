import jax
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import optax_extras as oxe
from optax_extras.lab import (
    Comparison,
    animate_race,
    minimize,
    plot_race,
    problems,
    race,
)

DITCH, NOISY = problems.ditch, problems.noisy_quadratic
KEPT = np.array([0, 7, 14, 21, 28, 30])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def ditch():
    """SGD, and rules without and with a learning rate inside; some points of each."""
    optimizers = {
        "SGD": optax.sgd(0.95),
        "bare": oxe.rules.sgd(),
        "inside": oxe.rules.heavy_ball(0.1, 0.9),
    }
    with jax.enable_x64(True):
        return race("ditch", optimizers, 30, learning_rate=0.3, record_every=7)


def by_hand(rate, steps):
    """The position of SGD in the ditch."""
    x, y = -7 * (1 - rate / 10) ** steps, 2 * (1 - 2 * rate) ** steps
    return np.stack([x, y], axis=-1)


def test_race(ditch):
    assert ditch.problem is DITCH
    assert list(ditch.paths) == ["SGD", "bare", "inside"]
    for name, rate in (("SGD", 0.95), ("bare", 0.3)):
        path = ditch.paths[name]
        np.testing.assert_allclose(path.params, by_hand(rate, KEPT), rtol=1e-9)
        assert path.counts.tolist() == KEPT.tolist()
    np.testing.assert_allclose(ditch.paths["bare"].rates, 0.3)
    # "Deep Learning from Scratch", chapter 6; the learning rate is applied once.
    end = (0.89641386, 0.08808560)
    np.testing.assert_allclose(ditch.paths["inside"].params[-1], end, atol=1e-8)
    np.testing.assert_allclose(ditch.paths["inside"].rates, 0.1)


def test_table(ditch):
    x, y = ends = np.array([by_hand(0.95, 30), by_hand(0.3, 30)]).T
    values, distances = x**2 / 20 + y**2, np.linalg.norm(ends, axis=0)
    table = ditch.to_dict()
    assert table["optimizer"].tolist() == ["SGD", "bare", "inside"]
    np.testing.assert_allclose(table["value"][:2], values)
    np.testing.assert_allclose(table["distance"][:2], distances)
    head, *lines = str(ditch).splitlines()
    assert head.split() == ["optimizer", "value", "distance"]
    for line, value, distance in zip(lines, values, distances, strict=False):
        assert [float(x) for x in line.split()[1:]] == pytest.approx(
            [value, distance], rel=1e-3
        )
    assert len({len(line) for line in lines}) == 1
    # Words are aligned left, numbers right.
    assert lines[0].startswith("SGD    ")


def test_points_without_axes():
    run = race("reddi_online", {"SGD": optax.sgd(10.0)}, 3)
    assert run.to_dict()["distance"].tolist() == [2.0]


def test_all_see_the_same_noise():
    key, tx = jax.random.key(0), optax.sgd(0.1)
    run = race(NOISY, {"a": tx, "b": tx}, 9, key=key)
    alone = minimize(NOISY, NOISY.start, tx, 9, key=key)
    for path in run.paths.values():
        np.testing.assert_array_equal(path.params, alone.params)


RULES = {
    "sgd": oxe.rules.sgd(),
    "amsgrad": oxe.rules.amsgrad(),  # a third buffer
    "adam": oxe.rules.adam(b2=0.5),  # whose second moment falls, too
    "switch": oxe.switch(oxe.rules.momentum(), oxe.rules.sgd(), oxe.at_step(7)),
}
MORE_RULES = {
    "nesterov": oxe.rules.momentum(0.9, nesterov=True),
    "adagrad": oxe.rules.adagrad(),
    "centered": oxe.rules.rmsprop(centered=True),
    "swats": oxe.rules.swats(min_steps=9),  # large carry, and an `after`
    "bounded": oxe.rules.adabound(0.1),  # a learning rate inside: its own program
    "rated": oxe.rules.with_learning_rate(oxe.rules.nadam(), 0.03),
    **RULES,
}


@pytest.mark.parametrize(
    "rules",
    [RULES, pytest.param(MORE_RULES, marks=pytest.mark.full)],
    ids=["some", "all"],
)
def test_rules_together_are_as_alone(rules):
    """All rules without a learning rate inside are one program."""
    traces = []

    def fun(x):
        traces.append(x)
        return DITCH.fun(x)

    problem = DITCH._replace(fun=fun)
    together = race(problem, rules, 20, learning_rate=0.02)
    of_all = len(traces)
    traces.clear()
    two = {name: rules[name] for name in ("sgd", "amsgrad")}
    race(problem, two, 20, learning_rate=0.02)
    # As many traces for two rules as for all, except that rules with a learning rate
    # inside have their own program, and that the first use of a problem adds one.
    alone = {"bounded", "rated"} & set(rules)
    assert of_all <= len(traces) * (1 + len(alone)) + 1
    assert list(together.paths) == list(rules)

    def by_itself(name):
        has_rate = name in ("bounded", "rated")
        rate = optax.scale(-1.0) if has_rate else oxe.scale_by_rate(0.02)
        tx = optax.chain(oxe.scale_by_moments(rules[name]), rate)
        return minimize(DITCH, DITCH.start, tx, 20)

    paths = jax.jit(lambda: {name: by_itself(name) for name in rules})()
    for name, path in paths.items():
        for a, b in zip(together.paths[name], path, strict=True):
            right = dict(rtol=1e-12, atol=1e-13, err_msg=name)
            np.testing.assert_allclose(a, b, **right)
            assert a.dtype == b.dtype, name


SGD = {"SGD": optax.sgd(0.95)}
BAD = [
    (("rosenbrok", SGD, 3), ValueError, "`problem` must .*'rosenbrock'"),
    ((3, SGD, 3), TypeError, "`problem` must be a Problem or the name"),
    (
        (DITCH._replace(fun=None), SGD, 3),
        TypeError,
        "`problem.fun` must be callable, got None",
    ),
    ((DITCH, optax.sgd(1.0), 3), TypeError, "`optimizers` must be a dict"),
    ((DITCH, {}, 3), ValueError, "`optimizers` must hold an optimizer"),
    ((DITCH, {"a": 0.1}, 3), TypeError, "`optimizers` must hold opt.* 0.1 of"),
    (
        (DITCH, {"a": oxe.rules.sgd()}, 3),
        ValueError,
        "`learning_rate` must be given where an optimizer is a Rule",
    ),
    ((DITCH, SGD, 0), ValueError, "`steps` must be .* at least 1, got 0"),
    ((NOISY, SGD, 3), ValueError, "`key` must be given where the problem"),
]


def test_bad_arguments():
    for arguments, kind, message in BAD:
        with pytest.raises(kind, match=f"^race: {message}"):
            race(*arguments)
    # A rule with a learning rate inside needs no other.
    race(DITCH, {"a": oxe.rules.heavy_ball(0.1)}, 1)


def heights(line):
    return np.asarray(line.get_ydata())


def test_picture(ditch):
    ax = plot_race(ditch, ax=Figure().subplots())
    assert [line.get_label() for line in ax.lines] == ["SGD", "bare", "inside"]
    x, y = by_hand(0.95, KEPT).T
    np.testing.assert_allclose(heights(ax.lines[0]), x**2 / 20 + y**2, rtol=1e-6)
    assert ax.lines[0].get_xdata().tolist() == KEPT.tolist()
    assert (ax.get_xlabel(), ax.get_yscale()) == ("update", "log")
    assert ax.get_ylim()[1] < 10 * heights(ax.lines[0])[0], "none is so high"
    ones = ditch._replace(problem=DITCH._replace(minimum=np.ones(2)))
    below = plot_race(ones, ax=Figure().subplots())
    assert below.get_yscale() == "linear"
    expected = heights(ax.lines[0]) - 1.05
    np.testing.assert_allclose(heights(below.lines[0]), expected, rtol=1e-6)


def test_a_run_that_diverges_does_not_flatten_the_others(ditch):
    path = ditch.paths["SGD"]
    away = path._replace(
        params=path.params * np.array([1.0, 1, 1, 1e3, 1e99, np.inf])[:, None]
    )
    both = Comparison(DITCH, {"a": path, "b": away})
    ax = plot_race(both, ax=Figure().subplots())
    start = float(DITCH.fun(DITCH.start))
    assert ax.get_ylim()[1] == pytest.approx(10 * start, rel=1e-5)


def test_bad_pictures(tmp_path):
    for run, kind, message in (
        (3, TypeError, "`race` must be what `race` returned, got 3"),
        (Comparison(None, None), TypeError, "`race.problem` must be an oxe.* got None"),
        (
            Comparison(DITCH, None),
            TypeError,
            "`race.paths` must be a dict of p.* got None",
        ),
        (Comparison(DITCH, {}), ValueError, "`race.paths` must hold a path, got {}"),
        (Comparison(DITCH, {"a": 3}), TypeError, "`race.paths` must hold paths, got 3"),
    ):
        with pytest.raises(kind, match=f"^plot_race: {message}"):
            plot_race(run)
        with pytest.raises(kind, match=f"^animate_race: {message}"):
            animate_race(run, tmp_path / "a.gif")
