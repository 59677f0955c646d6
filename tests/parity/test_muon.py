"""Muon against PyTorch's and its author's code, without their casts to bfloat16."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_extras as oxe

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
theirs = pytest.importorskip("muon", reason="muon-optimizer is not installed")

SHAPES = [(3, 5), (6, 2), (4, 4), (1, 7), (7, 1)]
DECAY, RATE = 0.1, 0.02


def gradients(step):
    """Large, since they add epsilon to a norm, and here it is the least norm."""
    waves = (np.cos(np.arange(m * n) ** 1.5 + 0.7 * step) for m, n in SHAPES)
    return [1e5 * wave.reshape(s) for wave, s in zip(waves, SHAPES, strict=True)]


def their_walk(make, monkeypatch):
    """The weights after each of ten steps."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda x: x.double().clone())
    starts = [np.sin(g) for g in gradients(0)]
    weights = [torch.nn.Parameter(torch.tensor(w)) for w in starts]
    optimizer, walk = make(weights), []
    for step in range(10):
        for w, g in zip(weights, gradients(step), strict=True):
            w.grad = torch.tensor(g)
        optimizer.step()
        walk.append([w.detach().numpy().copy() for w in weights])
    return walk


def our_walk(tx, turn):
    with jax.enable_x64(True):
        weights = [jnp.asarray(turn(np.sin(g))) for g in gradients(0)]
        state, update, walk = tx.init(weights), jax.jit(tx.update), []
        for step in range(10):
            grads = [jnp.asarray(turn(g)) for g in gradients(step)]
            us, state = update(grads, state, weights)
            weights = [w + u for w, u in zip(weights, us, strict=True)]
            walk.append([turn(np.asarray(w)) for w in weights])
    return walk


def assert_close(found, expected):
    for ours, others in zip(found, expected, strict=True):
        for a, b in zip(ours, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", ["out_in", "in_out"])
def test_the_walks_are_equal(layout, monkeypatch):
    """On their layout, and transposed on the other."""
    options = {"lr": RATE, "weight_decay": DECAY}
    turn = np.transpose if layout == "in_out" else np.asarray
    found = our_walk(oxe.muon(RATE, layout=layout, weight_decay=DECAY), turn)
    for make in (theirs.SingleDeviceMuon, torch.optim.Muon):
        assert_close(found, their_walk(partial(make, **options), monkeypatch))


@pytest.mark.parametrize(
    ("nesterov", "scale"), [(True, "original"), (False, "match_rms_adamw")]
)
def test_options_of_pytorch(nesterov, scale, monkeypatch):
    options = {"nesterov": nesterov, "adjust_lr_fn": scale, "ns_steps": 3}
    options |= {"momentum": 0.8, "ns_coefficients": (2.0, -1.5, 0.5)}
    options |= {"weight_decay": DECAY}
    expected = their_walk(partial(torch.optim.Muon, **options), monkeypatch)
    assert_close(our_walk(oxe.pytorch.Muon(**options), np.asarray), expected)


def test_the_rounding_of_pytorch():
    """In bfloat16 both are about as far from exact numbers, and from each other.

    With every product rounded by itself our distances were 0.06, twice as large.
    """
    rng, tx = np.random.default_rng(0), partial(oxe.scale_by_muon, layout="out_in")
    update = jax.jit(tx(ns_dtype=jnp.bfloat16).update)
    exact = jax.jit(tx().update)
    for shape in ((16, 64), (64, 256), (64, 64)):
        g = np.float32(rng.normal(size=shape))
        w = torch.nn.Parameter(torch.zeros(shape))
        w.grad = torch.tensor(g)
        torch.optim.Muon([w], lr=1.0, weight_decay=0.0).step()
        state = tx().init(jnp.zeros(shape))
        others, rounded, right = (
            np.asarray(x, float)
            for x in (-w.detach(), update(g, state)[0], exact(g, state)[0])
        )
        for a, b in ((rounded, right), (rounded, others), (others, right)):
            assert np.linalg.norm(a - b) < 0.035 * np.linalg.norm(right), shape


def test_no_set_of_coefficients_diverges_in_bfloat16():
    """The products of "cans" do, if each is rounded: to 1e13."""
    rng = np.random.default_rng(1)
    for name in ("cans", "polar_express", "quintic"):
        options = {"layout": "in_out", "ns_coefficients": name, "scale": "unit_rms"}
        tx = oxe.scale_by_muon(0.0, **options, ns_dtype=jnp.bfloat16)
        state = tx.init(jnp.zeros((16, 64)))
        for _ in range(4):
            g = np.float32(rng.normal(size=(16, 64)))
            size = float(jnp.linalg.norm(tx.update(g, state)[0]))
            assert 0.7 * 8 < size < 1.3 * 8, name
