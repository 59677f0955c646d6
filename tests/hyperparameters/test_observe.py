"""Passing a metric to a state, wherever the schedule is in the tree."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.learning_rates.metrics import fed

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(())}
LABELS = {"w": "a", "b": "b"}


def halving(**words):
    """From 1, halved by each metric that is not better."""
    return oxe.plateau(1.0, factor=0.5, patience=0, **words)


def ours():
    return oxe.scale_by_rate(halving())


PLACES = {
    "adagrad": oxe.adagrad(halving()),
    "heavy_ball": oxe.heavy_ball(halving()),
    "asgd": oxe.asgd(halving()),
    "adafactor": oxe.adafactor(halving()),
    "greedy": oxe.adagrad(oxe.greedy(1.0, 0.5, patience=0, max_value=8.0)),
    "nested chains": optax.chain(
        optax.chain(optax.identity(), optax.chain(optax.identity(), ours()))
    ),
    "named_chain": optax.named_chain(("trace", optax.trace(0.5)), ("rate", ours())),
    "partition": optax.partition(
        {"a": oxe.heavy_ball(halving()), "b": optax.set_to_zero()}, LABELS
    ),
    "conditionally_transform": optax.conditionally_transform(
        oxe.adagrad(halving()), lambda step, **_: True, forward_extra_args=True
    ),
    "injected optax.sgd": optax.inject_hyperparams(optax.sgd)(halving()),
    "injected heavy_ball": optax.inject_hyperparams(oxe.heavy_ball)(halving()),
    "scheduled optax.sgd": oxe.scheduled(optax.sgd)(halving()),
    "scheduled pytorch.SGD": oxe.scheduled(oxe.pytorch.SGD)(lr=halving()),
    "all at once": optax.apply_if_finite(
        optax.masked(
            optax.chain(
                optax.clip(1.0),
                optax.MultiSteps(oxe.adagrad(halving()), 1).gradient_transformation(),
            ),
            {"w": True, "b": False},
        ),
        3,
    ),
}
# Optax's MultiSteps does not pass extra args on, and in a chain refuses them:
# use `oxe.accumulate`.
DROPS = {"all at once"}


@jax.jit
def update_all(states, grads, **metrics):
    """Updates and states of every optimizer."""
    found = {
        name: tx.update(
            grads, states[name], PARAMS, **({} if name in DROPS else metrics)
        )
        for name, tx in PLACES.items()
    }
    us = {name: u for name, (u, _) in found.items()}
    return us, {name: state for name, (_, state) in found.items()}


@jax.jit
def observe_all(states, value):
    return {name: oxe.observe(state, value) for name, state in states.items()}


def init_all():
    return {name: tx.init(PARAMS) for name, tx in PLACES.items()}


def assert_rates(states, rates, greedy):
    for name, state in states.items():
        expected = greedy if name == "greedy" else rates
        assert oxe.learning_rate(state) == expected, name


def test_once_an_epoch():
    """The next update uses it, and learning_rate reads that of the next update."""
    states = init_all()
    for metric, rate, greedy in ((3.0, 1, 2), (2.5, 1, 4), (2.5, 0.5, 2)):
        new = observe_all(states, metric)
        assert jax.tree.structure(new) == jax.tree.structure(states)
        assert_rates(new, rate, greedy)
        _, states = update_all(new, PARAMS)
        assert_rates(states, rate, greedy)
    # The applied learning rate is the one that was read: compared with one of 1.
    grads = jax.tree.map(lambda x: 0.3 * x, PARAMS)
    states = init_all()
    first, _ = update_all(states, grads)
    for _ in range(3):
        states = observe_all(states, 2.0)
    us, _ = update_all(states, grads)
    for name in PLACES.keys() - {"asgd"}:
        rate = float(oxe.learning_rate(states[name]))
        assert rate == (0.5 if name == "greedy" else 0.25), name
        moved = [k for k in PARAMS if not np.array_equal(first[name][k], grads[k])]
        assert "w" in moved, name  # the other one may be masked
        for k in moved:
            expected = rate * np.asarray(first[name][k])
            np.testing.assert_allclose(us[name][k], expected, rtol=1e-5, err_msg=name)


def test_at_every_step():
    """The update that gets a metric still uses the learning rate from before it."""
    states = init_all()
    for rate, greedy in ((1, 1), (1, 2), (0.5, 1), (0.25, 0.5)):
        _, states = update_all(states, PARAMS, value=3.0)
        for name in DROPS:
            assert oxe.learning_rate(states.pop(name)) == 1
        assert_rates(states, rate, greedy)
        states |= {name: PLACES[name].init(PARAMS) for name in DROPS}
    # Without the metric: no observation.
    for _ in range(2):
        _, states = update_all(states, PARAMS)
        for name in DROPS:
            assert oxe.learning_rate(states[name]) == 1
        assert_rates({k: x for k, x in states.items() if k not in DROPS}, 0.125, 0.25)


def test_asgd_is_late():
    tx = oxe.asgd(halving(), decay=0.0)

    def step(state, _):
        state = oxe.observe(state, 1.0)
        rate = oxe.learning_rate(state)
        u, state = tx.update(PARAMS, state, PARAMS)
        return state, (rate, -u["b"])

    run = jax.jit(lambda: jax.lax.scan(step, tx.init(PARAMS), length=4)[1])
    rates, us = run()
    assert rates.tolist() == [1, 0.5, 0.25, 0.125]
    assert us.tolist() == [1, 1, 0.5, 0.25]


def test_decoupled_decay_follows_the_rate():
    @jax.jit
    def run():
        us = []
        for tx in (
            oxe.heavy_ball(halving(), weight_decay=0.1),
            oxe.pytorch.AdamW(lr=halving(), weight_decay=0.1),
        ):
            state = oxe.observe(oxe.observe(tx.init(PARAMS), 1.0), 1.0)
            us.append(tx.update(jax.tree.map(jnp.zeros_like, PARAMS), state, PARAMS)[0])
        return us

    for u in run():
        np.testing.assert_allclose(u["w"], [-0.05, -0.05], rtol=1e-6)


def test_in_scan():
    tx = optax.chain(optax.trace(0.9), ours())
    state = tx.init(PARAMS)

    def epoch(state, metric):
        _, state = tx.update(PARAMS, state, PARAMS)
        state = oxe.observe(state, metric)
        return state, oxe.learning_rate(state)

    _, rates = jax.lax.scan(epoch, state, jnp.array([3.0, 3.0, 2.0, 2.0]))
    assert list(rates) == [1, 0.5, 0.5, 0.25]


# Wrappers that do not pass extra args on.
WITHOUT_EXTRA = {
    "lookahead": lambda rate: optax.lookahead(oxe.heavy_ball(rate), 2, 0.5),
    "split": lambda rate: optax.contrib.split_real_and_imaginary(oxe.heavy_ball(rate)),
}


def walk(tx, name, in_update):
    """Updates of a quadratic, each with the metric passed in or observed after it."""
    params = start = jnp.array([4.0, -2.0])
    if name == "lookahead":
        params = optax.LookaheadParams.init_synced(params)

    def step(carry, _):
        params, state = carry
        fast = getattr(params, "fast", params)
        given = {"value": 3.0} if in_update else {}
        u, state = tx.update(fast, state, params, **given)
        state = state if in_update else oxe.observe(state, 3.0)
        params = optax.apply_updates(params, u)
        return (params, state), params

    seen = jax.lax.scan(step, (params, tx.init(params)), length=6)[1]
    return start, jax.tree.leaves(seen)[0]


@pytest.mark.parametrize(
    "name", ["lookahead", pytest.param("split", marks=pytest.mark.full)]
)
def test_after_an_update_it_is_as_good_as_an_extra_argument(name):
    """For wrappers that drop extra args; `scheduled` around a wrapper takes them."""
    make, rate = WITHOUT_EXTRA[name], oxe.plateau(0.1, 0.5, 0)
    outside = oxe.scheduled(lambda learning_rate: make(learning_rate))
    start, expected = jax.jit(lambda: walk(outside(rate), name, True))()
    assert not np.array_equal(expected[-1], start)
    _, found = jax.jit(lambda: walk(make(rate), name, False))()
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(TypeError, match="unexpected keyword argument 'value'"):
        walk(make(rate), name, True)


def test_of_batched_states():
    """A metric for each run, by vmap; or the same for all."""
    tx = oxe.adagrad(halving())

    @jax.jit
    def run(metrics):
        states = jax.vmap(lambda x: tx.init({"w": x}))(jnp.ones((3, 2)))
        states = jax.vmap(oxe.observe)(states, metrics[0])
        apart = jax.vmap(oxe.observe)(states, metrics[1])
        together = oxe.observe(states, 2.0)
        return oxe.learning_rate(apart), oxe.learning_rate(together)

    apart, together = run(np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 3.0]]))
    assert apart.tolist() == [0.5, 1, 0.5]
    assert together.tolist() == [0.5, 0.5, 1]


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


def test_a_metric_that_nothing_monitors():
    for tx in (
        optax.adam(0.1),
        oxe.adagrad(0.1),
        oxe.adagrad(oxe.schedules.cosine(0.1, 10)),
        optax.inject_hyperparams(optax.adam)(0.1),
    ):
        for observe in (oxe.observe, jax.jit(oxe.observe)):
            with pytest.raises(
                ValueError, match="observe: `value` must be a metric th"
            ):
                observe(tx.init(PARAMS), 1.0)
    for state in ((), {}, None, jnp.ones(2)):
        with pytest.raises(ValueError, match="monitors none"):
            oxe.observe(state, 1.0)
    state = oxe.adagrad(halving(monitor="val_acc")).init(PARAMS)
    with pytest.raises(
        ValueError, match=r"monitors 'val_acc'.*val_acc=.*monitor='loss'"
    ):
        oxe.observe(state, loss=1.0)
    with pytest.raises(ValueError, match="`loss` must be"):
        oxe.observe(state, val_acc=1.0, loss=1.0)


def test_values_that_are_no_metrics():
    """Refused, monitored or not. None under another name is refused, too."""
    tx = oxe.adagrad(oxe.plateau(0.1, monitor="val_loss"))
    state = tx.init(jnp.ones(2))
    for name in ("value", "val_loss", "unknown"):
        for wrong in ("0.5", 1j, [0.5], (1, 2), True, np.ones(2), jnp.ones(1), None):
            with pytest.raises(TypeError, match=f"observe: `{name}` must be a metric"):
                oxe.observe(state, **{name: wrong})
    for wrong in ("0.5", 1j, [0.5], True, np.ones(2), jnp.ones(1), object()):
        with pytest.raises(
            TypeError, match="plateau: `val_loss` must be a metric, a r"
        ):
            tx.update(jnp.ones(2), state, val_loss=wrong)
    with pytest.raises(TypeError, match="observe: `value` must be a metric, a real s"):
        oxe.observe(state)
    for huge in (2**1024, -(10**400)):
        must = r"`val_loss` must be between -1.8e308 and"
        with pytest.raises(ValueError, match=f"observe: {must}"):
            oxe.observe(state, val_loss=huge)
        with pytest.raises(ValueError, match=f"plateau: {must}"):
            tx.update(jnp.ones(2), state, val_loss=huge)
    for metric in (1, np.float32(1), np.int64(1), jnp.bfloat16(1)):
        assert fed(state, [metric] * 12, "val_loss")[-1] < 0.1


def test_params_that_look_like_schedules():
    """A metric's name with anything else under it, and NumPy scalars, do not change."""
    params = {"value": jnp.ones(2), "w": (jnp.ones(1), jnp.ones(1))}
    state = oxe.adagrad(halving()).init(params)
    after = oxe.observe(state, 1.0)
    same = jax.tree.map(np.array_equal, after[0], state[0])
    assert all(jax.tree.leaves(same))


# ---- Other libraries' states ---------------------------------------------------------


def test_flax_nnx():
    """NNX wraps leaves; a metric of each step goes through `update`."""
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    optimizers = [
        nnx.Optimizer(model, tx, wrt=nnx.Param)
        for tx in (
            oxe.adagrad(halving()),
            oxe.scheduled(optax.sgd)(halving()),
            optax.inject_hyperparams(oxe.heavy_ball)(halving()),
            optax.chain(optax.sgd(1.0), oxe.scale_by_metric(halving())),
        )
    ]

    @nnx.jit
    def step(model, value, *optimizers):
        grads = nnx.state(model, nnx.Param)
        for optimizer in optimizers:
            optimizer.update(model, grads, value=value)
            optimizer.opt_state = oxe.observe(optimizer.opt_state, value)

    def read(optimizer):
        rates = oxe.hyperparameters(optimizer.opt_state)
        return float(rates.get("scale", rates.get("learning_rate")))

    found = []
    for _ in range(2):
        for optimizer in optimizers:
            before = jax.tree.structure(optimizer.opt_state)
            optimizer.opt_state = oxe.observe(optimizer.opt_state, 1.0)
            assert jax.tree.structure(optimizer.opt_state) == before
        found.append(list(map(read, optimizers)))
    for _ in range(2):
        step(model, 1.0, *optimizers)
        found.append(list(map(read, optimizers)))
    np.testing.assert_array_equal(np.transpose(found), [[1, 0.5, 0.125, 0.03125]] * 4)


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
    """It does not pass extra args on: use `observe`."""
    train_state = pytest.importorskip("flax.training.train_state")
    state = train_state.TrainState.create(
        apply_fn=None, params=PARAMS, tx=oxe.adagrad(halving())
    )
    for _ in range(2):
        state = state.apply_gradients(grads=PARAMS)
        state = state.replace(opt_state=oxe.observe(state.opt_state, 1.0))
    assert oxe.learning_rate(state) == 0.5


@pytest.mark.ci
def test_saved_and_restored(tmp_path):
    """By Orbax, Flax and Equinox: the run continues as if it had not stopped."""
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


def test_the_first_metric_that_nothing_monitors_is_named():
    state = oxe.adagrad(oxe.plateau(0.1, monitor="val_acc")).init(jnp.ones(2))
    with pytest.raises(ValueError, match=r"`first` must be .*monitor='first'"):
        oxe.observe(state, first=1.0, second=1.0)
