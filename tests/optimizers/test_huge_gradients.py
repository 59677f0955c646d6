"""A gradient that is huge, infinite or NaN: the effects that the pages state."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.parity.programs import quick_jit

STILL, SLOW, FAR, ONCE, NAN, SAME = "still", "slow", "far", "once", "NaN", "same"
INF, NEARLY = "inf", "nearly the same"
# One weight gets one bad gradient. For each optimizer: its updates after a gradient of
# 1e20; its updates at and after an infinite gradient; the same for a NaN. The other
# weights must move as usual. Optimizers that are not in the table are not tested.
EXPECTED = {
    "adabound": (FAR, (INF, INF), (NAN, NAN)),
    "adadelta": (STILL, (NAN, NAN), (NAN, NAN)),
    "adafactor": (NAN, (NAN, NAN), (NAN, NAN)),
    "adagrad": (STILL, (NAN, STILL), (NAN, NAN)),
    "adamax": (SLOW, (NAN, NAN), (NAN, NAN)),
    "amsbound": (FAR, (INF, INF), (NAN, NAN)),
    "amsgrad": (STILL, (NAN, NAN), (NAN, NAN)),
    "asgd": (ONCE, (INF, SAME), (NAN, SAME)),
    "ftrl": (STILL, (NAN, NAN), (NAN, NAN)),
    "heavy_ball": (FAR, (INF, INF), (NAN, NAN)),
    "lion": (SAME, (SAME, SAME), (NAN, NAN)),
    "nadam": (STILL, (NAN, NAN), (NAN, NAN)),
    "rmsprop": (STILL, (NAN, STILL), (NAN, NAN)),
    "rprop": (
        SAME,
        (SAME, SAME),
        (STILL, NEARLY),
    ),  # its step size misses two factors of 1.2
    "swats": (STILL, (NAN, NAN), (NAN, NAN)),
}
SIZES = (1.0, 1e20, np.inf, np.nan)
STEPS, AT = 60, 2


def updates(txs, sizes):
    """All updates of three weights; the first gets a gradient of each size once."""

    def run(tx, size):
        def step(state, i):
            g = jnp.ones(3).at[0].set(jnp.where(i == AT, size, 1.0))
            u, state = tx.update(g, state, params)
            return state, u

        params = jnp.ones(3)
        return jax.lax.scan(step, tx.init(params), jnp.arange(STEPS))[1]

    def runs(sizes):
        return {
            n: jax.vmap(lambda s, tx=tx: run(tx, s))(sizes) for n, tx in txs.items()
        }

    return jax.device_get(quick_jit(runs)(np.float32(sizes)))


def is_as(kind, us, usual):
    """Whether the updates are of a kind, compared with those without the gradient."""
    if kind in (NAN, INF, STILL):
        test = {NAN: np.isnan, INF: np.isinf, STILL: lambda x: x == 0}[kind]
        return np.all(test(us))
    ratio = us / usual
    return {
        SLOW: us.all() and np.all(np.abs(ratio) < 0.5),
        FAR: np.all(np.abs(ratio)[:20] > 1e10),
        SAME: np.allclose(us, usual, rtol=1e-3),
        NEARLY: np.all((ratio > 0.69) & (ratio < 1.001)),
    }[kind]


def test_the_weight_that_saw_it():
    found = updates({name: getattr(oxe, name)(0.1) for name in EXPECTED}, SIZES)
    for name, (usual, *others) in found.items():
        huge, inf, nan = others
        for us in others:
            np.testing.assert_allclose(us[:, 1:], usual[:, 1:], 1e-5, err_msg=name)
        now, after, before = huge[AT, 0], huge[AT + 1 :, 0], usual[AT + 1 :, 0]
        expected, of_inf, of_nan = EXPECTED[name]
        assert expected == NAN or np.all(np.isfinite(huge)), name
        assert is_as(SAME if expected == ONCE else expected, after, before), name
        if expected in (FAR, ONCE):
            assert abs(now) > 1e15, name
        elif expected == SAME:
            assert np.array_equal(after, before), name
            assert now == usual[AT, 0], name
        for us, kinds in ((inf, of_inf), (nan, of_nan)):
            for kind, steps in zip(
                kinds, (slice(AT, AT + 1), slice(AT + 1, None)), strict=True
            ):
                assert is_as(kind, us[steps, 0], usual[steps, 0]), (name, us[AT, 0])


def test_clipped_it_does_no_harm():
    txs = {
        name: optax.chain(optax.clip(2.0), getattr(oxe, name)(0.1)) for name in EXPECTED
    }
    txs["norm"] = optax.chain(optax.clip_by_global_norm(2.0), oxe.nadam(0.1))
    for name, (usual, huge) in updates(txs, SIZES[:2]).items():
        assert np.all(np.isfinite(huge)), name
        later = np.abs(huge[40:, 0] / usual[40:, 0])
        assert np.all((later > 0.3) & (later < 3)), name


# ---- Matrices ------------------------------------------------------------------------


def of_matrices(tx, sizes):
    """The updates of two matrices; one entry of the first gets the given gradients."""
    params = {"w": jnp.eye(3), "v": jnp.eye(3)}

    def step(state, size):
        grads = {**params, "w": params["w"].at[0, 0].set(size)}
        return tx.update(grads, state, params)[::-1]

    run = jax.jit(lambda xs: jax.lax.scan(step, tx.init(params), xs)[1])
    return jax.device_get(run(np.float32(sizes)))


muon = functools.partial(oxe.muon, layout="in_out")


@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_it_spoils_the_whole_matrix(name):
    for bad in (np.nan, np.inf):
        tx = muon(0.1) if name == "muon" else oxe.adafactor(0.1)
        us = of_matrices(tx, (1.0, bad, 1.0, 1.0))
        assert np.all(np.isnan(us["w"][-1]))
        assert np.all(np.isfinite(us["v"]))


def test_muon():
    """1e20 sets the direction; where the norm is infinite, the matrix stops."""
    us = of_matrices(muon(0.1), (1.0, 1e20, 1.0))["w"]
    assert np.all(np.isfinite(us))
    largest = np.abs(us).max((1, 2))
    assert np.all((largest > 0.05) & (largest < 0.2))
    us = of_matrices(muon(0.1), (1.0, 1e21, 1.0))["w"]
    assert np.all(np.isfinite(us))
    assert np.any(us != 0, (1, 2)).tolist() == [True, False, False]
