"""Runs that change from PyTorch to here, and back, against runs that stay there."""

import numpy as np
import pytest
from hypothesis import strategies as st

import optax_extras as oxe
from tests.parity.programs import examples

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
runs = pytest.importorskip("tests.translation.torch_runs")
lrs = torch.optim.lr_scheduler


def between(low, high):
    return st.floats(low, high)


def some(required, flags=(), **optional):
    numbers = {"lr": between(0.001, 0.1), **required}
    flags = {flag: st.booleans() for flag in flags}
    return st.fixed_dictionaries({**numbers, **flags}, optional=optional)


L2 = {"weight_decay": between(0.01, 0.3)}
EPS = st.sampled_from([1e-10, 1e-6, 0.1])
ADAM = {"betas": st.tuples(between(0, 0.95), between(0.5, 0.999)), "eps": EPS}
MOMENTUM = {"momentum": between(0.1, 0.95)}
OPTIONS = {
    "SGD": st.one_of(
        some({}, ["maximize"], **L2),
        some(MOMENTUM | {"dampening": between(0, 0.9)}, ["maximize"], **L2),
        some(MOMENTUM | {"nesterov": st.just(True)}, **L2),
    ),
    "Adam": some(ADAM, ["amsgrad", "maximize", "decoupled_weight_decay"], **L2),
    "AdamW": some(ADAM, ["amsgrad", "maximize"], **L2),
    "NAdam": some(
        ADAM | {"momentum_decay": between(0, 0.1)},
        ["maximize", "decoupled_weight_decay"],
        **L2,
    ),
    "RAdam": some(ADAM, ["maximize", "decoupled_weight_decay"], **L2),
    "Adamax": some(ADAM, ["maximize"], **L2),
    "Adagrad": some(
        {"lr_decay": between(0, 0.1), "eps": EPS},
        ["maximize"],
        initial_accumulator_value=between(0.1, 1),
        **L2,
    ),
    "Adadelta": some(
        {"rho": between(0.1, 0.99), "eps": st.sampled_from([1e-6, 1e-2])},
        ["maximize"],
        **L2,
    ),
    "RMSprop": some(
        {"alpha": between(0.3, 0.99), "eps": st.sampled_from([1e-6, 1e-2])},
        ["centered", "maximize"],
        **MOMENTUM,
        **L2,
    ),
    "Rprop": some(
        {
            "etas": st.tuples(between(0.2, 0.8), between(1.1, 1.6)),
            "step_sizes": st.tuples(between(1e-6, 1e-3), between(0.1, 50)),
        },
        ["maximize"],
    ),
    "ASGD": some(
        {"lambd": between(0, 0.1), "alpha": between(0, 1), "t0": between(0, 30)},
        ["maximize"],
        **L2,
    ),
    "Adafactor": some(
        {"beta2_decay": between(-0.9, -0.2), "d": between(1, 3)},
        ["maximize"],
        eps=st.tuples(st.just(1e-8), between(1e-4, 0.1)),
        **L2,
    ),
    "Muon": some({"ns_steps": st.integers(1, 5)}, ["nesterov"], **MOMENTUM, **L2),
}
CASES = {
    name: st.tuples(
        options, st.one_of(st.integers(1, 60), st.just(0)), st.integers(1, 2)
    )
    for name, options in OPTIONS.items()
}
each_name = pytest.mark.parametrize("name", OPTIONS)


def make(name, **options):
    return getattr(oxe.pytorch, name)(**options)


def there_and_back(name, options, there, here):
    """Another learning rate is given on each side: that of the state is used."""
    shapes, more = runs.shapes_of(name), runs.count_of(name, there)
    first, rows = runs.weights(shapes), runs.gradients(there + here + 3, shapes)
    reference = runs.TorchRun(name, first, options).go_on(rows[:there])
    weights, tx = reference.arrays(), make(name, **{**options, "lr": 0.5})
    saved = reference.saved()
    state, report = oxe.pytorch.load_state_dict(tx, saved, weights, **more)
    assert report.exact, report
    rate = oxe.learning_rate(state)
    np.testing.assert_allclose(rate, options["lr"], rtol=1e-12)

    now = rows[there : there + here]
    params, state = runs.go_on_here(tx, state, weights, now)
    expected = reference.go_on(now).arrays()
    assert runs.distance(params, expected, first) <= 1e-10, (options, there, here)

    back = oxe.pytorch.state_dict(tx, state, params)
    assert_same_keys(back, reference.saved())
    other = runs.TorchRun(name, params, {**options, "lr": 0.25}, saved=back)
    expected = reference.go_on(rows[there + here :]).arrays()
    found = other.go_on(rows[there + here :]).arrays()
    assert runs.distance(found, expected, first) <= 1e-10, (options, there, here)
    stored = other.saved()["state"]
    for i, entry in reference.saved()["state"].items():  # ASGD's average, too
        for key, x in entry.items():
            if x is not None:
                np.testing.assert_allclose(stored[i][key], x, rtol=1e-8, atol=1e-12)


def assert_same_keys(found, expected):
    assert found["state"].keys() == expected["state"].keys()
    for i, entry in expected["state"].items():
        present = {key for key, x in entry.items() if x is not None}
        assert found["state"][i].keys() == present
    for ours, theirs in zip(
        found["param_groups"], expected["param_groups"], strict=True
    ):
        assert ours.keys() == theirs.keys()
        numbers = {"lr": pytest.approx(theirs["lr"], rel=1e-12)}
        assert ours | {"foreach": None} == theirs | numbers | {"foreach": None}


@each_name
@runs.in_float64
def test_there_and_back(name):
    for case in examples(CASES[name], 2)[0]:
        there_and_back(name, *case)


@runs.in_float64
def test_asgd_while_it_averages():
    there_and_back("ASGD", {"lr": 0.05, "lambd": 0.05, "t0": 4.0}, 9, 3)


@pytest.mark.full
@each_name
@runs.in_float64
def test_there_and_back_over_all_options(name):
    for cases in examples(CASES[name], 60):
        for case in cases:
            there_and_back(name, *case)


# ---- Params that have missed updates -------------------------------------------------

# One count for all params, on which the steps depend; the report says so.
ONE_COUNT = ("NAdam", "Adamax", "ASGD", "Adafactor")
DEMANDING = {
    "SGD": {"momentum": 0.9, "dampening": 0.5},
    "Adam": {"amsgrad": True},
    "Adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.3},
    "RMSprop": {"centered": True, "momentum": 0.8},
    "ASGD": {"lambd": 0.05, "t0": 4},
}


@each_name
@runs.in_float64
def test_a_param_that_had_no_gradient_at_first(name):
    """PyTorch counts the updates of each param; one still has none at the change."""
    options, more = {"lr": 0.05, **DEMANDING.get(name, {})}, runs.count_of(name, 9)
    shapes = runs.shapes_of(name)
    first, rows = runs.weights(shapes), runs.gradients(13, shapes)
    for begins in (4, 9):
        masked = [
            {**row, "kernel": None} if i < begins else row for i, row in enumerate(rows)
        ]
        reference = runs.TorchRun(name, first, options).go_on(masked[:9])
        weights, tx = reference.arrays(), make(name, **options)
        saved = reference.saved()
        state, report = oxe.pytorch.load_state_dict(tx, saved, weights, **more)
        if name in ONE_COUNT:
            (row,) = report.inexact
            assert "kernel" in row.note
            assert "one count" in row.note
            continue
        assert report.exact
        params, state = runs.go_on_here(tx, state, weights, rows[9:10])
        expected = reference.go_on(rows[9:10]).arrays()
        assert runs.distance(params, expected, first) <= 1e-10
        back = oxe.pytorch.state_dict(tx, state, params)
        other = runs.TorchRun(name, params, options, saved=back).go_on(rows[10:])
        expected = reference.go_on(rows[10:]).arrays()
        assert runs.distance(other.arrays(), expected, first) <= 1e-10


@runs.in_float64
def test_a_param_that_pytorch_does_not_train():
    """It is frozen here, is not in the `state_dict`, and thaws as in PyTorch."""
    first, rows = runs.weights(), runs.gradients(12)
    names = ["square", "kernel"]
    groups = [{"params": names, "lr": 0.05}]
    reference = runs.TorchRun("AdamW", first, {}, groups).go_on(rows[:8])
    weights = reference.arrays()
    tx = make("AdamW", lr=oxe.by_path({"bias": oxe.FROZEN}, 0.05))
    saved = reference.saved()
    state, report = oxe.pytorch.load_state_dict(tx, saved, weights, names)
    assert report.exact
    params, state = runs.go_on_here(tx, state, weights, rows[8:])
    expected = reference.go_on(rows[8:]).arrays()
    assert runs.distance(params, expected, first) <= 1e-10
    back = oxe.pytorch.state_dict(tx, state, params, names)
    assert_same_keys(back, reference.saved())

    # Thawed: its bias correction begins with its first update.
    reference.optimizer.add_param_group(
        {"params": [reference.weights["bias"]], "lr": 0.05}
    )
    params, _ = runs.go_on_here(make("AdamW", lr=0.05), state, params, rows[:3])
    expected = reference.go_on(rows[:3]).arrays()
    assert runs.distance(params, expected, first) <= 1e-10

    _, report = oxe.pytorch.load_state_dict(make("AdamW"), saved, weights, names)
    assert [(x.how, x.note) for x in report.inexact] == [("new here", "bias")]


# ---- Groups --------------------------------------------------------------------------

GROUPS = {
    "AdamW": {"weight_decay": (0.1, 0.0), "betas": ((0.8, 0.9), (0.9, 0.99))},
    "NAdam": {"momentum_decay": (0.1, 0.004), "betas": ((0.8, 0.9), (0.9, 0.99))},
    "RAdam": {"eps": (1e-3, 1e-8)},
    "SGD": {"momentum": (0.9, 0.5), "dampening": (0.1, 0.0)},
    "RMSprop": {"alpha": (0.9, 0.99), "momentum": (0.9, 0.2)},
    "Adagrad": {"lr_decay": (0.01, 0.1), "initial_accumulator_value": (0.1, 0.2)},
    "ASGD": {},
    "Rprop": {},
    "Adafactor": {"weight_decay": (0.1, 0.0)},
    "Adamax": {"weight_decay": (0.1, 0.0)},
    "Adadelta": {"weight_decay": (0.1, 0.0)},
    "Muon": {"weight_decay": (0.1, 0.0)},
}


def by_path(values):
    square, others = values
    if isinstance(square, tuple):
        return tuple(map(by_path, zip(square, others, strict=True)))
    return oxe.by_path({"square": square}, others)


@pytest.mark.parametrize("there", [pytest.param(0, marks=pytest.mark.full), 9])
@pytest.mark.parametrize("name", GROUPS)
@runs.in_float64
def test_groups(name, there):
    """PyTorch's groups are `by_path`, and the learning rates of the state are used."""
    shapes, more = runs.shapes_of(name), runs.count_of(name, there)
    first, rows = runs.weights(shapes), runs.gradients(there + 6, shapes)
    order = [["square"], [path for path in shapes if path != "square"][::-1]]
    options = {"lr": (0.01, 0.1), **GROUPS[name]}
    groups = [
        {"params": order[i], **{key: x[i] for key, x in options.items()}}
        for i in range(2)
    ]
    reference = runs.TorchRun(name, first, {}, groups).go_on(rows[:there])
    given = {key: by_path(x) for key, x in options.items()}
    tx = make(name, **{**given, "lr": by_path((0.5, 0.6))})
    weights, saved = reference.arrays(), reference.saved()
    state, report = oxe.pytorch.load_state_dict(tx, saved, weights, order, **more)
    assert report.exact, report
    now, later = rows[there : there + 1], rows[there + 1 :]
    params, state = runs.go_on_here(tx, state, weights, now)
    expected = reference.go_on(now).arrays()
    assert runs.distance(params, expected, first) <= 1e-10
    back = oxe.pytorch.state_dict(tx, state, params, order)
    assert_same_keys(back, reference.saved())
    other = runs.TorchRun(name, params, {}, groups, saved=back).go_on(later)
    expected = reference.go_on(later).arrays()
    assert runs.distance(other.arrays(), expected, first) <= 1e-10
    without = oxe.pytorch.state_dict(tx, state, params)["param_groups"]
    assert {len(group["params"]) for group in without} == {1, len(shapes) - 1}


# ---- Transposed weights --------------------------------------------------------------

CHANNELS = {"bias": (3,), "conv": (2, 3, 4, 5), "kernel": (2, 3), "square": (2, 2)}


def as_flax(path, x):
    """(out, in, height, width) becomes (height, width, in, out)."""
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T


def as_torch(path, x):
    return x.transpose(3, 2, 0, 1) if x.ndim == 4 else x.T


@pytest.mark.parametrize("name", ["AdamW", "Rprop", "Adafactor"])
@runs.in_float64
def test_transposed_weights(name):
    """Those of PyTorch are (out, in), those of Flax (in, out)."""
    options = {"lr": 0.05, **DEMANDING.get(name, {})}
    shapes = {**CHANNELS}
    if name == "Adafactor":
        del shapes["conv"]
    first, rows = runs.weights(shapes), runs.gradients(13, shapes)
    reference = runs.TorchRun(name, first, options).go_on(rows[:9])

    def turned(arrays):
        return {path: as_flax(path, x) for path, x in arrays.items()}

    weights, tx = turned(reference.arrays()), make(name, **options)
    state, report = oxe.pytorch.load_state_dict(
        tx, reference.saved(), weights, transpose=as_flax, **runs.count_of(name, 9)
    )
    assert report.exact
    params, state = runs.go_on_here(tx, state, weights, map(turned, rows[9:10]))
    expected = turned(reference.go_on(rows[9:10]).arrays())
    assert runs.distance(params, expected, turned(first)) <= 1e-10
    back = oxe.pytorch.state_dict(tx, state, params, transpose=as_torch)
    begin = {path: as_torch(path, np.asarray(params[path])) for path in shapes}
    other = runs.TorchRun(name, begin, options, saved=back).go_on(rows[10:])
    expected = reference.go_on(rows[10:]).arrays()
    assert runs.distance(other.arrays(), expected, first) <= 1e-10


@runs.in_float64
def test_muon_with_transposed_weights():
    """`oxe.pytorch.Muon` is for (out, in), the report says; `oxe.muon` takes both."""
    options = {"lr": 0.05, "weight_decay": 0.1}
    first, rows = runs.weights(runs.MATRICES), runs.gradients(12, runs.MATRICES)
    reference = runs.TorchRun("Muon", first, options).go_on(rows[:9])

    def turned(arrays):
        return {path: x.T for path, x in arrays.items()}

    weights, saved = turned(reference.arrays()), reference.saved()
    more = {"transpose": as_flax, "count": 9}
    _, report = oxe.pytorch.load_state_dict(make("Muon"), saved, weights, **more)
    assert [row.target for row in report.inexact] == ["layout"]
    tx = oxe.muon(0.05, layout="in_out", weight_decay=0.1)
    state, report = oxe.pytorch.load_state_dict(tx, saved, weights, **more)
    assert [row.how for row in report.inexact] == ["not compared"]
    params, _ = runs.go_on_here(tx, state, weights, map(turned, rows[9:]))
    expected = turned(reference.go_on(rows[9:]).arrays())
    assert runs.distance(params, expected, turned(first)) <= 1e-10
