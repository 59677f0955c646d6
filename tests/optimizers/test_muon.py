"""Muon: its iteration in NumPy, the contract on matrices, what it refuses."""

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


def run(tx, steps=3, params=PARAMS, update=None, state=None, first=0):
    state, us = tx.init(params) if state is None else state, []
    for step in range(first, first + steps):
        u, state = (update or tx.update)(gradient(step, params), state, params)
        us.append(u)
    return us, state


def assert_close(got, expected, rtol=1e-4):
    """Each leaf to a share of its size: the iteration enlarges roundings."""
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


@pytest.mark.parametrize("shape", [(3, 3), (2, 7), (7, 2), (1, 5), (5, 1)])
def test_the_first_step(shape):
    """Momentum 0: the iteration of the gradient, times sqrt(max(1, m / n))."""
    with jax.enable_x64(True):
        g = np.random.default_rng(0).normal(size=shape)
        tx = oxe.scale_by_muon(momentum=0.0)
        u, _ = tx.update(jnp.asarray(g), tx.init(jnp.asarray(g)))
    scale = max(1, shape[0] / shape[1]) ** 0.5
    np.testing.assert_allclose(u, scale * orthogonal(g), rtol=0, atol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("size", [1e-8, 1e-5, 1.0])
def test_what_is_smaller_than_epsilon(nesterov, size):
    """Epsilon bounds the norm of the average, of which the first is 1 - beta of g.

    Nesterov's is (1 - beta^2) g.
    """
    g = np.random.default_rng(1).normal(size=(3, 5))
    g *= size / np.linalg.norm(g)
    with jax.enable_x64(True):
        tx = oxe.scale_by_muon(0.75, nesterov=nesterov, ns_steps=0, eps=1e-6)
        u, _ = tx.update(jnp.asarray(g), tx.init(jnp.asarray(g)))
    average = (1 - 0.75**2 if nesterov else 0.25) * g
    expected = average / max(np.linalg.norm(average), 1e-6)
    np.testing.assert_allclose(u, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(64, 3), (3, 64)])
def test_the_gram_matrix_is_of_the_shorter_side(shape):
    tx, x = oxe.scale_by_muon(), jnp.ones(shape)
    program = str(jax.make_jaxpr(tx.update)(x, tx.init(x)))
    assert "f32[3,3] = dot_general" in program
    assert "f32[64,64]" not in program


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_a_matrix_without_entries(shape):
    tx, x = oxe.muon(0.1), jnp.ones(shape)
    u, _ = tx.update(x, tx.init(x), x)
    assert u.shape == shape


def test_from_0_to_99_iterations():
    """As PyTorch, which refuses 100."""
    for steps in (0, 99):
        oxe.muon(0.1, ns_steps=steps)
    for steps in (-1, 100):
        with pytest.raises(ValueError, match="`ns_steps` must be"):
            oxe.muon(0.1, ns_steps=steps)


def test_singular_values_come_near_one():
    """From singular values over two decades, which the gradient's own are not."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    r, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    g = jnp.asarray(q @ np.diag(np.logspace(-2, 0, 8)) @ r, jnp.float32)
    tx = oxe.scale_by_muon(momentum=0.0)
    u, _ = tx.update(g, tx.init(g))
    values = np.linalg.svd(np.asarray(u), compute_uv=False)
    assert np.all((values > 0.5) & (values < 1.3))
    # Cubic Newton-Schulz brings them to 1, given time.
    cubic = oxe.scale_by_muon(0.0, ns_coefficients=(1.5, -0.5, 0.0), ns_steps=40)
    u, _ = cubic.update(g, cubic.init(g))
    values = np.linalg.svd(np.asarray(u), compute_uv=False)
    np.testing.assert_allclose(values, 1, rtol=1e-4)


def test_the_scale_for_rates_of_adamw():
    g = gradient(0)
    one, other = (
        oxe.scale_by_muon(adjust=a).update(g, oxe.scale_by_muon().init(g))[0]
        for a in ("original", "match_rms_adamw")
    )
    for u, v in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        m, n = u.shape
        ratio = 0.2 * max(m, n) ** 0.5 / max(1, m / n) ** 0.5
        np.testing.assert_allclose(v, ratio * u, rtol=1e-5, atol=1e-7)


def test_optax_has_another_form():
    """Its average is corrected and its scale another; without either they agree."""
    wide = jnp.ones((2, 5))

    def last(tx):  # of length 1: the scale differs, and between Optax's releases
        u = run(tx, params=wide)[0][-1]
        return u / jnp.linalg.norm(u)

    plain = last(oxe.scale_by_muon(0.95, nesterov=False))
    theirs = optax.contrib.scale_by_muon(beta=0.95, nesterov=False)
    assert_close(plain, last(theirs), 1e-3)
    ahead = last(oxe.scale_by_muon(0.95))
    gap = ahead - last(optax.contrib.scale_by_muon(beta=0.95))
    assert jnp.linalg.norm(gap) > 1e-2


def test_the_dtype_of_the_iteration():
    """bfloat16 inside: near, not the same, and the leaf's dtype outside."""
    fine, _ = run(oxe.muon(0.1))
    rough, _ = run(oxe.muon(0.1, ns_dtype=jnp.bfloat16))
    assert_close(rough, fine, 0.2)
    assert not np.array_equal(rough[0]["wide"], fine[0]["wide"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtypes(dtype):
    params = jax.tree.map(lambda x: x.astype(dtype), PARAMS)
    tx = oxe.muon(0.1, weight_decay=0.1)
    us, state = run(tx, params=params)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(params))
    assert {x.dtype for x in jax.tree.leaves(us)} == {jnp.dtype(dtype)}
    mu = jax.tree.leaves(state[0].mu)
    assert {x.dtype for x in mu} == {jnp.dtype("float32")}


def test_compiled_scanned_vmapped():
    tx = oxe.muon(0.1)
    us, last = run(tx)
    assert_close(run(tx, update=jax.jit(tx.update))[0], us)
    grads = jax.tree.map(lambda *xs: jnp.stack(xs), *map(gradient, range(3)))

    def step(state, g):
        u, state = tx.update(g, state, PARAMS)
        return state, u

    state, scanned = jax.lax.scan(step, tx.init(PARAMS), grads)
    assert_close(jax.tree.map(lambda x: x[2], scanned), us[2])
    assert_close(state, last)

    def two(momentum, rate):
        return run(oxe.muon(rate, momentum), 2)[0][-1]

    numbers = jnp.array([0.5, 0.9]), jnp.array([0.1, 0.2])
    both = jax.vmap(two)(*numbers)
    for i, (momentum, rate) in enumerate(zip(*numbers, strict=True)):
        one = two(float(momentum), float(rate))
        assert_close(jax.tree.map(lambda x, i=i: x[i], both), one)


def test_a_resumed_run_is_the_same_run():
    tx = oxe.muon(oxe.schedules.cosine(0.1, 10))
    update = jax.jit(tx.update)
    us, last = run(tx, 4, update=update)
    _, state = run(tx, 2, update=update)
    saved = jax.tree.map(jnp.asarray, jax.tree.map(np.asarray, state))
    rest, end = run(tx, 2, update=update, state=saved, first=2)
    for a, b in zip(
        jax.tree.leaves((rest, end)), jax.tree.leaves((us[2:], last)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_goes_downhill():
    """|W x - y|^2 with an x that stretches: the path of plain SGD would be long."""
    x = jnp.diag(jnp.array([1.0, 0.3, 0.1]))

    def loss(w):
        return jnp.sum((w @ x - x) ** 2)

    tx, w = oxe.muon(oxe.schedules.linear(0.1, 200)), jnp.zeros((3, 3))
    path = oxe.lab.minimize(loss, w, tx, 200)
    assert path.values[-1] < 1e-3 * path.values[0]


def test_buffers_and_leaves_without_a_gradient():
    tx = oxe.muon(0.1)
    state = tx.init(PARAMS)
    like = [x for x in jax.tree.leaves(state) if x.ndim == 2]
    assert len(like) == len(jax.tree.leaves(PARAMS))
    u, after = tx.update({**gradient(0), "wide": None}, state, PARAMS)
    assert u["wide"] is None
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_a_zero_gradient_is_no_step():
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    for eps in (1e-7, 0.0):
        tx = oxe.muon(0.1, eps=eps)
        u, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
        assert all(np.all(x == 0) for x in jax.tree.leaves(u))


@pytest.mark.parametrize(
    ("leaf", "got"),
    [
        (jnp.ones(3), r"float32\[3\]"),
        (jnp.ones((2, 2, 2)), r"float32\[2, 2, 2\]"),
        (jnp.ones((2, 2), complex), r"complex64\[2, 2\]"),
    ],
)
def test_what_is_no_matrix_is_refused_by_its_path(leaf, got):
    params = {"w": jnp.ones((2, 2)), "b": leaf}
    with pytest.raises(ValueError, match=rf"muon: `params`\['b'\] must be .*{got}"):
        oxe.muon(0.1).init(params)


WRONG = [
    (ValueError, "learning_rate", -0.1),
    (ValueError, "momentum", 1.0),
    (ValueError, "eps", -1e-8),
    (ValueError, "ns_steps", 100),
    (ValueError, "ns_steps", -1),
    (TypeError, "ns_steps", 2.5),
    (ValueError, "adjust", "best"),
    (TypeError, "nesterov", 1),
    (ValueError, "ns_coefficients", (1.0, 2.0)),
    (ValueError, "weight_decay", -0.1),
]


@pytest.mark.parametrize(("error", "argument", "got"), WRONG, ids=str)
def test_wrong_arguments(error, argument, got):
    with pytest.raises(error, match=f"^muon: `{argument}` must .*got "):
        oxe.muon(**{"learning_rate": 0.1, argument: got})
