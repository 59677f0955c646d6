"""What SWATS and others converge to: the examples of Wilson et al. and Reddi et al."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_extras as oxe
from tests.switching.algorithm_1 import wilson

pytestmark = pytest.mark.full
NEVER = 2**31 - 1


def forced(step):
    return {"min_steps": step, "max_steps": step, "tolerance": 1e-30}


def on_wilsons_data(make, *xs, n=20, steps=5000):
    """For each x: the error on a balanced test set, the loss, Lambda, the switch."""
    data, y = map(jnp.asarray, wilson(n, 0.7, 0))

    def run_to_the_end(*x):
        tx = make(*x)

        def step(carry, _):
            w, state = carry
            u, state = tx.update(data.T @ (data @ w - y) / n, state, w)
            return (w + u, state), None

        w = jnp.zeros(data.shape[1])
        (w, state), _ = jax.lax.scan(step, (w, tx.init(w)), length=steps)
        # A new point has private features, whose weights are untrained.
        wrong = w[0] + w[1] + w[2] <= 0, -w[0] + w[1] + w[2] >= 0
        found = (optax.tree.get(state, name) for name in ("estimate", "switch_step"))
        error = jnp.mean(jnp.asarray(wrong))
        return error, jnp.mean((data @ w - y) ** 2), *found

    with jax.enable_x64(True):
        batch = jax.vmap if xs else lambda f: f
        found = jax.jit(batch(run_to_the_end))(*map(jnp.asarray, xs))
        return jax.tree.map(np.asarray, found)


def largest_rate():
    """1 / L of Wilson's data: gradient descent converges below twice that."""
    x, y = wilson(20, 0.7, 0)
    assert ((y > 0).sum(), (y < 0).sum()) == (12, 8)
    return 20 / np.linalg.norm(x, 2) ** 2


SWITCHES, ERRORS = [5, 20, 25, 40], [0, 0, 0.5, 0.5]


def test_a_late_switch_does_not_help_on_wilsons_data():
    """Adam labels everything positive; so does a switch at step 25, but not at 20."""
    rate = largest_rate()
    assert on_wilsons_data(lambda: optax.adam(1e-2))[0] == 0.5
    assert on_wilsons_data(lambda: optax.sgd(rate))[0] == 0
    second = lambda k: oxe.swats(1e-2, second_rate=rate, **forced(k))  # noqa: E731
    errors, losses, *_, steps = on_wilsons_data(second, SWITCHES)
    np.testing.assert_array_equal(errors, ERRORS)
    np.testing.assert_array_equal(steps, SWITCHES)
    assert np.all(losses < 1e-20)


def test_the_projected_rate_on_wilsons_data():
    """The projected learning rate is below 1 / L, so SGD converges with it.

    However, the condition never fires by itself: SWATS ends where Adam does.
    """
    found = on_wilsons_data(
        lambda first, last: oxe.swats(1e-2, min_steps=first, max_steps=last),
        [*SWITCHES, 2],
        [*SWITCHES, NEVER],
    )
    errors, losses, sizes, steps = found
    np.testing.assert_array_equal(errors, [*ERRORS, 0.5])
    np.testing.assert_array_equal(steps, [*SWITCHES, -1])
    assert np.all(losses[:-1] < 1e-20)
    rates = sizes[:-1] * 1e-2
    assert np.all((0.1 * largest_rate() < rates) & (rates < largest_rate()))


def reddi(make, *xs, steps=100_000):
    """1010 x every 101st time, -10 x else, on [-1, 1]: the best point is -1.

    All points, from 0 on, and the last state; for each of some arguments of `make`.
    """

    def run_to_the_end(*x):
        tx = make(*x)

        def step(carry, g):
            x, state = carry
            u, state = tx.update(g, state, x)
            return (jnp.clip(x + u, -1, 1), state), x

        x = jnp.zeros(())
        (_, state), path = jax.lax.scan(
            step, (x, tx.init(x)), reddis(jnp.arange(steps))
        )
        return path, state

    with jax.enable_x64(True):
        batch = jax.vmap if xs else lambda f: f
        found = jax.jit(batch(run_to_the_end))(*map(jnp.asarray, xs))
        return jax.tree.map(np.asarray, found)


def reddis(t):
    return jnp.where(t % 101 == 0, 1010.0, -10.0)


def reddis_rate(t):
    return 0.5 / jnp.sqrt(t + 1.0)


REDDIS = {"b1": 0.9, "b2": 0.99}


def test_what_they_converge_to_on_reddis_example():
    """Adam walks to the worst point; AMSGrad, SGD, and SWATS once it is SGD, do not."""
    slow = lambda t: 0.1 / jnp.sqrt(t + 1.0)  # noqa: E731
    second = {"second_rate": slow, **REDDIS, **forced(1000)}
    assert reddi(lambda: optax.adam(reddis_rate, **REDDIS))[0][-1] > 0.9
    for make in (
        lambda: oxe.amsgrad(reddis_rate, **REDDIS),
        lambda: optax.sgd(slow),
        lambda: oxe.swats(reddis_rate, **second),
    ):
        assert reddi(make)[0][-1] < -0.9


def test_the_projected_rate_on_reddis_example():
    """By itself it never switches. Forced to, it moves as SGD with 0.005 does."""
    kw = {"min_steps": 1000, **REDDIS}
    (alone, made), state = reddi(
        lambda last: oxe.swats(reddis_rate, max_steps=last, **kw), [NEVER, 1000]
    )
    np.testing.assert_array_equal(optax.tree.get(state, "switch_step"), [-1, 1000])
    assert alone[-1] > 0.9
    with jax.enable_x64(True):
        t = np.arange(1000, len(made) - 1)
        steps = np.asarray(reddis_rate(t) * reddis(t))
    steps = optax.tree.get(state, "rate_factor")[1] * steps
    assert np.sum(steps) > 0.1
    np.testing.assert_allclose(made[1000] - made[-1], np.sum(steps), rtol=0.05)
