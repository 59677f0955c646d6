"""`adam`, `adamw` and `sgd` are Optax's, number for number."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit

PARAMS = {"w": jnp.linspace(-1.0, 2.0, 6).reshape(2, 3), "b": jnp.ones(3)}
MASK = {"w": True, "b": False}


def cases():
    """Both functions and what both are given."""
    for nesterov in (False, True):
        given = {"eps_root": 1e-3 * nesterov, "nesterov": nesterov}
        yield "adamw", (0.01,), {**given, "weight_decay": 0.3, "mask": MASK}
        given = {"eps_root": 1e-3 * (not nesterov), "nesterov": nesterov}
        yield "adam", (0.01, 0.8, 0.9, 1e-4), given
    yield "adam", (0.01,), {}
    yield "adamw", (0.01,), {}
    rate = optax.schedules.linear_schedule(0.1, 0.0, 40)
    yield "adamw", (rate,), {"weight_decay": rate}
    yield "sgd", (0.01,), {}
    for momentum, nesterov in ((0.0, True), (0.9, False), (0.9, True)):
        yield "sgd", (0.01, momentum, nesterov), {}


def walk(tx):
    def step(carry, t):
        params, state = carry
        grads = jax.tree.map(lambda x: jnp.cos(7 * x + t), params)
        u, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, u)
        return (params, state), params

    first = jax.tree.map(lambda x: x.astype(float), PARAMS)
    return jax.lax.scan(step, (first, tx.init(first)), jnp.arange(50.0))[1]


def test_the_walks_of_optax():
    pairs = [
        (getattr(oxe, name)(*given, **named), getattr(optax, name)(*given, **named))
        for name, given, named in cases()
    ]
    with jax.enable_x64(True):
        found = quick_jit(lambda: [(walk(a), walk(b)) for a, b in pairs])()
    for (ours, theirs), case in zip(found, cases(), strict=True):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12, err_msg=str(case))


def test_the_dtypes_of_buffers():
    """`mu_dtype` is that of one buffer; Optax's other one may be half precision."""
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), PARAMS)
    for make in (oxe.adam, oxe.adamw):
        for params, dtypes in ((PARAMS, "float32"), (half, "float32")):
            state = make(0.1, mu_dtype=jnp.bfloat16).init(params)
            for name, dtype in (("mu", "bfloat16"), ("nu", dtypes)):
                kept = optax.tree.get(state, name)
                assert {x.dtype.name for x in jax.tree.leaves(kept)} == {dtype}
    state = oxe.sgd(0.1, 0.9, accumulator_dtype="bfloat16").init(PARAMS)
    kept = jax.tree.leaves(optax.tree.get(state, "mu"))
    assert {x.dtype.name for x in kept} == {"bfloat16"}


def test_one_epsilon():
    with pytest.raises(ValueError, match=r"^adam: `eps_root` must be 0 with"):
        oxe.adam(0.1, eps_root=1e-3, eps_hat=True)


def test_the_learning_rate_is_read():
    for make in (oxe.adam, oxe.adamw, oxe.sgd):
        state = make(oxe.plateau(0.1, patience=0)).init(PARAMS)
        state = oxe.observe(oxe.observe(state, 1.0), 1.0)
        np.testing.assert_allclose(oxe.learning_rate(state), 0.01, rtol=1e-6)
