"""Wrappers inside wrappers inside wrappers: what each keeps they keep together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import optax_extras as oxe
from tests.contract import discovery
from tests.contract.runs import abstract, gradient, kinds

STEPS = 5
PARAMS = {
    "w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3),
    "inner": [jnp.array([0.5, -0.25], jnp.bfloat16), jnp.float32(1.5)],
    "fellow": jnp.array([2.0, -1.0], jnp.bfloat16),
    "none": None,
}
OPTIMIZERS = [
    x
    for x in discovery.CASES
    if x.is_optimizer and (not x.is_slow or x.name in discovery.COMBINED)
]


def is_w(params):
    return {**jax.tree.map(lambda _: False, params), "w": True}


def labels(params):
    return jax.tree.map(lambda yes: "first" if yes else "rest", is_w(params))


def every_third(*, count, **seen):
    return count % 3 == 0


def waits():
    return oxe.on_plateau(1, monitor=discovery.MONITORED)


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
    "low_precision_state": lambda tx: oxe.low_precision_state(tx, min_size=1),
    "switch by metric": lambda tx: oxe.switch(tx, oxe.adagrad(0.1), waits()),
    "restart by metric": lambda tx: oxe.restart(tx, waits()),
}
# Outside of all others: they store weights, which others may not make smaller.
OUTERMOST = {
    "with_average": lambda tx: oxe.with_average(tx, discovery.MEAN),
    "with_master_copy": oxe.with_master_copy,
    "with_compensation": oxe.with_compensation,
}
NESTS = st.tuples(
    st.sampled_from(OPTIMIZERS),
    st.booleans(),
    st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=3),
    st.none() | st.sampled_from(sorted(OUTERMOST)),
)


def made(nest):
    case, stack, names, last = nest
    tx = case.make()
    # In a stack leaves have no paths, and an average would be one of stacks.
    not_stacked = ("groups-", "with_average")
    may_stack = case.is_elementwise and not case.name.startswith(not_stacked)
    if stack and may_stack and case.name not in discovery.STACKS:
        tx = oxe.stacked(tx)
    for name in names:
        tx = WRAPPERS[name](tx)
    tx = OUTERMOST[last](tx) if last else tx
    return optax.with_extra_args_support(tx)


def tries(count):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )


def keeps_the_contract(nest):
    case, tx = nest[0], made(nest)
    first = case.fit(PARAMS)
    # The arguments of the updates: a gradient and a metric.
    given = [(gradient(first, i), discovery.metric_at(i)) for i in range(STEPS)]

    def update(g, metric, state, params):
        """With the metric, which is shown once more where something answers to it."""
        u, state = tx.update(g, state, params, **metric)
        return u, oxe.observe(state, **metric) if discovery.monitors(state) else state

    step = jax.jit(update)

    def run(state, params, given):
        us = []
        for g, metric in given:
            u, state = step(g, metric, state, params)
            params = optax.apply_updates(params, u)
            us.append(u)
        return us, state, params

    start = tx.init(first)
    us, end, last = run(start, first, given)
    assert abstract(end) == abstract(start)
    assert jax.tree.structure(us[0]) == jax.tree.structure(first)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(last))
    if not nest[-1]:
        assert kinds(us[-1]) == kinds(first)

    # Stopped after two updates, taken apart and put together again.
    _, state, params = run(start, first, given[:2])
    leaves = [np.array(x) for x in jax.tree.leaves(state)]
    state = jax.tree.unflatten(jax.tree.structure(tx.init(first)), leaves)
    again = run(state, params, given[2:])
    for a, b in zip(*map(jax.tree.leaves, (again, (us[2:], end, last))), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()

    # All at once: in a loop of the compiler's.
    def body(carry, each):
        state, params = carry
        u, state = update(*each, state, params)
        return (state, optax.apply_updates(params, u)), None

    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *given)
    (_, scanned), _ = jax.jit(lambda carry: jax.lax.scan(body, carry, stacked))(
        (start, first)
    )
    for a, b in zip(*map(jax.tree.leaves, (scanned, last)), strict=True):
        ulps = max(16, case.ulps) if a.dtype == jnp.float32 else 16
        most = ulps * float(jnp.finfo(a.dtype).eps)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=most, atol=most)


@pytest.mark.ci
@tries(8)
@given(NESTS)
def test_nested(nest):
    keeps_the_contract(nest)


@pytest.mark.full
@tries(30)
@given(NESTS)
def test_nested_more(nest):
    keeps_the_contract(nest)
