"""Forms of PyTorch's `state_dict`: orders, schedules, and what does not fit."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
runs = pytest.importorskip("tests.translation.torch_runs")
lrs = torch.optim.lr_scheduler
load, AdamW = oxe.pytorch.load_state_dict, oxe.pytorch.AdamW

FIRST, ROWS, OPTIONS = runs.FIRST, runs.ROWS, runs.OPTIONS


def goes_on(tx, state, weights, expected):
    params, _ = runs.go_on_here(tx, state, weights, ROWS[10:])
    assert runs.distance(params, expected, FIRST) <= 1e-10


# ---- Orders and forms of a `state_dict` ----------------------------------------------


@runs.in_float64
def test_orders():
    """A list, by index, a list for each group."""
    weights, saved, expected = runs.stopped()
    for order in (
        ["bias", "kernel", "square"],
        {2: "square", 0: "bias", 1: "kernel"},
        [["bias", "kernel", "square"]],
    ):
        state, report = load(AdamW(**OPTIONS), saved, weights, order)
        assert report.exact
        goes_on(AdamW(**OPTIONS), state, weights, expected)


@runs.in_float64
def test_names():
    """`param_names`, which PyTorch stores for named parameters."""
    weights, _, expected = runs.stopped()
    params = {path: torch.nn.Parameter(torch.tensor(x)) for path, x in FIRST.items()}
    names = ["square", "bias", "kernel"]
    optimizer = torch.optim.AdamW([(f"m.{x}", params[x]) for x in names], **OPTIONS)
    for row in ROWS[:10]:
        for path, x in params.items():
            x.grad = torch.tensor(row[path])
        optimizer.step()
    saved = optimizer.state_dict()
    order = {f"m.{path}": path for path in weights}
    state, report = load(AdamW(**OPTIONS), saved, weights, order)
    assert report.exact
    goes_on(AdamW(**OPTIONS), state, weights, expected)
    names = [f"m.{x}" for x in FIRST]
    order = dict(zip(names, FIRST, strict=True))
    back = oxe.pytorch.state_dict(AdamW(**OPTIONS), state, weights, order)
    assert back["param_groups"][0]["param_names"] == names
    optimizer = torch.optim.AdamW([(k, params[order[k]]) for k in names], **OPTIONS)
    optimizer.load_state_dict(back)
    again, _ = load(AdamW(**OPTIONS), optimizer.state_dict(), weights, order)
    jax.tree.map(np.testing.assert_array_equal, again, state)
    with pytest.raises(ValueError, match=r"`order` must have the parameter m\.square"):
        load(AdamW(**OPTIONS), saved, weights, {"m.bias": "bias"})


@runs.in_float64
def test_forms():
    """JSON, whose keys are strings; arrays of NumPy; the flags of PyTorch's kernels."""
    weights, saved, expected = runs.stopped()
    lists = {
        i: {key: x.tolist() for key, x in entry.items()}
        for i, entry in saved["state"].items()
    }
    as_json = json.loads(json.dumps({**saved, "state": lists}))
    as_text = runs.changed(
        as_json, lambda x: x["param_groups"][0].update(params=["0", "1", "2"])
    )
    arrays = {
        i: {key: np.asarray(x) for key, x in entry.items()}
        for i, entry in saved["state"].items()
    }
    flags = runs.changed(
        saved, lambda x: x["param_groups"][0].update(capturable=True, fused=True)
    )
    for form in (as_json, as_text, {**saved, "state": arrays}, flags):
        state, report = load(AdamW(**OPTIONS), form, weights)
        assert report.exact
        goes_on(AdamW(**OPTIONS), state, weights, expected)


@runs.in_float64
def test_learning_rates_that_are_tensors():
    reference = runs.TorchRun("AdamW", FIRST, {"lr": torch.tensor(0.05)})
    weights = reference.go_on(ROWS[:2]).arrays()
    state, report = load(AdamW(), reference.saved(), weights)
    assert report.exact
    np.testing.assert_allclose(oxe.learning_rate(state), 0.05, rtol=1e-12)


@runs.in_float64
def test_without_a_count():
    """SGD stores none; with a constant learning rate none is needed."""
    options = {"lr": 0.05, "momentum": 0.9, "dampening": 0.5}
    reference = runs.TorchRun("SGD", FIRST, options).go_on(ROWS[:9])
    weights, saved = reference.arrays(), reference.saved()
    tx = oxe.pytorch.SGD(**options)
    state, _ = load(tx, saved, weights)
    params, _ = runs.go_on_here(tx, state, weights, ROWS[9:])
    expected = reference.go_on(ROWS[9:]).arrays()
    assert runs.distance(params, expected, FIRST) <= 1e-10
    scheduled = oxe.pytorch.SGD(oxe.pytorch.StepLR(0.05, 4), momentum=0.9)
    _, report = load(scheduled, saved, weights)
    assert not report.exact
    assert "the source has no count: give `count`" in str(report)


def test_learning_rates_keep_their_digits():
    """In float32 the state rounds them."""
    tx, params = AdamW(lr=0.1), {"w": jnp.ones(3)}
    for lr in (0.1, 0.3):
        state = oxe.set_hyperparameters(tx.init(params), learning_rate=lr)
        (group,) = oxe.pytorch.state_dict(tx, state, params)["param_groups"]
        assert group["lr"] == (0.1 if lr == 0.1 else float(np.float32(0.3)))


# ---- Schedules -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["StepLR", "OneCycleLR"])
@runs.in_float64
def test_schedules(name):
    """They go on at the count; one of them cycles the momentum, too."""
    options = {"lr": 0.05, "momentum": 0.9}
    numbers = {"step_size": 4, "gamma": 0.5}
    ours = oxe.pytorch.StepLR(0.05, **numbers)
    tx = oxe.pytorch.SGD(ours, momentum=0.9)
    if name == "OneCycleLR":
        numbers = {"max_lr": 0.1, "total_steps": 30}
        ours = oxe.pytorch.OneCycleLR(**numbers)
        tx = oxe.pytorch.SGD(ours, momentum=ours.momentum)
    reference = runs.TorchRun("SGD", FIRST, options)
    scheduler = getattr(lrs, name)(reference.optimizer, **numbers)
    reference.go_on(ROWS[:9], scheduler)
    weights, saved = reference.arrays(), reference.saved()
    state, report = load(tx, saved, weights, count=9)
    assert report.exact
    np.testing.assert_allclose(oxe.learning_rate(state), ours(8), rtol=1e-12)
    params, state = runs.go_on_here(tx, state, weights, ROWS[9:])
    expected = reference.go_on(ROWS[9:], scheduler).arrays()
    assert runs.distance(params, expected, FIRST) <= 1e-10
    (back,) = oxe.pytorch.state_dict(tx, state, params)["param_groups"]
    (there,) = reference.saved()["param_groups"]
    for option in ("lr", "momentum"):
        assert back[option] == pytest.approx(there[option], rel=1e-12)


@runs.in_float64
def test_a_schedule_that_pytorch_has_not():
    weights, saved, _ = runs.stopped()
    _, report = load(AdamW(lr=lambda t: 0.07), saved, weights)
    (row,) = report.inexact
    assert (row.how, row.note) == (
        "the schedule differs",
        "0.05 there, 0.07 here, for bias",
    )


@runs.in_float64
def test_a_learning_rate_that_follows_a_metric():
    """The learning rate is copied. PyTorch's scheduler has the rest of its state."""
    weights, saved, expected = runs.stopped()
    tx = AdamW(lr=oxe.pytorch.ReduceLROnPlateau(0.1))
    state, report = load(tx, saved, weights)
    (row,) = report.inexact
    assert "metric" in row.note
    goes_on(tx, state, weights, expected)


# ---- What does not fit ---------------------------------------------------------------


def inexact(change=lambda saved: None, tx=None, **more):
    weights, saved, _ = runs.stopped()
    _, report = load(
        tx or AdamW(**OPTIONS), runs.changed(saved, change), weights, **more
    )
    return [(row.target, row.source, row.how) for row in report.inexact]


@runs.in_float64
def test_what_is_lost_is_a_row():
    lost = "starts as `init` makes it"
    assert inexact(lambda x: x["state"][0].pop("exp_avg")) == [("[0].mu", "", lost)]
    assert inexact(lambda x: x["state"][0].update(foo=torch.ones(3))) == [
        ("", "foo", "left over")
    ]
    assert inexact(tx=AdamW(lr=0.05, weight_decay=0.3)) == [
        ("weight_decay", "weight_decay", "differs")
    ]
    assert inexact(tx=AdamW(lr=0.05, betas=(0.8, 0.999))) == [
        ("[0].mu", "exp_avg", "copied"),
        ("betas", "betas", "differs"),
    ]
    coupled = oxe.pytorch.Adam(lr=0.05, weight_decay=0.01)
    assert inexact(tx=coupled) == [
        ("decoupled_weight_decay", "decoupled_weight_decay", "differs")
    ]
    frozen = AdamW(lr=oxe.by_path({"bias": oxe.FROZEN}, 0.05))
    assert inexact(tx=frozen) == [("lr", "", "frozen here")]
    with pytest.raises(ValueError, match=r"`strict` must be False.*betas: differs"):
        inexact(tx=AdamW(lr=0.05, betas=(0.8, 0.999)), strict=True)


@runs.in_float64
def test_a_missing_entry_is_a_param_without_updates():
    """As in PyTorch, which has no entry for a param that never got a gradient."""
    weights, saved, _ = runs.stopped()
    saved = runs.changed(saved, lambda x: x["state"].pop(0))
    state, report = load(AdamW(**OPTIONS), saved, weights)
    assert [row.note for row in report.rows if row.target == "[0].missed"] == ["bias"]
    params, _ = runs.go_on_here(AdamW(**OPTIONS), state, weights, ROWS[10:])
    resumed = runs.TorchRun("AdamW", weights, OPTIONS, saved=saved).go_on(ROWS[10:])
    assert runs.distance(params, resumed.arrays(), FIRST) <= 1e-10


@runs.in_float64
def test_shapes_that_fit_by_accident_are_named():
    """Square matrices, and params of one shape in an order that is assumed."""
    weights, saved, _ = runs.stopped()
    _, report = load(AdamW(**OPTIONS), saved, weights)
    assert "square would fit transposed, too" in str(report)
    first = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
    reference = runs.TorchRun("AdamW", first, OPTIONS).go_on([first])
    _, report = load(AdamW(**OPTIONS), reference.saved(), reference.arrays())
    assert "a, b have one shape: check the order" in str(report)


@runs.in_float64
def test_the_trial_step():
    """It predicts PyTorch's next step, and fails if the betas differ."""
    weights, saved, _ = runs.stopped()
    _, report = load(AdamW(**OPTIONS), saved, weights, gradients=ROWS[10])
    assert report.exact
    assert report.rows[-1].target == "trial step"
    tx = optax.chain(AdamW(lr=0.05, betas=(0.8, 0.9)))  # its options are not known
    _, report = load(tx, saved, weights, gradients=ROWS[10])
    assert not report.rows[-1].exact
