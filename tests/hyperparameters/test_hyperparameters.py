"""Reading and setting the numbers in a state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

PARAMS = {"w": jnp.ones(2), "b": jnp.ones(())}
LABELS = {"w": "slow", "b": "fast"}


def floats(state):
    return {k: round(float(x), 6) for k, x in oxe.hyperparameters(state).items()}


# ---- Reading -------------------------------------------------------------------------


def test_of_one_optimizer():
    assert floats(oxe.adagrad(0.1).init(PARAMS)) == {"learning_rate": 0.1}
    state = oxe.scheduled(optax.adamw)(0.1, b1=0.5, weight_decay=1e-3).init(PARAMS)
    expected = {"b1": 0.5, "learning_rate": 0.1, "weight_decay": 0.001}
    assert floats(state) == expected
    state = optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.9).init(PARAMS)
    assert floats(state) == {"learning_rate": 0.1, "momentum": 0.9}


def test_of_a_state_without_any():
    for state in ((), None, PARAMS, optax.adam(0.1).init(PARAMS)):
        assert oxe.hyperparameters(state) == {}


def test_of_groups():
    """Labels where they differ, else paths."""
    groups = {"fast": oxe.heavy_ball(0.1), "slow": oxe.adagrad(0.01)}
    state = optax.partition(groups, LABELS).init(PARAMS)
    expected = {"fast/learning_rate": 0.1, "slow/learning_rate": 0.01}
    assert floats(state) == expected
    named = optax.named_chain(("one", oxe.adagrad(0.1)), ("two", oxe.adagrad(0.2)))
    expected = {"one/learning_rate": 0.1, "two/learning_rate": 0.2}
    assert floats(named.init(PARAMS)) == expected
    chain = optax.chain(oxe.scale_by_rate(0.1), oxe.scale_by_rate(0.2))
    expected = {"0/rate/learning_rate": 0.1, "1/rate/learning_rate": 0.2}
    assert floats(chain.init(PARAMS)) == expected


def test_an_array_handed_on_is_one_number():
    for make in (optax.inject_hyperparams, oxe.scheduled):
        state = make(oxe.heavy_ball)(0.1, momentum=0.5, weight_decay=0.0).init(PARAMS)
        expected = {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.0}
        assert floats(state) == expected
    # A different learning rate inside is another number.
    inner = lambda decay: optax.chain(  # noqa: E731
        optax.trace(decay), oxe.scale_by_rate(0.1)
    )
    state = oxe.scheduled(inner)(decay=0.5).init(PARAMS)
    assert floats(state) == {"decay": 0.5, "learning_rate": 0.1}


def test_of_schedules():
    """The numbers of the last update; before any update those of the first."""
    rate = oxe.schedules.inverse_time(1.0, 1.0)
    tx = oxe.scheduled(optax.sgd)(rate, momentum=oxe.schedules.linear(0.5, 2))
    state, seen = tx.init(PARAMS), []
    for _ in range(4):
        seen.append(floats(state))
        _, state = tx.update(PARAMS, state, PARAMS)
    values = [(x["learning_rate"], x["momentum"]) for x in seen]
    assert values == [(1, 0.5), (1, 0.5), (0.5, 0.25), (0.333333, 0)]


def test_a_rate_that_was_injected_by_another_name():
    """The optimizer inside stores it by its name, and follows at the next update."""
    tx = optax.inject_hyperparams(lambda size: oxe.heavy_ball(size, 0.0))(size=0.5)
    state = tx.init(PARAMS)
    assert floats(state) == {"size": 0.5, "learning_rate": 0.5}
    state = oxe.set_hyperparameters(state, size=0.25)
    assert floats(state) == {"size": 0.25, "learning_rate": 0.5}
    _, state = tx.update(PARAMS, state, PARAMS)
    assert floats(state) == {"size": 0.25, "learning_rate": 0.25}


def test_a_stateful_schedule_with_a_tuple_for_a_state():
    """A `StatefulSchedule` that is not ours, beside a number."""

    class Halving(optax.schedules.StatefulSchedule):
        def init(self):
            return jnp.zeros((), jnp.int32), (jnp.ones(()), [jnp.ones(2)])

        def update(self, state, **extra):
            return state[0] + 1, state[1]

        def __call__(self, state, **extra):
            return 0.5 ** state[0].astype(jnp.float32)

    tx = optax.inject_hyperparams(optax.sgd)(Halving(), momentum=0.75)
    state = tx.init(PARAMS)
    for _ in range(3):
        _, state = tx.update(PARAMS, state, PARAMS)
    found = floats(state)
    assert found["momentum"] == 0.75
    assert found["learning_rate"] in (0.25, 0.125)
    new = oxe.set_hyperparameters(state, momentum=0.5)
    assert floats(new) == {**found, "momentum": 0.5}
    assert jax.tree.structure(new) == jax.tree.structure(state)
    with pytest.raises(ValueError, match="a schedule sets at every update"):
        oxe.set_hyperparameters(state, learning_rate=0.5)


# ---- Setting -------------------------------------------------------------------------


def one_update(tx, state):
    return tx.update(jax.tree.map(lambda x: 0.3 * x, PARAMS), state, PARAMS)


SETTABLE = {
    "adagrad": oxe.adagrad,
    "heavy_ball": oxe.heavy_ball,
    "adafactor": oxe.adafactor,
    "chain": lambda x: optax.chain(optax.scale_by_adam(), oxe.scale_by_rate(x)),
    "masked": lambda x: optax.masked(oxe.adagrad(x), {"w": True, "b": True}),
    "MultiSteps": lambda x: optax.MultiSteps(
        oxe.adagrad(x), 1
    ).gradient_transformation(),
    "apply_if_finite": lambda x: optax.apply_if_finite(oxe.adagrad(x), 3),
    "scheduled optax.adam": oxe.scheduled(optax.adam),
    "scheduled adagrad": oxe.scheduled(oxe.adagrad),
    "injected optax.adam": optax.inject_hyperparams(optax.adam),
    "injected adagrad": optax.inject_hyperparams(oxe.adagrad),
    "pytorch.Adam": oxe.pytorch.Adam,
    "keras.SGD": oxe.keras.SGD,
}


NUMBERS = [
    *[(name, float) for name in SETTABLE],
    *[("adagrad", x) for x in (np.float32, np.float64)],
    *[("scheduled optax.adam", x) for x in (np.float32, np.float64)],
    ("injected optax.adam", np.float64),  # Optax does not inject the other
]


def test_the_next_update_uses_it():
    """Like an optimizer made with the number, from the same state on."""
    for name, number in NUMBERS:
        make, case = SETTABLE[name], f"{name}, {number.__name__}"
        tx, other = make(number(0.125)), make(number(0.5))
        _, state = one_update(tx, tx.init(PARAMS))
        _, same = one_update(other, other.init(PARAMS))
        new = oxe.set_hyperparameters(state, learning_rate=0.5)
        assert jax.tree.structure(new) == jax.tree.structure(state), case
        assert oxe.learning_rate(new) == 0.5, case
        if name == "heavy_ball":  # its velocity comes from another learning rate
            same = same[0]._replace(mu=new[0].mu), *same[1:]
        u, new = one_update(tx, new)
        v, _ = one_update(other, same)
        for k in PARAMS:
            np.testing.assert_allclose(u[k], v[k], rtol=1e-6, err_msg=case)
        assert oxe.learning_rate(new) == 0.5, case


def test_everything_that_scheduled_holds():
    tx = oxe.scheduled(optax.sgd)(0.1, momentum=0.9)
    state = oxe.set_hyperparameters(tx.init(PARAMS), momentum=0.5)
    for expected in (1.0, 1.5, 1.75):
        u, state = one_update(tx, state)
        np.testing.assert_allclose(u["w"], -0.1 * 0.3 * expected, rtol=1e-5)


def test_by_the_keys_of_hyperparameters():
    groups = {"fast": oxe.heavy_ball(0.1), "slow": oxe.adagrad(0.01)}
    tx = optax.partition(groups, LABELS)
    state = oxe.set_hyperparameters(
        tx.init(PARAMS), **{"slow/learning_rate": 0.5, "fast/learning_rate": 2.0}
    )
    u, _ = tx.update(PARAMS, state, PARAMS)
    assert u["b"] == -2.0
    np.testing.assert_allclose(u["w"], -0.5, rtol=1e-6)
    with pytest.raises(ValueError, match="'fast/learning_rate', 'slow/learning_rate'"):
        oxe.set_hyperparameters(state, learning_rate=0.5)


def test_under_jit_and_of_batched_states():
    tx = oxe.adagrad(0.1)
    state = tx.init(PARAMS)
    new = jax.jit(lambda s, x: oxe.set_hyperparameters(s, learning_rate=x))(state, 0.5)
    assert oxe.learning_rate(new) == 0.5
    states = jax.vmap(lambda x: tx.init({"w": x}))(jnp.ones((3, 2)))
    new = oxe.set_hyperparameters(states, learning_rate=0.5)
    assert list(oxe.learning_rate(new)) == [0.5] * 3
    again = jax.vmap(lambda s, x: oxe.set_hyperparameters(s, learning_rate=x))
    new = again(states, jnp.array([1.0, 2.0, 3.0]))
    assert list(oxe.learning_rate(new)) == [1, 2, 3]


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    for tx in (oxe.adagrad(0.1), oxe.scheduled(optax.sgd)(0.1)):
        optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
        optimizer.opt_state = oxe.set_hyperparameters(
            optimizer.opt_state, learning_rate=0.5
        )
        optimizer.update(model, nnx.state(model, nnx.Param))
        assert oxe.hyperparameters(optimizer.opt_state) == {"learning_rate": 0.5}
        assert oxe.learning_rate(optimizer.opt_state) == 0.5


CURVE = oxe.schedules.cosine(0.1, 10)
REFUSED = {
    "schedule": (lambda: oxe.adagrad(CURVE), "a schedule sets at every update"),
    "scheduled, schedule": (lambda: oxe.scheduled(optax.sgd)(CURVE), "a schedule sets"),
    "injected, schedule": (
        lambda: optax.inject_hyperparams(optax.sgd)(CURVE),
        "a schedule sets",
    ),
}


def test_numbers_that_an_update_would_overwrite():
    """Refused with the reason, inside jit too."""
    begin = "set_hyperparameters: `learning_rate` must be a constant, got one that"
    for make, reason in REFUSED.values():
        state = make().init(PARAMS)
        with pytest.raises(ValueError, match=f"{begin}.*{reason}"):
            oxe.set_hyperparameters(state, learning_rate=0.5)
        with pytest.raises(ValueError, match=reason):
            jax.jit(lambda s: oxe.set_hyperparameters(s, learning_rate=0.5))(state)


WITH_PLATEAU = {
    "inside": lambda rate: oxe.adagrad(rate),
    "scheduled": lambda rate: oxe.scheduled(optax.sgd)(rate),
    "injected": lambda rate: optax.inject_hyperparams(optax.sgd)(rate),
    "switch": lambda rate: oxe.switch(
        oxe.nadam(rate), oxe.heavy_ball(0.1), oxe.at_step(9)
    ),
}


@pytest.mark.parametrize("kind", WITH_PLATEAU)
def test_a_plateau_goes_on_from_the_numbers_that_are_set(kind):
    tx = WITH_PLATEAU[kind](oxe.plateau(0.1, factor=0.5, patience=9))
    state, key = tx.init(PARAMS), "learning_rate"
    if kind == "switch":  # both phases have a learning rate
        key = next(x for x in oxe.hyperparameters(state) if x.startswith("first"))
    values = {key: 0.02, "patience": 0, "min_value": 0.008}
    for call in (oxe.set_hyperparameters, jax.jit(oxe.set_hyperparameters)):
        changed = call(state, **values)
        assert jax.tree.structure(changed) == jax.tree.structure(state)
        found = []
        for _ in range(4):
            found.append(float(oxe.hyperparameters(changed)[key]))
            changed = oxe.observe(changed, 1.0)
        np.testing.assert_allclose(found, [0.02, 0.02, 0.01, 0.008], rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factor": 1.0}, r"`factor` must be in \(0, 1\), got 1.0"),
        ({"patience": 0.5}, "`patience` must be an integer"),
        ({"cooldown": -1}, "`cooldown` must be .*, got -1"),
        ({"mode": 1}, "`mode` must be a number in `state`, .* 'learning_rate', 'fact"),
    ],
)
def test_numbers_of_a_plateau_out_of_range(values, message):
    state = oxe.nadam(oxe.plateau(0.1)).init(PARAMS)
    with pytest.raises((TypeError, ValueError), match=message):
        oxe.set_hyperparameters(state, **values)


def test_a_tracer_stays_in_the_closure():
    """So does an array: what is set in the state has no effect."""

    def applied(rate):
        tx = oxe.adagrad(rate)
        state = oxe.set_hyperparameters(tx.init(PARAMS), learning_rate=1.0)
        return oxe.learning_rate(tx.update(PARAMS, state, PARAMS)[1])

    np.testing.assert_array_equal(jax.vmap(applied)(jnp.array([2.0, 3.0])), [2, 3])
    assert applied(jnp.array(2.0)) == 2


def test_wrong_values_and_names():
    state = oxe.adagrad(0.1).init(PARAMS)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"`learning_rate` must be in \[0, inf\)"):
            oxe.set_hyperparameters(state, learning_rate=value)
    for value in ("0.1", None, np.ones(2), oxe.schedules.rex(1.0, 2)):
        with pytest.raises(TypeError, match="`learning_rate` must be a real number"):
            oxe.set_hyperparameters(state, learning_rate=value)
    with pytest.raises(ValueError, match=r"`b1` must be .* holds 'learning_rate'"):
        oxe.set_hyperparameters(state, b1=0.5)
    with pytest.raises(ValueError, match="holds none"):
        oxe.set_hyperparameters((), b1=0.5)


# ---- learning_rate over several ------------------------------------------------------


def test_the_singular_form_lists_them():
    groups = {"fast": oxe.heavy_ball(oxe.plateau(0.1)), "slow": oxe.adagrad(0.01)}
    state = optax.partition(groups, LABELS).init(PARAMS)
    with pytest.raises(ValueError, match=r"got 2 of them: .*fast.*slow"):
        oxe.learning_rate(state)
