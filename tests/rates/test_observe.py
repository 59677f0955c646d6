"""Showing a metric to a state, wherever the schedule sits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.rates.metrics import fed

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(())}
LABELS = {"w": "a", "b": "b"}


def halving(**words):
    """From 1, halved by each metric that is not better."""
    return oxe.plateau(1.0, factor=0.5, patience=0, **words)


def ours():
    return oxe.scale_by_rate(halving())


def multi_steps(tx, every=1):
    return optax.MultiSteps(tx, every).gradient_transformation()


PLACES = {
    "alone": ours,
    "adagrad": lambda: oxe.adagrad(halving()),
    "heavy_ball": lambda: oxe.heavy_ball(halving()),
    "asgd": lambda: oxe.asgd(halving()),
    "adafactor": lambda: oxe.adafactor(halving()),
    "pytorch.AdamW": lambda: oxe.pytorch.AdamW(lr=halving()),
    "keras.SGD": lambda: oxe.keras.SGD(learning_rate=halving(), momentum=0.5),
    "greedy": lambda: oxe.adagrad(oxe.greedy(1.0, 0.5, patience=0, max_value=8.0)),
    "chain": lambda: optax.chain(optax.scale_by_adam(), ours()),
    "nested chains": lambda: optax.chain(
        optax.chain(optax.identity(), optax.chain(optax.identity(), ours()))
    ),
    "named_chain": lambda: optax.named_chain(
        ("adam", optax.scale_by_adam()), ("rate", ours())
    ),
    "masked": lambda: optax.masked(oxe.adagrad(halving()), {"w": True, "b": False}),
    "partition": lambda: optax.partition(
        {"a": oxe.heavy_ball(halving()), "b": optax.set_to_zero()}, LABELS
    ),
    "MultiSteps": lambda: multi_steps(oxe.adagrad(halving())),
    "apply_if_finite": lambda: optax.apply_if_finite(oxe.heavy_ball(halving()), 3),
    "flatten": lambda: optax.flatten(oxe.adagrad(halving())),
    "conditionally_transform": lambda: optax.conditionally_transform(
        oxe.adagrad(halving()), lambda step, **_: True, forward_extra_args=True
    ),
    "injected optax.sgd": lambda: optax.inject_hyperparams(optax.sgd)(halving()),
    "injected heavy_ball": lambda: optax.inject_hyperparams(oxe.heavy_ball)(halving()),
    "scheduled optax.adam": lambda: oxe.scheduled(optax.adam)(halving()),
    "scheduled heavy_ball": lambda: oxe.scheduled(oxe.heavy_ball)(halving()),
    "scheduled pytorch.SGD": lambda: oxe.scheduled(oxe.pytorch.SGD)(lr=halving()),
    "all at once": lambda: optax.apply_if_finite(
        optax.masked(
            optax.chain(optax.clip(1.0), multi_steps(oxe.adagrad(halving()))),
            {"w": True, "b": False},
        ),
        3,
    ),
}
# Optax's MultiSteps hands no extra args on, and in a chain refuses them:
# `oxe.accumulate` is the answer.
DROPS = {"MultiSteps", "all at once"}
each_place = pytest.mark.parametrize("name", PLACES)


@each_place
def test_once_an_epoch(name):
    """The next update feels it, and learning_rate reads that update's rate."""
    tx = PLACES[name]()
    state = tx.init(PARAMS)
    expected = [2, 4, 2] if name == "greedy" else [1, 0.5, 0.25]
    metrics = [3.0, 2.5, 2.5] if name == "greedy" else [3.0, 3.0, 3.0]
    for metric, rate in zip(metrics, expected, strict=True):
        new = oxe.observe(state, metric)
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert oxe.learning_rate(new) == rate
        _, state = tx.update(PARAMS, new, PARAMS)
        assert oxe.learning_rate(state) == rate


@pytest.mark.parametrize("name", [name for name in PLACES if name not in DROPS])
def test_at_every_step(name):
    """The update that is told a metric still has the rate from before it."""
    tx = PLACES[name]()
    state = tx.init(PARAMS)
    update = jax.jit(tx.update)
    expected = [1, 2, 1, 0.5] if name == "greedy" else [1, 1, 0.5, 0.25]
    for rate in expected:
        _, state = update(PARAMS, state, PARAMS, value=3.0)
        assert oxe.learning_rate(state) == rate
    # Without the metric: no observation.
    for _ in range(2):
        _, state = update(PARAMS, state, PARAMS)
    assert oxe.learning_rate(state) == expected[-1] / 2


@pytest.mark.parametrize("name", [name for name in PLACES if name != "asgd"])
def test_what_is_applied_is_what_was_read(name):
    """Updates after an observe: as of the same optimizer with that constant."""
    tx = PLACES[name]()
    state = tx.init(PARAMS)
    for metric in (2.0, 2.0, 2.0):
        state = oxe.observe(state, metric)
    rate = float(oxe.learning_rate(state))
    grads = jax.tree.map(lambda x: 0.3 * x, PARAMS)
    first, _ = tx.update(grads, tx.init(PARAMS), PARAMS)  # at a rate of 1
    u, _ = tx.update(grads, state, PARAMS)
    if "adafactor" in name:
        rate = min(rate, 1.0)
    moved = [k for k in PARAMS if not np.array_equal(first[k], grads[k])]  # not masked
    assert "w" in moved
    for k in moved:
        np.testing.assert_allclose(u[k], rate * np.asarray(first[k]), rtol=1e-5)


def test_asgd_is_late():
    tx = oxe.asgd(halving(), decay=0.0)
    state = tx.init(PARAMS)
    us = []
    for _ in range(4):
        state = oxe.observe(state, 1.0)
        u, state = tx.update(PARAMS, state, PARAMS)
        us.append(float(-u["b"]))
    assert us == [1, 1, 0.5, 0.25]  # rates read: 1, 0.5, 0.25, 0.125


def test_decoupled_decay_follows_the_rate():
    for tx in (
        oxe.heavy_ball(halving(), weight_decay=0.1),
        oxe.pytorch.AdamW(lr=halving(), weight_decay=0.1),
    ):
        state = oxe.observe(oxe.observe(tx.init(PARAMS), 1.0), 1.0)
        u, _ = tx.update(jax.tree.map(jnp.zeros_like, PARAMS), state, PARAMS)
        np.testing.assert_allclose(u["w"], [-0.05, -0.05], rtol=1e-6)


def test_under_jit_and_in_scan():
    tx = optax.chain(optax.scale_by_adam(), ours())
    state = tx.init(PARAMS)
    observe = jax.jit(oxe.observe)
    assert oxe.learning_rate(observe(observe(state, 2.0), 2.0)) == 0.5

    def epoch(state, metric):
        _, state = tx.update(PARAMS, state, PARAMS)
        state = oxe.observe(state, metric)
        return state, oxe.learning_rate(state)

    _, rates = jax.lax.scan(epoch, state, jnp.array([3.0, 3.0, 2.0, 2.0]))
    assert list(rates) == [1, 0.5, 0.5, 0.25]


def in_lookahead(rate):
    return optax.lookahead(oxe.heavy_ball(rate), 2, 0.5)


# Wrappers that hand no extra args on.
DEAF = {
    "lookahead": in_lookahead,
    "split": lambda rate: optax.contrib.split_real_and_imaginary(oxe.heavy_ball(rate)),
}


def walk(tx, params, told):
    """Updates of a quadratic: in each, the metric handed over or observed after it."""
    start = params
    if "lookahead" in told:
        params = optax.LookaheadParams.init_synced(params)

    @jax.jit
    def step(params, state):
        fast = getattr(params, "fast", params)
        given = {"value": 3.0} if "value" in told else {}
        u, state = tx.update(fast, state, params, **given)
        state = state if "value" in told else oxe.observe(state, 3.0)
        return optax.apply_updates(params, u), state

    state, seen = tx.init(params), []
    for _ in range(6):
        params, state = step(params, state)
        seen.append(jax.tree.leaves(params))
    assert not np.array_equal(seen[-1][0], jax.tree.leaves(start)[0])
    return seen


@pytest.mark.parametrize("name", DEAF)
def test_after_an_update_it_is_as_good_as_an_extra_arg(name):
    """Where a wrapper drops those; and `scheduled` around the wrapper takes them."""
    params = jnp.array([4.0, -2.0])
    rate, told = oxe.plateau(0.1, 0.5, 0), f"value, {name}"
    outside = oxe.scheduled(lambda learning_rate: DEAF[name](learning_rate))
    expected = walk(outside(rate), params, told)
    assert not np.array_equal(expected, walk(outside(0.1), params, told))
    np.testing.assert_array_equal(walk(DEAF[name](rate), params, name), expected)
    with pytest.raises(TypeError, match="unexpected keyword argument 'value'"):
        walk(DEAF[name](rate), params, told)


def test_of_batched_states():
    """One metric for every run, by vmap; or the same for all."""
    tx = oxe.adagrad(halving())
    states = jax.vmap(lambda x: tx.init({"w": x}))(jnp.ones((3, 2)))
    observe = jax.jit(jax.vmap(oxe.observe))
    states = observe(states, jnp.array([1.0, 2.0, 3.0]))
    apart = observe(states, jnp.array([1.0, 1.0, 3.0]))
    assert list(oxe.learning_rate(apart)) == [0.5, 1, 0.5]
    together = oxe.observe(states, 2.0)
    assert list(oxe.learning_rate(together)) == [0.5, 0.5, 1]


def test_several_schedules_and_their_metrics():
    tx = optax.partition(
        {
            "a": oxe.heavy_ball(halving(monitor="loss")),
            "b": oxe.adagrad(halving(monitor="accuracy", mode="max")),
        },
        LABELS,
    )
    state = tx.init(PARAMS)
    state = oxe.observe(state, loss=2.0, accuracy=0.5)
    state = oxe.observe(state, accuracy=0.5)
    rates = oxe.hyperparameters(state)
    assert rates == {"a/learning_rate": 1.0, "b/learning_rate": 0.5}
    # A metric that several monitor reaches all of them; in update too.
    tx = optax.chain(ours(), oxe.scale_by_metric(halving()))
    state = oxe.observe(oxe.observe(tx.init(PARAMS), 1.0), 1.0)
    _, state = tx.update(PARAMS, state, PARAMS, value=1.0)
    _, state = tx.update(PARAMS, state, PARAMS)
    assert oxe.hyperparameters(state) == {"learning_rate": 0.25, "scale": 0.25}


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.adam(0.1),
        lambda: oxe.adagrad(0.1),
        lambda: oxe.adagrad(oxe.schedules.cosine(0.1, 10)),
        lambda: oxe.adagrad(halving(monitor="val_acc")),
        lambda: optax.inject_hyperparams(optax.adam)(0.1),
    ],
)
def test_what_nothing_monitors(make):
    state = make().init(PARAMS)
    with pytest.raises(ValueError, match="observe: `value` must be a metric that some"):
        oxe.observe(state, 1.0)
    with pytest.raises(ValueError, match="`value` must be a metric"):
        jax.jit(oxe.observe)(state, 1.0)


@pytest.mark.parametrize("name", ["value", "val_loss", "nobody"])
@pytest.mark.parametrize("wrong", ["0.5", 1j, [0.5], (1, 2), True, np.ones(2)])
def test_what_is_no_metric(name, wrong):
    """Whether somebody would have looked at it or not; nor is None, under a name."""
    state = oxe.adagrad(oxe.plateau(0.1, monitor="val_loss")).init(jnp.ones(2))
    for bad in (wrong, None):
        if bad is None and name == "value":
            continue
        with pytest.raises(TypeError, match=f"observe: `{name}` must be a metric"):
            oxe.observe(state, **{name: bad})


@pytest.mark.parametrize("huge", [2**1024, -(10**400)])
def test_a_metric_beyond_all_floats(huge):
    tx = oxe.adagrad(oxe.plateau(0.1))
    state = tx.init(jnp.ones(2))
    with pytest.raises(
        ValueError, match=r"observe: `value` must be a metric, of at mo"
    ):
        oxe.observe(state, huge)
    with pytest.raises(
        ValueError, match=r"plateau: `value` must be a metric, of at mo"
    ):
        tx.update(jnp.ones(2), state, value=huge)


def test_what_is_monitored_is_listed():
    state = oxe.adagrad(halving(monitor="val_acc")).init(PARAMS)
    with pytest.raises(
        ValueError, match=r"monitors 'val_acc'.*val_acc=.*monitor='loss'"
    ):
        oxe.observe(state, loss=1.0)
    with pytest.raises(ValueError, match="`loss` must be"):
        oxe.observe(state, val_acc=1.0, loss=1.0)


@pytest.mark.parametrize("state", [(), {}, None, jnp.ones(2)])
def test_no_state(state):
    with pytest.raises(ValueError, match="monitors none"):
        oxe.observe(state, 1.0)


def test_params_that_look_like_schedules():
    """A name with something else under it, and NumPy scalars, stay as they are."""
    params = {"value": jnp.ones(2), "w": (jnp.ones(1), jnp.ones(1))}
    state = oxe.adagrad(halving()).init(params)
    after = oxe.observe(state, 1.0)
    same = jax.tree.map(np.array_equal, after[0], state[0])
    assert all(jax.tree.leaves(same))


# ---- Other libraries' states ---------------------------------------------------------


def test_flax_nnx():
    """Leaves are wrapped there; a per-step value goes through `update`."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    for tx in (
        oxe.adagrad(halving()),
        oxe.scheduled(optax.adam)(halving()),
        optax.inject_hyperparams(oxe.heavy_ball)(halving()),
        optax.chain(optax.adam(1.0), oxe.scale_by_metric(halving())),
    ):
        model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, value):
            grads = nnx.grad(lambda m: jnp.sum(m(jnp.ones((1, 2))) ** 2))(model)
            optimizer.update(model, grads, value=value)

        def read(optimizer):
            rates = oxe.hyperparameters(optimizer.opt_state)
            return float(rates.get("scale", rates.get("learning_rate")))

        found = []
        for _ in range(2):
            before = jax.tree.structure(optimizer.opt_state)
            optimizer.opt_state = oxe.observe(optimizer.opt_state, 1.0)
            assert jax.tree.structure(optimizer.opt_state) == before
            found.append(read(optimizer))
        for _ in range(2):
            step(model, optimizer, 1.0)
            found.append(read(optimizer))
        assert found == [1, 0.5, 0.5, 0.25]

        @nnx.jit
        def evaluate(optimizer, value):
            optimizer.opt_state = oxe.observe(optimizer.opt_state, value)

        evaluate(optimizer, 1.0)
        assert read(optimizer) == 0.0625


def test_equinox():
    class Model(eqx.Module):
        weight: jax.Array
        activation: object = eqx.field(static=True, default=jax.nn.relu)

    model = Model(jnp.ones(3))
    tx = oxe.adagrad(halving())
    state = tx.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state, value):
        grads = eqx.filter_grad(lambda m: jnp.sum(m.weight**2))(model)
        updates, state = tx.update(grads, state, value=value)
        return eqx.apply_updates(model, updates), oxe.observe(state, value)

    for _ in range(2):
        model, state = step(model, state, 1.0)
    assert oxe.learning_rate(state) == 0.125


def test_flax_train_state():
    """It hands no extra args on: `observe` is the way."""
    train_state = pytest.importorskip("flax.training.train_state")
    state = train_state.TrainState.create(
        apply_fn=None, params=PARAMS, tx=oxe.adagrad(halving())
    )
    for _ in range(2):
        state = state.apply_gradients(grads=PARAMS)
        state = state.replace(opt_state=oxe.observe(state.opt_state, 1.0))
    assert oxe.learning_rate(state) == 0.5


def test_saved_and_restored(tmp_path):
    """By Orbax, Flax and Equinox: the run goes on as if it had not been stopped."""
    ocp = pytest.importorskip("orbax.checkpoint")
    serialization = pytest.importorskip("flax.serialization")
    tx = optax.chain(
        oxe.scheduled(optax.scale_by_adam)(b1=oxe.schedules.linear(0.9, 9)),
        oxe.scale_by_rate(oxe.greedy(0.1, patience=0, window=3)),
        oxe.scale_by_metric(halving()),
    )
    state, update = tx.init(PARAMS), jax.jit(tx.update)
    for metric in (3.0, 2.0, 2.0):
        _, state = update(PARAMS, state, PARAMS, value=metric)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
        by_orbax = checkpointer.restore(tmp_path / "state", target)
    saved = serialization.to_bytes(state)
    by_flax = serialization.from_bytes(tx.init(PARAMS), saved)
    eqx.tree_serialise_leaves(tmp_path / "leaves", state)
    by_equinox = eqx.tree_deserialise_leaves(tmp_path / "leaves", tx.init(PARAMS))
    expected = fed_all(update, state)
    for restored in (by_orbax, by_flax, by_equinox):
        assert jax.tree.structure(restored) == jax.tree.structure(state)
        assert fed_all(update, restored) == expected


def fed_all(update, state):
    found = []
    for metric in (2.5, 1.0, 1.0):
        _, state = update(PARAMS, state, PARAMS, value=metric)
        found.append({k: float(x) for k, x in oxe.hyperparameters(state).items()})
    assert fed(state, [1.0])
    return found
