"""Numbers that are stored win over those that follow from others, or from `tx`."""

import os

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

os.environ.setdefault("KERAS_BACKEND", "jax")
PARAMS = {"w": jnp.ones(3)}


def product(state):
    return float(optax.tree.get(state, "product"))


def test_the_product_of_nadam_in_pytorch():
    """Such as that of a run whose betas were changed on the way."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.NAdam([weight])
    weight.grad = torch.ones(3)
    optimizer.step()
    saved = optimizer.state_dict()
    stored = saved["state"][0]["mu_product"]
    for factor in (1.0, 0.5):
        saved["state"][0]["mu_product"] = factor * stored
        state, _ = oxe.pytorch.load_state_dict(oxe.pytorch.NAdam(), saved, PARAMS)
        assert product(state) == pytest.approx(factor * float(stored))


def test_the_product_of_nadam_in_keras():
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    optimizer, weight = keras.optimizers.Nadam(), keras.Variable(np.ones(3))
    optimizer.build([weight])
    optimizer.apply_gradients([(np.ones(3), weight)])
    arrays = [np.asarray(x) for x in optimizer.variables]
    (at,) = [i for i, x in enumerate(arrays[2:], 2) if x.ndim == 0]
    stored = arrays[at]
    for factor in (1.0, 0.5):
        arrays[at] = factor * stored
        state, _ = oxe.keras.load_variables(oxe.keras.Nadam(), arrays, PARAMS)
        assert product(state) == pytest.approx(factor * float(stored))


def test_the_rate_of_a_velocity_of_steps():
    """Optax's velocity contains its learning rate, not that of `tx`."""
    optimizer = optax.inject_hyperparams(optax.rmsprop)(0.05, 0.9, momentum=0.9)
    state, grads = optimizer.init(PARAMS), {"w": jnp.array([1.0, -2.0, 0.5])}
    for _ in range(3):
        _, state = optimizer.update(grads, state)
    tx = oxe.rmsprop(0.2, 0.9, momentum=0.9, initial="zero", eps_in_root=True)
    ours, _ = oxe.load_optax_state(tx, state, PARAMS)
    expected, _ = optimizer.update(grads, state)
    np.testing.assert_allclose(
        tx.update(grads, ours, PARAMS)[0]["w"], expected["w"], rtol=1e-5
    )


def test_before_the_first_update():
    """PyTorch has stored nothing yet."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    tx = oxe.pytorch.Adam()
    assert oxe.pytorch.state_dict(tx, tx.init(PARAMS), PARAMS)["state"] == {}


def test_vectors_are_turned_around_too():
    """By a function that reverses them; only single numbers are left as they are."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    optimizer.step()
    state, _ = oxe.pytorch.load_state_dict(
        oxe.pytorch.Adam(),
        optimizer.state_dict(),
        PARAMS,
        transpose=lambda path, x: x[::-1],
    )
    mu = optax.tree.get(state, "mu")["w"]
    np.testing.assert_allclose(mu, [0.3, 0.2, 0.1], rtol=1e-6)


def test_a_trial_with_the_options_of_an_older_version():
    """Which lacks a flag: the options after it are used all the same."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    options = {"lr": 0.1, "weight_decay": 0.5, "decoupled_weight_decay": True}
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], **options)
    weight.grad = torch.ones(3)
    optimizer.step()
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["maximize"]
    tx = oxe.pytorch.Adam(**options)
    _, report = oxe.pytorch.load_state_dict(tx, saved, PARAMS, gradients=PARAMS)
    (trial,) = [x for x in report.rows if x.target == "trial step"]
    assert trial.exact


def test_stacks_of_several_leaves():
    """In the order of the leaves: each stack gets its own."""
    params = {name: jnp.full(2, float(i)) for i, name in enumerate("abcde")}
    tx, stacked = oxe.adam(0.1), oxe.stacked(oxe.adam(0.1), group=2)
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(params, state, params)
    ours, report = oxe.translate(state, stacked, params)
    assert report.exact
    expected, _ = tx.update(params, state, params)
    found, _ = stacked.update(params, ours, params)
    for name in params:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    back, _ = oxe.translate(ours, tx, params)
    for x, y in zip(back[0].mu.values(), state[0].mu.values(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_optax_states_without_a_public_name():
    """That of `scale_by_rms` with its bias correction."""
    optimizer = optax.rmsprop(0.1, bias_correction=True)
    _, state = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    ours, report = oxe.load_optax_state(oxe.rmsprop(0.1), state, PARAMS)
    np.testing.assert_allclose(optax.tree.get(ours, "nu")["w"], 0.1, rtol=1e-6)
    assert "left over" not in {row.how for row in report.rows}
