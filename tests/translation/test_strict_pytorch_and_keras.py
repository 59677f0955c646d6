"""`strict=True` and errors: what PyTorch and Keras have stored is all accounted for."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
runs = pytest.importorskip("tests.translation.torch_runs")
lrs = torch.optim.lr_scheduler
pt, ks = oxe.pytorch, oxe.keras
load = pt.load_state_dict
W = {"w": jnp.ones(3)}


def saved(name, **options):
    """After two updates of two params."""
    first = {"a": np.ones(3), "b": np.ones(3)}
    run = runs.TorchRun(name, first, options)
    run.go_on([{"a": np.full(3, 0.1 + i), "b": np.ones(3)} for i in range(2)])
    return run.saved(), {k: jnp.asarray(x, jnp.float32) for k, x in first.items()}


# ---- PyTorch -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "count"),
    [("AdamW", "step", 2), ("Rprop", "step_size", None), ("ASGD", "eta", None)],
)
def test_an_entry_that_is_missing(name, key, count):
    """Of one param or of all: a row that is not exact; a `count` replaces `step`."""
    there, params = saved(name, lr=0.05)
    tx = getattr(pt, name)(0.05)
    for lost in ([0], [0, 1]):
        assert load(tx, there, params, strict=True)[1].exact
        for i in lost:
            del there["state"][i][key]
        _, report = load(tx, there, params)
        hows = {x.how for x in report.inexact}
        assert hows <= {"missing", "taken as 1", "starts as `init` makes it"}
        (row, *_) = report.inexact
        assert "a" in row.note or lost == [0, 1]
        assert count is None or load(tx, there, params, count=count)[1].exact
        there, _ = saved(name, lr=0.05)


def test_a_number_that_is_missing_in_a_group():
    """An older version lacks some flags, but no number."""
    there, params = saved("AdamW", lr=0.05)
    (group,) = there["param_groups"]
    del group["maximize"], group["decoupled_weight_decay"]
    assert load(pt.AdamW(0.05), there, params)[1].exact
    del group["eps"]
    _, report = load(pt.AdamW(0.05), there, params)
    assert [(x.target, x.how) for x in report.inexact] == [("eps", "missing")]


def test_params_of_one_shape():
    """A row names them, unless PyTorch's names say which is which."""
    there, params = saved("AdamW", lr=0.05)
    for order, how in ((None, "that of `params`"), (["b", "a"], "as given")):
        _, report = load(pt.AdamW(0.05), there, params, order)
        (row,) = [x for x in report.rows if "order" in x.note]
        assert (row.how, row.exact) == (how, True)
    there["param_groups"][0]["param_names"] = ["n.b", "n.a"]
    state, report = load(pt.AdamW(0.05), there, {"n": params})
    assert not [x for x in report.rows if "order" in x.note]
    mu = there["state"][0]["exp_avg"]
    np.testing.assert_allclose(optax.tree.get(state, "mu")["n"]["b"], mu, rtol=1e-6)


SCHEDULERS = {
    "LambdaLR": lambda o: lrs.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: lrs.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: lrs.StepLR(o, 3, 0.5),
    "MultiStepLR": lambda o: lrs.MultiStepLR(o, [3, 8]),
    "ConstantLR": lambda o: lrs.ConstantLR(o, total_iters=8),
    "LinearLR": lambda o: lrs.LinearLR(o, total_iters=9),
    "ExponentialLR": lambda o: lrs.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lrs.PolynomialLR(o, 20),
    "CosineAnnealingLR": lambda o: lrs.CosineAnnealingLR(o, 20),
    "CosineAnnealingWarmRestarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 4),
    "OneCycleLR": lambda o: lrs.OneCycleLR(o, 0.1, total_steps=20),
    "CyclicLR": lambda o: lrs.CyclicLR(o, 0.01, 0.1, step_size_up=4),
    "SequentialLR": lambda o: lrs.SequentialLR(
        o, [lrs.LinearLR(o, total_iters=4), lrs.CosineAnnealingLR(o, 9)], [4]
    ),
    "ChainedScheduler": lambda o: lrs.ChainedScheduler(
        [lrs.LinearLR(o, total_iters=4), lrs.ExponentialLR(o, 0.9)]
    ),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.01, anneal_epochs=8),
}


@runs.in_float64
def test_the_way_back_with_every_scheduler():
    """A new one is stepped to the count, and then the state is loaded, not the groups.

    So the docstring of `state_dict` and docs/pytorch.md say.
    """
    options, first = {"lr": 0.05, "momentum": 0.9}, {"w": np.ones(3)}
    rows = [{"w": np.full(3, np.sin(i))} for i in range(12)]
    for name, make in SCHEDULERS.items():
        reference = runs.TorchRun("SGD", first, options)
        scheduler = make(reference.optimizer)
        weights = reference.go_on(rows[:6], scheduler).arrays()
        there = reference.saved()
        tx = pt.SGD(0.05, momentum=there["param_groups"][0]["momentum"])
        state, _ = load(tx, there, weights, count=6, strict=True)
        back = pt.state_dict(tx, state, weights)
        other = runs.TorchRun("SGD", weights, options)
        with warnings.catch_warnings(action="ignore"):
            again = make(other.optimizer)
            for _ in range(6):
                again.step()
        other.optimizer.load_state_dict(
            {**other.optimizer.state_dict(), "state": back["state"]}
        )
        other.go_on(rows[6:], again)
        expected = reference.go_on(rows[6:], scheduler).arrays()
        assert runs.distance(other.arrays(), expected, first) <= 1e-14, name


# ---- Keras ---------------------------------------------------------------------------

VARIABLES = {
    "adam/iteration": np.int32(5),
    "adam/learning_rate": np.float32(0.1),
    "adam/w_momentum": np.full(3, 0.1, np.float32),
    "adam/w_velocity": np.full(3, 0.1, np.float32),
}
SCHEDULED = {k: x for k, x in VARIABLES.items() if "learning_rate" not in k}
CONFIG = {
    "name": "adam",
    "learning_rate": 0.1,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-7,
    "amsgrad": False,
    "weight_decay": None,
    "clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
}  # as `keras.optimizers.Adam(0.1).get_config()`
FALLING = {
    "class_name": "ExponentialDecay",
    "config": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5},
}
OURS = ks.ExponentialDecay(0.1, 10, 0.5)


def inexact(tx, variables=VARIABLES, gradients=None, **changes):
    config = {**CONFIG, **changes}
    _, report = ks.load_variables(tx, variables, W, config=config, gradients=gradients)
    return [x.target or x.source for x in report.inexact]


def test_keras_options():
    """They are compared with `config`; without it nothing is known of them."""
    _, report = ks.load_variables(ks.Adam(), VARIABLES, W)
    assert [x.target for x in report.rows if x.exact is None] == ["options"]
    assert inexact(ks.Adam()) == []
    assert inexact(ks.Adam(ema_momentum=0.9)) == []  # without `use_ema`
    assert inexact(ks.AdamW()) == ["weight_decay"]
    assert inexact(ks.Adam(beta_1=0.5)) == ["beta_1"]
    assert inexact(ks.Adam(), clipnorm=1.0) == ["clipnorm"]
    excluded = oxe.by_path({"w": 0.0}, default=0.1)
    assert inexact(ks.Adam(weight_decay=excluded)) == []
    assert inexact(ks.Adam(weight_decay=excluded), weight_decay=0.1) == ["weight_decay"]


def test_keras_learning_rates():
    """A constant or a schedule on each side; schedules are compared from here on."""
    schedule = {"variables": SCHEDULED, "learning_rate": FALLING}
    assert inexact(ks.Adam(OURS), **schedule) == []
    assert inexact(ks.Adam(), **schedule) == ["lr"]
    assert inexact(ks.Adam(OURS)) == ["lr"]  # 0.1 there
    here = float(OURS(5))
    callback = {**VARIABLES, "adam/learning_rate": np.float32(here)}
    assert inexact(ks.Adam(OURS), callback) == []
    later = ks.PiecewiseConstantDecay([500], [0.1, 0.2])
    other = {"class_name": "PiecewiseConstantDecay"}
    other["config"] = {"boundaries": [600], "values": [0.1, 0.2]}
    assert inexact(ks.Adam(later), SCHEDULED, learning_rate=other) == ["lr"]
    unknown = {"class_name": "MyDecay", "config": {}}
    assert inexact(ks.Adam(OURS), SCHEDULED, learning_rate=unknown) == ["lr"]


def test_keras_trial_step():
    """It compares the next update with that of Keras' options."""
    near = oxe.adam(0.3, eps=0.1)  # epsilon is elsewhere in Keras' rule
    assert inexact(near) == ["options"]
    assert inexact(near, gradients=W, epsilon=0.1) == ["options", "trial step"]
    chain = optax.chain(optax.clip_by_global_norm(0.5), ks.Adam())
    assert inexact(chain, gradients=W) == ["options", "trial step"]
    assert inexact(chain, gradients=W, global_clipnorm=0.5) == []
    each = {"clipnorm": 0.5, "learning_rate": FALLING, "variables": SCHEDULED}
    chain = optax.chain(optax.clip_by_global_norm(0.5), ks.Adam(OURS))
    assert inexact(chain, gradients=W, **each) == []  # of one leaf it is the same


def test_keras_names_that_are_paths():
    """They say the order; the leaves of a dict are sorted."""
    values = {"iteration": 5, "b_momentum": np.zeros(3), "b_velocity": np.ones(3)}
    values |= {"a_momentum": np.ones(3), "a_velocity": np.ones(3)}
    params = {"a": W["w"], "b": W["w"]}
    state, report = ks.load_variables(ks.Adam(), values, params)
    assert float(optax.tree.get(state, "mu")["a"][0]) == 1
    assert not [x for x in report.rows if "order" in x.note]


# ---- Errors --------------------------------------------------------------------------


def test_an_optimizer_of_another_package():
    """It is any other optimizer, whose options are not known."""
    there, params = saved("AdamW", lr=0.05)
    _, report = load(ks.AdamW(), there, params)
    assert [x.how for x in report.inexact] == ["not compared"]
    assert inexact(pt.Adam()) == ["options"]
    with pytest.raises(ValueError, match=r"^state_dict: `tx` must be .*oxe\.pytorch"):
        pt.state_dict(ks.Lion(), ks.Lion().init(params), params)


def test_names_of_optimizers():
    there, params = saved("AdamW", lr=0.05)
    with pytest.raises(ValueError, match="must be of SGD, as `tx` is, got 'AdamW'"):
        load(pt.SGD(), there, params)
    there = torch.optim.SparseAdam([torch.nn.Parameter(torch.ones(3))]).state_dict()
    with pytest.raises(ValueError, match=r"options of an optimizer of `oxe\.pytorch`"):
        load(pt.Adamax(), there, W)


def test_bad_params():
    there, tensors = saved("AdamW", lr=0.05)[0], {"w": torch.ones(3)}
    tx = pt.AdamW()
    for call in (
        lambda params: load(tx, there, params),
        lambda params: ks.load_variables(ks.Adam(), VARIABLES, params),
        lambda params: pt.state_dict(tx, tx.init(W), params),
    ):
        with pytest.raises(TypeError, match=r"^\w+: `params` must be arrays of JAX"):
            call(tensors)
        with pytest.raises(ValueError, match=r"^\w+: `params` must have an array"):
            call(None)
        with pytest.raises(TypeError, match=r"^\w+: `params` must have concrete"):
            jax.eval_shape(call, W)
    with pytest.raises(TypeError, match=r"^state_dict: `state` must have concrete"):
        jax.eval_shape(lambda state: pt.state_dict(tx, state, W), tx.init(W))
    with pytest.raises(TypeError, match=r"^load_variables: `variables` must have con"):
        jax.eval_shape(lambda v: ks.load_variables(ks.Adam(), v, W), VARIABLES)


def test_bad_config():
    for given, message in [
        ({"gradients": W}, "`config` must be given with `gradients`"),
        ({"config": 3}, "`config` must be a dict"),
        ({"config": {}}, "`config` must have the 'learning_rate' of Adam"),
        (
            {"config": CONFIG | {"learning_rate": {}}, "gradients": W},
            "`config` must have a schedule of `oxe.keras` for a trial step",
        ),
    ]:
        with pytest.raises(
            (TypeError, ValueError), match=f"^load_variables: {message}"
        ):
            ks.load_variables(ks.Adam(), VARIABLES, W, **given)
