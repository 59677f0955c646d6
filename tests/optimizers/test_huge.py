"""One gradient of 1e20, of infinity, of NaN: what the documentation says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe

STILL, SLOW, FAR, ONCE, SPOILT, SAME = "still", "slow", "far", "once", "NaN", "same"
# What becomes of the weight that saw it; the others are to move as if nothing had been.
EXPECTED = {
    "adadelta": STILL, "adagrad": STILL, "amsgrad": STILL, "nadam": STILL,
    "rmsprop": STILL, "swats": STILL, "adamax": SLOW, "adabound": FAR, "amsbound": FAR,
    "heavy_ball": FAR, "asgd": ONCE, "rprop": SAME, "adafactor": SPOILT,
}  # fmt: skip
# What it is moved by, at once and ever after, if the gradient is infinite or a NaN.
ZERO, INF, NAN, NEARLY = "zero", "inf", "NaN", "nearly the same"
OF_INFINITY = {
    **dict.fromkeys(["adadelta", "amsgrad", "nadam", "adamax", "swats"], (NAN, NAN)),
    **dict.fromkeys(["adagrad", "rmsprop"], (NAN, ZERO)),
    **dict.fromkeys(["adabound", "amsbound", "heavy_ball"], (INF, INF)),
    "adafactor": (NAN, NAN), "asgd": (INF, SAME), "rprop": (SAME, SAME),
}  # fmt: skip
OF_NAN = dict.fromkeys(OF_INFINITY, (NAN, NAN)) | {
    "asgd": (NAN, SAME),
    "rprop": (ZERO, NEARLY),  # its step grows twice less, by 1.2
}


def updates(tx, size, steps=60):
    params = jnp.ones(3)
    state, found, update = tx.init(params), [], jax.jit(tx.update)
    for i in range(steps):
        g = jnp.ones(3).at[0].set(size if i == 2 else 1.0)
        u, state = update(g, state, params)
        found.append(np.asarray(u))
    return np.stack(found)


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_the_weight_that_saw_it(name, expected):
    tx = getattr(oxe, name)(0.1)
    found, without = updates(tx, 1e20), updates(tx, 1.0)
    np.testing.assert_allclose(found[:, 1:], without[:, 1:], rtol=1e-5)
    now, after, before = found[2, 0], found[3:, 0], without[3:, 0]
    if expected == SPOILT:
        assert np.all(np.isnan(after))
        return
    assert np.all(np.isfinite(found))
    share = np.abs(after / before)
    assert {
        STILL: not after.any(),
        SLOW: after.all() and np.all(share < 0.5),
        FAR: abs(now) > 1e15 and np.all(share[:20] > 1e10),
        ONCE: abs(now) > 1e15 and np.allclose(share, 1, atol=1e-3),
        SAME: np.array_equal(after, before) and now == without[2, 0],
    }[expected]


@pytest.mark.parametrize(
    ("bad", "name", "expected"),
    [
        *((np.inf, *x) for x in OF_INFINITY.items()),
        *((np.nan, *x) for x in OF_NAN.items()),
    ],
)
def test_the_weight_that_saw_no_number(bad, name, expected):
    tx = getattr(oxe, name)(0.1)
    found, without = updates(tx, bad), updates(tx, 1.0)
    np.testing.assert_allclose(found[:, 1:], without[:, 1:], rtol=1e-5)
    for kind, steps in zip(expected, (slice(2, 3), slice(3, 60)), strict=True):
        us, usual = found[steps, 0], without[steps, 0]
        assert {
            NAN: np.all(np.isnan(us)),
            INF: np.all(np.isinf(us)),
            ZERO: not us.any(),
            SAME: np.allclose(us, usual, rtol=1e-3),
            NEARLY: np.all((us / usual > 0.69) & (us / usual < 1.001)),
        }[kind]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_it_spoils_the_whole_matrix(name, bad):
    tx, params = getattr(oxe, name)(0.1), {"w": jnp.eye(3), "v": jnp.eye(3)}
    state = tx.init(params)
    for size in (1.0, bad, 1.0, 1.0):
        grads = {**params, "w": params["w"].at[0, 0].set(size)}
        us, state = tx.update(grads, state, params)
    assert np.all(np.isnan(us["w"]))
    assert np.all(np.isfinite(us["v"]))


def test_every_optimizer_is_in_the_table():
    """But Muon, which takes matrices and their directions only."""
    names = {
        name
        for name in oxe.__all__
        if isinstance(thing := getattr(oxe, name), type(oxe.nadam))
        and "learning_rate" in thing.__code__.co_varnames[: thing.__code__.co_argcount]
    }
    assert names - {"muon"} == set(EXPECTED) == set(OF_INFINITY)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("clip", [optax.clip, optax.clip_by_global_norm])
def test_clipped_it_does_no_harm(name, clip):
    tx = optax.chain(clip(2.0), getattr(oxe, name)(0.1))
    found, without = updates(tx, 1e20), updates(tx, 1.0)
    assert np.all(np.isfinite(found))
    later = np.abs(found[40:, 0] / without[40:, 0])
    assert np.all((later > 0.3) & (later < 3))


def test_muon_stands_still():
    """Where the sum of the squares of its average is infinite."""
    tx, params = oxe.muon(0.1), jnp.eye(3)
    state = tx.init(params)
    for size, moves in ((1.0, True), (1e21, False), (1.0, False)):
        u, state = tx.update(params.at[0, 0].set(size), state, params)
        assert np.any(u != 0) == moves
        assert np.all(np.isfinite(u))


def test_muon_takes_the_direction():
    tx, params = oxe.muon(0.1), jnp.eye(3)
    state = tx.init(params)
    for size in (1.0, 1e20, 1.0):
        u, state = tx.update(params.at[0, 0].set(size), state, params)
        assert np.all(np.isfinite(u))
        assert 0.05 < np.abs(u).max() < 0.2
