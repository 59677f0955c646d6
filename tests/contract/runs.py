"""Runs of a transformation, and how two of them are compared."""

import jax
import jax.numpy as jnp
import numpy as np

STEPS = 5


def gradient(params, step):
    """Some gradient of about 1 for each leaf, of its dtype; None where it is None."""

    def leaf(x):
        x = jnp.asarray(x)
        wave = np.cos(np.arange(x.size) + 0.7 * step + 0.3).reshape(x.shape)
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            wave = wave + 1j * np.sin(np.arange(x.size) + 1.1 * step).reshape(x.shape)
        return jnp.asarray(wave, x.dtype)

    return jax.tree.map(leaf, params)


def run(tx, params, steps=STEPS, update=None, state=None, first=0, **extra):
    """All updates, and the last state."""
    state = tx.init(params) if state is None else state
    update = tx.update if update is None else update
    us = []
    for step in range(first, first + steps):
        u, state = update(gradient(params, step), state, params, **extra)
        us.append(u)
    return us, state


def no_extra_arguments(step):
    del step
    return {}


class Run:
    """A run of a case, which most clauses check, compiled once for all of them."""

    def __init__(self, case, steps=STEPS, extra=no_extra_arguments):
        self.tx, self.params, traces = case.make(), case.params(), []

        @jax.jit
        def update(*args, **extra):
            traces.append(1)
            return self.tx.update(*args, **extra)

        self.update = update
        self.states = [self.tx.init(self.params)]
        """Before each update, and after the last."""
        self.us = []
        for step in range(steps):
            grads = gradient(self.params, step)
            u, state = update(grads, self.states[-1], self.params, **extra(step))
            self.us.append(u)
            self.states.append(state)
        self.traces = len(traces)
        """Of this run; others of other dtypes come later."""


_RUNS: dict[str, Run] = {}


def run_of(case):
    """The run of a case, made once."""
    if case.name not in _RUNS:
        _RUNS[case.name] = Run(case)
    return _RUNS[case.name]


def assert_close(got, expected, ulps=8, what=""):
    """Equal to a few float32 ulps of the largest number in each leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(expected), what
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), what
        scale = np.abs(b).max(initial=0)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=ulps * 2.0**-23 * scale, err_msg=what
        )


def assert_same(got, expected):
    """Equal to the last bit."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


def kinds(tree):
    return [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]


def abstract(tree):
    """Shapes, dtypes and weak types."""
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), tree)
