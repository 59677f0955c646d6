"""Runs of optimizers on given gradients, and their comparison."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_extras as oxe
from tests.contract.runs import gradient

STEPS = 12
SCHEDULE = oxe.schedules.cosine(0.1, 40)


def params():
    return {"w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3), "b": jnp.ones(3)}


@functools.cache
def updating(tx):
    """Compiled once for each optimizer."""
    return jax.jit(tx.update)


def run(tx, steps=STEPS, state=None, first=0, at=None):
    """The updates, the last state and the last params."""
    at = params() if at is None else at
    state = tx.init(at) if state is None else state
    us = []
    for i in range(first, first + steps):
        u, state = updating(tx)(gradient(at, i), state, at)
        at = optax.apply_updates(at, u)
        us.append(u)
    return us, state, at


def assert_same(got, expected, tolerance=1e-12):
    got, expected = map(jax.tree.leaves, (got, expected))
    for x, y in zip(got, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def goes_on(old, new, tolerance=1e-12, **kwargs):
    """The report, if the new optimizer goes on as if it had made the whole run."""
    _, state, at = run(old)
    made, report = oxe.translate(state, new, at, **kwargs)
    _, own, own_at = run(new)
    assert_same(
        run(new, 5, made, STEPS, at)[0], run(new, 5, own, STEPS, own_at)[0], tolerance
    )
    return report


def row(report, target="", source=""):
    (found,) = [
        x for x in report.rows if x.target.endswith(target) and x.source == source
    ]
    return found


def maps_are_exact(report):
    """Whether all is exact but for the options, which a state does not hold."""
    return all(x.exact or x.how == "not compared" for x in report.rows)
