"""Snapshots with the weights, and snapshots that are not of one run."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

with warnings.catch_warnings():
    # With the oldest jax, importing it uses deprecated names.
    warnings.simplefilter("ignore", DeprecationWarning)
    from flax import nnx

A = oxe.averages
POWERS = {"narrow": A.power(16.97), "wide": A.power(6.94)}


def test_the_weights_of_an_nnx_model():
    """Beside averages whose variables are of another type."""
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    tx = oxe.with_average(optax.sgd(0.1), POWERS)
    optimizer, taken = nnx.Optimizer(model, tx, wrt=nnx.Param), []
    for t in range(1, 4):
        optimizer.update(model, jax.tree.map(jnp.ones_like, nnx.state(model)))
        params = nnx.state(model, nnx.Param) if t == 3 else None
        taken.append(A.snapshot(optimizer, params))
    # A decay over the last update alone takes all of that update.
    rebuilt = A.rebuild(taken, "linear", at=3, steps=1)
    wanted = jax.tree.leaves(nnx.state(model))
    for x, w in zip(jax.tree.leaves(rebuilt.params), wanted, strict=True):
        np.testing.assert_allclose(x, w, rtol=1e-5)


def test_params_of_another_tree_are_refused():
    params = {"w": jnp.ones(2)}
    state = oxe.with_average(optax.sgd(0.1), POWERS).init(params)
    for other, got in (({"w": jnp.ones(3)}, r"\(3,\)"), ({"v": jnp.ones(2)}, "None")):
        message = rf"snapshot: `params` must have .* \['w'\]: \(2,\), got {got}"
        with pytest.raises(ValueError, match=message):
            A.snapshot(state, other)


def taken(*, count=20, averages=None, weight=1.0):
    """Two snapshots; the arguments are of the second."""
    averages = {"a": {"w": [weight]}} if averages is None else averages
    return [
        A.Snapshot(10, {"a": {"w": [np.ones(2)]}}, {"a": 6.94}),
        A.Snapshot(count, averages, {"a": 6.94}),
    ]


def test_snapshots_of_other_trees_are_refused():
    first, second = taken(weight=np.ones(2))
    cases = {
        r"\[1\] must be an oxe.*Write `oxe\.averages\.Snapshot\(\*\*x\)` for": [
            first,
            second._asdict(),
        ],
        r"\[1\]\.averages\[a\] must have the structure of the first": taken(
            averages={"a": {"w": (np.ones(2),)}}
        ),
        r"\['w'\]\[0\]: floating, got 'not floating'": taken(weight=np.ones(2, int)),
        r"\[0\]\.count must be at least 1, got 0\. Leave out": [
            first._replace(count=0),
            second,
        ],
    }
    for message, snapshots in cases.items():
        with pytest.raises((TypeError, ValueError), match=f"`snapshots`.*{message}"):
            A.rebuild(snapshots, "linear", at=20, steps=5)


@pytest.mark.parametrize(
    ("shape", "at", "steps", "error", "difference"),
    [
        ("cosine", 5000, 1000, 0.138, 0.028),
        ("linear", 2500, 500, 0.179, 0.048),
        ("linear", 2500, 250, 0.43, 0.20),
    ],
)
def test_few_snapshots_before_the_end(shape, at, steps, error, difference):
    """The error that `rebuild` states, from the profiles of the paper."""
    exponents = np.array([16.97, 6.94])
    counts = np.repeat(np.arange(500, at + 1, 500), 2)
    i = np.arange(at + 1)
    powers = np.tile(exponents + 1, at // 500)
    p = np.diff(np.minimum(i / counts[:, None], 1) ** powers[:, None])
    x = np.clip((i - (at - steps)) / steps, 0, 1)
    d = 1 - x if shape == "linear" else (1 + np.cos(np.pi * x)) / 2
    c = -np.diff(d)
    # A decay multiplies update i by d((i - 1) / n), so that c belongs to w_i.
    a, *_ = np.linalg.lstsq((p[1:] - p[0]).T, c - p[0], rcond=None)
    best = p[0] + a @ (p[1:] - p[0])
    found = np.linalg.norm(best - c) / np.linalg.norm(c)
    assert found == pytest.approx(error, rel=0.01)
    assert np.abs(np.cumsum(best - c)).max() == pytest.approx(difference, rel=0.02)
    taken = [
        A.Snapshot(t, dict.fromkeys("ab", 0.0), dict(zip("ab", exponents, strict=True)))
        for t in range(500, 10_001, 500)
    ]
    rebuilt = A.rebuild(taken, shape, at=at, steps=steps)
    assert rebuilt.relative_error == pytest.approx(found, rel=1e-3)
