"""Wrappers inside wrappers inside wrappers: what each keeps they keep together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.test_optimizers import abstract, gradient, kinds

STEPS = 5
PARAMS = {
    "w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3),
    "inner": [jnp.array([0.5, -0.25], jnp.bfloat16), jnp.float32(1.5)],
    "none": None,
}
OPTIMIZERS = [x for x in discovery.OPTIMIZERS if not x.is_slow]


def is_w(params):
    return {**jax.tree.map(lambda _: False, params), "w": True}


def labels(params):
    return jax.tree.map(lambda yes: "first" if yes else "rest", is_w(params))


def every_third(*, count, **seen):
    return count % 3 == 0


# From optimizers and transformations of them to others, ours and Optax's.
WRAPPERS = {
    "chain": lambda tx: optax.chain(optax.clip(0.5), tx),
    "named_chain": lambda tx: optax.named_chain(
        ("clip", optax.clip_by_global_norm(1.0)), ("it", tx)
    ),
    "factor": lambda tx: optax.chain(tx, oxe.scale_by_metric(discovery.METRIC)),
    "rate": lambda tx: optax.chain(tx, oxe.scale_by_rate(0.5, flip_sign=False)),
    "masked": lambda tx: optax.masked(tx, is_w),
    "partition": lambda tx: optax.partition(
        {"first": tx, "rest": oxe.heavy_ball(0.1)}, labels
    ),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "conditionally_transform": lambda tx: optax.conditionally_transform(
        tx, lambda step, **extra: step % 2 == 0
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "switch": lambda tx: oxe.switch(tx, oxe.adagrad(0.1), oxe.at_step(2)),
    "switch to it": lambda tx: oxe.switch(oxe.adagrad(0.1), tx, oxe.at_step(2)),
    "restart": lambda tx: oxe.restart(tx, every_third),
    "accumulate": lambda tx: oxe.accumulate(tx, 2),
}
# Outside of all others: their updates of half-precision leaves are float32.
OUTERMOST = {
    "with_master_copy": oxe.with_master_copy,
    "with_compensation": oxe.with_compensation,
}
NESTS = st.tuples(
    st.sampled_from(OPTIMIZERS),
    st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=3),
    st.none() | st.sampled_from(sorted(OUTERMOST)),
)


def made(nest):
    case, names, last = nest
    tx = case.make()
    for name in names:
        tx = WRAPPERS[name](tx)
    return OUTERMOST[last](tx) if last else tx


def tries(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )


def keeps_the_contract(nest):
    tx = made(nest)
    grads = [gradient(PARAMS, i) for i in range(STEPS)]
    step = jax.jit(tx.update)

    def run(state, params, grads):
        us = []
        for g in grads:
            u, state = step(g, state, params)
            params = optax.apply_updates(params, u)
            us.append(u)
        return us, state, params

    start = tx.init(PARAMS)
    us, end, last = run(start, PARAMS, grads)
    assert abstract(end) == abstract(start)
    assert jax.tree.structure(us[0]) == jax.tree.structure(PARAMS)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(last))
    if not nest[-1]:
        assert kinds(us[-1]) == kinds(PARAMS)

    # Stopped after two updates, taken apart and put together again.
    _, state, params = run(start, PARAMS, grads[:2])
    leaves = [np.array(x) for x in jax.tree.leaves(state)]
    state = jax.tree.unflatten(jax.tree.structure(tx.init(PARAMS)), leaves)
    again = run(state, params, grads[2:])
    for a, b in zip(*map(jax.tree.leaves, (again, (us[2:], end, last))), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    # All at once: in a loop of the compiler's.
    def body(carry, g):
        state, params = carry
        u, state = tx.update(g, state, params)
        return (state, optax.apply_updates(params, u)), None

    stacked = jax.tree.map(lambda *gs: jnp.stack(gs), *grads)
    (_, scanned), _ = jax.jit(lambda carry: jax.lax.scan(body, carry, stacked))(
        (start, PARAMS)
    )
    for a, b in zip(*map(jax.tree.leaves, (scanned, last)), strict=True):
        eps = float(jnp.finfo(a.dtype).eps)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=16 * eps, atol=16 * eps)


@tries(15)
@given(NESTS)
def test_nested(nest):
    keeps_the_contract(nest)


@pytest.mark.full
@tries(60)
@given(NESTS)
def test_nested_more(nest):
    keeps_the_contract(nest)
