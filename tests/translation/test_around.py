"""Translated states: wrappers, groups, learning rates, counts, dtypes, clients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.runs import gradient
from tests.translation.runs import ADAM, SCHEDULE, STEPS, assert_same, params, row, run


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


# What is around an optimizer.
@pytest.mark.parametrize(
    "dtype", [pytest.param("int8", marks=pytest.mark.full), "bfloat16"]
)
def test_into_and_out_of_few_bits(dtype):
    big = {"w": jnp.cos(jnp.arange(512.0)), "b": jnp.ones(3)}
    big = jax.tree.map(lambda x: x.astype(jnp.float32), big)  # float64 stays
    plain = ADAM
    small = oxe.low_precision_state(plain, dtype, min_size=512)
    _, state, at = run(plain, at=big)
    stored, report = oxe.translate(state, small, at, source=plain)
    assert len(report.inexact) == 2
    assert all("few bits" in x.note for x in report.inexact)
    back, report = oxe.translate(stored, plain, at)
    assert report.exact
    bits = 3 if dtype == "int8" else 7
    mu, nu = state[0].mu, state[0].nu
    assert_same(back[0].mu["b"], mu["b"])
    for got, want in ((back[0].mu, mu), (back[0].nu, nu)):
        largest = float(jnp.max(jnp.abs(want["w"])))
        error = jnp.abs(got["w"] - want["w"])
        assert bool(jnp.all(error <= 2.0**-bits * jnp.abs(want["w"]) + 4e-5 * largest))
    again, report = oxe.translate(stored, small, at)
    assert_same(again.full_inner_state()[0].mu["b"], mu["b"])


def test_averages_are_copied_by_name():
    slow, fast = oxe.averages.ema(0.9), oxe.averages.ema(0.5)
    both = oxe.with_average(ADAM, {"slow": slow, "fast": fast})
    one = oxe.with_average(oxe.nadam(0.1), {"fast": fast})
    _, state, at = run(both)
    new, report = oxe.translate(state, one, at)
    assert_same(oxe.averaged(new, "fast"), oxe.averaged(state, "fast"))
    assert row(report, "", ".averages['slow']").how == "left over"
    _, report = oxe.translate(state, oxe.with_average(ADAM, slow), at)
    assert row(report, ".averages", "").how == "starts as `init` makes it"


def test_a_window_of_gradients_goes_on():
    old, new = oxe.accumulate(ADAM, 4), oxe.accumulate(oxe.adamw(0.1), 4)
    _, state, at = run(old, 6)
    translated, report = oxe.translate(state, new, at)
    assert report.exact
    assert int(translated.num_accumulated) == 2
    assert_same(translated.mean, state.mean)
    multi = optax.MultiSteps(ADAM, 4).gradient_transformation()
    _, state, at = run(multi, 6)
    translated, report = oxe.translate(state, multi, at)
    assert_same(translated, state)
    _, report = oxe.translate(state, ADAM, at)
    assert not row(report, "", ".acc_grads").exact


# Groups.
def multi_steps(tx):
    return optax.MultiSteps(tx, 1).gradient_transformation()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: oxe.accumulate(tx, 1),
        pytest.param(multi_steps, marks=pytest.mark.full),
        pytest.param(lambda tx: optax.apply_if_finite(tx, 3), marks=pytest.mark.full),
    ],
)
def test_frozen_params_have_missed_updates(wrap):
    """Thawed in a wrapper that cannot change its structure: by a translation."""
    frozen, thawed = (
        oxe.adam(oxe.by_path({"w": oxe.FROZEN}, 0.1)),
        oxe.adam(oxe.by_path({"w": 0.1}, 0.1)),
    )
    _, state, at = run(frozen)
    want = run(
        thawed, 1, thawed.update(gradient(at, STEPS), state, at)[1], STEPS + 1, at
    )
    _, state, at = run(wrap(frozen))
    tx = wrap(thawed)
    new, report = oxe.translate(state, tx, at)
    assert report.exact
    us = run(tx, 2, new, STEPS, at)[0]
    assert_same(us[1:], want[0])


def test_groups_that_stay_frozen():
    first = oxe.adam(oxe.by_path({"w": oxe.FROZEN}, 0.1))
    second = oxe.accumulate(oxe.adam(oxe.by_path({"b": 0.2}, oxe.FROZEN)), 1)
    _, state, at = run(first)
    new, _ = oxe.translate(state, second, at)
    (missed,) = optax.tree.get(new, "missed").values()
    assert (int(missed.count), [*missed.leaves]) == (STEPS, ["w"])
    run(second, 2, new, STEPS, at)


# Learning rates.
def test_rates_are_those_of_the_new_optimizer():
    other, ball = oxe.schedules.cosine(0.2, 50), oxe.heavy_ball(0.1)
    for old, new, rate in (
        (ADAM, oxe.adam(0.2), 0.2),
        (ball, oxe.heavy_ball(0.2), 0.2),
        (oxe.adabound(0.1), oxe.adabound(0.2), 0.2),
        (ADAM, oxe.nadam(SCHEDULE), SCHEDULE(STEPS - 1)),
        (ball, oxe.heavy_ball(SCHEDULE), SCHEDULE(STEPS - 1)),
        (oxe.adam(SCHEDULE), oxe.scheduled(oxe.adam)(other), other(STEPS - 1)),
    ):
        _, state, at = run(old)
        translated, _ = oxe.translate(state, new, at)
        assert_same(oxe.learning_rate(translated), rate)


@pytest.mark.parametrize("make", [oxe.plateau, oxe.greedy])
def test_metric_schedules_are_copied(make):
    def fed(tx, state, losses):
        for loss in losses:
            _, state = tx.update(gradient(params(), 0), state, params(), value=loss)
        return state

    old = oxe.adam(make(0.1, patience=2))
    new = oxe.nadam(make(0.1, patience=2))
    state = fed(old, old.init(params()), [1.0, 2.0, 2.0])
    translated, report = oxe.translate(state, new, params())
    assert row(report, "[2].rate", "[2].rate").how == "copied"
    rest = [2.0, 2.0, 3.0]
    assert_same(
        oxe.learning_rate(fed(new, translated, rest)),
        oxe.learning_rate(fed(old, state, rest)),
    )
    _, report = oxe.translate(state, oxe.nadam(0.1), params())
    assert [x for x in report.inexact if x.how == "left over"]


# Counts.
@pytest.mark.parametrize("count", [1, 10**6, 2**31 - 1])
def test_large_counts(count):
    _, state, at = run(ADAM)
    state = optax.tree.set(state, count=jnp.asarray(count, jnp.int32))
    tx = oxe.nadam(SCHEDULE)
    new, _ = oxe.translate(state, tx, at)
    t = np.arange(1, min(count, 10**5) + 1)
    product = np.prod(0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)))
    assert int(optax.tree.get(new, "count", filtering=is_of_moments)) == count
    assert_same(optax.tree.get(new, "product"), product)
    assert_same(oxe.learning_rate(new), 0.0 if count > 1 else SCHEDULE(0))


def is_of_moments(path, value):
    del value
    return path[0].idx == 0


def test_a_state_before_any_update():
    new, report = oxe.translate(ADAM.init(params()), oxe.nadam(0.1), params())
    assert report.exact
    assert_same(new, oxe.nadam(0.1).init(params()))
    _, report = oxe.translate(oxe.sgd(0.1).init(params()), ADAM, params())
    assert report.exact


# Leaves.
def test_half_precision_and_complex_leaves():
    tree = {"h": jnp.ones(3, jnp.bfloat16), "c": jnp.ones(2, jnp.complex128)}
    old, new = oxe.adam(0.1, eps_hat=True), oxe.nadam(0.1)
    _, state, at = run(old, at=tree)
    translated, report = oxe.translate(state, new, at)
    assert report.exact
    assert_same(translated, run(new, at=tree)[1])
    narrow = oxe.scale_by_moments(oxe.rules.adam(), mu_dtype="bfloat16")
    translated, report = oxe.translate(state, narrow, at)
    assert translated.mu["h"].dtype == jnp.bfloat16
    assert [(x.target, x.note) for x in report.inexact if x.target] == [
        (".mu", "rounded to bfloat16")
    ]


def test_no_params():
    for state in (ADAM.init({}), oxe.sgd(0.1).init(())):
        oxe.translate(state, oxe.adamw(0.1), {})


def test_nnx():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    grads = gradient(nnx.state(model, nnx.Param), 0)
    frozen = oxe.adam(oxe.by_path({"kernel": oxe.FROZEN}, 0.1))
    optimizer = nnx.Optimizer(model, frozen, wrt=nnx.Param)
    optimizer.update(model, grads)
    tx = oxe.with_average(ADAM, oxe.averages.ema(0.9))
    at = nnx.state(model, nnx.Param)
    state, report = oxe.translate(optimizer.opt_state, tx, at)
    assert report.exact
    second = nnx.Optimizer(model, tx._replace(init=lambda _: state), wrt=nnx.Param)
    step = nnx.jit(lambda model, optimizer: optimizer.update(model, grads))
    step(model, second)
    step(model, second)
    plain = nnx.to_pure_dict(at)
    made = frozen.update(nnx.to_pure_dict(grads), frozen.init(plain), plain)[1]
    want = ADAM.update(nnx.to_pure_dict(grads), made, plain)[1]
    want = ADAM.update(nnx.to_pure_dict(grads), want, plain)[1]
    moments = second.opt_state.inner_state[0]
    assert int(moments.count[...]) == 3
    assert_same(nnx.to_pure_dict(moments.mu), want[0].mu, 1e-6)
    back, _ = oxe.translate(
        second.opt_state, oxe.nadam(0.1), nnx.state(model, nnx.Param)
    )
    assert_same(nnx.to_pure_dict(back[0].nu), want[0].nu, 1e-6)


def trees():
    """The params of a model in each library, by name."""
    eqx = pytest.importorskip("equinox")
    hk = pytest.importorskip("haiku")
    nn = pytest.importorskip("flax.linen")
    x, key = jnp.ones((1, 2)), jax.random.key(0)
    init = nn.with_partitioning(nn.initializers.ones, (None, "x"))
    yield eqx.partition(eqx.nn.Linear(2, 3, key=key), eqx.is_inexact_array)[0]
    yield hk.transform(lambda x: hk.Linear(3)(x)).init(key, x)
    yield nn.Dense(3, kernel_init=init).init(key, x)  # in boxes


def test_equinox_haiku_and_linen():
    old, tx = ADAM, oxe.with_average(oxe.nadam(0.1), oxe.averages.ema(0.9))
    for tree in trees():
        grads = jax.tree.map(jnp.ones_like, tree)
        _, state = old.update(grads, old.init(tree), tree)
        new, report = oxe.translate(state, tx, tree)
        assert report.exact
        assert jax.tree.structure(new) == jax.tree.structure(tx.init(tree))
        _, want = oxe.nadam(0.1).update(grads, oxe.nadam(0.1).init(tree), tree)
        assert_same(new.inner_state, want)


def test_a_donated_state_leaves_the_other_one():
    tx = oxe.heavy_ball(0.1, 0.9)
    update = jax.jit(tx.update, donate_argnums=1)
    state = tx.init(params())
    new, _ = oxe.translate(state, tx, params())
    update(params(), state, params())
    assert_same(new, tx.init(params()))


def test_a_moment_of_few_bits_is_multiplied_in_full_precision():
    average = oxe.rules.momentum(0.9, dampening=0.9)
    old = oxe.scale_by_moments(average, mu_dtype="bfloat16")
    new = oxe.scale_by_moments(oxe.rules.momentum(0.9))
    _, state, at = run(old)
    translated, report = oxe.translate(state, new, at, source=old)
    assert report.exact
    full = jax.tree.map(lambda x: x.astype(jnp.float64) / (1 - 0.9), state.mu)
    assert_same(translated.mu, full)
