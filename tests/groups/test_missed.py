"""How many updates frozen params have missed: other groups in the course of a run."""

import functools

import jax
import numpy as np
import optax
import pytest

import optax_extras as oxe

PARAMS = GRADS = {name: np.ones(2, np.float32) for name in ("a", "b", "c")}


@functools.cache
def optimizer(frozen):
    """`init` and a jitted `update` with these params frozen."""
    tx = oxe.adam(oxe.by_path({"|".join(frozen): oxe.FROZEN}, 0.1) if frozen else 0.1)
    return tx.init, jax.jit(tx.update)


def run(*phases):
    """The missed updates of each param, after updates with these params frozen."""
    state = None
    for frozen in phases:
        init, update = optimizer(frozen)
        state = init(PARAMS) if state is None else state
        us, state = update(GRADS, state, PARAMS)
    missed = optax.tree.get(state, "missed") or {}
    found = {path: int(x.count) for x in missed.values() for path in x.leaves}
    assert sum(len(x.leaves) for x in missed.values()) == len(found)
    return found, us


def test_nothing_is_counted_without_frozen_params():
    assert run("", "")[0] == {}


def test_updates_of_a_frozen_group():
    assert run("ab", "ab", "")[0] == {"a": 2, "b": 2}


def test_a_part_of_a_group_thaws():
    assert run("ab", "b", "b", "")[0] == {"a": 1, "b": 3}


def test_groups_that_overlap():
    assert run("a", "ab", "bc", "c")[0] == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize("make", [oxe.adam, oxe.nadam, oxe.heavy_ball])
def test_after_a_restart_nothing_is_missed(make):
    """Thawed before, at and after the restart: as if all had just been made."""

    def restarted(rate):
        return oxe.restart(make(rate), oxe.at_step(5))

    frozen = restarted(oxe.by_path({"a": oxe.FROZEN}, 0.1))
    thawed = restarted(oxe.by_path({"a": 0.1}, 0.1))
    still, moving = make(oxe.by_path({"a": oxe.FROZEN}, 0.1)), make(0.1)
    for thaws_at in (3, 5, 7):
        state, other = frozen.init(PARAMS), still.init(PARAMS)
        for i in range(9):
            grads = jax.tree.map(lambda g, i=i: np.float32(np.cos(2.0 * i)) * g, GRADS)
            tx, inner = (frozen, still) if i < thaws_at else (thawed, moving)
            u, state = jax.jit(tx.update)(grads, state, PARAMS)
            if i >= 5:
                v, other = jax.jit(inner.update)(grads, other, PARAMS)
                for name in PARAMS:
                    np.testing.assert_allclose(u[name], v[name], rtol=1e-5)


def test_the_first_step_of_adam_is_the_learning_rate():
    """Also of a param that thaws late, with the next ones as long for a constant."""
    for length in (1, 3):
        _, us = run(*["a"] * 50, *[""] * length)
        for u in us.values():
            np.testing.assert_allclose(u, -0.1, rtol=1e-4)
