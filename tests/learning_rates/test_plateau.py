"""The plateau rule: against PyTorch's class, and where that one is wrong."""

import math
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings, strategies as st

import optax_extras as oxe
from tests.learning_rates.metrics import fed, rates, walks


def torchs(lr, metrics, **words):
    """The learning rates of PyTorch's class after each metric."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **words)
    found = []
    for metric in metrics:
        scheduler.step(metric)
        found.append(optimizer.param_groups[0]["lr"])
    return found


WORDS = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.1, 0.3, 0.5, 0.97]),
        "patience": st.integers(0, 4),
        "mode": st.sampled_from(["min", "max"]),
        "threshold": st.sampled_from([0.0, 1e-4, 0.25, 0.9]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 4),
        "eps": st.sampled_from([0.0, 1e-8, 1e-2]),
    }
)


@pytest.mark.full
@settings(max_examples=300, deadline=None, derandomize=True)
@given(WORDS, st.sampled_from([0.0, 1e-3, 0.1]), walks(400))
def test_pytorchs_rates_bit_for_bit(words, least, metrics):
    """After each of many metrics in float64, with inf and NaN."""
    expected = np.array(torchs(0.1, metrics, min_lr=least, **words))
    expected[expected < np.finfo(float).tiny] = 0  # XLA has no subnormal numbers
    with jax.enable_x64(True):
        found = rates(oxe.plateau(0.1, min_value=least, **words), metrics)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


def by_the_rule(lr, metrics, *, factor, patience, cooldown, eps, **words):
    """The same learning rates in plain Python."""
    sign = 1 if words["mode"] == "min" else -1
    best, bad, cooling, found = sign * math.inf, 0, 0, []
    for metric in metrics:
        margin = words["threshold"] if words["threshold_mode"] == "abs" else 0
        fraction = words["threshold"] - margin
        bound = best * (1 - sign * fraction) - sign * margin
        if sign * metric < sign * bound:
            best, bad = metric, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > patience:
            lr = lr * factor if lr - lr * factor > eps else lr
            cooling, bad = cooldown, 0
        found.append(lr)
    return found


@settings(max_examples=25, deadline=None, derandomize=True)
@given(WORDS, walks(120))
def test_rates_by_the_rule(words, metrics):
    expected = by_the_rule(0.1, metrics, **words)
    with jax.enable_x64(True):
        found = rates(oxe.plateau(0.1, **words), metrics)
    np.testing.assert_array_equal(found, expected)


def test_it_falls_on_random_metrics():
    """So the comparison above does not compare constants."""
    metrics = np.random.default_rng(0).uniform(0.5, 1.5, 200)
    found = rates(oxe.plateau(1.0, factor=0.5, patience=3, min_value=0.01), metrics)
    assert len(set(found)) == 8  # halved six times, then held at the floor
    assert found[-1] == np.float32(0.01)


# ---- Where PyTorch's goes wrong ------------------------------------------------------


def halved(patience=0, **words):
    return oxe.plateau(1.0, factor=0.5, patience=patience, **words)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_negative_metrics_that_stall(mode):
    """As for a positive metric; for PyTorch a negative metric is better than itself."""
    for threshold in (0.0, 0.1):
        for level in (-3.0, 3.0):
            schedule = halved(1, mode=mode, threshold=threshold)
            found = rates(schedule, [level] * 6)
            np.testing.assert_array_equal(found, [1, 1, 0.5, 0.5, 0.25, 0.25])


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_relative_threshold_is_a_share_of_the_size(mode):
    """Ten percent of 100 are 10, for either sign."""
    sign = -1 if mode == "max" else 1
    for start in (100.0, -100.0):
        step = lambda gain: rates(  # noqa: E731
            halved(mode=mode, threshold=0.1),
            [start, start - sign * gain],  # noqa: B023
        )
        assert step(9.9)[-1] == 0.5
        assert step(10.5)[-1] == 1.0


def test_metrics_that_cross_zero():
    """An energy that falls through 0 improves at every step."""
    assert set(rates(halved(), np.linspace(2, -2, 41))) == {1.0}


def test_means_are_compared_and_kept():
    """The mean of 4 and 2 is 3: the next mean has to be below it by at least 0.5."""
    words = {"average_over": 2, "threshold": 0.5, "threshold_mode": "abs"}
    found = rates(halved(**words), [4.0, 2.0, 2.0, 2.75])
    assert list(found) == [1, 1, 1, 1]
    found = rates(halved(**words), [4.0, 2.0, 2.5, 2.75])
    assert list(found) == [1, 1, 1, 0.5]
    state = halved(**words).init()["value"]
    best = jax.jit(lambda state: state.observed(4.0).observed(2.0).best)(state)
    assert best == 3


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_bad_and_leaves_no_trace(mode):
    schedule = halved(1, mode=mode, threshold=0.0)
    assert list(rates(schedule, [math.nan] * 4)) == [1, 0.5, 0.5, 0.25]
    sign = -1 if mode == "max" else 1
    metrics = sign * np.array([3.0, math.nan, 2.0, 1.0, math.nan, 0.5])
    assert list(rates(schedule, metrics)) == [1] * 6
    state = schedule.init()
    for metric in metrics:
        state = schedule.update(state, value=metric)
    assert all(not np.any(np.isnan(x)) for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("mode", "good", "bad"),
    [("min", -math.inf, math.inf), ("max", math.inf, -math.inf)],
)
def test_infinite_metrics(mode, good, bad):
    """The worst metric is bad, even the first time; nothing is better than the best."""
    schedule = halved(mode=mode)
    assert list(rates(schedule, [bad, bad])) == [0.5, 0.25]
    assert list(rates(schedule, [good, good, 0.0])) == [1, 0.5, 0.25]


def test_patience_0_and_cooldown_1():
    assert list(rates(halved(), [1.0] * 4)) == [1, 0.5, 0.25, 0.125]
    found = rates(halved(cooldown=1), [1.0] * 6)
    assert list(found) == [1, 0.5, 0.5, 0.25, 0.25, 0.125]
    schedule = halved(9, cooldown=1)
    state = schedule.init()
    for _ in range(3):
        state = schedule.update(state, value=1.0)
    assert optax.tree.get(state, "cooldown_left") == 0  # and does not fall further


def test_the_average_of_several_metrics():
    """As the rule on the averages; in between the learning rate stays."""
    metrics = np.array([4.0, 2.0, 3.0, 3.0, 2.0, 3.9, 1.0, 9.0])
    found = rates(halved(average_over=2, threshold=0.0), metrics)
    averages = metrics.reshape(-1, 2).mean(axis=1)  # 3, 3, 2.95, 5
    np.testing.assert_array_equal(found[1::2], rates(halved(threshold=0.0), averages))
    assert list(found) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    # NaN spoils its own average and no other.
    found = rates(halved(average_over=2), [math.nan, 1.0, 1.0, 1.0, 0.5, 0.5])
    assert list(found) == [1, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_float32_whatever_the_params_are():
    """Gains of 0.001 at 2 are gains, and 1e-3 is no power of two."""
    params = {"w": jnp.ones(2, jnp.bfloat16), "n": jnp.ones((), jnp.float16)}
    state = oxe.adagrad(oxe.plateau(1e-3, patience=2, threshold=1e-4)).init(params)
    assert set(fed(state, 2 - 0.001 * np.arange(20))) == {float(np.float32(1e-3))}


# ---- Traced --------------------------------------------------------------------------


def test_vmap_over_every_hyperparameter():
    metrics = np.array([3, 2, 2, 2, 1.5, 1.5, 1.5, 1.5, 1.45, 1.4, 1.4, 1.4, 1.4])
    usual = {
        "init_value": 1.0, "factor": 0.5, "patience": 0, "threshold": 1e-4,
        "cooldown": 0, "min_value": 0.0, "eps": 1e-8, "average_over": 1,
    }  # fmt: skip
    others = {
        "init_value": 2.0, "factor": 0.9, "patience": 2, "threshold": 0.2,
        "cooldown": 1, "min_value": 0.4, "eps": 0.3, "average_over": 3,
    }  # fmt: skip
    all_words = [usual, *({**usual, name: x} for name, x in others.items())]
    stacked = {name: jnp.array([words[name] for words in all_words]) for name in usual}
    run = jax.vmap(lambda words: rates_traced(oxe.plateau(**words), metrics))
    alone = [rates(oxe.plateau(**words), metrics) for words in all_words]
    np.testing.assert_array_equal(jax.jit(run)(stacked), alone)
    for name, changed in zip(others, alone[1:], strict=True):
        assert not np.array_equal(alone[0], changed), name


def rates_traced(schedule, metrics):
    def step(state, metric):
        state = schedule.update(state, value=metric)
        return state, schedule(state)

    return jax.lax.scan(step, schedule.init(), jnp.asarray(metrics))[1]


def test_gradients():
    """The gradient of the last learning rate, init_value * factor**2."""

    def last(init_value, factor):
        schedule = oxe.plateau(init_value, factor=factor, patience=0)
        return rates_traced(schedule, [1.0, 1.0, 1.0])[-1]

    slopes = jax.jit(jax.grad(last, argnums=(0, 1)))(2.0, 0.5)
    np.testing.assert_allclose(slopes, [0.25, 2.0], rtol=1e-6)


# ---- As a StatefulSchedule -----------------------------------------------------------


def test_it_is_a_stateful_schedule():
    schedule = halved()
    assert isinstance(schedule, optax.schedules.StatefulSchedule)
    assert repr(schedule) == "plateau(monitor='value')"
    state = schedule.init()
    assert schedule(state) == 1.0
    assert schedule.update(state, other=3.0) == state
    assert schedule.update(state, value=None) == state


def test_states_have_one_structure_and_strong_types():
    schedule = halved()
    state = schedule.init()
    after = schedule.update(state, value=1)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == ((), b.dtype, False)
        assert isinstance(a, jax.Array)


def test_injected_into_optax():
    """Updates are those of Adam with the learning rates of PyTorch's rule."""
    losses = [3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=halved(1))
    params, plain = jnp.array([1.0, -2.0]), optax.scale_by_adam()
    state, adam, found = tx.init(params), plain.init(params), []
    update, direct = jax.jit(tx.update), jax.jit(plain.update)
    before = [1.0, *rates(halved(1), losses)]
    for loss, rate in zip(losses, before, strict=False):
        u, state = update(params, state, params, value=loss)
        direction, adam = direct(params, adam)
        np.testing.assert_allclose(u, -rate * direction, rtol=2e-5)
        found.append(float(oxe.learning_rate(state)))
    assert found == before[:-1]
    assert min(found) < 1
    # And by observe, whose value the next update uses.
    state = oxe.observe(state, 1.0)
    assert oxe.learning_rate(state) == 0.25
    u, state = update(params, state, params, value=None)
    direction, adam = direct(params, adam)
    np.testing.assert_allclose(u, -0.25 * direction, rtol=2e-5)


# ---- A user's rule -------------------------------------------------------------------


class Thermostat(NamedTuple):
    value: jax.Array

    def observed(self, metric):
        return self._replace(value=self.value + jnp.where(metric < 20, 1, -1))


def test_a_rule_of_ones_own():
    """Ten lines, which every function finds in a state."""
    with pytest.raises(TypeError, match="heating: `start` must be callable, got 3"):
        oxe.MetricSchedule("heating", "degrees", 3)
    heating = oxe.MetricSchedule("heating", "degrees", lambda: Thermostat(jnp.ones(())))
    tx = optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(heating))
    state = tx.init(jnp.ones(2))
    assert fed(state, [19.0, 18.0, 21.0], "degrees") == [2, 3, 2]
    _, state = tx.update(jnp.ones(2), state, degrees=10.0)
    assert oxe.learning_rate(state) == 1
    _, state = tx.update(jnp.ones(2), state)
    assert oxe.learning_rate(state) == 2


# ---- Bad input -----------------------------------------------------------------------


OUT_OF_RANGE = [
    ({"factor": 1.0}, r"plateau: `factor` must be in \(0, 1\), got 1\.0"),
    ({"factor": 0.0}, r"`factor` must be in \(0, 1\)"),
    ({"patience": -1}, "`patience` must be an integer of at least 0, got -1"),
    ({"cooldown": -1}, "`cooldown` must be an integer of at least 0"),
    ({"average_over": 0}, "`average_over` must be an integer of at least 1"),
    ({"mode": "auto"}, "`mode` must be one of 'min', 'max', got 'auto'"),
    ({"threshold_mode": "x"}, "`threshold_mode` must be one of 'rel', 'abs'"),
    ({"threshold": 1.0}, r"`threshold` must be in \[0, 1\)"),
    ({"threshold": -0.1}, "`threshold` must be in"),
    ({"threshold": -0.1, "mode": "max"}, r"`threshold` must be in \[0, inf\)"),
    ({"eps": -1.0}, "`eps` must be in"),
    ({"min_value": -1.0}, "`min_value` must be in"),
    ({"min_value": 0.2}, "`min_value` must be at most `init_value`, which is 0.1"),
    ({"init_value": -0.1}, "`init_value` must be in"),
    ({"init_value": math.nan}, "`init_value` must be in"),
    ({"monitor": "params"}, "`monitor` must be a non-empty name other than"),
    ({"monitor": ""}, "`monitor` must be a non-empty name"),
]


def test_wrong_arguments():
    for words, message in OUT_OF_RANGE:
        with pytest.raises(ValueError, match=message):
            oxe.plateau(**{"init_value": 0.1, **words})
    for name, wrong in (
        ("factor", "half"),
        ("patience", 2.5),
        ("monitor", 3),
        ("init_value", None),
        ("init_value", lambda t: 0.1),
    ):
        with pytest.raises(TypeError, match=f"plateau: `{name}` must be"):
            oxe.plateau(**{"init_value": 0.1, name: wrong})


def test_a_threshold_of_one_is_fine_where_it_can_be_passed():
    assert list(rates(halved(mode="max", threshold=1.0), [1.0, 2.5, 4])) == [1, 1, 0.5]
    halved(threshold=1.0, threshold_mode="abs")


TAKE_NUMBERS = {
    "optax.adam": lambda s: optax.adam(s),
    "optax.scale_by_schedule": lambda s: optax.scale_by_schedule(s),
    "optax.sm3": lambda s: optax.sm3(s),
    "optax.rprop": lambda s: optax.rprop(s),
    "optax.polyak_sgd": lambda s: optax.polyak_sgd(s),
    "optax.scale": lambda s: optax.scale(s),
    "a product": lambda s: optax.sgd(0.5 * s),
}


def test_where_a_number_or_a_function_of_the_count_is_needed():
    instead = re.escape("write `oxe.scheduled(optax.adam)(learning_rate=schedule)`")
    params = jnp.ones(2)

    def step(make):
        tx = optax.with_extra_args_support(make(halved()))
        return tx.update(params, tx.init(params), params, value=1.0)

    for make in TAKE_NUMBERS.values():
        with pytest.raises(TypeError, match=f"plateau: a metric schedule .*{instead}"):
            jax.eval_shape(lambda make=make: step(make))
    with pytest.raises(TypeError, match="plateau: a metric schedule"):
        step(TAKE_NUMBERS["optax.sm3"])


def test_a_metric_of_any_name():
    """Also one that is a parameter name of our functions."""
    params = jnp.ones(2)
    for make in (oxe.adagrad, oxe.heavy_ball, oxe.scale_by_metric):
        for monitor in ("self", "count", "kept", "extra"):
            tx = make(oxe.plateau(0.5, factor=0.5, patience=0, monitor=monitor))
            state = tx.init(params)
            for _ in range(3):
                _, state = tx.update(params, state, params, **{monitor: 1.0})
            found = oxe.hyperparameters(state).values()
            assert 0.25 in found, (make.__name__, monitor)


def test_the_state_of_another_kind_of_rate():
    params = jnp.ones(2)
    for rule, make in (
        ("adagrad", oxe.adagrad),
        ("scheduled", oxe.scheduled(optax.sgd)),
    ):
        tx = make(oxe.plateau(0.1))
        for kind, before in (
            ("constant", 0.1),
            ("schedule", oxe.schedules.linear(0.1, 9)),
        ):
            state = make(before).init(params)
            says = (
                rf"{rule}: `state` must be of .* for `learning_rate`, got \['{kind}'\]"
            )
            for update in (tx.update, jax.jit(tx.update)):
                with pytest.raises(ValueError, match=says):
                    update(params, state, params, value=1.0)


@pytest.mark.parametrize(
    "other",
    [
        oxe.greedy(0.1),
        oxe.plateau(0.1, mode="max"),
        oxe.plateau(0.1, threshold_mode="abs"),
        oxe.plateau(0.1, monitor="val_loss"),
    ],
)
def test_the_state_of_another_kind_is_refused(other):
    """It would go on as the other kind, mode or metric."""
    tx, g = oxe.nadam(oxe.plateau(0.1)), jnp.ones(2)
    state = oxe.nadam(other).init(g)
    for update in (tx.update, jax.jit(tx.update)):
        with pytest.raises(ValueError, match="plateau: `state` must be of the same"):
            update(g, state, g, value=1.0)


def test_other_numbers_over_a_saved_state_change_nothing():
    """They are in the state; `set_hyperparameters` changes them."""
    g = jnp.ones(2)
    state = oxe.nadam(oxe.plateau(0.1, patience=5)).init(g)
    tx = oxe.nadam(oxe.plateau(0.3, patience=0))
    for _ in range(3):
        _, state = tx.update(g, state, g, value=1.0)
    assert oxe.learning_rate(state) == np.float32(0.1)


def test_a_misspelt_metric():
    """Names less alike are other metrics; an update without any is fine."""
    tx, g = oxe.nadam(oxe.plateau(0.1, monitor="val_loss")), jnp.ones(2)
    state = tx.init(g)
    for name in ("val_los", "valloss", "val_losss", "Val_loss"):
        message = (
            f"plateau: `update` must be given the metric as `val_loss`, got `{name}`"
        )
        for update in (tx.update, jax.jit(tx.update)):
            with pytest.raises(ValueError, match=message):
                update(g, state, g, **{name: 1.0})
    for extra in ({}, {"loss": 1.0}, {"val_acc": 0.5}, {"val_los": 1, "val_loss": 1}):
        tx.update(g, state, g, **extra)
    scale = oxe.scale_by_metric(oxe.plateau(1.0, monitor="val_acc5"))
    two = optax.chain(oxe.nadam(oxe.plateau(0.1, monitor="val_acc1")), scale)
    two.update(g, two.init(g), g, val_acc1=0.5)
    when = oxe.on_plateau(monitor="val_loss")
    tx = oxe.switch(oxe.nadam(0.1), oxe.heavy_ball(0.1), when)
    with pytest.raises(ValueError, match="got `val_los`"):
        tx.update(g, tx.init(g), g, val_los=1.0)


@pytest.mark.parametrize(
    ("metric", "name", "is_misspelt"),
    [
        ("value", "val", True),
        ("accuracy", "acc", True),
        ("metric", "metrics", True),
        ("acc", "cac", True),
        ("loss", "lsos", True),
        ("val_loss", "val_loss_", True),
        ("value", "va", False),
        ("loss", "loss_scale", False),
        ("loss", "loss2", False),
        ("val_loss", "val", False),
    ],
)
def test_an_abbreviated_metric(metric, name, is_misspelt):
    tx, g = oxe.nadam(oxe.plateau(0.1, monitor=metric)), jnp.ones(2)
    state = tx.init(g)
    if is_misspelt:
        with pytest.raises(ValueError, match=f"as `{metric}`, got `{name}`"):
            tx.update(g, state, g, **{name: 1.0})
    else:
        tx.update(g, state, g, **{name: 1.0})


def test_the_state_of_a_metric_schedule_for_another_number():
    """Refused both ways: a plateau would stop, or a number would be ignored."""
    g = jnp.ones(2)
    kinds = {
        "constant": 0.1,
        "schedule": oxe.schedules.linear(0.1, 5),
        "metric": oxe.plateau(0.1),
    }
    for make in (oxe.nadam, oxe.scheduled(optax.sgd)):
        txs = {name: make(x) for name, x in kinds.items()}
        for name in ("constant", "schedule"):
            with pytest.raises(ValueError, match="optimizer with no metric schedule"):
                txs[name].update(g, txs["metric"].init(g), g)
            with pytest.raises(ValueError, match="optimizer with a metric schedule"):
                txs["metric"].update(g, txs[name].init(g), g)
