"""Decoupled weight decay: the same words and the same meaning in every optimizer."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.contract.discovery import CASES as CASES_OF_ALL, OPTIMIZERS
from tests.optimizers.paths import difference, falling, gradients
from tests.parity.programs import quick_jit

# Optimizers whose decay is another one, or whose directions depend on the weights.
OTHERWISE = {
    "swats": "L2, as in the paper: tests/optimizers/test_swats.py",
    "asgd": "its own decay is one: tests/optimizers/test_asgd.py",
    "adafactor": "a direction of the weights: tests/optimizers/test_adafactor.py",
}
CASES = {
    case.name: case
    for case in OPTIMIZERS
    if "." not in case.name
    and "weight_decay" in inspect.signature(case.factory).parameters
    and case.plain_name not in OTHERWISE
}
# These have it, and their directions do not depend on the weights.
KNOWN = "adabound adadelta adagrad adamax amsbound amsgrad heavy_ball nadam rmsprop"
PLAIN = {name: case for name, case in CASES.items() if not case.is_slow}

GRADS = gradients()
START = np.array([1.0, -2.0, 0.0, 30.0])
MASK = np.array([1.0, 0.0, 1.0, 0.0])


def in_one_program(run, cases, *given, x64=False):
    """For each case what `run` makes of it."""
    with jax.enable_x64(x64):
        given = jax.tree.map(jnp.asarray, given)
        found = quick_jit(lambda *x: [run(case, *x) for case in cases.values()])(*given)
        return dict(zip(cases, jax.device_get(found), strict=True))


def decayed(path, rate, decay, mask=1.0):
    """w -= rate(t) * decay * w on top of the steps of a run without decay.

    Directions of given gradients do not depend on the weights.
    """
    w, expected = path[0], [path[0]]
    for t, step in enumerate(np.diff(path, axis=0)):
        w = w + step - rate(t) * decay * mask * w
        expected.append(w)
    return np.stack(expected)


def path_of(tx, first, grads):
    """The weights after each update, and the learning rate that is read."""

    def step(carry, g):
        params, state = carry
        u, state = tx.update(g, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), (params, oxe.learning_rate(state))

    path, rates = jax.lax.scan(step, (first, tx.init(first)), grads)[1]
    path = jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]), first, path)
    return path, rates


@pytest.mark.parametrize("cases", [PLAIN, pytest.param(CASES, marks=pytest.mark.full)])
def test_decoupled(cases):
    """Masked and other weights side by side; it depends on no direction."""
    mask = {"decayed": True, "not": False}

    def run(case, first, grads):
        bare = case.make(learning_rate=falling)
        tx = case.make(learning_rate=falling, weight_decay=0.5, mask=mask)
        split = [{"decayed": x[..., ::2], "not": x[..., 1::2]} for x in (first, grads)]
        starts = jnp.stack([first, 2 * first])
        return jax.vmap(lambda x: path_of(bare, x, grads)[0])(starts), path_of(
            tx, *split
        )

    found = in_one_program(run, cases, START, GRADS, x64=True)
    assert {*found} >= {*KNOWN.split()}
    for name, ((bare, other), (path, rates)) in found.items():
        depends = np.max(np.abs((other - other[0]) - (bare - bare[0]))) > 1e-9
        if depends and cases[name].plain_name not in KNOWN.split():
            continue
        expected = decayed(bare, falling, 0.5, MASK)
        path = np.stack([path["decayed"], path["not"]], 2).reshape(bare.shape)
        assert difference(path, expected) <= 1e-12, name
        np.testing.assert_allclose(rates, falling(np.arange(300)), 1e-12, err_msg=name)


def test_at_the_rate_of_that_step():
    """A rate of 0, then 1/2, then 0: only the second step decays."""

    def run(case, first, grads):
        def rate(t):
            return jnp.where(t == 1, 0.5, 0.0)

        takes_base = "base_lr" in inspect.signature(case.factory).parameters
        base = {"base_lr": 0.5} if takes_base else {}  # of AdaBound's bounds
        tx = case.make(learning_rate=rate, weight_decay=0.2, **base)
        return path_of(tx, first, grads)[0]

    first, zeros = np.array([3.0]), np.zeros((4, 1))
    for name, path in in_one_program(run, PLAIN, first, zeros, x64=True).items():
        expected = [3, 3, 2.7, 2.7, 2.7]
        np.testing.assert_allclose(path[:, 0], expected, 1e-15, err_msg=name)


# Which of w, b and s are decayed.
MASKS = [
    ({"w": True, "inner": {"b": False, "s": True}}, (1, 0, 1)),
    ({"w": True, "inner": False}, (1, 0, 0)),
    (lambda params: jax.tree.map(lambda x: jnp.ndim(x) > 1, params), (1, 0, 0)),
    # By the dtype of the params, whatever the dtype of the updates is.
    (lambda params: jax.tree.map(lambda x: x.dtype == jnp.bfloat16, params), (0, 1, 0)),
    ({"w": False, "inner": False}, (0, 0, 0)),
]


def test_masks():
    params = {
        "w": jnp.full((2, 2), 2.0),
        "inner": {"b": jnp.ones(3, jnp.bfloat16), "s": jnp.float32(4)},
    }

    def run(case, params):
        zero, found = jax.tree.map(jnp.zeros_like, params), []
        for mask, _ in MASKS:
            tx = case.make(learning_rate=0.5, weight_decay=0.125, mask=mask)
            found.append(tx.update(zero, tx.init(params), params)[0])
        return found

    # One with the learning rate behind the decay, and one that applies its own.
    cases = {name: PLAIN[name] for name in ("adamw", "heavy_ball")}
    for name, found in in_one_program(run, cases, params).items():
        for us, (_, is_decayed) in zip(found, MASKS, strict=True):
            leaves = us["w"], us["inner"]["b"], us["inner"]["s"]
            for u, size, factor in zip(leaves, (2, 1, 4), is_decayed, strict=True):
                u = np.asarray(u, np.float32)
                np.testing.assert_allclose(u, -0.0625 * size * factor, err_msg=name)


def update(tx, params, *given):
    """Both functions, traced only."""
    state = jax.eval_shape(tx.init, params)
    return jax.eval_shape(tx.update, params, state, *given)[0]


WRONG_MASKS = [
    (lambda params: None, TypeError, "return a tree of bools, got None"),
    (lambda params: {"w": "x", "b": 1}, TypeError, "return a tree of bools, got {"),
    ({"v": True}, ValueError, "have the params' tree structure"),
    (lambda params: {"v": True}, ValueError, "or a prefix of it, got {'v'"),
]


def test_wrong_masks():
    """Refused by `init`, before anything is computed."""
    params = {"w": jnp.ones((2, 2)), "b": jnp.ones((2, 2))}
    for case in OPTIMIZERS:
        if case.is_slow or "mask" not in inspect.signature(case.factory).parameters:
            continue
        for mask, error, message in WRONG_MASKS:
            for decay in (0.0, falling):
                tx = case.make(weight_decay=decay, mask=mask)
                must = f"^{case.name}: `mask` must .*{message}"
                with pytest.raises(error, match=must):
                    jax.eval_shape(tx.init, params)


def test_it_needs_the_params():
    """But a decay that is known to be 0 does not."""
    for name, case in PLAIN.items():
        must = f"{name}: `params` must be given to `update` for"
        with pytest.raises(ValueError, match=must):
            update(case.make(weight_decay=0.1), jnp.ones(2))
        update(case.make(weight_decay=0), jnp.ones(2))


def test_updates_keep_their_dtype():
    for name, case in PLAIN.items():
        for decay in (0.5, np.float32(0.5), jnp.float32(0.5)):
            params = {"a": jnp.ones(3, jnp.bfloat16), "frozen": None}
            u = update(case.make(weight_decay=decay), params, params)
            assert u["a"].dtype == jnp.bfloat16, (name, decay)
            assert u["frozen"] is None


def test_gradients_of_numpy_in_float64_without_a_warning():
    params = {"w": np.ones(3)}
    for name, case in PLAIN.items():
        tx = case.make()
        updates = jax.eval_shape(
            lambda tx=tx: tx.update(params, tx.init(params), params)
        )
        assert updates[0]["w"].dtype == jnp.float32, name


def test_vmap_over_the_decay():
    """0 among them."""

    def run(case, params):
        def first(decay):
            tx = case.make(weight_decay=decay)
            return tx.update(0 * params, tx.init(params), params)[0]

        return jax.vmap(first)(jnp.array([0.0, 0.1]))

    params = jnp.array([2.0, -3.0])
    for name, (zero, other) in in_one_program(run, PLAIN, params).items():
        np.testing.assert_allclose(zero, 0, err_msg=name)
        expected = -PLAIN[name].settings["learning_rate"] * 0.1 * params
        np.testing.assert_allclose(other, expected, rtol=1e-6, err_msg=name)


# ---- Schedules -----------------------------------------------------------------------

# Every optimizer that has it, also where it is an L2 penalty.
EVERY = {
    case.name: case
    for case in CASES_OF_ALL
    if "weight_decay" in inspect.signature(case.factory).parameters
    and (not case.is_slow or "." in case.name or "second_rate" in case.name)
}
# One for each place where the package adds a decay.
PLACES = """adamw heavy_ball adafactor muon swats pytorch.Adam pytorch.ASGD keras.Adam
keras.Adafactor keras.Muon keras.Lamb keras.Ftrl keras.ScheduleFreeAdamW"""
SOME = {name: EVERY[name] for name in PLACES.split()}


@pytest.mark.parametrize("cases", [SOME, pytest.param(EVERY, marks=pytest.mark.full)])
def test_a_schedule_of_the_weight_decay(cases):
    """The steps of a run that is handed the number at every step; it can be read."""
    decay = oxe.schedules.linear(0.5, 4, 0.1)

    def run(case, params):
        tx = case.make(weight_decay=decay)

        def step(carry, t):
            moved, state, same, other = carry
            grads = jnp.cos(moved + t)
            u, state = tx.update(grads, state, moved)
            v, other = case.make(weight_decay=decay(t)).update(grads, other, same)
            read = oxe.hyperparameters(state)["weight_decay"]
            return (moved + u, state, same + v, other), read

        other = case.make(weight_decay=decay(0)).init(params)
        first = params, tx.init(params), params, other
        (moved, _, same, _), read = jax.lax.scan(step, first, jnp.arange(3))
        return moved, same, read

    params = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)
    for name, (moved, same, read) in in_one_program(run, cases, params).items():
        np.testing.assert_allclose(moved, same, 1e-6, err_msg=name)
        np.testing.assert_allclose(read, decay(np.arange(3)), 1e-6, err_msg=name)


def test_a_decay_that_reacts_to_a_metric_and_one_that_is_set():
    tx = oxe.nadam(0.0, weight_decay=oxe.plateau(0.5, factor=0.5, patience=0))
    params = jnp.ones(2)
    state = tx.init(params)
    for _ in range(3):
        _, state = tx.update(params, state, params, value=1.0)
    assert oxe.hyperparameters(state)["weight_decay"] == 0.25
    with pytest.raises(ValueError, match=r"`weight_decay` must be .*got -1"):
        oxe.nadam(0.1, weight_decay=-1)
