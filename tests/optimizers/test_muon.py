"""Muon: its iteration in NumPy, and the leaves that it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

PARAMS = {"wide": jnp.ones((2, 5)), "inner": [jnp.ones((6, 3)), jnp.ones((4, 4))]}


def gradient(step, like=PARAMS):
    def leaf(x):
        wave = np.cos(np.arange(x.size) ** 1.5 + 0.7 * step)
        return jnp.asarray(wave.reshape(x.shape), x.dtype)

    return jax.tree.map(leaf, like)


def one_update(tx, g):
    """The first update, compiled."""
    return jax.jit(lambda g: tx.update(g, tx.init(g))[0])(g)


def run(tx, steps=3, params=PARAMS):
    state, us, update = tx.init(params), [], jax.jit(tx.update)
    for step in range(steps):
        u, state = update(gradient(step, params), state, params)
        us.append(u)
    return us, state


def assert_close(got, expected, rtol=1e-4):
    """Relative to the norm of each leaf: the iteration amplifies rounding errors."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.linalg.norm(a - b) <= rtol * np.linalg.norm(b) + 1e-30


def orthogonal(x, steps=5, coefficients=(3.4445, -4.775, 2.0315)):
    a, b, c = coefficients
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        outer = x @ x.T
        x = a * x + b * outer @ x + c * outer @ outer @ x
    return x


def test_the_first_step():
    """Momentum 0: the iteration of the gradient, times sqrt(max(1, m / n))."""
    rng, tx = np.random.default_rng(0), oxe.scale_by_muon(momentum=0.0)
    gs = [rng.normal(size=shape) for shape in [(3, 3), (2, 7), (7, 2), (1, 5), (5, 1)]]
    with jax.enable_x64(True):
        us = one_update(tx, [jnp.asarray(g) for g in gs])
    for u, g in zip(us, gs, strict=True):
        scale = max(1, g.shape[0] / g.shape[1]) ** 0.5
        np.testing.assert_allclose(u, scale * orthogonal(g), rtol=0, atol=1e-12)


def test_what_is_smaller_than_epsilon():
    """Epsilon bounds the norm of the average.

    The first average is (1 - beta) g, with Nesterov's look-ahead (1 - beta^2) g.
    """
    g = np.random.default_rng(1).normal(size=(3, 5))
    gs = [g * size / np.linalg.norm(g) for size in (1e-8, 1e-5, 1.0)]
    for nesterov in (False, True):
        tx = oxe.scale_by_muon(0.75, nesterov=nesterov, ns_steps=0, eps=1e-6)
        with jax.enable_x64(True):
            us = one_update(tx, [jnp.asarray(g) for g in gs])
        for u, g in zip(us, gs, strict=True):
            average = (1 - 0.75**2 if nesterov else 0.25) * g
            expected = average / max(np.linalg.norm(average), 1e-6)
            np.testing.assert_allclose(u, expected, rtol=1e-12)


def test_the_averages():
    """Three steps without the iteration, with and without look-ahead."""
    g = [np.asarray(gradient(step)["wide"], np.float64) for step in range(3)]
    average = 0.0
    for x in g:
        average = 0.9 * average + 0.1 * x
    for nesterov in (False, True):
        tx = oxe.scale_by_muon(0.9, nesterov=nesterov, ns_steps=0)
        u = run(tx, params=PARAMS["wide"])[0][-1]
        expected = 0.9 * average + 0.1 * g[-1] if nesterov else average
        np.testing.assert_allclose(u, expected / np.linalg.norm(expected), 1e-5, 1e-6)


def test_the_gram_matrix_is_of_the_shorter_side():
    for shape in ((64, 3), (3, 64)):
        tx, x = oxe.scale_by_muon(), jnp.ones(shape)
        program = str(jax.make_jaxpr(tx.update)(x, tx.init(x)))
        assert "f32[3,3] = dot_general" in program
        assert "f32[64,64]" not in program


def test_nothing_divides_by_nothing():
    """Zero gradients and empty leaves, with any epsilon."""
    shapes = [(2, 5), (0, 3), (3, 0), (0, 0)]
    zeros = [jnp.zeros(shape) for shape in shapes]
    for eps in (1e-7, 0.0):
        us = one_update(oxe.scale_by_muon(eps=eps), zeros)
        assert [u.shape for u in us] == shapes
        assert all(np.all(u == 0) for u in us)


def test_from_0_to_99_iterations():
    """As in PyTorch, which refuses 100."""
    for steps in (0, 99):
        oxe.muon(0.1, ns_steps=steps)
    for steps in (-1, 100):
        with pytest.raises(ValueError, match="`ns_steps` must be"):
            oxe.muon(0.1, ns_steps=steps)


def test_singular_values_come_near_one():
    """Those of the gradient span two decades, those of the step do not."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    r, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    g = jnp.asarray(q @ np.diag(np.logspace(-2, 0, 8)) @ r, jnp.float32)
    u = one_update(oxe.scale_by_muon(momentum=0.0), g)
    values = np.linalg.svd(np.asarray(u), compute_uv=False)
    assert np.all((values > 0.5) & (values < 1.3))
    # After enough steps cubic Newton-Schulz brings them to 1.
    cubic = oxe.scale_by_muon(0.0, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=40)
    values = np.linalg.svd(np.asarray(one_update(cubic, g)), compute_uv=False)
    np.testing.assert_allclose(values, 1, rtol=1e-4)


def test_the_scale_for_rates_of_adamw():
    g = gradient(0)
    one, other = (
        one_update(oxe.scale_by_muon(adjust=a, ns_steps=1), g)
        for a in ("original", "match_rms_adamw")
    )
    for u, v in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        m, n = u.shape
        ratio = 0.2 * max(m, n) ** 0.5 / max(1, m / n) ** 0.5
        np.testing.assert_allclose(v, ratio * u, rtol=1e-5, atol=1e-7)


def test_optax_has_another_form():
    """It has a bias correction and another scale; without both they agree."""
    wide = jnp.ones((2, 5))

    def last(tx):  # normalized: the scale differs, also between Optax releases
        u = run(tx, params=wide)[0][-1]
        return u / jnp.linalg.norm(u)

    plain = last(oxe.scale_by_muon(0.95, nesterov=False))
    theirs = optax.contrib.scale_by_muon(beta=0.95, nesterov=False)
    assert_close(plain, last(theirs), 1e-3)
    ahead = last(oxe.scale_by_muon(0.95))
    gap = ahead - last(optax.contrib.scale_by_muon(beta=0.95))
    assert jnp.linalg.norm(gap) > 1e-2


def test_the_dtype_of_the_iteration():
    """An iteration in bfloat16 gives similar updates, in the leaf's dtype."""
    g = gradient(0)["wide"]
    fine = one_update(oxe.scale_by_muon(), g)
    rough = one_update(oxe.scale_by_muon(ns_dtype=jnp.bfloat16), g)
    assert_close(rough, fine, 0.2)
    assert not np.array_equal(rough, fine)


def test_buffers_and_leaves_without_a_gradient():
    tx = oxe.muon(0.1)
    state = jax.eval_shape(tx.init, PARAMS)
    like = [x for x in jax.tree.leaves(state) if len(x.shape) == 2]
    assert len(like) == len(jax.tree.leaves(PARAMS))
    grads = {**gradient(0), "wide": None}
    u, after = jax.eval_shape(tx.update, grads, state, PARAMS)
    assert u["wide"] is None
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_what_is_no_matrix_is_refused_by_its_path():
    for leaf, got in (
        (jnp.ones(3), r"float32\[3\]"),
        (jnp.ones((2, 2, 2)), r"float32\[2, 2, 2\]"),
        (jnp.ones((2, 2), complex), r"complex64\[2, 2\]"),
    ):
        params = {"w": jnp.ones((2, 2)), "b": leaf}
        with pytest.raises(ValueError, match=rf"muon: `params`\['b'\] must be .*{got}"):
            oxe.muon(0.1).init(params)
